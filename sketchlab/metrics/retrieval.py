"""Search by distance, and how good it is: recall by instance, precision and mAP by class, pairs by a threshold.

Distances are Euclidean, float32, computed pair by pair (never by expanding the square), so equal vectors are exactly
equally far on every block size; equals rank by their place in the gallery.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sketchlab.errors import UserError

NAMES = (
    "recall@1",
    "recall@5",
    "recall@10",
    "class_precision@10",
    "class_recall@10",
    "class_mAP",
    "class_mAP@200",
)
GALLERY_BLOCK = 65_536  # rows of the gallery that a search for the nearest looks at at once
_NAME = re.compile(r"(recall|class_precision|class_recall)@(\d+)|(class_mAP)(?:@(\d+))?")


class Score(NamedTuple):
    value: float  # mean over queries
    chance: float  # what a gallery in random order gives on average
    per_query: Tensor  # (Q,) float64, on the CPU


class Threshold(NamedTuple):
    distance: float  # pairs at most this far apart are called the same
    accuracy: float  # on the pairs it was chosen on: optimistic


def _check_features(queries: Tensor, gallery: Tensor, block: int) -> None:
    shapes = f"queries {tuple(queries.shape)}, gallery {tuple(gallery.shape)}"
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise UserError(f"{shapes}: expected (Q, D) and (G, D) with the same D")
    if not (queries.numel() and gallery.numel()):
        raise UserError(f"{shapes}: nothing to search")
    for name, features in (("queries", queries), ("gallery", gallery)):
        for start in range(0, len(features), GALLERY_BLOCK):  # a gallery on disk is never in memory whole
            odd = ~features[start : start + GALLERY_BLOCK].isfinite().all(1)
            if odd.any():
                raise UserError(f"{name}: row {start + int(odd.nonzero()[0])} holds nan or infinity")
    if block < 1:
        raise UserError(f"block={block}: expected at least 1 query at a time")


def _keys(queries: Tensor, gallery: Tensor, start: int) -> Tensor:
    """(B, D), (G, D) float32 → (B, G) int64 that sort as (distance, place); start: the place of the first row.

    The bits of floats ≥ 0 are in their order: with the place below them keys are unique, and any sort will do.
    """
    distances = torch.cdist(queries.contiguous(), gallery.contiguous(), compute_mode="donot_use_mm_for_euclid_dist")
    places = torch.arange(start, start + len(gallery), device=gallery.device)
    return (distances.view(torch.int32).long() << 32) | places


def _split(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Keys → distances float32, places int64."""
    return (keys >> 32).int().view(torch.float32), keys & 0xFFFFFFFF


@torch.no_grad()
def nearest(
    queries: Tensor, gallery: Tensor, k: int, block: int = 256, gallery_block: int = GALLERY_BLOCK
) -> tuple[Tensor, Tensor]:
    """The k nearest of the gallery: distances (Q, k) float32 ascending, and their places (Q, k) int64.

    queries (Q, D), gallery (G, D), which may lie on disk (memory-mapped) and goes to the queries' device by
    `gallery_block` rows; block: queries at a time. Memory grows with block · gallery_block, and no block changes the
    answer. Raises UserError when k is not in 1 to G, on empty or mismatched input, nan and infinity.
    """
    _check_features(queries, gallery, min(block, gallery_block))
    if not 1 <= k <= len(gallery):
        raise UserError(f"k={k}: expected 1 to {len(gallery)}, the size of the gallery")
    found = []
    for part in queries.float().split(block):
        best = torch.empty(len(part), 0, dtype=torch.int64, device=part.device)
        for start in range(0, len(gallery), gallery_block):
            rows = gallery[start : start + gallery_block].to(part.device, torch.float32)
            keys = torch.cat([best, _keys(part, rows, start)], dim=1)
            best = keys.topk(min(k, keys.shape[1]), largest=False).values
        found.append(best)
    return _split(torch.cat(found))


def _parse(name: str, n_gallery: int) -> tuple[str, int]:
    """ "class_mAP@200" → ("class_mAP", 200); without a depth it is the gallery's size."""
    match = _NAME.fullmatch(name)
    if not match:
        raise UserError(f"metric {name!r}: expected one of {', '.join(NAMES)}, or another whole number after @")
    kind, depth = match[1] or match[3], match[2] or match[4]
    k = int(depth) if depth else n_gallery
    if not 1 <= k <= n_gallery:
        raise UserError(
            f"metric {name!r}: needs a gallery of at least {max(k, 1)}, this one has {n_gallery}; leave it out"
        )
    return kind, k


