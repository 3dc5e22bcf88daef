"""A random forest (Breiman 2001) on frozen features of a network, as photo_drawing has it; grown by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier

from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("estimator",)


@dataclass(frozen=True)
class Config:
    input: Input  # the backbone's
    backbone: dict[str, Any]  # a network of conf/model, all but its last layer: model@model.backbone=vgg16
    trees: int  # more never hurt, they only take longer
    min_leaf: int  # samples that a leaf must keep; 1 grows every tree to the end

    def __post_init__(self) -> None:
        if self.trees < 1 or self.min_leaf < 1:
            raise UserError(f"model.trees={self.trees}, model.min_leaf={self.min_leaf}: expected at least 1 of each")


def build(config: Config, n_classes: int) -> Forest:
    """Takes (n, features)."""
    return Forest(config.trees, config.min_leaf)


class Forest(ClassifierMixin, BaseEstimator):
    """scikit-learn's forest, kept as arrays: grown by it, asked from the arrays, with the bits that it would give.

    The nodes of all trees one after another: feature_ (< 0 = a leaf), threshold_, left_ and right_ (places of nodes),
    share_ (nodes, n_classes) of the training samples there; roots_ (trees,). Nothing else is needed, so a stored
    forest is plain tensors and outlives the version of scikit-learn that grew it.
    """

    def __init__(self, trees: int, min_leaf: int, random_state: int | None = None) -> None:
        self.trees, self.min_leaf, self.random_state = trees, min_leaf, random_state

    def fit(self, x: np.ndarray, y: np.ndarray) -> Forest:
        forest = RandomForestClassifier(
            self.trees, min_samples_leaf=self.min_leaf, random_state=self.random_state, n_jobs=1
        ).fit(x, y)
        trees = [tree.tree_ for tree in forest.estimators_]
        self.roots_ = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        pairs = list(zip(trees, self.roots_, strict=True))
        self.feature_ = np.concatenate([tree.feature for tree in trees])
        self.threshold_ = np.concatenate([tree.threshold for tree in trees])
        self.left_ = np.concatenate([tree.children_left + root for tree, root in pairs])
        self.right_ = np.concatenate([tree.children_right + root for tree, root in pairs])
        self.share_ = np.concatenate([tree.value[:, 0] for tree in trees])
        self.classes_ = forest.classes_
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """(n, n_classes) mean share over the trees."""
        x = np.asarray(x, dtype=np.float32)  # as scikit-learn compares
        total, rows = np.zeros((len(x), self.share_.shape[1])), np.arange(len(x))
        for root in self.roots_:
            node = np.full(len(x), root)
            while (inner := self.feature_[node] >= 0).any():
                value = x[rows[inner], self.feature_[node[inner]]]
                goes = value <= self.threshold_[node[inner]]
                node[inner] = np.where(goes, self.left_[node[inner]], self.right_[node[inner]])
            total += self.share_[node]
        return total / len(self.roots_)

    def predict_log_proba(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(x).argmax(1)]
