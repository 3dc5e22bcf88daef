"""A batch of drawings of any length, as strokes: what a store of strokes gathers, and what is augmented and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Strokes:
    """Drawings after one another, flat. Coordinates lie in 0…255, y downwards, as in QuickDraw's simplified format."""

    points: Tensor  # (P, 2) x and y; uint8 as stored, float32 once augmented
    lengths: Tensor  # (S,) int64, points of each stroke, at least 1
    counts: Tensor  # (B,) int64, strokes of each drawing, at least 1

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def device(self) -> torch.device:
        return self.points.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Strokes:
        parts = (self.points, self.lengths, self.counts)
        return Strokes(*(part.to(device, non_blocking=non_blocking) for part in parts))

    def pin_memory(self) -> Strokes:
        return Strokes(self.points.pin_memory(), self.lengths.pin_memory(), self.counts.pin_memory())

    def cpu(self) -> Strokes:
        return self.to("cpu")

    def drawing_of_stroke(self) -> Tensor:
        """(S,) int64: which drawing each stroke belongs to."""
        return _owners(self.counts, len(self.lengths))

    def stroke_of_point(self) -> Tensor:
        """(P,) int64: which stroke each point belongs to."""
        return _owners(self.lengths, len(self.points))

    def drawing_of_point(self) -> Tensor:
        """(P,) int64: which drawing each point belongs to."""
        return self.drawing_of_stroke()[self.stroke_of_point()]

    def n_points(self) -> Tensor:
        """(B,) int64: points of each drawing."""
        return torch.zeros_like(self.counts).index_add_(0, self.drawing_of_stroke(), self.lengths)

    def number_of_point(self) -> Tensor:
        """(P,) int64: 0 for the first point of each drawing, 1 for its second, …"""
        return _numbers(self.n_points(), self.drawing_of_point())

    def number_of_stroke(self) -> Tensor:
        """(S,) int64: 0 for the first stroke of each drawing, 1 for its second, …"""
        return _numbers(self.counts, self.drawing_of_stroke())

    def __getitem__(self, places: slice) -> Strokes:
        """Some of the drawings, as `batch[part::parts]`."""
        chosen = range(len(self))[places]
        if chosen == range(len(self)):
            return self
        if chosen.step != 1:
            return self.take(torch.tensor(list(chosen), dtype=torch.int64))
        low = self.counts[: chosen.start].sum()
        strokes = slice(int(low), int(low + self.counts[chosen.start : chosen.stop].sum()))
        low = self.lengths[: strokes.start].sum()
        points = slice(int(low), int(low + self.lengths[strokes].sum()))
        return Strokes(self.points[points], self.lengths[strokes], self.counts[chosen.start : chosen.stop])

    def take(self, places: Tensor) -> Strokes:
        """(K,) places → those drawings, in that order."""
        chosen = places.to(self.device)
        counts = self.counts[chosen]
        strokes = spans(starts(self.counts)[chosen], counts)
        return replace(self.take_strokes(strokes), counts=counts)

    def begun(self, n_strokes: int) -> Strokes:
        """The drawings as they stood after at most so many strokes, at least 1."""
        kept = (self.number_of_stroke() < n_strokes).nonzero()[:, 0]
        return replace(self.take_strokes(kept), counts=self.counts.clamp(max=n_strokes))

    def take_strokes(self, strokes: Tensor) -> Strokes:
        """(K,) numbers of strokes → their points and lengths; counts are left as they are, for the caller to fix."""
        lengths = self.lengths[strokes]
        return Strokes(self.points[spans(starts(self.lengths)[strokes], lengths)], lengths, self.counts)


def _owners(sizes: Tensor, total: int) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes, output_size=total)


def _numbers(sizes: Tensor, owners: Tensor) -> Tensor:
    return torch.arange(len(owners), device=sizes.device) - starts(sizes)[owners]


def starts(sizes: Tensor) -> Tensor:
    """(n,) sizes → (n,) where each begins when they stand one after another."""
    return sizes.cumsum(0) - sizes


def spans(first: Tensor, sizes: Tensor) -> Tensor:
    """first …, first + size − 1 of each, one after another: (sum of sizes,) int64."""
    owners = _owners(sizes, int(sizes.sum()))
    return first[owners] + _numbers(sizes, owners)


@dataclass(frozen=True)
class Memory:
    """Drawings held as three tensors in memory. They stay there; laid on the canvas, they travel to a GPU."""

    points: Tensor  # (P, 2) uint8
    lengths: Tensor  # (S,) int32, points of each stroke
    first: Tensor  # (N + 1, 2) int64, first point and first stroke of each drawing

    def __len__(self) -> int:
        return len(self.first) - 1

    def gather(self, rows: Tensor) -> Strokes:
        rows = rows.cpu()
        low, n = self.first[rows], self.first[rows + 1] - self.first[rows]  # (B, 2)
        points, lengths = self.points[spans(low[:, 0], n[:, 0])], self.lengths[spans(low[:, 1], n[:, 1])]
        return Strokes(points, lengths.to(torch.int64), n[:, 1])


def memory(drawings: Strokes) -> Memory:
    """A batch as a store."""
    strokes = torch.cat([torch.zeros(1, dtype=torch.int64), drawings.counts.cumsum(0)])
    points = torch.cat([torch.zeros(1, dtype=torch.int64), drawings.lengths.cumsum(0)])
    return Memory(drawings.points, drawings.lengths.to(torch.int32), torch.stack([points[strokes], strokes], dim=1))


def of_drawings(drawings: Sequence[Sequence[Sequence[Sequence[float]]]]) -> Strokes:
    """QuickDraw's nested lists, one drawing after another, each [[[x…], [y…]], …] with integers in 0…255."""
    strokes = [stroke for drawing in drawings for stroke in drawing]
    xs = [x for stroke in strokes for x in stroke[0]]
    ys = [y for stroke in strokes for y in stroke[1]]
    points = torch.tensor([xs, ys], dtype=torch.float64).T.contiguous()
    assert len(points) == 0 or (points.min() >= 0 and points.max() <= 255 and bool((points == points.round()).all()))
    lengths = torch.tensor([len(stroke[0]) for stroke in strokes], dtype=torch.int64)
    return Strokes(points.to(torch.uint8), lengths, torch.tensor([len(drawing) for drawing in drawings]))


def to_drawings(batch: Strokes) -> list[list[list[list[int]]]]:
    """Back to QuickDraw's nested lists."""
    points, out, at, stroke = batch.points.tolist(), [], 0, 0
    lengths = batch.lengths.tolist()
    for count in batch.counts.tolist():
        drawing = []
        for n in lengths[stroke : stroke + count]:
            xs, ys = zip(*points[at : at + n], strict=True)
            drawing.append([list(xs), list(ys)])
            at += n
        stroke += count
        out.append(drawing)
    return out
