import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups
from statsmodels.stats.weightstats import DescrStatsW, ttest_ind

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


def test_holm():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.6]) == [1.0, 1.0] and stats.holm([]) == []


def test_best_of_chance():
    assert stats.best_of_chance(62, 0.5, 25) == pytest.approx((0.62, 0.677), abs=5e-3)
    assert stats.best_of_chance(20, 0.5, 25) == pytest.approx((0.716, 0.80), abs=5e-4)
    best = np.random.default_rng(0).binomial(20, 0.25, (20_000, 10)).max(1) / 20
    found = stats.best_of_chance(20, 0.25, 10)
    assert found.mean == pytest.approx(best.mean(), abs=3e-3) and found.q95 == np.quantile(best, 0.95)
    assert stats.best_of_chance(10, 0.3, 1).mean == pytest.approx(0.3)


# --- estimates: samples in groups, runs, splits


def sizes(generator, groups):
    return np.repeat(np.arange(groups), generator.integers(1, 9, groups))


def spread(value, variance, df):
    return pytest.approx((value, variance, df), rel=1e-9)


def test_one_run_by_samples_is_students_t():
    values = np.random.default_rng(0).random((1, 30))
    found = stats.interval(stats.estimate_mean(values))
    assert (found.low, found.high) == pytest.approx(stats.t_interval(values[0])[1:3])


def test_groups_of_one_size_are_students_t_over_their_means_and_statsmodels_clusters():
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(15), 4)
    values = generator.random(15)[groups] + 0.2 * generator.random(60)
    found = stats.estimate_mean(values[None], groups)
    ((variance, df),) = found.spreads
    clusters = OLS(values, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    means = values.reshape(15, 4).mean(1)
    assert (float(found.value), float(variance), df) == spread(means.mean(), means.var(ddof=1) / 15, 14)
    assert float(variance) == pytest.approx(clusters.cov_params()[0, 0]) and found.units == pytest.approx(15)
    assert stats.interval(found) == pytest.approx(DescrStatsW(means).tconfint_mean())


def test_groups_of_any_size_are_the_jackknife_that_leaves_one_out():
    generator = np.random.default_rng(2)
    groups = sizes(generator, 12)
    values = generator.random((3, len(groups)))
    left_out = [values[:, groups != g].mean() for g in range(12)]
    jackknife = 11 / 12 * ((np.array(left_out) - values.mean()) ** 2).sum()
    found = stats.estimate_mean(values, groups)
    assert float(found.spreads[0].variance) == pytest.approx(jackknife) and found.spreads[0].df == 11
    assert found.units == pytest.approx(len(groups) ** 2 / (np.bincount(groups) ** 2).sum())
    shuffled = generator.permutation(len(groups))
    again = stats.estimate_mean(values[:, shuffled], np.array([f"photo {g}" for g in groups])[shuffled])
    assert float(again.spreads[2].variance) == pytest.approx(float(found.spreads[2].variance))


def test_sketches_of_one_photo_that_are_all_alike_are_one_sample():
    right = np.random.default_rng(3).random(40) < 0.7
    alike, groups = np.repeat(right, 7).astype(float), np.repeat(np.arange(40), 7)
    few = stats.share(right)
    many, naive = stats.share(alike, groups), stats.share(alike)
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.06)
    assert (many.high - many.low) / (naive.high - naive.low) == pytest.approx(math.sqrt(7), rel=0.1)
    assert stats.effective_n(alike, groups) == pytest.approx(39)
    independent = (np.random.default_rng(4).random(280) < 0.7).astype(float)
    assert stats.effective_n(independent, groups) == pytest.approx(280, rel=0.35)


def test_two_way_variance_is_statsmodels_two_way_clustering():
    generator = np.random.default_rng(5)
    values = generator.normal(0, 0.5, (40, 1)) + generator.normal(0, 1, 250) + generator.normal(0, 1, (40, 250))
    run, sample = (axis.ravel() for axis in np.indices(values.shape))
    fit = OLS(values.ravel(), np.ones(values.size)).fit()
    both = cov_cluster_2groups(fit, run, sample, use_correction=False)[0][0, 0]
    assert float(stats.estimate_mean(values).spreads[2].variance) == pytest.approx(both, rel=0.05)


