"""Logistic regression on frozen features of a network (scikit-learn's, L2, lbfgs): a linear probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.linear_model import LogisticRegression

from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("estimator",)


@dataclass(frozen=True)
class Config:
    input: Input  # the backbone's
    backbone: dict[str, Any]  # a network of conf/model, all but its last layer: model@model.backbone=vgg16
    c: float  # inverse strength of the L2 penalty: smaller = smaller weights
    max_iter: int  # of lbfgs; scikit-learn warns when it stops before it converged

    def __post_init__(self) -> None:
        if not self.c > 0 or self.max_iter < 1:
            raise UserError(f"model.c={self.c}, model.max_iter={self.max_iter}: expected c > 0 and max_iter ≥ 1")


def build(config: Config, n_classes: int) -> LogisticRegression:
    """Takes (n, features)."""
    return LogisticRegression(C=config.c, max_iter=config.max_iter)
