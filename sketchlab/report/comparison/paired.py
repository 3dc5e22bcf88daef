"""The right paired test for two groups of runs, by what they were tested on. No words, no pages: pairs.py has those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy import stats as scipy_stats

from sketchlab import stats

POWER = 0.8  # of the smallest difference that a test would have seen
FEW = 20  # samples that tell A from B, up to which their signs are also flipped one by one


@dataclass(frozen=True)
class Test:
    """A minus B. low, high: 95%, of this difference alone; smallest_p: what the test could reach at most."""

    method: str
    difference: float
    low: float
    high: float
    p: float
    smallest_p: float
    half: Callable[[float], float]  # alpha → half the width of the interval of level 1 - alpha
    seeds: int
    n: int | None  # samples; None where each seed has its own, or they are not kept
    grain: float = 0.0  # 1/n for right and wrong: differences come in steps of this

    def visible(self, alpha: float) -> float:
        """The smallest difference this test would have seen at this alpha, with power .8.

        Normal (or t) approximation; of right and wrong at least as many samples, all one way, as an exact test needs.
        """
        needed = (1 + math.ceil(math.log2(1 / alpha))) * self.grain
        return max(self.half(alpha) + self.half(2 * (1 - POWER)), needed)


def over_examples(a: np.ndarray, b: np.ndarray, draws: int = 10_000) -> Test:
    """a, b: (S, n) scores of S trainings of each, paired row by row, on the same n samples.

    One training each and right or wrong: exact McNemar (1947). Else the paired bootstrap over samples within seeds.
    Trainings that are all alike (nothing in them is random) count as one.
    """
    if (a == a[0]).all() and (b == b[0]).all():
        a, b = a[:1], b[:1]
    seeds, n = a.shape
    hits = bool(np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all())
    found = stats.bootstrap_paired(*((a, b) if seeds > 1 else (a[0], b[0])), draws=draws)
    half = half_width(a - b)
    if seeds == 1 and hits:
        exact = stats.mcnemar_exact(a[0], b[0])
        method, p, smallest = "exact McNemar", exact.p, exact.smallest_p
    else:
        method = "paired bootstrap over samples" + (" within seeds" if seeds > 1 else "")
        p, smallest = inverted(found.difference, found.low, found.high, half), 2.0 ** (1 - n)
        telling = (a - b).mean(0)
        if np.count_nonzero(telling) <= FEW:  # a resample may miss the few samples that tell A from B, too seldom
            p = max(p, stats.sign_flip(telling[telling != 0]).p if telling.any() else 1.0)
    return Test(method, found.difference, found.low, found.high, p, smallest, half, seeds, n, hits / n)


def half_width(differences: np.ndarray) -> Callable[[float], float]:
    """alpha → half the width that `stats.bootstrap_paired` gives (S, n) differences, from their variances.

    Samples: normal; seeds, where there are several: Student's t, as it widens them.
    """
    seeds, n = differences.shape
    of_examples = differences.mean(0).var() / n
    of_seeds = differences.mean(1).var() / (seeds - 1) if seeds > 1 else 0.0

    def half(alpha: float) -> float:
        z, t = scipy_stats.norm.isf(alpha / 2), scipy_stats.t.isf(alpha / 2, seeds - 1) if seeds > 1 else 0.0
        return float(np.sqrt(z**2 * of_examples + t**2 * of_seeds))

    return half


def inverted(difference: float, low: float, high: float, half: Callable[[float], float]) -> float:
    """p of the bootstrap: the alpha at which its interval would just touch zero (Efron and Tibshirani 1993, ch. 15).

    Percentiles of 10,000 draws cannot say .00001, so beyond the 95% interval its width follows `half`, scaled to the
    side of that interval which looks at zero: p < .05 exactly where zero is outside.
    """
    if not difference:
        return 1.0
    side = abs(difference - (low if difference > 0 else high))
    if side == 0:
        return 0.0
    target = abs(difference) * half(0.05) / side

    def short(log_alpha: float) -> float:
        return half(math.exp(log_alpha)) - target

    lowest, highest = math.log(1e-15), math.log(1 - 1e-9)
    if short(highest) >= 0:
        return 1.0
    if short(lowest) <= 0:
        return 1e-15
    root: float = optimize.brentq(short, lowest, highest)  # type: ignore[assignment]
    return math.exp(root)


def over_seeds(differences: Sequence[float], fixed: bool) -> Test:
    """One difference per seed (or fold): sign flips for p, Student's t for the interval; two seeds at least.

    fixed: all on the same samples, of which the test says nothing new.
    """
    mean = stats.t_interval(differences)
    flips = stats.sign_flip(differences)

    def half(alpha: float) -> float:
        return float(scipy_stats.t.isf(alpha / 2, mean.n - 1)) * mean.sd / math.sqrt(mean.n)

    method = "sign flips over seeds" if fixed else "sign flips over folds"
    return Test(method, mean.mean, mean.low, mean.high, flips.p, flips.smallest_p, half, mean.n, None)
