"""Who errs where: the confusion of A less that of B, and the samples that only one of them gets right, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sketchlab.report import canvas, page
from sketchlab.report.comparison.family import Table
from sketchlab.report.comparison.groups import Group
from sketchlab.report.examples import Examples, examples
from sketchlab.report.read import Run

CELLS = 15  # of the confusion that are listed
CLASSES = 30  # up to which the whole matrix is drawn
PICTURES = 12  # of each side


@dataclass(frozen=True)
class Disagreement:
    """Two groups of classifiers on the same samples."""

    a: Group
    b: Group
    split: str
    classes: list[str]
    gap: NDArray[np.float64]  # (C, C) answers of A less those of B, label by answer, a mean over the runs of each
    only_a: list[str]  # ids that every run of A has right and every run of B wrong
    only_b: list[str]
    n: int


def of(a: Group, b: Group, split: str) -> Disagreement | None:
    """None where they were not tested on the same samples, or do not answer with classes."""
    runs, split_at = [*a.runs.values(), *b.runs.values()], len(a.runs)
    if a.gives != "classes" or b.gives != "classes":
        return None
    kept = [each for run in runs if isinstance(each := examples(run, f"{split}/accuracy"), Examples)]
    if len(kept) < len(runs) or len({each.ids for each in kept}) > 1:
        return None
    tables = [_confusion(run, split) for run in runs]
    right, names = (
        np.stack([each.values for each in kept]) == 1,
        np.array([name.split("\n")[0] for name in kept[0].ids]),
    )
    ours, theirs = right[:split_at], right[split_at:]
    gap = np.mean(tables[:split_at], 0) - np.mean(tables[split_at:], 0)
    only_a, only_b = (names[one.all(0) & ~other.any(0)].tolist() for one, other in ((ours, theirs), (theirs, ours)))
    return Disagreement(a, b, split, runs[0].classes, gap, only_a, only_b, len(names))


def _confusion(run: Run, split: str) -> NDArray[np.int64]:
    """(C, C) label by answer."""
    table = run.predicted_classes(split)
    counts = pd.crosstab(table["label"], table["prediction"])
    return counts.reindex(index=run.classes, columns=run.classes, fill_value=0).to_numpy()


def table(found: Disagreement) -> Table:
    """The cells of the confusion in which the two differ most."""
    order = np.argsort(-np.abs(found.gap), axis=None, kind="stable")[:CELLS]
    rows: list[list[object]] = []
    for label, answer in zip(*np.unravel_index(order, found.gap.shape), strict=True):
        if value := found.gap[label, answer]:
            rows.append([found.classes[label], found.classes[answer], f"{value:+.3g}"])
    return ["class", "answer", "A less B"], rows, ["A less B"]


def draw(path: Path, found: Disagreement) -> Path | None:
    """The whole matrix; None beyond CLASSES classes, where nobody could read it."""
    if len(found.classes) > CLASSES:
        return None
    side = 2.5 + 0.28 * len(found.classes)
    figure = canvas.new(side + 1, side)
    axes = figure.subplots()
    limit = float(np.abs(found.gap).max()) or 1.0
    shown = axes.imshow(found.gap, cmap="PuOr_r", vmin=-limit, vmax=limit)
    figure.colorbar(shown, shrink=0.8, label="more answers of A (+) or of B (−)")
    names = [canvas.short(name, 14) for name in found.classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_xlabel("answer")
    axes.set_ylabel("class")
    title = f"Confusion of A less B, {found.split}, n = {found.n:,}"
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    return canvas.write(path, figure)


def pictures(found: Disagreement, side: str) -> str:
    """HTML: samples that only one side gets right, as far as the other's runs kept pictures of their mistakes."""
    wanted, losers = (found.only_a, found.b) if side == "A" else (found.only_b, found.a)
    kept = _mistakes(list(losers.runs.values()), found.split)
    shown = [(name, *kept[name]) for name in wanted if name in kept][:PICTURES]
    if not shown:
        return ""
    cards = [page.pixels(pixels, name, page.escape(f"{name}: taken for {answer}")) for name, pixels, answer in shown]
    return page.cards(cards)


def _mistakes(runs: Sequence[Run], split: str) -> dict[str, tuple[NDArray[np.uint8], str]]:
    """id → its picture and the answer, of the mistakes that the runs kept pictures of."""
    out: dict[str, tuple[NDArray[np.uint8], str]] = {}
    for run in runs:
        places, pixels = run.array(f"{split}_mistake_places"), run.array(f"{split}_mistake_pixels")
        if places is None or pixels is None:
            continue
        answers = run.predicted_classes(split)
        for place, picture in zip(places, pixels, strict=False):
            row = answers.iloc[int(place)]
            out.setdefault(str(row["id"]), (np.asarray(picture), str(row["prediction"])))
    return out
