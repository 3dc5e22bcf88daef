"""Rows of earlier runs stay when some arms of an experiment are run again: arms without runs here keep their row.

A claim of two such arms keeps its test; one of a new and an old arm is tested by the scores of their runs alone, since
answers sample by sample are not kept. Holm's correction is over all of them, and verdicts follow it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from arms_table import PAIR, Row, load, of_each
from arms_tests import NOT_KEPT, SPREAD, against_spread, by_choice, of_claim, score_of, spread_verdict
from arms_types import Claim, Experiment

from sketchlab import stats
from sketchlab.report.comparison.paired import scores_alone
from sketchlab.report.comparison.pairs import ALPHA, NETWORK, WORTH, visible


def joined(experiment: Experiment, rows: list[Row], tested: list[Row], folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows and tests of today's runs with those that `folder` keeps, in the order of the experiment."""
    before, pairs = (load(folder / f"{experiment.name}{suffix}.csv") for suffix in ("", "_pairs"))
    fresh = {row["arm"]: row for row in rows}
    old = {row["arm"]: row for row in before if row["arm"] not in fresh}
    for name in [*old]:
        if name not in {arm.name for arm in experiment.arms}:
            print(f"{experiment.name}.csv: row {name!r} is no arm any more: it goes")
            del old[name]
    all_rows, out = {**old, **fresh}, []
    for claim in experiment.claims:
        if claim.a in fresh and claim.b in fresh:
            out += [row for row in tested if same(row, claim)]
        elif claim.a in old and claim.b in old:
            out += [row for row in pairs if same(row, claim)]
        elif claim.a in all_rows and claim.b in all_rows:
            out.append(by_scores(experiment, claim, all_rows[claim.a], all_rows[claim.b]))
    return [all_rows[arm.name] for arm in experiment.arms if arm.name in all_rows], judged(experiment, out)


def same(row: Row, claim: Claim) -> bool:
    return [row["a"], row["b"], row["key"] or ""] == [claim.a, claim.b, claim.key]


def by_scores(experiment: Experiment, claim: Claim, a: Row, b: Row) -> Row:
    """A claim of an arm that ran now and one that is kept."""
    ours, theirs = json.loads(a["single"]), json.loads(b["single"])
    out: Row = dict.fromkeys(PAIR) | {"a": claim.a, "b": claim.b, "key": claim.key, "quote": claim.quote, "notes": ""}
    out |= {"verdict": NOT_KEPT, "runs": of_each(a["seeds"], b["seeds"])}
    if claim.key or (len(ours), len(theirs)) != (a["seeds"], b["seeds"]):
        return out  # `single` is of the first score
    if not experiment.choices:
        test = scores_alone(ours, theirs) or against_spread(ours, theirs)
    elif len(ours) == len(theirs):  # in the order of the choices
        test = by_choice(dict(enumerate(ours)), dict(enumerate(theirs)), experiment.choices)
    else:
        return out
    out |= {"difference": float(np.mean(ours) - np.mean(theirs)), "verdict": "too few to tell"}
    if test is not None:
        seen = visible(score_of(experiment, claim), test, 1)
        out |= {"low": test.low, "high": test.high, "p": test.p, "test": test.method, "seen": seen}
    return out


def judged(experiment: Experiment, tested: list[Row]) -> list[Row]:
    """Holm over all tests, and the verdicts that follow; the given rows are left as they are."""
    with_p = [row for row in tested if row["p"] is not None]
    adjusted = iter(stats.holm([row["p"] for row in with_p]))
    return [row if row["p"] is None else _judged(experiment, row, float(next(adjusted))) for row in tested]


def _judged(experiment: Experiment, row: Row, p: float) -> Row:
    claim = next(claim for claim in experiment.claims if same(row, claim))
    score = score_of(experiment, claim)
    if row["test"] == SPREAD:
        verdict = spread_verdict(row["difference"], row["p"], p, score)
    elif p > ALPHA and row["p_holm"] is not None and row["p_holm"] > ALPHA:
        return row | {"p_holm": p}  # what was not significant is not: too few, or no evidence
    else:
        seen = (row["seen"] if row["seen"] is not None else float("nan")) if score.is_share else 0.0
        verdict = stats.verdict(score.sign * row["difference"], p, visible=seen, worth=WORTH)
        if p > ALPHA and row["seen"] is not None and abs(row["difference"]) >= row["seen"]:
            verdict = "too few to tell"  # what was found would be significant alone, among fewer tests
        verdict = NETWORK.get(verdict, verdict) if row["test"] == "exact McNemar" else verdict
    return row | {"p_holm": p, "verdict": of_claim(claim, verdict)}
