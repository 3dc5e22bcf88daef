"""What a comparison was made of: the settings that differ, every run, the files beside the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from sketchlab.errors import listed
from sketchlab.report import page
from sketchlab.report.comparison import figures, pairs
from sketchlab.report.comparison.family import Family, Table
from sketchlab.report.comparison.groups import Group, differing
from sketchlab.report.scores import text

LISTED = 2000  # runs listed on the page
FOLDED = 30  # groups from which on their settings are folded away


def differs(groups: list[Group], keys: Sequence[str]) -> str:
    rows = {id(g): [run.settings for run in [*g.runs.values(), *g.unfinished]] for g in groups}
    every = differing([row for found in rows.values() for row in found])

    def cell(group: Group, key: str) -> str:
        return ", ".join(dict.fromkeys(row.get(key, "–") for row in rows[id(group)]))

    def table(columns: list[str]) -> str:
        return page.table(("group", *columns), [(g.name, *(cell(g, key) for key in columns)) for g in groups])

    out = table(list(keys)) if keys else page.paragraph("No setting differs but seeds and folds.")
    if keys and len(groups) > FOLDED:
        out = page.details(f"{', '.join(keys)} of all {len(groups)} groups", out)
    rest = [key for key in every if key not in keys]
    if rest and len(groups) <= figures.SHOWN:
        columns = ("setting", *(g.name for g in groups))
        out += page.details(
            f"{len(rest)} more settings that differ with these",
            page.table(columns, [(key, *(cell(g, key) for g in groups)) for key in rest]),
        )
    elif rest:
        out += page.paragraph(f"With these also differ: {listed(rest, 20)}.", "soft")
    return out


def runs_table(families: Sequence[Family]) -> Table:
    columns = ["run", "group", "seed", "fold", "state", "score", "value", "best epoch", "time"]
    rows: list[list[object]] = []
    for family in families:
        for group in family.groups:
            for run in [*group.runs.values(), *group.unfinished]:
                row, value = run.settings, pairs.value(run, family.key)
                took = run.seconds
                fold = row.get("data.splits.fold", "–") if row.get("data.splits.rule") == "kfold" else "–"
                best = (run.status.get("best") or {}).get("epoch", "–")
                value_text = text(group.declared(family.key), value, 4) if math.isfinite(value) else "–"
                spent = "–" if took is None else f"{took:.1f} s"
                rows.append(
                    [run.name, group.name, row.get("seed", "–"), fold, run.state, family.key, value_text, best, spent]
                )
    return columns, rows, ["seed", "fold", "value", "best epoch", "time"]


def runs(listed_runs: Table) -> str:
    columns, rows, right = listed_runs
    more = page.paragraph(f"{len(rows) - LISTED} more in tables/runs.csv.", "soft") if len(rows) > LISTED else ""
    return page.details(f"All {len(rows)} runs", page.table(columns, rows[:LISTED], right) + more)


def files(families: Sequence[Family], written: Sequence[Path], out: Path) -> str:
    drawn = [d for f in families for d in (f.figure, *f.curves.values()) if d is not None]
    stems = sorted({str(path.relative_to(out).with_suffix("")) for path in written})
    names = [f"{d.stem.relative_to(out)}.png, .svg, .pdf" for d in drawn] + [f"{stem}.csv, .md, .tex" for stem in stems]
    return (
        page.paragraph("Beside this page lie:")
        + "<ul>"
        + "".join(f"<li>{page.escape(n)}</li>" for n in names)
        + "</ul>"
    )
