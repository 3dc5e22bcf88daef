"""Steps recorded as CUDA graphs compute what they compute without: the same bits, unbroken and resumed."""

from __future__ import annotations

import random

import pytest
import torch

from sketchlab import config, run
from sketchlab.engine import steps
from sketchlab.pipelines.classify import task as classify
from tests import every
from tests.engine import test_waits
from tests.test_exact import digest

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")]
CUDA, LONG = "runtime.device=cuda", ["loop.epochs=67", "loop.eval_every=30"]  # 201 steps of four of twelve images
CASES = {
    "small_cnn": ["data/augment=mild", "loop.accumulate=2"],
    "vgg16": [],
    "cnn_lstm": ["data/stroke_augment=strong"],
    "cnn_bilstm2d": [],
    "sketchanet": [],
    "small_siamese": ["data.per_class=16", "loop.epochs=34"],
    "siamese": ["pipeline.loss=triplet", "pipeline.sampler=semihard", "loop.epochs=34"],
    "small_dcgan": ["pipeline.gd_ratio=2", "pipeline.d_head_start=5", "pipeline.ema=0.9", "pipeline.gate_window=20"],
    "dcgan_conditional": [],
    "small_cyclegan": [],
}


def trained(root, model: str, *words: str):
    """A finished run, in this process."""
    run.execute(config.from_overrides(every.small(model, CUDA, *LONG, *words, f"run.root={root}")), reported=False)
    return every.folder_in(root)


@pytest.mark.parametrize("model", CASES)
@pytest.mark.parametrize("precision", ["auto", "fp32", "fp16"])
def test_two_hundred_steps_have_the_bits_of_steps_without(model, precision, tmp_path, monkeypatch):
    recorded = []
    monkeypatch.setattr(
        steps.Steps, "_record", lambda self, *a, _r=steps.Steps._record: recorded.append(1) or _r(self, *a)
    )
    words = [*CASES[model], f"runtime.precision={precision}"]
    replayed = trained(tmp_path / "graph", model, *words)
    assert recorded and "without a CUDA graph" not in (replayed / "train.log").read_text()
    plain = trained(tmp_path / "plain", model, *words, "runtime.graph=false")
    assert digest(replayed) == digest(plain) and replayed.name == plain.name


@pytest.mark.parametrize("model", ["small_cnn", "cnn_lstm", "small_siamese", "small_dcgan", "small_cyclegan"])
def test_cut_at_twenty_random_steps_and_resumed_it_ends_with_the_same_bits(model, tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole", model, *CASES[model])
    draw, task = random.Random(model), None
    words = every.small(model, CUDA, *LONG, *CASES[model], "loop.save_every_s=0", f"run.root={tmp_path / 'cut'}")

    class Cut(Exception):
        pass

    left = 0

    def deadly(self, epoch, _begin):
        nonlocal left
        left -= 1
        if left == 0:
            raise Cut
        return _begin(self, epoch)

    task = type(_task(model))
    begin = task.begin_step
    monkeypatch.setattr(task, "begin_step", lambda self, epoch: deadly(self, epoch, begin))
    cuts = 0
    for _ in range(20):
        left = draw.randint(1, 30)
        try:
            run.execute(config.from_overrides(words), reported=False)
            break
        except Cut:
            cuts += 1
    left = -1
    run.execute(config.from_overrides(words), reported=False)
    assert cuts >= 10 and digest(every.folder_in(tmp_path / "cut")) == digest(whole)


def _task(model: str):
    return test_waits.a_task(model, CUDA)[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["runtime.profile=true"], "runtime.profile=true looks into each step"),
        (["runtime.recompute=true"], "runtime.recompute=true"),
        ([], "the shapes of batches differ"),
    ],
)
def test_what_is_not_recorded_says_why(words, reason, tmp_path):
    model = "stroke_lstm" if not words else "small_cnn"
    run.execute(config.from_overrides(every.small(model, CUDA, *words, f"run.root={tmp_path}")), reported=False)
    assert f"steps run without a CUDA graph: {reason}" in (every.folder_in(tmp_path) / "train.log").read_text()


def test_a_step_that_cannot_be_recorded_runs_without(tmp_path, monkeypatch):
    step = classify.Classify.train_step

    def waiting(self, batch):
        values = step(self, batch)
        assert float(values["loss"]) >= 0  # asks the device
        return values

    plain = trained(tmp_path / "plain", "small_cnn", "runtime.graph=false")
    monkeypatch.setattr(classify.Classify, "train_step", waiting)
    folder = trained(tmp_path / "waiting", "small_cnn")
    assert (folder / "train.log").read_text().count("steps run without a CUDA graph: ") == 1
    assert digest(folder) == digest(plain)


@pytest.mark.parametrize(("model", "words"), test_waits.CASES, ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_nothing_waits_for_the_gpu(model, words):
    task, order, runtime = test_waits.a_task(model, CUDA, *words)
    for step in range(3):
        raw = task.draw(*order.batch(step))
        runtime.seed(step)
        if step < 2:  # the first steps make what is made once
            every.step(task, raw)
            continue
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            every.step(task, raw)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("model", ["small_cnn", "small_dcgan"])
def test_fp16_keeps_its_scale(model, tmp_path):
    """Loss scaling: its scale is in the checkpoint and falls when gradients overflow, whose steps are skipped."""
    folder = trained(tmp_path, model, "runtime.precision=fp16", "loop.epochs=4")
    parts = torch.load(folder / "checkpoints/last.pt", weights_only=True)["parts"]
    for name in ("optimizer",) if model == "small_cnn" else ("opt_G", "opt_D"):
        assert 0 < parts[name]["scaler"]["scale"] <= 65536 and isinstance(parts[name]["param_groups"][0]["lr"], float)


pytestmark = gpu
