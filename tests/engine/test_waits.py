"""A training step never asks its device for a value: the host runs ahead, and a step can be recorded."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sketchlab import config, rng
from sketchlab.data.strokes import prepare as stroke_prepare
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime
from sketchlab.layers import frame_front
from tests import every

# What waits for the device: a number of it is read, or a size depends on its values.
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal", "is_nonzero", "bincount"}
OTHERS = {  # the settings that take other lines
    "small_cnn": [
        ["data/augment=strong"],
        ["loop.accumulate=2", "loop.clip_norm=1"],
        ["pipeline.class_weights=balanced"],
    ],
    "cnn_lstm": [["data/stroke_augment=strong"], ["pipeline.pose_weight=1", "data/stroke_augment=mild"]],
    "small_siamese": [
        ["pipeline.loss=triplet", "pipeline.sampler=pairs", "pipeline.balance=true"],
        ["pipeline.loss=triplet", "pipeline.sampler=semihard"],
        ["pipeline.loss=infonce", "pipeline.sampler=all"],
    ],
    "small_dcgan": [
        ["pipeline.ema=0.9", "pipeline.gate_window=50"],
        ["pipeline.gd_ratio=2", "pipeline.d_head_start=1"],
    ],
    "small_cyclegan": [["pipeline.gan_loss=bce", "pipeline.cycle=adversarial"]],
}
STEPPED = [m for m in every.TWINS if m not in every.LARGE and not m.startswith("features_")]  # not the baselines
SOME = ("small_cnn", "stroke_lstm", "small_siamese", "small_dcgan", "small_cyclegan")
CASES = [pytest.param(m, [], marks=[pytest.mark.slow] * (m not in SOME)) for m in [*STEPPED, "small_cnn"]]
CASES += [(m, several[0]) for m, several in OTHERS.items()]
CASES += [pytest.param(m, words, marks=pytest.mark.slow) for m, several in OTHERS.items() for words in several[1:]]


class NoWaits(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.found.add(name)
        if name == "repeat_interleave" and (kwargs or {}).get("output_size") is None:
            self.found.add("repeat_interleave without output_size")
        if name == "lift_fresh":
            self.found.add("numbers of the host made a tensor")
        if name in ("index", "index_put_", "index_put") and any(
            i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1]
        ):
            self.found.add(f"{name} by a mask")
        return func(*args, **(kwargs or {}))


def a_task(model: str, *words: str):
    run = config.from_overrides(every.small(model, *words))
    runtime = Runtime(run.runtime)
    data = run.data.build(run.model.config.input)
    runtime.seed(rng.fold(1, "init"))
    task = run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)
    return task, Order(task.n_train, run.loop.batch_size, 1), runtime


@contextlib.contextmanager
def rates_as_tensors(task):
    """As on a GPU: what begins a step may fill the rate, neither read it nor put another in its place."""
    groups = [g for part in task.parts.values() if isinstance(part, torch.optim.Optimizer) for g in part.param_groups]
    rates = [torch.full((), group["lr"]) for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    yield
    assert all(group["lr"] is rate for group, rate in zip(groups, rates, strict=True))
    with torch.utils._python_dispatch._disable_current_modes():
        for group in groups:
            group["lr"] = group["lr"].item()


@pytest.mark.parametrize(("model", "words"), CASES, ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_nothing_waits_from_prepare_to_the_optimizer(model, words, monkeypatch):
    """Torch's own optimizer, and what is done to strokes in memory before they travel, are no part of it."""
    task, order, runtime = a_task(model, *words)
    mode = NoWaits()

    def apart(function):
        def call(*args, **kwargs):
            with torch.utils._python_dispatch._disable_current_modes():
                return function(*args, **kwargs)

        return call

    for name in ("ahead", "ahead_posed"):
        monkeypatch.setattr(stroke_prepare.Prepare, name, apart(getattr(stroke_prepare.Prepare, name)))
    monkeypatch.setattr(frame_front.FrameFront, "_own", lambda *_: [])  # leaves out empty frames on a CPU alone
    for optimizer in (part for part in task.parts.values() if isinstance(part, torch.optim.Optimizer)):
        monkeypatch.setattr(optimizer, "step", apart(optimizer.step))
    for step in range(3):
        raw = task.draw(*order.batch(step))
        runtime.seed(step)
        task.begin_step(0.0) if step == 0 else None  # a GAN is measured before its first step
        with mode:
            batch = task.prepare(raw)
            if step:
                with rates_as_tensors(task):
                    task.begin_step(0.0)
            task.train_step(batch)
        task.end_step()
    assert not mode.found


def test_waits_are_noticed():
    mode, x = NoWaits(), torch.arange(6)
    with mode:
        x[x > 2]
        torch.repeat_interleave(x, x)
        x.sum().item()
        (x > 1).nonzero()
        x[torch.tensor([1, 2])]
        torch.repeat_interleave(x, x, output_size=15)
        x.new_tensor([1, 2])
    assert mode.found == {
        "index by a mask",
        "repeat_interleave without output_size",
        "_local_scalar_dense",
        "nonzero",
        "numbers of the host made a tensor",
    }
