"""Losses and samplers of retrieval, each against a slow twin that looks at one pair after another."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.errors import UserError
from sketchlab.pipelines.retrieve import losses, mining
from sketchlab.pipelines.retrieve.mining import Rule
from tests import every
from tests.pipelines.test_retrieve import PHOTO, SKETCH, maker, task

MARGIN, SHARE, TEMPERATURE = 0.7, 0.3, 0.2


def rule(loss: str, sampler: str = "all") -> Rule:
    return Rule(loss, sampler, SHARE, MARGIN, TEMPERATURE)


def batch(n: int = 9, width: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Sketches, photos (n, D), and truth (n,): three kinds, one of which stands alone."""
    generator = torch.Generator().manual_seed(seed)
    sketch, photo = (torch.randn(n, width, generator=generator, dtype=torch.float64) for _ in range(2))
    return sketch, photo, torch.tensor([0, 1] * (n // 2) + [7] * (n % 2))


def far(a: Tensor, b: Tensor) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def chosen_twin(d: list[list[float]], truth: list[int], sampler: str) -> list[list[int]]:
    """Of each sketch the photos that do not match and count."""
    out = []
    for i, row in enumerate(d):
        others = [k for k in range(len(row)) if truth[k] != truth[i]]
        beyond = [k for k in others if row[k] > row[i]]
        if sampler == "hard":
            others = [min(others, key=lambda k: row[k])]
        elif sampler == "semihard":
            others = [min(beyond, key=lambda k: row[k]) if beyond else max(others, key=lambda k: row[k])]
        out.append(others)
    return out


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def twin(loss: str, sampler: str, sketch: Tensor, photo: Tensor, truth: list[int]) -> tuple[float, float, float]:
    n = len(truth)
    d = [[far(a, b) for b in photo] for a in sketch]
    wrong = [(i, k) for i, ks in enumerate(chosen_twin(d, truth, sampler)) for k in ks]
    right = [(i, i) for i in range(n)]
    if loss == "contrastive":
        if sampler == "all":
            right = [(i, k) for i in range(n) for k in range(n) if truth[i] == truth[k]]
        near, away = (mean([f(d[i][k]) for i, k in pairs]) for f, pairs in (
            (lambda x: 0.5 * x * x, right), (lambda x: 0.5 * max(0.0, MARGIN - x) ** 2, wrong)))  # fmt: skip
        value = SHARE * near + (1 - SHARE) * away
    elif loss == "triplet":
        value = mean([max(0.0, d[i][i] - d[i][k] + MARGIN) for i, k in wrong])
    else:
        both = []
        for of in (lambda i, k: d[i][k], lambda i, k: d[k][i]):
            for i in range(n):
                score = [math.exp(-(of(i, k) ** 2) / 2 / TEMPERATURE) for k in range(n)]
                both.append(-math.log(score[i] / (score[i] + sum(score[k] for k in range(n) if truth[k] != truth[i]))))
        value = mean(both)
    return value, mean([d[i][k] for i, k in right]), mean([d[i][k] for i, k in wrong])


ALL = [("contrastive", s) for s in mining.SAMPLERS[1:]] + [("triplet", s) for s in mining.SAMPLERS[1:]]


@pytest.mark.parametrize("loss, sampler", [*ALL, ("infonce", "all")])
def test_every_loss_within_a_batch_is_that_of_its_twin(loss, sampler):
    for seed in range(4):
        sketch, photo, truth = batch(seed=seed)
        learnt = mining.of_batch(rule(loss, sampler), {"truth": truth}, [sketch, photo])
        value, near, away = twin(loss, sampler, sketch, photo, truth.tolist())
        torch.testing.assert_close(learnt.loss.item(), value)
        torch.testing.assert_close(learnt.means.tolist(), [near, away])


def test_triplets_as_drawn():
    first, second, third = (batch(seed=s)[0] for s in (0, 1, 2))
    learnt = mining.of_batch(rule("triplet", "pairs"), {}, [first, second, third])
    each = [max(0.0, far(a, b) - far(a, c) + MARGIN) for a, b, c in zip(first, second, third, strict=True)]
    torch.testing.assert_close(learnt.loss.item(), mean(each))


def test_pairs_as_drawn():
    first, second, _ = batch()
    other = torch.arange(9) % 3 > 0
    learnt = mining.of_batch(rule("contrastive", "pairs"), {"other": other}, [first, second])
    d = [far(a, b) for a, b in zip(first, second, strict=True)]
    each = [0.5 * max(0.0, MARGIN - x) ** 2 if y else 0.5 * x * x for x, y in zip(d, other.tolist(), strict=True)]
    torch.testing.assert_close(learnt.loss.item(), mean(each))
    torch.testing.assert_close(
        learnt.means.tolist(), [mean([d[0], d[3], d[6]]), mean([d[i] for i in (1, 2, 4, 5, 7, 8)])]
    )
    assert learnt.counts.tolist() == [3, 6]


def test_infonce_of_unit_vectors_is_cosine_cross_entropy():
    sketch, photo, _ = batch(8)
    sketch, photo = (torch.nn.functional.normalize(x) for x in (sketch, photo))
    logits, alone = sketch @ photo.T / TEMPERATURE, torch.arange(8)
    wanted = (torch.nn.functional.cross_entropy(logits, alone) + torch.nn.functional.cross_entropy(logits.T, alone)) / 2
    learnt = mining.of_batch(rule("infonce"), {"truth": alone}, [sketch, photo])
    torch.testing.assert_close(learnt.loss, wanted)


@pytest.mark.parametrize("loss, sampler", [*ALL, ("infonce", "all")])
def test_a_batch_of_one_class_and_equal_embeddings_give_finite_gradients(loss, sampler):
    sketch = torch.ones(4, 3, requires_grad=True)
    for truth in (torch.zeros(4), torch.arange(4)):
        learnt = mining.of_batch(rule(loss, sampler), {"truth": truth}, [sketch, torch.ones(4, 3)])
        learnt.loss.backward()
        assert (
            sketch.grad is not None
            and sketch.grad.isfinite().all()
            and learnt.loss.isfinite()
            and learnt.means.isfinite().all()
        )
    assert mining.others(torch.zeros(4, 4), torch.ones(4, 4, dtype=torch.bool), sampler).sum() == 0


def test_losses_of_a_validation_agree_with_training():
    first, second, third = (batch(seed=s)[0] for s in (0, 1, 2))
    match, other = losses.distance(first, second), losses.distance(first, third)
    triplets = mining.of_batch(rule("triplet", "pairs"), {}, [first, second, third]).loss
    assert mining.of_drawn(rule("triplet"), match, other) == triplets
    both = losses.contrastive(torch.cat([match, other]), torch.arange(18) >= 9, MARGIN).mean()
    half = Rule("contrastive", "pairs", 0.5, MARGIN, 1.0)
    torch.testing.assert_close(mining.of_drawn(half, match, other), both)
    logits = torch.stack([-(match**2), -(other**2)], dim=1) / 2 / TEMPERATURE
    torch.testing.assert_close(mining.of_drawn(rule("infonce"), match, other), -logits.log_softmax(1)[:, 0].mean())


# --- samplers


def test_triplets_hold_a_match_and_another():
    made, places = maker("class"), torch.arange(70) % 7
    near, away = made.both(places, rng.fold_each(1, torch.arange(70)))
    labels = torch.tensor([SKETCH.labels[i] for i in places.tolist()])
    assert (PHOTO.labels[near] == labels).all() and (PHOTO.labels[away] != labels).all()
    assert len(near.unique()) > 4 and len(away.unique()) == 8


def test_balanced_batches_have_as_many_of_each_class_and_every_sketch_is_as_likely():
    made = maker("class")  # three, two and two sketches
    counts, drawn = torch.zeros(7), 0
    for step in range(400):
        places = made.balanced(rng.fold_each(step, torch.arange(8)), 8)
        per_class = torch.bincount(SKETCH.labels[places], minlength=3)
        assert per_class.max() - per_class.min() <= 1
        counts += torch.bincount(places, minlength=7)
        drawn += 8
    expected = drawn / 3 / torch.tensor([3, 3, 3, 2, 2, 2, 2])
    assert ((counts - expected).abs() < 5 * expected.sqrt()).all()


def test_truth_is_equal_just_where_photos_match():
    for match in ("class", "instance"):
        made = maker(match)
        same = made.truth[:, None] == made.truth[None]
        values = SKETCH.labels if match == "class" else SKETCH.groups
        assert torch.equal(same, values[:, None] == values[None])


def test_groups_may_be_hashes():
    def hashed(samples):
        groups = [rng.fold("object", int(g)) for g in samples.groups]
        return type(samples)(labels=samples.labels, groups=torch.tensor(groups), ids=samples.ids)

    plain, wide = maker("instance"), maker("instance", sketch=hashed(SKETCH), photo=hashed(PHOTO))
    places = torch.arange(7)
    for own, theirs in ((plain, wide), (wide, plain)):
        found = own.matching(places, torch.full((7,), 0.5).double())
        assert torch.equal(PHOTO.groups[found], SKETCH.groups[places])
        assert own.hard_share == theirs.hard_share


@pytest.mark.parametrize(
    "words",
    [
        ["pipeline.loss=triplet"],
        ["pipeline.loss=triplet", "pipeline.sampler=semihard"],
        ["pipeline.loss=contrastive", "pipeline.sampler=hard", "pipeline.match=instance"],
        ["pipeline.loss=infonce", "pipeline.sampler=all", "pipeline.balance=true"],
    ],
)
def test_learns_a_batch_by_heart(words):
    made = task("loop.schedule=constant", "loop.warmup_epochs=0", *words)
    drawn = made.draw(torch.arange(0, 24, 3), rng.fold_each(0, torch.arange(8)))  # of three classes
    logs = [every.step(made, drawn, 0.0) for _ in range(60)]
    assert set(logs[0]) == {"loss", "distance_match", "distance_other"}
    assert logs[-1]["loss"] < 0.5 * logs[0]["loss"] and logs[-1]["distance_match"] < logs[-1]["distance_other"]
    assert math.isfinite(made.evaluate("val")["loss"])


@pytest.mark.parametrize(
    "words, said",
    [
        (["pipeline.loss=hinge"], "pipeline.loss=hinge: expected one of contrastive, triplet, infonce"),
        (["pipeline.sampler=easy"], "pipeline.sampler=easy: expected one of pairs, all, semihard, hard"),
        (
            ["pipeline.loss=infonce"],
            "pipeline.sampler=pairs: pipeline.loss=infonce looks at whole batches, expected all",
        ),
        (
            ["pipeline.sampler=hard", "pipeline.match=instance", "pipeline.hard_share=0.5"],
            "with pipeline.sampler=pairs",
        ),
        (["pipeline.temperature=0"], "pipeline.margin=1.0, temperature=0.0: expected both to be above 0"),
    ],
)
def test_bad_input_is_one_line(words, said):
    with pytest.raises(UserError) as error:
        task(*words)
    assert said in str(error.value) and "\n" not in str(error.value)
