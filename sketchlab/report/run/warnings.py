"""What a reader must know before believing the numbers, as records. Each check looks at one thing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from sketchlab import stats
from sketchlab.report import scores
from sketchlab.report.read import Run, column
from sketchlab.report.run import gan as generator
from sketchlab.report.sentences import Sentence, Value, render, unique

TINY = 100  # samples in an evaluated split below which one of them moves the score by more than a point
NEAR = 0.02  # a loss within this share of ln C counts as equal to it
RISE = 1.25  # the last validation loss over the lowest one, from which on it is called overfitting
UNEQUAL = 3  # commonest class over rarest class


def find(run: Run) -> list[Sentence]:
    """All warnings of a run, the worst first."""
    checks = (_state, _not_finite, _leak, _nothing_trains, _chance, _one_class, _best_of_many, _tiny, _overfit)
    more = (_resumed, _written, generator.warnings, _imbalance, _disagree)
    found = [one for check in (*checks, *more) for one in run.attempt("a warning", lambda: list(check(run)), [])]  # noqa: B023
    return unique([*(Sentence("note", note) for note in run.notes), *found])


def grave(run: Run) -> Iterator[Sentence]:
    """Of the warnings of a run those that make any comparison with it doubtful, of what is read quickly."""
    for check in (_not_finite, _leak, _nothing_trains, _one_class, _resumed):
        yield from check(run)


def lines(run: Run) -> list[str]:
    """As find, in words."""
    return [render(found) for found in find(run)]


def _where(split: str) -> str:
    return scores.SPLITS.get(split, split)


def _state(run: Run) -> Iterator[Sentence]:
    if run.state in ("failed", "interrupted", "running", "unknown"):
        error = str(run.status.get("message") or "").strip()
        yield Sentence(run.state, run.name, {"message": Sentence("message", error.splitlines()[0]) if error else None})


def _resumed(run: Run) -> Iterator[Sentence]:
    for entry in run.status.get("resumed") or []:
        before, after = entry["before"], entry["after"]
        changes = ", ".join(f"{key} ({before[key]} → {after[key]})" for key in after)
        yield Sentence("resumed", f"step {entry['step']}", {"changes": changes})


def _not_finite(run: Run) -> Iterator[Sentence]:
    for key in dict.fromkeys(key for row in run.evaluations for key in row):
        if "/" in key and (bad := int(np.isinf(column(run.evaluations, key)).sum())):
            yield Sentence("infinite", key, {"n": bad, "evaluations": len(run.evaluations)})
    for key, value in run.final().items():
        if math.isnan(value):
            yield Sentence("not a number", key)


def _written(run: Run) -> Iterator[Sentence]:
    """What the evaluation itself found."""
    for part in (*scores.SPLITS, "model"):
        for kind, line in run.document("warnings", part).items():
            yield Sentence("written", f"{part}/{kind}", {"where": _where(part).capitalize(), "line": line})


def _leak(run: Run) -> Iterator[Sentence]:
    notes = run.data.get("notes") or []
    yield from (Sentence("note", str(note)) for note in notes if str(note).startswith("LEAK"))


def _nothing_trains(run: Run) -> Iterator[Sentence]:
    parameters = run.env.get("parameters") or {}
    if parameters.get("total") and parameters.get("trainable") == 0:
        yield Sentence("nothing trains", run.name)


def _chance(run: Run) -> Iterator[Sentence]:
    for found in scores.scores(run):
        if found.metric == "accuracy" and found.chance is not None and found.low is not None:
            yield from _against_chance(run, found, found.chance, found.low, found.high or 0.0)
    first = scores.primary(run)
    if first is None or first.metric == "accuracy" or first.chance is None or None in (first.low, first.high):
        return
    if first.low <= first.chance <= first.high:  # type: ignore[operator]
        yield Sentence("guessing", first.key, _facts(run, first, first.chance))


def _facts(run: Run, found: scores.Score, chance: float) -> dict[str, Any]:
    """What a sentence on a score and chance states."""
    classes, guess = len(run.classes), Value(found.declared, chance)
    by_classes = found.declared.chance == "1/classes" and classes and math.isclose(chance, 1 / classes)
    kind = "chance by classes" if by_classes else "chance"
    return {
        "where": _where(found.split),
        "metric": found.metric,
        "value": Value(found.declared, found.value),
        "guess": Sentence(kind, found.key, {"classes": classes, "chance": guess}),
        "n": found.n,
    }


def _against_chance(run: Run, found: scores.Score, chance: float, low: float, high: float) -> Iterator[Sentence]:
    n_classes, facts = len(run.classes), _facts(run, found, chance)
    loss, level = run.final().get(f"{found.split}/loss", math.nan), math.log(max(n_classes, 1))
    if low <= chance <= high and abs(loss - level) <= NEAR * level:
        yield Sentence("nothing learnt", found.key, {**facts, "loss": loss, "level": level, "classes": n_classes})
    elif low <= chance <= high:
        yield Sentence("guessing", found.key, facts)
    elif high < chance:
        yield Sentence("below guessing", found.key, facts)
    elif found.value <= (share := _commonest(run, found.split)):
        yield Sentence("commonest class", found.key, {**facts, "commonest": share})


def _commonest(run: Run, split: str) -> float:
    """Share of the commonest true class; 0 when the run wrote no confusion matrix."""
    counts = run.array(f"{split}_confusion")
    return float(counts.sum(axis=1).max() / max(counts.sum(), 1)) if counts is not None else 0.0


def _one_class(run: Run) -> Iterator[Sentence]:
    for name, counts in run.arrays("*_confusion").items():
        used, n, split = np.flatnonzero(counts.sum(axis=0)), int(counts.sum()), name.removesuffix("_confusion")
        if len(used) == 1 < min(len(counts), n):
            answer = scores.class_names(run, len(counts))[int(used[0])]
            yield Sentence("one class", split, {"n": n, "where": _where(split), "answer": answer})


def _best_of_many(run: Run) -> Iterator[Sentence]:
    found = scores.best(run)
    if found is None or run.declared[found[0]].interval != "wilson":
        return
    key, epoch, value, epochs = found
    split, metric = key.split("/", 1)
    n, guess = scores.sample_size(run, key), scores.chance(run, split, metric)
    if not n or guess is None:
        return
    luck = stats.best_of_chance(n, guess, epochs)
    if value <= luck.q95:
        facts = {"epoch": epoch, "value": value, "where": _where(split), "epochs": epochs, "n": n}
        yield Sentence("best of many", key, {**facts, "mean": luck.mean, "q95": luck.q95})


def _tiny(run: Run) -> Iterator[Sentence]:
    final = run.final()
    for split in ("val", "test"):
        measured = [key for key in final if key.startswith(f"{split}/") and run.declared[key].sign]
        n, units = scores.count(run, split), scores.units(run, split)
        sizes = [size for key in measured if (size := scores.sample_size(run, key))]
        if sizes and n not in sizes:  # a generator's scores are measured on images of their own number
            n = units = max(sizes)
        if not sizes or not n or not units or units >= TINY:
            continue
        objects = Sentence("of objects", split, {"n": units}) if units < n else None
        facts = {"where": _where(split), "n": n, "objects": objects}
        if any(run.declared[key].interval == "wilson" for key in measured):  # a share of hits
            (low,), (high,) = stats.wilson_band([0.75], units)
            step, half = 100 / units, float(50 * (high - low))
            facts |= {"unit": "object" if units < n else "sample", "step": step, "half": half}
            yield Sentence("tiny, of hits", split, facts)
        else:
            yield Sentence("tiny", split, facts)


def _overfit(run: Run) -> Iterator[Sentence]:
    epochs, losses = run.curve("val/loss")
    if len(losses) < 5 or not losses[-1] > RISE * losses.min() > 0:
        return
    lowest = int(losses.argmin())
    facts = {"epoch": epochs[lowest], "low": losses[lowest], "last": losses[-1]}
    places, train = run.curve("train/loss")
    before = train[places <= epochs[lowest]]
    if len(before) and train[-1] > before[-1]:  # what gets worse on training samples too does not overfit
        yield Sentence("loss rose", "val/loss", {**facts, "before": before[-1], "train": train[-1]})
    else:
        sure = Sentence("too sure", "val/loss") if "p_" in _predicted(run) else None
        yield Sentence("overfits", "val/loss", {**facts, "sure": sure})


def _predicted(run: Run) -> set[str]:
    """How the columns of the predictions on val begin; p_ are a classifier's probabilities."""
    return {name[:2] for name in run.predictions("val")} if "val" in run.predicted() else set()


def _imbalance(run: Run) -> Iterator[Sentence]:
    counts = scores.per_class(run, "train").values()
    if len(counts) > 1 and max(counts) > UNEQUAL * max(min(counts), 1):
        named = any(f"{split}/accuracy" in run.final() for split in ("val", "test"))
        accuracy = Sentence("accuracy of unequal classes", "train") if named else None
        facts = {"rarest": min(counts), "commonest": max(counts), "accuracy": accuracy}
        yield Sentence("unequal classes", "train", facts)


def _disagree(run: Run) -> Iterator[Sentence]:
    final = run.final()
    for split in run.predicted():
        stated, wrong = final.get(f"{split}/accuracy"), scores.mistakes(run, split)
        n = len(run.predictions(split))
        if stated is None or wrong is None or not n:
            continue
        counted = 1 - len(wrong) / n
        if abs(counted - stated) > 0.5 / n + 1e-6:
            yield Sentence("other predictions", split, {"counted": counted, "value": stated})
