"""Figures of a comparison, each as PNG, SVG and PDF: validation curves by group, and the groups' scores in a row."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sketchlab.report import canvas, scores
from sketchlab.report.canvas import short, two_lines
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.leaderboard import Entry, of_scores
from sketchlab.report.comparison.published import Published
from sketchlab.report.read import Run

SHOWN = 12  # groups with a line of their own; more cannot be told apart
THIN = 10  # single runs drawn of each group
COLOURS = [c for c in canvas.PALETTE if c != "#000000"]
METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
LEVEL = {"color": "0.35", "linestyle": ":", "linewidth": 1.4}


@dataclass(frozen=True)
class Line:
    """A group's mean over its runs, where at least one of them has a value."""

    group: Group
    x: np.ndarray  # (E,) epochs
    mean: np.ndarray  # (E,)
    low: np.ndarray  # (E,) 95% interval of the mean; NaN below three runs, and where it is not known
    high: np.ndarray
    n: np.ndarray  # (E,) runs behind each mean
    runs: list[tuple[np.ndarray, np.ndarray]]  # the single runs


@dataclass(frozen=True)
class Drawn:
    """A figure in its three formats, and where its axes lie: for what the page does with it."""

    stem: Path  # without its ending
    title: str
    lines: list[tuple[str, str, Line]]  # (id in the SVG, colour, line)
    box: tuple[float, float, float, float]  # left, top, right, bottom in points of the SVG, y down
    x_range: tuple[float, float]
    dashed: tuple[str, ...] = ()  # ids of dashed lines


