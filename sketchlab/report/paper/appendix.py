"""appendix.html: what a comparison leaves for a paper, on pages of A4; its tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sketchlab.errors import listed
from sketchlab.report import page, tables
from sketchlab.report.comparison import leaderboard, pairs
from sketchlab.report.comparison.family import Family, Table
from sketchlab.report.comparison.leaderboard import Entry
from sketchlab.report.paper import budget, cost, disagreements, equivalence, methods
from sketchlab.report.paper.pivot import Pivot, pivot
from sketchlab.report.read import Run
from sketchlab.report.scores import share, text

PAGE = "appendix.html"
TRIALS = 5  # settings from which on a search's budget is shown
CSS = (
    "@page{size:A4;margin:16mm}@media print{body{background:#fff;color:#000;font-size:9.5pt}"
    ".scroll{overflow:visible}table{font-size:8.5pt}figure,tr{break-inside:avoid}h2{break-after:avoid}"
    "details>*{display:block}pre{white-space:pre-wrap}}"
)


@dataclass(frozen=True)
class Asked:
    keys: list[str]  # of --pivot: the setting of the rows and that of the columns; [] = no such table
    margin: float | None  # of --margin


def write(families: Sequence[Family], runs: Sequence[Run], asked: Asked, out: Path) -> Path:
    """The page, its figures and tables below `out`.

    Raises UserError for keys that are not two settings of the runs, and for a margin that is none.
    """
    keys, margin = asked.keys, asked.margin
    pivots = [pivot(_of(runs, family), keys, family.key) for family in families if keys and family.leaderboard]
    more = ["agarwal"] * bool(pivots) + ["demsar"] * any(p.critical for p in pivots)
    sections: list[tuple[str, str]] = []
    for found in pivots:
        sections.append((f"{found.keys[0]} × {found.keys[1]}, {found.score}", _pivot(found, out)))
    for family in families:
        if not family.leaderboard:
            continue
        name, last = page.anchor(family.key), f", {family.key}" * (len(families) > 1)
        if margin is not None:
            more += ["schuirmann"]
            sections.append((f"Equal within {margin:g}{last}", _equivalence(family, margin, out / "tables" / name)))
        sections.append((f"Score against cost{last}", _cost(family, out, name)))
        sections.append((f"Expected best of so many settings{last}", body := _budget(family, out, name)))
        more += ["dodge"] * bool(body)
        sections.append((f"Who errs where{last}", _disagreement(family, out, name)))
    words, cited = methods.paragraph(families, more)
    bib = methods.bibtex(cited)
    tables.put(out / "references.bib", bib)
    sections = [
        ("Methods", page.paragraph(words)),
        *sections,
        ("References", f"<pre>{page.escape(bib)}</pre>"),
    ]
    text_of = page.render(
        title="Appendix",
        state=f"{len(runs)} runs",
        headline="",
        under="the comparison itself is comparison.html",
        warnings=[],
        sections=sections,
        head=f"<style>{CSS}</style>",
    )
    return tables.put(out / PAGE, text_of)


def _of(runs: Sequence[Run], family: Family) -> list[Run]:
    own = {run.folder for group in family.groups for run in (*group.runs.values(), *group.unfinished)}
    return [run for run in runs if run.folder in own]


def _shown(found: Table, path: Path) -> str:
    tables.write(path, *found)
    return page.table(found[0], found[1], found[2])


def _pivot(found: Pivot, out: Path) -> str:
    name = f"pivot-{page.anchor(found.score)}"
    score = next(iter(found.cells.values())).score
    rows, bold = [], set()
    for place, row in enumerate(found.rows):
        cells = []
        for at, column in enumerate(found.columns, 1):
            cell = found.cells.get((row, column))
            cells.append(f"{text(score, cell.mean)} {leaderboard.interval(cell)}" if cell else "–")
            bold |= {(place, at)} if (row, column) in found.best else set()
        rows.append([row, *cells])
    columns = [found.keys[0], *found.columns]
    tables.write(out / "tables" / name, columns, rows, found.columns, bold)
    values = [
        [
            row,
            column,
            cell.mean,
            cell.low,
            cell.high,
            _number(cell.sd),
            len(cell.single),
            cell.n,
            (row, column) in found.best,
        ]
        for (row, column), cell in found.cells.items()
    ]
    names = ["row", "column", "mean", "low", "high", "sd", "runs", "n", "best"]
    tables.put(out / "tables" / f"{name}-values.csv", tables.as_csv(names, [list(map(_cell, row)) for row in values]))
    body = page.table(columns, rows, found.columns, bold=bold)
    body += page.paragraph(
        f"Mean over runs with its 95% interval. Bold: better than every other in its column, p by Holm over "
        f"{found.tests} tests of this table; no bold in a column: no test says so.",
        "soft",
    )
    body += _over_all(found, out / "tables" / f"{name}-over-all")
    return body + "".join(page.paragraph(f"{note[0].upper()}{note[1:]}.", "soft") for note in found.notes)


def _over_all(found: Pivot, path: Path) -> str:
    known = [one for one in found.summaries if one.rank is not None]
    if not known:
        return ""
    rows: list[list[object]] = []
    for one in sorted(known, key=lambda one: one.rank or 0):
        middle = share(one.iqm) + ("" if one.low is None else f" [{share(one.low)}, {share(one.high)}]")
        rows.append([one.row, middle, f"{one.rank:.2f}"])
    columns = [found.keys[0], "interquartile mean [95%]", "average rank"]
    body = "<h3>Over all columns</h3>" + _shown((columns, rows, columns[1:]), path)
    if found.critical is not None:
        body += page.paragraph(f"Average ranks that lie {found.critical:.2f} apart differ at 5% (Nemenyi).", "soft")
    wins: list[list[object]] = [
        [one.a, one.b, share(one.probability) + ("" if one.low is None else f" [{share(one.low)}, {share(one.high)}]")]
        for one in found.improvements
        if one.probability >= 0.5 and (one.probability > 0.5 or one.a < one.b)
    ]
    names = ["A", "B", "probability that A improves on B [95%]"]
    return body + _shown((names, wins, names[2:]), path.with_name(f"{path.name}-improvement"))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: object) -> str:
    return "" if value is None else repr(float(value)) if isinstance(value, float) else str(value)


def _equivalence(family: Family, margin: float, path: Path) -> str:
    found = equivalence.judge(family.pairs, margin)
    if not found:
        return page.paragraph("No pair has a test: too few runs, or other test sets.")
    body = _shown(equivalence.table(found, margin), path.with_name(f"equivalence-{path.name}"))
    return body + page.paragraph(equivalence.EXPLAINED, "soft")


def _cost(family: Family, out: Path, key: str) -> str:
    """Scores compare within one test set only: a table and its figures for each."""
    body = ""
    for number, rows in enumerate(_blocks(family), 1):
        found, name = cost.table(rows), f"cost-{key}-{number}"
        if len(rows) < 2 or len(found[0]) == 3:
            continue
        body += f"<h3>{page.escape(_on(rows))}</h3>" + _shown(found, out / "tables" / name)
        if len(devices := cost.devices(rows)) > 1:
            body += page.paragraph(f"Times of different devices do not compare: {'; '.join(devices)}.", "soft")
        drawn = cost.draw(out / "figures" / name, rows)
        body += page.cards([page.picture(path, path.stem, "chart") for path in drawn], wide=True)
    front = "* on Pareto's front: no other group reaches the score at this cost or less."
    return body and body + page.paragraph(front, "soft")


def _blocks(family: Family) -> list[list[Entry]]:
    """The entries of a family by what they were tested on."""
    rows = {id(row.group): row for row in family.leaderboard}
    return [[rows[id(group)] for group in block] for block in pairs.test_sets(family.groups, family.key)]


def _on(rows: Sequence[Entry]) -> str:
    run = next(iter(rows[0].group.runs.values()))
    return f"{run.choices.get('data', 'data')}: {listed(run.classes, 6)}; n = {rows[0].n}"


def _budget(family: Family, out: Path, name: str) -> str:
    """Of settings with a validation score, what a search chooses by, where all were tested on one set."""
    key = f"val/{family.key.split('/', 1)[1]}"
    values = [
        sum(found) / len(found)
        for group in family.groups
        if (found := [v for run in group.runs.values() if math.isfinite(v := run.final().get(key, math.nan))])
    ]
    if len(values) < TRIALS or len(_blocks(family)) > 1:
        return ""
    score = family.groups[0].declared(key)
    body = _shown(budget.table(values, score, key), out / "tables" / f"budget-{name}")
    drawn = budget.draw(out / "figures" / f"budget-{name}.png", values, score, key)
    note = "Settings drawn at random, with replacement, from these (Dodge et al. 2019); chosen by validation."
    return body + page.picture(drawn, drawn.stem, "chart") + page.paragraph(note, "soft")


def _disagreement(family: Family, out: Path, name: str) -> str:
    """The two best groups."""
    if len(family.leaderboard) < 2:
        return ""
    a, b = (row.group for row in family.leaderboard[:2])
    found = disagreements.of(a, b, family.key.split("/", 1)[0])
    if found is None:
        return ""
    body = page.paragraph(
        f"A: {a.name}. B: {b.name}. Of {found.n:,} samples every run of A has {len(found.only_a)} right that every run "
        f"of B has wrong, and the other way round {len(found.only_b)}."
    )
    cells = disagreements.table(found)
    if cells[1]:
        body += _shown(cells, out / "tables" / f"errors-{name}")
        if (drawn := disagreements.draw(out / "figures" / f"errors-{name}.png", found)) is not None:
            body += page.picture(drawn, drawn.stem, "chart")
    for side in "AB":
        shown = disagreements.pictures(found, side)
        body += f"<h3>Right by {side} alone</h3>{shown}" if shown else ""
    return body
