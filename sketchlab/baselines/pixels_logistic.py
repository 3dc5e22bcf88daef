"""Logistic regression on raw pixels: one linear template per class (scikit-learn's LogisticRegression, L2, lbfgs)."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.linear_model import LogisticRegression

from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("estimator",)


@dataclass(frozen=True)
class Config:
    input: Input
    c: float  # inverse strength of the L2 penalty: smaller = smoother templates
    max_iter: int  # of lbfgs; scikit-learn warns when it stops before it converged

    def __post_init__(self) -> None:
        if not self.c > 0 or self.max_iter < 1:
            raise UserError(f"model.c={self.c}, model.max_iter={self.max_iter}: expected c > 0 and max_iter ≥ 1")


def build(config: Config, n_classes: int) -> LogisticRegression:
    """Takes (n, C·S·S) pixels."""
    return LogisticRegression(C=config.c, max_iter=config.max_iter)
