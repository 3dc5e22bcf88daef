"""What is wrong with a data set: near-duplicates, above all across splits, and blank images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sketchlab.data.dataset import Dataset, Split
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
_ROUGH_PX, _SLACK = 16, 0.06  # first sieve: every pair, at this size, with this much more distance allowed
_BLOCK = 2048
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
    """(B,) places → (B, 1, 64, 64) float32 in [0, 255]."""
    raw = split.pictures(places).float()
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
        """(N, 256) directions, and the rows of images of a single colour."""
        parts, blank = [], []
        for low in tqdm(range(0, len(self.names), _BLOCK), "reading", unit="block", delay=2):
            rows = torch.arange(low, min(low + _BLOCK, len(self.names)))
            fine = self.fine(rows)
            blank += rows[fine.abs().sum(1) == 0].tolist()
            small = fine.reshape(-1, 1, SIDE_PX, SIDE_PX)
            parts.append(
                _unit(F.interpolate(small, (_ROUGH_PX, _ROUGH_PX), mode="bilinear", antialias=True).flatten(1))
            )
        return torch.cat(parts), blank


def _unit(flat: Tensor) -> Tensor:
    flat = flat - flat.mean(1, keepdim=True)
    return flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-6)


def warnings(data: Dataset) -> list[str]:
    """What a run prints before it trains: blank classes, near duplicates across splits, very unequal classes."""
    counts = sum(split.labels.bincount(minlength=len(data.classes)) for split in data.splits.values())
    sizes = dict(zip(data.classes, torch.as_tensor(counts).tolist(), strict=True))
    least, most = min(sizes, key=lambda name: sizes[name]), max(sizes, key=lambda name: sizes[name])
    out = []
    if sizes[most] >= UNEQUAL * max(sizes[least], 1):
        out.append(f"very unequal classes: '{most}' has {sizes[most]:,} images, '{least}' {sizes[least]:,}")
    if (n := sum(sizes.values())) > MOST_IN_A_RUN:
        return [*out, f"{n:,} images were not searched for duplicates; `python -m sketchlab.data check` does it"]
    found = find(data)
    blank = Counter(data.classes[label] for label in found.blank_labels)
    for name, n in blank.items():
        if n == sizes[name]:
            out.append(f"class '{name}' is blank: all {n} images are of a single colour (white on transparent ground?)")
    if leaks := [pair for pair in found.same if pair.leaks]:
        first = f"{leaks[0].a[0]}: {leaks[0].a[1]} = {leaks[0].b[0]}: {leaks[0].b[1]}"
        out.append(f"{len(leaks)} pairs of images in different splits look the same, the first {first}")
    return out


@dataclass(frozen=True)
class Found:
    same: list[Pair]  # across splits first, then those of two classes
    close: list[Pair]  # the next closest: not the same by the measure, worth a look
    blank: list[str]  # images of a single colour
    blank_labels: list[int]  # their classes


def find(data: Dataset, distance: float = DISTANCE) -> Found:
    """Every pair is compared at 16 px, those that could be the same again at 64 px. Images that are equal are compared
    with the first of them alone.

    Mirrored, turned or shifted copies are not found.
    """
    if (n := sum(len(split) for split in data.splits.values())) > MOST:
        raise UserError(f"{n:,} images are too many to compare each with each (at most {MOST:,}); set data.per_class")
    looks = Looks(data)
    rough, blank = looks.rough()
    is_blank, close = set(blank), []
    first: dict[bytes, int] = {}
    copies = [(first.setdefault(row.tobytes(), at), at) for at, row in enumerate(rough.numpy())]
    same = [Pair(0.0, looks.names[a], looks.names[b]) for a, b in copies if a != b and a not in is_blank]
    distinct = torch.tensor(sorted(first.values()))
    for i, j in _candidates(rough[distinct], 1 - distance - _SLACK):
        i, j = distinct[i], distinct[j]
        gaps = 1 - (looks.fine(i) * looks.fine(j)).sum(1)
        for gap, a, b in zip(gaps.tolist(), i.tolist(), j.tolist(), strict=True):
            if gap <= max(CLOSE, distance):
                pair = Pair(max(gap, 0.0), looks.names[a], looks.names[b])
                (same if gap <= distance else close).append(pair)
        close = sorted(close, key=lambda pair: pair.distance)[:SHOWN]
    same.sort(key=lambda pair: (not pair.leaks, not pair.contradicts, pair.distance, pair.a, pair.b))
    return Found(same, close, [": ".join(looks.names[row][:2]) for row in blank], [looks.labels[row] for row in blank])


def _candidates(rough: Tensor, least: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows i < j whose rough correlation is at least `least`, in portions."""
    for low in tqdm(range(0, len(rough), _BLOCK), "comparing", unit="block", delay=2):
        likeness = rough[low : low + _BLOCK] @ rough[low:].T  # (B, N − low)
        i, j = torch.nonzero(likeness.triu(1) >= least, as_tuple=True)
        for start in range(0, len(i), _BLOCK):
            yield i[start : start + _BLOCK] + low, j[start : start + _BLOCK] + low
