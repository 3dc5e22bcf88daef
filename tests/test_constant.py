"""Networks of one's own that tell nothing: their runs end finished, with the chance score, and say what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sketchlab.models
from sketchlab import components, config, run
from sketchlab.engine.rundir import RunDir
from sketchlab.errors import STRICT, UserError
from tests import every

MODEL = """
from dataclasses import dataclass
import torch
from torch import nn
from sketchlab.inputs import Input
from sketchlab.models.dcgan import Scaled

GIVES = ("logits", "embeddings", "generator and discriminator")

@dataclass(frozen=True)
class Config:
    input: Input
    gives: int  # numbers per image; 0 = one per class; -1 = a grey image of noise

class Constant(nn.Module):
    def __init__(self, channels, n):
        super().__init__()
        self.looks = nn.Conv2d(channels, 4, 3, padding=1)
        self.answer = nn.Parameter(torch.linspace(-1, 1, n))

    def forward(self, images):
        self.looks(images)
        return self.answer.expand(len(images), -1)

class Grey(Scaled):
    z, n_classes = 3, 0

    def __init__(self, input):
        super().__init__(input)
        self.image = nn.Parameter(torch.zeros(input.channels, input.size_px, input.size_px))

    def forward(self, z):
        return self.image.expand(len(z), -1, -1, -1)

class Judge(Scaled):
    pack = 1

    def __init__(self, input):
        super().__init__(input)
        self.judge = nn.Linear(input.channels * input.size_px**2, 1)

    def forward(self, images):
        return self.judge(images.flatten(1))[:, 0]

def build(config, n_classes):
    if config.gives < 0:
        return nn.ModuleDict({"G": Grey(config.input), "D": Judge(config.input)})
    return Constant(config.input.channels, config.gives or n_classes)
"""
GAN = ["pipeline.features=random", "pipeline.epoch_images=1", "pipeline.eval_images=24", "loop.lr=1e-9"]
KINDS = {  # own model → its input, pipeline, and what the run is given
    "same_embedding": ("pairs", "retrieve", 6, ["data.per_class=48", "loop.epochs=2"]),
    "same_answer": ("images", "classify", 0, ["data.per_class=12", "loop.epochs=2"]),
    "same_frames": ("frames", "classify", 0, ["data.per_class=12", "loop.epochs=1"]),
    "same_image": ("images", "gan", -1, ["data.per_class=20", "loop.epochs=1", *GAN]),
}
WORDS = ["data=shapes", "data.classes=[circle,square,line]", "loop.batch_size=8", "runtime.device=cpu"]
WORDS += ["runtime.workers=0", "data.splits.train=0.5", "data.splits.val=0.25", "data.splits.test=0.25"]


def write(root: Path) -> None:
    for folder in ("models", "conf/model"):
        (root / folder).mkdir(parents=True)
    (root / "models" / "constant.py").write_text(MODEL)
    for name, (kind, pipeline, gives, _) in KINDS.items():
        (root / "conf" / "model" / f"{name}.yaml").write_text(
            f"defaults: [override /pipeline@_global_.pipeline: {pipeline}, override /loop@_global_.loop: {pipeline}, "
            f"_self_]\nname: constant\ngives: {gives}\n"
            f"input: {{kind: {kind}, size_px: 16, channels: 1, ink: bright, mean: [0.5], std: [0.5]}}\n"
        )


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Own model → the folder of its run."""
    root = tmp_path_factory.mktemp("constant")
    write(root / "mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "EXTRA", str(root / "mine"))
        patch.setattr(sketchlab.models, "__path__", [*sketchlab.models.__path__, str(root / "mine" / "models")])
        for name, (*_, more) in KINDS.items():
            run.execute(config.from_overrides([f"model={name}", *WORDS, *more, f"run.root={root / name}"]))
    return {name: every.folder_in(root / name) for name in KINDS}


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_learns_nothing_ends_finished(ended, name):
    status = read(ended[name], "status.json")
    assert status["state"] == "finished"
    page = (ended[name] / "report.html").read_text()
    for split in ("val", "test"):
        for what, why in read(ended[name], f"explain_{split}.json").items():
            assert (
                what in page and why[:40] in page and f"{split}: no {what}" in (ended[name] / "train.log").read_text()
            )


def test_the_same_embedding_scores_chance_and_is_warned_of(ended):
    folder = ended["same_embedding"]
    metrics, chance = read(folder, "status.json")["metrics"], read(folder, "chance_test.json")
    assert {"recall@1", "class_mAP", "class_precision@10", "roc_area", "pair_accuracy"} <= set(chance)
    for name, value in chance.items():
        assert metrics[f"test/{name}"] == pytest.approx(value, abs=1e-9), name
    missing = read(folder, "explain_test.json")
    assert list(missing) == ["map of the embeddings"]
    assert "all embeddings are the same" in missing["map of the embeddings"]
    said = read(folder, "warnings_test.json")["ties"]
    assert "Most distances are tied: 100% of neighbours" in said
    assert (
        f"warning: test: {said}" in (folder / "train.log").read_text() and said in (folder / "report.html").read_text()
    )
    assert (folder / "samples" / "test_retrieval.png").exists() and not (folder / "map_test.csv").exists()


@pytest.mark.parametrize("name", ["same_answer", "same_frames"])
def test_the_same_answer_has_no_place_that_spoke_for_it(ended, name):
    metrics = read(ended[name], "status.json")["metrics"]
    assert metrics["test/accuracy"] == pytest.approx(1 / 3)
    assert "do not depend on its last map" in read(ended[name], "explain_test.json")["Grad-CAM"]
    assert (ended[name] / "early_test.csv").exists() == (name == "same_frames")


def test_the_same_image_is_called_no_better_than_grey(ended):
    folder = ended["same_image"]
    assert read(folder, "explain_test.json") == {}
    said = read(folder, "warnings_test.json")["no better than grey"]
    assert "fid@random" in said and said in (folder / "report.html").read_text()
    assert f"warning: test: {said}" in (folder / "train.log").read_text()
    assert "noise" in read(folder, "calibration_test.json")["fid@random"]


def test_what_fails_is_in_the_log_and_raised_in_tests(tmp_path, monkeypatch):
    folder = RunDir(tmp_path)
    folder.open()

    def broken() -> dict[str, Any]:
        raise ZeroDivisionError("by a mistake")

    def refused() -> dict[str, Any]:
        raise UserError("there is nothing to show")

    parts = {"a map": broken, "a sheet": refused, "numbers": lambda: {"numbers": {"n": 3}}}
    with pytest.raises(ZeroDivisionError):
        folder.explain("val", parts)
    monkeypatch.delenv(STRICT)
    folder.explain("val", parts)
    folder.lock.release()
    found = read(tmp_path, "explain_val.json")
    assert found == {
        "a map": "ZeroDivisionError: by a mistake (its traceback stands in train.log)",
        "a sheet": "there is nothing to show",
    }
    log = (tmp_path / "train.log").read_text()
    assert "val: no a map, by an error:\nTraceback" in log and "ZeroDivisionError: by a mistake" in log
    assert "val: no a sheet: there is nothing to show" in log and read(tmp_path, "numbers_val.json") == {"n": 3}