def line(group: Group, key: str) -> Line | None:
    """Epoch by epoch over the group's runs, finished or not. None where nothing was measured more than once."""
    found = [run for run in (*group.runs.values(), *group.unfinished) if len(run.curve(key)[0]) > 1]
    runs = [run.curve(key) for run in found]
    if not runs:
        return None
    epochs = np.unique(np.concatenate([x for x, _ in runs]))
    table = np.full((len(runs), len(epochs)), np.nan)
    for row, (x, y) in zip(table, runs, strict=True):
        row[np.searchsorted(epochs, x)] = y
    n = np.isfinite(table).sum(0)
    low, high = np.full((2, len(epochs)), np.nan)
    for i in np.flatnonzero(n >= 3):
        there = np.isfinite(table[:, i])
        single = table[there, i].tolist()
        ends = of_scores([run for run, known in zip(found, there, strict=True) if known], single, key)
        if ends[0] is not None:
            low[i], high[i] = ends[:2]
    mean = np.array([np.mean(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in table.T])
    return Line(group, epochs, mean, low, high, n, runs)


def curves(
    path: Path, groups: list[Group], key: str, levels: list[tuple[str, float]], published: list[Published]
) -> Drawn | None:
    """Mean (thick), 95% band over three seeds and more, single runs (thin), chance and published values (dotted).

    groups: at most SHOWN of them, the best first. levels: (label, value) of groups that have no curve.
    """
    found = [made for group in groups[:SHOWN] if (made := line(group, key)) is not None]
    if not found:
        return None
    figure = canvas.new(5.4, 3.4 + 0.16 * (len(found) + len(levels) + len(published)))
    axes = figure.subplots()
    split, metric = key.split("/", 1)
    drawn, dashed = [], []
    for place, each in enumerate(found):
        colour, name = COLOURS[place % len(COLOURS)], f"g{place}"
        style = "--" if place >= len(COLOURS) else "-"
        if style == "--":
            dashed.append(name)
        for i, (x, y) in enumerate(each.runs[:THIN] if len(each.runs) > 1 else []):
            axes.plot(x, y, style, color=colour, linewidth=0.6, alpha=0.45, gid=f"{name}-run{i}")
        axes.fill_between(each.x, each.low, each.high, color=colour, alpha=0.15, linewidth=0, gid=f"{name}-band")
        seeds = f" ({int(each.n.max())} runs)" if each.n.max() > 1 else ""
        label = short(each.group.name, 64) + seeds
        axes.plot(each.x, each.mean, style, color=colour, linewidth=2, label=label, gid=f"{name}-mean")
        drawn.append((name, colour, each))
    chance = scores.chance(_run(found[0].group), split, metric)
    for label, value in levels:
        axes.axhline(value, color="0.2", linestyle="-.", linewidth=1.1, label=label)
    if chance is not None:
        axes.axhline(chance, label=f"chance ({scores.text(found[0].group.declared(key), chance)})", **LEVEL)
    for value in published:
        axes.axhline(value.value, color="0.1", linestyle=(0, (1, 1)), linewidth=1.2, label=value.label)
    _range(axes, key, found, [v for v in (chance, *(value for _, value in levels), *(p.value for p in published)) if v])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"{scores.SPLITS.get(split, split).capitalize()} {metric} by epoch"
    canvas.plain(axes, title, "epoch", metric)
    figure.legend(fontsize=7.5, frameon=False, loc="outside lower left", ncols=1 if _long(found) else 2)
    return save(path, figure, axes, title, drawn, tuple(dashed))


def _long(lines: list[Line]) -> bool:
    return max(len(each.group.name) for each in lines) > 26


def _range(axes: Axes, key: str, lines: list[Line], levels: list[float]) -> None:
    values = np.concatenate([*(y for each in lines for _, y in each.runs), levels])
    values = values[np.isfinite(values)]
    if lines[0].group.declared(key).is_share and len(values):
        top = max(values.max(), 0.01)
        axes.set_ylim(0, 1.02 if top > 0.4 else 1.6 * top)
    elif len(values) and (values > 0).all() and values.max() > 50 * values.min():
        axes.set_yscale("log")


def _run(group: Group) -> Run:
    return [*group.runs.values(), *group.unfinished][0]


def leaderboard(path: Path, rows: list[Entry], key: str, published: list[Published]) -> Drawn:
    """One row per group: mean and 95% interval, single runs as small dots, chance and published values as lines."""
    split, metric = key.split("/", 1)
    rows = rows[:40]
    names = [f"{two_lines(row.group.name, 34)} ({len(row.single)})" for row in rows]
    figure = canvas.new(5.4, 1.3 + (0.34 if any("\n" in name for name in names) else 0.27) * len(rows))
    axes = figure.subplots()
    ends = [(y, row.low, row.high) for y, row in enumerate(rows) if row.low is not None and row.high is not None]
    axes.hlines(*zip(*ends, strict=True), color="0.55", linewidth=2.2) if ends else None
    single = [(value, y + place) for y, row in enumerate(rows) for value, place in _spread(row.single)]
    axes.plot(*zip(*single, strict=True), "o", color=canvas.PALETTE[4], markersize=2.6) if single else None
    axes.plot([row.mean for row in rows], range(len(rows)), "o", color=canvas.PALETTE[0], markersize=6)
    axes.set_yticks(range(len(rows)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    chance = next((c for row in rows if (c := scores.chance(_run(row.group), split, metric)) is not None), None)
    if chance is not None:
        axes.axvline(chance, label=f"chance ({scores.text(rows[0].score, chance)})", **LEVEL)
    for value in published:
        axes.axvline(value.value, color="0.1", linestyle=(0, (1, 1)), linewidth=1.2, label=value.label)
    if chance is not None or published:
        figure.legend(fontsize=7.5, frameon=False, loc="outside lower left", ncols=2)
    if rows[0].score.is_share:
        ends = [v for row in rows for v in (row.high, row.mean) if v is not None]
        axes.set_xlim(0, 1.02 if max(ends) > 0.4 else 1.3 * max(ends))
    title = f"{scores.SPLITS.get(split, split).capitalize()} {metric}"
    single = ", single runs" if any(len(row.single) > 1 for row in rows) else ""
    words = scores.direction(rows[0].score)
    lower = f", {words}" if words else ""
    canvas.plain(axes, title, f"mean, 95% interval{single}{lower}", "")
    return save(path, figure, axes, title)


def _spread(values: list[float]) -> list[tuple[float, float]]:
    """Several runs, each a little above or below the one before, so that equal scores are seen."""
    return list(zip(values, np.linspace(-0.22, 0.22, len(values)), strict=True)) if len(values) > 1 else []


def save(
    path: Path, figure: Figure, axes: Axes, title: str, lines: Sequence = (), dashed: tuple[str, ...] = ()
) -> Drawn:
    """path.png, path.svg and path.pdf, each whole or not at all, with the same bytes for the same runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()  # lays it out, once for all formats
    figure.set_layout_engine("none")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name, "pdf.fonttype": 42}):
        for ending, metadata in METADATA.items():
            target = path.with_name(f"{path.name}.{ending}")
            part = target.with_name(target.name + ".part")
            options: dict[str, Any] = {"metadata": metadata, "dpi": canvas.DPI if ending == "png" else 72}
            figure.savefig(part, format=ending, **options)
            os.replace(part, target)
    place, (width, height) = axes.get_position(), 72 * figure.get_size_inches()
    box = (place.x0 * width, (1 - place.y1) * height, place.x1 * width, (1 - place.y0) * height)
    low, high = axes.get_xlim()
    return Drawn(path, title, list(lines), tuple(round(float(v), 2) for v in box), (float(low), float(high)), dashed)  # type: ignore[arg-type]


def finite(values: np.ndarray) -> list[float | None]:
    """For JSON, which knows no NaN."""
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values]
