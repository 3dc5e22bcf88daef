"""Scores of a run with what makes them readable: n, interval, chance; and which of them is the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sketchlab import stats
from sketchlab.metrics import declared
from sketchlab.report.examples import Examples, examples, groups_of, pattern_of
from sketchlab.report.read import Run, numbers

SPLITS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Score:
    """One number of one split. low, high: 95% interval, None where the files do not allow one."""

    split: str
    metric: str
    value: float
    n: int | None  # images, or queries
    low: float | None
    high: float | None
    method: str  # Wilson, Wilson-t (of scores between 0 and 1), Student's t, cluster-robust or ""
    chance: float | None
    declared: declared.Score
    groups: int | None = None  # objects that the samples show, where several show the same

    @property
    def key(self) -> str:
        return f"{self.split}/{self.metric}"


def where(split: str) -> str:
    """A split in words; val_asked is what a generator was asked for on val."""
    name = split.removesuffix("_asked")
    return SPLITS.get(name, name) + (", asked of the generator" if name != split else "")


def text(score: declared.Score, value: float | None, digits: int = 3) -> str:
    """A value as its score is declared: .843 for shares, four significant digits for everything else."""
    if score.is_share or value is None or not np.isfinite(value):
        return share(value, digits)
    return f"{value:.4g}"


def share(value: float | None, digits: int = 3) -> str:
    """.843"""
    if value is None:
        return "–"
    return f"{value:.{digits}f}".replace("0.", ".", 1) if np.isfinite(value) else str(value)


def direction(score: declared.Score) -> str:
    """ "lower is better", or "" where larger is or neither."""
    return "lower is better" if score.better == "smaller" else ""


def interval_text(score: Score) -> str:
    if score.low is None or score.high is None:
        return ""
    digits = 2 if score.high - score.low >= 0.05 else 3
    method = score.method + (f", {score.groups} objects," if score.groups else "")
    low, high = (text(score.declared, value, digits) for value in (score.low, score.high))
    return f"95% {method} [{low}, {high}]"


def chance(run: Run, split: str, metric: str) -> float | None:
    """What guessing gives: from chance_<split>.json, else as declared, by the number of classes."""
    known = run.document("chance", split)
    if metric in known:
        return float(known[metric])
    guesses, by, _ = run.declared[metric].chance.partition("/classes")
    return min(1.0, int(guesses) / len(run.classes)) if by and len(run.classes) > 1 else None


BLIND = "not informative here"


def calibration(run: Run, split: str, metric: str) -> dict[str, Any]:
    """What real images, noise and one grey image score, of a generator's score; {} where the run has not asked."""
    found = run.document("calibration", split).get(metric)
    return found if isinstance(found, dict) else {}


def calibration_text(run: Run, split: str, metric: str) -> str:
    """real 0.0012 ± 0.0003, noise 0.31, grey 0.004: in a few words; "" where it is not known."""
    known = calibration(run, split, metric)
    if not known:
        return ""
    spread = f" ± {known['real_sd']:.2g}" if known["real_sd"] else ""
    line = f"real {known['real']:.3g}{spread}, noise {known['noise']:.3g}, grey {known['grey']:.3g}"
    return line if known["informative"] else f"{line}: {BLIND}"


def sample_size(run: Run, key: str) -> int | None:
    """n of a score: images (queries) of its split, or as many of them as it was measured on; None for training."""
    split, metric = key.split("/", 1)
    measured = run.declared[metric].measured
    if split == "train":
        return None
    on = run.document("quality", split).get(measured, {}) if measured else {}
    return on.get("n_real") if on else count(run, split)


def count(run: Run, split: str) -> int | None:
    """How many images (queries) a split has."""
    if (n := run.split(split).get("n")) is not None:
        return int(n)
    return len(run.predictions(split)) if split in run.predicted() else None


def per_class(run: Run, split: str) -> dict[str, int]:
    """How many samples of each class a split has; {} when data.json does not say."""
    found = run.split(split).get("per_class") or {}
    pairs = found.items() if isinstance(found, dict) else zip(run.classes, found, strict=False)
    return {str(name): int(n) for name, n in pairs}


def units(run: Run, split: str) -> int | None:
    """How many independent samples a split has: the objects its samples show, such as photos that were drawn."""
    known = run.split(split).get("groups")
    if known is not None:
        return int(known)
    groups = _groups(run, split)
    return count(run, split) if groups is None else len(np.unique(groups))


def _groups(run: Run, split: str) -> np.ndarray | None:
    """(n,) object of each row of the predictions, or None."""
    if run.array(f"{split}_groups") is None and not pattern_of(run, split):
        return None
    found = run.predictions(split) if split in run.predicted() else pd.DataFrame()
    column = next((c for c in ("query", "id") if c in found), None)
    return groups_of(run, split, found[column].tolist()) if column else None


