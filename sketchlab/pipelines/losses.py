"""Losses on embeddings of two domains."""

from __future__ import annotations

import torch
from torch import Tensor


def distance(first: Tensor, second: Tensor) -> Tensor:
    """(B, D), (B, D) → (B,) Euclidean distances D_W; the gradient of two equal vectors is 0."""
    return torch.linalg.vector_norm(first - second, dim=1)


def contrastive(distances: Tensor, other: Tensor, margin: float) -> Tensor:
    """(B,) distances D_W, (B,) Y: 0 = match, 1 = no match → (B,) losses (1 − Y)·½·D_W² + Y·½·max(0, m − D_W)².

    As document 001 prints it, with both ½ (Hadsell, Chopra, LeCun 2006, equation 4); the widely copied code drops them,
    which doubles the loss.
    """
    y = other.to(distances.dtype)
    return (1 - y) * 0.5 * distances**2 + y * 0.5 * (margin - distances).clamp(min=0) ** 2
