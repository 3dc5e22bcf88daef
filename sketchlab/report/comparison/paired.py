"""The right test for two groups of runs, by what they were tested on. No words, no pages: pairs.py has those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sketchlab import stats

POWER = 0.8  # of the smallest difference that a test would have seen
ALPHA = 0.05


@dataclass(frozen=True)
class Test:
    """A minus B. low, high: 95%, of this difference alone."""

    method: str
    about: str  # "settings": new runs too; "networks": the two that were trained; "samples": new runs on these samples
    estimate: stats.Estimate
    low: float
    high: float
    p: float
    runs: tuple[int, int]  # of A and of B; of splits: as many as there are splits
    splits: int = 1  # test sets
    n: int | None = None  # samples; None where scores are not kept sample by sample
    groups: int | None = None  # of samples that belong together, where there are such
    smallest_p: float = 0.0  # what the test could reach at most
    discordant: float | None = None  # exact McNemar: share of the samples that one has right and the other wrong
    bounded: bool = False  # scores in [0, 1], so that a difference is at most 1

    @property
    def difference(self) -> float:
        return float(self.estimate.value)

    def visible(self, alpha: float) -> float:
        """The smallest difference this test would have seen at this alpha, with power .8; nan: none at all."""
        if self.discordant is not None and self.n:
            return stats.mcnemar_detectable(self.n, self.discordant, POWER, alpha)
        found = stats.detectable(self.estimate, POWER, alpha)
        return math.nan if self.bounded and found > 1 else found

    def turned(self) -> Test:
        """B minus A."""
        estimate = self.estimate._replace(value=-self.estimate.value)
        return replace(self, estimate=estimate, low=-self.high, high=-self.low, runs=self.runs[::-1])


def same_samples(
    a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None, fixed: tuple[bool, bool] = (False, False)
) -> Test | None:
    """a: (A, n), b: (B, n) scores of runs on the same samples. groups: (n,) of samples that belong together.

    One run each: about these two networks; right or wrong of independent samples by the exact McNemar test. Several of
    each: about the settings. One against several: None, unless the one is `fixed`, because its seed changes nothing.
    """
    runs, n = (len(a), len(b)), a.shape[1]
    one, several = (len(a) == 1, len(b) == 1), max(runs) > 1
    if several and any(alone and not same for alone, same in zip(one, fixed, strict=True)):
        return None
    estimate = stats.estimate_difference(a, b, groups)
    size = None if groups is None else len(np.unique(groups))
    bounded = _bounded(a, b)
    if several:
        return _tested("t over runs and samples", "settings", estimate, runs, n=n, groups=size, bounded=bounded)
    if groups is None and np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        exact = stats.mcnemar_exact(a[0], b[0])
        more = {"p": exact.p, "smallest_p": exact.smallest_p, "discordant": (exact.b + exact.c) / n}
        return _tested("exact McNemar", "networks", estimate, runs, n=n, bounded=True, **more)
    method = "t over samples" if groups is None else "cluster-robust t"
    return _tested(method, "networks", estimate, runs, n=n, groups=size, bounded=bounded)


def own_splits(a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None) -> Test:
    """a, b: (K, N) scores on K ≥ 2 splits of a pool of N samples; NaN where a split does not test a sample."""
    estimate, runs = stats.estimate_difference(a, b, groups), (len(a), len(b))
    size = None if groups is None else len(np.unique(groups))
    more = {"splits": len(a), "n": a.shape[1], "groups": size, "bounded": _bounded(a, b)}
    return _tested("t over splits and samples", "settings", estimate, runs, **more)


def _bounded(*tables: np.ndarray) -> bool:
    return all(np.nanmin(table) >= 0 and np.nanmax(table) <= 1 for table in tables)


def scores_alone(a: Sequence[float], b: Sequence[float], test_per_train: float = 0.0) -> Test | None:
    """Scores per run, not kept sample by sample: of runs on one test set, in any number, or (test_per_train > 0) split
    by split. None below two of each, and where the scores of each side are all equal: nothing says how they vary."""
    if min(len(a), len(b)) < 2:
        return None
    if test_per_train:
        gaps = np.round(np.subtract(a, b), 12)  # equal scores may differ in their last digits
        estimate, splits = stats.estimate_scores(gaps, test_per_train=test_per_train), len(gaps)
        method, about = "corrected resampled t over splits", "settings"
    else:
        estimate, splits, method, about = stats.estimate_scores(a, b), 1, "Welch's t over runs", "samples"
    if not max(spread.variance for spread in estimate.spreads):
        return None
    return _tested(method, about, estimate, (len(a), len(b)), splits=splits)


def _tested(
    method: str, about: str, estimate: stats.Estimate, runs: tuple[int, int], p: float | None = None, **more: Any
) -> Test:
    low, high = stats.interval(estimate)
    p = float(stats.p_value(estimate)) if p is None else p
    if p > ALPHA:  # an exact p may leave room that the interval does not
        low, high = min(low, 0.0), max(high, 0.0)
    if more.get("bounded"):
        low, high = max(low, -1.0), min(high, 1.0)
    return Test(method, about, estimate, float(low), float(high), p, runs, **more)
