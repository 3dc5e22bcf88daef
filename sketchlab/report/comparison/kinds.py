"""A section for each kind of run: its curves, all its scores, its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sketchlab.metrics import declared
from sketchlab.report import page, scores
from sketchlab.report.comparison import figures, inspect, pairs
from sketchlab.report.comparison.family import Family
from sketchlab.report.comparison.groups import Group
from sketchlab.report.read import Run
from sketchlab.report.scores import text

PICTURES = 8  # groups whose pictures are shown


def kind(family: Family, of: str) -> str:
    """Curves, all scores and pictures of the groups of one kind."""
    groups = [group for group in family.groups if group.kind == of]
    if not groups:
        return ""
    out = ""
    if (drawn := family.curves.get(of)) is not None:
        metric = family.key.split("/", 1)[1]
        many = f" The {figures.SHOWN} best of {len(groups)} groups." if len(groups) > figures.SHOWN else ""
        thin = f" Thin: single runs (at most {figures.THIN} of a group); band: 95% interval over three runs and more."
        out += inspect.inspectable(drawn, f"val/{metric}") + page.paragraph(
            f"Thick: mean over runs.{thin}{many}", "soft"
        )
    return out + _all_scores(groups) + _pictures(groups)


def _all_scores(groups: list[Group]) -> str:
    """Every final score of test and val, mean ± standard deviation over runs."""
    finals = {id(g): [run.final() for run in g.runs.values()] for g in groups}
    keys = sorted({k for found in finals.values() for f in found for k in f if k.startswith(("test/", "val/"))})
    groups = [g for g in groups if finals[id(g)]]
    rows = [
        [key, *(_mean_sd(g.declared(key), [f[key] for f in finals[id(g)] if key in f]) for g in groups[:PICTURES])]
        for key in keys
    ]
    if not rows:
        return ""
    columns = ["score", *(g.name for g in groups[:PICTURES])]
    more = f" of the first {PICTURES} groups" if len(groups) > PICTURES else ""
    return page.details(
        f"All scores{more}: mean ± standard deviation over runs", page.table(columns, rows, columns[1:])
    )


def _mean_sd(score: declared.Score, values: list[float]) -> str:
    found = [v for v in values if math.isfinite(v)]
    if not found:
        return "–"
    spread = f" ± {text(score, float(np.std(found, ddof=1)))}" if len(found) > 1 else ""
    return text(score, float(np.mean(found))) + spread


def _pictures(groups: list[Group]) -> str:
    """One picture of each group, by the run whose score lies in the middle: samples of a GAN, matches, confusion."""
    found = []
    for group in groups[:PICTURES]:
        runs = sorted(group.runs.values(), key=lambda r: r.final().get(scores.primary_key(r) or "", math.nan))
        if runs and (path := _file(run := runs[len(runs) // 2])) is not None:
            style = "chart" if path.parent.name == "plots" else "picture"
            caption = f"{group.name}: {path.stem.replace('_', ' ')} of {run.name}"
            found.append(page.picture(path, caption, style, caption))
    cards = page.cards(found, wide=True)
    if found and groups[0].gives != "classes":  # there the pictures are what one comes for
        return f"<h3>Pictures: of each group the run in the middle</h3>{cards}"
    return page.details("Pictures: of each group the run in the middle", cards) if found else ""


def _file(run: Run) -> Path | None:
    names = {
        "classes": (),
        "images": ("test_samples", "val_samples_*"),
        "translations": ("test_translated", "val_translated_*"),
        "matches": ("test_retrieval", "val_retrieval"),
    }.get(run.declared.answers, ("test_*", "val_*"))
    for name in names:
        if sheets := run.samples(name):
            return sheets[-1]
    plots = [run.folder / "plots" / f"{split}_confusion.png" for split in ("test", "val")]
    return next((path for path in plots if not names and path.is_file()), None)


def levels(ranked: Sequence[Group], key: str) -> list[tuple[Group, float]]:
    """Baselines as lines across the curves of those they are ranked with."""
    found = [(g, pairs.mean(g, key)) for g in ranked if g.fitted][: figures.LEVELS]
    return [(g, value) for g, value in found if math.isfinite(value)]
