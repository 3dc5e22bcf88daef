"""What is wrong with a data set: near-duplicates, above all across splits, and blank images or drawings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sketchlab.data.dataset import Dataset, Images, Split
from sketchlab.data.strokes import raster
from sketchlab.errors import UserError

SIDE_PX = 64  # images are compared at this size
DISTANCE = (
    0.04  # of two images that count as the same. Measured: copies of half the size, as JPEG of quality 30 or with
)
# weaker contrast lie below .02 (nine in ten photos below .012), different sketches of one class above .05
CLOSE, SHOWN = (
    0.15,
    10,
)  # beyond that, the closest few are shown for a person to check: two photos of one scene lie here
_CELL_PX, _ROUNDING = 4, 1e-4
_BLOCK = 2048
_SLICE = 64  # rows whose candidates are listed at once
MOST_IN_A_RUN = 10_000  # images: a few seconds
UNEQUAL = 20  # times as many images in the largest class as in the smallest: a note
MOST = 250_000  # images: all pairs of more would take hours


@dataclass(frozen=True)
class Pair:
    """Two images that look the same; a and b are (split, id, class)."""

    distance: float  # 1 − correlation of grey values at 64 px: 0 = the same up to brightness and contrast
    a: tuple[str, str, str]
    b: tuple[str, str, str]

    @property
    def leaks(self) -> bool:
        return self.a[0] != self.b[0]

    @property
    def contradicts(self) -> bool:
        return self.a[2] != self.b[2]

    def __str__(self) -> str:
        remark = " DIFFERENT CLASSES" if self.contradicts else ""
        (split_a, id_a, _), (split_b, id_b, _) = self.a, self.b
        return f"{self.distance:.4f}  {split_a}: {id_a}  =  {split_b}: {id_b}{remark}"


def grey(split: Split, places: Tensor) -> Tensor:
    """(B,) places → (B, 1, 64, 64) float32 in [0, 255]. Drawings are drawn; one that is a single point stays empty."""
    raw = split.gather(places).cpu()
    if not isinstance(raw, Tensor):
        low, high = raster.boxes(raw, raw.points)
        is_point = (low == high).all(1)[:, None, None, None]
        return torch.where(is_point, 255.0, raster.pictures(raw, SIDE_PX).float())
    raw = raw.float()
    if raw.dim() != 4 or raw.shape[1] not in (1, 3):
        raise UserError("only data sets that give images can be checked")
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    one = (raw * weights).sum(1, keepdim=True) if raw.shape[1] == 3 else raw
    if one.shape[-2:] == (SIDE_PX, SIDE_PX):
        return one
    return F.interpolate(one, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)


def _directions(images: Tensor) -> Tensor:
    """(B, 1, S, S) → (B, S²) of mean 0 and length 1; images of one colour become 0."""
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True)
    return torch.where(length > images.shape[-1] * 0.1, flat / length.clamp(min=1e-6), torch.zeros(()))


class Looks:
    """All images of a data set, small, in one row after another."""

    def __init__(self, data: Dataset) -> None:
        self.splits = data.splits
        self.names = [
            (key, name, data.classes[label])
            for key, split in data.splits.items()
            for name, label in zip(split.ids, split.labels.tolist(), strict=True)
        ]
        self.labels = [label for split in data.splits.values() for label in split.labels.tolist()]
        self.starts = [0]
        for split in data.splits.values():
            self.starts.append(self.starts[-1] + len(split))

    def fine(self, rows: Tensor) -> Tensor:
        """(B,) rows over all splits → (B, 4096) directions."""
        out = torch.empty(len(rows), SIDE_PX * SIDE_PX)
        for (low, high), split in zip(
            zip(self.starts, self.starts[1:], strict=False), self.splits.values(), strict=True
        ):
            here = (rows >= low) & (rows < high)
            if here.any():
                out[here] = _directions(grey(split, rows[here] - low))
        return out

    def rough(self) -> tuple[Tensor, list[int]]:
        """(N, 512) of length 1, and the rows of images of a single colour.

        Per cell of 4×4 px its mean and the length of what is left, both scaled so that the product of two rows is never
        less than the correlation of the images (Cauchy and Schwarz, cell by cell): no pair is missed.
        """
        parts, blank, n = [], [], SIDE_PX // _CELL_PX
        for low in tqdm(range(0, len(self.names), _BLOCK), "reading", unit="block", delay=2):
            rows = torch.arange(low, min(low + _BLOCK, len(self.names)))
            fine = self.fine(rows)
            blank += rows[fine.abs().sum(1) == 0].tolist()
            cells = fine.view(-1, n, _CELL_PX, n, _CELL_PX).transpose(2, 3).flatten(3).flatten(1, 2)  # (B, 256, 16)
            means = cells.sum(2) / _CELL_PX
            rest = (cells.square().sum(2) - means.square()).clamp(min=0).sqrt()
            parts.append(torch.cat([means, rest], 1))
        return torch.cat(parts), blank

    def distances(self, i: np.ndarray, j: np.ndarray) -> list[float]:
        """(P,) rows and (P,) rows → P times 1 − correlation, at least 0."""
        out: list[float] = []
        for low in range(0, len(i), _BLOCK):
            both = np.concatenate([i[low : low + _BLOCK], j[low : low + _BLOCK]])
            rows, at = np.unique(both, return_inverse=True)
            fine = self.fine(torch.from_numpy(rows))
            a, b = torch.from_numpy(at).chunk(2)
            out += (1 - (fine[a] * fine[b]).sum(1)).clamp(min=0).tolist()
        return out


def warnings(data: Dataset) -> list[str]:
    """What a run prints before it trains: blank classes, near duplicates across splits, very unequal classes."""
    counts = sum(split.labels.bincount(minlength=len(data.classes)) for split in data.splits.values())
    sizes = dict(zip(data.classes, torch.as_tensor(counts).tolist(), strict=True))
    least, most = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
    things, out = what(data), []
    if sizes[most] >= UNEQUAL * max(sizes[least], 1):
        out.append(f"very unequal classes: '{most}' has {sizes[most]:,} {things}, '{least}' {sizes[least]:,}")
    if (n := sum(sizes.values())) > MOST_IN_A_RUN:
        return [*out, f"{n:,} {things} were not searched for duplicates; `python -m sketchlab.data check` does it"]
    found = find(data)
    blank = Counter(data.classes[label] for label in found.blank_labels)
    why = {"images": "of a single colour (white on transparent ground?)", "drawings": "a single point"}[things]
    for name, n in blank.items():
        if n == sizes[name]:
            out.append(f"class '{name}' is blank: all {n} {things} are {why}")
    if leaks := [pair for pair in found.same if pair.leaks]:
        first = f"{leaks[0].a[0]}: {leaks[0].a[1]} = {leaks[0].b[0]}: {leaks[0].b[1]}"
        out.append(f"{len(leaks)} pairs of {things} in different splits look the same, the first {first}")
    return out


def what(data: Dataset) -> str:
    """images, or drawings where strokes are kept."""
    split = next(iter(data.splits.values()))
    return "images" if isinstance(split.store, Images) else "drawings"


@dataclass(frozen=True)
class Found:
    same: list[Pair]  # across splits first, then those of two classes
    close: list[Pair]  # the next closest: not the same by the measure, worth a look
    blank: list[str]  # images of a single colour
    blank_labels: list[int]  # their classes


def find(data: Dataset, distance: float = DISTANCE) -> Found:
    """Every image that looks like an earlier one is named with the first such, with the first of another split, and
    with the first of another class: at most three pairs an image, however many copies there are.

    What could look the same by its 16×16 cells is compared at 64 px, as long as it can give such a pair. Mirrored,
    turned or shifted copies are not found.
    """
    if (n := sum(len(split) for split in data.splits.values())) > MOST:
        raise UserError(f"{n:,} images are too many to compare each with each (at most {MOST:,}); set data.per_class")
    looks = Looks(data)
    rough, blank = looks.rough()
    splits = np.repeat(np.arange(len(looks.splits)), [len(split) for split in looks.splits.values()])
    marks = np.stack([np.arange(n), splits, looks.labels])  # (3, N): what differs in each of the three pairs
    named = np.zeros(marks.shape, np.bool_)
    same, close = [], []

    def needed(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return ((marks[:, i] != marks[:, j]) & ~named[:, j]).any(0)

    for i, j in _candidates(rough, 1 - max(CLOSE, distance) - _ROUNDING):
        at_once = 1
        while (left := needed(i, j)).any():  # the first candidate of each image, then two more, four more, …
            i, j = i[left], j[left]
            now = _rank(j) < at_once
            i_now, j_now = i[now], j[now]
            for gap, a, b in zip(looks.distances(i_now, j_now), i_now, j_now, strict=True):
                if distance < gap <= CLOSE:
                    close.append((gap, a, b))
                new = (marks[:, a] != marks[:, b]) & ~named[:, b]
                if gap <= distance and new.any():
                    same.append(Pair(gap, looks.names[a], looks.names[b]))
                    named[new, b] = True
            i, j, at_once = i[~now], j[~now], 2 * at_once
        close = sorted(pair for pair in close if not named[0, pair[1:]].any())[: 100 * SHOWN]
    same.sort(key=lambda pair: (not pair.leaks, not pair.contradicts, pair.distance, pair.a, pair.b))
    shown = [Pair(gap, looks.names[a], looks.names[b]) for gap, a, b in close[:SHOWN]]
    return Found(same, shown, [": ".join(looks.names[row][:2]) for row in blank], [looks.labels[row] for row in blank])


def _candidates(rough: Tensor, least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows i < j whose rough correlation is at least `least`, those of a few i at once."""
    for low in tqdm(range(0, len(rough), _BLOCK), "comparing", unit="block", delay=2):
        likely = (rough[low : low + _BLOCK] @ rough[low:].T).triu_(1) >= least  # (B, N − low)
        for start in range(0, len(likely), _SLICE):
            i, j = np.nonzero(likely[start : start + _SLICE].numpy())
            if len(i):
                yield i + start + low, j + low


def _rank(keys: np.ndarray) -> np.ndarray:
    """(P,) how many equal keys stand before each."""
    order = np.argsort(keys, kind="stable")
    ordered, out = keys[order], np.empty(len(keys), np.int64)
    out[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered)
    return out
