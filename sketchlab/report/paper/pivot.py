"""Any two settings against each other: mean and interval in each cell, tests within a column, and the rows over all.

Over all columns: the interquartile mean and the probability of improvement of Agarwal et al. 2021 ("Deep Reinforcement
Learning at the Edge of the Statistical Precipice"), with their stratified bootstrap, which draws runs anew within each
column; average ranks with the critical difference of Demšar 2006 ("Statistical Comparisons of Classifiers over Multiple
Data Sets", section 3.2.2), from ten columns on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from sketchlab import stats
from sketchlab.errors import UserError
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group, gather
from sketchlab.report.comparison.leaderboard import Entry, entry
from sketchlab.report.comparison.paired import ALPHA
from sketchlab.report.read import Run

DATA_SETS = 10  # columns from which on Demšar's (2006) approximation of the critical difference holds
REPEATS = 10_000  # of the bootstrap
FEW = 5  # runs of a cell below which a percentile bootstrap is known to be too narrow


@dataclass(frozen=True)
class Summary:
    """One row over all columns. iqm: None where a cell is missing or scores have no common scale; low, high: None too
    where every cell has one run."""

    row: str
    iqm: float | None
    low: float | None
    high: float | None
    rank: float | None  # mean over columns, 1 = best


@dataclass(frozen=True)
class Improvement:
    """How likely a run of `a` scores better than one of `b`, on a column drawn at random; ties count half."""

    a: str
    b: str
    probability: float
    low: float | None  # None where there is one run of each everywhere
    high: float | None


@dataclass(frozen=True)
class Pivot:
    keys: tuple[str, str]
    score: str  # the key, such as test/accuracy
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Entry]
    best: set[tuple[str, str]]  # cells that a test says are better than every other of their column
    tests: int  # what the tests are corrected for, by Holm, over the whole table
    summaries: list[Summary]
    improvements: list[Improvement]
    critical: float | None  # of two average ranks, at 5%
    notes: list[str]


def pivot(runs: Sequence[Run], keys: Sequence[str], score: str) -> Pivot:
    """keys: the setting of the rows and that of the columns. Raises UserError for other than two that runs have."""
    if len(keys) != 2 or keys[0] == keys[1]:
        raise UserError(f"--pivot {','.join(keys)}: expected two settings, of the rows and of the columns: model,data")
    groups, _, notes = gather(runs, keys)
    samples = pairs.Samples(score)
    cells: dict[tuple[str, str], Entry] = {}
    by_column: dict[str, dict[str, Group]] = {}
    for group in groups:
        row, column = (group.values[key] for key in keys)
        found = entry(group, samples)
        if not found.single:
            notes.append(f"{row}, {column}: no finished run has {score}")
        elif (row, column) in cells:
            notes.append(f"{row}, {column}: {group.kind} stands aside: another kind of run has this cell")
        else:
            cells[row, column] = found
            by_column.setdefault(column, {})[row] = group
    if not cells:
        raise UserError(f"--pivot {','.join(keys)}: no finished run has {score}")
    columns = list(by_column)
    rows = list(dict.fromkeys(row for row, _ in cells))
    best, many = _best(by_column, score, samples)
    tables = _tables(rows, columns, cells)
    summaries = _summaries(rows, columns, cells, tables)
    improvements = [_improvement(a, b, tables[a], tables[b]) for a in tables for b in tables if a != b]
    critical, why = critical_difference(len(tables), len(columns))
    notes += [why] if why else []
    notes += _few(cells)
    if missing := [f"{row}, {column}" for row in rows for column in columns if (row, column) not in cells]:
        notes.append(f"no run of {'; '.join(missing)}: rows with a gap have no mean over columns and no rank")
    return Pivot((keys[0], keys[1]), score, rows, columns, cells, best, many, summaries, improvements, critical, notes)


def _best(by_column: dict[str, dict[str, Group]], key: str, samples: pairs.Samples) -> tuple[set[tuple[str, str]], int]:
    """Holm over every test of the table, each column's best against its others and all others of small columns."""
    found = {column: pairs.compare(list(rows.values()), key, samples) for column, rows in by_column.items()}
    tested = [pair for each in found.values() for pair in each if pair.test is not None]
    untested = sum(each[0].many - sum(pair.test is not None for pair in each) for each in found.values() if each)
    many = len(tested) + max(untested, 0)
    adjusted = stats.holm([pair.test.p for pair in tested if pair.test] + [1.0] * (many - len(tested)))
    p_of = {id(pair): p for pair, p in zip(tested, adjusted, strict=False)}
    best = set()
    for column, rows in by_column.items():
        ranked = pairs.rank(list(rows.values()), key)
        if len(ranked) < 2:
            continue
        first, beaten = ranked[0], set()
        for pair in found[column]:
            if pair.test is None or first not in (pair.a, pair.b):
                continue
            test = pair.test if pair.a is first else pair.test.turned()
            share, sign = pair.score.is_share, pair.score.sign
            if pairs.verdict_of(test, p_of[id(pair)], many, share=share, sign=sign) == "better":
                beaten.add((pair.b if pair.a is first else pair.a).name)
        if len(beaten) == len(ranked) - 1:
            best.add((next(row for row, group in rows.items() if group is first), column))
    return best, many


