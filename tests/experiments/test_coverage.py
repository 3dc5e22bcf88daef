"""The published coverage: its exact sums against simulation, its limits held, its kept figures those limits."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sketchlab import stats
from sketchlab.report.comparison.paired import own_splits, same_samples

HOME = Path(__file__).parents[2] / "experiments"
sys.path.append(str(HOME))
import coverage_of_intervals as coverage  # noqa: E402
from coverage_cells import Cell  # noqa: E402


def test_exact_coverage_is_the_simulated_one():
    generator, table = np.random.default_rng(0), coverage.table_of("Wilson", 20)
    p = generator.random(200_000)
    found = table[generator.binomial(20, p)]
    inside = (found[:, 0] <= p) & (p <= found[:, 1])
    assert coverage.mean_coverage(table) == pytest.approx(inside.mean(), abs=0.002)
    one = np.array([0.3])
    counts = generator.binomial(20, 0.3, 200_000)
    inside = (table[counts, 0] <= 0.3) & (table[counts, 1] >= 0.3)
    assert coverage.coverage_at(table, one)[0] == pytest.approx(inside.mean(), abs=0.003)


def test_wilson_on_average_and_clopper_pearson_at_every_p_for_small_n():
    for n in (20, 50, 100):
        assert 0.945 <= coverage.mean_coverage(coverage.table_of("Wilson", n)) <= 0.955
        assert coverage.coverage_at(coverage.table_of("Clopper–Pearson", n), coverage.GRID[::10]).min() >= 0.95


def test_kept_figures_hold_every_claim():
    table = pd.read_csv(HOME / "results" / "coverage.csv")
    exact = table[table["result"] == "exact"]
    assert exact.loc[exact["scenario"].str.startswith("Wilson"), "value"].between(0.945, 0.955).all()
    assert exact.loc[exact["scenario"].str.startswith("Clopper"), "lowest"].min() >= 0.95
    simulated = table[table["result"] != "exact"]
    assert not (simulated["result"] == "FAILS").any() and simulated["repeats"].min() >= 5000
    tried = {(row["scenario"], row["n"], row["runs a"]) for row in simulated.to_dict("records")}
    assert tried == {(cell.scenario, cell.n, cell.a) for cell in (*coverage.cells(), *coverage.power_cells())}
    assert len(simulated) == 3 * len(coverage.cells()) + 2 * len(coverage.power_cells())


def test_readme_quotes_the_worst_cells():
    table = pd.read_csv(HOME / "results" / "coverage.csv")
    (line,) = (
        line for line in (HOME / "results" / "README.md").read_text().splitlines() if "coverage_of_intervals.py" in line
    )
    worst = coverage.worst(table).set_index("what")
    n_cells = len(coverage.cells()) + len(coverage.power_cells())
    assert (
        f"{n_cells} cells" in line and f"called different in {100 * worst.loc['false positives', 'value']:.1f}%" in line
    )
    difference, mean = (worst.loc[f"coverage, {of}", "value"] for of in ("difference", "mean"))
    assert f"interval of a difference covers {difference:.3f}, of a mean {mean:.3f}".replace("0.", ".") in line
    power = worst.loc["power"]
    assert f"has power {power['oracle']:.2f}, ours has {power['value']:.2f}".replace("0.", ".") in line


SMALL = [
    Cell("one run of each", 100),
    Cell("one run of each, groups", 30, grouped=True),
    Cell("several runs of each", 50, 3, 3, 6.0),
    Cell("several runs of each, groups", 30, 3, 5, 2.0, 2.0, grouped=True),
    Cell("splits of one pool", 60, 5, 5, 2.0, splits="random"),
    Cell("splits of one pool, learners", 60, 5, 5, splits="random", learners=True),
    Cell("folds", 60, 5, 5, splits="folds"),
]


@pytest.mark.parametrize("cell", SMALL, ids=lambda cell: cell.scenario)
def test_a_small_version_holds(cell):
    found = {row["what"]: row for row in coverage.rows(cell, 1000)}
    assert found["false positives"]["result"] == "holds" and found["false positives"]["value"] <= 0.06
    assert min(found[what]["value"] for what in ("coverage, difference", "coverage, mean")) >= 0.92


def test_a_small_version_finds_what_there_is():
    for row in coverage.power(Cell("several runs of each", 100, 5, 5, 2.0), 500):
        assert row["oracle"] >= 0.85 and row["value"] >= 0.75 and row["result"] != "FAILS"


def test_the_cells_are_what_they_say():
    """Both settings equally good, with the seed sd that is named; groups and splits as described."""
    cell = Cell("several", 4000, 30, 30, 6.0, 0.5)
    a, b, true, gap = coverage.drawn(cell, np.random.default_rng(0), 30, 0.0)
    assert a.mean() == pytest.approx(0.73, abs=0.01) and b.mean() == pytest.approx(0.73, abs=0.01)
    assert true == pytest.approx(0.73) and gap == pytest.approx(0)
    sds = [side.mean(-1).std(-1, ddof=1).mean() for side in (a, b)]
    assert sds == pytest.approx([0.06, 0.03], rel=0.1)
    better, other, *_ = coverage.drawn(cell, np.random.default_rng(0), 30, 0.1)
    assert better.mean() - other.mean() == pytest.approx(0.1, abs=0.01)
    grouped = replace(cell, a=1, b=1, n=3000, seed_sd=0.0, grouped=True)
    answers, groups = coverage.drawn(grouped, np.random.default_rng(1), 1, 0.0)[0][0, 0], coverage.groups_of(grouped)
    assert groups is not None and np.bincount(groups).min() >= 1 and np.bincount(groups).max() <= 13
    assert stats.effective_n(answers, groups) < 0.5 * len(answers)
    folds = np.isfinite(coverage.drawn(Cell("folds", 50, 5, 5, splits="folds"), np.random.default_rng(2), 3, 0.0)[0])
    assert (folds.sum(1) == 1).all() and (folds.sum(2) == 10).all()
    splits = np.isfinite(coverage.drawn(Cell("s", 50, 5, 5, splits="random"), np.random.default_rng(3), 3, 0.0)[0])
    assert (splits.sum(2) == 15).all() and (splits.sum(1) > 1).any()


@pytest.mark.parametrize("cell", [c for c in SMALL if not c.learners], ids=lambda cell: cell.scenario)
def test_the_report_gives_the_p_and_interval_that_were_simulated(cell):
    generator, groups = np.random.default_rng(5), coverage.groups_of(cell)
    a, b, *_ = coverage.drawn(cell, generator, 5, 0.1)
    many = stats.estimate_difference(a, b, groups)
    for i in range(5):
        test = (own_splits if cell.splits else same_samples)(a[i], b[i], groups)
        assert test is not None and test.difference == pytest.approx(many.value[i])
        p = coverage.mcnemar(a[i, 0], b[i, 0]) if cell.a == 1 and groups is None else stats.p_value(many)[i]
        assert test.p == pytest.approx(p)
        if test.p <= 0.05:
            assert test.high - test.difference == pytest.approx(stats.half_width(many)[i])


def test_a_broken_claim_fails_and_so_does_the_command(tmp_path, monkeypatch, capsys):
    cell = Cell("several runs of each", 100, 3, 3)
    called = np.arange(5000) < 300  # .06
    assert coverage.row(cell, "false positives", called)["result"] == "FAILS"
    assert coverage.row(cell, "false positives", called[100:])["result"] == "holds"
    assert coverage.row(cell, "coverage, mean", np.arange(5000) < 4580)["result"] == "FAILS"
    assert coverage.row(cell, "coverage, mean", np.arange(5000) < 4630)["result"] == "holds"
    assert coverage.row(replace(cell, n=49), "coverage, mean", np.arange(5000) < 4580)["result"] == "as it is"
    plain = stats.p_value
    monkeypatch.setattr(stats, "p_value", lambda estimate: np.where(plain(estimate) < 0.2, 0.01, 1.0))
    assert coverage.rows(cell, 500)[0]["result"] == "FAILS"
    monkeypatch.setattr(stats, "p_value", lambda estimate: np.ones_like(estimate.value))
    assert [row["result"] for row in coverage.power(replace(cell, a=5, b=5), 300)][-1] == "FAILS", "withholding all"
    monkeypatch.setattr(coverage, "proportions", list)
    monkeypatch.setattr(coverage, "draw", lambda table, path: None)
    for hits, code in ((300, 1), (200, 0)):
        made = [coverage.row(cell, "false positives", np.arange(5000) < hits)]
        monkeypatch.setattr(coverage, "simulate", lambda times, jobs, made=made: made)
        assert coverage.main(["--out", str(tmp_path)]) == code
        assert f"{code} of " in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "results" / "coverage.csv")["result"].iloc[-1] == "holds"


@pytest.mark.long
def test_made_again():
    kept = pd.read_csv(HOME / "results" / "coverage.csv")
    cell = coverage.cells()[0]
    made = coverage.rows(cell, coverage.REPEATS)
    same = kept[(kept["scenario"] == cell.scenario) & (kept["n"] == cell.n) & (kept["what"] != "power")]
    assert [row["value"] for row in made] == pytest.approx(same["value"].tolist(), abs=1e-4), "keyed draws"
