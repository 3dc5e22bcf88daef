"""What is kept of a search for photos by sketches: scores with their chance values, matches, pairs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.metrics.retrieval import Score

SHOWN = 10  # matches kept and shown per query


def check_gallery(split: Any, name: str) -> None:
    """Refuse a split whose scores would say nothing, in one line."""
    n, n_classes = len(split.photo.labels), len(split.photo.labels.unique())
    if n < SHOWN:
        raise UserError(
            f"split {name}: a gallery of {n} photos; retrieval looks at the {SHOWN} nearest, so at least {SHOWN} are "
            "needed: take more per class (data.per_class) or a larger share (data.splits)"
        )
    if n_classes < 2:
        raise UserError(f"split {name}: photos of one class only; retrieval needs at least two (data.classes)")
    lost = (~torch.isin(split.sketch.groups, split.photo.groups)).nonzero()[:, 0]
    if len(lost):
        raise UserError(
            f"split {name}: {len(lost)} of {len(split.sketch.ids)} sketches have no photo of the object they show, "
            f"first {split.sketch.ids[int(lost[0])]}; add the photos or take the sketches out"
        )


def search(sketches: Tensor, photos: Tensor, split: Any) -> dict[str, Score]:
    """Embeddings (n, D), (G, D) of a split → scores by name, as metrics/retrieval.py defines them.

    Gallery: all photos of the split; queries: all its sketches. class_mAP@200 where the gallery has 200 photos.
    """
    names = [name for name in metrics.NAMES if name != "class_mAP@200" or len(photos) >= 200]
    sketch, photo = split.sketch, split.photo
    return metrics.evaluate(
        sketches, photos, classes=(sketch.labels, photo.labels), instances=(sketch.groups, photo.groups), names=names
    )


def pairs(match: Tensor, other: Tensor, threshold: float | None) -> dict[str, Score]:
    """Distances (n,) of each sketch to a matching and to another photo → roc_area, pair_accuracy of the 2n pairs.

    pair_accuracy: the share that the threshold decides rightly; left out without one. roc_area has no per-query values.
    """
    distances, same = torch.cat([match, other]), _same(match)
    out = {"roc_area": Score(metrics.roc_area(distances, same), 0.5, torch.empty(0))}
    if threshold is not None:
        each = metrics.pair_correct(distances, same, threshold).view(2, -1).double().mean(0)
        out["pair_accuracy"] = Score(each.mean().item(), 0.5, each)
    return out


def best_threshold(match: Tensor, other: Tensor) -> float:
    """The distance that parts matching pairs (n,) from others (n,) best."""
    return metrics.best_threshold(torch.cat([match, other]), _same(match)).distance


def _same(match: Tensor) -> Tensor:
    return torch.arange(2 * len(match)) < len(match)


def match_table(split: Any, classes: list[str], distances: Tensor, matches: Tensor) -> pd.DataFrame:
    """One row a query: query, label, match_1 … match_10 (ids of photos, nearest first), distance_1 … distance_10."""
    ids = split.photo.ids
    columns: dict[str, Any] = {"query": split.sketch.ids, "label": [classes[i] for i in split.sketch.labels.tolist()]}
    columns |= {f"match_{k + 1}": [ids[i] for i in matches[:, k].tolist()] for k in range(matches.shape[1])}
    columns |= {f"distance_{k + 1}": distances[:, k].double().numpy().round(6) for k in range(matches.shape[1])}
    return pd.DataFrame(columns)


def answers(scores: dict[str, Score]) -> dict[str, Any]:
    """Scores as Task.evaluate gives them: values, chance, and per_query_<name> arrays."""
    each = {f"per_query_{name}": score.per_query for name, score in scores.items() if len(score.per_query)}
    chances = {name: score.chance for name, score in scores.items()}
    return {name: score.value for name, score in scores.items()} | each | {"chance": chances}