def _tables(
    rows: Sequence[str], columns: Sequence[str], cells: dict[tuple[str, str], Entry]
) -> dict[str, list[NDArray[np.float64]]]:
    """row → its scores, one array per column, larger is better; rows without a gap, of scores with a direction."""
    whole = [row for row in rows if all((row, column) in cells for column in columns)]
    sign = next(iter(cells.values())).score.sign
    if not sign or len(columns) < 2:
        return {}
    return {row: [sign * np.array(cells[row, column].single) for column in columns] for row in whole}


def _summaries(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: dict[tuple[str, str], Entry],
    tables: dict[str, list[NDArray[np.float64]]],
) -> list[Summary]:
    score = next(iter(cells.values())).score
    ranks = average_ranks(tables)
    out = []
    for row in rows:
        iqm = low = high = None
        if row in tables and score.is_share:
            values = [score.sign * each for each in tables[row]]
            iqm, low, high = interquartile_mean(values)
            low, high = (low, high) if max(map(len, values)) > 1 else (None, None)
        out.append(Summary(row, iqm, low, high, ranks.get(row)))
    return out


def interquartile_mean(columns: Sequence[NDArray[np.float64]], level: float = 0.95) -> tuple[float, float, float]:
    """(mean of the middle half of all scores, low, high): percentile interval of the stratified bootstrap."""
    generator = np.random.default_rng(0)
    drawn = [column[generator.integers(0, len(column), (REPEATS, len(column)))] for column in columns]
    means = scipy_stats.trim_mean(np.concatenate(drawn, 1), 0.25, axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(scipy_stats.trim_mean(np.concatenate(list(columns)), 0.25)), float(low), float(high)


def _improvement(
    a: str, b: str, ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]
) -> Improvement:
    found, low, high = probability_of_improvement(ours, theirs)
    alone = max(map(len, (*ours, *theirs))) == 1  # nothing says how the runs vary
    return Improvement(a, b, found, None if alone else low, None if alone else high)


def probability_of_improvement(
    a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]], level: float = 0.95
) -> tuple[float, float, float]:
    """Mean over columns of P(a > b) + P(a = b) / 2, with the percentile interval of the stratified bootstrap."""
    generator, found, total = np.random.default_rng(0), 0.0, np.zeros(REPEATS)
    for ours, theirs in zip(a, b, strict=True):
        wins = (np.sign(ours[:, None] - theirs[None, :]) + 1) / 2  # (runs of a, runs of b)
        found += wins.mean() / len(a)
        first = generator.integers(0, len(ours), (REPEATS, len(ours)))
        second = generator.integers(0, len(theirs), (REPEATS, len(theirs)))
        total += wins[first[:, :, None], second[:, None, :]].mean((1, 2)) / len(a)
    low, high = np.quantile(total, [(1 - level) / 2, (1 + level) / 2])
    return float(found), float(low), float(high)


def average_ranks(tables: dict[str, list[NDArray[np.float64]]]) -> dict[str, float]:
    """row → its mean rank over the columns, 1 = best; equal means share a rank."""
    if len(tables) < 2:
        return {}
    means = np.array([[column.mean() for column in columns] for columns in tables.values()])  # (rows, columns)
    ranks = scipy_stats.rankdata(-means, axis=0).mean(1)
    return dict(zip(tables, ranks.tolist(), strict=True))


def critical_difference(rows: int, columns: int) -> tuple[float | None, str]:
    """(Nemenyi's critical difference of two average ranks at 5%, "") or (None, why there is none)."""
    if rows < 2:
        return None, ""
    if columns < DATA_SETS:
        return None, (
            f"no critical difference of ranks: {columns} columns; Nemenyi's test over data sets needs {DATA_SETS} or "
            "more (Demšar 2006). The tests within the columns stand"
        )
    q = scipy_stats.studentized_range.ppf(1 - ALPHA, rows, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(rows * (rows + 1) / (6 * columns))), ""


def _few(cells: dict[tuple[str, str], Entry]) -> list[str]:
    least = min(len(found.single) for found in cells.values())
    if least >= FEW:
        return []
    return [
        f"intervals over all columns draw from {least} run{'s' * (least > 1)} a cell: a percentile bootstrap of so few "
        "is narrower than 95%; intervals in cells and tests do not rest on it"
    ]
