"""Batches of strokes → the float batch a model takes: frames, images or points, augmented on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sketchlab.data.images.augment import scale_of
from sketchlab.data.strokes import augment as stroke_augment
from sketchlab.data.strokes import raster
from sketchlab.data.strokes.batch import Strokes, of_drawings, to_drawings
from sketchlab.data.strokes.simplify import shortened
from sketchlab.errors import UserError
from sketchlab.inputs import Input

KINDS = ("images", "frames", "points")


@dataclass(frozen=True)
class Prepare:
    """Strokes and keys (B,) int64 or None → float32 as the Input says (its docstring has the shapes), normalised.

    Without keys, or with nothing switched on, it is the plain drawing. Raises UserError for what strokes do not give.
    """

    input: Input
    raster: raster.Config
    augment: stroke_augment.Config | None  # None: for answers, never augments

    def __post_init__(self) -> None:
        if self.input.kind not in KINDS:
            raise UserError(f"model.input.kind={self.input.kind}, but strokes give {' or '.join(KINDS)}")
        if self.input.kind == "images" and self.input.channels not in raster.CHANNELS:
            raise UserError(f"model.input.channels={self.input.channels}: strokes give images of 1, 3 or 6 channels")

    @property
    def active(self) -> bool:
        """Whether keys change anything."""
        return self.augment is not None and self.augment.active

    def ahead(self, raw: Strokes, keys: Tensor | None) -> Tensor | raster.Lines:
        """Augmented, and as points or laid on the canvas: what asks how many points and pixels there are, in memory."""
        return self._laid(raw if keys is None else self._changed(raw, keys))

    def ahead_posed(self, raw: Strokes, keys: Tensor) -> tuple[Tensor | raster.Lines, Tensor]:
        """The same with keys, and (B, 2) how far each drawing is turned and how large: stroke_augment.pose."""
        assert self.augment is not None
        changed = self._changed(raw, keys)
        return self._laid(changed), stroke_augment.pose(changed, keys.to(raw.device), self.augment)

    def __call__(self, raw: Strokes | raster.Lines | Tensor, keys: Tensor | None = None) -> Tensor:
        """raw: strokes, or what `ahead` gave for them; then keys change nothing any more."""
        laid = self.ahead(raw, keys) if isinstance(raw, Strokes) else raw
        return laid if isinstance(laid, Tensor) else self._normalised(self._picture.draw(laid))

    def pose(self, raw: Strokes, keys: Tensor) -> Tensor:
        """(B, 2) the second half of ahead_posed, without drawing."""
        assert self.augment is not None
        return stroke_augment.pose(self._changed(raw, keys), keys.to(raw.device), self.augment)

    def drawn(self, raw: Strokes) -> Tensor:
        """(B, T or C, S, S) uint8, 255 = ink: what frames and images are made of."""
        return self._picture(raw)

    def at_most(self, raw: Strokes, most: int) -> Strokes:
        """The drawings, where one has more than `most` points simplified until it has no more (simplify.shortened)."""
        if not len(raw) or int(raw.n_points().max()) <= most:
            return raw
        return of_drawings([shortened(drawing, most) for drawing in to_drawings(raw.cpu())]).to(raw.device)

    def strokes(self, points: Tensor) -> Strokes:
        """Points as __call__ gives them, or a network: brought to the convention of stored drawings, top left, longer
        side 255. Every drawing has a point."""
        drawn = of_points(points, self.input)
        low, high = raster.boxes(drawn, drawn.points)
        owner = drawn.drawing_of_point()
        zoom = 255 / (high - low).amax(1, keepdim=True).clamp(min=1)
        return replace(drawn, points=((drawn.points - low[owner]) * zoom[owner]).round().clamp(0, 255).to(torch.uint8))

    def pictured(self, size_px: int) -> Prepare:
        """The same drawings as one-channel images in [0, 1], never augmented."""
        return replace(self, input=Input("images", size_px, 1, self.input.ink, [0.0], [1.0]), augment=None)

    @property
    def _picture(self) -> raster.Picture:
        if self.input.kind == "frames":
            return raster.Picture(self.raster, self.input.size_px, "frames", self.input.channels)
        kind, layers = ("groups", 3) if self.input.channels == 6 else ("whole", 1)
        return raster.Picture(self.raster, self.input.size_px, kind, layers)

    def _changed(self, raw: Strokes, keys: Tensor) -> Strokes:
        if self.augment is None or not self.active:
            return raw
        return stroke_augment.augment(raw, keys.to(raw.device), self.augment, self.raster.align)

    def _laid(self, raw: Strokes) -> Tensor | raster.Lines:
        return points(raw, self.input) if self.input.kind == "points" else self._picture.lay(raw)

    def _normalised(self, ink: Tensor) -> Tensor:
        images = (ink if self.input.ink == "bright" else 255 - ink).to(torch.float32).div_(255)
        if any(self.input.mean) or any(value != 1 for value in self.input.std):
            mean, std = scale_of(tuple(self.input.mean), tuple(self.input.std), images.device)
            images = (images - mean) / std  # one grey channel spreads over all here
        return images.expand(-1, 3, -1, -1) if self.input.channels == 3 and images.shape[1] == 1 else images


def points(raw: Strokes, input: Input) -> Tensor:
    """(B, L, 3 or 5) float32, as Input says."""
    xy = raw.points.float() * (input.size_px / 255)
    owner, place = raw.drawing_of_point(), raw.number_of_point()  # (P,)
    step = torch.cat([xy[:1], xy[1:] - xy[:-1]])
    step = torch.where((place == 0)[:, None], xy, step)
    step = (step - input.mean[0]) / input.std[0]
    ends = torch.zeros(len(owner), device=raw.device)
    ends[raw.lengths.cumsum(0) - 1] = 1
    state = [ends] if input.channels == 3 else [1 - ends, ends, torch.zeros_like(ends)]
    padding = [0.0, 0.0, -1.0] if input.channels == 3 else [0.0, 0.0, 0.0, 0.0, 1.0]
    longest = int(place.max()) + 1 if len(place) else 0
    out = torch.tensor(padding, device=raw.device).repeat(len(raw), longest, 1)
    out[owner, place] = torch.cat([step, torch.stack(state, dim=1)], dim=1)
    return out


def of_points(batch: Tensor, input: Input) -> Strokes:
    """Back from points() to strokes, 0…255 where they are on the canvas. A drawing's last point ends its stroke."""
    pen = batch[..., 2] if input.channels == 3 else batch[..., 3] - batch[..., 4]  # 1 = ends, 0 = goes on, −1 = padding
    real = pen >= 0
    step = torch.where(real[..., None], batch[..., :2] * input.std[0] + input.mean[0], 0.0)
    xy = (step.cumsum(1) * (255 / input.size_px))[real]
    follows = torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], 1)
    ends = real & ((pen == 1) | ~follows)
    last = ends[real].nonzero()[:, 0] + 1
    return Strokes(xy, torch.diff(last, prepend=last.new_zeros(1)), ends.sum(1))
