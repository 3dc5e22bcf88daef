"""mixup and CutMix: torchvision's mathematics, from keys alone."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from sketchlab import config, rng
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.pipelines.classify import mix
from sketchlab.pipelines.classify.predictions import right
from tests import every
from tests.test_exact import kill_and_resume

KEYS = rng.fold_each(rng.fold("test"), torch.arange(4000))


def test_shares_are_of_a_beta_distribution_and_boxes_as_large_as_they_say():
    shares, boxes = mix.drawn(KEYS, 0.4, 0.0, 20, 30)
    assert stats.kstest(shares.numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 0.01 and not boxes.any()
    shares, boxes = mix.drawn(KEYS, 0.0, 1.0, 20, 30)
    x1, y1, x2, y2 = boxes.unbind(1)
    assert torch.allclose(shares, 1 - (x2 - x1) * (y2 - y1) / 600.0)
    assert (x1.min(), y1.min(), x2.max(), y2.max()) == (0, 0, 30, 20) and 0.55 < shares.mean() < 0.72
    shares, boxes = mix.drawn(KEYS, 0.2, 1.0, 32, 32)
    assert 0.4 < (boxes.any(1)).float().mean() < 0.52  # half, less the empty ones
    assert len(mix.partners(KEYS, 7).unique()) == 7 and mix.partners(KEYS, 7).bincount().min() > 480


@pytest.mark.parametrize("alphas", [(0.5, 0.0), (0.0, 1.0)])
def test_images_and_labels_are_torchvisions(alphas):
    torch.manual_seed(0)
    images, labels = torch.rand(6, 3, 20, 30), torch.tensor([0, 1, 2, 3, 0, 1])
    shares, boxes = mix.drawn(KEYS[:6], *alphas, 20, 30)
    others, other_labels = images.roll(1, 0), labels.roll(1)
    ours = mix.mixed(images, others, shares, boxes)
    target = mix.targets(labels, other_labels, shares, 4)
    for i in range(6):
        given = {"labels": labels, "batch_size": 6, "lam": shares[i].item(), "lam_adjusted": shares[i].item()}
        theirs = (v2.CutMix if alphas[1] else v2.MixUp)(alpha=1.0, num_classes=4)
        out = theirs.transform(images, given | {"box": boxes[i].tolist()})
        torch.testing.assert_close(ours[i], out[i])
        torch.testing.assert_close(target[i], theirs.transform(labels, given)[i].float())


def task(*words: str):
    run = config.from_overrides(every.small("small_cnn", "pipeline.mixup=0.3", "pipeline.cutmix=1.0", *words))
    runtime = Runtime(run.runtime)
    data = run.data.build(run.model.config.input)
    runtime.seed(1)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)


@pytest.mark.parametrize("words", [[], ["data/augment=mild"]])
def test_a_sample_follows_from_its_own_key(words):
    made = task(*words)
    places, keys = torch.arange(8), KEYS[:8]
    whole = made.prepare(made.draw(places, keys))
    for part in (slice(0, 3), slice(3, 8)):
        alone = made.prepare(made.draw(places[part], keys[part]))
        for name in ("inputs", "labels"):
            assert torch.equal(alone[name], whole[name][part])
    assert torch.allclose(whole["labels"].sum(1), torch.ones(8)) and (whole["labels"].max(1).values < 1).sum() > 2
    plain = made.data.prepare(made.train.gather(places))
    assert (whole["inputs"] != plain).flatten(1).any(1).sum() >= 6
    assert 0 < every.step(made, made.draw(places, keys))["loss"] < 10


def test_frozen_layers_see_every_mixture(monkeypatch):
    """Their features are not kept: what is mixed differs in every epoch."""
    assert task("pipeline.cache=true").features is None


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    kill_and_resume("small_cnn", ["pipeline.mixup=0.3", "pipeline.cutmix=1.0"], tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pipeline.mixup=-1"], "pipeline.mixup=-1.0, cutmix=0.0: expected 0"),
        (
            ["pipeline.cutmix=1", "pipeline.pose_weight=1"],
            "expected pipeline.loss=cross_entropy and pipeline.pose_weight=0",
        ),
        (["pipeline.mixup=1", "loss=supcon"], "pipeline.sampler: no such key"),
    ],
)
def test_mistakes(words, said):
    with pytest.raises(UserError) as error:
        config.from_overrides(["model=small_cnn", *words])
    assert said in str(error.value)


def test_points_are_not_mixed():
    run = config.from_overrides(every.small("stroke_lstm", "pipeline.mixup=0.3"))
    data = run.data.build(run.model.config.input)
    with pytest.raises(UserError, match="this network takes points"):
        run.pipeline.build(run.model.build(3), data, run.loop, Runtime(run.runtime), 1)


def test_accuracy_of_a_mixture_counts_each_label_by_its_share():
    """mixup's own code: λ times right by the first label, 1 − λ times right by the second."""
    torch.manual_seed(0)
    logits, first, second = torch.randn(40, 3), torch.randint(3, (40,)), torch.randint(3, (40,))
    share = torch.rand(40)
    answers = logits.argmax(1)
    expected = (share * (answers == first) + (1 - share) * (answers == second)).mean()
    labels = mix.targets(first, second, share, 3)
    torch.testing.assert_close(right(logits, labels), expected)
    torch.testing.assert_close(right(logits, first), (answers == first).float().mean())