def _score(kind: str, hits: Tensor, n_relevant: Tensor) -> Tensor:
    """hits (B, k) bool in ranked order, n_relevant (B,) → (B,) float64."""
    if kind in ("recall", "class_recall"):
        return hits.any(1).double()
    if kind == "class_precision":
        return hits.double().mean(1)
    ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    precision = hits.cumsum(1) / ranks.double()
    return (precision * hits).sum(1) / n_relevant.clamp(max=hits.shape[1])


def chance(name: str, n_relevant: Tensor, n_gallery: int) -> Tensor:
    """(Q,) float64: the expected score of each query when the gallery of N is in random order and R of it are right.

    precision@k: R/N. recall@k (any of k): 1 - C(N - R, k)/C(N, k), which is k/N for a single right one.
    mAP@K: R/(N·min(R, K)) · (H + (K - H)(R - 1)/(N - 1)) with H = 1 + 1/2 + … + 1/K; the full mAP has K = N. It is
    the chance that rank i is right, R/N, times the expected precision there, (1 + (i - 1)(R - 1)/(N - 1))/i, summed.
    """
    kind, k = _parse(name, n_gallery)
    right = n_relevant.double()
    steps = torch.arange(k, dtype=torch.float64, device=right.device)
    if kind == "class_precision":
        return right / n_gallery
    if kind in ("recall", "class_recall"):
        return 1 - ((n_gallery - right[:, None] - steps).clamp(min=0) / (n_gallery - steps)).prod(1)
    harmonic = (1 / (steps + 1)).sum()
    others = (right - 1) / max(n_gallery - 1, 1)
    return right / (n_gallery * right.clamp(max=k)) * (harmonic + (k - harmonic) * others)


