"""Classes by their names alone (Radford et al. 2021): nothing is fitted on images.

An image's features, brought into CLIP's space, against the names of the classes in prompts. What CLIP saw of such
images in its training nobody knows: zero-shot says that none of these was used here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator

from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("estimator",)


@dataclass(frozen=True)
class Config:
    input: Input  # the backbone's
    backbone: dict[str, Any]  # the image side of a CLIP: clip_b32, or model@model.backbone=clip_b16
    prompts: list[str]  # with {} for the name of a class; a class is their mean

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UserError('model.prompts=[]: expected at least one, such as ["a sketch of a {}"]')


class ZeroShot(BaseEstimator):
    """text: weights.clip_text.TextSide, which fit keeps as arrays."""

    def __init__(self, text: Any = None) -> None:
        self.text = text

    def fit(self, features: np.ndarray, labels: np.ndarray) -> ZeroShot:
        self.classes_text_ = self.text.classes.numpy()  # (K, E)
        self.projection_ = self.text.projection.numpy()  # (D, E)
        self.scale_ = self.text.scale
        return self

    def predict_log_proba(self, features: np.ndarray) -> np.ndarray:
        """(n, D) → (n, K)."""
        images = features @ self.projection_
        images /= np.linalg.norm(images, axis=1, keepdims=True)
        return log_softmax(self.scale_ * images @ self.classes_text_.T, axis=1)


def build(config: Config, n_classes: int) -> ZeroShot:
    """Takes (n, features)."""
    return ZeroShot()
