"""What the page of a comparison opens with: who leads, the table of groups, their scores in a row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from sketchlab.errors import listed
from sketchlab.report import canvas, page, scores
from sketchlab.report.comparison import inspect, leaderboard, pairs
from sketchlab.report.comparison.family import Family, Table
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.pairs import Pair
from sketchlab.report.read import Run
from sketchlab.report.scores import text
from sketchlab.report.sentences import Gap, Sentence, Value, render

LISTED = 30  # groups listed before the reader asks for more
LONGEST = 58  # characters of the headline: two lines on a phone
LEADERS = 3  # test sets whose best group is named in the headline


def states(runs: Sequence[Run]) -> str:
    return ", ".join(f"{n} {state}" for state, n in Counter(run.state for run in runs).most_common())


def unfinished(groups: Sequence[Group]) -> list[Sentence]:
    """Runs that are not in the means, by group."""
    out = []
    for group in groups:
        if group.unfinished:
            states = Counter(run.state for run in group.unfinished)
            out.append(
                Sentence("unfinished", group.name, {"states": ", ".join(f"{n} {state}" for state, n in states.items())})
            )
    return out


def short(families: Sequence[Family]) -> Sentence:
    """The verdict by the first score, in at most LONGEST characters; `headline` has it in full, and the others."""
    family = next((family for family in families if family.leaderboard), None)
    if family is None:
        return Sentence("no score", "")
    best = pairs.test_sets(family.groups, family.key)[0][0]
    row = next(row for row in family.leaderboard if row.group is best)
    first = next((pair for pair in family.pairs if pair.a is best and pair.verdict != "not paired"), None)

    def made(name: str, other: str, with_p: bool = True) -> Sentence:
        verdict = None
        if (guess := leaderboard.guessing(row)) is not None:
            verdict = Sentence("short at chance", "", {"chance": guess})
        elif first is not None:
            kind, p = _against(first).kind, None
            if first.p is not None and kind != "too few" and with_p:
                p = Sentence("p", "", {"p": first.p})
            verdict = Sentence(f"short {kind}", other, {"p": p})
        return Sentence("short", name, {"value": Value(row.score, row.mean), "verdict": verdict})

    names, out = (best.name, first.b.name if first else ""), Sentence("no score", "")
    longest = max(map(len, names))
    lengths = [(n, True) for n in range(longest, min(longest, 12) - 1, -1)]
    for n, with_p in [*lengths, *((n, False) for n in range(longest, 5, -1))]:
        out = made(canvas.short(names[0], n), canvas.short(names[1], n), with_p)
        if len(render(out)) <= LONGEST:
            break
    return out


def headline(families: Sequence[Family]) -> list[Sentence]:
    """Who leads, and how sure that is."""
    out = []
    for family in families:
        if not family.leaderboard:
            continue
        blocks = pairs.test_sets(family.groups, family.key)
        out += [_leader(family, block[0], len(blocks) > 1) for block in blocks[:LEADERS]]
        if len(blocks) > LEADERS:
            out.append(Sentence("more test sets", family.key, {"n": len(blocks) - LEADERS}))
    return out or [Sentence("no score", "")]


def _leader(family: Family, best: Group, several: bool) -> Sentence:
    """The best group on one test set against the second."""
    rows = {id(row.group): row for row in family.leaderboard}
    row, (split, metric) = rows[id(best)], family.key.split("/", 1)
    first = next((pair for pair in family.pairs if pair.a is best and pair.verdict != "not paired"), None)
    runs = Sentence("mean of runs", best.name, {"n": len(row.single)}) if len(row.single) > 1 else None
    chance = None
    if (guess := leaderboard.guessing(row)) is not None:
        both = first is not None and leaderboard.guessing(rows[id(first.b)]) is not None
        chance = Sentence("both at chance" if both else "leader at chance", best.name, {"chance": guess})
    facts = {
        "where": scores.SPLITS.get(split, split),
        "metric": metric,
        "value": Value(row.score, row.mean),
        "runs": runs or Sentence("one run", best.name),
        "chance": chance,
    }
    if first:
        return Sentence("leader", best.name, {**facts, "against": _against(first)})
    return Sentence("leader alone", best.name, {**facts, "apart": Sentence("own samples", split) if several else None})


def _against(pair: Pair) -> Sentence:
    """The leading group against the second, in a few words."""
    name = pair.b.name
    other = Sentence("group", name)
    if pair.test is None:
        return Sentence("too few", name, {"other": other})
    alone = None
    if pair.test.about == "networks":
        other, alone = Sentence("network", name), Sentence("one run of each", name)
    facts = {
        "other": other,
        "gap": Gap(pair.score, abs(pair.test.difference)),
        "p": None if pair.p is None else Sentence("p", name, {"p": pair.p}),
        "alone": alone,
    }
    for verdict, kind in (("better", "better"), ("worse", "worse"), ("no evidence of a difference", "no evidence")):
        if pair.verdict.endswith(verdict):
            return Sentence(kind, name, facts)
    return Sentence("too few", name, facts)


def at_chance(family: Family) -> list[Sentence]:
    """Groups that guessing explains, as one warning."""
    found = {row.group.name: guess for row in family.leaderboard if (guess := leaderboard.guessing(row)) is not None}
    if not found:
        return []
    guesses = ", ".join(dict.fromkeys(text(*guess) for guess in found.values()))
    return [Sentence("at chance", family.key, {"groups": listed(list(found), 4), "chance": guesses})]


def answer_table(family: Family) -> Table:
    split, metric = family.key.split("/", 1)
    other = {"test": "val", "val": "test"}.get(split, "val") + f"/{metric}"
    has_other = any(math.isfinite(pairs.mean(g, other)) for g in family.groups)
    several = len({g.kind for g in family.groups}) > 1
    columns = ["group", *(["kind"] if several else []), "runs", f"{split} {metric}", "95% interval", "sd", "n"]
    devices = {leaderboard.device(group) for group in family.groups}
    blocks = {id(g): str(i) for i, block in enumerate(pairs.test_sets(family.groups, family.key), 1) for g in block}
    sets = len(set(blocks.values())) > 1
    columns += (
        ["test set"] * sets
        + [other.replace("/", " ")] * has_other
        + ["trainable", "time"]
        + ["device"] * (len(devices) > 1)
    )
    by_group = {id(row.group): row for row in family.leaderboard}
    rows = []
    for group in family.groups:
        row = by_group.get(id(group))
        count = str(len(group.runs)) + (f" + {len(group.unfinished)} open" if group.unfinished else "")
        line: list[object] = [group.name, *([group.kind] if several else []), count]
        if row:
            sd = text(row.score, row.sd) if math.isfinite(row.sd) else "–"
            line += [text(row.score, row.mean), leaderboard.interval(row), sd, row.n]
        else:
            line += ["–"] * 4
        line += [blocks.get(id(group), "–")] * sets
        if has_other:
            value = pairs.mean(group, other)
            line.append(text(group.declared(other), value) if math.isfinite(value) else "–")
        line += [leaderboard.trainable(group), leaderboard.time(group)]
        rows.append(line + [leaderboard.device(group)] * (len(devices) > 1))
    right = [c for c in columns if c not in ("group", "kind", "device")]
    return columns, rows, right


def conclusion(family: Family, titled: bool) -> str:
    columns, rows, right = answer_table(family)
    out = f"<h3>By {page.escape(family.key)}</h3>" if titled else ""
    out += page.table(columns, rows[:LISTED], right, first=bool(family.leaderboard))
    more = page.table(columns, rows[LISTED:], right) if rows[LISTED:] else ""
    out += page.details(f"{len(rows) - LISTED} more groups", more)
    devices = {leaderboard.device(group) for group in family.groups}
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
    """What the intervals are about, and of which groups where they differ."""
    of: dict[str, list[str]] = {}
    for row in family.leaderboard:
        of.setdefault(row.of, []).append(row.group.name)
    of.pop("", None)
    parts = [f"{leaderboard.OF[k]}{f' ({listed(names, 3)})' if len(of) > 1 else ''}" for k, names in of.items()]
    return f"Intervals are for {'; for '.join(parts)}. " if parts else ""
