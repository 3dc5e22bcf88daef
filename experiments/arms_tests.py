"""The claims of an experiment of arms.py, tested as the pages of sketchlab.report test: report/comparison/pairs.py.

p is Holm's, of all claims that could be tested. A claim is about settings: one training of each arm says nothing of it.
One training of an arm against several of the other is held against their spread: where one more run of the same
setting would lie (95%).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from arms_types import Claim, Experiment

from sketchlab import stats
from sketchlab.metrics.declared import Score, of_pipeline
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.paired import Test, scores_alone

WORDS = {  # (what the study claims, what was found) → of the claim
    ("better", "better"): "holds here",
    ("better", "worse"): "does not hold here: the other way round",
    ("better", "no evidence of a difference"): "not shown here: no evidence of a difference",
    ("better", "inside the spread"): "not shown here: inside the spread",
    ("better", "better, outside the spread"): "holds here, by one run outside the spread",
    ("better", "worse, outside the spread"): "does not hold here: worse, by one run outside the spread",
    ("no better", "better"): "does not hold here: better",
    ("no better", "worse"): "holds here: worse",
    ("no better", "no evidence of a difference"): "nothing here speaks against it: no evidence of a difference",
    ("no better", "inside the spread"): "nothing here speaks against it: inside the spread",
    ("no better", "worse, outside the spread"): "holds here: worse, by one run outside the spread",
}
NOT_KEPT = "not kept"  # of results whose run folders are gone, where the test needs more than they tell
SPREAD = "t, one more run"


@dataclass(frozen=True)
class Tested:
    """A claim, with a minus b. test, p: None where no test is right."""

    claim: Claim
    test: Test | None
    p: float | None  # by Holm
    verdict: str
    many: int
    notes: tuple[str, ...]


def score_of(experiment: Experiment, claim: Claim) -> Score:
    extra = next((extra for extra in experiment.extra if extra.name == claim.key), None)
    if extra:
        return Score(extra.name, extra.name, extra.better)
    return of_pipeline(experiment.pipeline)[claim.key or experiment.keys[0]]


def test(experiment: Experiment, groups: dict[str, Group]) -> list[Tested]:
    """Every claim whose two arms have runs with its score."""
    found: list[tuple[Claim, Test | None, str, tuple[str, ...]]] = []
    extras = {extra.name: extra for extra in experiment.extra}
    for claim in experiment.claims:
        if claim.a not in groups or claim.b not in groups:
            continue
        key = claim.key or experiment.keys[0]
        a, b, samples = groups[claim.a], groups[claim.b], pairs.Samples(key)
        if key in extras:
            ours, theirs = ([extras[key].of(run) for run in group.runs.values()] for group in (a, b))
            found.append((claim, scores_alone(ours, theirs) or against_spread(ours, theirs), "too few to tell", ()))
            continue
        for pair in pairs.compare([a, b], key, samples):  # none when one of them has no such score
            turned = pair.test if pair.test is None or pair.a is a else pair.test.turned()
            if turned is None and pair.verdict == "too few to tell":
                turned = against_spread(*([pairs.value(run, key) for run in g.runs.values()] for g in (a, b)))
            found.append((claim, turned, pair.verdict, pair.notes))
    tests = [t for _, t, _, _ in found if t is not None]
    adjusted = iter(stats.holm([t.p for t in tests]))
    out = []
    for claim, t, v, notes in found:
        score = score_of(experiment, claim)
        out.append(_tested(claim, t, next(adjusted) if t else None, v, len(tests), notes, score))
    return out


def against_spread(a: Sequence[float], b: Sequence[float]) -> Test | None:
    """One run against two or more: could it be one more of them? By the interval of stats.prediction."""
    many = max(a, b, key=len)
    if min(len(a), len(b)) != 1 or len(many) < 2 or not (variance := float(np.var(many, ddof=1))):
        return None
    spread = stats.Spread(variance * (1 + 1 / len(many)), len(many) - 1)
    estimate = stats.Estimate(float(np.mean(a) - np.mean(b)), (spread,), 0)
    low, high = map(float, stats.interval(estimate))
    return Test(SPREAD, "spread", estimate, low, high, float(stats.p_value(estimate)), (len(a), len(b)))


def spread_verdict(difference: float, p_alone: float, p: float, score: Score) -> str:
    side = "better" if score.sign * difference > 0 else "worse"
    if p_alone > 0.05:
        return "inside the spread"
    return f"{side}, outside the spread" + ", but not once corrected" * (p > 0.05)


def _tested(
    claim: Claim, test: Test | None, p: float | None, verdict: str, many: int, notes: tuple, score: Score
) -> Tested:
    if test is None or p is None:
        return Tested(claim, None, None, verdict, many, notes)
    if test.about == "spread":
        return Tested(claim, test, p, spread_verdict(test.difference, test.p, p, score), many, notes)
    verdict = pairs.verdict_of(test, p, many, share=score.is_share, sign=score.sign)
    return Tested(claim, test, p, verdict, many, notes)


def of_claim(claim: Claim, verdict: str) -> str:
    """The verdict on a study's claim; of a question the verdict as it is."""
    if not claim.quote or verdict == NOT_KEPT:
        return verdict
    return WORDS.get((claim.expects, verdict), f"cannot be told here: {verdict}")
