"""The claims of an experiment of arms.py, tested as the pages of sketchlab.report test: report/pairs.py says how.

p is Holm's, of all claims that could be tested. A claim is about settings: one training of each arm says nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from arms_types import Claim, Experiment

from sketchlab import stats
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.paired import Test

WORDS = {  # (what the study claims, what was found) → of the claim
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
            turned = pair.test if pair.test is None or pair.a is a else pair.test.turned()
            found.append((claim, turned, pair.verdict, pair.notes))
    tests = [t for _, t, _, _ in found if t is not None]
    adjusted = iter(stats.holm([t.p for t in tests]))
    return [_tested(claim, t, next(adjusted) if t else None, v, len(tests), notes) for claim, t, v, notes in found]


def _tested(claim: Claim, test: Test | None, p: float | None, verdict: str, many: int, notes: tuple) -> Tested:
    if test is None or p is None:
        return Tested(claim, None, None, verdict, many, notes)
    return Tested(claim, test, p, pairs.verdict_of(test, p, many), many, notes)


def of_claim(tested: Tested) -> str:
    if not tested.claim.quote:
        return tested.verdict
    return WORDS.get((tested.claim.expects, tested.verdict), f"cannot be told here: {tested.verdict}")
