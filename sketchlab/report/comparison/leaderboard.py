"""Where a group stands on one score: mean over its runs with an interval, and what the runs cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sketchlab import stats
from sketchlab.metrics import declared
from sketchlab.report import scores
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.pairs import Samples
from sketchlab.report.examples import Examples
from sketchlab.report.read import Run
from sketchlab.report.run import facts
from sketchlab.report.sentences import Value

OF = {  # what an interval is about, in words
    "Wilson": "new samples, one run (Wilson)",
    "Wilson-t": "new samples, one run (Wilson with the variance of the scores)",
    "Student's t": "new samples, one run (Student's t)",
    "cluster-robust": "new objects with all their samples, one run (Wilson, cluster-robust)",
    "runs": "new runs and new samples (Wilson, both variances)",
    "splits": "new splits and new samples (Wilson, corrected for the samples that splits share)",
    "scores": "new runs and new samples (Wilson, the variance of the samples at its largest)",
    "resampled": "new splits (corrected resampled t, Nadeau and Bengio 2003)",
    "t": "new runs on these samples (Student's t)",
}


@dataclass(frozen=True)
class Entry:
    group: Group
    key: str
    single: list[float]  # one value per finished run
    mean: float
    sd: float  # over runs; NaN for one
    low: float | None  # 95%
    high: float | None
    of: str  # a key of OF, or "" where there is no interval
    n: str  # samples: a number, or a range where the runs differ; and the objects they show, where those are fewer

    @property
    def score(self) -> declared.Score:
        return self.group.declared(self.key)


def entry(group: Group, samples: Samples) -> Entry:
    """The widest interval the files allow: over runs and samples, where each sample's score is kept."""
    key = samples.key
    runs = [run for run in group.runs.values() if math.isfinite(run.final().get(key, math.nan))]
    single = [run.final()[key] for run in runs]
    low, high, of = _interval(runs, single, samples)
    if low is not None and high is not None:
        low, high = (group.declared(key).clip(value) for value in (low, high))
    mean = float(np.mean(single)) if single else math.nan
    sd = float(np.std(single, ddof=1)) if len(single) > 1 else math.nan
    return Entry(group, key, single, mean, sd, low, high, of, _sizes(runs, key))


def _interval(runs: list[Run], single: list[float], samples: Samples) -> tuple[float | None, float | None, str]:
    key = samples.key
    if not runs:
        return None, None, ""
    if len(runs) == 1:
        score = scores.score(runs[0], key, single[0])
        return score.low, score.high, score.method
    kept = [each for run in runs if isinstance(each := samples.of(run), Examples)]
    if len(kept) < len(runs):
        return of_scores(runs, single, key)
    sets: dict[tuple[str, ...], list[Run]] = {}
    for run, each in zip(runs, kept, strict=True):
        sets.setdefault(each.ids, []).append(run)
    if len(sets) == 1:
        groups = next((each.groups for each in kept if each.groups is not None), None)
        table, of = np.stack([each.values for each in kept]), "runs"
    else:
        known: dict[Path, Examples | str] = {run.folder: each for run, each in zip(runs, kept, strict=True)}
        (table,), groups = pairs.tables_of([[alike] for alike in sets.values()], known)
        of = "splits"
    estimate = stats.estimate_mean(table, groups)
    bounded = np.nanmin(table) >= 0 and np.nanmax(table) <= 1
    low, high = (stats.share_interval if bounded else stats.interval)(estimate)
    return low, high, of


def of_scores(runs: list[Run], single: list[float], key: str) -> tuple[float | None, float | None, str]:
    """95% interval of a mean of two scores and more that are not kept sample by sample.

    A share on one test set gets the variance that its samples have at most; on several the test set and the training
    set of each split are needed. None where these are not known, and where nothing varies.
    """
    split = key.split("/", 1)[0]
    one_set = len({run.split(split).get("digest") for run in runs}) == 1
    if not one_set:
        ratio = pairs.test_per_train(runs, key)
        estimate = stats.estimate_scores(single, test_per_train=ratio) if ratio else None
    else:
        share = runs[0].declared[key].is_share
        units = min((scores.units(run, split) or 0) for run in runs) if share else 0
        estimate = stats.estimate_scores(single, units=units)
    if estimate is None or not any(spread.variance for spread in estimate.spreads):
        return None, None, ""
    if one_set and estimate.units and 0 <= estimate.value <= 1:
        low, high = stats.share_interval(estimate)
        return low, high, "scores"
    low, high = map(runs[0].declared[key].clip, stats.interval(estimate))
    return low, high, "t" if one_set else "resampled"


def _sizes(runs: list[Run], key: str) -> str:
    split = key.split("/", 1)[0]
    sizes = sorted({n for run in runs if (n := scores.sample_size(run, key)) is not None})
    objects = sorted({n for run in runs if (n := scores.units(run, split)) is not None})
    if not sizes or not objects or objects[-1] >= sizes[0]:  # each its own object, or fewer images than the split has
        return _range(sizes)
    return f"{_range(sizes)} ({_range(objects)} objects)"


def _range(sizes: list[int]) -> str:
    return "–" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def guessing(row: Entry) -> Value | None:
    """What guessing gives, where the group is not better than that: its interval reaches it, or lies beyond it."""
    split, metric = row.key.split("/", 1)
    guesses = [guess for run in row.group.runs.values() if (guess := scores.chance(run, split, metric)) is not None]
    if not guesses or not row.score.sign or not math.isfinite(row.mean):
        return None
    guess, worst = max(guesses, key=row.score.order), row.low if row.score.sign > 0 else row.high
    reached = row.score.order(row.mean if worst is None else worst) <= row.score.order(guess)
    return Value(row.score, guess) if reached else None


def interval(row: Entry) -> str:
    if row.low is None or row.high is None:
        return "–"
    digits = 2 if row.high - row.low >= 0.05 else 3
    return f"[{scores.text(row.score, row.low, digits)}, {scores.text(row.score, row.high, digits)}]"


def trainable(group: Group) -> str:
    """Trainable parameters, and of how many, where some are frozen."""
    found = sorted({(p.get("trainable"), p.get("total")) for run in _all(group) if (p := run.env.get("parameters"))})
    if not found:
        return "–"
    train, total = found[-1]
    few = f"{found[0][0]:,} to " if len(found) > 1 else ""
    return f"{few}{train:,}" + (f" of {total:,}" if total != train else "")


def time(group: Group) -> str:
    """Median over the runs."""
    found = [s for run in group.runs.values() if (s := run.seconds) is not None]
    return facts.duration(float(np.median(found))) if found else "–"


def device(group: Group) -> str:
    """Device and precision, each kind once."""
    found = {}
    for run in _all(group):
        env = run.env
        ranks = f" × {env['ranks']}" if int(env.get("ranks") or 1) > 1 else ""
        name = " ".join(
            filter(None, [str(env.get("device_name") or env.get("device") or "") + ranks, env.get("precision")])
        )
        found[name or "–"] = None
    return ", ".join(found) or "–"


def _all(group: Group) -> list[Run]:
    return [*group.runs.values(), *group.unfinished]