def test_variances_of_runs_samples_and_splits_are_right_on_average():
    """Over many tables: the variance each design says it has, beside that of its estimates."""
    generator = np.random.default_rng(6)
    tables = generator.normal(0, 0.3, (4000, 5, 1)) + generator.normal(0, 1, (4000, 1, 40))
    tables = tables + generator.normal(0, 0.8, (4000, 5, 40))
    found = stats.estimate_mean(tables)
    assert found.spreads[2].variance.mean() == pytest.approx(found.value.var(), rel=0.06)
    tested = generator.random((4000, 5, 40)).argsort(-1) < 14
    splits = stats.estimate_mean(np.where(tested, tables, np.nan))
    assert splits.spreads[0].variance.mean() == pytest.approx(splits.value.var(), rel=0.12)  # the larger of two: above
    assert splits.spreads[0].variance.mean() > 0.97 * splits.value.var()
    folds = np.arange(40) % 5 == np.arange(5)[:, None]
    tiled = stats.estimate_mean(np.where(folds, tables, np.nan))
    assert tiled.spreads[0].variance.mean() == pytest.approx(tiled.value.var(), rel=0.12)


def test_many_tables_at_once_are_each_alone():
    generator = np.random.default_rng(7)
    a, b, groups = generator.random((6, 3, 30)), generator.random((6, 4, 30)), sizes(generator, 30)[:30]
    together = stats.estimate_difference(a, b, groups)
    for i in range(6):
        alone = stats.estimate_difference(a[i], b[i], groups)
        assert stats.p_value(together)[i] == pytest.approx(stats.p_value(alone))
        assert stats.half_width(together)[i] == pytest.approx(stats.half_width(alone))


def test_one_run_of_each_is_the_paired_t_test_with_two_more_samples_that_differ():
    generator = np.random.default_rng(8)
    a, b = generator.random((2, 1, 50))
    ((variance, df),) = stats.estimate_difference(a, b).spreads
    gaps = (a - b)[0]
    assert float(variance) == pytest.approx(gaps.var(ddof=1) / 50 * (1 + 2 / 50)) and df == 49
    hits = (generator.random((2, 1, 400)) < 0.7).astype(float)
    found = stats.estimate_difference(*hits)
    table = [[int(((hits[0] == i) & (hits[1] == j)).sum()) for j in (0, 1)] for i in (0, 1)]
    adjusted = (table[1][0] + 1, table[0][1] + 1)  # Bonett and Price 2012
    n, gap = 402, (adjusted[0] - adjusted[1]) / 402
    half = scipy_stats.norm.ppf(0.975) * math.sqrt((sum(adjusted) / n - gap**2) / n)
    assert float(stats.half_width(found)) == pytest.approx(half, rel=0.01)


def test_two_equal_networks_are_not_known_to_be_equal():
    a = np.ones((1, 60))
    found = stats.interval(stats.estimate_difference(a, a))
    assert found.low == pytest.approx(-found.high) and found.high == pytest.approx(2.0 * math.sqrt(2) / 60, rel=0.01)
    assert stats.p_value(stats.estimate_difference(a, a)) == 1


def test_runs_alone_are_welchs_test_with_fewer_degrees_of_freedom():
    generator = np.random.default_rng(9)
    a, b = generator.normal(0.7, 0.03, 5), generator.normal(0.6, 0.1, 5)
    ((variance, df),) = stats.estimate_scores(a, b).spreads
    t, p, welch = ttest_ind(a, b, usevar="unequal")
    assert (a.mean() - b.mean()) / math.sqrt(variance) == pytest.approx(t) and float(df) == pytest.approx(
        (welch + 4) / 2
    )
    assert p < stats.p_value(stats.estimate_scores(a, b)) < 2.5 * p
    uneven = stats.estimate_scores(a[:3], b).spreads[0].df
    assert 2 <= float(uneven) <= min(ttest_ind(a[:3], b, usevar="unequal")[2], 6)


def test_runs_whose_samples_agree_are_the_runs_alone_and_runs_that_agree_are_one():
    generator = np.random.default_rng(10)
    skill = generator.normal(0.5, 0.1, (2, 6, 1))
    a, b = np.tile(skill, 25)
    found, alone = stats.estimate_difference(a, b), stats.estimate_scores(skill[0, :, 0], skill[1, :, 0])
    assert tuple(map(float, found.spreads[1])) == pytest.approx(tuple(map(float, alone.spreads[0])))
    assert stats.p_value(found) == pytest.approx(stats.p_value(alone))
    c, d = (generator.random((2, 1, 80)) < 0.7).astype(float)
    once, twice = stats.estimate_difference(c, d), stats.estimate_difference(np.tile(c, (4, 1)), np.tile(d, (4, 1)))
    assert stats.half_width(twice) == pytest.approx(stats.half_width(once))
    fixed = stats.estimate_difference(a[:1], b)
    assert float(fixed.spreads[1].variance) == pytest.approx(skill[1].var(ddof=1) / 6) and fixed.spreads[1].df == 5


