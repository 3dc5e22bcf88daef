"""Many run folders → one page that opens with the answer, its figures and its tables."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from sketchlab.errors import UserError, listed
from sketchlab.report import page, scores, tables
from sketchlab.report.comparison import (
    conclusion,
    figures,
    inspect,
    kinds,
    listings,
    pairs,
    published,
    stacked,
    tested,
    warned,
)
from sketchlab.report.comparison.family import Family, Table
from sketchlab.report.comparison.groups import Group, find, gather, kind, read_all
from sketchlab.report.comparison.leaderboard import entry
from sketchlab.report.comparison.pairs import Samples
from sketchlab.report.comparison.published import Published
from sketchlab.report.paper import appendix
from sketchlab.report.paper.appendix import Asked
from sketchlab.report.read import Run
from sketchlab.report.sentences import Sentence, render

PAGE = "comparison.html"


def compare(
    folders: Sequence[Path],
    *,
    by: Sequence[str] = (),
    names: Sequence[str] = (),
    metric: str = "",
    out: Path,
    values: Path | None = None,
    refresh_s: int = 0,
    paper: Asked | None = None,
) -> Path:
    """Read every run at or below the folders and write comparison.html, figures/ and tables/ to `out`.

    by: choices or dotted keys that name the groups; without, the settings that differ. names: of the groups instead, in
    the order in which the page lists them. metric: the score to compare
    by, such as val/accuracy; without, each kind of run's result; of one without a direction, such as train/d_real, the
    curves are drawn, a panel per group. values: a YAML file of published values.
    refresh_s: the page reloads itself that often; 0: never. paper: appendix.html too. Returns the page's path. Raises
    UserError for a folder without runs, an unknown key of `by`, and a metric that no run has (saying which there are).
    """
    paths, notes = find(folders)
    runs, unread = read_all(paths)
    notes += unread
    if not runs:
        raise UserError(f"none of the {len(paths)} runs found can be read; the first: {notes[-1]}")
    groups, keys, more = gather(runs, by, names)
    notes += more
    curve = stacked.wanted(runs, metric)  # a score without a direction ranks nothing: its curves are drawn
    chosen = metrics(runs, "" if curve else metric)
    known = published.load(values) if values else []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a person's own matplotlibrc must not change the bytes
        families = [_family(groups, key, chosen, known, out, notes) for key in dict.fromkeys(chosen.values())]
        drawn = stacked.draw(out / "figures" / f"curves-{page.anchor(curve)}", groups, curve) if curve else None
    if without := [of for of in dict.fromkeys(g.kind for g in groups) if of not in chosen]:
        notes.append(render(Sentence("no score to compare", ", ".join(without))))
    worst = map(render, warned.find(families, groups))
    notes = [*worst, *notes, *map(render, conclusion.unfinished(groups))]
    notes += [f"{run.name}: {note}" for run in runs for note in run.notes]
    every = listings.every_run(groups, chosen)
    listed_runs = listings.runs_table(every, out)
    written = _tables(families, listed_runs, out)
    first = [(drawn.title, stacked.section(drawn, len(groups) - stacked.MOST))] if drawn else []
    text = page.render(
        title=f"{len(runs)} runs in {len(groups)} group{'s' * (len(groups) != 1)}{_by(families)}",
        state=conclusion.states(runs),
        headline=render(conclusion.short(families)),
        under=" ".join(
            [
                *map(render, conclusion.headline(families) if any(f.leaderboard for f in families) else []),
                f"Compared by {', '.join(keys)}." if keys else "All of the same settings.",
            ]
        ),
        warnings=_short(notes),
        sections=[*first, *_sections(families, keys, every, listed_runs, written, out)],
        head=_head(refresh_s, len(runs)),
        warnings_first=True,
    )
    if paper is not None:
        appendix.write(families, runs, paper, out)
    return tables.put(out / PAGE, text)


def _by(families: Sequence[Family]) -> str:
    """The score that the headline is about."""
    split, metric = next((f.key for f in families if f.leaderboard), "/").split("/", 1)
    return f", by {scores.SPLITS.get(split, split)} {metric}" if metric else ""


def _short(notes: list[str], most: int = 12) -> list[str]:
    return notes if len(notes) <= most else [*notes[:most], f"… and {len(notes) - most} more of this kind."]


def metrics(runs: Sequence[Run], wanted: str) -> dict[str, str]:
    """kind of run → the score it is compared by: `wanted` where it has that, else (if none is wanted) its result."""
    there: dict[str, Counter[str]] = {}
    primary: dict[str, Counter[str]] = {}
    for run in runs:
        of = kind(run)
        there.setdefault(of, Counter()).update(key for key, v in run.final().items() if "/" in key and math.isfinite(v))
        if (key := scores.primary_key(run)) and math.isfinite(run.final()[key]):
            primary.setdefault(of, Counter())[key] += 1
    if not wanted:
        return {of: found.most_common(1)[0][0] for of, found in primary.items()}
    every = sorted({key for found in there.values() for key in found})
    for name in (wanted, f"test/{wanted}", f"val/{wanted}"):
        if name in every:
            return {of: name for of, found in there.items() if name in found}
    close = difflib.get_close_matches(wanted, every, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(f"--metric {wanted}: no run has it; {hint}there is: {listed(every, 40) or 'no score yet'}")


def _family(
    groups: list[Group], key: str, chosen: dict[str, str], known: list[Published], out: Path, notes: list[str]
) -> Family:
    """Test, rank and draw the groups whose kind is compared by this score."""
    own = [group for group in groups if chosen.get(group.kind) == key]
    ranked = [group for block in pairs.test_sets(own, key) for group in block]
    samples = Samples(key)
    rows = [entry(group, samples) for group in ranked]
    literature, hidden = published.fitting(known, ranked, key)
    metric = key.split("/", 1)[1]
    watched = f"val/{metric}"
    on_curves, _ = published.fitting(known, ranked, watched)
    name = page.anchor(key)
    drawn = figures.leaderboard(out / "figures" / f"scores-{name}", rows, key, literature) if len(rows) > 1 else None
    notes += hidden + _counted(own, ranked, key) + _blind(own, key)
    curves = {}
    for of in dict.fromkeys(group.kind for group in own):
        mine = [g for g in (*ranked, *(g for g in own if g not in ranked)) if g.kind == of]
        levels = [] if all(g.fitted for g in mine) else kinds.levels(ranked, watched)
        path = out / "figures" / f"curves-{page.anchor(of)}-{page.anchor(watched)}"
        if (figure := figures.curves(path, mine, watched, levels, on_curves)) is not None:
            curves[of] = figure
    rest = [group for group in own if group not in ranked]
    return Family(key, [*ranked, *rest], rows, pairs.compare(own, key, samples), literature, drawn, curves)


def _blind(own: list[Group], key: str) -> list[str]:
    """A generator's score that cannot tell real images from noise or grey: said, with the groups it is so in."""
    split, metric = key.split("/", 1)
    known = {group.name: [scores.calibration(run, split, metric) for run in group.runs.values()] for group in own}
    blind = [name for name, found in known.items() if any(one and not one["informative"] for one in found)]
    record = Sentence("blind", key, {"blind": scores.BLIND, "groups": listed(blind, 4)})
    return [render(record)] if blind else []


