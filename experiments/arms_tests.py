"""The claims of an experiment of arms.py, tested as the pages of sketchlab.report test: report/comparison/pairs.py.

p is Holm's, of all claims that could be tested. A claim is about settings: one training of each arm says nothing of it.
One training of an arm against several of the other is held against their spread: where one more run of the same
setting would lie (95%).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from arms_types import Choices, Claim, Experiment

from sketchlab import stats
from sketchlab.metrics.declared import Score, of_pipeline
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.paired import Test, scores_alone
from sketchlab.report.read import Run

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
CHOICES = "corrected resampled t over choices of classes"


@dataclass(frozen=True)
class Tested:
    """A claim, with a minus b. test, p: None where no test is right; difference: None where the test sets differ."""

    claim: Claim
    test: Test | None
    p: float | None  # by Holm
    verdict: str
    many: int
    notes: tuple[str, ...]
    difference: float | None
    sizes: tuple[int, int]  # runs of a and of b


def score_of(experiment: Experiment, claim: Claim) -> Score:
    extra = next((extra for extra in experiment.extra if extra.name == claim.key), None)
    if extra:
        return Score(extra.name, extra.name, extra.better)
    return of_pipeline(experiment.pipeline)[claim.key or experiment.keys[0]]


def test(experiment: Experiment, groups: dict[str, Group]) -> list[Tested]:
    """Every claim whose two arms have runs with its score."""
    found: list[Tested] = []
    extras = {extra.name: extra for extra in experiment.extra}
    for claim in experiment.claims:
        if claim.a not in groups or claim.b not in groups:
            continue
        key = claim.key or experiment.keys[0]
        a, b, of = groups[claim.a], groups[claim.b], extras[key].of if key in extras else partial(_value, key)
        ours, theirs = ([of(run) for run in (all_runs(g) if key in extras else g.runs.values())] for g in (a, b))
        facts = {"difference": float(np.mean(ours) - np.mean(theirs)), "sizes": (len(ours), len(theirs))}
        if experiment.choices:
            ours, theirs = ({unit: of(run) for unit, run in group.runs.items()} for group in (a, b))
            alone = by_choice(ours, theirs, experiment.choices)
            found.append(Tested(claim, alone, None, "too few to tell", 0, (), **facts))
            continue
        if key in extras:
            alone = scores_alone(ours, theirs) or against_spread(ours, theirs)
            found.append(Tested(claim, alone, None, "too few to tell", 0, (), **facts))
            continue
        for pair in pairs.compare([a, b], key, pairs.Samples(key)):  # none when one of them has no such score
            turned = pair.test if pair.test is None or pair.a is a else pair.test.turned()
            if turned is None and pair.verdict == "too few to tell":
                turned = against_spread(ours, theirs)
            elif turned is None:
                facts["difference"] = None
            found.append(Tested(claim, turned, None, pair.verdict, 0, pair.notes, **facts))
    tests = [each.test for each in found if each.test is not None]
    adjusted = iter(stats.holm([t.p for t in tests]))
    return [_judged(each, next(adjusted), len(tests), experiment) if each.test else each for each in found]


def _value(key: str, run: Run) -> float:
    return pairs.value(run, key)


def _judged(tested: Tested, p: float, many: int, experiment: Experiment) -> Tested:
    test, score = tested.test, score_of(experiment, tested.claim)
    assert test is not None
    if test.about == "spread":
        verdict = spread_verdict(test.difference, test.p, p, score)
    else:
        verdict = pairs.verdict_of(test, p, many, share=score.is_share, sign=score.sign)
    return replace(tested, p=p, many=many, verdict=verdict)


def all_runs(group: Group) -> list[Run]:
    """Those an Extra is taken of: also the runs whose answers are the first one's, which count once for a score."""
    return [*group.runs.values(), *(group.aside if group.fixed else [])]


def against_spread(a: Sequence[float], b: Sequence[float]) -> Test | None:
    """One run against two or more: could it be one more of them? By the interval of stats.prediction."""
    many = max(a, b, key=len)
    if min(len(a), len(b)) != 1 or len(many) < 2 or not (variance := float(np.var(many, ddof=1))):
        return None
    spread = stats.Spread(variance * (1 + 1 / len(many)), len(many) - 1)
    estimate = stats.Estimate(float(np.mean(a) - np.mean(b)), (spread,), 0)
    low, high = map(float, stats.interval(estimate))
    return Test(SPREAD, "spread", estimate, low, high, float(stats.p_value(estimate)), (len(a), len(b)))


def over_choices(values: Sequence[float], choices: Choices) -> stats.Estimate:
    """Mean of (S,) scores or differences, one a choice, where choices share classes: the corrected resampled t test
    (Nadeau and Bengio 2003), with the degrees of freedom of so many classes, since no more can differ on its own."""
    found = stats.estimate_scores(np.round(values, 12), test_per_train=choices.test_per_train)
    (spread,) = found.spreads
    return found._replace(spreads=(spread._replace(df=min(spread.df, choices.classes - 1)),))


def by_choice(a: Mapping[Any, float], b: Mapping[Any, float], choices: Choices) -> Test | None:
    """Choice → score of each arm; on the choices that both have. None below two, and where nothing varies."""
    gaps = [a[each] - b[each] for each in a if each in b]
    if len(gaps) < 2 or not (estimate := over_choices(gaps, choices)).spreads[0].variance:
        return None
    low, high = map(float, stats.interval(estimate))
    n = len(gaps)
    return Test(CHOICES, "settings", estimate, low, high, float(stats.p_value(estimate)), (n, n), splits=n)


def spread_verdict(difference: float, p_alone: float, p: float, score: Score) -> str:
    side = "better" if score.sign * difference > 0 else "worse"
    if p_alone > 0.05:
        return "inside the spread"
    return f"{side}, outside the spread" + ", but not once corrected" * (p > 0.05)


def of_claim(claim: Claim, verdict: str) -> str:
    """The verdict on a study's claim; of a question the verdict as it is."""
    if not claim.quote or verdict == NOT_KEPT:
        return verdict
    return WORDS.get((claim.expects, verdict), f"cannot be told here: {verdict}")
