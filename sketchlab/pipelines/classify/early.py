"""How early a network is sure: its answers to drawings after one stroke, two strokes, … (frankenstein's wish)."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from sketchlab import stats
from sketchlab.engine.protocols import Raw, Split
from sketchlab.metrics.classification import probabilities

STROKES = 8  # as many as frankenstein's frames; by then most drawings are finished
SURE = 0.9  # an answer is called sure from this probability on


def after_each_stroke(
    predict: Callable[[Raw], Tensor], samples: Split, logits: Tensor, batch: int
) -> dict[str, pd.DataFrame]:
    """early: one row for each number of strokes 1 … 8; {} where the samples are not kept as strokes.

    predict: raw batch → (B, n_classes) logits on the CPU, of a network in eval mode. logits: (n, n_classes), of the
    whole drawings, in order; a drawing with fewer strokes counts with these.
    Columns: strokes; n, all drawings; finished, of them; accuracy with its 95% interval low, high (Wilson); confidence,
    the mean probability of the predicted class; sure, the share of answers with probability ≥ .9; sure_right, the
    share of those that are right, with sure_low and sure_high.
    """
    if not len(samples) or isinstance(samples.gather(torch.zeros(1, dtype=torch.int64)), Tensor):
        return {}
    confidence, predicted = (value.repeat(STROKES, 1) for value in probabilities(logits).max(1))  # (STROKES, n) each
    strokes = torch.empty(len(samples), dtype=torch.int64)
    for places in torch.arange(len(samples)).split(batch):
        raw = samples.gather(places)
        assert not isinstance(raw, Tensor), "all of a split are stored alike"
        strokes[places] = raw.counts.cpu()
        for k in range(STROKES):
            longer = (strokes[places] > k + 1).nonzero()[:, 0]
            if len(longer):
                found = predict(raw.take(longer).begun(k + 1)).double().softmax(1).max(1)
                confidence[k, places[longer]], predicted[k, places[longer]] = found.values, found.indices
    labels = samples.labels.cpu()
    return {"early": pd.DataFrame([_row(k + 1, confidence[k], predicted[k], labels, strokes) for k in range(STROKES)])}


def _row(k: int, probability: Tensor, predicted: Tensor, labels: Tensor, strokes: Tensor) -> dict[str, float]:
    right, confidence = predicted == labels, probability >= SURE
    n, n_sure, n_right, n_both = len(labels), int(confidence.sum()), int(right.sum()), int((right & confidence).sum())
    low, high = stats.wilson(n_right, n)
    sure_low, sure_high = stats.wilson(n_both, n_sure) if n_sure else (float("nan"), float("nan"))
    return {
        "strokes": k,
        "n": n,
        "finished": int((strokes <= k).sum()),
        "accuracy": n_right / n,
        "low": low,
        "high": high,
        "confidence": probability.mean().item(),
        "sure": n_sure / n,
        "sure_right": n_both / n_sure if n_sure else float("nan"),
        "sure_low": sure_low,
        "sure_high": sure_high,
    }
