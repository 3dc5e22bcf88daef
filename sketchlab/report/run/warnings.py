"""What a reader must know before believing the numbers, in plain words. Each check looks at one thing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from sketchlab import stats
from sketchlab.report import scores
from sketchlab.report.read import Run, numbers
from sketchlab.report.run import gan as generator
from sketchlab.report.run import plots

TINY = 100  # samples in an evaluated split below which one of them moves the score by more than a point
NEAR = 0.02  # a loss within this share of ln C counts as equal to it
RISE = 1.25  # the last validation loss over the lowest one, from which on it is called overfitting
UNEQUAL = 3  # commonest class over rarest class


def find(run: Run) -> list[str]:
    """All warnings of a run, the gravest first."""
    checks = (_state, _not_finite, _leak, _nothing_trains, _chance, _one_class, _best_of_many, _tiny, _overfit)
    more = (_written, generator.warnings, _imbalance, _disagree)
    return [*run.notes, *(line for check in (*checks, *more) for line in check(run))]


def _where(split: str) -> str:
    return scores.SPLITS.get(split, split)


def _share(value: float | None) -> str:
    return scores.share(value)


def _state(run: Run) -> Iterator[str]:
    so_far = "what is below is what it had written until then."
    said = {
        "failed": f"This run failed: {so_far}",
        "interrupted": f"This run was interrupted: {so_far} The same command goes on from its last checkpoint.",
        "running": "This run had not ended when the report was written: the figures are not final.",
        "unknown": "status.json is missing: whether this run ended is not known.",
    }
    if run.state in said:
        error = str(run.status.get("message") or "").strip()
        yield said[run.state] + (f" It said: {error.splitlines()[0]}" if error else "")


def _not_finite(run: Run) -> Iterator[str]:
    mend = "training diverged; try a smaller loop.lr."
    for key in run.metrics.columns:
        if "/" in key and (bad := int(np.isinf(numbers(run.metrics, key)).sum())):
            yield f"{key} was infinite in {bad} of {len(run.metrics)} evaluations: {mend}"
    for key, value in run.final().items():
        if math.isnan(value):
            yield f"The final {key} is not a number: {mend}"


def _written(run: Run) -> Iterator[str]:
    """What the evaluation itself found."""
    for split in scores.SPLITS:
        yield from (f"{_where(split).capitalize()}: {line}" for line in run.document("warnings", split).values())


def _leak(run: Run) -> Iterator[str]:
    notes = run.data.get("notes") or []
    yield from (note for note in notes if str(note).startswith("LEAK"))


def _nothing_trains(run: Run) -> Iterator[str]:
    parameters = run.env.get("parameters") or {}
    if parameters.get("total") and parameters.get("trainable") == 0:
        yield "No parameter of this network was trainable: the scores are those of the network it started from."


def _chance(run: Run) -> Iterator[str]:
    for found in scores.scores(run):
        if found.metric == "accuracy" and found.chance is not None and found.low is not None:
            yield from _against_chance(run, found, found.chance, found.low, found.high or 0.0)
    first = scores.primary(run)
    if first is None or first.metric == "accuracy" or None in (first.chance, first.low):
        return
    if first.low <= first.chance <= first.high:  # type: ignore[operator]
        value, guess = (scores.text(first.declared, v) for v in (first.value, first.chance))
        yield (
            f"The {_where(first.split)} {first.metric} {value} cannot be told from guessing ({guess}): "
            f"its 95% interval on n = {first.n} holds that value."
        )


def _against_chance(run: Run, found: scores.Score, chance: float, low: float, high: float) -> Iterator[str]:
    where, n_classes = _where(found.split), len(run.classes)
    guess, got = f"1/{n_classes} = {_share(chance)}", f"The {where} accuracy {_share(found.value)}"
    loss, level = run.final().get(f"{found.split}/loss", math.nan), math.log(max(n_classes, 1))
    if low <= chance <= high and abs(loss - level) <= NEAR * level:
        yield (
            f"At chance: on {where} the loss is {loss:.3f} ≈ ln {n_classes} = {level:.3f}, and the accuracy "
            f"{_share(found.value)} is what guessing gives ({guess}). The network has learned nothing it can use here: "
            "look at the learning rate, at what is frozen, and at whether labels and images belong together."
        )
    elif low <= chance <= high:
        yield f"{got} cannot be told from guessing ({guess}): its 95% interval on n = {found.n} holds that value."
    elif high < chance:
        yield f"{got} is below guessing ({guess}): labels and outputs may be in different orders."
    elif found.value <= (share := _commonest(run, found.split)):
        yield f"{got} is no better than always answering the commonest class, which would score {_share(share)}."


def _commonest(run: Run, split: str) -> float:
    """Share of the commonest true class; 0 when the run wrote no confusion matrix."""
    counts = run.array(f"{split}_confusion")
    return float(counts.sum(axis=1).max() / max(counts.sum(), 1)) if counts is not None else 0.0


def _one_class(run: Run) -> Iterator[str]:
    for name, counts in run.arrays("*_confusion").items():
        used = np.flatnonzero(counts.sum(axis=0))
        if len(used) == 1 < len(counts):
            answer = scores.class_names(run, len(counts))[int(used[0])]
            yield f"All {int(counts.sum())} predictions on {_where(name.removesuffix('_confusion'))} are “{answer}”."


def _best_of_many(run: Run) -> Iterator[str]:
    found = scores.best(run)
    if found is None or run.declared[found[0]].interval != "wilson":
        return
    key, epoch, value, epochs = found
    split, metric = key.split("/", 1)
    n, guess = scores.count(run, split), scores.chance(run, split, metric)
    if not n or guess is None:
        return
    luck = stats.best_of_chance(n, guess, epochs)
    if value <= luck.q95:
        yield (
            f"The best epoch ({epoch:g}, {_share(value)} on {_where(split)}) is within what chance gives: the best of "
            f"{epochs} epochs of pure guessing on n = {n} scores {_share(luck.mean)} on average and up to "
            f"{_share(luck.q95)} in 95 of 100 runs. It is no evidence of learning."
        )


def _tiny(run: Run) -> Iterator[str]:
    final = run.final()
    for split in ("val", "test"):
        measured = [key.split("/", 1)[1] for key in final if key.startswith(f"{split}/")]
        n, units = scores.count(run, split), scores.units(run, split)
        if not measured or not n or not units or units >= TINY:
            continue
        line = f"Tiny {_where(split)} split: n = {n}{f', of {units} objects' if units < n else ''}. "
        if any(run.declared[metric].is_share for metric in measured):
            low, high = stats.wilson(round(0.75 * units), units)
            yield (
                f"{line}One {'object' if units < n else 'sample'} more or less moves a share by {100 / units:.1f} "
                f"points, and a score of .75 is known to about ±{50 * (high - low):.0f} points: small differences mean "
                "nothing."
            )
        else:
            yield f"{line}Scores on so few samples vary a lot with the draw: small differences mean nothing."


def _overfit(run: Run) -> Iterator[str]:
    epochs, losses = run.curve("val/loss")
    if len(losses) >= 5 and losses[-1] > RISE * losses.min() > 0:
        yield (
            f"The validation loss was lowest at epoch {epochs[losses.argmin()]:g} ({losses.min():.3g}) and rose to "
            f"{losses[-1]:.3g} by the end: the network overfits, and its probabilities are too sure. Fewer epochs, "
            "more augmentation or dropout may help."
        )


def _imbalance(run: Run) -> Iterator[str]:
    counts = plots.per_class(run, "train").values()
    if len(counts) > 1 and max(counts) > UNEQUAL * max(min(counts), 1):
        yield (
            f"Unequal classes: training has {min(counts)} samples of its rarest class and {max(counts)} of its "
            "commonest. Accuracy speaks mostly of the common ones; the table by class speaks of all."
        )


def _disagree(run: Run) -> Iterator[str]:
    final = run.final()
    for split in run.predicted():
        said, wrong = final.get(f"{split}/accuracy"), scores.mistakes(run, split)
        if said is None or wrong is None:
            continue
        n = len(run.predictions(split))
        counted = 1 - len(wrong) / n if n else math.nan
        if abs(counted - said) > 0.5 / max(n, 1) + 1e-6:
            yield (
                f"predictions_{split}.csv has accuracy {_share(counted)}, the final metrics say {_share(said)}: they "
                "come from different states of the network."
            )
