"""Every model in conf/, found by globbing, learns one batch by heart."""

from __future__ import annotations

from statistics import mean

import pytest

from sketchlab import config, rng
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime
from tests import every

STEPS = 120


@pytest.mark.parametrize("model", every.models(every.LARGE))
def test_overfits_one_batch(model):
    learn_by_heart(model)


def learn_by_heart(model: str, *words: str) -> None:
    more = ["loop.schedule=constant", "loop.warmup_epochs=0", "loop.batch_size=6", "loop.clip_norm=0", *words]
    run = config.from_overrides(every.small(model, *more))
    runtime = Runtime(run.runtime)
    data = run.data.build(run.model.config.input)
    runtime.seed(rng.fold(1, "init"))
    task = run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)
    if model == "zero_shot":
        pytest.skip("nothing is learnt: tests/pipelines/test_by_text.py")
    if hasattr(task, "fit"):  # a baseline: by heart means better than chance on what it was fitted to
        task.fit()
        assert task.evaluate("train")["accuracy"] > 1.5 / len(data.classes)
        return
    batch = task.draw(*Order(task.n_train, 6, 1).batch(0))
    losses = []
    for step in range(STEPS):
        runtime.seed(rng.fold(1, step % 4))  # four draws of noise and dropout, again and again
        losses.append({k: v.item() for k, v in every.step(task, batch, 0.0).items()})
        if "loss" in losses[-1] and losses[-1]["loss"] < 0.3 * losses[0]["loss"]:
            return
        # an adversarial pair: the discriminator tells one batch's real images from the generator's while both learn
        late = mean([row.get("d_real", 0) - row.get("d_fake", 0) for row in losses[-20:]])
        if step >= 20 and late > 0.2:
            return
    if "loss" in losses[0]:
        raise AssertionError(f"the loss went from {losses[0]['loss']:.3f} to {losses[-1]['loss']:.3f} only")
    raise AssertionError(f"D's mean prediction on real − fake images is {late:.2f} after {STEPS} steps on one batch")
