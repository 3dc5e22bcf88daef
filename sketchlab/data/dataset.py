"""What every data set becomes: stores of uint8 images, and named splits over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Store(Protocol):
    """Random access to samples as they are kept, before augmentation."""

    def __len__(self) -> int: ...

    def gather(self, rows: Tensor) -> Tensor:
        """(B,) int64 rows → (B, …) raw batch on the store's device."""
        ...

    def to(self, device: torch.device) -> Store: ...


@dataclass(frozen=True)
class Images:
    """A store of decoded images held as one array, in memory or memory-mapped."""

    pixels: Tensor  # (N, C, H, W) uint8
    invert: bool = False  # gather 255 − pixels: dark ink on white becomes bright ink on black

    def __len__(self) -> int:
        return len(self.pixels)

    def gather(self, rows: Tensor) -> Tensor:
        batch = self.pixels[rows]  # (B, C, H, W)
        return 255 - batch if self.invert else batch

    def to(self, device: torch.device) -> Images:
        return Images(self.pixels.to(device), self.invert)


@dataclass(frozen=True)
class Split:
    """Some rows of a store, with what is known about each."""

    store: Store
    rows: Tensor  # (n,) int64, places in the store
    labels: Tensor  # (n,) int64, class numbers
    ids: list[str]  # (n,) stable names, "class/file" for files
    groups: Tensor  # (n,) int64, which object a sample shows: a sketch and its photo share one number

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, places: Tensor) -> Tensor:
        """(B,) places in this split → (B, …) raw batch."""
        return self.store.gather(self.rows[places])


@dataclass(frozen=True)
class Pairs:
    """Two domains of one split: sketches, and the photos they are of. len() counts sketches."""

    sketch: Split
    photo: Split

    def __len__(self) -> int:
        return len(self.sketch)


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on.

    prepare: (raw batch, keys (B,) int64 or None) → (B, C, S, S) float32 as the model's Input says; with keys it
    augments, without it is the plain image.
    """

    classes: list[str]
    splits: dict[str, Any]  # name → Split, or Pairs when the model takes pairs
    prepare: Callable[[Tensor, Tensor | None], Tensor]
    views: int  # augmentation repeats after this many epochs; 0 = endless
    fingerprint: str  # of the sources: what the id of a run covers
    notes: list[str] = field(default_factory=list)  # what a reader must know: files skipped, …


def fingerprint(*parts: Any) -> str:
    """16 hexadecimal digits over the repr of parts (arrays by their bytes)."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()[:16]
