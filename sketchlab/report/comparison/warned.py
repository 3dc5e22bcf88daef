"""What stands above the verdict of a comparison: groups at chance, other code, other data, and what runs warn of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sketchlab.errors import listed
from sketchlab.report.comparison import conclusion, pairs
from sketchlab.report.comparison.family import Family
from sketchlab.report.comparison.groups import Group
from sketchlab.report.read import Run
from sketchlab.report.run import warnings
from sketchlab.report.sentences import Sentence


def find(families: Sequence[Family], groups: Sequence[Group]) -> list[Sentence]:
    """The worst first. Each kind of warning once, with whom it is about."""
    runs = [run for group in groups for run in group.runs.values()]
    chance = [found for family in families for found in conclusion.at_chance(family)]
    return [*chance, *_code(groups), *(found for family in families for found in _data(family)), *_own(runs)]


def _code(groups: Sequence[Group]) -> Iterator[Sentence]:
    """Files that runs of several groups have, with other meanings; within a group see groups.gather."""
    of: dict[str, dict[str, set[str]]] = {}  # file → meaning → groups
    for group in groups:
        for run in group.runs.values():
            for name, (meaning, _) in run.code.items():
                of.setdefault(name, {}).setdefault(meaning, set()).add(group.name)
    changed = {name: found for name, found in of.items() if len({frozenset(g) for g in found.values()}) > 1}
    if changed:
        most = max(changed.values(), key=len)
        sides = sorted((sorted(names) for names in most.values()), key=len)
        yield Sentence("code of groups", listed(sides[0], 3), {"files": listed(list(changed), 4)})


def _data(family: Family) -> Iterator[Sentence]:
    """Groups that were tested on other samples, or on other pictures of the same names."""
    split = family.key.split("/", 1)[0]
    blocks = pairs.test_sets(family.groups, family.key)
    if len(blocks) > 1:
        each = "; ".join(listed([group.name for group in block], 3) for block in blocks[:3])
        more = Sentence("more sets", split, {"n": len(blocks) - 3}) if len(blocks) > 3 else None
        yield Sentence("other samples", family.key, {"n": len(blocks), "each": each, "more": more})
    for block in blocks:
        of: dict[str, set[str]] = {}
        for group in block:
            for run in group.runs.values():
                if run.data.get("fingerprint"):
                    of.setdefault(str(run.data["fingerprint"]), set()).add(group.name)
        if len(of) > 1:
            yield Sentence("pictures of groups", listed(sorted(min(of.values(), key=len)), 3), {"n": len(of)})


def _own(runs: Sequence[Run]) -> Iterator[Sentence]:
    """What makes single runs doubtful, whatever they are compared with."""
    of: dict[str, list[tuple[Run, Sentence]]] = {}
    for run in runs:
        for found in run.attempt("a warning", lambda run=run: list(warnings.grave(run)), []):
            of.setdefault(found.kind, []).append((run, found))
    for found in of.values():
        names = listed(list(dict.fromkeys(run.name for run, _ in found)), 3)
        yield Sentence("of runs", names, {"warning": found[0][1]})
