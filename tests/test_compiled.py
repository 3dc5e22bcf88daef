"""torch.compile (runtime.compile=true) on every network: the same losses as without it."""

from __future__ import annotations

import pytest

from sketchlab import config, rng
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime
from tests import every

BASELINES = ("hog_svm", "pixels_logistic", "pixels_naive_bayes", "features_logistic", "features_random_forest")
NETWORKS = [case for case in every.models(()) if case.values[0] not in BASELINES]
STEPS = 3


@pytest.mark.slow  # the compiler takes half a minute for each
@pytest.mark.parametrize("model", NETWORKS)
def test_compiled_is_the_same(model):
    compare(model)


def compare(model: str, *words: str) -> None:
    words = every.small(model, *without_draws(model), *words)
    plain, compiled = (losses([*words, f"runtime.compile={on}"]) for on in ("false", "true"))
    assert compiled == pytest.approx(plain, rel=0.05, abs=0.02)


def without_draws(model: str) -> list[str]:
    """A compiled network, and a GPU, draw their dropout from other streams; and no Adam, which divides by gradients
    that are nearly nothing but rounding."""
    words = [
        "loop.warmup_epochs=0",
        "runtime.precision=fp32",
        "loop.batch_size=6",
        "loop.optimizer=sgd",
        "loop.lr=0.0005",
    ]
    fields = config.from_overrides([f"model={model}"]).model
    words += ["model.dropout=0"] if hasattr(fields.config, "dropout") else []
    return words + ["model.backbone.dropout=0"] * hasattr(fields.backbone and fields.backbone.config, "dropout")


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
        out += [value.item() for _, value in sorted(task.train_step(task.draw(*order.batch(step)), 0.0).items())]
    return out
