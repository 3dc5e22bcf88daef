"""A scikit-learn estimator, fitted once on what the data layer would give a network of the same input.

On these pixels, or on what a frozen network makes of them (frozen.OnFeatures).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.engine.features import Features
from sketchlab.engine.protocols import Dataset, Split
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config as Loop
from sketchlab.errors import UserError
from sketchlab.pipelines.baseline.declared import ANSWERS as ANSWERS
from sketchlab.pipelines.baseline.declared import SCORES as SCORES
from sketchlab.pipelines.baseline.declared import TAKES as TAKES
from sketchlab.pipelines.baseline.declared import TITLE as TITLE
from sketchlab.pipelines.baseline.frozen import OnFeatures
from sketchlab.pipelines.classify.predictions import evaluation
from sketchlab.schema import Machine, Shown, added

IGNORES = ("loop",)  # groups of the configuration that decide nothing here: a baseline is fitted in one go
_LEAST = float(np.log(np.finfo(np.float64).tiny))  # log-probability of what an estimator calls impossible


@dataclass(frozen=True)
class Config:
    mistakes: Shown[int]  # wrong answers kept as pictures for the report, the most confident ones
    eval_batch: Machine[int]  # samples decoded and asked at once
    metrics: Annotated[dict[str, Any], added({})]  # scores of your own → the keys of their Config: metric=<choice>

    def __post_init__(self) -> None:
        if self.mistakes < 0 or self.eval_batch < 1:
            raise UserError(
                f"pipeline.mistakes={self.mistakes}, pipeline.eval_batch={self.eval_batch}: "
                "expected mistakes ≥ 0, eval_batch ≥ 1"
            )


class Baseline:
    """The task: one estimator with fit and predict_log_proba."""

    def __init__(self, config: Config, estimator: Any, data: Dataset[Split], runtime: Runtime, seed: int) -> None:
        self.config, self.data, self.runtime, self.seed = config, data, runtime, seed
        self.model, self.classes = estimator, data.classes
        self.features: Features | None = None
        if isinstance(estimator, OnFeatures):
            self.features = Features(
                runtime.place(estimator.network), data.splits, data.prepare, data.views, runtime, seed
            )
            estimator = estimator.estimator
        self.estimator = estimator
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        counts = torch.bincount(data.splits["train"].labels.cpu(), minlength=len(self.classes))
        if len(counts) < 2 or not counts.all():
            few = self.classes[int(counts.argmin())]
            raise UserError(
                f"training has {int(counts.min())} samples of class '{few}' and {len(counts)} classes: "
                "a baseline needs at least two classes and a training sample of each; see data.classes and data.splits"
            )
        if data.prepare.active and not data.views:
            raise UserError(
                "data.augment.views=0 is endless, but a baseline is fitted once: "
                "choose data/augment=none, or the number of views to fit on (data.augment.views=10)"
            )
        keys = [key for key in estimator.get_params() if key.rpartition("__")[2] == "random_state"]
        word = rng.fold(seed, "fit") % 2**32
        estimator.set_params(**{key: word for key in keys})

    def take_text(self, side: Any) -> None:
        """Names of the classes as CLIP has them, for an estimator that takes them."""
        self.estimator.set_params(text=side)

    def pixels(self, split: str, view: int | None = None) -> np.ndarray:
        """(n, C·S·S) float32 of a split, in order; augmented when it is given a view."""
        samples, out = self.data.splits[split], []
        for places in torch.arange(len(samples)).split(self.config.eval_batch):
            keys = None if view is None else rng.fold_each(rng.fold(self.seed, "augment", view), places)
            out.append(self.data.prepare(samples.gather(places).cpu(), keys).flatten(1))
        return torch.cat(out).numpy()

    def inputs(self, split: str) -> np.ndarray:
        """(n, …) float32 that the estimator takes, of a split as it is: pixels or features."""
        if self.features is None:
            return self.pixels(split)
        assert split != "train" or not self.data.prepare.active, "of an augmented split there are features of its views"
        every = torch.arange(len(self.data.splits[split]))
        return self.features.of(split, every).flatten(1).cpu().numpy()

    def training(self) -> np.ndarray:
        """(views · n, …) what is fitted on: the training split, or all of its views, one after another."""
        if not self.data.prepare.active:
            return self.inputs("train")
        views, n = range(self.data.views), len(self.data.splits["train"])
        if self.features is None:
            return np.concatenate([self.pixels("train", view) for view in views])
        return self.features.views(torch.arange(n * len(views))).flatten(1).cpu().numpy()

    def fit(self) -> None:
        """The same bits every time: pixels, order and random_state follow from the configuration."""
        labels, inputs = self.data.splits["train"].labels.cpu().numpy(), self.training()
        self.estimator.fit(inputs, np.tile(labels, len(inputs) // len(labels)))

    def arrays(self) -> dict[str, Any]:
        return arrays(self.model)

    def load(self, stored: dict[str, Any]) -> None:
        """The estimator that arrays() gave."""
        from_arrays(self.model, stored)

    def log_probabilities(self, split: str) -> Tensor:
        """(n, n_classes) float64, natural logarithm; no lower than that of the smallest float."""
        inputs = self.inputs(split)
        chunks = np.array_split(inputs, max(1, -(-len(inputs) // self.config.eval_batch)))
        out = np.concatenate([self.estimator.predict_log_proba(chunk) for chunk in chunks])
        return torch.from_numpy(np.where(np.isneginf(out), _LEAST, out).astype(np.float64))

    def evaluate(self, split: str) -> dict[str, Any]:
        """Scores, confusion, predictions and mistakes, as pipelines/classify/answers.py names them."""
        return evaluation(
            self.log_probabilities(split),
            self.data.splits[split],
            self.classes,
            self.config.mistakes,
            self.config.metrics,
        )


def arrays(estimator: Any) -> dict[str, Any]:
    """What `fit` left in an estimator, as tensors, numbers and strings: by scikit-learn's convention, the names that
    end in "_".

    Raises UserError when something else was left, for then it could not be restored from these.
    """
    if isinstance(estimator, OnFeatures):
        return {"estimator": arrays(estimator.estimator), "network": estimator.state()}
    out: dict[str, Any] = {}
    for name, value in vars(estimator).items():
        if name in estimator.get_params(deep=False):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            out[name] = torch.from_numpy(value.copy())
        elif isinstance(value, (np.generic, float, int, str)):
            out[name] = value.item() if isinstance(value, np.generic) else value
        else:
            raise UserError(
                f"{type(estimator).__name__}.{name} is a {type(value).__name__}: pipeline=baseline stores arrays and "
                "numbers only, and this estimator keeps more than that"
            )
    return out


def from_arrays(estimator: Any, stored: dict[str, Any]) -> Any:
    """A fresh estimator (from its file's `build`) and what arrays() gave → the fitted estimator."""
    if isinstance(estimator, OnFeatures):
        estimator.load(stored["network"])
        from_arrays(estimator.estimator, stored["estimator"])
        return estimator
    for name, value in stored.items():
        setattr(estimator, name, value.numpy() if isinstance(value, Tensor) else value)
    return estimator


def build(config: Config, estimator: Any, data: Dataset[Split], loop: Loop, runtime: Runtime, seed: int) -> Baseline:
    return Baseline(config, estimator, data, runtime, seed)