def _relevant(
    truth: tuple[Tensor, Tensor] | None, what: str, sizes: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """(queries' labels, gallery's labels, how many of the gallery are right for each query)."""
    if truth is None:
        raise UserError(f"{what} of queries and gallery are needed for the metrics asked for")
    ours, theirs = (labels.to(device) for labels in truth)
    if (tuple(ours.shape), tuple(theirs.shape)) != ((sizes[0],), (sizes[1],)):
        raise UserError(f"{what} have shapes {tuple(ours.shape)} and {tuple(theirs.shape)}: expected {sizes} labels")
    names, counts = theirs.unique(return_counts=True)
    place = torch.searchsorted(names, ours).clamp(max=len(names) - 1)
    known = names[place] == ours
    if not known.all():
        missing = ours[~known].unique().tolist()
        raise UserError(
            f"{what}: {len(missing)} of the queries' are not in the gallery, first {missing[0]}; take them out"
        )
    return ours, theirs, counts[place]


def _members(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (Q,), (G,) → places in the gallery of each class (C, R), padded with −1, and each query's row there."""
    names, number, counts = theirs.unique(return_inverse=True, return_counts=True)
    order = number.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(theirs), device=theirs.device) - starts[number[order]]
    table = torch.full((len(names), int(counts.max())), -1, device=theirs.device)
    table[number[order], within] = order
    return table, torch.searchsorted(names, ours)


def _average_precision(keys: Tensor, ranked: Tensor, relevant: Tensor) -> Tensor:
    """Keys (B, G), the same in order, places of what is right (B, R) padded with −1 → (B,) float64, the whole ranking.

    By the ranks of what is right alone: the precision at the r-th of them is r by its rank.
    """
    none = relevant < 0
    right = keys.gather(1, relevant.clamp(min=0)).masked_fill(none, torch.iinfo(torch.int64).max).sort(1).values
    ranks = torch.searchsorted(ranked, right) + 1
    n = torch.arange(1, right.shape[1] + 1, dtype=torch.float64, device=keys.device)
    there = n <= (~none).sum(1, keepdim=True)
    return (n / ranks * there).sum(1) / there.sum(1)


def _ordered(keys: Tensor) -> Tensor:
    """Each row ascending. On a CPU by numpy, whose vector instructions sort whole numbers ten times as fast."""
    return torch.from_numpy(np.sort(keys.numpy(), axis=1)) if keys.device.type == "cpu" else keys.sort(1).values


@torch.no_grad()
def evaluate(
    queries: Tensor,
    gallery: Tensor,
    *,
    classes: tuple[Tensor, Tensor] | None = None,
    instances: tuple[Tensor, Tensor] | None = None,
    names: Sequence[str] = NAMES,
    block: int = 256,
) -> dict[str, Score]:
    """Scores by name of an exact search of the gallery (G, D) by the queries (Q, D).

    classes, instances: labels of queries (Q,) and gallery (G,), whole numbers. recall@k: is the query's instance among
    the k nearest? class_precision@k: share of the k that are of its class; class_recall@k: is any of them?
    class_mAP: average precision over the whole gallery, class_mAP@k: over the first k, divided by min(k, number of
    the class in the gallery). Some papers divide by those found among the k, which is higher. Memory grows with
    block · G. Raises UserError on unknown names, a gallery smaller than k, and queries without a match.
    """
    _check_features(queries, gallery, block)
    gallery = gallery.to(queries.device, torch.float32)
    wanted = {name: _parse(name, len(gallery)) for name in names}
    sizes = (len(queries), len(gallery))
    truth = {}
    for what, labels in (("classes", classes), ("instances", instances)):
        if any(kind.startswith("class") == (what == "classes") for kind, _ in wanted.values()):
            truth[what] = _relevant(labels, what, sizes, queries.device)
    scores = {name: torch.empty(len(queries), dtype=torch.float64) for name in names}
    depth = max((k for name, (_, k) in wanted.items() if name != "class_mAP"), default=1)
    members = _members(*truth["classes"][:2]) if "class_mAP" in wanted else None
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        keys = _keys(queries[rows].float(), gallery, 0)
        ranked = keys.topk(depth, largest=False).values if members is None else _ordered(keys)
        places = _split(ranked[:, :depth])[1]
        hits = {what: theirs[places] == ours[rows, None] for what, (ours, theirs, _) in truth.items()}
        for name, (kind, k) in wanted.items():
            what = "classes" if kind.startswith("class") else "instances"
            if name == "class_mAP" and members is not None:
                scores[name][rows] = _average_precision(keys, ranked, members[0][members[1][rows]]).cpu()
            else:
                scores[name][rows] = _score(kind, hits[what][:, :k], truth[what][2][rows]).cpu()
    out = {}
    for name, (kind, _) in wanted.items():
        n_relevant = truth["classes" if kind.startswith("class") else "instances"][2]
        expected = chance(name, n_relevant, len(gallery)).mean().item()
        out[name] = Score(scores[name].mean().item(), expected, scores[name])
    return out


def _check_pairs(distances: Tensor, same: Tensor, *, both: bool = False) -> tuple[Tensor, Tensor]:
    if distances.ndim != 1 or not len(distances) or same.shape != distances.shape:
        raise UserError(
            f"distances {tuple(distances.shape)}, same {tuple(same.shape)}: expected (N,) twice, with N of at least 1"
        )
    if distances.isnan().any():
        raise UserError(f"distances: pair {int(distances.isnan().nonzero()[0])} is not a number (nan)")
    same = same.bool()
    if both and (same.all() or not same.any()):
        raise UserError(f"all {len(same)} pairs are {'the same' if same.all() else 'different'}: expected both kinds")
    return distances.double(), same


def pair_correct(distances: Tensor, same: Tensor, threshold: float) -> Tensor:
    """(N,) bool: is a pair called the same (distance ≤ threshold) just when it is?"""
    distances, same = _check_pairs(distances, same)
    return (distances <= threshold) == same


def pair_accuracy(distances: Tensor, same: Tensor, threshold: float) -> float:
    """Share of pairs (N,) that the threshold decides rightly."""
    return pair_correct(distances, same, threshold).double().mean().item()


def best_threshold(distances: Tensor, same: Tensor) -> Threshold:
    """The threshold with the most pairs right; choose it on validation pairs and apply it to others.

    Candidates lie halfway between neighbouring distances, and one below and above all; of equals the smallest.
    """
    distances, same = _check_pairs(distances, same)
    values, place = distances.unique(return_inverse=True)  # ascending
    gain = torch.zeros_like(values).index_add(0, place, same.double() * 2 - 1)
    right = (~same).sum() + torch.cat([gain.new_zeros(1), gain.cumsum(0)])  # right[i]: the first i values called same
    edges = torch.cat([values[:1] - 1, (values[:-1] + values[1:]) / 2, values[-1:]])
    best = int((right == right.max()).nonzero()[0])
    return Threshold(edges[best].item(), right[best].item() / len(distances))


def roc_area(distances: Tensor, same: Tensor) -> float:
    """Area under the ROC curve: how often a same pair is nearer than a different one, ties half (Mann and Whitney)."""
    distances, same = _check_pairs(distances, same, both=True)
    return roc_shares(distances, same)[same].mean().item()


def roc_shares(distances: Tensor, same: Tensor) -> Tensor:
    """(N,) float64: of a same pair, the share of different pairs that are farther; of a different pair, the share of
    same pairs that are nearer; ties half. The mean over either kind is the ROC area (DeLong, DeLong and Clarke-Pearson
    1988: its structural components)."""
    distances, same = _check_pairs(distances, same, both=True)
    out = torch.empty_like(distances)
    for kind, sign in ((same, -1), (~same, 1)):
        others = (sign * distances[~kind]).sort().values
        ours = (sign * distances[kind]).contiguous()
        below, up_to = (torch.searchsorted(others, ours, right=right).double() for right in (False, True))
        out[kind] = (below + up_to) / 2 / len(others)
    return out
