"""Changes to the points of drawings, before they are drawn: lines keep their width and stay sharp."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.data.images.augment import log_uniform
from sketchlab.data.strokes import raster
from sketchlab.data.strokes.batch import Strokes
from sketchlab.errors import UserError

MIDDLE = 127.5  # of 0…255


@dataclass(frozen=True)
class Config:
    views: int  # epochs after which the augmented drawings repeat, so that frozen features can be kept; 0 = never
    rotate_deg: float  # turned by up to this many degrees either way
    stretch: float  # largest ratio by which one direction grows against the other, drawn log-uniformly; 1 = none
    scale: list[float]  # [smallest, largest] magnification about the middle of the canvas, drawn log-uniformly
    shift: float  # moved by up to this share of the side, in x and in y
    jitter: float  # standard deviation of each point's own displacement, share of the side
    drop: float  # probability of each stroke to be left out; one of a drawing always stays
    reverse: float  # probability that the strokes come in the opposite order

    def __post_init__(self) -> None:
        key = "data stroke augmentation "
        for name in ("drop", "reverse"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{key}{name}={getattr(self, name)}: a probability, expected 0 to 1")
        if self.views < 0:
            raise UserError(f"{key}views={self.views}: expected 0 (endless) or the number of epochs that differ")
        if not 0 <= self.rotate_deg <= 180:
            raise UserError(f"{key}rotate_deg={self.rotate_deg}: expected 0 to 180")
        if not 1 <= self.stretch <= 10:
            raise UserError(f"{key}stretch={self.stretch}: a ratio of two sides, expected 1 to 10")
        for name in ("shift", "jitter"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{key}{name}={getattr(self, name)}: a share of the side, expected 0 to below 1")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 10:
            raise UserError(f"{key}scale={self.scale}: expected [smallest, largest] magnification, as [0.8, 1.0]")

    @property
    def bends(self) -> bool:
        return self.rotate_deg > 0 or self.stretch > 1 or self.jitter > 0

    @property
    def active(self) -> bool:
        return self.bends or self.scale != [1, 1] or self.shift > 0 or self.drop > 0 or self.reverse > 0


def augment(batch: Strokes, keys: Tensor, config: Config, align: str) -> Strokes:
    """Drawings and a key (B,) int64 each → changed drawings, points float32; each depends on its own key alone.

    In this order: strokes left out, order reversed; then jittered, stretched and turned about its middle, and brought
    back to its old extent (its longer side, and its top left corner or, with align=centre, its middle), since that is
    where the convention of the data would have put it; then magnified and moved, which may push it off the canvas.
    """
    draws = rng.uniform(keys, 6).double()  # (B, 6)
    batch = replace(batch, points=batch.points.double())
    if align == "centre":
        low, high = raster.boxes(batch, batch.points)
        batch = moved(batch, MIDDLE - (low + high) / 2)
    if config.drop > 0:
        batch = dropped(batch, keys, config.drop)
    if config.reverse > 0:
        batch = _reversed(batch, draws[:, 0] < config.reverse)
    if config.bends:
        batch = bent(batch, keys, draws[:, 1], draws[:, 2], config, align)
    zoom = log_uniform(draws[:, 3], *config.scale)[:, None]
    batch = moved(batch, MIDDLE * (1 - zoom) + (2 * draws[:, 4:6] - 1) * config.shift * 255, zoom)
    return replace(batch, points=batch.points.float())


def pose(changed: Strokes, keys: Tensor, config: Config) -> Tensor:
    """How drawings stand that augment(…, keys, config, …) changed: (B, 2) float32.

    The degrees that each was turned, clockwise on a screen; and its size: the longer side of its box when it is turned
    back upright, share of the canvas.
    """
    degrees = _angle_deg(rng.uniform(keys, 2)[:, 1].double(), config)
    back = -torch.deg2rad(degrees)[changed.drawing_of_point()]
    x, y = changed.points.double().unbind(1)
    upright = torch.stack([back.cos() * x - back.sin() * y, back.sin() * x + back.cos() * y], dim=1)
    low, high = raster.boxes(changed, upright)
    return torch.stack([degrees, (high - low).amax(1) / 255], dim=1).float()


def _angle_deg(turn: Tensor, config: Config) -> Tensor:
    return (2 * turn - 1) * config.rotate_deg


def moved(batch: Strokes, by: Tensor, zoom: Tensor | None = None) -> Strokes:
    """Each drawing times zoom (B, 1) plus by (B, 2)."""
    owner = batch.drawing_of_point()
    points = batch.points if zoom is None else batch.points * zoom[owner]
    return replace(batch, points=points + by[owner])


def dropped(batch: Strokes, keys: Tensor, share: float) -> Strokes:
    """Each stroke left out with probability `share`, one of a drawing always stays; what a larger share keeps, a
    smaller one keeps too."""
    owner = batch.drawing_of_stroke()
    own = rng.fold_each(rng.fold("drop"), keys[owner] ^ batch.number_of_stroke())
    luck = rng.uniform(own, 1)[:, 0]  # (S,)
    best = luck.new_zeros(len(batch)).scatter_reduce(0, owner, luck, "amax", include_self=False)
    stays = (luck >= share) | (luck == best[owner])
    counts = torch.zeros_like(batch.counts).index_add_(0, owner, stays.long())
    return replace(batch.take_strokes(stays.nonzero()[:, 0]), counts=counts)


def _reversed(batch: Strokes, which: Tensor) -> Strokes:
    owner, number = batch.drawing_of_stroke(), batch.number_of_stroke()
    place = torch.arange(len(owner), device=batch.device)
    opposite = place + batch.counts[owner] - 1 - 2 * number
    return batch.take_strokes(torch.where(which[owner], opposite, place))


def bent(batch: Strokes, keys: Tensor, turn: Tensor, stretch: Tensor, config: Config, align: str) -> Strokes:
    """Jittered, stretched and turned as far as draws (B,) in [0, 1] say, then brought back to the old extent."""
    owner = batch.drawing_of_point()
    low, high = raster.boxes(batch, batch.points)
    points = batch.points - ((low + high) / 2)[owner]
    if config.jitter > 0:
        own = rng.fold_each(rng.fold("jitter"), keys[owner] ^ batch.number_of_point())
        a, b = rng.uniform(own, 2).double().unbind(1)
        radius, angle = (-2 * torch.log1p(-a)).sqrt() * config.jitter * 255, 2 * math.pi * b  # Box and Muller 1958
        points = points + torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    ratio = log_uniform(stretch, config.stretch**-0.5, config.stretch**0.5)[owner]
    x, y = points[:, 0] * ratio, points[:, 1] / ratio
    angle = torch.deg2rad(_angle_deg(turn, config))[owner]
    points = torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], dim=1)
    new_low, new_high = raster.boxes(batch, points)
    old, new = (high - low).amax(1, keepdim=True), (new_high - new_low).amax(1, keepdim=True)
    zoom = torch.where(new > 0, old / new.clamp(min=1e-9), 1.0)
    by = low - new_low * zoom if align == "corner" else (low + high - (new_low + new_high) * zoom) / 2
    return moved(replace(batch, points=points), by, zoom)
