"""Do the intervals and tests of sketchlab.stats keep what they say?

Claims, with their limits: Wilson's interval covers 95% of proportions on average over p (.945 to .955 for n = 20 to
2,000); Clopper and Pearson's never less than 95% at any p; the percentile bootstrap of a mean 93 to 97% from n = 200;
and two settings that are one and the same are called different in at most 6% of 2,000 comparisons, by the tests of the
comparison page.

Protocol: Wilson and Clopper–Pearson are not simulated: over p uniform on [0, 1] the mean coverage is a sum of beta
probabilities, and at one p a sum of binomial ones, on a grid of 4,001 values of p. The bootstrap meets 2,000 samples
each of a proportion (.75) and of an exponential, 1,000 draws a sample. Identical settings: 300 images whose difficulty
has sd 1.5, trainings whose skill has sd `seed_sd` on the same scale, luck of the single answer .7; all trainings on the
same images, or (folds) each pair on images of its own. A test of single trainings speaks of those two alone, so there
the skill is one.
Cost: two minutes on one core.

    python experiments/coverage_of_intervals.py            writes results/coverage.csv and figures/coverage.png
    python experiments/coverage_of_intervals.py --smoke    a tenth of the samples, into --out
    python experiments/coverage_of_intervals.py --report   only draws again
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from sketchlab import rng, stats
from sketchlab.report.canvas import PALETTE, new, plain
from sketchlab.report.comparison.paired import over_examples, over_seeds

HERE = Path(__file__).resolve().parent
NS = (20, 30, 50, 62, 100, 200, 500, 1000, 2000)
DESIGNS = ((1, 0.0), (2, 0.1), (3, 0.0), (3, 0.3), (5, 0.1), (5, 0.3), (10, 0.1), (10, 0.3))  # seeds, seed_sd
GRID = np.linspace(0, 1, 4001)[1:-1]


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
            yield {"what": method, "n": n, "mean": mean_coverage(table), "lowest": lowest, "samples": "exact"}


def bootstrap(times: int) -> Iterator[dict[str, Any]]:
    for n in (n for n in NS if n >= 200):
        for of, truth in (("a proportion of .75", 0.75), ("an exponential", 1.0)):
            generator, inside = rng.generator("coverage", of, n), 0
            for i in range(times):
                values = generator.random(n) < truth if truth < 1 else generator.exponential(1, n)
                low, high = stats.bootstrap_mean(values, draws=1000, seed=i)
                inside += low <= truth <= high
            yield {"what": f"bootstrap, {of}", "n": n, "mean": inside / times, "samples": times}


def same_setting_twice(
    generator: np.random.Generator, seeds: int, n: int, seed_sd: float, folds: bool = False
) -> np.ndarray:
    """(2, seeds, n) right or wrong of two settings that are one. folds: each seed has images of its own."""
    difficulty = generator.normal(0, 1.5, (seeds, n) if folds else n)
    skill = 1 + generator.normal(0, seed_sd, (2, seeds, 1))
    return (skill + difficulty + generator.normal(0, 0.7, (2, seeds, n)) > 0).astype(float)


def false_alarms(times: int) -> Iterator[dict[str, Any]]:
    """Share of comparisons of a setting with itself that end in "better" or "worse", as the comparison page tests."""
    for seeds, seed_sd in DESIGNS:
        generator, called = rng.generator("false alarms", seeds, str(seed_sd)), {"same images": 0, "folds": 0}
        for _ in range(times):
            a, b = same_setting_twice(generator, seeds, 300, seed_sd)
            tests = {"same images": over_examples(a, b, draws=1000)}
            if seeds > 1:
                a, b = same_setting_twice(generator, seeds, 300, seed_sd, folds=True)
                tests["folds"] = over_seeds(list((a - b).mean(1)), fixed=False)
            for kind, test in tests.items():
                verdict = stats.verdict(test.difference, test.p, smallest_p=test.smallest_p)
                called[kind] += verdict in ("better", "worse")
        for kind in called if seeds > 1 else ("same images",):
            row = {"what": f"identical settings, {kind}", "n": 300, "seeds": seeds, "seed_sd": seed_sd}
            yield {**row, "mean": called[kind] / times, "samples": times}


def draw(table: pd.DataFrame, path: Path) -> None:
    figure = new(12.5, 4.2)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1.1))
    for colour, method in zip(PALETTE, ("Wilson", "Clopper–Pearson"), strict=False):
        left.plot(GRID, coverage_at(table_of(method, 20), GRID), color=colour, lw=0.8, label=method)
    left.set_ylim(0.82, 1.002)
    plain(left, "n = 20: coverage at each p", "true proportion p", "share of intervals that hold p")
    single = table[~table.what.str.startswith("identical")]
    for colour, (method, rows) in zip(PALETTE, single.groupby("what", sort=False), strict=False):
        middle.plot(rows.n, rows["mean"], "o-", color=colour, ms=4, label=str(method))
    middle.axhspan(0.945, 0.955, color="0.88", lw=0)
    middle.set_xscale("log")
    middle.set_ylim(0.92, 0.985)
    plain(
        middle,
        "Coverage by n (proportions: mean over p)",
        "n (log scale); grey: .945 to .955",
        "share of intervals that hold p",
    )
    found = table[table.what.str.startswith("identical")]
    for colour, (what, rows) in zip(PALETTE, found.groupby("what", sort=False), strict=False):
        names = [f"{s:.0f} × {sd:g}" for s, sd in zip(rows.seeds, rows.seed_sd, strict=True)]
        label = str(what).split(", ")[1].replace("folds", "folds (below six never: sign flips)")
        right.plot(names, rows["mean"], "o", color=colour, label=label)
    right.axhline(0.06, color="0.3", ls="--", lw=1, label="limit .06")
    right.set_ylim(0, 0.08)
    right.tick_params(axis="x", rotation=45)
    plain(right, "One setting called different from itself", "seeds × luck of training (sd)", "share of comparisons")
    for axes in (left, middle, right):
        axes.axhline(0.95, color="0.3", lw=1, ls=":") if axes is not right else None
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tenth of the samples")
    parser.add_argument("--report", action="store_true", help="only draw what coverage.csv holds")
    parser.add_argument("--out", type=Path, default=HERE, help="holds results/ and figures/")
    chosen = parser.parse_args()
    results, figures = chosen.out / "results", chosen.out / "figures"
    for folder in (results, figures):
        folder.mkdir(parents=True, exist_ok=True)
    times = 200 if chosen.smoke else 2000
    if not chosen.report:
        rows = [*proportions(), *bootstrap(times), *false_alarms(times)]
        columns = ["what", "n", "seeds", "seed_sd", "mean", "lowest", "samples"]
        pd.DataFrame(rows, columns=columns).round(4).to_csv(results / "coverage.csv", index=False)
    table = pd.read_csv(results / "coverage.csv")
    draw(table, figures / "coverage.png")
    print(table.to_string(index=False))
    print(figures / "coverage.png")


if __name__ == "__main__":
    main()
