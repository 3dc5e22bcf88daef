import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sketchlab import stats
from sketchlab.errors import UserError


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 20), (36, 62), (50, 62), (20, 20), (1, 1)])
def test_wilson_inverts_the_score_test(k, n):
    z = scipy_stats.norm.ppf(0.975)
    low, high = stats.wilson(k, n)
    for p in {low, high} - {0.0, 1.0}:
        assert abs(k / n - p) == pytest.approx(z * math.sqrt(p * (1 - p) / n))
    assert low <= k / n <= high and (low == 0) == (k == 0) and (high == 1) == (k == n)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 20), (36, 62), (20, 20)])
def test_clopper_pearson_inverts_the_binomial_tails(k, n):
    low, high = stats.clopper_pearson(k, n)
    terms = [[math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)] for p in (low, high)]
    assert low == 0 if k == 0 else sum(terms[0][k:]) == pytest.approx(0.025)
    assert high == 1 if k == n else sum(terms[1][: k + 1]) == pytest.approx(0.025)


def test_published_intervals():
    assert stats.wilson(36, 62) == pytest.approx((0.457, 0.695), abs=5e-4)
    assert stats.wilson(50, 62) == pytest.approx((0.69, 0.886), abs=2e-3)
    assert stats.binomial_se(93, 100) == pytest.approx(0.026, abs=5e-4)
    assert stats.binomial_se(86, 100) == pytest.approx(0.035, abs=5e-4)


@pytest.mark.parametrize("n", [5, 20, 62])
def test_clopper_pearson_never_covers_less_than_it_says(n):
    intervals = np.array([stats.clopper_pearson(k, n) for k in range(n + 1)])
    k = np.arange(n + 1)
    for p in np.linspace(0.001, 0.999, 499):
        covered = (intervals[:, 0] <= p) & (p <= intervals[:, 1])
        assert scipy_stats.binom.pmf(k[covered], n, p).sum() >= 0.95 - 1e-12


def test_t_interval():
    values = [0.71, 0.75, 0.69, 0.8, 0.74]
    found = stats.t_interval(values, level=0.9)
    expected = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(values)) and found.sd == pytest.approx(np.std(values, ddof=1))


def test_mcnemar_against_enumeration():
    a = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0], dtype=bool)
    b = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0], dtype=bool)
    found = stats.mcnemar_exact(a, b)
    flips = [sum(coins) for coins in itertools.product((0, 1), repeat=7)]  # 6 against 1
    assert (found.b, found.c, found.n) == (6, 1, 11)
    assert found.p == pytest.approx(sum(abs(k - 3.5) >= 2.5 for k in flips) / 2**7)
    assert stats.mcnemar_exact(b, a).p == found.p
    assert stats.mcnemar_exact(a, a)[:3] == (0, 0, 1.0)
    assert stats.mcnemar_exact([1] * 4, [0] * 4).p == stats.mcnemar_exact([1] * 4, [0] * 4).smallest_p


def test_sign_flip_against_enumeration():
    differences = np.array([0.03, 0.01, -0.02, 0.04, 0.03, 0.0, 0.05])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=7)]
    found = stats.sign_flip(differences)
    assert found.exact and found.p == np.mean([s >= differences.sum() - 1e-12 for s in sums])
    scipy_p = scipy_stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert found.p == pytest.approx(scipy_p)


def test_sign_flip_says_what_it_can_reach():
    assert stats.sign_flip([1, 2, 3, 4, 5])[:2] == (0.0625, 0.0625)
    assert stats.sign_flip([1, 2, 3, 4, 5, 6])[:2] == (0.03125, 0.03125)
    assert stats.sign_flip([0.0, 0.0, 0.0]).p == 1


def test_sign_flip_draws_agree_with_the_exact_p(monkeypatch):
    differences = np.random.default_rng(0).normal(0.4, 1, 18)
    exact = stats.sign_flip(differences)
    monkeypatch.setattr(stats, "EXACT_FLIPS", 10)
    drawn = stats.sign_flip(differences, draws=40_000, seed=1)
    assert not drawn.exact and drawn.smallest_p == pytest.approx(1 / 40_001)
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / 40_000))
    assert drawn == stats.sign_flip(differences, draws=40_000, seed=1)
    assert drawn != stats.sign_flip(differences, draws=40_000, seed=2)


def test_holm():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.6]) == [1.0, 1.0] and stats.holm([]) == []


@pytest.mark.parametrize(("difference", "n"), [(0.10, 250), (0.05, 1094), (0.02, 7157)])
def test_smallest_difference_around_75_percent(difference, n):
    assert stats.smallest_difference(n, 0.75) <= difference < stats.smallest_difference(n - 1, 0.75)


