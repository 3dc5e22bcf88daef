"""Stages that torch has no deterministic or chainable form of, and networks made of two."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AdaptiveMean(nn.Module):
    """Average pooling to a fixed map: (B, C, H, W) → (B, C, size, size), the bins of torch's AdaptiveAvgPool2d.

    A map that has the size already passes as it is. Others are averaged by two small matrix products, because the
    backward pass of adaptive pooling has no deterministic CUDA kernel.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if (height, width) == (self.size, self.size):
            return x
        return _bins(height, self.size, x) @ x @ _bins(width, self.size, x).T

    def extra_repr(self) -> str:
        return f"size={self.size}"


def _bins(n: int, size: int, like: Tensor) -> Tensor:
    """(size, n): row i averages the cells from ⌊i·n/size⌋ to ⌈(i+1)·n/size⌉."""
    place, cell = torch.arange(size, device=like.device)[:, None], torch.arange(n, device=like.device)
    inside = (cell >= place * n // size) & (cell < -(-(place + 1) * n // size))
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)


class GlobalMean(nn.Module):
    """(B, C, H, W) → (B, C), the mean of each map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class UnitLength(nn.Module):
    """(B, D) → (B, D), each of Euclidean length 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x)


class Mirrored(nn.Module):
    """(B, C, H, W) → (B, C, H + 2, W + 2), a border of one pixel as in nn.ReflectionPad2d(1).

    From slices, because the backward pass of reflection padding has no deterministic CUDA kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, :, 1:2], x, x[:, :, -2:-1]], dim=2)
        return torch.cat([x[..., 1:2], x, x[..., -2:-1]], dim=3)


def towers(tower: Callable[[], nn.Module], shared: bool) -> nn.Module:
    """One network for sketches and photos, or one for each: an nn.ModuleDict of `sketch` and `photo`."""
    return tower() if shared else nn.ModuleDict({"sketch": tower(), "photo": tower()})
