"""Which drawings are in which split: in memory, or of millions in files that every process maps.

Rows and labels are 16 bytes a drawing. From LARGE drawings on they are worked out once, a class at a time, and kept in
$SKETCHLAB_CACHE/strokes: opening them costs nothing, and the ranks of a machine share one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sketchlab.data import splits
from sketchlab.data.dataset import fingerprint
from sketchlab.data.strokes import part as stroke_part
from sketchlab.data.strokes.store import Part, StrokeStore
from sketchlab.storage import cache

LARGE = 1_000_000
FILES = ("rows", "labels")


def divide(
    drawings: StrokeStore, of_part: Callable[[Part], dict[str, np.ndarray]], rule: Any
) -> dict[str, tuple[Tensor, Tensor]]:
    """Split → (n,) int64 rows of the store, class after class, and (n,) int64 labels; empty splits are left out.

    of_part: the places of each split in a part, ascending. rule: all that decides it, apart from the drawings.
    Raises UserError for a cache that cannot be written.
    """
    if len(drawings) < LARGE:
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in splits.NAMES}
        for name, rows, labels in _parts(drawings, of_part):
            found[name].append((rows, labels))
        whole = {name: [np.concatenate(x) for x in zip(*of, strict=True)] for name, of in found.items() if of}
        return {name: (torch.from_numpy(r), torch.from_numpy(k)) for name, (r, k) in whole.items() if len(r)}
    known = [(part.name, len(part), part.index["fingerprint"]) for part in drawings.parts]
    folder = cache.home() / "strokes" / f"splits-{fingerprint(stroke_part.VERSION, known, rule)}"
    what = f"splits of {len(drawings):,} drawings"
    sizes = cache.entry(folder, what, lambda folder: _write(_parts(drawings, of_part), folder), 16 * len(drawings))
    return {name: _mapped(folder, name, n) for name, n in sizes.items()}


def _parts(
    drawings: StrokeStore, of_part: Callable[[Part], dict[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for number, part in enumerate(drawings.parts):
        for name, places in of_part(part).items():
            yield name, drawings.starts[number] + places, np.full(len(places), number)


def _write(parts: Iterator[tuple[str, np.ndarray, np.ndarray]], folder: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, *values in parts:
        for kind, value in zip(FILES, values, strict=True):
            with open(folder / f"{name}.{kind}.i64", "ab") as file:
                file.write(value.astype(np.int64).tobytes())
        sizes[name] = sizes.get(name, 0) + len(values[0])
    return {name: n for name, n in sizes.items() if n}


def _mapped(folder: Path, name: str, n: int) -> tuple[Tensor, Tensor]:
    rows, labels = (
        torch.from_file(str(folder / f"{name}.{kind}.i64"), shared=False, size=n, dtype=torch.int64) for kind in FILES
    )
    return rows, labels
