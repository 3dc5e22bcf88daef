"""Search by distance, and how good it is: recall by instance, precision and mAP by class, pairs by a threshold.

Distances are Euclidean, float32, computed pair by pair (never by expanding the square), so equal vectors are exactly
equally far on every block size.

Ties. A score of a ranking is its expectation when photos at the same distance stand in random order, in closed form
(McSherry and Najork 2008, "Computing information retrieval performance measures efficiently in the presence of tied
scores"): it depends on no order of the gallery, and an embedding that tells nothing scores exactly the chance value.
Distances from one query q are the same when they agree to TIE, 2⁻²⁰ of |q| + d or a little more: eight roundings of
float32, which is what the arithmetic of an embedding and of a distance leaves undecided. A list of matches has to put
ties in some order: a keyed one, unrelated to the order of the gallery and so to its classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sketchlab import rng
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
_TIE_BITS = 3  # last bits of a float32 distance that decide nothing
TIE = 2.0 ** (_TIE_BITS - 23)
MANY = 0.5  # share of tied neighbours from which on `tied` is worth a warning
_ORDER = tuple(rng.fold("ties", i) for i in range(4))  # keys of the order that ties are listed in
_NAME = re.compile(r"(recall|class_precision|class_recall)@(\d+)|(class_mAP)(?:@(\d+))?")


class Score(NamedTuple):
    value: float  # mean over queries
    chance: float  # what a gallery in random order gives on average
    per_query: Tensor  # (Q,) float64, on the CPU
    tied: float = 0.0  # share of neighbours in the rankings that are equally far, mean over queries


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


def _distances(queries: Tensor, gallery: Tensor) -> Tensor:
    return torch.cdist(queries.contiguous(), gallery.contiguous(), compute_mode="donot_use_mm_for_euclid_dist")


def shuffled(places: Tensor) -> Tensor:
    """(n,) int64 below 2³² → as many different ones: the order in which ties are listed (a Feistel network)."""
    left, right = places >> 16, places & 0xFFFF
    for key in _ORDER:
        left, right = right, left ^ (rng.mix(right + key) & 0xFFFF)
    return left << 16 | right


def _unshuffled(order: Tensor) -> Tensor:
    left, right = order >> 16, order & 0xFFFF
    for key in reversed(_ORDER):
        left, right = right ^ (rng.mix(left + key) & 0xFFFF), left
    return left << 16 | right


def _keys(queries: Tensor, gallery: Tensor, places: Tensor) -> Tensor:
    """(B, D), (G, D) float32, (G,) places → (B, G) int64 that sort as (distance, shuffled place).

    The bits of floats ≥ 0 are in their order: with the place below them keys are unique, and any sort will do.
    """
    return (_distances(queries, gallery).view(torch.int32).long() << 32) | shuffled(places)


def _split(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Keys → distances float32, places int64."""
    return (keys >> 32).int().view(torch.float32), _unshuffled(keys & 0xFFFFFFFF)


def _levels(queries: Tensor, gallery: Tensor) -> Tensor:
    """(B, D), (G, D) float32 → (B, G) int32 in the order of the distances, equal where they are as good as equal.

    A power of two above |q| is added before the last bits are cut, so that distances far below the rounding of the
    embeddings are all level 0.
    """
    size = queries.norm(dim=1, keepdim=True)
    above = torch.where(size > 0, torch.ldexp(torch.ones_like(size), size.frexp().exponent), size)
    return _distances(queries, gallery).add_(above).view(torch.int32).bitwise_right_shift_(_TIE_BITS)


