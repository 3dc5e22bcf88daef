"""What pipelines ask of a data set, with shapes. data/dataset.py fits, and so may a data set of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from sketchlab.inputs import Input


class Movable(Protocol):
    """A batch that is no tensor: drawings as strokes, or laid on a canvas."""

    @property
    def device(self) -> torch.device: ...

    def to(self, device: torch.device, non_blocking: bool = False) -> Movable: ...

    def pin_memory(self) -> Movable: ...


class Drawings(Movable, Protocol):
    """B drawings as strokes (data/strokes/batch.py)."""

    @property
    def counts(self) -> Tensor:
        """(B,) int64, strokes of each drawing."""
        ...

    def __len__(self) -> int: ...

    def cpu(self) -> Drawings: ...

    def n_points(self) -> Tensor:
        """(B,) int64, points of each drawing."""
        ...

    def take(self, places: Tensor) -> Drawings:
        """(K,) places → those drawings, in that order."""
        ...

    def begun(self, n_strokes: int) -> Drawings:
        """The drawings as they stood after at most so many strokes."""
        ...


Raw = Tensor | Drawings  # a batch as it is stored: (B, C, H, W) uint8, or drawings


@runtime_checkable
class Store(Protocol):
    """Samples as they are stored."""

    def __len__(self) -> int: ...

    def gather(self, rows: Tensor) -> Raw:
        """(B,) int64 rows → the raw batch."""
        ...


@runtime_checkable
class Split(Protocol):
    """n samples. rows (n,) int64 in the store; labels (n,) int64, class numbers; ids (n,); groups (n,) int64, equal for
    samples of one object."""

    @property
    def store(self) -> Store: ...

    @property
    def rows(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def groups(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def gather(self, places: Tensor) -> Raw:
        """(B,) places in the split → the raw batch."""
        ...

    def pictures(self, places: Tensor) -> Tensor:
        """(B,) places → (B, C, H, W) uint8 on the CPU, for people."""
        ...


@runtime_checkable
class Pairs(Protocol):
    """Sketches and photos of one split; objects: groups say which photo a sketch is of. len() counts sketches."""

    @property
    def sketch(self) -> Split: ...

    @property
    def photo(self) -> Split: ...

    @property
    def objects(self) -> bool: ...

    def __len__(self) -> int: ...


@runtime_checkable
class Prepare(Protocol):
    """Raw samples → what a network takes."""

    @property
    def input(self) -> Input: ...

    @property
    def active(self) -> bool:
        """Whether keys change anything."""
        ...

    def ahead(self, raw: Raw, keys: Tensor | None) -> Tensor | Movable:
        """What is done in memory, before the batch goes to a GPU; keys (B,) int64 augment."""
        ...

    def __call__(self, raw: Tensor | Movable, keys: Tensor | None = None) -> Tensor:
        """Raw samples, or what `ahead` gave for them → float32: images (B, C, S, S), frames (B, T, S, S), points
        (B, L, 3 or 5)."""
        ...


class Turning(Protocol):
    """How drawings are augmented."""

    @property
    def rotate_deg(self) -> float: ...


@runtime_checkable
class StrokePrepare(Prepare, Protocol):
    """A Prepare of drawings that are stored as strokes."""

    @property
    def augment(self) -> Turning | None: ...

    def drawn(self, raw: Raw) -> Tensor:
        """(B, T or C, S, S) uint8, 255 = ink: what frames and images are made of."""
        ...

    def pose(self, raw: Raw, keys: Tensor) -> Tensor:
        """(B, 2) how far each drawing is turned by its key, in degrees, and how large it is."""
        ...

    def at_most(self, raw: Raw, most: int) -> Raw:
        """Drawings simplified until none has more than `most` points."""
        ...

    def strokes(self, points: Tensor) -> Drawings:
        """(B, L, 3 or 5) points, each drawing's at least one → drawings as they are stored."""
        ...

    def pictured(self, size_px: int) -> Prepare:
        """Drawings → (B, 1, S, S) images in [0, 1]."""
        ...

    def ahead_posed(self, raw: Raw, keys: Tensor) -> tuple[Tensor | Movable, Tensor]:
        """What `ahead` and `pose` give."""
        ...


Part = TypeVar("Part", covariant=True)


@runtime_checkable
class Dataset(Protocol[Part]):
    """splits: name → Split, or Pairs. views: augmentation repeats after this many epochs; 0 = endless."""

    @property
    def classes(self) -> list[str]: ...

    @property
    def splits(self) -> Mapping[str, Part]: ...

    @property
    def prepare(self) -> Prepare: ...

    @property
    def views(self) -> int: ...
