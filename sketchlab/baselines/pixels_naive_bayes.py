"""Gaussian naive Bayes on raw pixels: each an independent normal variable per class (scikit-learn's GaussianNB)."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.naive_bayes import GaussianNB

from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("estimator",)


@dataclass(frozen=True)
class Config:
    input: Input
    var_smoothing: float  # added to every pixel's variance, as a share of the largest one: many pixels never change

    def __post_init__(self) -> None:
        if not self.var_smoothing > 0:
            raise UserError(
                f"model.var_smoothing={self.var_smoothing}: expected above 0; scikit-learn itself takes 1e-9"
            )


def build(config: Config, n_classes: int) -> GaussianNB:
    """Takes (n, C·S·S) pixels."""
    return GaussianNB(var_smoothing=config.var_smoothing)
