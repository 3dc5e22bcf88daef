"""The finished runs that tests share: each is trained once for all tests and all workers, by whoever needs it first."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from sketchlab.data.sets import shapes
from tests import every

NAMES = ("circle", "line", "square")
MORE = {  # model → what its shared run has besides what every.small gives
    "small_cnn": ["loop.epochs=12", "data.per_class=16", "pipeline.explain=6"],
    "small_siamese": [
        *("loop.eval_every=1", "model.input.size_px=32", "model.widths=[8,16]", "model.map_px=4", "model.embedding=8"),
    ],
    "small_dcgan": ["loop.epochs=3", "loop.lr=0.02"],  # enough for pictures that differ
    "dcgan_conditional": ["loop.epochs=3", "loop.lr=0.02"],
    "small_cyclegan": ["loop.epochs=1", "loop.lr=0.02"],
}


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of this session of tests, which `make` fills; tests must leave it as it is."""
    base = factory.getbasetemp()
    base = base.parent if base.name.startswith("popen-") else base  # with xdist, each worker's lies in the session's
    folder = base / name
    with FileLock(base / f"{name}.lock"):
        if not folder.exists():
            part = base / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


def run(factory: pytest.TempPathFactory, *words: str) -> Path:
    """The folder of the run of these words, without its report."""
    name = "run-" + hashlib.sha256(json.dumps(words).encode()).hexdigest()[:12]
    return every.folder_in(made_once(factory, name, lambda root: every.train([*words], str(root))))


def trained(factory: pytest.TempPathFactory, model: str = "small_cnn") -> Path:
    """The folder of a small run of a model on three shapes."""
    return run(factory, *every.small(model, *MORE.get(model, [])))


def drawings(factory: pytest.TempPathFactory, raw: bool = False) -> Path:
    """Drawings of three shapes as a folder of ndjson; raw: every other one with times, elsewhere, larger."""

    def write(folder: Path) -> None:
        for name in NAMES:
            lines = []
            for i, strokes in enumerate(shapes.drawings(name, list(range(16)))):
                far = [
                    [[x * 2.7 + 41.25 for x in xs], [y * 2.7 - 300 for y in ys], [*range(len(xs))]]
                    for xs, ys in strokes
                ]
                drawing = far if raw and i % 2 else strokes
                lines.append(json.dumps({"word": name, "key_id": f"{name}{i:05d}", "drawing": drawing}))
            (folder / f"{name}.ndjson").write_text("\n".join(lines) + "\n")

    return made_once(factory, "drawings-raw" if raw else "drawings", write)


def change_status(run: Path, copy: Path, **changes: Any) -> Path:
    """A copy of a run folder with another status."""
    shutil.copytree(run, copy)
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | changes))
    return copy
