"""What a comparison was made of: the settings that differ, every run, the files beside the page."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from sketchlab.errors import listed
from sketchlab.report import page
from sketchlab.report.comparison import figures, pairs
from sketchlab.report.comparison.family import Family, Table
from sketchlab.report.comparison.groups import Group, differing
from sketchlab.report.page import Cell
from sketchlab.report.read import Run
from sketchlab.report.scores import text

LISTED = 2000  # runs listed on the page
FOLDED = 30  # groups from which on their settings are folded away
SCRIPT = Path(__file__).with_name("choose.js").read_text("utf-8")
CSS = """
body { max-width: 78rem; } td.number, th.number { white-space: normal; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem; max-width: none; } .controls input { flex: 1 1 14rem; }
.controls input, button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: .3rem; padding: .25rem .6rem; } button { cursor: pointer; }
th button { border: 0; padding: 0; background: none; text-align: inherit; font-weight: inherit; }
th button::after { content: " ↕"; color: var(--soft); font-weight: 400; }
th[aria-sort=ascending] button::after { content: " ↑"; } th[aria-sort=descending] button::after { content: " ↓"; }
#chooser .all { max-height: 75vh; overflow: auto; } #chooser .all thead { position: sticky; top: 0;
  background: var(--paper); } td input { margin: 0 .3rem 0 0; }
#bar { position: sticky; bottom: 0; padding: .5rem; background: var(--warn-paper);
  border-top: .2rem solid var(--warn); }
#bar[hidden], tr[hidden] { display: none !important; }
.some .headline::before, .some .verdict::before, .some .warnings h2::after { content: var(--about); display: block;
  width: max-content; font-size: .85rem; font-weight: 400; color: var(--warn); border: 1px solid var(--warn);
  border-radius: 1rem; padding: 0 .6rem; margin: .3rem 0; }
.some .verdict { opacity: .75; }
@media screen and (max-width: 40rem) { h1 { font-size: .95rem; font-weight: 400; }
  table.stack.sort thead { display: block; } .stack.sort thead tr { display: flex;
  flex-wrap: wrap; gap: .2rem .9rem; } .stack.sort th { border: 0; } .stack.sort tr > th:first-child::before {
  content: "sort by: "; color: var(--soft); font-weight: 400; } }
@media print { .controls, #bar { display: none; } th button::after { content: none !important; } }
"""


class Listed(NamedTuple):
    """A run on the page. key: of the score that its kind is compared by, or ""."""

    run: Run
    group: Group
    key: str
    counts: bool  # in the means and tests

    @property
    def value(self) -> float:
        return pairs.value(self.run, self.key)


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


def every_run(groups: Sequence[Group], chosen: Mapping[str, str]) -> list[Listed]:
    """chosen: kind → the score it is compared by."""
    out = []
    for group in groups:
        counted = {id(run) for run in group.runs.values()}
        for run in (*group.runs.values(), *group.aside, *group.unfinished):
            out.append(Listed(run, group, chosen.get(group.kind, ""), id(run) in counted))
    return out


def runs_table(found: Sequence[Listed], out: Path) -> Table:
    """Each run, with links to its page and its folder from a page in `out`."""
    columns = ["run", "group", "seed", "fold", "state", "score", "value", "best epoch", "time", "files"]
    rows: list[list[object]] = []
    for run, group, key, counts in found:
        row, value, took = run.settings, pairs.value(run, key), run.seconds
        fold = row.get("data.splits.fold", "–") if row.get("data.splits.rule") == "kfold" else "–"
        best = (run.status.get("best") or {}).get("epoch", "–")
        value_text = text(group.declared(key), value, 4) if math.isfinite(value) else "–"
        own = run.folder / "report.html"
        name = Cell(run.name, link(own if own.is_file() else run.folder, out))
        state = run.state if counts or run.state != "finished" else "finished, not counted"
        spent = "–" if took is None else Cell(f"{took:.1f} s", order=took)
        line = [name, group.name, row.get("seed", "–"), fold, state, key or "–", value_text, best, spent]
        rows.append([*line, Cell("folder", link(run.folder, out) + "/")])
    return columns, rows, ["seed", "fold", "value", "best epoch", "time"]


def link(path: Path, out: Path) -> str:
    """A file or folder as the page in `out` reaches it."""
    return quote(os.path.relpath(path, out.resolve()).replace(os.sep, "/"))


def runs(found: Sequence[Listed], listed_runs: Table, out: Path) -> str:
    """The table of runs, with what the script needs to filter and choose them."""
    columns, rows, right = listed_runs
    more = page.paragraph(f"{len(rows) - LISTED} more in tables/runs.csv.", "soft") if len(rows) > LISTED else ""
    table = page.table(columns, rows[:LISTED], right).replace('class="scroll"', 'class="scroll all"', 1)
    each = [
        {
            "name": one.run.name,
            "group": one.group.name,
            "score": one.key,
            "value": one.value if one.counts and math.isfinite(one.value) else None,
            "path": shlex.quote(os.path.relpath(one.run.folder)),
        }
        for one in found[:LISTED]
    ]
    beside = shlex.quote(os.path.relpath(out.resolve().with_name("chosen")))
    data = {"runs": each, "command": ["python -m sketchlab.report", f"--out {beside}"]}
    safe = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return f'<div id="chooser">{table}{more}<script type="application/json">{safe}</script></div>'


def files(families: Sequence[Family], written: Sequence[Path], out: Path) -> str:
    """Every figure and table, each with its formats."""
    drawn = [d for f in families for d in (f.figure, *f.curves.values()) if d is not None]
    stems: dict[str, list[Path]] = {}
    for path in (*(d.stem.with_name(f"{d.stem.name}.{end}") for d in drawn for end in figures.METADATA), *written):
        stems.setdefault(str(path.relative_to(out).with_suffix("")), []).append(path)
    lines = []
    for stem, paths in stems.items():
        each = ", ".join(f'<a href="{link(path, out)}">{path.suffix[1:]}</a>' for path in paths)
        lines.append(f"<li>{page.escape(stem)}: {each}</li>")
    return page.paragraph("Beside this page lie:") + f"<ul>{''.join(lines)}</ul>"
