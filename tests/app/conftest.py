"""Folders of drawings and small finished runs that the tests of the page share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import every, finished

NAMES = list(finished.NAMES)
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
    return finished.drawings(tmp_path_factory, raw=True)


@pytest.fixture(scope="session")
def run_of(tmp_path_factory, words):
    """kind → a finished run: images of shapes; frames, points and images of strokes; …"""

    def one(kind: str) -> Path:
        if kind in ("images", "photos", "gan", "gan_classes"):
            return finished.trained(tmp_path_factory, MODELS[kind])
        data = [] if kind == "pose" else ["data=strokes", f"data.root={words}"]
        overrides = ["loop.epochs=1", *data]
        overrides += ["pipeline.pose_weight=1", "data/stroke_augment=mild"] * (kind == "pose")
        overrides += ["data/raster=picture"] * (kind in ("strokes", "baseline"))
        overrides += ["pipeline.explain=0"] * (kind not in ("baseline", "drawer"))
        return finished.run(tmp_path_factory, *every.small(MODELS[kind], *overrides))

    return one
