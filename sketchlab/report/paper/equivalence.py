"""Equal, different, or not enough data: each pair of a comparison against a margin that its reader sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sketchlab import stats
from sketchlab.errors import UserError
from sketchlab.metrics import declared
from sketchlab.report.comparison.family import Table
from sketchlab.report.comparison.paired import ALPHA
from sketchlab.report.comparison.pairs import Pair
from sketchlab.report.sentences import amount

EXPLAINED = (
    "Equal: two one-sided tests from the same estimate as the difference (Schuirmann 1987), p by Holm over all pairs "
    "of this list. Different: the pair's own test, by Holm; a certain difference may still lie within the margin. "
    "Not enough data: how much would show equal scores to be so, with power .8, at the level of one pair."
)


@dataclass(frozen=True)
class Equivalence:
    pair: Pair
    p: float  # that the two lie within the margin, by Holm
    verdict: str


def margin_of(score: declared.Score, margin: float) -> float:
    """--margin in the score's own unit: points of a share are hundredths."""
    if not margin > 0 or not math.isfinite(margin):
        raise UserError(f"--margin {margin:g}: expected a number above 0, in points for shares such as accuracy")
    return margin / 100 if score.is_share else margin


def judge(pairs: Sequence[Pair], margin: float) -> list[Equivalence]:
    """Pairs that have a test, in their order."""
    tested = [pair for pair in pairs if pair.test is not None]
    if not tested:
        return []
    limit = margin_of(tested[0].score, margin)
    adjusted = stats.holm([stats.equivalence_p(pair.test.estimate, limit) for pair in tested if pair.test])
    return [Equivalence(pair, p, _verdict(pair, p, limit)) for pair, p in zip(tested, adjusted, strict=True)]


def _verdict(pair: Pair, p: float, limit: float) -> str:
    within, test = amount(pair.score, limit), pair.test
    assert test is not None and pair.p is not None
    equal, different = p <= ALPHA, pair.p <= ALPHA
    if equal:
        return f"equal within {within}" + " (different, by less than that)" * different
    if different:
        return "different"
    times = stats.equivalence_size(test.estimate, limit)
    runs = max(test.runs)
    needed = f"{math.ceil(times * runs)} runs of each"
    if test.n:
        needed = f"n = {math.ceil(times * test.n):,}" + f" and {needed}" * (runs > 1)
    return f"not enough data; {needed} would tell"


def table(found: Sequence[Equivalence], margin: float) -> Table:
    columns = ["A", "B", "A − B", "90% interval", "p (Holm)", f"within {margin:g}"]
    rows: list[list[object]] = []
    for each in found:
        pair, test = each.pair, each.pair.test
        assert test is not None
        low, high = stats.interval(test.estimate, 0.9)
        values = [_signed(pair.score, value) for value in (test.difference, low, high)]
        rows.append([pair.a.name, pair.b.name, values[0], f"[{values[1]}, {values[2]}]", f"{each.p:.3f}", each.verdict])
    return columns, rows, ["A − B", "90% interval", "p (Holm)"]


def _signed(score: declared.Score, value: float) -> str:
    return f"{100 * value:+.1f}" if score.is_share else f"{value:+.4g}"