def _counted(own: list[Group], ranked: list[Group], key: str) -> list[str]:
    """Finished runs that do not have the score: said, not dropped."""
    out = []
    for group in own:
        lacking = [run.name for run in group.runs.values() if not math.isfinite(pairs.value(run, key))]
        if lacking:
            out.append(render(Sentence("without the score", group.name, {"runs": listed(lacking, 3), "key": key})))
    return out


def _tables(families: list[Family], listed_runs: Table, out: Path) -> list[Path]:
    written = tables.write(out / "tables" / "runs", *listed_runs)
    for family in families:
        name = page.anchor(family.key)
        written += tables.write(out / "tables" / f"groups-{name}", *conclusion.answer_table(family))
        if family.pairs:
            written += tables.write(out / "tables" / f"pairs-{name}", *tested.table(family))
    return written


def _head(refresh_s: int, runs: int) -> str:
    reload = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    about = f':root {{ --about: "about all {runs} runs"; }}'
    style = f"<style>{inspect.CSS}{listings.CSS}{about}</style>"
    return f"{reload}{style}<script>{listings.SCRIPT}</script>"


def _verdict(html: str) -> str:
    """What is about all runs: the page marks it where a reader has chosen some."""
    return f'<div class="verdict">{html}</div>' if html else ""


def _sections(
    families: list[Family],
    keys: list[str],
    every: list[listings.Listed],
    listed_runs: Table,
    written: list[Path],
    out: Path,
) -> list[tuple[str, str]]:
    groups = [group for family in families for group in family.groups]
    titles = dict.fromkeys(group.kind for group in groups)
    own = [(of, _verdict("".join(kinds.kind(f, of) for f in families))) for of in titles]
    return [
        ("Answer", _verdict("".join(conclusion.conclusion(family, len(families) > 1) for family in families))),
        *own,
        ("Pairs", _verdict("".join(map(tested.tested, families)))),
        ("What differs", listings.differs(groups, keys)),
        ("Runs", listings.runs(every, listed_runs, out)),
        ("Files", listings.files(families, written, out)),
    ]
