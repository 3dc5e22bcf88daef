"""Raw uint8 batches → the float batch a model takes, augmented in batch on the device that holds it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab import components, rng
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.schema import added

CROP_ASPECT = 4 / 3  # widest side ratio of a crop; torchvision's RandomResizedCrop
ERASE_ASPECT = 1 / 0.3  # widest side ratio of an erased rectangle; Zhong et al. 2020, section 4
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's mode L


@dataclass(frozen=True)
class Config:
    views: int  # epochs after which the augmented images repeat, so that frozen features can be kept; 0 = never
    flip: float  # probability of the mirror image
    rotate_deg: float  # turned by up to this many degrees either way
    scale: list[float]  # [smallest, largest] magnification, drawn log-uniformly
    shift: float  # moved by up to this share of the side, in x and in y
    crop: float  # smallest share of the area that a random crop keeps; 1 = no crop
    erase: float  # probability that one rectangle is painted with the background
    erase_area: list[float]  # [smallest, largest] share of the area that this rectangle covers
    own: Annotated[dict[str, Any], added({})]  # of the user's own, in this order → the keys of their Config

    def __post_init__(self) -> None:
        key = "data.augment."
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{key}{name}={getattr(self, name)}: a probability, expected 0 to 1")
        if self.views < 0:
            raise UserError(f"{key}views={self.views}: expected 0 (endless) or the number of epochs that differ")
        if not 0 <= self.rotate_deg <= 180:
            raise UserError(f"{key}rotate_deg={self.rotate_deg}: expected 0 to 180")
        if not 0 <= self.shift < 1:
            raise UserError(f"{key}shift={self.shift}: a share of the side, expected 0 to below 1")
        if not 0 < self.crop <= 1:
            raise UserError(f"{key}crop={self.crop}: the smallest share of the area kept, expected above 0 and up to 1")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"{key}scale={self.scale}: expected [smallest, largest] magnification, as [0.9, 1.1]")
        if len(self.erase_area) != 2 or not 0 < self.erase_area[0] <= self.erase_area[1] <= 1:
            raise UserError(f"{key}erase_area={self.erase_area}: expected [smallest, largest] share, as [0.02, 0.2]")

    @property
    def geometric(self) -> bool:
        return self.rotate_deg > 0 or self.shift > 0 or self.crop < 1 or self.scale != [1, 1]

    @property
    def active(self) -> bool:
        return self.geometric or self.flip > 0 or self.erase > 0 or bool(self.own)


@dataclass(frozen=True)
class Prepare:
    """(B, C, H, W) uint8 and keys (B,) int64 or None → (B, input.channels, S, S) float32, normalised.

    Without keys, or with nothing switched on, it is the plain image. With keys a sample's result depends on its own
    pixels and key alone. Raises UserError when the channels cannot be brought to input.channels.
    """

    input: Input
    augment: Config | None  # None: for answers, never augments

    @property
    def active(self) -> bool:
        """Whether keys change anything."""
        return self.augment is not None and self.augment.active

    def ahead(self, raw: Tensor, keys: Tensor | None) -> Tensor:
        """Nothing: pixels are augmented on the device that trains."""
        return raw

    def __call__(self, raw: Tensor, keys: Tensor | None = None) -> Tensor:
        images = self._channels(raw.to(torch.float32) / 255)  # (B, C, H, W)
        size = (self.input.size_px, self.input.size_px)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        if keys is not None and self.augment is not None and self.active:
            keys = keys.to(images.device)
            images = _augment(images, keys, self.augment)
            for name, options in self.augment.own.items():
                images = _own(name, json.dumps(options))(images, rng.fold_each(rng.fold(name), keys))
        mean, std = scale_of(tuple(self.input.mean), tuple(self.input.std), images.device)
        return (images - mean).div_(std)  # one grey channel spreads over all here

    def _channels(self, images: Tensor) -> Tensor:
        given, wanted = images.shape[1], self.input.channels
        if given == 3 and wanted == 1:
            r, g, b = images.unbind(1)
            return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b)[:, None]
        if given == wanted or (given == 1 and wanted == 3):
            return images
        raise UserError(f"model.input.channels={wanted}, but the data set gives images of {given} channel(s)")


@lru_cache(maxsize=16)
def _own(name: str, options: str) -> Callable[[Tensor, Tensor], Tensor]:
    """(B, C, S, S) in [0, 1], (B,) int64 keys → the same shape; a sample by its own pixels and key alone."""
    return components.make("augmentation", name, json.loads(options))


@lru_cache(maxsize=16)
def scale_of(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """(C, 1, 1) each, made once per device."""
    return torch.tensor(mean, device=device)[:, None, None], torch.tensor(std, device=device)[:, None, None]


def background(images: Tensor) -> Tensor:
    """(B, C, S, S) → (B, C, 1, 1): the median along the border, which a stroke or two on it do not change.

    White or black for drawings, a neutral colour for photos. By sorting, since CUDA's median is not deterministic.
    """
    edge = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], dim=-1)
    return edge.sort(dim=-1).values[..., edge.shape[-1] // 2, None, None]


def _augment(images: Tensor, keys: Tensor, config: Config) -> Tensor:
    """(B, C, S, S), (B,) → (B, C, S, S): mirrored and moved in one resampling, then erased. `images` is used up."""
    draws = rng.uniform(keys, 14).double()  # (B, 14); doubles: an image alone and in a batch then get the same bits
    mirrored = draws[:, 0] < config.flip
    ground = background(images)
    if config.geometric:
        grid = _grid(draws[:, 1:9], config, images.shape[-1], mirrored)
        images = F.grid_sample(images.sub_(ground), grid, padding_mode="zeros", align_corners=False)
        images = images.add_(ground).clamp_(0, 1)  # rounding
    elif config.flip > 0:
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if config.erase > 0:
        images = torch.where(_rectangles(draws[:, 9:14], config, images.shape[-1]), ground, images)
    return images


def log_uniform(draws: Tensor, low: float, high: float) -> Tensor:
    """Draws of [0, 1) → numbers of low to high, whose logarithms are spread evenly."""
    return torch.exp(math.log(low) + draws * math.log(high / low))


def _window(area: Tensor, stretch: Tensor, x: Tensor, y: Tensor, widest: float) -> tuple[Tensor, ...]:
    """Shares of the area and draws (B,) → half width, half height and centre of a rectangle inside [−1, 1]²."""
    ratio = log_uniform(stretch, 1 / widest, widest)
    half_w, half_h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    return half_w, half_h, (2 * x - 1) * (1 - half_w), (2 * y - 1) * (1 - half_h)


def _grid(draws: Tensor, config: Config, side_px: int, mirrored: Tensor) -> Tensor:
    """(B, 8) draws, (B,) bool → (B, S, S, 2) float32: where each pixel of the result looks in the image, in [−1, 1].

    From the result back: the shift, the turn and the magnification are undone, then the crop's window is entered, of
    the mirror image where one was drawn.
    """
    turn, zoom, right, down, area, stretch, crop_x, crop_y = draws.unbind(1)
    angle = torch.deg2rad((2 * turn - 1) * config.rotate_deg)
    factor = log_uniform(zoom, config.scale[0], config.scale[1])
    cos, sin = angle.cos() / factor, angle.sin() / factor
    half_w = half_h = torch.ones_like(turn)
    centre_x = centre_y = torch.zeros_like(turn)
    if config.crop < 1:
        kept = config.crop + area * (1 - config.crop)
        half_w, half_h, centre_x, centre_y = _window(kept, stretch, crop_x, crop_y, CROP_ASPECT)
    place = (torch.arange(side_px, device=draws.device, dtype=draws.dtype) * 2 + 1) / side_px - 1  # pixel centres
    u = place[None, None, :] - ((2 * right - 1) * 2 * config.shift)[:, None, None]
    v = place[None, :, None] - ((2 * down - 1) * 2 * config.shift)[:, None, None]
    cos, sin = cos[:, None, None], sin[:, None, None]
    x, y = (cos * u - sin * v, sin * u + cos * v) if config.rotate_deg > 0 else (cos * u, cos * v)  # (B, 1 or S, …)
    x = (centre_x[:, None, None] + half_w[:, None, None] * x) * torch.where(mirrored, -1.0, 1.0)[:, None, None]
    y = centre_y[:, None, None] + half_h[:, None, None] * y
    return torch.stack(torch.broadcast_tensors(x.float(), y.float()), dim=-1)


def _rectangles(draws: Tensor, config: Config, side_px: int) -> Tensor:
    """(B, 5) draws → (B, 1, S, S) bool: the pixels that are erased."""
    happens, area, stretch, x, y = draws.unbind(1)
    share = config.erase_area[0] + area * (config.erase_area[1] - config.erase_area[0])
    half_w, half_h, centre_x, centre_y = _window(share, stretch, x, y, ERASE_ASPECT)
    place = (torch.arange(side_px, device=draws.device, dtype=draws.dtype) * 2 + 1) / side_px - 1
    across = (place[None, :] - centre_x[:, None]).abs() <= half_w[:, None]  # (B, S)
    along = (place[None, :] - centre_y[:, None]).abs() <= half_h[:, None]
    erased = along[:, :, None] & across[:, None, :] & (happens < config.erase)[:, None, None]
    return erased[:, None]
