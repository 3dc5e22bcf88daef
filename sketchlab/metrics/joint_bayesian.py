"""Joint Bayesian (Chen et al. 2012): do two feature vectors show the same class?

A feature is x = mean + μ + ε, with μ ~ N(0, between) shared by its class and ε ~ N(0, within) its own.
Deviation from the paper: its M-step takes the covariance of the posterior means; here the posterior covariance is
added, which makes it expectation-maximisation proper (the likelihood never falls).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sketchlab.errors import UserError


@dataclass(frozen=True)
class JointBayesian:
    """The fitted model, float64."""

    mean: Tensor  # (D,)
    between: Tensor  # (D, D) covariance of class centres
    within: Tensor  # (D, D) covariance around a class centre

    def log_ratio(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, D), (M, D) → (N, M): log p(a, b | same class) − log p(a, b | two classes)."""
        total = self.between + self.within
        alone = torch.linalg.inv(total)  # inverse covariance of one vector by itself
        complement = total - self.between @ alone @ self.between
        pair = torch.linalg.inv(complement)  # diagonal block of the inverse of [[total, between], [between, total]]
        link = -alone @ self.between @ pair  # its other block
        constant = torch.linalg.slogdet(total).logabsdet - torch.linalg.slogdet(complement).logabsdet
        x, y = a.double() - self.mean, b.double() - self.mean
        own_x, own_y = ((x @ (pair - alone)) * x).sum(1), ((y @ (pair - alone)) * y).sum(1)
        return (constant - own_x[:, None] - own_y[None, :]) / 2 - x @ link @ y.T

    def scores(self, queries: Tensor, gallery: Tensor, labels: Tensor, n_classes: int, k: int) -> Tensor:
        """(N, D) queries → (N, n_classes): the share of each class among the k nearest in gallery (M, D)."""
        if not 1 <= k <= len(gallery):
            raise UserError(f"joint Bayesian: k={k} neighbours of {len(gallery)} samples")
        nearest = labels.to(queries.device)[self.log_ratio(queries, gallery).topk(k, dim=1).indices]  # (N, k)
        votes = torch.zeros(len(queries), n_classes, dtype=torch.float64, device=queries.device)
        return votes.scatter_add_(
            1, nearest, torch.full(nearest.shape, 1 / k, dtype=torch.float64, device=votes.device)
        )


def fit(features: Tensor, labels: Tensor, iterations: int, ridge: float = 1e-3) -> JointBayesian:
    """Expectation-maximisation on (N, D) features with (N,) class numbers, from the sample covariances.

    ridge: share of the mean variance added to the diagonals at the start, for more dimensions than samples.
    Raises UserError when no class has two samples, or there is one class only.
    """
    x = features.double()
    _, labels, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        raise UserError("joint Bayesian needs two classes, and one with two samples")
    mean = x.mean(0)
    x = x - mean
    centres = _class_sums(x, labels, len(counts)) / counts[:, None]
    rest = x - centres[labels]
    eye = ridge * x.var() * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    between, within = centres.T @ centres / len(counts) + eye, rest.T @ rest / len(x) + eye
    for _ in range(iterations):
        between, within = _step(x, labels, counts, between, within)
    return JointBayesian(mean, between, within)


def log_likelihood(model: JointBayesian, features: Tensor, labels: Tensor) -> float:
    """Of all features given their classes: what expectation-maximisation raises."""
    x = features.double() - model.mean
    _, labels, counts = labels.unique(return_inverse=True, return_counts=True)
    centres = _class_sums(x, labels, len(counts)) / counts[:, None]
    rest = x - centres[labels]
    own = torch.linalg.slogdet(model.within).logabsdet
    value = -(rest @ torch.linalg.inv(model.within) * rest).sum() - (len(x) - len(counts)) * own
    for m, rows in _by_size(counts):
        spread = model.between + model.within / m  # covariance of a class mean
        mu = centres[rows]
        value -= (mu @ torch.linalg.inv(spread) * mu).sum()
        value -= len(rows) * (torch.linalg.slogdet(spread).logabsdet + x.shape[1] * math.log(m))
    return float(value - x.numel() * math.log(2 * math.pi)) / 2


def _step(x: Tensor, labels: Tensor, counts: Tensor, between: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
    means = _class_sums(x, labels, len(counts)) / counts[:, None]
    mu = torch.empty_like(means)
    spread_between, spread_within = torch.zeros_like(between), torch.zeros_like(within)
    for m, rows in _by_size(counts):
        gain = torch.linalg.solve(between + within / m, between).T  # between (between + within/m)⁻¹
        posterior = between - gain @ between
        mu[rows] = means[rows] @ gain.T
        spread_between += len(rows) * posterior
        spread_within += len(rows) * m * posterior
    rest = x - mu[labels]
    new_between = (mu.T @ mu + spread_between) / len(counts)
    new_within = (rest.T @ rest + spread_within) / len(x)
    return (new_between + new_between.T) / 2, (new_within + new_within.T) / 2


def _by_size(counts: Tensor) -> Iterator[tuple[int, Tensor]]:
    for m in counts.unique().tolist():
        yield m, (counts == m).nonzero()[:, 0]


def _class_sums(x: Tensor, labels: Tensor, n: int) -> Tensor:
    return torch.zeros(n, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, labels, x)
