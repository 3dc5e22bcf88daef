"""What the page of a comparison opens with: who leads, the table of groups, their scores in a row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from sketchlab.report import page, scores
from sketchlab.report.comparison import inspect, pairs, standing
from sketchlab.report.comparison.family import Family, Table
from sketchlab.report.comparison.groups import KINDS, Group
from sketchlab.report.comparison.pairs import Pair
from sketchlab.report.read import Run
from sketchlab.report.run.facts import listed
from sketchlab.report.scores import text

LISTED = 30  # groups listed before the reader asks for more
LEADERS = 3  # test sets whose best group is named in the headline


def states(runs: Sequence[Run]) -> str:
    return ", ".join(f"{n} {state}" for state, n in Counter(run.state for run in runs).most_common())


def unfinished(groups: Sequence[Group]) -> list[str]:
    """Runs that are not in the means, by group."""
    out = []
    for group in groups:
        if group.unfinished:
            said = Counter(run.state for run in group.unfinished)
            which = ", ".join(f"{n} {state}" for state, n in said.items())
            out.append(f"{group.name}: {which}; their curves are drawn, their scores are in no mean and in no test.")
    return out


def headline(families: Sequence[Family]) -> str:
    """Who leads, and how sure that is."""
    out = []
    for family in families:
        if not family.standings:
            continue
        blocks = pairs.test_sets(family.groups, family.key)
        out += [_leader(family, block[0], len(blocks) > 1) for block in blocks[:LEADERS]]
        if len(blocks) > LEADERS:
            out.append(f"{len(blocks) - LEADERS} more test sets: see the table.")
    return " ".join(out) or "No run has finished with a score yet."


def _leader(family: Family, best: Group, several: bool) -> str:
    """The best group on one test set against the second."""
    row = next(row for row in family.standings if row.group is best)
    split, metric = family.key.split("/", 1)
    runs = f"mean of {len(row.single)} runs" if len(row.single) > 1 else "one run"
    alone = "on samples of its own, " if several else ""
    first = next((pair for pair in family.pairs if pair.a is best and pair.verdict != "not paired"), None)
    line = f"{best.name}: {scores.SPLITS.get(split, split)} {metric} {text(row.score, row.mean)} ("
    return line + (f"{runs}); {_against(first)}." if first else f"{alone}{runs}).")


def _against(pair: Pair) -> str:
    """The leading group against the second, in a few words."""
    other, p = pair.b.name, "" if pair.p is None else f" ({pairs.p_text(pair.p)})"
    alone = ""
    if pair.test and pair.test.about == "networks":
        other, alone = f"the network of {other}", "; one run of each says nothing about the settings"
    if pair.verdict.endswith("better") and pair.test:
        return f"better than {other} by {pairs.amount(pair.score, abs(pair.test.difference))}{p}{alone}"
    if pair.verdict == "no evidence of a difference":
        return f"no evidence of a difference to {other}{p}{alone}"
    return f"too few to tell from {other}"


def answer_table(family: Family) -> Table:
    split, metric = family.key.split("/", 1)
    other = {"test": "val", "val": "test"}.get(split, "val") + f"/{metric}"
    has_other = any(math.isfinite(pairs.mean(g, other)) for g in family.groups)
    called = KINDS if len({g.kind for g in family.groups}) > 1 else {}
    columns = ["group", *(["kind"] if called else []), "runs", f"{split} {metric}", "95% interval", "sd", "n"]
    devices = {standing.device(group) for group in family.groups}
    blocks = {id(g): str(i) for i, block in enumerate(pairs.test_sets(family.groups, family.key), 1) for g in block}
    sets = len(set(blocks.values())) > 1
    columns += (
        ["test set"] * sets
        + [other.replace("/", " ")] * has_other
        + ["trainable", "time"]
        + ["device"] * (len(devices) > 1)
    )
    by_group = {id(row.group): row for row in family.standings}
    rows = []
    for group in family.groups:
        row = by_group.get(id(group))
        count = str(len(group.runs)) + (f" + {len(group.unfinished)} open" if group.unfinished else "")
        line: list[object] = [group.name, *([called.get(group.kind, group.kind)] if called else []), count]
        if row:
            sd = text(row.score, row.sd) if math.isfinite(row.sd) else "–"
            line += [text(row.score, row.mean), standing.interval(row), sd, row.n]
        else:
            line += ["–"] * 4
        line += [blocks.get(id(group), "–")] * sets
        if has_other:
            value = pairs.mean(group, other)
            line.append(text(group.declared(other), value) if math.isfinite(value) else "–")
        line += [standing.trainable(group), standing.time(group)]
        rows.append(line + [standing.device(group)] * (len(devices) > 1))
    right = [c for c in columns if c not in ("group", "kind", "device")]
    return columns, rows, right


def answer(family: Family, titled: bool) -> str:
    columns, rows, right = answer_table(family)
    out = f"<h3>By {page.escape(family.key)}</h3>" if titled else ""
    out += page.table(columns, rows[:LISTED], right, first=bool(family.standings))
    more = page.table(columns, rows[LISTED:], right) if rows[LISTED:] else ""
    out += page.details(f"{len(rows) - LISTED} more groups", more)
    devices = {standing.device(group) for group in family.groups}
    on = f" All on {devices.pop()}." if len(devices) == 1 else ""
    out += page.paragraph(f"{_intervals(family)}Time: the median run; trainable: parameters that train.{on}", "soft")
    if "test set" in columns:
        out += page.paragraph("Groups tested on other samples cannot be ranked together: see the column test set.")
    if family.key.startswith("val/"):
        runs = [run for group in family.groups for run in (*group.runs.values(), *group.unfinished)]
        of = {"the weights that are tested" if run.tested else "the last epoch" for run in runs}
        out += page.paragraph(
            f"Validation scores of {' or '.join(sorted(of))}: the best is optimistic if settings were chosen by them.",
            "soft",
        )
    return out + (inspect.still(family.figure) if family.figure else "")


def _intervals(family: Family) -> str:
    """What the intervals speak of, and of which groups where they differ."""
    of: dict[str, list[str]] = {}
    for row in family.standings:
        of.setdefault(row.of, []).append(row.group.name)
    of.pop("", None)
    said = [f"{standing.OF[k]}{f' ({listed(names, 3)})' if len(of) > 1 else ''}" for k, names in of.items()]
    return f"Intervals are for {'; for '.join(said)}. " if said else ""
