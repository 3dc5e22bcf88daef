"""What coverage_of_intervals.py tries: pairs of settings with their runs, and the answers these draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special
from scipy import stats as scipy_stats

from sketchlab import rng

SHARED, BETWEEN, ANSWER = 1.5, 0.7, 0.7  # sd of difficulty: of an image, of setting and image, of a single answer
IMAGES = math.hypot(SHARED, BETWEEN, ANSWER)


@dataclass(frozen=True)
class Cell:
    """Two settings, their runs and what they are tested on."""

    scenario: str
    n: int  # independent samples: images, or groups of them
    a: int = 1  # runs; with splits: splits
    b: int = 1
    seed_sd: float = 0.0  # of the skill of A's runs, points of accuracy
    ratio: float = 1.0  # seed sd of B over that of A
    level: float = 0.73  # accuracy of both, without a gain
    grouped: bool = False
    scores: bool = False
    splits: str = ""  # random, folds, or "": all runs on the same samples
    learners: bool = False

    def generator(self, *more: object) -> np.random.Generator:
        return rng.generator("coverage", repr(self), *map(str, more))


@cache
def groups_of(cell: Cell) -> np.ndarray | None:
    """(images,) group of each image; the same in all repeats."""
    if not cell.grouped:
        return None
    return np.repeat(np.arange(cell.n), cell.generator("sizes").integers(1, 14, cell.n))


def skill_of(share: float, seed_sd: float) -> float:
    """Mean skill at which this share of answers is right, over images and seeds."""
    return float(special.ndtri(share)) * math.hypot(IMAGES, seed_sd)


def seed_sds(cell: Cell) -> tuple[float, float]:
    """On the scale of skill, by its slope in points at the middle of the cell."""
    slope = float(scipy_stats.norm.pdf(special.ndtri(cell.level))) / IMAGES
    return cell.seed_sd / 100 / slope, cell.ratio * cell.seed_sd / 100 / slope


def answers(cell: Cell, generator: np.random.Generator, times: int, gain: float) -> tuple[np.ndarray, ...]:
    """(times, runs, images) of A and of B, and (times, runs) true mean score of each run; A is `gain` better."""
    groups = groups_of(cell)
    images = cell.n if groups is None else len(groups)

    def luck(sd: float) -> np.ndarray:
        own = generator.normal(0, sd if groups is None else 0.5 * sd, (times, 1, images))
        return (
            own
            if groups is None
            else own + math.sqrt(0.75) * sd * generator.normal(0, 1, (times, 1, cell.n))[..., groups]
        )

    shared, out, true = luck(SHARED), [], []
    for runs, sd, share in zip((cell.a, cell.b), seed_sds(cell), (cell.level + gain, cell.level), strict=True):
        skill = skill_of(share, sd) + generator.normal(0, sd, (times, runs, 1))
        sure = skill + shared + luck(BETWEEN)
        if cell.scores:
            values = special.ndtr(sure / ANSWER)
        else:
            values = (sure + generator.normal(0, ANSWER, (times, runs, images)) > 0).astype(float)
        out.append(values)
        true.append(special.ndtr(skill[..., 0] / IMAGES) if runs == 1 else np.full((times, runs), share))
    return (*out, *true)


def test_samples(cell: Cell, generator: np.random.Generator, times: int) -> np.ndarray:
    """(times, splits, images) true where an image is tested: 30% of the pool, or a fold of it; groups stay together."""
    pool, groups = (
        generator.random((times, 1 if cell.splits == "folds" else cell.a, cell.n)).argsort(-1),
        groups_of(cell),
    )
    if cell.splits == "folds":
        tested = pool * cell.a // cell.n == np.arange(cell.a)[:, None]
    else:
        tested = pool < round(0.3 * cell.n)
    return tested if groups is None else tested[..., groups]


def learnt(cell: Cell, generator: np.random.Generator, tested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong of two nearest-centroid classifiers, trained per split on what it does not test."""
    times, _, n = tested.shape
    label, out = np.arange(n) % 2, []
    for _ in "ab":
        features = generator.normal(0, 1, (times, n, 10)) + 0.3 * (2 * label[:, None] - 1)
        middles = []
        for which in (0, 1):
            weight = ~tested * (label == which).astype(float)
            middles.append(weight @ features / weight.sum(-1, keepdims=True))  # (times, splits, 10)
        direction = middles[1] - middles[0]
        edge = (direction * (middles[0] + middles[1]) / 2).sum(-1, keepdims=True)
        out.append(((direction @ features.swapaxes(-1, -2) > edge) == (label == 1)).astype(float))
    return out[0], out[1]