def effective_n(run: Run, split: str) -> float:
    """How many independent samples a split's accuracy is worth: n, or less where several show the same object."""
    n, objects = count(run, split) or 0, units(run, split) or 0
    if objects == n:
        return float(n)
    kept = examples(run, f"{split}/accuracy")
    return stats.effective_n(kept.values, kept.groups) if isinstance(kept, Examples) and n else float(objects)


def score(run: Run, key: str, value: float) -> Score:
    """A final metric with n and interval. Training scores get none: they are averaged while the weights move."""
    split, metric = key.split("/", 1)
    guess, kind = chance(run, split, metric), run.declared[metric]
    per_query = run.array(f"{split}_per_query_{metric}")
    if per_query is not None and per_query.ndim == 1 and len(per_query) and np.isfinite(per_query).all():
        values = np.asarray(per_query, dtype=float)
        return _of_samples(split, metric, value, values, _groups(run, split), guess, kind)
    n = sample_size(run, key)
    if kind.interval != "wilson" or not n or not np.isfinite(value):
        return Score(split, metric, value, n, None, None, "", guess, kind)
    objects = units(run, split) or n
    if objects == n:
        return Score(split, metric, value, n, *stats.wilson(round(value * n), n), "Wilson", guess, kind)
    kept = examples(run, key)
    if isinstance(kept, Examples):
        return _of_samples(split, metric, value, kept.values, kept.groups, guess, kind)
    low, high = stats.wilson(round(value * objects), objects)  # as if all samples of an object were alike
    return Score(split, metric, value, n, low, high, "Wilson", guess, kind, objects)


def _of_samples(
    split: str,
    metric: str,
    value: float,
    values: np.ndarray,
    groups: np.ndarray | None,
    guess: float | None,
    kind: declared.Score,
) -> Score:
    n, objects = len(values), None if groups is None else len(np.unique(groups))
    if values.min() < 0 or values.max() > 1:  # what a score of pairs is the mean of
        low, high = (kind.clip(float(v)) for v in stats.interval(stats.estimate_mean(values[None], groups)))
        method = "Student's t" if groups is None else "cluster-robust"
        return Score(split, metric, value, n, low, high, method, guess, kind, objects)
    low, high = stats.share(values, groups)
    hits = np.isin(values, (0, 1)).all()
    method = "cluster-robust" if groups is not None else "Wilson" if hits else "Wilson-t"
    return Score(split, metric, value, n, low, high, method, guess, kind, objects)


def scores(run: Run) -> list[Score]:
    """Every final score, the result first, then test, val and train, each in the order in which they are declared."""
    final = run.final()
    first = primary_key(run)
    order = {"test": 0, "val": 1, "train": 3}

    def place(key: str) -> tuple:
        return key != first, order.get(key.split("/")[0], 2), run.declared.place(key), key

    keys = sorted((key for key in final if "/" in key), key=place)
    return [score(run, key, final[key]) for key in keys]


def monitor(run: Run) -> str:
    """The metric the best checkpoint was chosen by; "" while the run has not said."""
    return next((key for key in run.status.get("best") or {} if "/" in key), "")


def watched(run: Run) -> str:
    """As monitor; while the run has not said, the first score of val in the table that has a direction."""
    keys = sorted((key for key in run.metrics.columns if key.startswith("val/")), key=run.declared.place)
    return monitor(run) or next((key for key in keys if run.declared[key].sign), "")


def primary_key(run: Run) -> str | None:
    """The result: on test if there is a test split, else on val after the last epoch. Of the scores that are better in
    one direction it is what the best epoch was chosen by, else the first that the pipeline declares."""
    final, chosen = run.final(), monitor(run).split("/", 1)[-1]
    for split in ("test", "val", "train"):
        found = [key for key in final if key.startswith(f"{split}/") and run.declared[key].sign]
        if found:
            return min(found, key=lambda key: (key != f"{split}/{chosen}", run.declared.place(key), key))
    return None


def brief(run: Run) -> dict[str, float]:
    """The watched score and the result, for one line of a table; without a test split the best epoch's beside it."""
    final = run.final()
    out = {key: final[key] for key in (monitor(run), primary_key(run)) if key in final}
    chosen = best(run)
    if chosen is not None and not run.tested:
        out[f"{chosen[0]}, best epoch"] = chosen[2]
    return out


def primary(run: Run) -> Score | None:
    key = primary_key(run)
    return score(run, key, run.final()[key]) if key else None


def last_epoch(run: Run) -> float | None:
    return float(numbers(run.metrics, "epoch").max()) if "epoch" in run.metrics and len(run.metrics) else None


