"""Groups that are compared with each other, and all that was found about them."""

from __future__ import annotations

from dataclasses import dataclass

from sketchlab.report.comparison.figures import Drawn
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.leaderboard import Entry
from sketchlab.report.comparison.pairs import Pair
from sketchlab.report.comparison.published import Published

Table = tuple[list[str], list[list[object]], list[str]]  # columns, rows, columns set to the right


@dataclass(frozen=True)
class Family:
    """Groups that share a score, and so can be ranked and compared: classifiers, stroke models and baselines may."""

    key: str
    groups: list[Group]  # the best first; those without a finished run last
    leaderboard: list[Entry]
    pairs: list[Pair]
    published: list[Published]
    figure: Drawn | None
    curves: dict[str, Drawn]  # kind → figure
