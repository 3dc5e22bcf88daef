"""ArcFace and the supervised contrastive loss against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sketchlab import components, config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from tests import every


def test_supcon_is_its_equation():
    torch.manual_seed(0)
    z, labels, t = torch.randn(7, 5, dtype=torch.float64), torch.tensor([0, 1, 0, 2, 1, 0, 9]), 0.1
    unit = [v / v.norm() for v in z]
    terms = []
    for i in range(7):
        others = [a for a in range(7) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if positives:
            total = sum(math.exp(unit[i] @ unit[a] / t) for a in others)
            terms.append(-sum(math.log(math.exp(unit[i] @ unit[p] / t) / total) for p in positives) / len(positives))
    assert len(terms) == 5
    loss = components.make("loss", "supcon", {"temperature": t}, 3)
    assert loss(z, labels).item() == pytest.approx(sum(terms) / 5, rel=1e-12)
    alone = z[:3].requires_grad_()
    loss(alone, torch.tensor([0, 1, 2])).backward()
    assert alone.grad.abs().max() == 0, "nothing matches, nothing is learnt"


def test_arcface_is_its_equation():
    torch.manual_seed(0)
    loss = components.make("loss", "arcface", {"embedding": 5, "scale": 8.0, "margin": 0.5}, 4).double()
    z, labels = torch.randn(9, 5, dtype=torch.float64), torch.randint(4, (9,))
    z[0] = -loss.weight.detach()[labels[0]] + 0.01  # an angle past π − margin
    terms = []
    for x, y in zip(z, labels.tolist(), strict=True):
        angles = [math.acos((x @ w / x.norm() / w.norm()).item()) for w in loss.weight.detach()]
        own = math.cos(angles[y] + 0.5) if angles[y] < math.pi - 0.5 else math.cos(angles[y]) - 0.5 * math.sin(0.5)
        logits = torch.tensor([8 * (own if c == y else math.cos(a)) for c, a in enumerate(angles)], dtype=torch.float64)
        terms.append(F.cross_entropy(logits[None], torch.tensor([y])).item())
    assert math.acos(F.cosine_similarity(z[0], loss.weight[labels[0]].detach(), dim=0).item()) > math.pi - 0.5
    assert loss(z, labels).item() == pytest.approx(sum(terms) / 9, rel=1e-9)


def test_an_embedding_on_its_classes_direction_has_a_gradient():
    loss = components.make("loss", "arcface", {"embedding": 3, "scale": 64.0, "margin": 0.5}, 2)
    z = loss.weight.detach()[:1].clone().requires_grad_()
    loss(z, torch.tensor([0])).backward()
    assert z.grad.isfinite().all() and loss.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", ["arcface", "supcon"])
def test_a_run_learns_with_it(name):
    run = config.from_overrides(
        every.small("small_siamese", f"loss={name}", "loop.batch_size=8", "loop.schedule=constant")
    )
    runtime = Runtime(run.runtime)
    data = run.data.build(run.model.config.input)
    runtime.seed(1)
    task = run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)
    batch = task.draw(torch.arange(8), torch.arange(8))
    losses = [every.step(task, batch, 1.0)["loss"].item() for _ in range(40)]
    assert losses[-1] < 0.75 * losses[0]
    assert ("loss" in task.parts) == (name == "arcface"), "what it learns is in the checkpoints"


def test_arcface_is_of_classes_alone():
    run = config.from_overrides(every.small("small_siamese", "loss=arcface", "pipeline.match=instance"))
    data = run.data.build(run.model.config.input)
    with pytest.raises(UserError, match="pipeline.match=instance: pipeline.loss=arcface learns a vector per class"):
        run.pipeline.build(run.model.build(3), data, run.loop, Runtime(run.runtime), 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loss=supcon", "pipeline.loss_options.temperature=0"], "temperature=0.0: expected above 0"),
        (["loss=arcface", "pipeline.loss_options.margin=4"], "margin=4.0: expected above 0, and 0 to below π"),
        (["loss=supcon", "pipeline.sampler=hard"], "expected all"),
    ],
)
def test_mistakes(words, said):
    with pytest.raises(UserError) as error:
        config.from_overrides(["model=small_siamese", *words])
    assert said in str(error.value)
