"""The claims of an experiment of arms.py, tested: the paired tests that the pages of sketchlab.report use.

On one test set for all seeds the paired bootstrap over samples within seeds. Where each seed has a split of its own,
two tests: exact sign flips over the seeds' differences, which speak of new trainings and splits, and the bootstrap over
images, each with its mean over the seeds that tested it, which speaks of new images. The larger p and the wider
interval count. p is Holm's, of all claims that could be tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from arms_types import Claim, Experiment

from sketchlab import stats
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.paired import Test, over_examples
from sketchlab.report.examples import Examples

WORDS = {  # (what the document says, what was found) → of the claim
    ("better", "better"): "holds here",
    ("better", "worse"): "does not hold here: the other way round",
    ("better", "no evidence of a difference"): "not shown here: no evidence of a difference",
    ("no better", "better"): "does not hold here: better",
    ("no better", "worse"): "holds here: worse",
    ("no better", "no evidence of a difference"): "nothing here speaks against it: no evidence of a difference",
}


@dataclass(frozen=True)
class Tested:
    """A claim, with a minus b. test, p: None where no paired test is right."""

    claim: Claim
    test: Test | None
    p: float | None  # by Holm
    verdict: str
    many: int
    notes: tuple[str, ...]


def test(experiment: Experiment, groups: dict[str, Group]) -> list[Tested]:
    """Every claim whose two arms have runs with its score."""
    found: list[tuple[Claim, Test | None, str, tuple[str, ...]]] = []
    for claim in experiment.claims:
        if claim.a not in groups or claim.b not in groups:
            continue
        key = claim.key or experiment.keys[0]
        a, b, samples = groups[claim.a], groups[claim.b], pairs.Samples(key)
        for pair in pairs.compare([a, b], key, samples):  # none when one of them has no such score
            turned = pair.test if pair.test is None or pair.a is a else _turned(pair.test)
            if turned is not None and turned.method.endswith("folds"):
                turned = _and_over_images(turned, a, b, samples)
            found.append((claim, turned, pair.verdict, pair.notes))
    tests = [t for _, t, _, _ in found if t is not None]
    adjusted = iter(stats.holm([t.p for t in tests]))
    return [_judged(claim, t, next(adjusted) if t else None, v, len(tests), notes) for claim, t, v, notes in found]


def _turned(test: Test) -> Test:
    return replace(test, difference=-test.difference, low=-test.high, high=-test.low)


def _and_over_images(seeds: Test, a: Group, b: Group, samples: pairs.Samples) -> Test:
    """Both tests of runs that have a split each: the larger p, the wider interval."""
    scored: dict[str, list[float]] = {}
    for x, y in pairs.matched(a, b, samples.key)[0]:
        one, other = samples.of(x), samples.of(y)
        if not isinstance(one, Examples) or not isinstance(other, Examples):
            return seeds
        for image, gap in zip(one.ids, one.values - other.values, strict=True):
            scored.setdefault(image, []).append(float(gap))
    gaps = np.array([[np.mean(each) for each in scored.values()]])
    images = over_examples(gaps, np.zeros_like(gaps))
    half: Callable[[float], float] = lambda alpha: max(seeds.half(alpha), images.half(alpha))  # noqa: E731
    return replace(
        seeds,
        method="sign flips over seeds, each with its own split, and bootstrap over images: the larger p",
        low=max(-1.0, min(seeds.low, seeds.difference - images.difference + images.low)),
        high=min(1.0, max(seeds.high, seeds.difference - images.difference + images.high)),
        p=max(seeds.p, images.p),
        half=half,
        n=len(scored),
    )


def _judged(claim: Claim, test: Test | None, p: float | None, verdict: str, many: int, notes: tuple) -> Tested:
    if test is None or p is None:
        return Tested(claim, None, None, verdict, many, notes)
    visible = test.visible(pairs.ALPHA / many)
    smallest = min(1.0, test.smallest_p * many)
    verdict = stats.verdict(test.difference, p, smallest_p=smallest, visible=visible, worth=pairs.WORTH)
    return Tested(claim, test, p, verdict, many, notes)


def of_claim(tested: Tested) -> str:
    if not tested.claim.said:
        return tested.verdict
    return WORDS.get((tested.claim.expects, tested.verdict), f"cannot be told here: {tested.verdict}")