def drawn(cell: Cell, generator: np.random.Generator, times: int, gain: float) -> tuple[np.ndarray, ...]:
    """(times, runs, images) of A and B, NaN where a split does not test an image; the true mean of A and A - B."""
    if cell.learners:
        tested = test_samples(cell, generator, times)
        a, b = learnt(cell, generator, tested)
        true, gap = np.full(times, np.nan), np.zeros(times)  # the mean over all repeats will do
    else:
        a, b, ours, theirs = answers(cell, generator, times, gain)
        true, gap = ours.mean(1), ours.mean(1) - theirs.mean(1)
        if not cell.splits:
            return a, b, true, gap
        tested = test_samples(cell, generator, times)
    return np.where(tested, a, np.nan), np.where(tested, b, np.nan), true, gap


def cells() -> list[Cell]:
    """Scenario × n × seed sd: what is checked for false positives and coverage."""
    sds, same = (0.0, 2.0, 6.0), "several runs of each"
    out = [Cell("one run of each", n) for n in (30, 50, 100, 300, 1000)] + [Cell("one run of each", 100, level=0.9)]
    out += [Cell("one run of each, scores", n, scores=True) for n in (30, 50, 100, 300)]
    for scores in (False, True):
        name = "one run of each, groups" + ", scores" * scores
        out += [
            Cell(name, n, grouped=True, scores=scores, level=level) for level in (0.73, 0.9) for n in (10, 20, 50, 87)
        ]
    out += [Cell(same, 100, 2, 2, sd) for sd in sds]
    out += [Cell(same, n, runs, runs, sd) for runs in (3, 5, 10) for n in (50, 100, 300) for sd in sds]
    out += [Cell(f"{same}, groups", n, runs, runs, sd, grouped=True) for runs in (3, 5) for n in (20, 87) for sd in sds]
    uneven = [(a, 10, sd, ratio) for a in (3, 5) for sd in (2.0, 6.0) for ratio in (0.5, 1.0, 2.0)]
    out += [Cell("3 or 5 runs against 10", 100, a, b, sd, ratio) for a, b, sd, ratio in uneven]
    unequal = [(runs, sd, ratio) for runs in (3, 5, 10) for sd, ratio in ((2.0, 3.0), (6.0, 2.0))]
    out += [Cell(f"{same}, unequal variances", 200, runs, runs, sd, ratio) for runs, sd, ratio in unequal]
    splits = "splits of one pool"
    out += [Cell(splits, n, k, k, sd, splits="random") for k in (2, 3, 5, 10, 20) for n in (60, 100, 300) for sd in sds]
    out += [Cell(splits, 1000, k, k, 6.0, splits="random") for k in (3, 5, 10)]
    out += [
        Cell(f"{splits}, groups", 60, k, k, sd, grouped=True, splits="random") for k in (5, 10) for sd in (0.0, 6.0)
    ]
    learners = [(k, n) for k in (5, 10, 20) for n in (60, 100, 300)]
    out += [Cell(f"{splits}, learners", n, k, k, splits="random", learners=True) for k, n in learners]
    out += [Cell("folds", n, k, k, sd, splits="folds") for k in (5, 10) for n in (100, 300) for sd in (0.0, 6.0)]
    return out + [Cell("folds, learners", 100, k, k, splits="folds", learners=True) for k in (5, 10)]


def power_cells() -> list[Cell]:
    sds, same = (0.0, 2.0, 6.0), "several runs of each"
    out = [Cell("one run of each", n) for n in (100, 300, 1000)]
    out += [Cell("one run of each, groups", n, grouped=True) for n in (30, 87)]
    out += [Cell(same, n, runs, runs, sd) for runs in (5, 10) for n in (100, 300) for sd in sds]
    out += [Cell(f"{same}, groups", 87, 5, 5, sd, grouped=True) for sd in sds]
    out += [Cell("5 runs against 10", 100, 5, 10, sd) for sd in (2.0, 6.0)]
    out += [
        Cell("splits of one pool", n, k, k, sd, splits="random") for k in (10, 20) for n in (100, 300) for sd in sds
    ]
    return out + [Cell("folds", 300, 10, 10, sd, splits="folds") for sd in sds]
