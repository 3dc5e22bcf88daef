"""torch.compile (runtime.compile=true): every network computes the same, and so do steps of every kind of pipeline."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from torch import Tensor, nn

from sketchlab import baselines, config, rng
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime
from tests import every

BASELINES = {path.stem for path in Path(baselines.__file__).parent.glob("*.py")}  # named as their files in conf/ are
NETWORKS = [case for case in every.models(()) if case.values[0] not in BASELINES]
STEPS = 3


@pytest.mark.long  # the compiler takes half a minute for each
@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_computes_the_same(model):
    """In doubles: batch norms over a handful of samples make much of single precision's rounding."""
    run = config.from_overrides(every.small(model))
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    task = run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), 1)
    for net, inputs in task.networks.values():
        given = [_several(x) for x in inputs]
        with torch._inductor.config.patch(fallback_random=True):  # dropout from torch's own stream
            plain, compiled = (_answer(net, given, on) for on in (False, True))
        for mine, theirs in zip(compiled, plain, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)


def _several(x: Tensor) -> Tensor:
    """(1, …) → (6, …), in doubles; images differ, drawings as points and classes are the same."""
    x = x.repeat(6 // len(x), *[1] * (x.ndim - 1))
    if not x.is_floating_point():
        return x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.double() + (noise if x.ndim == 4 else 0)


def _answer(net: nn.Module, inputs: list[Tensor], compiled: bool) -> list[Tensor]:
    """What it gives, and the gradient of the mean of its squares."""
    twin: Any = copy.deepcopy(net).double().train()
    torch.manual_seed(2)
    said = (torch.compile(twin) if compiled else twin)(*inputs)
    outputs = [said] if isinstance(said, Tensor) else list(said)
    torch.stack([out.square().mean() for out in outputs]).sum().backward()
    return [*outputs, *(p.grad for p in twin.parameters() if p.grad is not None)]


@pytest.mark.long
@pytest.mark.parametrize("model", ["small_cnn", "vgg16", "cnn_lstm", "small_siamese", "small_dcgan"])
def test_compiled_steps_are_the_same(model):
    compare(model)


def compare(model: str, *words: str) -> None:
    words = every.small(model, *without_draws(model), *words)
    plain, compiled = (losses([*words, f"runtime.compile={on}"]) for on in ("false", "true"))
    assert compiled == pytest.approx(plain, rel=0.05, abs=0.02)


def without_draws(model: str) -> list[str]:
    """A compiled network, and a GPU, draw their dropout from other streams; and no Adam, which divides by gradients
    that are nearly nothing but rounding."""
    words = ["loop.warmup_epochs=0", "runtime.precision=fp32", "loop.batch_size=6", "loop.optimizer=sgd"]
    return [*words, "loop.lr=0.0005"] + ["model.dropout=0"] * (model not in ("small_siamese", "small_dcgan"))


def losses(words: list[str]) -> list[float]:
    """What the first steps report, step by step."""
    run = config.from_overrides(words)
    runtime = Runtime(run.runtime)
    data = run.data.build(run.model.config.input)
    runtime.seed(rng.fold(1, "init"))
    task = run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)
    order, out = Order(task.n_train, run.loop.batch_size, 1), []
    for step in range(STEPS):
        runtime.seed(rng.fold(1, step))
        out += [value.item() for _, value in sorted(every.step(task, task.draw(*order.batch(step)), 0.0).items())]
    return out
