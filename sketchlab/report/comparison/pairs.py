"""Every pair of groups: matched by seed, tested, corrected for how many there are, and said in a sentence to quote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sketchlab import stats
from sketchlab.metrics import declared
from sketchlab.report import scores
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.paired import Test, over_examples, over_seeds
from sketchlab.report.examples import Examples, examples
from sketchlab.report.read import Run

ALPHA = 0.05
WORTH = 0.25  # a share; a test that would have missed even such a difference has too little to go by
ALL = 12  # groups up to which all pairs are tested; beyond, each with the best of those on its test set


@dataclass(frozen=True)
class Pair:
    """A and B on one score. test: None where no paired test is right; p: by Holm, of the family of all pairs."""

    a: Group
    b: Group
    key: str
    test: Test | None
    p: float | None
    verdict: str  # better, worse, no evidence of a difference, too few to tell, not paired
    sentence: str
    notes: tuple[str, ...]
    many: int  # tests the p is corrected for

    @property
    def score(self) -> declared.Score:
        return self.a.declared(self.key)


class Samples:
    """What each run scored on each sample, read once."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.known: dict[Path, Examples | str] = {}

    def of(self, run: Run) -> Examples | str:
        if run.folder not in self.known:
            self.known[run.folder] = examples(run, self.key)
        return self.known[run.folder]


def compare(groups: Sequence[Group], key: str, samples: Samples | None = None) -> list[Pair]:
    """Pairs of the groups that have finished runs with this score: first those on the same samples, then the others."""
    samples = samples or Samples(key)
    blocks = test_sets(groups, key)
    few = sum(map(len, blocks)) <= ALL
    couples, family = [], 0
    for block in blocks:
        family += len(block) * (len(block) - 1) // 2
        first = block if few else block[:1]
        couples += [(a, b) for i, a in enumerate(first) for b in block[i + 1 :]]
    untested = family - len(couples)
    if few:  # pairs of other samples are said, not tested
        couples += [(a, b) for i, one in enumerate(blocks) for other in blocks[i + 1 :] for a in one for b in other]
    draws = 10_000 if few else 2_000  # p goes on smoothly beyond its draws
    tested = [(a, b, *_test(a, b, samples, draws)) for a, b in couples]
    # pairs that stand in the family untested (each with the best only) count as tests that found nothing
    tests = [test for *_, test, _ in tested if test is not None]
    adjusted = iter(stats.holm([test.p for test in tests] + [1.0] * untested)[: len(tests)])
    many = len(tests) + untested
    return [_said(a, b, key, test, next(adjusted) if test else None, many, notes) for a, b, test, notes in tested]


def test_sets(groups: Sequence[Group], key: str) -> list[list[Group]]:
    """Groups with this score by what they were tested on, the best first in each; scores compare only within one."""
    out: dict[frozenset[str | None], list[Group]] = {}
    for group in rank(groups, key):
        out.setdefault(frozenset(_digest(run, key) for run in group.runs.values()), []).append(group)
    return list(out.values())


def value(run: Run, key: str) -> float:
    return run.final().get(key, math.nan)


def mean(group: Group, key: str) -> float:
    found = [v for run in group.runs.values() if math.isfinite(v := value(run, key))]
    return float(np.mean(found)) if found else math.nan


def rank(groups: Sequence[Group], key: str) -> list[Group]:
    """Groups with this score, the best first."""
    with_score = [group for group in groups if math.isfinite(mean(group, key))]
    return sorted(with_score, key=lambda group: -group.declared(key).order(mean(group, key)))


def matched(a: Group, b: Group, key: str) -> tuple[list[tuple[Run, Run]], list[str]]:
    """Runs of A beside runs of B, and what had to be done for it."""
    ours, theirs = ({u: r for u, r in g.runs.items() if math.isfinite(value(r, key))} for g in (a, b))
    common = [unit for unit in ours if unit in theirs]
    notes = []
    if len(common) >= 2 or (len(common) == len(ours) == len(theirs)):
        if left := len(ours) + len(theirs) - 2 * len(common):
            notes.append(f"by the {len(common)} seeds that both have; {left} other runs play no part")
        return [(ours[unit], theirs[unit]) for unit in common], notes
    if 1 in (len(ours), len(theirs)):
        k = max(len(ours), len(theirs))
        if k > 1:
            one = a if len(ours) == 1 else b
            notes.append(f"one run of {one.name} against {k}: what other seeds of it would do is not known")
        longer = (
            list(ours.values()) * (k if len(ours) == 1 else 1),
            list(theirs.values()) * (k if len(theirs) == 1 else 1),
        )
        return list(zip(*longer, strict=True)), notes
    notes.append("their seeds are not the same ones: paired in order")
    return list(zip(ours.values(), theirs.values(), strict=False)), notes


def _test(a: Group, b: Group, samples: Samples, draws: int) -> tuple[Test | None, list[str]]:
    """The right test for what the two have in common, or None and why not."""
    key = samples.key
    couples, notes = matched(a, b, key)
    found = [(samples.of(x), samples.of(y)) for x, y in couples]
    same = [_same(x, y, p, q, key) for (x, y), (p, q) in zip(couples, found, strict=True)]
    if not all(same):
        return None, [*notes, "their test sets differ"]
    kept = [(p, q) for p, q in found if isinstance(p, Examples) and isinstance(q, Examples)]
    if len({run.data.get("fingerprint") for couple in couples for run in couple}) > 1:
        notes.append("the samples have the same names in both, but not the same pictures or sizes")
    one_set = len({p.ids for p, _ in kept}) == 1
    if len(kept) == len(couples) and one_set:
        stacked = [np.stack([pair[side].values for pair in kept]) for side in (0, 1)]
        return over_examples(stacked[0], stacked[1], draws), notes
    why = next((p for pair in found for p in pair if isinstance(p, str)), "")
    notes += [f"{why}, so by seeds alone"] if why else []
    if len(couples) < 2:
        return None, [*notes, "one run each"]
    fixed = one_set or (not kept and len({_digest(x, key) for x, _ in couples}) == 1)
    return over_seeds([value(x, key) - value(y, key) for x, y in couples], fixed), notes