@torch.no_grad()
def nearest(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    block: int = 256,
    gallery_block: int = GALLERY_BLOCK,
    places: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The k nearest of the gallery: distances (Q, k) float32 ascending, and their places (Q, k) int64.

    queries (Q, D), gallery (G, D), which may lie on disk (memory-mapped) and goes to the queries' device by
    `gallery_block` rows; block: queries at a time. Memory grows with block · gallery_block, and no block changes the
    answer. Exactly equal distances are listed by `shuffled` place. places: (G,) of these rows in a larger gallery, by
    default 0, 1, … Raises UserError when k is not in 1 to G, on empty or mismatched input, nan and infinity.
    """
    _check_features(queries, gallery, min(block, gallery_block))
    if not 1 <= k <= len(gallery):
        raise UserError(f"k={k}: expected 1 to {len(gallery)}, the size of the gallery")
    found = []
    places = torch.arange(len(gallery)) if places is None else places
    for part in queries.float().split(block):
        best = torch.empty(len(part), 0, dtype=torch.int64, device=part.device)
        for start in range(0, len(gallery), gallery_block):
            rows = gallery[start : start + gallery_block].to(part.device, torch.float32)
            at = places[start : start + gallery_block].to(part.device)
            keys = torch.cat([best, _keys(part, rows, at)], dim=1)
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
) -> tuple[Tensor, Tensor]:
    """(places in the gallery of what is right (C, R) for each label, padded with −1; each query's row there (Q,))."""
    if truth is None:
        raise UserError(f"{what} of queries and gallery are needed for the metrics asked for")
    ours, theirs = (labels.to(device) for labels in truth)
    if (tuple(ours.shape), tuple(theirs.shape)) != ((sizes[0],), (sizes[1],)):
        raise UserError(f"{what} have shapes {tuple(ours.shape)} and {tuple(theirs.shape)}: expected {sizes} labels")
    names, number, counts = theirs.unique(return_inverse=True, return_counts=True)
    row = torch.searchsorted(names, ours).clamp(max=len(names) - 1)
    known = names[row] == ours
    if not known.all():
        missing = ours[~known].unique().tolist()
        raise UserError(
            f"{what}: {len(missing)} of the queries' are not in the gallery, first {missing[0]}; take them out"
        )
    order = number.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    within = torch.arange(len(theirs), device=device) - starts[number[order]]
    table = torch.full((len(names), int(counts.max())), -1, device=device)
    table[number[order], within] = order
    return table, row


def _ordered(levels: Tensor) -> Tensor:
    """Each row ascending. On a CPU by numpy, whose vector instructions sort whole numbers ten times as fast."""
    if levels.device.type == "cpu":
        return torch.from_numpy(np.sort(levels.numpy(), axis=1))
    return levels.sort(1).values


def _right(levels: Tensor, places: Tensor) -> Tensor:
    """Levels (B, G), places of what is right (B, R) padded with −1 → its levels (B, R) ascending, padded at the end."""
    found = levels.gather(1, places.clamp(min=0))
    return _ordered(found.masked_fill_(places < 0, torch.iinfo(torch.int32).max))


def _around(rows: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending rows (B, G), levels (B, L) → how many of a row are below each level, and how many are on it."""
    below, up_to = (torch.searchsorted(rows, levels, right=right) for right in (False, True))
    return below, up_to - below


def _average_precision(ties: tuple[Tensor, ...], k: int, harmonic: Tensor) -> Tensor:
    """(B,) float64, expected over ties. ties: (B, R) each, for what is right: how many of the gallery are nearer, how
    many are as far, and the same two counts of what is right alone; as far is 0 for padding.

    Within a tie of n of which r are right, behind N of which M are right, place j is right with probability r/n, and
    then M + 1 + (j - 1)(r - 1)/(n - 1) of the N + j up to it are. Summed over its places up to k, by harmonic numbers
    (G + 1,); each of the r has an equal share of the sum.
    """
    before, size, ours_before, ours = ties
    inside = (k - before).clamp(min=0).minimum(size)  # places of the tie that count
    slope = (ours - 1) / (size - 1).clamp(min=1).double()
    reciprocals = torch.where(inside == 1, 1 / (before + 1.0).double(), harmonic[before + inside] - harmonic[before])
    precision = slope * inside + (ours_before + 1 - slope * (before + 1)) * reciprocals
    there = size > 0
    return (precision / size.clamp(min=1) * there).sum(1) / there.sum(1).clamp(max=k)


def _first(ranked: Tensor, right: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Levels of the gallery (B, G) and of what is right (B, R), ascending → (B,) float64 each, expected over ties: the
    share of the first k that is right, and the chance that any of them is."""
    at = ranked[:, k - 1 : k].contiguous()
    (before, size), (ours_before, ours) = ((n[:, 0].double() for n in _around(rows, at)) for rows in (ranked, right))
    drawn = k - before  # of the tie that place k is in
    none = torch.where(size - ours >= drawn, _log_choose(size - ours, drawn) - _log_choose(size, drawn), -torch.inf)
    return (ours_before + ours * drawn / size) / k, torch.where(ours_before > 0, 1.0, -torch.expm1(none))


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


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
    """Scores by name of an exact search of the gallery (G, D) by the queries (Q, D), each expected over ties.

    classes, instances: labels of queries (Q,) and gallery (G,), whole numbers. recall@k: is the query's instance among
    the k nearest? class_precision@k: share of the k that are of its class; class_recall@k: is any of them?
    class_mAP: average precision over the whole gallery, class_mAP@k: over the first k, divided by min(k, number of
    the class in the gallery). Some papers divide by those found among the k, which is higher. Memory grows with
    block · G. Raises UserError on unknown names, a gallery smaller than k, and queries without a match.
    """
    _check_features(queries, gallery, block)
    queries, gallery = queries.float(), gallery.to(queries.device, torch.float32)
    wanted = {name: _parse(name, len(gallery)) for name in names}
    sizes = (len(queries), len(gallery))
    of = {name: "classes" if kind.startswith("class") else "instances" for name, (kind, _) in wanted.items()}
    given = {"classes": classes, "instances": instances}
    truth = {what: _relevant(given[what], what, sizes, queries.device) for what in dict.fromkeys(of.values())}
    averaged = {of[name] for name, (kind, _) in wanted.items() if kind == "class_mAP"}
    scores = {name: torch.empty(len(queries), dtype=torch.float64) for name in names}
    tied = torch.zeros((), dtype=torch.float64, device=queries.device)
    ranks = torch.arange(1, len(gallery) + 1, dtype=torch.float64, device=queries.device)
    harmonic = torch.cat([ranks.new_zeros(1), (1 / ranks).cumsum(0)])
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        levels = _levels(queries[rows], gallery)
        right = {what: _right(levels, table[row[rows]]) for what, (table, row) in truth.items()}
        ranked = _ordered(levels)
        ties = {what: (*_around(ranked, own), *_around(own, own)) for what, own in right.items() if what in averaged}
        tied += (ranked[:, 1:] == ranked[:, :-1]).count_nonzero()
        for name, (kind, k) in wanted.items():
            if kind == "class_mAP":
                found = _average_precision(ties[of[name]], k, harmonic)
            else:
                found = _first(ranked, right[of[name]], k)[kind != "class_precision"]
            scores[name][rows] = found.cpu()
    share = tied.item() / max(len(queries) * (len(gallery) - 1), 1)
    out = {}
    for name in names:
        table, row = truth[of[name]]
        expected = chance(name, (table >= 0).sum(1)[row], len(gallery)).mean().item()
        out[name] = Score(scores[name].mean().item(), expected, scores[name], share)
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
