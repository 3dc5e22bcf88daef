"""Intervals and tests: how far a score can be trusted, and whether A really beats B. numpy and scipy only.

A score of several runs has two sources of chance: the samples it was measured on and the runs (seed, split). An
`Estimate` holds every variance that the files allow to compute, each with its degrees of freedom; an interval is as
wide as the widest of them needs, and p is the largest. How well that holds is measured by
experiments/coverage_of_intervals.py.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy import stats as scipy_stats

from sketchlab.errors import UserError

RESPLITS = 10  # splits of one pool beyond which more of them add no degrees of freedom (see `estimate_mean`)


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


class Gap(NamedTuple):
    difference: float  # share a - share b, of different examples
    low: float
    high: float


class Spread(NamedTuple):
    variance: Any  # of an estimate; a float, or (...) for many estimates at once
    df: Any  # degrees of freedom of that variance


class Estimate(NamedTuple):
    """A mean or a difference of means: of one set of scores, or (...) of many sets at once."""

    value: Any
    spreads: tuple[Spread, ...]
    units: float  # effective number of independent samples: (sum of group sizes)² / (sum of their squares)


class Chance(NamedTuple):
    mean: float
    q95: float


def _check(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise UserError(f"{name}={value}: expected a number between 0 and 1")


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


def wilson_band(shares: ArrayLike, n: float, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low, high) of shares (m,) of n samples each; n may be an effective number of samples (`effective_n`)."""
    p, square = np.clip(np.asarray(shares, dtype=np.float64), 0, 1), scipy_stats.norm.ppf((1 + level) / 2) ** 2 / n
    middle, half = p + square / 2, np.sqrt(square * p * (1 - p) + square**2 / 4)
    return np.maximum((middle - half) / (1 + square), 0), np.minimum((middle + half) / (1 + square), 1)


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Exact interval of a proportion (Clopper and Pearson 1934): covers at least `level` whatever p is; wider."""
    k, n = _counts(k, n)
    _check(level=level)
    found = scipy_stats.binomtest(k, n).proportion_ci(level, method="exact")
    return Interval(float(found.low), float(found.high))


def newcombe(k_a: int, n_a: int, k_b: int, n_b: int, level: float = 0.95) -> Gap:
    """Difference of two shares of different examples, k_a/n_a - k_b/n_b (Newcombe 1998, "Interval estimation for the
    difference between independent proportions", method 10: square-and-add of the Wilson limits, uncorrected).

    On the same examples take `estimate_difference`: this interval would be too wide.
    """
    intervals = wilson(k_a, n_a, level), wilson(k_b, n_b, level)
    return square_and_add(k_a / n_a, intervals[0], k_b / n_b, intervals[1])


def square_and_add(a: float, a_interval: Interval, b: float, b_interval: Interval) -> Gap:
    """a - b of independent scores, from their own intervals (Zou and Donner 2008, MOVER)."""
    low = a - b - math.hypot(a - a_interval.low, b_interval.high - b)
    return Gap(a - b, low, a - b + math.hypot(a_interval.high - a, b - b_interval.low))


def t_interval(values: ArrayLike, level: float = 0.95) -> Mean:
    """Mean over seeds and its interval by Student's t (1908); it is about new seeds, on these same examples."""
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


class _Runs(NamedTuple):
    """(..., S, n) scores of S runs: what their mean is made of. Leading axes: many such tables at once."""

    mean: Any  # (...)
    runs: Any  # (...) variance of the mean as the runs' own means tell it; 0 for one run
    noise: Any  # (...) the part of it that the choice of samples explains
    sums: Any  # (..., G) what each group of samples adds to the mean
    residuals: Any  # (..., G) the same as deviation from it, scaled so that their squares add up to the jackknife
    units: Any  # effective number of groups
    groups: int
    n_runs: int


def _by_group(values: NDArray[np.float64], order: Any, starts: Any) -> NDArray[np.float64]:
    """(..., n) → (..., G) sums."""
    return values if order is None else np.add.reduceat(values[..., order], starts, axis=-1)


def _runs(values: NDArray[np.float64], groups: ArrayLike | None) -> _Runs:
    order = starts = None
    if groups is not None:
        codes = np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
        if len(codes) != values.shape[-1]:
            raise UserError(f"groups has {len(codes)} entries: expected one per sample, {values.shape[-1]}")
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) > 0])
    there = np.isfinite(values)
    sizes = _by_group(there.astype(np.float64), order, starts)  # (..., S, G)
    n = sizes.sum(-1, keepdims=True)
    sums, shares = _by_group(np.where(there, values, 0.0), order, starts) / n, sizes / n
    means, weight = sums.sum(-1), shares.mean(-2)  # (..., S), (..., G)
    n_runs, n_groups = values.shape[-2], sizes.shape[-1]
    rest = np.where(weight < 1, 1 - weight, 1.0)[..., None, :]
    residuals = (sums - means[..., None] * shares) / rest * math.sqrt((n_groups - 1) / n_groups)
    of_mean = residuals.mean(-2)
    between = noise = np.zeros(values.shape[:-2])
    if n_runs > 1:
        between = means.var(-1, ddof=1) / n_runs
        noise = ((residuals**2).sum((-2, -1)) / n_runs - (of_mean**2).sum(-1)) / (n_runs - 1)
    return _Runs(means.mean(-1), between, noise, sums.mean(-2), of_mean, 1 / (weight**2).sum(-1), n_groups, n_runs)


