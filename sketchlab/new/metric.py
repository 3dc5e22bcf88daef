"""F1, the mean over classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sklearn.metrics import f1_score
from torch import Tensor

from sketchlab.metrics.declared import Score

# name as this file; larger is better; from 0 to 1; printed as a share
SCORE = Score("example", "F1, mean over classes", "larger", 0.0, 1.0, "share", source="sklearn.metrics.f1_score")


@dataclass(frozen=True)
class Config:
    average: str  # macro, weighted or micro


def build(config: Config) -> Callable[[Tensor, Tensor], float]:
    """(n, n_classes) probabilities and (n,) labels of a split → the score."""
    return lambda probabilities, labels: f1_score(labels, probabilities.argmax(1), average=config.average)
