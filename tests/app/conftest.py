"""Folders of drawings and small finished runs that the tests of the page share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sketchlab import config
from sketchlab.data.sets import shapes
from sketchlab.training import session
from tests import every

NAMES = ["circle", "line", "square"]
MODELS = {
    "images": "small_cnn",
    "frames": "cnn_lstm",
    "points": "stroke_lstm",
    "strokes": "small_cnn",
    "baseline": "pixels_logistic",
    "photos": "small_siamese",
    "pose": "cnn_lstm",
    "gan": "small_dcgan",
    "gan_classes": "dcgan_conditional",
    "drawer": "sketch_rnn_small",
}


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """Drawings of shapes as ndjson, every other one raw: with times, elsewhere, larger."""
    folder = tmp_path_factory.mktemp("words")
    for name in NAMES:
        lines = []
        for i, strokes in enumerate(shapes.drawings(name, list(range(16)))):
            raw = [
                [[x * 2.7 + 41.25 for x in xs], [y * 2.7 - 300 for y in ys], [*range(len(xs))]] for xs, ys in strokes
            ]
            lines.append(json.dumps({"word": name, "key_id": f"{name}{i:05d}", "drawing": raw if i % 2 else strokes}))
        (folder / f"{name}.ndjson").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def run_of(tmp_path_factory, words):
    """kind → a finished run, trained once: images of shapes; frames, points and images of strokes; …"""

    def one(kind: str) -> Path:
        root = tmp_path_factory.getbasetemp() / f"page_{kind}"
        if not root.exists():
            overrides = ["loop.epochs=1", f"run.root={root}"]
            gan = kind.startswith("gan")
            overrides += ["data=strokes", f"data.root={words}"] * (kind not in ("images", "photos", "pose") and not gan)
            overrides += ["loop.epochs=8", "loop.lr=0.02"] * gan  # enough for pictures that differ
            overrides += ["pipeline.pose_weight=1", "data/stroke_augment=mild"] * (kind == "pose")
            overrides += ["data/raster=picture"] * (kind in ("strokes", "baseline"))
            overrides += ["pipeline.explain=0"] * (kind not in ("baseline", "photos", "drawer") and not gan)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(session, "report", lambda folder: None)
                session.execute(config.from_overrides(every.small(MODELS[kind], *overrides)))
        return every.folder_in(root)

    return one


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium to be had: {str(error).splitlines()[0]}")
        yield browser
        browser.close()
