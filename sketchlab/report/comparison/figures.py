"""Figures of a comparison, each as PNG, SVG and PDF: validation curves by group, and the groups' scores in a row."""

from __future__ import annotations

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
from sketchlab.report.look import frame
from sketchlab.report.read import Run
from sketchlab.storage.files import atomic

SHOWN = 12  # groups with a line of their own; more cannot be told apart
THIN = 10  # single runs drawn of each group
LEVELS = 3  # baselines drawn across the curves
COLOURS = [c for c in canvas.PALETTE if c != "#000000"]
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (5, 2, 1, 2), (1, 1.5), (3, 1, 1, 1, 1, 1))  # in line widths
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
class Look:
    """How something is drawn in a figure, for its legend: no two have the same colour and dashes."""

    gid: str  # in the SVG, before -mean, -run3, -band, -label
    name: str
    colour: str
    dashes: tuple[float, ...]  # in line widths
    end: float  # its last value
    group: str = ""
    line: Line | None = None  # None: one value, across all epochs


@dataclass(frozen=True)
class Drawn:
    """A figure in its three formats, and where its axes lie: for what the page does with it."""

    stem: Path  # without its ending
    title: str
    lines: list[Look]
    frame: dict[str, Any]  # of look.frame


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
    path: Path, groups: list[Group], key: str, levels: list[tuple[Group, float]], published: list[Published]
) -> Drawn | None:
    """Mean (thick), 95% band over three seeds and more, single runs (thin); baselines, chance and published values
    across. Each has a look of its own and its name at its end, so the figure needs no legend.

    groups: at most SHOWN of them, the best first. levels: groups that have no curve, with their values.
    """
    found = [made for group in groups[:SHOWN] if (made := line(group, key)) is not None]
    if not found:
        return None
    looks = _looks(found, key, levels, published)
    figure = canvas.new(5.4, 3.1 + 0.1 * len(looks))
    axes = figure.subplots()
    split, metric = key.split("/", 1)
    for look in looks:
        style: dict[str, Any] = {"color": look.colour, "linestyle": (0, look.dashes) if look.dashes else "-"}
        if look.line is None:
            axes.axhline(look.end, linewidth=1.4, gid=f"{look.gid}-mean", **style)
            continue
        each = look.line
        for i, (x, y) in enumerate(each.runs[:THIN] if len(each.runs) > 1 else []):
            axes.plot(x, y, linewidth=0.6, alpha=0.45, gid=f"{look.gid}-run{i}", **style)
        axes.fill_between(
            each.x, each.low, each.high, color=look.colour, alpha=0.15, linewidth=0, gid=f"{look.gid}-band"
        )
        axes.plot(each.x, each.mean, linewidth=2, gid=f"{look.gid}-mean", **style)
    _range(axes, key, found, [look.end for look in looks if look.line is None])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"{scores.SPLITS.get(split, split).capitalize()} {metric} by epoch"
    canvas.plain(axes, title, "epoch", metric)
    _named_at_its_end(figure, axes, looks)
    return save(path, figure, axes, title, looks)


def _looks(found: list[Line], key: str, levels: list[tuple[Group, float]], published: list[Published]) -> list[Look]:
    def of_palette(place: int) -> tuple[str, tuple[float, ...]]:
        return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS)]

    score, (split, metric) = found[0].group.declared(key), key.split("/", 1)
    looks = []
    for i, each in enumerate(found):
        n, end = int(each.n.max()), float(each.mean[np.isfinite(each.mean)][-1])
        name = f"{each.group.name} ({n} runs)" if n > 1 else each.group.name
        looks.append(Look(f"g{i}", name, *of_palette(i), end, each.group.name, each))
    for i, (group, value) in enumerate(levels):
        colour, _ = of_palette(len(found) + i)
        name = f"{group.name} ({scores.text(score, value)})"
        looks.append(Look(f"b{i}", name, colour, DASHES[2], value, group.name))
    chance = scores.chance(_run(found[0].group), split, metric)
    if chance is not None:
        looks.append(Look("chance", f"chance ({scores.text(score, chance)})", "#595959", DASHES[3], chance))
    for i, value in enumerate(published):
        looks.append(Look(f"p{i}", value.label, ("#000000", "#7f7f7f")[i % 2], DASHES[4 - i // 2 % 4], value.value))
    return looks


def _named_at_its_end(figure: Figure, axes: Axes, looks: list[Look]) -> None:
    """Each name to the right of the axes at the height of its line's end, moved where it would lie on another one."""
    names = distinct([look.group or look.name for look in looks])
    texts = [
        axes.annotate(
            name,
            (1, look.end),
            xycoords=("axes fraction", "data"),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=look.colour,
            annotation_clip=False,
            parse_math=False,
            gid=f"{look.gid}-label",
        )
        for name, look in zip(names, looks, strict=True)
    ]
    figure.draw_without_rendering()  # the heights are known once it is laid out
    to_points = 72 / figure.dpi
    low, high = (axes.bbox.y0 * to_points, axes.bbox.y1 * to_points)
    wanted = [float(axes.transData.transform((0, look.end))[1]) * to_points for look in looks]
    for text, place, at in zip(
        texts, spread([min(max(y, low), high) for y in wanted], 10.0, low, high), wanted, strict=True
    ):
        text.set_position((5, place - at))


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places in [low, high] near the wanted ones, in their order and `gap` apart, closer only if there is no room."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    places, floor = [0.0] * len(wanted), low
    for i in order:  # upwards, each above the one below
        places[i] = max(wanted[i], floor)
        floor = places[i] + gap
    ceiling = high
    for i in reversed(order):  # and down again from the top
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


def distinct(names: list[str], least: int = 20) -> list[str]:
    """Names as short as they can be without becoming alike."""
    longest = max(map(len, names))
    lengths = range(min(least, longest), longest + 1)
    return next(made for n in lengths if len(set(made := [short(name, n) for name in names])) == len(set(names)))


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


def save(path: Path, figure: Figure, axes: Axes, title: str, lines: Sequence[Look] = ()) -> Drawn:
    """path.png, path.svg and path.pdf, each whole or not at all, with the same bytes for the same runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()  # lays it out, once for all formats
    figure.set_layout_engine("none")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name, "pdf.fonttype": 42}):
        for ending, metadata in METADATA.items():
            target = path.with_name(f"{path.name}.{ending}")
            options: dict[str, Any] = {"metadata": metadata, "dpi": canvas.DPI if ending == "png" else 72}
            with atomic(target) as temporary:
                figure.savefig(temporary, format=ending, **options)
    return Drawn(path, title, list(lines), frame(axes))
