"""A scikit-learn estimator, fitted once on what the data layer would give a network of the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.engine.loop import Config as Loop
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.pipelines.answers import answers

_LEAST = float(np.log(np.finfo(np.float64).tiny))  # log-probability of what an estimator calls impossible


@dataclass(frozen=True)
class Config:
    mistakes: int  # wrong answers kept as pictures for the report, the most confident ones
    eval_batch: int  # samples decoded and asked at once

    def __post_init__(self) -> None:
        if self.mistakes < 0 or self.eval_batch < 1:
            raise UserError(
                f"pipeline.mistakes={self.mistakes}, pipeline.eval_batch={self.eval_batch}: "
                "expected mistakes ≥ 0, eval_batch ≥ 1"
            )


class Baseline:
    """The task: one estimator with fit and predict_log_proba."""

    def __init__(self, config: Config, estimator: Any, data: Any, runtime: Runtime, seed: int) -> None:
        self.config, self.data, self.runtime, self.seed = config, data, runtime, seed
        self.estimator, self.classes = estimator, data.classes
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

    def pixels(self, split: str, view: int | None = None) -> np.ndarray:
        """(n, C·S·S) float32 of a split, in order; augmented when it is given a view."""
        samples, out = self.data.splits[split], []
        for places in torch.arange(len(samples)).split(self.config.eval_batch):
            keys = None if view is None else rng.fold_each(rng.fold(self.seed, "augment", view), places)
            out.append(self.data.prepare(samples.gather(places).cpu(), keys).flatten(1))
        return torch.cat(out).numpy()

    def fit(self) -> None:
        """The same bits every time: pixels, order and random_state follow from the configuration."""
        views = range(self.data.views) if self.data.prepare.active else [None]
        labels = self.data.splits["train"].labels.cpu().numpy()
        self.estimator.fit(np.concatenate([self.pixels("train", view) for view in views]), np.tile(labels, len(views)))

    def arrays(self) -> dict[str, Any]:
        return arrays(self.estimator)

    def log_probabilities(self, split: str) -> Tensor:
        """(n, n_classes) float64, natural logarithm; no lower than that of the smallest float."""
        pixels = self.pixels(split)
        chunks = np.array_split(pixels, max(1, -(-len(pixels) // self.config.eval_batch)))
        out = np.concatenate([self.estimator.predict_log_proba(chunk) for chunk in chunks])
        return torch.from_numpy(np.where(np.isneginf(out), _LEAST, out).astype(np.float64))

    def evaluate(self, split: str) -> dict[str, Any]:
        """Scores, confusion, predictions and mistakes, as pipelines/answers.py names them."""
        return answers(self.log_probabilities(split), self.data.splits[split], self.classes, self.config.mistakes)


def arrays(estimator: Any) -> dict[str, Any]:
    """What `fit` left in an estimator, as tensors, numbers and strings: by scikit-learn's convention, the names that
    end in "_".

    Raises UserError when something else was left, for then it could not be restored from these.
    """
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
    for name, value in stored.items():
        setattr(estimator, name, value.numpy() if isinstance(value, Tensor) else value)
    return estimator


def build(config: Config, estimator: Any, data: Any, loop: Loop, runtime: Runtime, seed: int) -> Baseline:
    return Baseline(config, estimator, data, runtime, seed)
