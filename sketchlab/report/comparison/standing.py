"""Where a group stands on one score: mean over its runs with an interval, and what the runs cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sketchlab import stats
from sketchlab.metrics import declared
from sketchlab.report import scores
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.pairs import Samples
from sketchlab.report.examples import Examples
from sketchlab.report.read import Run
from sketchlab.report.run import facts

OF = {  # what an interval speaks of, in words
    "Wilson": "new samples, one run (Wilson)",
    "bootstrap": "new samples, one run (bootstrap)",
    "alike": "new samples, all runs being alike (Wilson)",
    "both": "new seeds and new samples (bootstrap)",
    "t": "new seeds or folds (Student's t)",
}


@dataclass(frozen=True)
class Standing:
    group: Group
    key: str
    single: list[float]  # one value per finished run
    mean: float
    sd: float  # over runs; NaN for one
    low: float | None  # 95%
    high: float | None
    of: str  # a key of OF, or "" where there is no interval
    n: str  # samples: a number, or a range where the runs differ

    @property
    def score(self) -> declared.Score:
        return self.group.declared(self.key)


def standing(group: Group, samples: Samples) -> Standing:
    """The widest interval the files allow: over seeds and samples, where each sample's score is kept."""
    key = samples.key
    runs = [run for run in group.runs.values() if math.isfinite(run.final().get(key, math.nan))]
    single = [run.final()[key] for run in runs]
    low, high, of = _interval(runs, single, samples)
    if low is not None and high is not None:
        low, high = (group.declared(key).clip(value) for value in (low, high))
    mean = float(np.mean(single)) if single else math.nan
    sd = float(np.std(single, ddof=1)) if len(single) > 1 else math.nan
    return Standing(group, key, single, mean, sd, low, high, of, _sizes(runs, key))


def _interval(runs: list[Run], single: list[float], samples: Samples) -> tuple[float | None, float | None, str]:
    key = samples.key
    if not runs:
        return None, None, ""
    found = [samples.of(run) for run in runs] if len(runs) > 1 else []
    kept = [each for each in found if isinstance(each, Examples)]
    one_set = len(kept) == len(runs) and len({each.ids for each in kept}) == 1
    alike = one_set and all((each.values == kept[0].values).all() for each in kept)
    if len(runs) == 1 or alike:
        score = scores.score(runs[0], key, single[0])
        return score.low, score.high, "alike" if alike and score.method == "Wilson" else score.method
    if one_set:
        table = np.stack([each.values for each in kept])
        both = stats.bootstrap_paired(table, np.zeros_like(table), draws=2_000)
        return both.low, both.high, "both"
    mean = stats.t_interval(single)
    return mean.low, mean.high, "t"


def _sizes(runs: list[Run], key: str) -> str:
    sizes = sorted({n for run in runs if (n := scores.sample_size(run, key)) is not None})
    return "–" if not sizes else str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def interval(row: Standing) -> str:
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
