"""Figures of one run, drawn from its files: curves, confusion, classes, mistakes, time. Same folder, same bytes."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from sketchlab.report import canvas, scores
from sketchlab.report.canvas import PALETTE, Plot, short
from sketchlab.report.read import Run
from sketchlab.report.run import calibration, curves
from sketchlab.report.run import retrieve as retrieval

NUMBERED = 30  # classes up to which a confusion matrix carries its counts
NAMED = 60  # classes up to which its axes carry names
SHOWN = 24  # mistakes on one picture


def draw(run: Run) -> list[Plot]:
    """Draw every figure the folder has files for, into plots/."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a person's own matplotlibrc must not change the bytes
        parts = {
            "curves": curves.curves,
            "confusion matrices": _matrices,
            "plots of calibration": calibration.plots,
            "pictures of mistakes": _mistakes,
            "plots of the search": retrieval.plots,
            "the balance of the classes": _balance,
            "the time line": curves.timeline,
        }
        return [plot for what, part in parts.items() for plot in run.attempt(what, lambda: list(part(run)), [])]  # noqa: B023


def _matrices(run: Run) -> Iterator[Plot]:
    for name, matrix in run.arrays("*_confusion").items():
        split = name.removesuffix("_confusion")
        counts = np.asarray(matrix)
        title = f"Confusion matrix, {scores.where(split)} (n = {int(counts.sum())})"
        yield canvas.save(run, _confusion(run, counts, title), name, "confusion", split, title)
        if 2 < len(counts) <= NAMED:
            title = f"Accuracy by class, {scores.where(split)}, 95% Wilson intervals"
            yield canvas.save(run, _by_class(run, split, title), f"{split}_classes", "classes", split, title)


def _confusion(run: Run, counts: np.ndarray, title: str) -> Figure:
    """Colour is the share of each true class; numbers are counts while they can be read."""
    size = len(counts)
    names = [short(name, 18) for name in scores.class_names(run, size)]
    side = 8.0 if size > NAMED else 3.2 + (0.34 if size <= NUMBERED else 0.17) * size
    figure = canvas.new(side + 1.2, side)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    norm = Normalize(0, 1) if size <= NAMED else PowerNorm(0.5, 0, 1)  # a rare confusion is one pale pixel among many
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    label = "share of the true class" + (" (square-root scale)" if size > NAMED else "")
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label=label)
    if size <= NUMBERED:
        for i, j in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[i, j] > 0.55 else "0.1"
            axes.text(j, i, str(int(counts[i, j])), ha="center", va="center", fontsize=8, color=ink)
    if size <= NAMED:
        axes.set_xticks(range(size), names, rotation=90, fontsize=8 if size <= NUMBERED else 6, parse_math=False)
        axes.set_yticks(range(size), names, fontsize=8 if size <= NUMBERED else 6, parse_math=False)
    axes.set_xlabel("predicted class" if size <= NAMED else "predicted class (number, in the order of data.json)")
    true = "class asked for" if "asked" in title else "true class"
    axes.set_ylabel(true if size <= NAMED else f"{true} (number)")
    axes.set_title(title, loc="left", fontsize=11)
    return figure


def _by_class(run: Run, split: str, title: str) -> Figure:
    table = scores.recalls(run, split)
    assert table is not None
    table = table.iloc[::-1].reset_index(drop=True)  # barh counts from below: the worst class ends on top
    figure = canvas.new(5.4, 1.6 + 0.22 * len(table))
    axes = figure.subplots()
    rows, value = np.arange(len(table)), table["accuracy"].to_numpy(dtype=float)
    spread = np.abs(np.vstack([value - table["low"], table["high"] - value]))
    axes.errorbar(value, rows, xerr=spread, fmt="o", color=PALETTE[0], ecolor="0.6", markersize=4, linewidth=1.4)
    axes.set_yticks(
        rows,
        [f"{short(c)} (n = {n})" for c, n in zip(table["class"], table["n"], strict=True)],
        fontsize=8,
        parse_math=False,
    )
    axes.axvline(1 / len(table), color="0.35", linestyle=":", linewidth=1.2, label=f"chance (1/{len(table)})")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.7, len(table) - 0.3)
    canvas.plain(axes, title, "share of the class recognised", "")
    canvas.legend(figure)
    return figure


def pictures(run: Run, split: str) -> list[tuple[dict, np.ndarray]]:
    """Mistakes that have a picture, the most confident first: (row of scores.mistakes, (H, W) or (H, W, 3) uint8)."""
    table = scores.mistakes(run, split)
    pixels, places = run.array(f"{split}_mistake_pixels"), run.array(f"{split}_mistake_places")
    if table is None or pixels is None or places is None:
        return []
    at = {int(place): i for i, place in enumerate(places)}
    return [(row, np.asarray(pixels[at[row["place"]]])) for row in table.to_dict("records") if row["place"] in at]


def _mistakes(run: Run) -> Iterator[Plot]:
    for split in run.predicted():
        if not (chosen := pictures(run, split)[:SHOWN]):
            continue
        columns = min(6, len(chosen))
        rows = -(-len(chosen) // columns)
        width, height = max(1.7 * columns, 5.0), 2.25 * rows + 0.4
        figure = canvas.new(width, height, layout=None)  # 24 equal cells need no solver
        figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.8 / height, wspace=0.06, hspace=0.32)
        cells = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in cells:
            axes.set_axis_off()
        for axes, (row, pixels) in zip(cells, chosen, strict=False):
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            sure = "" if np.isnan(row["wrong"]) else f" {scores.share(row['wrong'], 2)}"
            axes.set_title(
                f"is {short(row['label'], 18)}\nsaid {short(row['prediction'], 18)}{sure}", fontsize=8, parse_math=False
            )
        table = scores.mistakes(run, split)
        total, n = len(table) if table is not None else 0, len(run.predictions(split))
        title = f"Worst mistakes, {scores.SPLITS.get(split, split)}: {len(chosen)} of {total} (n = {n})"
        figure.suptitle(title, fontsize=11, x=0.01, y=1 - 0.1 / height, ha="left", va="top")
        yield canvas.save(run, figure, f"{split}_mistakes", "mistakes", split, title)


def _balance(run: Run) -> Iterator[Plot]:
    """data.png: samples per class and split, where they differ; many classes go by their numbers."""
    counts = {split: found for split in scores.SPLITS if (found := scores.per_class(run, split))}
    if len(run.classes) < 2 or all(len(set(found.values())) == 1 for found in counts.values()):
        return
    names = run.classes
    named = len(names) <= NAMED
    figure = canvas.new(7, 1.5 + 0.24 * len(names)) if named else canvas.new(7, 3.5)
    axes = figure.subplots()
    left = np.zeros(len(names))
    for split, found in counts.items():
        width = np.array([found.get(name, 0) for name in names], dtype=float)
        label = f"{split} (n = {int(width.sum())})"
        colour = canvas.SPLIT_COLOUR[split]
        if named:
            axes.barh(range(len(names)), width, left=left, color=colour, label=label, height=0.75)
        else:
            axes.bar(range(len(names)), width, bottom=left, color=colour, label=label, width=1.0)
        left += width
    if named:
        axes.set_yticks(range(len(names)), [short(name) for name in names], fontsize=8, parse_math=False)
        axes.set_ylim(len(names) - 0.4, -0.6)
    canvas.plain(axes, "Samples per class", *(("samples", "") if named else ("class number", "samples")))
    canvas.legend(figure, 3)
    yield canvas.save(run, figure, "data", "data", "", "Samples per class and split")
