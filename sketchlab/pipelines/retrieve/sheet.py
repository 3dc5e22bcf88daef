"""Queries with their nearest photos as one picture: right ones framed thick and green, wrong ones thin and grey."""

from __future__ import annotations

from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab.engine.protocols import Pairs, Raw
from sketchlab.errors import UserError

RIGHT, WRONG = (0, 158, 115), (150, 150, 150)  # Okabe and Ito's green; the thickness says it without colour
THICK_PX, THIN_PX, GAP_PX = 5, 1, 3
LEAST_PX, MOST_PX = 64, 96  # side of a photo on the sheet; smaller and larger ones are resized for it


def sheet(split: Pairs, queries: Tensor, matches: Tensor, n_best: int) -> Tensor:
    """(H, W, 3) uint8, a row a query: the sketch, then its nearest photos, the nearest first.

    queries (R,) places of sketches, the best `n_best` above a dark bar, the worst below it; matches (R, K) places of
    photos. Thick green frame: of the query's class; with a dot: the very object that was drawn. Raises UserError where
    the data are not stored as pixels.
    """
    sketches, photos = split.sketch.gather(queries).cpu(), split.photo.gather(matches.reshape(-1)).cpu()
    if not (_pixels(sketches) and _pixels(photos)):
        raise UserError("these data are not stored as pixels, so matches cannot be shown")
    side = min(max(photos.shape[-1], LEAST_PX), MOST_PX)
    sketches, photos = _framed(_resized(sketches, side), THIN_PX, (0, 0, 0)), _resized(photos, side)
    right = (split.photo.labels[matches] == split.sketch.labels[queries, None]).reshape(-1, 1, 1, 1)
    own = (split.photo.groups[matches] == split.sketch.groups[queries, None]).reshape(-1, 1, 1, 1) & right
    photos = torch.where(right, _framed(photos, THICK_PX, RIGHT), _framed(photos, THIN_PX, WRONG))
    photos = torch.where(own, _dotted(photos), photos)
    cells = torch.cat([sketches[:, None], photos.unflatten(0, matches.shape)], dim=1)  # (R, 1 + K, 3, S, S)
    cells = F.pad(cells, (GAP_PX,) * 4, value=255)
    cells[:, 0] = F.pad(cells[:, 0, :, :, :-GAP_PX], (0, GAP_PX), value=255)
    rows = cells.permute(0, 3, 1, 4, 2).flatten(2, 3)  # (R, S', W, 3)
    bar = torch.full((4, rows.shape[2], 3), 60, dtype=torch.uint8)
    return torch.cat([rows[:n_best].flatten(0, 1), bar, rows[n_best:].flatten(0, 1)])


def _pixels(raw: Raw) -> TypeGuard[Tensor]:
    return isinstance(raw, Tensor) and raw.ndim == 4 and raw.dtype == torch.uint8 and raw.shape[1] in (1, 3)


def best_and_worst(scores: Tensor, labels: Tensor, n: int) -> Tensor:
    """(≤ 2n,) places of queries, first the best, then the worst, of as many classes as there are. Both halves equal.

    scores (Q,): higher is better; equals keep their order.
    """
    n = min(n, len(scores) // 2)
    best, worst = (in_turn(scores.argsort(descending=first, stable=True), labels) for first in (True, False))
    chosen = best[:n]
    return torch.cat([chosen, worst[~torch.isin(worst, chosen)][:n]])


def in_turn(order: Tensor, labels: Tensor) -> Tensor:
    """The first of each class in `order`, then the second of each, and so on."""
    seen: dict[int, int] = {}
    turn = []
    for label in labels[order].tolist():
        seen[label] = seen.get(label, -1) + 1
        turn.append(seen[label])
    return order[torch.tensor(turn).argsort(stable=True)]


def _resized(raw: Tensor, side: int) -> Tensor:
    """(B, 1 or 3, H, W) uint8 → (B, 3, side, side) uint8."""
    images = raw.expand(-1, 3, -1, -1)
    if images.shape[-2:] == (side, side):
        return images
    resized = F.interpolate(images.float(), (side, side), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _framed(images: Tensor, width_px: int, colour: tuple[int, int, int]) -> Tensor:
    """A frame around each image, in a border as wide as the thickest, so that all cells have one size."""
    edge = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    whole = F.pad(images, (width_px,) * 4)
    inner = F.pad(torch.zeros(images.shape[-2:], dtype=torch.bool), (width_px,) * 4, value=True)
    return F.pad(torch.where(inner, edge, whole), (THICK_PX - width_px,) * 4, value=255)


def _dotted(cells: Tensor) -> Tensor:
    """A green square on white in the upper left corner, inside the frame."""
    cells = cells.clone()
    cells[..., THICK_PX : THICK_PX + 12, THICK_PX : THICK_PX + 12] = 255
    spot = torch.tensor(RIGHT, dtype=torch.uint8)[:, None, None]
    cells[..., THICK_PX + 2 : THICK_PX + 10, THICK_PX + 2 : THICK_PX + 10] = spot
    return cells
