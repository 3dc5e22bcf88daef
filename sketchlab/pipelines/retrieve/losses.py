"""Losses on distances between embeddings of two domains. Every one takes distances, so that what is learnt is what a
search by Euclidean distance then uses."""

from __future__ import annotations

import torch
from torch import Tensor


def distance(first: Tensor, second: Tensor) -> Tensor:
    """(…, D), (…, D) → (…) Euclidean distances D_W; the gradient of two equal vectors is 0."""
    return torch.linalg.vector_norm(first - second, dim=-1)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """(B, D), (G, D) → (B, G). Not by matrix product, which loses the digits of small distances."""
    return distance(first[:, None], second[None])


def contrastive(distances: Tensor, other: Tensor, margin: float) -> Tensor:
    """(B,) distances D_W, (B,) Y: 0 = match, 1 = no match → (B,) losses (1 − Y)·½·D_W² + Y·½·max(0, m − D_W)².

    As das_debnath prints it, with both ½ (Hadsell, Chopra, LeCun 2006, equation 4); the widely copied code drops them,
    which doubles the loss.
    """
    y = other.to(distances.dtype)
    return (1 - y) * 0.5 * distances**2 + y * 0.5 * (margin - distances).clamp(min=0) ** 2


def triplet(match: Tensor, other: Tensor, margin: float) -> Tensor:
    """Distances of anchors to a match and to another (same shape) → max(0, match − other + m) of each.

    Schroff, Kalenichenko, Philbin 2015, equation 2, has squared distances; these are as they are, as torch's.
    """
    return (match - other + margin).clamp(min=0)


def infonce(match: Tensor, others: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """(B,) distances to the match, (B, G) to others, (B, G) which of them count → (B,) −log softmax of the match.

    Logits are −D²/2τ: for embeddings of length 1 that is cosine similarity over τ up to a constant, InfoNCE as van den
    Oord, Li, Vinyals 2018 (equation 4) and Radford et al. 2021 use it.
    """
    right = -(match**2) / (2 * temperature)
    wrong = (-(others**2) / (2 * temperature)).masked_fill(~counted, -torch.inf)
    return torch.cat([right[:, None], wrong], dim=1).logsumexp(1) - right