def _added(*parts: Spread) -> Spread:
    """The sum of independent variances, degrees of freedom by Satterthwaite (1946)."""
    total = sum(part.variance for part in parts)
    square = sum(part.variance**2 / part.df for part in parts)
    return Spread(total, np.where(square > 0, total**2 / np.where(square > 0, square, 1.0), 1.0))


def _table(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim < 2 or not array.size or np.isinf(array).any() or not np.isfinite(array).any(-1).all():
        raise UserError(f"{name} has shape {array.shape}: expected (runs, samples), each run with finite scores")
    return array


def estimate_mean(values: ArrayLike, groups: ArrayLike | None = None) -> Estimate:
    """Mean score of runs, for new samples (and new runs, where there are several).

    values: (..., S, n) scores of S runs on n samples; NaN where a run was not tested on a sample, because every run
    has a split of its own. groups: (n,) labels of samples that belong together, such as sketches of one photo.

    Variance of the samples: the jackknife that leaves out one group at a time (Bell and McCaffrey 2002; the CV3 of
    MacKinnon, Nielsen and Webb 2023), with G - 1 degrees of freedom. Variance of the runs: that of their means, with
    S - 1. Their sum counts once what is in both: the luck of single answers, by the two-way decomposition (Cameron,
    Gelbach and Miller 2011), here without its bias at few runs. An interval must hold for each of the three, since any
    of them may be small by chance.

    Splits of one pool share test images, so their means are not independent. What they share is measured: the variance
    is that of independent runs plus the covariance of the images that splits have in common. Training images are shared
    too, which no file tells (Nadeau and Bengio 2003); degrees of freedom therefore stop at those of ten splits.
    """
    table = _table(values, "values")
    found = _runs(table, groups)
    of_samples = (found.residuals**2).sum(-1)
    spread = max(found.groups - 1, 1)
    if found.n_runs == 1:
        if np.isin(table, (0, 1)).all():  # answers of one group are seldom less alike than those of different groups
            of_samples = np.maximum(of_samples, found.mean * (1 - found.mean) / table.shape[-1])
        return Estimate(found.mean, (Spread(of_samples, spread),), found.units)
    shared = np.maximum(0.0, of_samples - found.noise)
    if np.isnan(table).any():
        return Estimate(found.mean, _of_splits(found, of_samples, shared), found.units)
    of_runs = Spread(found.runs, found.n_runs - 1)
    spreads = (Spread(of_samples, spread), of_runs, _added(of_runs, Spread(shared, spread)))
    return Estimate(found.mean, spreads, found.units)


def _of_splits(found: _Runs, of_samples: Any, shared: Any, more: Any = 0.0) -> tuple[Spread, Spread]:
    of_splits = Spread(found.runs, found.n_runs - 1)
    total = _added(of_splits, Spread(shared, max(found.groups - 1, 1)))
    return Spread(np.maximum(of_samples, total.variance) + more, np.minimum(total.df, RESPLITS - 1)), of_splits


def estimate_difference(a: ArrayLike, b: ArrayLike, groups: ArrayLike | None = None) -> Estimate:
    """Mean score of the runs of A minus that of B, on the same samples: variances as in `estimate_mean`.

    a, b: (..., A, n) and (..., B, n) runs in any number, which need no common seed; one run of a side counts as if no
    other run of it could differ. With NaN (splits of their own) they are paired row by row. Scores lie in [0, 1].

    Runs of A and B vary each for itself (Welch 1947). His degrees of freedom are too many where few runs vary
    unequally, and the smaller S - 1 too few: the middle is taken, with his capped by those of equal variances. Where
    few groups differ at all, two more that differ are added, one each way (Bonett and Price 2012): no difference has
    a variance of zero.
    """
    first, second = _table(a, "a"), _table(b, "b")
    splits = np.isnan(first).any() or np.isnan(second).any()
    if first.shape[-1] != second.shape[-1] or (splits and not (np.isnan(first) == np.isnan(second)).all()):
        raise UserError(f"a has shape {first.shape}, b {second.shape}: expected the same samples in both")
    if splits:
        found = _runs(first - second, groups)
        of_samples, more = _few(found.residuals, found.sums, found.units)
        if found.n_runs == 1:
            raise UserError("a and b have one row with gaps: leave out what was not tested")
        shared = np.maximum(0.0, of_samples - found.noise)
        return Estimate(found.mean, _of_splits(found, of_samples, shared, more), found.units)
    ours, theirs = _runs(first, groups), _runs(second, groups)
    of_samples, more = _few(ours.residuals - theirs.residuals, ours.sums - theirs.sums, ours.units)
    spread = max(ours.groups - 1, 1)
    spreads = [Spread(of_samples + more, spread)]
    shared = Spread(np.maximum(0.0, of_samples - ours.noise - theirs.noise) + more, spread)
    for of_runs in _between(ours.runs, ours.n_runs, theirs.runs, theirs.n_runs):
        spreads += [of_runs, _added(of_runs, shared)]
    return Estimate(ours.mean - theirs.mean, tuple(spreads), ours.units)


def _few(residuals: Any, sums: Any, units: Any) -> tuple[Any, Any]:
    """(variance, what two more groups that differ add to it)."""
    variance, differ = (residuals**2).sum(-1), np.count_nonzero(np.abs(sums) > 1e-12, axis=-1)
    return variance, np.where(differ > 0, 2 * variance / np.maximum(differ, 1), 2 / units**2)


def _between(a: Any, n_a: int, b: Any, n_b: int) -> list[Spread]:
    """The variance of a difference of means of runs, if any side has two; a, b: the variance of each mean."""
    if min(n_a, n_b) == 1:
        return [Spread(a + b, max(n_a, n_b) - 1)] if max(n_a, n_b) > 1 else []
    welch, equal = (_added(Spread(x, n_a - 1), Spread(y, n_b - 1)) for x, y in ((a, b), (1 / n_a, 1 / n_b)))
    return [Spread(welch.variance, (np.minimum(welch.df, equal.df) + min(n_a, n_b) - 1) / 2)]


def estimate_scores(a: ArrayLike, b: ArrayLike | None = None, *, units: int = 0, test_per_train: float = 0) -> Estimate:
    """Mean of one score per run, or mean(a) - mean(b): for scores that are not kept sample by sample.

    a, b: (S,) at least two each. On one test set (test_per_train=0) it is about new runs on these samples; a share of
    `units` independent samples (0: unknown) gets the variance of new samples too, at most p(1 - p)/units. On splits of
    one pool give test_per_train, the size of the test over that of the training split, and for a difference a - b
    split by split: the corrected resampled t test (Nadeau and Bengio 2003), variance (1/S + test/train) s².
    """
    first = _values(a, "a", least=2)
    n, mean, variance = len(first), float(first.mean()), _variance(first)
    if b is not None:
        second = _values(b, "b", least=2)
        spreads = _between(variance / n, n, _variance(second) / len(second), len(second))
        return Estimate(mean - float(second.mean()), tuple(spreads), units)
    of_runs = Spread(variance * (1 / n + test_per_train), n - 1)
    if not units or test_per_train:
        return Estimate(mean, (of_runs,), units)
    return Estimate(mean, (of_runs, _added(of_runs, Spread(mean * (1 - mean) / units, max(units - 1, 1)))), units)


def _variance(values: NDArray[np.float64]) -> float:
    """Of a sample; 0 where the values differ in their last digits only."""
    return float(values.var(ddof=1)) if np.ptp(values) > 1e-9 * np.abs(values).max() else 0.0


def _t(alpha: float, df: Any) -> Any:
    return -special.stdtrit(df, alpha / 2)


def p_value(estimate: Estimate) -> Any:
    """Is it zero? Two-sided t tests, the largest p of all spreads; 1 where nothing varies, for nothing is known."""
    size = np.abs(estimate.value)
    out = np.zeros_like(size, dtype=np.float64)
    for variance, df in estimate.spreads:
        t = size / np.sqrt(np.where(variance > 0, variance, np.inf))
        out = np.maximum(out, np.where(variance > 0, 2 * special.stdtr(df, -t), 0.0))
    return np.where((out > 0) | (np.max([s.variance for s in estimate.spreads], 0) > 0), np.minimum(out, 1.0), 1.0)[()]


def half_width(estimate: Estimate, alpha: float = 0.05) -> Any:
    """Half the width of the interval of level 1 - alpha, of the spread that makes it widest."""
    return np.max([_t(alpha, df) * np.sqrt(variance) for variance, df in estimate.spreads], 0)[()]


def interval(estimate: Estimate, level: float = 0.95) -> Interval:
    _check(level=level)
    half = half_width(estimate, 1 - level)
    return Interval(estimate.value - half, estimate.value + half)


def share_interval(estimate: Estimate, level: float = 0.95) -> Interval:
    """Interval of a mean of scores in [0, 1]: Wilson's (1927) with the effective sample size p(1 - p)/variance.

    So for clustered samples in Dean and Pagano (2015), with Student's t for the normal quantile. Variances near 0 and 1
    rest on a few groups: a quarter of the square of one more group at the other end is added. Never of width 0.
    """
    _check(level=level)
    p = low = high = estimate.value
    product = p * (1 - p)
    for variance, df in estimate.spreads:
        more = (np.maximum(p, 1 - p) / estimate.units) ** 2 / 4
        n = np.where(product > 1e-12, product / (variance + more), estimate.units)
        n = np.maximum(n, np.minimum(estimate.units, 1.0))
        square = _t(1 - level, df) ** 2 / n
        middle, half = p + square / 2, np.sqrt(square * product + square**2 / 4)
        low, high = np.minimum(low, (middle - half) / (1 + square)), np.maximum(high, (middle + half) / (1 + square))
    return Interval(np.maximum(low, 0.0)[()], np.minimum(high, 1.0)[()])


def share(values: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95) -> Interval:
    """Interval of the mean of one run's scores in [0, 1]: `wilson` for right or wrong of independent samples, else
    `share_interval`. values: (n,); groups: (n,) or None."""
    array = _values(values, "values")
    if groups is None and np.isin(array, (0, 1)).all():
        return wilson(int(array.sum()), len(array), level)
    found = share_interval(estimate_mean(array[None], groups), level)
    return Interval(float(found.low), float(found.high))


def effective_n(values: ArrayLike, groups: ArrayLike | None) -> float:
    """How many independent samples right or wrong answers (n,) in groups are worth: n over the design effect (Kish)."""
    array = _values(values, "values")
    found = estimate_mean(array[None], groups)
    product = float(found.value * (1 - found.value))
    return product / float(found.spreads[0].variance) if product > 0 else float(found.units)


def prediction(values: ArrayLike, level: float = 0.95) -> Interval:
    """Where one more value of the same normal distribution lies: mean ± t s sqrt(1 + 1/n) (Fisher 1935)."""
    array = _values(values, "values", least=2)
    half = _t(1 - level, len(array) - 1) * array.std(ddof=1) * math.sqrt(1 + 1 / len(array))
    return Interval(float(array.mean() - half), float(array.mean() + half))


def detectable(estimate: Estimate, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that `p_value` would find with this power; approximate, by the central t."""
    sizes = [(_t(alpha, df) + _t(2 * (1 - power), df)) * np.sqrt(variance) for variance, df in estimate.spreads]
    return float(np.max(sizes))


def mcnemar_power(n: int, discordant: float, difference: float, alpha: float = 0.05) -> float:
    """Power of `mcnemar_exact` on n examples: the chance of p ≤ alpha at this true difference of shares.

    discordant: the share of examples that one has right and the other wrong; at least the difference. Exact: over the
    binomial number of discordant examples, and over how they divide (Duffy 1984).
    """
    discordant = min(1.0, max(discordant, difference))
    if discordant <= 0:
        return 0.0
    middle, reach = n * discordant, 9 * math.sqrt(n * discordant * (1 - discordant)) + 2
    counts = np.arange(max(0, math.floor(middle - reach)), min(n, math.ceil(middle + reach)) + 1)
    limit = scipy_stats.binom.ppf(alpha / 2, counts, 0.5)
    limit = np.where(scipy_stats.binom.cdf(limit, counts, 0.5) > alpha / 2, limit - 1, limit)
    favour = min(1.0, (discordant + difference) / (2 * discordant))
    found = sum(scipy_stats.binom.cdf(limit, counts, share) for share in (favour, 1 - favour))
    return float((scipy_stats.binom.pmf(counts, n, discordant) * np.where(limit >= 0, found, 0.0)).sum())


@functools.lru_cache(1 << 14)  # pairs of one comparison ask for the same again and again
def mcnemar_detectable(n: int, discordant: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference, a multiple of 1/n, that `mcnemar_exact` finds with this power; nan where none is."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar_power(n, discordant, middle / n, alpha) >= power else (middle, high)
    return high / n if high <= n else math.nan


def holm(ps: ArrayLike) -> list[float]:
    """p values adjusted for how many there are, in the given order (Holm 1979, step-down)."""
    array = np.asarray(ps, dtype=np.float64)
    if array.ndim != 1 or not ((array >= 0) & (array <= 1)).all():
        raise UserError(f"ps={array.tolist()}: expected a list of numbers in [0, 1]")
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(np.maximum.accumulate(array[order] * np.arange(len(array), 0, -1)), 1)
    return adjusted.tolist()


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
    many samples (smallest_p), or it found nothing and differences below `visible` (see `detectable`) would have been
    missed although `worth` is already one that matters.
    """
    if not (0 <= p <= 1 and math.isfinite(difference)):
        raise UserError(f"difference={difference}, p={p}: expected a finite number and a p value in [0, 1]")
    _check(alpha=alpha)
    if smallest_p > alpha:
        return "too few to tell"
    if p <= alpha and difference:
        return "better" if difference > 0 else "worse"
    return "too few to tell" if math.isnan(visible) or visible > worth else "no evidence of a difference"


def equivalence_p(estimate: Estimate, margin: float) -> float:
    """Is it farther from zero than `margin`? Two one-sided t tests (Schuirmann 1987), the largest p of all spreads; a
    small p says that it lies within ±margin. 1 where nothing varies, for nothing is known."""
    if not margin > 0:
        raise UserError(f"margin={margin}: expected a number above 0")
    found = 0.0
    for variance, df in estimate.spreads:
        if variance > 0:
            t = (margin - abs(float(estimate.value))) / math.sqrt(variance)
            found = max(found, float(special.stdtr(df, -t)))
    return found if any(variance > 0 for variance, _ in estimate.spreads) else 1.0


def equivalence_size(estimate: Estimate, margin: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """How many times as much data, of samples and of runs, would show two equal scores to be so with this power;
    approximate, by the central t (Phillips 1990): 1 where the data are enough."""
    _check(power=power, alpha=alpha)
    wanted = [variance * ((_t(2 * alpha, df) + _t(1 - power, df)) / margin) ** 2 for variance, df in estimate.spreads]
    return max(1.0, float(np.max(wanted)))
