"""Do the intervals and tests of the report keep what they promise, and do they find what there is to find?

Claims: two settings (or, of one run each, two networks) that are equally good are called different in at most 5% of
comparisons; a 95% interval covers in at least 93%; and where an oracle, a z test that knows the true variance of the
difference, has power .9 or more, ours finds the difference with power .7 or more. A cell FAILS, and the exit code is 1,
when the 99% bound of its Monte Carlo error contradicts its claim; coverage of fewer than 50 independent samples (groups
where samples are grouped) is printed as it is.

Protocol: an answer is right when skill + difficulty > 0: the difficulty of an image has sd 1.5 for all, sd .7 between
settings and .7 between answers; a run's skill has a mean and a seed sd, given in points of accuracy. Groups hold 1 to
13 images, which share most of their difficulty. `scores` are the probabilities of being right instead of answers, as
an average precision is. Splits: each run of both settings is tested on another 30% of one pool, or on one of the
folds that tile it. `learners`: real ones, the nearest centroid in 10 dimensions, trained on the rest of the pool; the
two settings see other features of the same kind. All repeats of a cell go through sketchlab.stats at once, by the
functions that the report calls (report/paired.py, standing.py, scores.py). Wilson and Clopper-Pearson are summed
exactly: over p uniform on [0, 1] by beta probabilities, and at one p, on a grid of 4,001, by binomial ones.
The power table has five runs of a setting and more, ten splits and more: with three runs each no test that must
estimate the variance reaches .7 (Student's t, 4 degrees of freedom: .68). One run against several gives no verdict
(pairs.py), so it has no cell. Not covered: a setting whose few runs hide that one in ten collapses.
Cost: some minutes on two cores.

    python experiments/coverage_of_intervals.py            writes results/coverage.csv and figures/coverage.png
    python experiments/coverage_of_intervals.py --smoke    a tenth of the repeats, into --out
    python experiments/coverage_of_intervals.py --report   only draws again
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from coverage_cells import Cell, cells, drawn, groups_of, power_cells
from scipy import special
from scipy import stats as scipy_stats

from sketchlab import stats
from sketchlab.report.canvas import PALETTE, new, plain

HERE = Path(__file__).resolve().parent
NS = (20, 30, 50, 62, 100, 200, 500, 1000, 2000)
GRID = np.linspace(0, 1, 4001)[1:-1]
REPEATS = 10_000
AT_ONCE = 2_000_000  # answers of a setting drawn at a time, for memory
LEVEL, WRONG, POWER, ORACLE, SURE, MANY = 0.93, 0.05, 0.7, 0.9, 0.99, 50


# --- proportions, exactly


def table_of(method: str, n: int) -> np.ndarray:
    """(n + 1, 2) intervals of k = 0 … n."""
    interval = {"Wilson": stats.wilson, "Clopper–Pearson": stats.clopper_pearson}[method]
    return np.array([interval(k, n) for k in range(n + 1)])


def mean_coverage(table: np.ndarray) -> float:
    """Over p uniform on [0, 1]: every k is equally likely, and p given k is Beta(k + 1, n - k + 1)."""
    k = np.arange(len(table))
    beta = scipy_stats.beta(k + 1, len(table) - k)
    return float((beta.cdf(table[:, 1]) - beta.cdf(table[:, 0])).mean())


def coverage_at(table: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(P,) probabilities that the interval of a binomial count holds p; a few p at a time, for memory."""
    k = np.arange(len(table))
    out = []
    for part in np.array_split(p, max(1, len(p) * len(k) // 1_000_000)):
        inside = (table[:, 0] <= part[:, None]) & (part[:, None] <= table[:, 1])
        out.append((scipy_stats.binom.pmf(k, len(k) - 1, part[:, None]) * inside).sum(1))
    return np.concatenate(out)


def proportions() -> Iterator[dict[str, Any]]:
    for n in NS:
        for method in ("Wilson", "Clopper–Pearson"):
            table = table_of(method, n)
            lowest = float(coverage_at(table, GRID).min())
            row = {"scenario": f"{method}, mean over p", "what": "coverage", "n": n, "value": mean_coverage(table)}
            yield {**row, "lowest": lowest, "result": "exact"}


# --- everything else, by simulation


def simulated(cell: Cell, times: int, gain: float = 0.0, key: str = "") -> dict[str, np.ndarray]:
    """Over `times` repeats: difference, its p and interval; mean of A with its interval, what it should cover."""
    parts: list[dict[str, np.ndarray]] = []
    groups = groups_of(cell)
    size = max(cell.a, cell.b) * (cell.n if groups is None else len(groups))
    most = max(1, AT_ONCE // size)
    exact = cell.a == cell.b == 1 and not cell.grouped and not cell.scores
    for number, start in enumerate(range(0, times, most)):
        a, b, true, gap = drawn(cell, cell.generator(key, gain, number), min(most, times - start), gain)
        difference, (low, high) = stats.estimate_difference(a, b, groups), mean_interval(cell, a, groups)
        p = np.array([mcnemar(*x) for x in zip(a[:, 0], b[:, 0], strict=True)]) if exact else stats.p_value(difference)
        covers = np.abs(difference.value - gap) <= stats.half_width(difference)
        mean = stats.estimate_mean(a, groups).value
        parts.append(
            {
                "difference": difference.value,
                "p": p,
                "covers": covers,
                "mean": mean,
                "low": low,
                "high": high,
                "true": true,
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    only_a = int((a > b).sum())
    return _mcnemar(only_a, int((b > a).sum()))


@cache
def _mcnemar(only_a: int, only_b: int) -> float:
    return stats.mcnemar_exact([1] * only_a + [0] * only_b or [1], [0] * only_a + [1] * only_b or [1]).p


def mean_interval(cell: Cell, a: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if cell.a == 1 and groups is None and not cell.scores:
        table = _wilson(cell.n)[a[:, 0].sum(-1).astype(int)]
        return table[:, 0], table[:, 1]
    found: Any = stats.share_interval(stats.estimate_mean(a, groups))
    return found


@cache
def _wilson(n: int) -> np.ndarray:
    return table_of("Wilson", n)


def bound(hits: int, times: int, *, upper: bool) -> float:
    """One-sided 99% bound of a share (Clopper and Pearson 1934)."""
    if hits == (times if upper else 0):
        return float(upper)
    a, b = (hits + 1, times - hits) if upper else (hits, times - hits + 1)
    return float(scipy_stats.beta.ppf(SURE if upper else 1 - SURE, a, b))


def rows(cell: Cell, times: int) -> list[dict[str, Any]]:
    """False positives, coverage of the difference and of the mean of A."""
    found = simulated(cell, times)
    true = found["mean"].mean() if cell.learners else found["true"]
    called = {
        "false positives": found["p"] <= WRONG,
        "coverage, difference": found["covers"],
        "coverage, mean": (found["low"] <= true) & (true <= found["high"]),
    }
    return [row(cell, what, hits) for what, hits in called.items()]


def row(cell: Cell, what: str, hits: np.ndarray) -> dict[str, Any]:
    k, times = int(hits.sum()), len(hits)
    if what == "false positives":
        good = bound(k, times, upper=False) <= WRONG
    else:
        good = bound(k, times, upper=True) >= LEVEL if cell.n >= MANY else None
    result = "as it is" if good is None else "holds" if good else "FAILS"
    return {
        **head(cell),
        "what": what,
        "value": k / times,
        "error": error(k, times),
        "repeats": times,
        "result": result,
    }


def head(cell: Cell) -> dict[str, Any]:
    return {
        "scenario": cell.scenario, "n": cell.n, "runs a": cell.a, "runs b": cell.b, "seed sd, points": cell.seed_sd,
        "sd ratio": cell.ratio, "accuracy": cell.level,
    }  # fmt: skip


def error(k: int, times: int) -> float:
    return math.sqrt(k / times * (1 - k / times) / times)


def power(cell: Cell, times: int) -> list[dict[str, Any]]:
    """At gains that the oracle finds with power .9 and .99: how often ours says better."""
    sd, out = simulated(cell, min(times, 2000), key="sd")["difference"].std(), []
    for aim in (ORACLE, 0.99):
        gain = (1.96 + special.ndtri(aim)) * sd * 1.02  # with a gain a difference may vary a little more
        found = simulated(cell, times, gain, "power")
        oracle = float((found["difference"] > 1.96 * found["difference"].std()).mean())
        hits = (found["p"] <= WRONG) & (found["difference"] > 0)
        k = int(hits.sum())
        held = bound(k, times, upper=True) >= POWER
        result = "as it is" if oracle < ORACLE else "holds" if held else "FAILS"
        more = {"gain, points": 100 * gain, "oracle": oracle, "value": k / times, "error": error(k, times)}
        out.append({**head(cell), "what": "power", **more, "repeats": times, "result": result})
    return out


def simulate(times: int, jobs: int) -> list[dict[str, Any]]:
    work: list[Callable[[], list[dict[str, Any]]]] = [partial(rows, cell, times) for cell in cells()]
    work += [partial(power, cell, times) for cell in power_cells()]
    with ProcessPoolExecutor(jobs) as pool:
        return [row for found in pool.map(_call, work, chunksize=4) for row in found]


def _call(work: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return work()


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """Of each claim the cell that comes nearest to breaking it: fails first."""
    known = table[table["result"].isin(["holds", "FAILS"])]
    found = []
    for what, of in known.groupby("what", sort=False):
        values: Any = of["value"]
        found.append(values.idxmax() if what == "false positives" else values.idxmin())
    return table.loc[found]


def draw(table: pd.DataFrame, path: Path) -> None:
    figure = new(13, 4.6)
    panels = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1))
    for colour, method in zip(PALETTE, ("Wilson", "Clopper–Pearson"), strict=False):
        panels[0].plot(GRID, coverage_at(table_of(method, 20), GRID), color=colour, lw=0.8, label=method)
    panels[0].set_ylim(0.82, 1.002)
    plain(panels[0], "n = 20: coverage at each p", "true proportion p", "share of intervals that hold p")
    simulated: Any = table[table["result"] != "exact"].copy()
    kinds = ("one run", "several runs, one test set", "splits, folds")
    simulated["kind"] = [
        kinds[0] if name.startswith("one run") else kinds[2 if "split" in name or "fold" in name else 1]
        for name in simulated["scenario"]
    ]
    for axes, what, limit in (
        (panels[1], ("false positives",), WRONG),
        (panels[2], ("coverage, difference", "coverage, mean"), LEVEL),
        (panels[3], ("power",), POWER),
    ):
        for colour, name in zip(PALETTE, kinds, strict=False):
            chosen = simulated[(simulated["kind"] == name) & simulated["what"].isin(what)]
            x = chosen.oracle if what == ("power",) else chosen.n
            axes.plot(x, chosen["value"], "o", color=colour, ms=4, alpha=0.7, label=name)
        axes.axhline(limit, color="0.3", ls="--", lw=1, label=f"limit {limit:g}")
        if what != ("power",):
            axes.set_xscale("log")
    panels[1].set_ylim(0, 0.08)
    panels[2].set_ylim(0.9, 1.002)
    panels[3].set_ylim(0.5, 1.01)
    plain(panels[1], "Equally good, called different", "independent samples (log scale)", "share of comparisons")
    plain(panels[2], "Coverage of 95% intervals", "independent samples (log scale)", "share of intervals")
    plain(panels[3], "Power", "power of an oracle", "power of the report's tests")
    for axes in panels:
        axes.legend(fontsize=7, frameon=False, loc="best")
    figure.savefig(path, metadata={"Software": None})


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tenth of the repeats")
    parser.add_argument("--report", action="store_true", help="only draw what coverage.csv holds")
    parser.add_argument("--out", type=Path, default=HERE, help="holds results/ and figures/")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    chosen = parser.parse_args(words)
    results, figures = chosen.out / "results", chosen.out / "figures"
    for folder in (results, figures):
        folder.mkdir(parents=True, exist_ok=True)
    if not chosen.report:
        found = [*proportions(), *simulate(REPEATS // 10 if chosen.smoke else REPEATS, chosen.jobs)]
        columns = ["scenario", "what", "n", *list(head(Cell("", 0)))[2:], "gain, points", "oracle", "value", "error"]
        columns += ["lowest", "repeats", "result"]
        pd.DataFrame(found, columns=columns).round(4).to_csv(results / "coverage.csv", index=False)
    table = pd.read_csv(results / "coverage.csv")
    draw(table, figures / "coverage.png")
    print(table.to_string(index=False, na_rep=""))
    print("\nWorst cell of each claim:", worst(table).to_string(index=False, na_rep=""), sep="\n")
    failed = int((table.result == "FAILS").sum())
    print(f"{failed} of {len(table)} cells FAIL\n{figures / 'coverage.png'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
