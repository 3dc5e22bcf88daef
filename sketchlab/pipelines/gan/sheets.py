"""Pictures of a generator's work: sheets of samples, ways between noises, generated images with their nearest real."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab import rng

_GAP_PX = 2  # between the images of a sheet
_SHEET_PX = 64  # smaller images are magnified to about this side, so that an eye sees them
_COMPARED_PX = 32  # side at which images are compared to find the nearest


def noise(key: int, places: Tensor, z: int) -> Tensor:
    """(n,) places → (n, z) float32 standard normal: a function of key and place alone."""
    uniform = rng.uniform(rng.fold_each(key, places), z) + 2.0**-25  # inside (0, 1)
    return torch.special.ndtri(uniform)


def between(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """(n, z) twice → (n, steps, z): from one noise to the other along the great circle (White 2016), ends included."""
    share = torch.linspace(0, 1, steps)[None, :, None]
    cosine = F.cosine_similarity(start, end)[:, None, None].clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.arccos(cosine)
    first, second = torch.sin((1 - share) * angle), torch.sin(share * angle)
    return (first * start[:, None] + second * end[:, None]) / torch.sin(angle)


def sheet(images: Tensor, columns: int = 0) -> Tensor:
    """(n, C, S, S) in [0, 1] → (H, W) or (H, W, 3) uint8: rows of `columns` (0 = about √n) with grey between them."""
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    factor = max(1, _SHEET_PX // images.shape[-1])
    pixels = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    side, channels = pixels.shape[-1] + _GAP_PX, pixels.shape[1]
    out = torch.full((channels, rows * side + _GAP_PX, columns * side + _GAP_PX), 128, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = _GAP_PX + i // columns * side, _GAP_PX + i % columns * side
        out[:, top : top + side - _GAP_PX, left : left + side - _GAP_PX] = image
    return out[0] if channels == 1 else out.permute(1, 2, 0)


def small(images: Tensor) -> Tensor:
    """(n, C, S, S) → (n, at most C · 32 · 32), slightly blurred, so that a shift by a pixel counts little."""
    if images.shape[-1] > _COMPARED_PX:
        images = F.interpolate(images, (_COMPARED_PX, _COMPARED_PX), mode="bilinear", antialias=True)
    return F.avg_pool2d(images, 3, 1, 1, count_include_pad=False).flatten(1)


def nearest(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """small() of n and of m images → (n,) distances and places of the nearest real one, root mean square of pixels."""
    found = torch.cdist(fake, real, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    return found.values / fake.shape[1] ** 0.5, found.indices
