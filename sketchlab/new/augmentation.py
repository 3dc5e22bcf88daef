"""Elastic deformation (Simard, Steinkraus, Platt 2003): a smooth random field moves the pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab import rng


@dataclass(frozen=True)
class Config:
    strength: float  # largest shift of a knot, as a share of the side
    knots: int  # of the field along a side


def build(config: Config) -> Callable[[Tensor, Tensor], Tensor]:
    def elastic(images: Tensor, keys: Tensor) -> Tensor:
        """(B, C, S, S) in [0, 1], (B,) int64 keys → the same shape. A sample must follow from its own pixels and key
        alone: then a run gives the same bits when it is resumed, and on several ranks."""
        n, side = len(images), images.shape[-1]
        draws = rng.uniform(keys, 2 * config.knots**2).view(n, 2, config.knots, config.knots)  # (B, 2, K, K) in [0, 1)
        field = F.interpolate((2 * draws - 1) * 2 * config.strength, (side, side), mode="bicubic", align_corners=True)
        still = F.affine_grid(torch.eye(2, 3, device=images.device).expand(n, 2, 3), [n, 1, side, side], False)
        moved = F.grid_sample(images, still + field.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
        return moved.clamp_(0, 1)

    return elastic
