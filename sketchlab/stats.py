"""Intervals and tests: how far a score can be trusted, and whether A really beats B. numpy and scipy only."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy import stats as scipy_stats

from sketchlab import rng
from sketchlab.errors import UserError

EXACT_FLIPS = 20  # up to 2**20 sign patterns are listed one by one
_CHUNK = 4_000_000  # numbers drawn at a time, so that memory stays at some 32 MB


class Interval(NamedTuple):
    low: float
    high: float


class Mean(NamedTuple):
    mean: float
    low: float
    high: float
    sd: float  # sample standard deviation (n - 1)
    n: int


class McNemar(NamedTuple):
    b: int  # examples that A has right and B wrong
    c: int  # examples that B has right and A wrong
    p: float  # two-sided
    n: int  # all examples
    smallest_p: float  # what n examples could reach at most, were A right and B wrong on all of them


class Difference(NamedTuple):
    difference: float  # mean(a) - mean(b)
    low: float
    high: float
    n: int  # examples
    seeds: int  # 1 when the seeds played no part


class Gap(NamedTuple):
    difference: float  # share a - share b, of different examples
    low: float
    high: float


class SignFlip(NamedTuple):
    p: float  # two-sided
    smallest_p: float  # below this the test cannot go with so many pairs (or draws)
    n: int  # pairs
    exact: bool  # every pattern of signs was listed


class Chance(NamedTuple):
    mean: float
    q95: float


def _check(draws: int = 1, **shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise UserError(f"{name}={value}: expected a number between 0 and 1")
    if draws < 1:
        raise UserError(f"draws={draws}: expected at least 1, e.g. 10000")


def _counts(k: int, n: int) -> tuple[int, int]:
    if n < 1:
        raise UserError(f"n={n}: an interval needs at least one example")
    if not 0 <= k <= n or k != int(k) or n != int(n):
        raise UserError(f"k={k} of n={n}: expected whole numbers with 0 ≤ k ≤ n")
    return int(k), int(n)


def _values(values: ArrayLike, name: str, *, least: int = 1) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < least:
        raise UserError(f"{name} has shape {array.shape}: expected (n,) with n ≥ {least}")
    if not np.isfinite(array).all():
        raise UserError(f"{name}: value {int(np.flatnonzero(~np.isfinite(array))[0])} is not a finite number")
    return array


def _check_same_shape(a: NDArray[np.float64], b: NDArray[np.float64], name_a: str, name_b: str) -> None:
    if a.shape != b.shape:
        raise UserError(f"{name_a} has shape {a.shape}, {name_b} {b.shape}: expected the same examples in both")


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a proportion, k of n (Wilson 1927): close to `level` on average over p, from n = 20 on."""
    k, n = _counts(k, n)
    _check(level=level)
    found = scipy_stats.binomtest(k, n).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high))


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Exact interval of a proportion (Clopper and Pearson 1934): covers at least `level` whatever p is; wider."""
    k, n = _counts(k, n)
    _check(level=level)
    found = scipy_stats.binomtest(k, n).proportion_ci(level, method="exact")
    return Interval(float(found.low), float(found.high))


def newcombe(k_a: int, n_a: int, k_b: int, n_b: int, level: float = 0.95) -> Gap:
    """Difference of two shares of different examples, k_a/n_a - k_b/n_b (Newcombe 1998, "Interval estimation for the
    difference between independent proportions", method 10: square-and-add of the Wilson limits, uncorrected).

    On the same examples take `mcnemar_exact` and `bootstrap_paired`: this interval would be too wide.
    """
    a, b = k_a / max(n_a, 1), k_b / max(n_b, 1)
    (low_a, high_a), (low_b, high_b) = wilson(k_a, n_a, level), wilson(k_b, n_b, level)
    return Gap(a - b, a - b - math.hypot(a - low_a, high_b - b), a - b + math.hypot(high_a - a, b - low_b))


def binomial_se(k: int, n: int) -> float:
    """Standard error sqrt(p(1 - p)/n) of p = k/n (de Moivre's normal limit); 0 at k = 0 and k = n, so no interval."""
    k, n = _counts(k, n)
    return math.sqrt(k / n * (1 - k / n) / n)


def t_interval(values: ArrayLike, level: float = 0.95) -> Mean:
    """Mean over seeds and its interval by Student's t (1908); it speaks of new seeds, on these same examples."""
    array = _values(values, "values", least=2)
    _check(level=level)
    mean, sd, n = float(array.mean()), float(array.std(ddof=1)), len(array)
    half = float(scipy_stats.t.ppf((1 + level) / 2, n - 1)) * sd / math.sqrt(n)
    return Mean(mean, mean - half, mean + half, sd, n)


def mcnemar_exact(a_correct: ArrayLike, b_correct: ArrayLike) -> McNemar:
    """Are A and B equally often right? Exact and two-sided, on the same examples (McNemar 1947, binomial form).

    a_correct, b_correct: (n,) true or false (1 or 0) per example, in the same order. p = 1 when they never disagree.
    """
    a, b = _values(a_correct, "a_correct"), _values(b_correct, "b_correct")
    _check_same_shape(a, b, "a_correct", "b_correct")
    for name, array in (("a_correct", a), ("b_correct", b)):
        if not np.isin(array, (0, 1)).all():
            raise UserError(f"{name} holds values other than true and false: give right or wrong, not scores")
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    p = float(scipy_stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, p, len(a), 2.0 ** (1 - len(a)))


def _resampled_means(values: NDArray[np.float64], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(draws,) means of n values drawn from `values` with replacement.

    Few distinct values (right or wrong: at most three differences) are drawn as counts, which is the same
    distribution at a cost that does not grow with n.
    """
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) * 16 <= n:
        return generator.multinomial(n, counts / n, size=draws) @ distinct / n
    rows = max(1, _CHUNK // n)
    parts = [values[generator.integers(0, n, (min(rows, draws - i), n))].mean(1) for i in range(0, draws, rows)]
    return np.concatenate(parts)


def _percentiles(means: NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bootstrap_mean(values: ArrayLike, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap of a mean (Efron 1979), for average precision over queries and the like.

    Good from n = 200 on; of a proportion use `wilson`: at n = 20 this one covers as little as a third.
    """
    array = _values(values, "values")
    _check(draws, level=level)
    return _percentiles(_resampled_means(array, draws, rng.generator(seed, "bootstrap_mean")), level)


def bootstrap_paired(a: ArrayLike, b: ArrayLike, level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Difference:
    """Interval of mean(a) - mean(b) by the percentile bootstrap over examples that both were scored on (Efron 1979).

    a, b: (n,) scores per example, or (seeds, n): S ≥ 2 trainings of each, paired row by row and scored on the same n
    examples. With seeds, each draw adds the deviation of a resample of the examples (one for all seeds: their
    difficulty is shared) to that of a resample of the seeds, as in the pigeonhole bootstrap (Owen 2007), and speaks
    of new seeds and new examples. Few seeds resampled are known to vary too little; their deviations are widened by
    sqrt(S/(S - 1)) · t/z (Hesterberg 2015, who widens percentiles; here deviations), so that
    where only the seeds matter the interval is as wide as Student's. Rows with examples of their own (folds): take
    `t_interval` of the rows' differences instead.
    """
    _check(draws, level=level)
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check_same_shape(first, second, "a", "b")
    if first.ndim not in (1, 2) or not first.size or (first.ndim == 2 and len(first) < 2):
        raise UserError(f"a and b have shape {first.shape}: expected (n,), or (seeds, n) with at least 2 seeds")
    differences = first - second
    over_examples = _values(differences.mean(0) if differences.ndim == 2 else differences, "a - b")
    centre, seeds = float(over_examples.mean()), len(first) if first.ndim == 2 else 1
    means = _resampled_means(over_examples, draws, rng.generator(seed, "bootstrap_paired", "examples"))
    if seeds > 1:
        upper = (1 + level) / 2
        widen = math.sqrt(seeds / (seeds - 1)) * scipy_stats.t.ppf(upper, seeds - 1) / scipy_stats.norm.ppf(upper)
        over_seeds = _resampled_means(differences.mean(1), draws, rng.generator(seed, "bootstrap_paired", "seeds"))
        means = means + widen * (over_seeds - centre)
    return Difference(centre, *_percentiles(means, level), over_examples.size, seeds)


def sign_flip(differences: ArrayLike, draws: int = 100_000, seed: int = 0) -> SignFlip:
    """Is the mean of paired differences zero? Two-sided, by flipping their signs (Fisher 1935).

    differences: (n,) A minus B, one per seed. Exact over all 2**n patterns up to n = 20, beyond that `draws` keyed
    ones with p = (1 + hits)/(1 + draws) (Phipson and Smyth 2010). Exact p cannot go below 2**(1 - n): with five
    pairs .0625, so below six pairs nothing can be significant at .05.
    """
    array = _values(differences, "differences")
    n = len(array)
    slack = 1e-12 * np.abs(array).sum()  # sums that are equal on paper differ in the last bits
    observed = abs(array.sum()) - slack
    if n <= EXACT_FLIPS:
        sums = np.zeros(1)
        for value in array:
            sums = np.concatenate([sums + value, sums - value])
        return SignFlip(float((np.abs(sums) >= observed).mean()), 2.0 ** (1 - n), n, True)
    _check(draws)
    generator, hits, rows = rng.generator(seed, "sign_flip"), 0, max(1, _CHUNK // n)
    for start in range(0, draws, rows):
        signs = 2.0 * generator.integers(0, 2, (min(rows, draws - start), n)) - 1
        hits += int((np.abs(signs @ array) >= observed).sum())
    return SignFlip((1 + hits) / (1 + draws), 1 / (1 + draws), n, False)


def holm(ps: ArrayLike) -> list[float]:
    """p values adjusted for how many there are, in the given order (Holm 1979, step-down)."""
    array = np.asarray(ps, dtype=np.float64)
    if array.ndim != 1 or not ((array >= 0) & (array <= 1)).all():
        raise UserError(f"ps={array.tolist()}: expected a list of numbers in [0, 1]")
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(np.maximum.accumulate(array[order] * np.arange(len(array), 0, -1)), 1)
    return adjusted.tolist()


def smallest_difference(n: int, p: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest gain over proportion p that n examples per arm show with this power (unpaired, two-sided).

    Normal approximation with the pooled variance under equality (Fleiss, Levin and Paik 2003). Where not
    even a gain up to 1 would show, the smallest loss; nan where no difference at all would.
    """
    _, n = _counts(0, n)
    if not 0 <= p <= 1:
        raise UserError(f"p={p}: expected a proportion in [0, 1]")
    _check(power=power, alpha=alpha)
    z_alpha, z_power = scipy_stats.norm.ppf([1 - alpha / 2, power])

    def shortfall(gain: float) -> float:
        other, middle = p + gain, p + gain / 2
        spread = z_alpha * math.sqrt(max(0.0, 2 * middle * (1 - middle)))
        spread += z_power * math.sqrt(max(0.0, p * (1 - p) + other * (1 - other)))
        return abs(gain) * math.sqrt(n) - spread

    for limit in (1 - p, -p):
        if limit and shortfall(limit) >= 0:
            root: Any = optimize.brentq(shortfall, math.copysign(1e-12, limit), limit, xtol=1e-12)
            return abs(float(root))
    return math.nan


def best_of_chance(n: int, p: float, epochs: int) -> Chance:
    """What the best of several pure-chance epochs scores on n examples: its mean and 95th percentile.

    Exact from the binomial distribution function F: the best of E independent epochs has F**E (David and Nagaraja
    2003, order statistics). Epochs of one training resemble each other, which makes their best somewhat lower.
    """
    _, n = _counts(0, n)
    if not 0 <= p <= 1 or epochs < 1:
        raise UserError(f"p={p}, epochs={epochs}: expected a proportion in [0, 1] and at least one epoch")
    below = scipy_stats.binom.cdf(np.arange(n + 1), n, p) ** epochs
    return Chance(float((1 - below[:-1]).sum() / n), int(np.argmax(below >= 0.95)) / n)


def verdict(
    difference: float,
    p: float,
    *,
    smallest_p: float = 0.0,
    visible: float = 0.0,
    worth: float = math.inf,
    alpha: float = 0.05,
) -> str:
    """A's difference to B in words: "better", "worse", "no evidence of a difference" or "too few to tell".

    p: of a paired test, adjusted by `holm` where there were several. Too few: the test cannot reach alpha with so
    many pairs (smallest_p), or it found nothing and differences below `visible` (see `smallest_difference`) would
    have been missed although `worth` is already one that matters.
    """
    if not (0 <= p <= 1 and math.isfinite(difference)):
        raise UserError(f"difference={difference}, p={p}: expected a finite number and a p value in [0, 1]")
    _check(alpha=alpha)
    if smallest_p > alpha:
        return "too few to tell"
    if p <= alpha and difference:
        return "better" if difference > 0 else "worse"
    return "too few to tell" if math.isnan(visible) or visible > worth else "no evidence of a difference"
