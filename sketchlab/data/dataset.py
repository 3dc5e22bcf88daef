"""What every data set becomes: stores of uint8 images, and named splits over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sketchlab.data.strokes import batch, raster


class Store(Protocol):
    """Random access to samples as they are kept, before augmentation."""

    def __len__(self) -> int: ...

    def gather(self, rows: Tensor) -> Tensor | batch.Strokes:
        """(B,) int64 rows → raw batch on the store's device: (B, C, H, W) uint8, or strokes.batch.Strokes."""
        ...


@dataclass(frozen=True)
class Images:
    """A store of decoded images held as one array, in memory or memory-mapped."""

    pixels: Tensor  # (N, C, H, W) uint8
    invert: bool = False  # gather 255 − pixels: dark ink on white becomes bright ink on black

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes

    def gather(self, rows: Tensor) -> Tensor:
        rows = rows.pin_memory() if self.pixels.is_cuda and not rows.is_cuda else rows
        raw = self.pixels[rows.to(self.pixels.device, non_blocking=True)]  # (B, C, H, W)
        return 255 - raw if self.invert else raw

    def to(self, device: torch.device) -> Images:
        return Images(self.pixels.to(device), self.invert)


@dataclass(frozen=True)
class Split:
    """Some rows of a store, with what is known about each."""

    store: Store
    rows: Tensor  # (n,) int64, places in the store
    labels: Tensor  # (n,) int64, class numbers
    ids: Sequence[str]  # (n,) stable names, "class/file" for files
    groups: Tensor  # (n,) int64, which object a sample shows: a sketch and its photo share one number

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, places: Tensor) -> Tensor | batch.Strokes:
        """(B,) places in this split → raw batch: (B, C, H, W) uint8, or strokes.batch.Strokes."""
        return self.store.gather(self.rows[places])

    def pictures(self, places: Tensor) -> Tensor:
        """(B,) places in this split → (B, C, H, W) uint8 on the CPU, for people: strokes drawn, dark on white."""
        raw = self.gather(places).cpu()
        return raw if isinstance(raw, Tensor) else raster.pictures(raw)


@dataclass(frozen=True)
class Pairs:
    """Two domains of one split: sketches, and the photos they are of. len() counts sketches."""

    sketch: Split
    photo: Split
    objects: bool = True  # groups say which photo a sketch is of; false: only classes are known

    def __len__(self) -> int:
        return len(self.sketch)


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    prepare: (raw batch, keys (B,) int64 or None) → float32 as the model's Input says, images (B, C, S, S); with keys
    it augments, without it is the plain image. prepare.ahead(raw batch, keys) is what of it is done in memory, before
    the batch goes to a GPU; prepare takes its result, too.
    """

    classes: list[str]
    splits: dict[str, Any]  # name → Split, or Pairs when the model takes pairs
    prepare: Callable[[Any, Tensor | None], Tensor]
    views: int  # augmentation repeats after this many epochs; 0 = endless
    fingerprint: str  # of the sources: what the id of a run covers
    notes: list[str] = field(default_factory=list)  # what a reader must know: files skipped, …


def resident(data: Dataset, device: torch.device, most_bytes: int) -> Dataset:
    """The same data with its images on `device`, when all of them together fit in most_bytes; else as it is. Drawings
    kept as strokes are small and stay in memory."""
    parts = [p for s in data.splits.values() for p in ((s.sketch, s.photo) if isinstance(s, Pairs) else (s,))]
    stores = {id(p.store): p.store for p in parts if isinstance(p.store, Images)}
    if sum(store.nbytes for store in stores.values()) > most_bytes:
        return data
    moved = {key: store.to(device) for key, store in stores.items()}

    def move(split: Any) -> Any:
        if isinstance(split, Pairs):
            return replace(split, sketch=move(split.sketch), photo=move(split.photo))
        return replace(split, store=moved.get(id(split.store), split.store))

    return replace(data, splits={name: move(split) for name, split in data.splits.items()})


def fingerprint(*parts: Any) -> str:
    """16 hexadecimal digits over the repr of parts (arrays by their bytes)."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()[:16]
