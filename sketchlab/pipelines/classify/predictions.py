"""What is kept of a classifier's answers, however it came to them: scores, confusion, predictions, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sketchlab import components
from sketchlab.engine.protocols import Split
from sketchlab.metrics import classification as metrics


def evaluation(
    logits: Tensor, samples: Split, classes: list[str], mistakes: int, own: dict[str, Any]
) -> dict[str, Any]:
    """loss (nats), accuracy, top5 (over five classes), class_accuracy (mean over classes), confusion, predictions.

    logits: (n, n_classes) for every sample of the split `samples`, in order; log-probabilities will do.
    mistakes: wrong answers kept as pictures, the most confident ones: mistake_pixels (K, H, W[, 3]), mistake_places.
    own: scores of the user's own → the keys of their Config.
    """
    labels = samples.labels
    out: dict[str, Any] = {
        "loss": metrics.cross_entropy(logits, labels),
        "accuracy": metrics.accuracy(logits, labels),
        "class_accuracy": metrics.per_class_accuracy(logits, labels).nanmean().item(),
        "confusion": metrics.confusion(logits, labels),
    }
    if len(classes) > 5:
        out["top5"] = metrics.top_k_accuracy(logits, labels, 5)
    probabilities = metrics.probabilities(logits)
    for name, options in own.items():
        out[name] = float(components.make("metric", name, options)(probabilities, labels))
    predicted = logits.argmax(1)
    wrong = (predicted != labels).nonzero()[:, 0]
    order = probabilities.amax(1)[wrong].argsort(descending=True, stable=True)
    out["predictions"] = prediction_table(samples.ids, labels, predicted, probabilities, classes)
    places = wrong[order[:mistakes]]
    if len(places):
        pixels = samples.pictures(places)  # (K, C, H, W)
        if pixels.ndim == 4 and pixels.dtype == torch.uint8:
            out["mistake_pixels"] = pixels.permute(0, 2, 3, 1).squeeze(-1)
            out["mistake_places"] = places
    return out


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, n_classes) logits, (B,) labels → the share that is right, a number on their device. Labels (B, n_classes) are
    shares of a mixture: an answer counts by the share of its class, as in mixup's own code (Zhang et al. 2018)."""
    if labels.dim() == 2:
        return labels.gather(1, logits.argmax(1, keepdim=True)).mean()
    return (logits.argmax(1) == labels).float().mean()


def prediction_table(
    ids: Sequence[str], labels: Tensor, predicted: Tensor, probabilities: Tensor, classes: list[str]
) -> pd.DataFrame:
    """One row a sample: id, label, prediction, and a probability per class, rounded in place: a copy may be large."""
    values = probabilities.numpy()
    table = pd.DataFrame(np.round(values, 6, out=values), columns=[f"p_{name}" for name in classes], copy=False)
    table.insert(0, "id", list(ids))
    table.insert(1, "label", [classes[i] for i in labels.tolist()])
    table.insert(2, "prediction", [classes[i] for i in predicted.tolist()])
    return table
