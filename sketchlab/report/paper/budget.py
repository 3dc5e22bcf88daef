"""What a search of k trials is expected to find: the best validation score against the number of trials.

Dodge et al. 2019 ("Show Your Work: Improved Reporting of Experimental Results"), equation for the expected maximum of k
draws, with replacement, from the n trials that were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sketchlab.metrics import declared
from sketchlab.report import canvas, scores
from sketchlab.report.comparison.family import Table


def expected_best(values: ArrayLike, most: int | None = None) -> NDArray[np.float64]:
    """(k,) expected maximum of 1, 2, … k trials drawn with replacement from `values` (n,); k = n unless `most`."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n, k = len(ordered), np.arange(1, (most or len(ordered)) + 1)
    below = (np.arange(n + 1) / n)[None, :] ** k[:, None]  # P(best ≤ value i), (k, n + 1)
    return (np.diff(below, axis=1) * ordered).sum(1)


def table(values: Sequence[float], score: declared.Score, key: str) -> Table:
    """Expected best of 1, 2, 4, … n trials, beside the best of all."""
    sign = score.sign or 1
    found = sign * expected_best([sign * value for value in values])
    n = len(values)
    sizes = sorted({min(2**i, n) for i in range(n.bit_length() + 1)})
    best = scores.text(score, sign * max(sign * value for value in values))
    rows: list[list[object]] = [[k, scores.text(score, float(found[k - 1])), best] for k in sizes]
    return ["trials", f"expected best {key}", f"best of all {n}"], rows, ["trials", f"expected best {key}"]


def draw(path: Path, values: Sequence[float], score: declared.Score, key: str) -> Path:
    sign = score.sign or 1
    found = sign * expected_best([sign * value for value in values])
    figure = canvas.new(7.5, 3.6)
    axes = figure.subplots()
    axes.plot(np.arange(1, len(values) + 1), found, marker="o", ms=3, color=canvas.PALETTE[0])
    best = sign * max(sign * value for value in values)
    axes.axhline(best, color="#777777", lw=1, ls="--")
    axes.annotate(f"best of all {len(values)}", (1, best), (4, -12), textcoords="offset points", fontsize=8)
    canvas.plain(axes, f"Expected best {key} of so many trials", "trials (settings tried)", key)
    return canvas.write(path, figure)
