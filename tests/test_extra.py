"""A new model and a new data set: two Python files, two YAML files, and everything works with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = """
from dataclasses import dataclass
from torch import nn
from sketchlab.inputs import Input

GIVES = ("logits",)

@dataclass(frozen=True)
class Config:
    input: Input
    hidden: int  # width

def build(config, n_classes):
    pixels = config.input.channels * config.input.size_px**2
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, config.hidden), nn.ReLU(), nn.Linear(config.hidden, n_classes))
"""
DATA = """
from dataclasses import dataclass
import numpy as np, torch
from sketchlab import rng
from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Images, Split, fingerprint
from sketchlab.data.images import augment

GIVES = ("images",)

@dataclass(frozen=True)
class Config:
    root: str | None
    classes: list[str] | None
    per_class: int
    on_bad: str
    splits: splits.Config
    augment: augment.Config

def build(config, input):
    names = config.classes or ["rows", "columns"]
    labels = np.repeat(np.arange(len(names)), config.per_class)
    ids = [f"{names[label]}/{i}" for i, label in enumerate(labels)]
    pixels = rng.generator("stripes").integers(0, 60, (len(labels), 1, 16, 16), dtype=np.uint8)
    pixels[labels == 0, :, ::4] += 150
    pixels[labels == 1, :, :, ::4] += 150
    store, labels_ = Images(torch.from_numpy(pixels)), torch.from_numpy(labels)
    places = {k: torch.from_numpy(v) for k, v in splits.split(config.splits, ids, labels, names).items()}
    made = {k: Split(store, p, labels_[p], [ids[i] for i in p], p) for k, p in places.items()}
    prepare = augment.Prepare(input, config.augment)
    return Dataset(names, made, prepare, config.augment.views, fingerprint(pixels))
"""


def write(root: Path, sets: str = "data/sets") -> None:
    for name, text in {
        "models/two_layers.py": MODEL,
        f"{sets}/stripes.py": DATA,
        "conf/model/two_layers.yaml": (
            "name: two_layers\nhidden: 32\n"
            "input: {kind: images, size_px: 16, channels: 1, ink: bright, mean: [0.5], std: [0.5]}\n"
        ),
        "conf/data/stripes.yaml": (
            "defaults: [splits: fraction, augment: none, _self_]\n"
            "name: stripes\nroot: null\nclasses: null\nper_class: 40\non_bad: error\n"
        ),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def composed(root: Path, *words: str) -> str:
    """What a process says of the run: the names of its data set and model, or why there is none."""
    code = (
        "import sys; from sketchlab import config; from sketchlab.errors import UserError\n"
        "try: run = config.from_overrides(sys.argv[1:]); print(run.data.name, run.model.name)\n"
        "except UserError as error: print(error)"
    )
    environment = {**os.environ, "SKETCHLAB_EXTRA": str(root)}
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_data_sets_in_the_older_place(tmp_path):
    """Without data/sets/ the files in data/ are the data sets; one with today's imports out of date is one line."""
    write(tmp_path, sets="data")
    assert composed(tmp_path, "model=two_layers", "data=stripes") == "stripes two_layers"
    file = tmp_path / "data" / "stripes.py"
    file.write_text(file.read_text().replace("sketchlab.data.images import augment", "sketchlab.data import augment"))
    said = composed(tmp_path, "model=two_layers", "data=stripes")
    assert said.startswith(f"{file}:7: ImportError: cannot import name 'augment' from 'sketchlab.data'")
    assert said.endswith("sketchlab/README.md says where what is") and "\n" not in said


@pytest.mark.slow
def test_composed_trained_resumed_and_reported(tmp_path):
    write(tmp_path / "mine")
    run = ["model=two_layers", "data=stripes", "loop.batch_size=16", "loop.lr=0.01", "loop.schedule=constant"]
    twice = (  # in one process: what takes long is to load torch
        "import sys; from sketchlab import config, run; words = sys.argv[1:]\n"
        "run.execute(config.from_overrides([*words, 'loop.epochs=3']), reported=False)\n"
        "sys.argv += ['loop.epochs=8']; run.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", twice, *run],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "SKETCHLAB_EXTRA": str(tmp_path / "mine")},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "continues the finished run of 3 epochs" in done.stdout and "resumed at step 12 of 32" in done.stdout
    page = Path(done.stdout.splitlines()[-1].removeprefix("report: "))
    assert page.is_file() and page.parent.parent.name == "two_layers-stripes" and "two_layers" in page.read_text()
    assert '"test/accuracy": 1.0' in (page.parent / "status.json").read_text()
