"""The published coverage: its exact sums against simulation, its limits held, its kept figures those limits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

HOME = Path(__file__).parents[2] / "experiments"
sys.path.append(str(HOME))
import coverage_of_intervals as coverage  # noqa: E402


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


def test_kept_figures_hold_the_limits():
    held(pd.read_csv(HOME / "results" / "coverage.csv"), 0.06)


def held(table: pd.DataFrame, false_alarms: float) -> None:
    rows = {what: table[table.what.str.startswith(what)] for what in ("Wilson", "Clopper", "bootstrap", "identical")}
    assert all(len(found) for found in rows.values())
    assert rows["Wilson"]["mean"].between(0.945, 0.955).all() and rows["Clopper"].lowest.min() >= 0.95
    assert rows["bootstrap"]["mean"].between(0.93, 0.97).all() and rows["bootstrap"].n.min() >= 200
    assert rows["identical"]["mean"].max() <= false_alarms


@pytest.mark.slow
def test_made_again():
    rows = [*coverage.proportions(), *coverage.bootstrap(2000), *coverage.false_alarms(2000)]
    made, kept = pd.DataFrame(rows), pd.read_csv(HOME / "results" / "coverage.csv")
    held(made, 0.06)
    assert np.allclose(made["mean"], kept["mean"], atol=1e-4), "keyed draws: the kept figures come out again"
