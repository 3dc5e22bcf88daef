"""Scores of a classifier from its logits (N, C) and the true labels (N,).

Among equal logits the first class wins, everywhere. Per-example forms stand beside the means, for paired tests.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab.errors import UserError

BLOCK = 8192  # rows brought to float64 at once: a copy of all would be the largest thing in memory


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or not logits.numel():
        raise UserError(f"logits have shape {tuple(logits.shape)}: expected (N, C) with N and C of at least 1")
    if labels.shape != logits.shape[:1]:
        raise UserError(f"labels have shape {tuple(labels.shape)}: expected ({len(logits)},), one per row of logits")
    if labels.is_floating_point() or labels.is_complex():
        raise UserError(f"labels are {labels.dtype}: expected whole numbers")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise UserError(
            f"labels go from {int(labels.min())} to {int(labels.max())}: "
            f"expected 0 to {logits.shape[1] - 1} for {logits.shape[1]} classes"
        )
    if logits.isnan().any():
        raise UserError(f"logits of row {int(logits.isnan().any(1).nonzero()[0])} are not numbers (nan)")


def top_k_correct(logits: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """(N,) bool: is the true class among the k highest logits?

    Raises UserError on an empty batch, mismatched lengths, labels out of range, nan, or k not in 1 to C.
    """
    _check(logits, labels)
    if not 1 <= k <= logits.shape[1]:
        raise UserError(f"k={k}: expected 1 to {logits.shape[1]}, the number of classes")
    own = logits.gather(1, labels.long()[:, None])  # (N, 1)
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(1) < k


def top_k_accuracy(logits: Tensor, labels: Tensor, k: int) -> float:
    """Share of examples whose true class is among the k highest logits."""
    return top_k_correct(logits, labels, k).double().mean().item()


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of examples whose highest logit is the true class's."""
    return top_k_accuracy(logits, labels, 1)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """(C, C) int64 counts: rows are the truth, columns the prediction."""
    _check(logits, labels)
    n_classes = logits.shape[1]
    cells = labels.long() * n_classes + logits.argmax(1)
    return torch.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """(C,) float64: share of each class's examples that are recognised; nan for a class without examples."""
    counts = confusion(logits, labels).double()
    return counts.diagonal() / counts.sum(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood in nats, computed in float64; ln(C) is chance."""
    _check(logits, labels)
    parts = zip(logits.split(BLOCK), labels.long().split(BLOCK), strict=True)
    return torch.cat([F.cross_entropy(a.double(), b, reduction="none") for a, b in parts]).mean().item()


def probabilities(logits: Tensor) -> Tensor:
    """(N, C) → (N, C) float64, the softmax of each row."""
    out = torch.empty(logits.shape, dtype=torch.float64, device=logits.device)
    for low in range(0, len(logits), BLOCK):
        out[low : low + BLOCK] = logits[low : low + BLOCK].double().softmax(1)
    return out


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal bins of confidence (Guo et al. 2017, equation 3).

    Bins are (0, 1/M], (1/M, 2/M], …, weighted by how many examples fall in; 15 as in the paper's tables.
    """
    if bins < 1:
        raise UserError(f"bins={bins}: expected at least 1")
    correct = top_k_correct(logits, labels).double()
    confidence = logits.double().softmax(1).amax(1)
    edges = torch.arange(1, bins, dtype=torch.float64, device=logits.device) / bins
    place = torch.bucketize(confidence, edges)  # left edge open, right edge closed
    gaps = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    return gaps.index_add(0, place, correct - confidence).abs().sum().item() / len(labels)
