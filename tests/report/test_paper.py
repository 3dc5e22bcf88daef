"""What a paper takes from a comparison: every number against scipy, a second computation, or counting by hand."""

import csv
import itertools
import math
import re

import numpy as np
import pytest
import scipy.stats

from sketchlab import stats
from sketchlab.errors import UserError
from sketchlab.report import __main__ as command
from sketchlab.report import tables
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import find, gather, read_all
from sketchlab.report.comparison.leaderboard import entry
from sketchlab.report.paper import budget, cost, disagreements, equivalence, methods
from sketchlab.report.paper.pivot import (
    average_ranks,
    critical_difference,
    interquartile_mean,
    pivot,
    probability_of_improvement,
)
from tests.report.conftest import sweep

KEY = "test/accuracy"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three models of three seeds at two rates (the columns), tested on the same 300 samples."""
    root = tmp_path_factory.mktemp("paper")
    sweep(root / "runs", {"good": 0.9, "middle": 0.6, "poor": 0.58}, seeds=[0, 1, 2], lrs=[0.1, 0.01])
    return root / "runs"


@pytest.fixture(scope="module")
def found(runs):
    return read_all(find([runs])[0])[0]


@pytest.fixture(scope="module")
def table(found):
    return pivot(found, ["model", "loop.lr"], KEY)


# --- models × data sets


def test_cells_are_means_over_the_runs_with_the_comparisons_interval(found, table):
    assert table.rows == ["good", "middle", "poor"] and set(table.columns) == {"0.1", "0.01"}
    for (row, column), cell in table.cells.items():
        own = [r for r in found if r.choices["model"] == row and str(r.config["config"]["loop"]["lr"]) == column]
        values = [r.final()[KEY] for r in own]
        assert len(values) == 3 and cell.mean == pytest.approx(np.mean(values))
        assert cell.low < cell.mean < cell.high


def test_bold_only_where_every_test_of_the_column_says_so_by_holm_over_the_table(found, table):
    assert table.best == {("good", "0.1"), ("good", "0.01")}
    ps = []
    for column in table.columns:
        groups = [table.cells[row, column].group for row in table.rows]
        ps += [pair.test.p for pair in pairs.compare(groups, KEY) if pair.test]
    assert table.tests == len(ps) == 6
    adjusted = stats.holm(ps)
    assert sum(p <= 0.05 for p in adjusted) >= 4  # good against both others, at both rates
    again = pivot([r for r in found if r.choices["model"] != "good"], ["model", "loop.lr"], KEY)
    assert not again.best  # .60 and .58 of 300: no test tells them apart


def test_two_settings_are_needed_and_must_exist(found):
    for keys in (["model"], ["model", "model"], ["model", "data", "seed"]):
        with pytest.raises(UserError, match="expected two settings"):
            pivot(found, keys, KEY)
    with pytest.raises(UserError, match="loop.rate"):
        pivot(found, ["model", "loop.rate"], KEY)


def test_a_gap_is_named_and_its_row_has_no_mean_over_columns(found):
    some = [r for r in found if (r.choices["model"], r.config["config"]["loop"]["lr"]) != ("poor", 0.1)]
    table = pivot(some, ["model", "loop.lr"], KEY)
    assert any("no run of poor, 0.1" in note for note in table.notes)
    by_row = {one.row: one for one in table.summaries}
    assert by_row["poor"].iqm is None and by_row["poor"].rank is None and by_row["good"].rank == 1


COLUMNS = [np.array([0.1, 0.5, 0.9, 0.7]), np.array([0.2, 0.3, 0.35, 0.8])]


def test_interquartile_mean_is_the_middle_half_of_all_scores():
    middle, low, high = interquartile_mean(COLUMNS)
    ordered = sorted(np.concatenate(COLUMNS))
    assert middle == pytest.approx(np.mean(ordered[2:6])) and low < middle < high


def test_its_interval_is_the_quantile_of_every_possible_draw():
    """Two runs in each of two columns: 16 draws, all counted."""
    columns = [np.array([0.2, 0.6]), np.array([0.4, 0.5])]
    draws = [[*a, *b] for a in itertools.product(columns[0], repeat=2) for b in itertools.product(columns[1], repeat=2)]
    exact = np.quantile(scipy.stats.trim_mean(np.array(draws), 0.25, axis=1), [0.025, 0.975])
    assert interquartile_mean(columns)[1:] == pytest.approx(tuple(exact), abs=0.011)


def test_probability_of_improvement_is_mann_whitneys_u_over_the_pairs():
    other = [np.array([0.3, 0.4, 0.5]), np.array([0.3, 0.1])]
    expected = np.mean(
        [scipy.stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(COLUMNS, other, strict=True)]
    )
    found, low, high = probability_of_improvement(COLUMNS, other)
    assert found == pytest.approx(expected) and low <= found <= high
    back = probability_of_improvement(other, COLUMNS)
    assert back[0] == pytest.approx(1 - found)
    assert probability_of_improvement(COLUMNS, COLUMNS)[0] == pytest.approx(0.5)


def test_average_ranks_share_ties():
    one, two, three = ([np.array([v]) for v in values] for values in ((0.9, 0.5), (0.8, 0.5), (0.1, 0.2)))
    assert average_ranks({"a": one, "b": two, "c": three}) == {"a": 1.25, "b": 1.75, "c": 3.0}


def test_critical_difference_is_demsars_table():
    """q of his table 5(a) for 2 to 5 classifiers; his example: four on 14 data sets → 1.25."""
    for k, q in ((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728)):
        assert critical_difference(k, 20)[0] == pytest.approx(q * math.sqrt(k * (k + 1) / 120), rel=1e-3)
    assert critical_difference(4, 14)[0] == pytest.approx(1.25, abs=0.005)
    none, why = critical_difference(4, 9)
    assert none is None and "9 columns" in why and "10" in why


# --- equivalence


def test_two_one_sided_tests_are_scipys():
    generator = np.random.default_rng(1)
    values = generator.normal(0.01, 0.02, 12)
    estimate = stats.Estimate(values.mean(), (stats.Spread(values.var(ddof=1) / 12, 11),), 0)
    for margin in (0.005, 0.02, 0.05):
        above = scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        below = scipy.stats.ttest_1samp(values, margin, alternative="less").pvalue
        assert stats.equivalence_p(estimate, margin) == pytest.approx(max(above, below))
    low, high = stats.interval(estimate, 0.9)
    edge = max(abs(low), abs(high))  # the margin at which p is .05
    assert stats.equivalence_p(estimate, edge) == pytest.approx(0.05)


def test_so_much_more_data_gives_the_power():
    """Simulated: equal scores, the size that equivalence_size says, TOST at 5%."""
    sd, margin, n = 0.1, 0.05, 20
    estimate = stats.Estimate(0.0, (stats.Spread(sd**2 / n, n - 1),), 0)
    wanted = math.ceil(n * stats.equivalence_size(estimate, margin))
    values = np.random.default_rng(2).normal(0, sd, (4000, wanted))
    means, se = values.mean(1), values.std(1, ddof=1) / math.sqrt(wanted)
    power = np.mean(margin - np.abs(means) > scipy.stats.t.ppf(0.95, wanted - 1) * se)
    assert 0.78 < power < 0.9
    assert stats.equivalence_size(stats.Estimate(0.0, (stats.Spread(1e-9, 9),), 0), margin) == 1


def test_nothing_that_varies_is_never_called_equal():
    assert stats.equivalence_p(stats.Estimate(0.0, (stats.Spread(0.0, 3),), 0), 1.0) == 1
    with pytest.raises(UserError, match="margin=0"):
        stats.equivalence_p(stats.Estimate(0.0, (stats.Spread(1.0, 3),), 0), 0)


def test_verdicts_follow_the_two_tests(found):
    groups, *_ = gather(found)
    compared = pairs.compare(groups, KEY)
    for margin in (0.5, 5, 60):
        judged = equivalence.judge(compared, margin)
        raw = [stats.equivalence_p(each.pair.test.estimate, margin / 100) for each in judged]
        assert [each.p for each in judged] == pytest.approx(stats.holm(raw))
        for each in judged:
            kinds = ("equal within", "different", "not enough data; n = ")
            expected = kinds[0] if each.p <= 0.05 else kinds[1] if each.pair.p <= 0.05 else kinds[2]
            assert each.verdict.startswith(expected)
    assert all(e.verdict.startswith("equal") for e in equivalence.judge(compared, 60))
    for margin in (0, -2, math.nan, math.inf):
        with pytest.raises(UserError, match="--margin"):
            equivalence.judge(compared, margin)


# --- cost and budget


def test_pareto_front_by_brute_force(found):
    groups, *_ = gather(found)
    rows = [entry(group, pairs.Samples(KEY)) for group in groups]
    generator = np.random.default_rng(3)
    prices = {
        row.group.name: float(price) for row, price in zip(rows, generator.integers(1, 5, len(rows)), strict=True)
    }
    for row in rows:
        for run in row.group.runs.values():
            run.env["parameters"] = {"total": prices[row.group.name]}
    front = {row.group.name for row in cost.front(rows, "parameters")}
    brute = {
        a.group.name
        for a in rows
        if not any(
            prices[b.group.name] <= prices[a.group.name] and b.mean >= a.mean
            and (prices[b.group.name] < prices[a.group.name] or b.mean > a.mean)
            for b in rows
        )
    }  # fmt: skip
    assert front <= brute and {prices[n] for n in brute} == {prices[n] for n in front}


def test_macs_of_the_network_that_answers_are_a_cost(found):
    groups, *_ = gather(found)
    rows = [entry(group, pairs.Samples(KEY)) for group in groups]
    assert "MACs a sample" not in cost.table(rows)[0]  # older runs counted none
    for number, row in enumerate(rows):
        for run in row.group.runs.values():
            run.env["macs"] = {"G": 1000 * (number + 1), "D": 7} if number else {"net": None}
    titles, cells, _ = cost.table(rows)
    at = list(titles).index("MACs a sample")
    assert [str(line[at]).removesuffix(" *") for line in cells] == [
        "–",
        *(f"{1000 * (n + 1):,}" for n in range(1, len(rows))),
    ]


@pytest.mark.parametrize("values", [[0.3], [0.1, 0.9], [0.5, 0.5, 0.7, 0.2]])
def test_expected_best_counts_every_draw(values):
    for k, expected in enumerate(budget.expected_best(values, 3), 1):
        assert expected == pytest.approx(np.mean([max(draw) for draw in itertools.product(values, repeat=k)]))


# --- who errs where


def test_disagreements_are_counted_by_hand(found):
    groups, *_ = gather(found)
    a, b = (next(g for g in groups if name in g.name and "0.01" in g.name) for name in ("good", "poor"))
    gap = disagreements.of(a, b, "test")
    right = {}
    for side, group in (("a", a), ("b", b)):
        for run in group.runs.values():
            for row in run.predictions("test").itertuples():
                right.setdefault(row.id, {"a": [], "b": []})[side].append(row.label == row.prediction)
    assert gap.n == len(right)
    assert sorted(gap.only_a) == sorted(i for i, r in right.items() if all(r["a"]) and not any(r["b"]))
    assert sorted(gap.only_b) == sorted(i for i, r in right.items() if all(r["b"]) and not any(r["a"]))
    means = [np.mean([run.final()[KEY] for run in group.runs.values()]) for group in (a, b)]
    assert np.trace(gap.gap) / gap.n == pytest.approx(means[0] - means[1])
    assert gap.gap.sum() == pytest.approx(0)


# --- the page


def test_the_appendix_from_the_command(runs, tmp_path, capsys):
    words = [str(runs), "--pivot", "model,loop.lr", "--margin", "5", "--out", str(tmp_path)]
    assert command.main(words) == 0
    first, last = capsys.readouterr().out.splitlines()[-2:]
    assert first == f"appendix: {tmp_path / 'appendix.html'}" and last == str(tmp_path / "comparison.html")
    page = (tmp_path / "appendix.html").read_text()
    assert "@page" in page and "http" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.S)
    for title in ("Methods", "model × loop.lr", "Equal within 5", "Score against cost", "Expected best", "Who errs"):
        assert title in page
    bib = (tmp_path / "references.bib").read_text()
    assert all(f"{{{key}," in bib for key in ("holm", "agarwal", "schuirmann", "pytorch", "dodge"))


def test_a_number_of_the_tex_is_recomputed_from_the_csv(runs, tmp_path, capsys):
    command.main([str(runs), "--pivot", "model,loop.lr", "--out", str(tmp_path)])
    stem = tmp_path / "tables" / "pivot-test-accuracy"
    tex = stem.with_suffix(".tex").read_text()
    with stem.with_name(f"{stem.name}-values.csv").open() as file:
        values = list(csv.DictReader(file))
    assert len(values) == 6
    for row in values:
        digits = 2 if float(row["high"]) - float(row["low"]) >= 0.05 else 3
        short = [f"{float(row[key]):.{d}f}".replace("0.", ".", 1) for key, d in
                 (("mean", 3), ("low", digits), ("high", digits))]  # fmt: skip
        cell = f"{short[0]} [{short[1]}, {short[2]}]"
        assert (f"\\textbf{{{cell}}}" if row["best"] == "True" else cell) in tex


def test_a_mistyped_margin_or_pivot_is_one_line(runs, tmp_path, capsys):
    for words in (["--margin", "0"], ["--pivot", "model"], ["--pivot", "model,nothing"]):
        assert command.main([str(runs), *words, "--out", str(tmp_path)]) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: --") and err.count("\n") == 1


def test_every_reference_is_cited_by_something_and_every_citation_has_one():
    keys = set(re.findall(r"^@\w+\{([^,]+),", methods.BIB.read_text(), flags=re.M))
    by_name = {key for cited in methods.CITED.values() for key in cited}
    assert by_name <= keys and keys - by_name <= {"holm", "agarwal", "demsar", "dodge", "schuirmann", "pytorch"}
    assert methods.cited(["vgg16_sketchanet", "t over runs and samples"]) == ["vgg", "sketchanet", "welch", "bell"]


def test_bold_cells_in_each_format(tmp_path):
    tables.write(tmp_path / "t", ["a", "b"], [["x_1", ".9"], ["y", ".8"]], ["b"], {(0, 1)})
    assert "| x_1 | **.9** |" in (tmp_path / "t.md").read_text()
    assert "x\\_1 & \\textbf{.9} \\\\" in (tmp_path / "t.tex").read_text()
    assert (tmp_path / "t.csv").read_text() == "a,b\nx_1,.9\ny,.8\n"
