"""Histograms of oriented gradients (Dalal and Triggs 2005, by scikit-image) and a linear SVM: the classical baseline.

Deviations: no overlapping detection windows, one descriptor of the whole image; one against the rest for several
classes; probabilities are a softmax of the margins at a temperature found by cross-validation on the training samples
(Guo et al. 2017), which leaves the answers as the SVM gives them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from skimage.feature import hog
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("estimator",)
_FOLDS = 5


@dataclass(frozen=True)
class Config:
    input: Input  # one channel
    cell_px: int  # side of a cell, which has one histogram
    block: int  # cells a side over which histograms are normalised together, by L2-Hys; 2 in the paper
    orientations: int  # bins over 180°; 9 in the paper
    c: float  # inverse strength of the penalty; .01 in the paper

    def __post_init__(self) -> None:
        if self.input.channels != 1:
            raise UserError(f"model.input.channels={self.input.channels}: hog_svm takes 1")
        if min(self.cell_px, self.block, self.orientations) < 1 or not self.c > 0:
            raise UserError(
                f"model.cell_px={self.cell_px}, block={self.block}, orientations={self.orientations}, c={self.c}: "
                "expected at least 1 of the first three and c above 0"
            )
        if self.cell_px * self.block > self.input.size_px:
            raise UserError(
                f"model.cell_px={self.cell_px} × block={self.block} is more than model.input.size_px="
                f"{self.input.size_px}: not one block fits"
            )


def build(config: Config, n_classes: int) -> HogSvm:
    """Takes (n, S·S) pixels."""
    return HogSvm(config.input.size_px, config.cell_px, config.block, config.orientations, config.c)


class HogSvm(ClassifierMixin, BaseEstimator):
    """fit and predict_log_proba on (n, S·S) pixels; keeps weight_ (margins, descriptor), bias_ and temperature_."""

    def __init__(
        self, size_px: int, cell_px: int, block: int, orientations: int, c: float, random_state: int | None = None
    ) -> None:
        self.size_px, self.cell_px, self.block, self.orientations = size_px, cell_px, block, orientations
        self.c, self.random_state = c, random_state

    def describe(self, pixels: np.ndarray) -> np.ndarray:
        """(n, S·S) → (n, blocks · block² · orientations)."""
        side, block = (self.cell_px, self.cell_px), (self.block, self.block)
        images = pixels.reshape(-1, self.size_px, self.size_px)
        return np.stack(
            [hog(image, self.orientations, side, block, block_norm="L2-Hys", feature_vector=True) for image in images]
        )

    def fit(self, pixels: np.ndarray, y: np.ndarray) -> HogSvm:
        x = self.describe(pixels)
        svm = LinearSVC(C=self.c, dual="auto", random_state=self.random_state).fit(x, y)
        self.classes_, self.weight_, self.bias_ = svm.classes_, svm.coef_, svm.intercept_
        self.temperature_ = self._temperature(x, y)
        return self

    def _temperature(self, x: np.ndarray, y: np.ndarray) -> float:
        """What the margins are divided by, so that held-out samples are likeliest; 1 where a class has one sample."""
        places = np.searchsorted(self.classes_, y)
        folds = min(_FOLDS, int(np.bincount(places).min()))
        if folds < 2:
            return 1.0
        split = StratifiedKFold(folds, shuffle=True, random_state=self.random_state)
        svm = LinearSVC(C=self.c, dual="auto", random_state=self.random_state)
        margins = two_sided(np.asarray(cross_val_predict(svm, x, y, cv=split, method="decision_function")))

        def surprise(log_temperature: float) -> float:
            logs = log_softmax(margins / math.exp(log_temperature), axis=1)
            return -float(logs[np.arange(len(y)), places].mean())

        found = minimize_scalar(surprise, bounds=(-5.0, 5.0), method="bounded")
        return math.exp(float(found.x))  # type: ignore[attr-defined]

    def predict_log_proba(self, pixels: np.ndarray) -> np.ndarray:
        margins = two_sided(self.describe(pixels) @ self.weight_.T + self.bias_)
        return log_softmax(margins / self.temperature_, axis=1)

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_log_proba(pixels).argmax(1)]


def two_sided(margins: np.ndarray) -> np.ndarray:
    """(n, n_classes); of two classes an SVM gives one margin, (n,) or (n, 1), that of the second."""
    margins = margins.reshape(len(margins), -1)
    return np.concatenate([-margins, margins], 1) / 2 if margins.shape[1] == 1 else margins