def test_the_corrected_resampled_t_test():
    gaps = np.array([0.02, 0.05, -0.01, 0.03, 0.04])
    ((variance, df),) = stats.estimate_scores(gaps, test_per_train=0.5).spreads
    assert variance == pytest.approx((1 / 5 + 0.5) * gaps.var(ddof=1)) and df == 4


def test_a_share_of_unknown_samples_gets_their_largest_variance():
    found = stats.estimate_scores([0.75, 0.75, 0.75], units=40)
    low, high = stats.share_interval(found)
    wilson = stats.wilson(30, 40)
    assert (low, high) == pytest.approx(wilson, abs=0.012) and low < wilson.low and high > wilson.high
    assert stats.p_value(stats.estimate_scores([0.8, 0.8], [0.7, 0.7])) == 1, "nothing says how they vary"


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 20])
def test_no_interval_of_width_zero(runs, n):
    for value in (0.0, 1.0, 0.4):
        for groups in (None, np.arange(n) // 2, np.zeros(n)):
            low, high = stats.share_interval(stats.estimate_mean(np.full((runs, n), value), groups))
            assert 0 <= low < high <= 1 and low <= value <= high


def test_share_interval_is_wilsons_for_many_independent_samples():
    right = (np.random.default_rng(11).random(900) < 0.97).astype(float)
    assert stats.share(right) == stats.wilson(int(right.sum()), 900)
    assert stats.share_interval(stats.estimate_mean(right[None])) == pytest.approx(stats.share(right), abs=1e-3)
    low, high = stats.wilson_band([right.mean()], 900)
    assert (low[0], high[0]) == pytest.approx(stats.wilson(int(right.sum()), 900))


def test_p_is_below_05_exactly_where_the_interval_leaves_zero_out():
    generator, sides = np.random.default_rng(12), set()
    for gain in np.linspace(0, 0.3, 25):
        a, b = ((generator.random((4, 60)) < p).astype(float) for p in (0.5 + gain, 0.5))
        found = stats.estimate_difference(a, b)
        low, high = stats.interval(found)
        assert (stats.p_value(found) < 0.05) == (low > 0 or high < 0)
        sides.add(bool(low > 0))
    assert sides == {True, False}


def test_prediction_is_statsmodels():
    values = np.random.default_rng(13).normal(0.7, 0.1, 6)
    frame = OLS(values, np.ones(6)).fit().get_prediction(np.ones(1)).summary_frame()
    assert stats.prediction(values) == pytest.approx((frame["obs_ci_lower"][0], frame["obs_ci_upper"][0]))


def test_other_implementations_agree():
    for k, n in ((0, 5), (36, 62), (20, 20)):
        assert stats.wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)
        assert stats.clopper_pearson(k, n) == pytest.approx(proportion_confint(k, n, method="beta"), abs=1e-9)
    assert stats.newcombe(43, 43, 1140, 2864)[1:] == pytest.approx(
        confint_proportions_2indep(43, 43, 1140, 2864, method="newcomb"), abs=1e-9
    )
    a, b = np.random.default_rng(14).random((2, 70)) < 0.6
    table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
    assert stats.mcnemar_exact(a, b).p == pytest.approx(mcnemar(table, exact=True).pvalue)
    ps = np.random.default_rng(15).random(9) ** 3
    assert stats.holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_power_of_mcnemar_against_enumeration():
    n, discordant, difference, alpha = 7, 0.6, 0.4, 0.07
    shares = ((discordant + difference) / 2, (discordant - difference) / 2, 1 - discordant)
    power = 0.0
    for kinds in itertools.product(range(3), repeat=n):
        only_a, only_b = kinds.count(0), kinds.count(1)
        p = scipy_stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        power += math.prod(shares[kind] for kind in kinds) * (p <= alpha)
    assert stats.mcnemar_power(n, discordant, difference, alpha) == pytest.approx(power)
    assert stats.mcnemar_power(n, 0, 0) == 0