def test_smallest_difference_has_the_power_it_says():
    n, p = 400, 0.6
    other = p + stats.smallest_difference(n, p)
    generator = np.random.default_rng(0)
    a, b = generator.binomial(n, p, 20_000) / n, generator.binomial(n, other, 20_000) / n
    z = (b - a) / np.sqrt((a + b) / 2 * (1 - (a + b) / 2) * 2 / n)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.02)


def test_smallest_difference_at_the_edges():
    assert 0 < stats.smallest_difference(20, 0.99) < 0.99  # no gain would show: a loss
    assert math.isnan(stats.smallest_difference(1, 0.75))


def test_best_of_chance():
    assert stats.best_of_chance(62, 0.5, 25) == pytest.approx((0.62, 0.677), abs=5e-3)
    assert stats.best_of_chance(20, 0.5, 25) == pytest.approx((0.716, 0.80), abs=5e-4)
    best = np.random.default_rng(0).binomial(20, 0.25, (20_000, 10)).max(1) / 20
    found = stats.best_of_chance(20, 0.25, 10)
    assert found.mean == pytest.approx(best.mean(), abs=3e-3) and found.q95 == np.quantile(best, 0.95)
    assert stats.best_of_chance(10, 0.3, 1).mean == pytest.approx(0.3)


def test_bootstrap_mean_against_enumeration():
    values = np.array([0.0, 0.1, 0.4, 0.9, 1.3])
    means = [np.mean(c) for c in itertools.product(values, repeat=5)]
    assert stats.bootstrap_mean(values, draws=100_000) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.011)


def test_bootstrap_by_counts_is_the_bootstrap_by_places():
    values = np.repeat([-1.0, 0.0, 1.0], [20, 60, 40])
    counted = stats._resampled_means(values, 20_000, np.random.default_rng(0))
    drawn = np.random.default_rng(1).choice(values, (20_000, 120)).mean(1)
    assert scipy_stats.ks_2samp(counted, drawn).pvalue > 0.001
    assert counted.mean() == pytest.approx(values.mean(), abs=2e-3)


def test_bootstrap_is_keyed():
    a, b = np.random.default_rng(0).random((2, 50))
    assert stats.bootstrap_paired(a, b, seed=1) == stats.bootstrap_paired(a, b, seed=1)
    assert stats.bootstrap_paired(a, b, seed=1) != stats.bootstrap_paired(a, b, seed=2)


def test_bootstrap_paired_profits_from_pairs():
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0, 5, 400)
    found = stats.bootstrap_paired(difficulty + generator.normal(0.5, 1, 400), difficulty)
    assert 0 < found.low < found.difference < found.high and found.n == 400 and found.seeds == 1
    half = 1.96 / 20  # sd 1, n = 400
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)


def test_bootstrap_over_seeds_is_as_wide_as_students_where_only_seeds_differ():
    effects = np.random.default_rng(0).normal(0.3, 1, 20)
    a, b = np.repeat(effects[:, None], 30, 1), np.zeros((20, 30))
    found, student = stats.bootstrap_paired(a, b, draws=40_000), stats.t_interval(effects)
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=0.08)
    assert found.difference == pytest.approx(effects.mean()) and (found.n, found.seeds) == (30, 20)


@pytest.mark.parametrize("seeds", [5, 20])
def test_bootstrap_over_few_seeds_is_widened_to_students(seeds):
    effects = scipy_stats.norm.ppf((np.arange(seeds) + 0.5) / seeds)
    a = np.repeat(effects[:, None], 30, 1)
    found, student = stats.bootstrap_paired(a, np.zeros_like(a), draws=40_000), stats.t_interval(effects)
    assert found.high - found.low == pytest.approx(student.high - student.low, rel=0.02 if seeds == 20 else 0.05)


