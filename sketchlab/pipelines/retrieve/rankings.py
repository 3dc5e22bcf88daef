"""What is kept of a search for photos by sketches: scores with their chance values, matches, pairs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from sketchlab.engine.protocols import Pairs
from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.metrics.retrieval import Score

SHOWN = 10  # matches kept and shown per query
KEPT_BYTES = 100_000_000  # of the embeddings of a split


def check_gallery(split: Pairs, name: str, match: str = "class") -> None:
    """Refuse a split whose scores would say nothing, in one line; match: what the run trains for, class or instance."""
    n, n_classes = len(split.photo.labels), len(split.photo.labels.unique())
    if n < SHOWN:
        raise UserError(
            f"split {name}: a gallery of {n} photos; retrieval looks at the {SHOWN} nearest, so at least {SHOWN} are "
            "needed: take more per class (data.per_class) or a larger share (data.splits)"
        )
    if n_classes < 2 and not (match == "instance" and objects_known(split)):
        raise UserError(
            f"split {name}: photos of one class only; retrieval needs at least two (data.classes), or "
            "pipeline.match=instance"
        )
    if not objects_known(split):
        return
    lost = (~torch.isin(split.sketch.groups, split.photo.groups)).nonzero()[:, 0]
    if len(lost):
        raise UserError(
            f"split {name}: {len(lost)} of {len(split.sketch.ids)} sketches have no photo of the object they show, "
            f"first {split.sketch.ids[int(lost[0])]}; add the photos or take the sketches out"
        )


def objects_known(split: Pairs) -> bool:
    """Whether the data say which photo a sketch is of; where only classes are known nothing is scored by instance."""
    return getattr(split, "objects", True)


def search(sketches: Tensor, photos: Tensor, split: Pairs) -> dict[str, Score]:
    """Embeddings (n, D), (G, D) of a split → scores by name, as metrics/retrieval.py defines them.

    Gallery: all photos of the split; queries: all its sketches. class_mAP@200 where the gallery has 200 photos; by
    class where it has two classes.
    """
    names = [name for name in metrics.NAMES if name != "class_mAP@200" or len(photos) >= 200]
    names = [name for name in names if name.startswith("class_") or objects_known(split)]
    if len(split.photo.labels.unique()) < 2:
        names = [name for name in names if not name.startswith("class_")]
    classes, objects = (
        (getattr(split.sketch, key).to(sketches.device), getattr(split.photo, key).to(sketches.device))
        for key in ("labels", "groups")
    )
    return metrics.evaluate(sketches, photos, classes=classes, instances=objects, names=names)


def embeddings(split: Pairs, sketches: Tensor, photos: Tensor) -> dict[str, Tensor]:
    """What `report --protocols` and a search elsewhere start from: embeddings (n, D), (G, D) float32 and labels.

    Raises UserError for more than KEPT_BYTES.
    """
    size = 4 * (sketches.numel() + photos.numel())
    if size > KEPT_BYTES:
        raise UserError(f"{size / 1e6:.0f} MB of embeddings, more than the {KEPT_BYTES / 1e6:.0f} MB that are kept")
    return {
        "sketch_embeddings": sketches.float(),
        "photo_embeddings": photos.float(),
        "sketch_labels": split.sketch.labels,
        "photo_labels": split.photo.labels,
    }


def pairs(match: Tensor, other: Tensor, threshold: float | None) -> dict[str, Score]:
    """Distances (n,) of each sketch to a matching and to another photo → roc_area, pair_accuracy of the 2n pairs.

    pair_accuracy: the share that the threshold decides rightly; left out without one. Per query, roc_area is the share
    of other pairs farther than its match, and of matches nearer than its other pair, less their mean: these have the
    area as mean, and as variance that of the area over queries, whose two pairs go together (Obuchowski 1997).
    """
    distances, same = torch.cat([match, other]), _same(match)
    area = metrics.roc_area(distances, same)
    each = metrics.roc_shares(distances, same).view(2, -1).sum(0) - area
    out = {"roc_area": Score(area, 0.5, each.cpu())}
    if threshold is not None:
        right = metrics.pair_correct(distances, same, threshold).view(2, -1).double().mean(0)
        out["pair_accuracy"] = Score(right.mean().item(), 0.5, right.cpu())
    return out


PROTOCOL = {
    "recall": "the object drawn is among the {k} nearest",
    "recall@1": "the object drawn is the nearest",
    "class_precision": "share of the sketch's class among the {k} nearest",
    "class_recall": "any of the sketch's class is among the {k} nearest",
    "class_mAP": "average precision by class over the whole ranking",
    "class_mAP@": "average precision by class over the {k} nearest, divided by how many could be right there",
}


def protocol(names: list[str], split: Pairs, match: str, chosen_on: str, own: bool) -> dict[str, str]:
    """Score → how it was measured, in words: what counts as right, queries, gallery and search, or pairs.

    own: the threshold was chosen on these very pairs.
    """
    ranked = f"{len(split.sketch.ids)} sketches, each in all {len(split.photo.ids)} photos of the split, exact search"
    paired = (
        f"{2 * len(split.sketch.ids)} pairs: each sketch with one photo that matches by {match}, and one that does not"
    )
    chosen = "on these very pairs: optimistic" if own else f"on {chosen_on}"
    out = {
        "roc_area": f"a matching pair is nearer than another; {paired}",
        "pair_accuracy": f"separated by the distance that is best {chosen}; {paired}",
    }
    for name in names:
        kind, _, k = name.partition("@")
        protocol = PROTOCOL.get(name) or PROTOCOL.get(f"{kind}@" if k else kind) or PROTOCOL.get(kind)
        if protocol:
            out[name] = f"{protocol.format(k=k)}; {ranked}"
    return {name: out[name] for name in names}


def best_threshold(match: Tensor, other: Tensor) -> float:
    """The distance that parts matching pairs (n,) from others (n,) best."""
    return metrics.best_threshold(torch.cat([match, other]), _same(match)).distance


def _same(match: Tensor) -> Tensor:
    return torch.arange(2 * len(match), device=match.device) < len(match)


def match_table(split: Pairs, classes: list[str], distances: Tensor, matches: Tensor) -> pd.DataFrame:
    """One row a query: query, label, match_1 … match_10 (ids of photos, nearest first), distance_1 … distance_10."""
    ids = split.photo.ids
    columns: dict[str, Any] = {"query": split.sketch.ids, "label": [classes[i] for i in split.sketch.labels.tolist()]}
    columns |= {f"match_{k + 1}": [ids[i] for i in matches[:, k].tolist()] for k in range(matches.shape[1])}
    columns |= {f"distance_{k + 1}": distances[:, k].double().numpy().round(6) for k in range(matches.shape[1])}
    return pd.DataFrame(columns)


def warnings(scores: dict[str, Score]) -> dict[str, str]:
    """What a reader must know before believing the scores: kind → words."""
    tied = max(score.tied for score in scores.values())
    if tied <= metrics.MANY:
        return {}
    return {
        "ties": f"Most distances are tied: {tied:.0%} of neighbours in the rankings are equally far. The scores are "
        "what they are on average over the orders of these ties; the embedding separates few photos."
    }


def evaluation(scores: dict[str, Score]) -> dict[str, Any]:
    """Scores as Task.evaluate gives them: values, chance, and per_query_<name> arrays."""
    each = {f"per_query_{name}": score.per_query for name, score in scores.items() if len(score.per_query)}
    chances = {name: score.chance for name, score in scores.items()}
    return {name: score.value for name, score in scores.items()} | each | {"chance": chances}
