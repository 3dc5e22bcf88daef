"""One search under every published definition of its scores, with the exact chance of each: report RUN --protocols.

Published code for retrieval of classes never seen measures four things under the same names. All take the embeddings
that the run kept, rank all photos of the split by Euclidean distance for every sketch, and average over sketches:

- sem-pcyc (Dutta and Akata 2019): scikit-learn's average precision; mAP@200 of the 200 nearest alone, divided by the
  hits found there (none: 0). Tied photos share one place, the last of the tie; the sort decides which are in the k.
- SAKE (Liu et al. 2019) and ZSE-SBIR (Lin et al. 2023): VOC's, where the precision of a hit is the largest one from
  there on; mAP@200 divided by min(200, photos of the class). Ties stand as the sort leaves them: here in the gallery's
  order. SAKE divides P@k by k; ZSE-SBIR looks at the first min(k, photos of the class) and divides by as many.
- Sketch_LVM (Sain et al. 2023): torchmetrics' average precision in a gallery of one random photo for each sketch, of
  its class, so that photos repeat; ties as SAKE's. Here the mean over DRAWS galleries. (Its scores are distances times
  -1; torchmetrics of today counts no photo whose score is not above 0, so there they would have to be shifted.)
- sketchlab: the plain average precision; mAP@200 divided by min(200, photos of the class); the mean over all orders of
  ties (metrics/retrieval.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import hypergeom

from sketchlab.errors import UserError
from sketchlab.report import page
from sketchlab.report.read import Run, read
from sketchlab.storage.files import atomic

Array = NDArray[Any]
K = (200, 100)  # of mAP@200 and P@200, of P@100
DRAWS = 5
BLOCK = 128  # sketches at a time
CELLS = 2e8  # of the lattice of a VOC chance: up to so many it is summed exactly
GRID = 400  # thresholds beyond that
CODES = {
    "sem-pcyc": "tied photos share the last place of the tie",
    "SAKE": "ties in the gallery's order",
    "ZSE-SBIR": "ties in the gallery's order",
    "Sketch_LVM": "ties in the gallery's order",
    "sketchlab": "mean over all orders of ties",
}


# --- definitions. right (B, G): which photos are of the sketch's class, the nearest first; far (B, G): their distances


def average_precision(right: Array, n_right: Array) -> Array:
    """(B,) sum of the precisions at the hits over n_right (B,); 0 where there is no hit."""
    precision = right.cumsum(1) / np.arange(1, right.shape[1] + 1)
    return (precision * right).sum(1) / np.maximum(n_right, 1)


def scikit_average_precision(right: Array, far: Array) -> Array:
    """(B,) with one threshold for equal distances, over the hits that are in the list."""
    last = np.ones(far.shape, bool)
    last[:, :-1] = far[:, 1:] != far[:, :-1]
    places = np.where(last, np.arange(far.shape[1]), far.shape[1])
    ends = np.minimum.accumulate(places[:, ::-1], 1)[:, ::-1]
    precision = right.cumsum(1) / np.arange(1, far.shape[1] + 1)
    return (np.take_along_axis(precision, ends, 1) * right).sum(1) / np.maximum(right.sum(1), 1)


def voc_average_precision(right: Array, n_right: Array) -> Array:
    """(B,) with the precision of a hit the largest one from there on."""
    precision = right.cumsum(1) / np.arange(1, right.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    return (envelope * right).sum(1) / n_right


def over_ties(right: Array, far: Array, n_right: Array, k: int) -> tuple[Array, Array]:
    """(B,) average precision and precision of the first k, expected when photos equally far are in random order.

    In a tie of m photos, r of them right, after b photos with h right, place b + i is right with probability r/m, and
    then h + 1 + (i - 1)(r - 1)/(m - 1) of the photos up to it are (McSherry and Najork 2008).
    """
    places = np.arange(1, right.shape[1] + 1)
    first = np.ones(far.shape, bool)
    first[:, 1:] = far[:, 1:] != far[:, :-1]
    group = first.cumsum(1) - 1 + (np.arange(len(far)) * far.shape[1])[:, None]
    size, hits = (np.bincount(group.ravel(), w, far.size)[group] for w in (None, right.ravel().astype(float)))
    before = np.maximum.accumulate(np.where(first, places - 1, 0), 1)
    hits_before = np.take_along_axis(np.pad(right.cumsum(1), ((0, 0), (1, 0))), before, 1)
    inside = hits_before + 1 + (places - before - 1) * (hits - 1) / np.maximum(size - 1, 1)
    share = hits / size
    precision = (share * inside / places)[:, :k].sum(1) / np.minimum(n_right, k)
    return precision, share[:, :k].mean(1)


def scores(sketches: Array, photos: Array, of_sketches: Array, of_photos: Array) -> dict[tuple[str, str], float]:
    """(code, score) → value. Embeddings (n, D), (G, D), class labels (n,), (G,); @k where there are k photos."""
    n_photos = len(photos)
    depths = [k for k in K if k <= n_photos]
    found: dict[tuple[str, str], list[Array]] = {}

    def add(code: str, score: str, values: Array) -> None:
        found.setdefault((code, score), []).append(values)

    for right, far, levels in _ranked(sketches, photos, of_sketches, of_photos):
        n_right = right.sum(1)
        add("sem-pcyc", "mAP@all", scikit_average_precision(right, far))
        for code in ("SAKE", "ZSE-SBIR"):
            add(code, "mAP@all", voc_average_precision(right, n_right))
        add("sketchlab", "mAP@all", over_ties(right, levels, n_right, n_photos)[0])
        for k in depths:
            head, found_by = right[:, :k], over_ties(right, levels, n_right, k)
            if k == K[0]:
                add("sem-pcyc", f"mAP@{k}", scikit_average_precision(head, far[:, :k]))
                for code in ("SAKE", "ZSE-SBIR"):
                    add(code, f"mAP@{k}", voc_average_precision(head, np.minimum(n_right, k)))
                add("sketchlab", f"mAP@{k}", found_by[0])
            for code in ("sem-pcyc", "SAKE"):
                add(code, f"P@{k}", head.mean(1))
            few = np.minimum(n_right, k)
            add("ZSE-SBIR", f"P@{k}", np.take_along_axis(right.cumsum(1), few[:, None] - 1, 1)[:, 0] / few)
            add("sketchlab", f"P@{k}", found_by[1])
    for chosen in galleries(of_sketches, of_photos):
        for right, _, _ in _ranked(sketches, photos[chosen], of_sketches, of_photos[chosen]):
            add("Sketch_LVM", "mAP@all", average_precision(right, right.sum(1)))
    return {key: float(np.concatenate(values).mean()) for key, values in found.items()}


def galleries(of_sketches: Array, of_photos: Array) -> list[Array]:
    """DRAWS times (n,) places of photos, for each sketch one of its class."""
    places = {label: np.flatnonzero(of_photos == label) for label in np.unique(of_sketches)}
    draws = [np.random.default_rng(draw) for draw in range(DRAWS)]
    return [np.array([rng.choice(places[label]) for label in of_sketches]) for rng in draws]


def _ranked(
    sketches: Array, photos: Array, of_sketches: Array, of_photos: Array
) -> Iterator[tuple[Array, Array, Array]]:
    """Blocks of (right, distances, distances as metrics/retrieval.py calls them equal), the nearest first."""
    for start in range(0, len(sketches), BLOCK):
        block = sketches[start : start + BLOCK]
        far = cdist(block, photos)
        order = far.argsort(1, kind="stable")
        right = (of_photos == of_sketches[start : start + BLOCK, None])[np.arange(len(block))[:, None], order]
        far = np.take_along_axis(far, order, 1)
        size = np.linalg.norm(block, axis=1, keepdims=True).astype(np.float32)
        above = np.where(size > 0, np.ldexp(np.float32(1), np.frexp(size)[1]), size)
        levels = (far.astype(np.float32) + above.astype(np.float32)).view(np.int32) >> 3
        yield right, far, levels


# --- chance: the expectation when the gallery is in random order


def plain_chance(n_right: int, n: int, k: int) -> float:
    """Of the average precision of the first k of n photos, divided by min(k, n_right)."""
    harmonic = (1 / np.arange(1, k + 1)).sum()
    others = (n_right - 1) / max(n - 1, 1)
    return float(n_right / (n * min(k, n_right)) * (harmonic + (k - harmonic) * others))


def found_chance(n_right: int, n: int, k: int) -> float:
    """Of the average precision divided by the hits among the k: given h of them, they are in random order there."""
    hits = np.arange(1, min(k, n_right) + 1)
    return float(
        sum(p * plain_chance(int(h), k, k) for h, p in zip(hits, hypergeom.pmf(hits, n, n_right, k), strict=True))
    )


def voc_chance(n_right: int, n: int, k: int) -> tuple[float, float]:
    """(expectation, half the width of what is certain) of VOC's average precision of the first k, over min(k, n_right).

    The integral over t of the expected share of hits with a precision above t from there on, by walks over (place,
    hits so far) that stay at or below t times the place. Where feasible t is every fraction, and the integral exact;
    else it is one of GRID values, which bound it from both sides.
    """
    most = min(k, n_right, int(hypergeom.isf(1e-14, n, n_right, k)) + 1)
    hits, places = np.arange(most + 1), np.arange(1, k + 1)
    fractions = np.unique(np.round((hits / places[:, None])[hits <= places[:, None]], 14))
    exact = len(fractions) * k * len(hits) <= CELLS
    at = fractions if exact else n_right / n + (1 - n_right / n) * np.linspace(0, 1, GRID) ** 2
    weight = hypergeom.pmf(hits, n, n_right, places[:, None]) * hits / places[:, None]  # place is a hit, the s-th
    below = np.concatenate([_below(part, weight, n_right, n) for part in np.array_split(at, -(-len(at) // 256))])
    above = (weight.sum() - below) / min(k, n_right)
    steps = np.diff(at)
    start = at[0] * weight.sum() / min(k, n_right)  # below the first threshold every hit counts
    high, low = start + (steps * above[:-1]).sum(), start + (steps * above[1:]).sum()
    return (float(high), 0.0) if exact else (float((high + low) / 2), float((high - low) / 2))


def _below(at: Array, weight: Array, n_right: int, n: int) -> Array:
    """(T,) thresholds → (T,) expected hits with no precision above the threshold from there on, to the last place.

    weight (k, S): probability that a place is a hit, the s-th. Backwards over the places: the share of walks from
    (place, s) on that stay allowed.
    """
    hits = np.arange(weight.shape[1])
    below, stay = np.zeros(len(at)), np.ones((len(at), len(hits)))
    for place in range(len(weight), 0, -1):
        stay *= hits <= (at * place)[:, None] + 1e-9
        below += stay @ weight[place - 1]
        next_hit = np.clip((n_right - hits) / (n - place + 1), 0, 1)
        after_hit = np.pad(stay[:, 1:], ((0, 0), (0, 1)))
        stay *= 1 - next_hit
        stay += next_hit * after_hit
    return below


def chances(of_sketches: Array, of_photos: Array) -> dict[tuple[str, str], tuple[float, float]]:
    """(code, score) → expectation, and half the width of what is certain (0: exact)."""
    labels, weight = np.unique(of_sketches, return_counts=True)
    sizes, n = [int((of_photos == label).sum()) for label in labels], len(of_photos)

    def mean(of: Callable[[int], Any]) -> Array:
        each = {size: of(size) for size in set(sizes)}
        return np.average([np.atleast_1d(each[size]) for size in sizes], axis=0, weights=weight)

    out: dict[tuple[str, str], tuple[float, float]] = {}
    for name, k in (("all", n), *((str(k), k) for k in K if k <= n)):
        if name == "all" or k == K[0]:
            plain, voc = (
                float(mean(lambda r, k=k: plain_chance(r, n, k))[0]),
                mean(lambda r, k=k: voc_chance(r, n, k)),
            )
            out["sem-pcyc", f"mAP@{name}"] = float(mean(lambda r, k=k: found_chance(r, n, k))[0]), 0.0
            out |= {(code, f"mAP@{name}"): (float(voc[0]), float(voc[1])) for code in ("SAKE", "ZSE-SBIR")}
            out["sketchlab", f"mAP@{name}"] = plain, 0.0
        if name != "all":
            share = float(mean(lambda r: r / n)[0])
            out |= {(code, f"P@{k}"): (share, 0.0) for code in CODES if code != "Sketch_LVM"}
    pairs = [plain_chance(int(count), len(of_sketches), len(of_sketches)) for count in weight]
    out["Sketch_LVM", "mAP@all"] = float(np.average(pairs, weights=weight)), 0.0
    return out


# --- the table


def table(sketches: Array, photos: Array, of_sketches: Array, of_photos: Array) -> pd.DataFrame:
    """A row a code and score: score, code, value, chance, chance_error (half a width; 0: exact), ties."""
    if lonely := set(np.unique(of_sketches)) - set(np.unique(of_photos)):
        raise UserError(f"--protocols: {len(lonely)} classes of sketches have no photo; no definition covers them")
    found, guess = scores(sketches, photos, of_sketches, of_photos), chances(of_sketches, of_photos)
    keys = sorted(
        found, key=lambda key: (("mAP@all", "mAP@200", "P@100", "P@200").index(key[1]), [*CODES].index(key[0]))
    )
    columns = ("score", "code", "value", "chance", "chance_error", "ties")
    rows = [(score, code, found[code, score], *guess[code, score], CODES[code]) for code, score in keys]
    return pd.DataFrame(rows, columns=columns)


def write(folder: Path) -> Path:
    """protocols_<split>.csv in the folder of a retrieval run; prints its lines. Raises UserError without embeddings."""
    run = read(folder)
    for split in ("test", "val"):
        names = ("sketch_embeddings", "photo_embeddings", "sketch_labels", "photo_labels")
        arrays = [run.array(f"{split}_{name}") for name in names]
        if all(array is not None for array in arrays):
            break
    else:
        raise UserError(
            f"--protocols: {folder} kept no embeddings; expected a finished retrieval run (of an older one, "
            f"python -m sketchlab.evaluate {folder} writes a folder that has them)"
        )
    made = table(*(np.asarray(array) for array in arrays))
    path = folder / f"protocols_{split}.csv"
    with atomic(path) as temporary:
        made.to_csv(temporary, index=False)
    print("\n".join(_lines(made, split)), flush=True)
    return path


def _lines(made: pd.DataFrame, split: str) -> list[str]:
    out = [f"{split}: one set of embeddings, {made['code'].nunique()} published definitions"]
    for row in made.to_dict("records"):
        chance = f"{row['chance']:.4f}" + f" ± {row['chance_error']:.4f}" * (row["chance_error"] >= 5e-5)
        out.append(f"  {row['score']:<8} {row['code']:<11} {row['value']:.4f}   chance {chance}   {row['ties']}")
    return [*out, *spreads(made)]


def spreads(made: pd.DataFrame) -> list[str]:
    """How far the definitions lie apart, a line a score."""
    out = []
    for score, rows in made.groupby("score", sort=False):
        low, high = rows.loc[rows["value"].idxmin()], rows.loc[rows["value"].idxmax()]
        gap = 100 * (high["value"] - low["value"])
        if gap < 0.05:
            out.append(f"{score}: the same by all {len(rows)}")
            continue
        out.append(
            f"{score}: {gap:.1f} points apart ({low['code']} {low['value']:.3f}, {high['code']} {high['value']:.3f})"
        )
    return out


def section(run: Run) -> str:
    """The table on the page of a run; "" where there is none."""
    out = ""
    for path in sorted(run.folder.glob("protocols_*.csv")):
        made = pd.read_csv(path)
        rows = [
            (r["score"], r["code"], f"{r['value']:.4f}", f"{r['chance']:.4f}", r["ties"])
            for r in made.to_dict("records")
        ]
        split = path.stem.removeprefix("protocols_")
        out += page.paragraph(
            f"The same embeddings of {split}, measured as published code measures them; chance is what a gallery in "
            "random order gives on average. " + ". ".join(spreads(made)) + "."
        )
        out += page.table(("score", "code", "value", "chance", "ties"), rows, ("value", "chance"))
    return out