def test_eleven_points_of_100_images_in_28_comparisons_have_power_054_and_080_needs_14():
    assert stats.mcnemar_power(100, 0.03, 0.11, 0.05 / 28) == pytest.approx(0.547, abs=1e-3)
    assert stats.mcnemar_power(100, 0.03, 0.13, 0.05 / 28) < 0.8 < stats.mcnemar_power(100, 0.03, 0.14, 0.05 / 28)
    assert stats.mcnemar_detectable(100, 0.03, 0.8, 0.05 / 28) == 0.14
    assert math.isnan(stats.mcnemar_detectable(5, 0.2))


def test_detectable_has_the_power_it_says():
    generator = np.random.default_rng(16)
    difficulty, skill = generator.normal(0, 0.2, (3000, 1, 60)), generator.normal(0, 0.03, (3000, 12, 1))
    tables = 0.5 + difficulty + skill + generator.normal(0, 0.3, (3000, 12, 60))
    base = stats.estimate_difference(tables[:, :6], tables[:, 6:])
    gain = float(np.mean([stats.detectable(stats.Estimate(0.0, tuple(
        stats.Spread(float(np.broadcast_to(v, 3000)[i]), float(np.broadcast_to(df, 3000)[i])) for v, df in base.spreads
    ), base.units)) for i in range(200)]))  # fmt: skip
    found = stats.p_value(base._replace(value=base.value + gain)) <= 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.06)


def test_verdict():
    assert stats.verdict(0.05, 0.01) == "better"
    assert stats.verdict(-0.05, 0.01) == "worse"
    assert stats.verdict(0.05, 0.2) == "no evidence of a difference"
    assert stats.verdict(0.0, 0.01) == "no evidence of a difference"
    five = stats.mcnemar_exact([1] * 5, [0] * 5)
    assert stats.verdict(1, five.p, smallest_p=five.smallest_p) == "too few to tell"
    assert stats.verdict(0.05, 0.5, visible=0.3, worth=0.1) == "too few to tell"
    assert stats.verdict(0.05, 0.5, visible=math.nan, worth=0.1) == "too few to tell"
    assert stats.verdict(0.05, 0.5, visible=0.1, worth=0.11) == "no evidence of a difference"
    assert stats.verdict(0.3, 0.01, visible=0.3, worth=0.1) == "better"


@pytest.mark.parametrize(
    "call",
    [
        lambda: stats.wilson(0, 0),
        lambda: stats.wilson(5, 4),
        lambda: stats.wilson(-1, 4),
        lambda: stats.wilson(1.5, 4),  # type: ignore
        lambda: stats.wilson(1, 4, level=95),
        lambda: stats.clopper_pearson(5, 4),
        lambda: stats.t_interval([0.5]),
        lambda: stats.mcnemar_exact([], []),
        lambda: stats.mcnemar_exact([1, 0], [1]),
        lambda: stats.mcnemar_exact([0.3, 0.7], [1, 0]),
        lambda: stats.estimate_mean([]),
        lambda: stats.estimate_mean([0.5, 1]),
        lambda: stats.estimate_mean([[0.5, math.inf]]),
        lambda: stats.estimate_mean([[math.nan, math.nan], [0, 1]]),
        lambda: stats.estimate_mean([[0.5, 1]], [0]),
        lambda: stats.estimate_difference([[0.5, 1]], [[0.5]]),
        lambda: stats.estimate_difference([[0.5, math.nan], [0, 1]], [[0.5, 1], [0, 1]]),
        lambda: stats.estimate_scores([0.5]),
        lambda: stats.estimate_scores([0.5, 1], [0.5]),
        lambda: stats.share([]),
        lambda: stats.prediction([0.5]),
        lambda: stats.interval(stats.estimate_mean([[0, 1]]), level=95),
        lambda: stats.holm([0.5, 1.5]),
        lambda: stats.holm([math.nan]),
        lambda: stats.best_of_chance(0, 0.5, 5),
        lambda: stats.best_of_chance(10, 0.5, 0),
        lambda: stats.verdict(0.1, math.nan),
    ],
)
def test_impossible_input_is_refused(call):
    with pytest.raises(UserError):
        call()


@pytest.mark.long
@pytest.mark.parametrize("n", [20, 62, 200, 2000])
def test_wilson_covers_what_it_says_on_average(n):
    generator = np.random.default_rng(n)
    table = np.array([stats.wilson(k, n) for k in range(n + 1)])
    p = generator.random(400_000)
    found = table[generator.binomial(n, p)]
    assert 0.945 <= ((found[:, 0] <= p) & (p <= found[:, 1])).mean() <= 0.955
