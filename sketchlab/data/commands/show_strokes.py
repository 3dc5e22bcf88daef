"""The part of a data set's page that only drawings have: how many strokes and points they are made of, per class."""

from __future__ import annotations

import html

import numpy as np
import torch
from tqdm import tqdm

from sketchlab.data.dataset import Dataset
from sketchlab.data.strokes.batch import Strokes

LIMITS = (4, 8, 12)  # frames that a network might be given
SHOWN = 20  # strokes; more stand in the last bar
_BLOCK = 4096


def section(data: Dataset) -> str:
    """HTML with a table of all classes; "" for data that are no strokes."""
    first = next(iter(data.splits.values()))
    if not isinstance(getattr(first, "store", None) and first.gather(torch.arange(1)), Strokes):
        return ""
    strokes, points, labels = (np.concatenate(found) for found in zip(*_measured(data), strict=True))
    rows = [_row("all classes", strokes, points)]
    rows += [_row(name, strokes[labels == k], points[labels == k]) for k, name in enumerate(data.classes)]
    head = "".join(f"<th class=n>≤ {limit}" for limit in LIMITS)
    limits = ", ".join(map(str, LIMITS))
    return (
        f"<h2>Strokes and points</h2><p class=soft>Strokes of a drawing: bars for 1, 2, … {SHOWN - 1} and {SHOWN} or "
        f"more, their median, and the share of drawings with no more than {limits}: what a network of so many frames "
        "sees whole. Points: median, and from the 5th to the 95th percentile.</p><div class=wide><table>"
        f"<tr><th>class<th class=n>n<th>strokes<th class=n>median{head}<th class=n>points<th class=n>5–95 %"
        f"{''.join(rows)}</table></div>"
    )


def _measured(data: Dataset) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Strokes, points and label of every drawing, in blocks."""
    out = []
    for key, split in data.splits.items():
        for low in tqdm(range(0, len(split), _BLOCK), f"counting strokes, {key}", unit="block", delay=2):
            places = torch.arange(low, min(low + _BLOCK, len(split)))
            batch = split.gather(places).cpu()
            points = torch.zeros_like(batch.counts).index_add_(0, batch.drawing_of_stroke(), batch.lengths)
            out.append((batch.counts.numpy(), points.numpy(), split.labels[places].numpy()))
    return out


def _row(name: str, strokes: np.ndarray, points: np.ndarray) -> str:
    shares = "".join(f"<td class=n>{(strokes <= limit).mean():.1%}" for limit in LIMITS)
    low, mid, high = np.percentile(points, [5, 50, 95])
    return (
        f"<tr><td>{html.escape(name)}<td class=n>{len(strokes):,}<td>{_histogram(strokes)}"
        f"<td class=n>{np.median(strokes):g}{shares}<td class=n>{mid:g}<td class=n>{low:.0f}–{high:.0f}"
    )


def _histogram(strokes: np.ndarray) -> str:
    counts = np.bincount(strokes.clip(max=SHOWN), minlength=SHOWN + 1)[1:]
    tallest = counts.max()
    bars = "".join(
        f'<rect x={8 * i} y={28 - 28 * n / tallest:.1f} width=7 height={28 * n / tallest:.1f} fill="var(--bar)">'
        f"<title>{i + 1}{' or more' if i + 1 == SHOWN else ''}: {n:,}</title></rect>"
        for i, n in enumerate(counts.tolist())
    )
    return f'<svg width={8 * SHOWN} height=28 role=img aria-label="median {np.median(strokes):g} strokes">{bars}</svg>'