def test_bootstrap_over_seeds_is_the_one_over_examples_where_seeds_agree():
    a, b = np.random.default_rng(0).random((2, 300))
    one, three = stats.bootstrap_paired(a, b), stats.bootstrap_paired(np.tile(a, (3, 1)), np.tile(b, (3, 1)))
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_verdict():
    assert stats.verdict(0.05, 0.01) == "better"
    assert stats.verdict(-0.05, 0.01) == "worse"
    assert stats.verdict(0.05, 0.2) == "no evidence of a difference"
    assert stats.verdict(0.0, 0.01) == "no evidence of a difference"
    five = stats.sign_flip([1, 2, 3, 4, 5])
    assert stats.verdict(3, five.p, smallest_p=five.smallest_p) == "too few to tell"
    visible = stats.smallest_difference(20, 0.75)
    assert stats.verdict(0.05, 0.5, visible=visible, worth=0.1) == "too few to tell"
    assert stats.verdict(0.05, 0.5, visible=stats.smallest_difference(250, 0.75), worth=0.11).startswith("no evidence")
    assert stats.verdict(0.3, 0.01, visible=visible, worth=0.1) == "better"


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.wilson(0, 0),
        lambda: stats.wilson(5, 4),
        lambda: stats.wilson(-1, 4),
        lambda: stats.wilson(1.5, 4),  # type: ignore
        lambda: stats.wilson(1, 4, level=95),
        lambda: stats.clopper_pearson(5, 4),
        lambda: stats.binomial_se(0, 0),
        lambda: stats.t_interval([0.5]),
        lambda: stats.mcnemar_exact([], []),
        lambda: stats.mcnemar_exact([1, 0], [1]),
        lambda: stats.mcnemar_exact([0.3, 0.7], [1, 0]),
        lambda: stats.bootstrap_mean([]),
        lambda: stats.bootstrap_mean([0.5, math.nan]),
        lambda: stats.bootstrap_mean([0.5], draws=0),
        lambda: stats.bootstrap_paired([0.5, 1], [0.5]),
        lambda: stats.bootstrap_paired([[0.5, 1]], [[0.5, 1]]),
        lambda: stats.bootstrap_paired([[0.5, math.inf], [0, 0]], [[0.5, 1], [0, 0]]),
        lambda: stats.sign_flip([]),
        lambda: stats.holm([0.5, 1.5]),
        lambda: stats.holm([math.nan]),
        lambda: stats.smallest_difference(0, 0.5),
        lambda: stats.smallest_difference(10, 1.5),
        lambda: stats.best_of_chance(0, 0.5, 5),
        lambda: stats.best_of_chance(10, 0.5, 0),
        lambda: stats.verdict(0.1, math.nan),
    ],
)
def test_impossible_input_is_refused(call):
    with pytest.raises(UserError):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 62, 200, 2000])
def test_wilson_covers_what_it_says_on_average(n):
    generator = np.random.default_rng(n)
    table = np.array([stats.wilson(k, n) for k in range(n + 1)])
    p = generator.random(400_000)
    found = table[generator.binomial(n, p)]
    assert 0.945 <= ((found[:, 0] <= p) & (p <= found[:, 1])).mean() <= 0.955


@pytest.mark.slow
@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize("kind", ["proportion", "skewed"])
def test_bootstrap_covers_what_it_says(n, kind):
    generator, inside = np.random.default_rng(n), 0
    for i in range(2000):
        values = generator.random(n) < 0.75 if kind == "proportion" else generator.exponential(1, n)
        low, high = stats.bootstrap_mean(values, draws=1000, seed=i)
        inside += low <= (0.75 if kind == "proportion" else 1) <= high
    assert 0.93 <= inside / 2000 <= 0.97


def _same_setting_twice(generator, seeds, n, seed_sd):
    """Right or wrong of two settings that are one: shared difficulty of n images, trainings that differ by seed_sd."""
    difficulty = generator.normal(0, 1.5, n)
    skill = 1 + generator.normal(0, seed_sd, (2, seeds, 1))
    return (skill + difficulty + generator.normal(0, 0.7, (2, seeds, n)) > 0).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.0), (3, 0.3), (5, 0.3), (10, 0.1), (10, 0.3)])
def test_identical_settings_are_rarely_called_different(seeds, seed_sd):
    generator, wrong = np.random.default_rng(seeds), {"bootstrap": 0, "mcnemar": 0, "sign flip": 0, "t": 0}
    for i in range(2000):
        a, b = _same_setting_twice(generator, seeds, 300, seed_sd)
        if seeds == 1:
            found = stats.bootstrap_paired(a[0], b[0], draws=1000, seed=i)
            wrong["mcnemar"] += stats.mcnemar_exact(a[0], b[0]).p <= 0.05
        else:
            found = stats.bootstrap_paired(a, b, draws=1000, seed=i)
            differences = (a - b).mean(1)
            flip, mean = stats.sign_flip(differences), stats.t_interval(differences)
            wrong["sign flip"] += stats.verdict(mean.mean, flip.p, smallest_p=flip.smallest_p) in ("better", "worse")
            wrong["t"] += mean.low > 0 or mean.high < 0
        wrong["bootstrap"] += found.low > 0 or found.high < 0
    assert max(wrong.values()) <= 0.06 * 2000, wrong