def best(run: Run) -> tuple[str, float, float, int] | None:
    """(key, epoch, value, evaluations) of the best epoch on val: optimistic. None where there was nothing to choose."""
    key = watched(run)
    epochs, values = run.curve(key)
    if len(values) < 2:
        return None
    if monitor(run):
        return key, float(run.status["best"]["epoch"]), float(run.status["best"][key]), len(values)
    place = max(range(len(values)), key=lambda i: (run.declared[key].order(values[i]), i))
    return key, float(epochs[place]), float(values[place]), len(values)


def stability(run: Run, key: str, last: int = 10) -> dict[str, float] | None:
    """How much a validation curve moved over its last evaluations, at most half: {epochs, mean, std, low, high}."""
    values = run.curve(key)[1]
    tail = values[-min(last, max(len(values) // 2, 1)) :]
    if len(tail) < 3:
        return None
    moved = {"mean": tail.mean(), "std": tail.std(ddof=1), "low": tail.min(), "high": tail.max()}
    return {"epochs": float(len(tail)), **{name: float(value) for name, value in moved.items()}}


def class_names(run: Run, n: int) -> list[str]:
    """Names of the n classes of a confusion matrix; their numbers when data.json does not tell."""
    return run.classes if len(run.classes) == n else [str(i) for i in range(n)]


def recalls(run: Run, split: str) -> pd.DataFrame | None:
    """Per class: n, hits, accuracy with its interval, and the class it is most often taken for."""
    matrix = run.array(f"{split}_confusion")
    if matrix is None:
        return None
    matrix = np.asarray(matrix)
    names = class_names(run, len(matrix))
    by_class = _by_class(run, split)
    rows = []
    for i, name in enumerate(names):
        n, hits = int(matrix[i].sum()), int(matrix[i, i])
        wrong = np.where(np.arange(len(matrix)) == i, 0, matrix[i])
        low, high = by_class.get(name) or (stats.wilson(hits, n) if n else (0.0, 1.0))
        taken = names[int(wrong.argmax())] if wrong.any() else ""
        rows.append(
            (name, n, hits, hits / n if n else np.nan, low, high, taken, int(wrong.max()), int(matrix[:, i].sum()))
        )
    columns = ["class", "n", "hits", "accuracy", "low", "high", "taken_for", "times", "predicted"]
    return pd.DataFrame(rows, columns=columns).sort_values(["accuracy", "class"], kind="stable", ignore_index=True)


def _by_class(run: Run, split: str) -> dict[str, stats.Interval]:
    """Class → interval of its recall, where samples show the same objects; {} where each shows its own."""
    groups = _groups(run, split)
    if groups is None:
        return {}
    table = run.predictions(split)
    right = (table["label"] == table["prediction"]).to_numpy(dtype=float)
    places = {str(name): np.flatnonzero(table["label"] == name) for name in table["label"].unique()}
    return {name: stats.share(right[at], groups[at]) for name, at in places.items()}


def confused(run: Run, split: str, top: int = 15) -> pd.DataFrame:
    """The pairs of classes most often confused, one row per direction: truth, prediction, times, of."""
    matrix = run.array(f"{split}_confusion")
    if matrix is None:
        return pd.DataFrame(columns=["truth", "prediction", "times", "of"])
    matrix = np.asarray(matrix)
    names = class_names(run, len(matrix))
    off = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-off, axis=None, kind="stable")[:top]
    pairs = [divmod(int(place), len(matrix)) for place in order if off.flat[place] > 0]
    return pd.DataFrame(
        [(names[i], names[j], int(off[i, j]), int(matrix[i].sum())) for i, j in pairs],
        columns=["truth", "prediction", "times", "of"],
    )


def mistakes(run: Run, split: str) -> pd.DataFrame | None:
    """Wrong predictions, the most confident first: place (row of the file), id, label, prediction, wrong, right.

    wrong: the probability given to the predicted class, right: to the true one; NaN where the file has none.
    """
    table = run.predictions(split) if split in run.predicted() else pd.DataFrame()
    if "prediction" not in table:
        return None
    given = table.filter(regex="^p_")
    column = {name: i for i, name in enumerate(given.columns)}
    shares = np.c_[given.to_numpy(dtype=float), np.full(len(table), np.nan)]  # the last column: no probability known
    out = {"place": np.arange(len(table)), **{key: table[key].to_numpy() for key in ("id", "label", "prediction")}}
    for name, source in (("wrong", "prediction"), ("right", "label")):
        out[name] = shares[np.arange(len(table)), [column.get(f"p_{value}", -1) for value in out[source]]]
    found = pd.DataFrame(out)[out["prediction"] != out["label"]]
    return found.iloc[np.argsort(-np.asarray(found["wrong"], dtype=float), kind="stable")]