def _same(x: Run, y: Run, p: Examples | str, q: Examples | str, key: str) -> bool:
    """Tested on the same samples: by their ids and labels, else by the digest of the ids."""
    if isinstance(p, Examples) and isinstance(q, Examples):
        return p.ids == q.ids
    return _digest(x, key) is not None and _digest(x, key) == _digest(y, key)


def _digest(run: Run, key: str) -> str | None:
    return run.split(key.split("/", 1)[0]).get("digest")


def _said(a: Group, b: Group, key: str, test: Test | None, p: float | None, many: int, notes: list[str]) -> Pair:
    if test is None or p is None:
        verdict, sentence = _untested(a, b, key, notes)
        return Pair(a, b, key, None, None, verdict, sentence, tuple(notes), many)
    score = a.declared(key)
    visible = test.visible(ALPHA / many)
    verdict = stats.verdict(
        score.sign * test.difference,
        p,
        smallest_p=min(1.0, test.smallest_p * many),
        visible=visible if score.is_share else 0.0,
        worth=WORTH,
    )
    better, other = (b, a) if verdict == "worse" else (a, b)
    how = f"{p_text(p)}{f', corrected for {many} comparisons' if many > 1 else ''}"
    if verdict in ("better", "worse"):
        size = amount(score, abs(test.difference))
        sentence = f"{better.name} better than {other.name} {_where(a, b, key, test)}, by {size} ({how})."
    elif verdict == "too few to tell":
        why = (
            f"{test.seeds} pairs of runs cannot reach p = .05" + (f" in {many} comparisons" if many > 1 else "")
            if test.n is None and test.smallest_p * many > ALPHA
            else f"a difference below {amount(score, visible)} would have been missed"
        )
        sentence = f"{a.name} and {b.name}: too few to tell {_where(a, b, key, test)} ({how}; {why})."
    else:
        sentence = (
            f"{a.name} and {b.name}: no evidence of a difference {_where(a, b, key, test)} ({how}); "
            f"this test would have seen one of {amount(score, visible)}."
        )
    return Pair(a, b, key, test, p, verdict, sentence, tuple(notes), many)


def _untested(a: Group, b: Group, key: str, notes: list[str]) -> tuple[str, str]:
    """Words where no paired test is right: one run each without samples, or other test sets."""
    of = [scores.text(group.declared(key), mean(group, key)) for group in (a, b)]
    if "their test sets differ" not in notes:
        return "too few to tell", f"{a.name} and {b.name}: too few to tell ({of[0]} and {of[1]}; {'; '.join(notes)})."
    split = key.split("/", 1)[0]
    first = [next(iter(g.runs.values())) for g in (a, b)]
    sizes = [scores.sample_size(run, key) for run in first]
    gap = ""
    if len(a.runs) == len(b.runs) == 1 and a.declared(key).interval == "wilson" and all(sizes):
        k = [round(value(run, key) * n) for run, n in zip(first, sizes, strict=True) if n]
        found = stats.newcombe(k[0], sizes[0] or 1, k[1], sizes[1] or 1)
        points = [f"{100 * v:+.1f}" for v in found]
        gap = f"; difference {points[0]} points, 95% Newcombe [{points[1]}, {points[2]}]"
    on = " and ".join(f"{n} samples" if n else "unknown samples" for n in sizes)
    return "not paired", (
        f"{a.name} ({of[0]}) and {b.name} ({of[1]}) were tested on different {SIDES.get(split, split)} samples ({on}): "
        f"not paired{gap}. What differs may be the samples as much as the settings."
    )


SIDES = {"val": "validation", "train": "training"}
CALLED = {"retrieve": "queries", "strokes": "drawings"}  # what the samples of a kind of run are


def _where(a: Group, b: Group, key: str, test: Test) -> str:
    metric = key.split("/", 1)[1]
    what = f"in {metric} " if metric != "accuracy" else ""
    if test.n is None:
        return f"{what}over {test.seeds} {test.method.rpartition(' ')[2]}"
    one = test.seeds == 1 and len(a.runs) == len(b.runs) == 1  # McNemar speaks of these trainings, not of the settings
    seeds = f" and {test.seeds} seeds of each" if test.seeds > 1 else ", by one training of each" if one else ""
    kind = "validation " if key.startswith("val/") else "training " if key.startswith("train/") else ""
    return f"{what}on these {test.n} {kind}{CALLED.get(a.kind, 'images')}{seeds}"


def amount(score: declared.Score, difference: float) -> str:
    """A difference of a share in points, of anything else as it is."""
    if not score.is_share:
        return f"{difference:.3g}"
    points = 100 * difference
    digits = ".0f" if points >= 9.5 else ".1f" if points >= 0.1 else ".1g"
    return f"{points:{digits}} points"


def p_text(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {scores.share(p, 3 if p < 0.1 else 2)}"
