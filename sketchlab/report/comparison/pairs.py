"""Every pair of groups: tested on the samples they share, corrected for how many there are, in a sentence to quote."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sketchlab import stats
from sketchlab.metrics import declared
from sketchlab.report import scores
from sketchlab.report.comparison.groups import STROKES, Group
from sketchlab.report.comparison.paired import ALPHA, Test, own_splits, same_samples, scores_alone
from sketchlab.report.examples import Examples, examples
from sketchlab.report.read import Run
from sketchlab.report.sentences import Gap, Sentence, Value, counted, render

WORTH = 0.25  # a share; a test that would have missed even such a difference has too little to go by
NETWORK = {"better": "network better", "worse": "network worse"}  # verdicts on two networks, not on their settings
ALL = 12  # groups up to which all pairs are tested; beyond, each with the best of those on its test set


@dataclass(frozen=True)
class Pair:
    """A and B on one score. test: None where no paired test is right; p: by Holm, of the family of all pairs."""

    a: Group
    b: Group
    key: str
    test: Test | None
    p: float | None
    verdict: str  # better, worse, no evidence of a difference, too few to tell, not paired; of one run each: NETWORK
    record: Sentence
    notes: tuple[str, ...]
    many: int  # tests the p is corrected for

    @property
    def sentence(self) -> str:
        return render(self.record)

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
    if few:  # tested where they have a test set in common
        couples += [(a, b) for i, one in enumerate(blocks) for other in blocks[i + 1 :] for a in one for b in other]
    tested = [(a, b, *_test(a, b, samples)) for a, b in couples]
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


def _test(a: Group, b: Group, samples: Samples) -> tuple[Test | None, list[str]]:
    """The right test for what the two have in common, or None and why not."""
    key = samples.key
    sides = [[run for run in group.runs.values() if math.isfinite(value(run, key))] for group in (a, b)]
    kept = {run.folder: samples.of(run) for runs in sides for run in runs}
    why = next((found for found in kept.values() if isinstance(found, str)), "")
    sets: dict[object, tuple[list[Run], list[Run]]] = {}
    for side, runs in enumerate(sides):
        for run in runs:
            found = kept[run.folder]
            place = _digest(run, key) if why or isinstance(found, str) else found.ids
            sets.setdefault(place, ([], []))[side].append(run)
    common = [both for place, both in sets.items() if place is not None and all(both)]
    if not common:
        return None, [render(Sentence("other test sets", ""))]
    notes = []
    if left := sum(map(len, sides)) - sum(len(runs) for both in common for runs in both):
        notes.append(render(Sentence("runs elsewhere", "", {"n": left})))
    if len({run.data.get("fingerprint") for both in common for runs in both for run in runs}) > 1:
        notes.append(render(Sentence("other pictures", "")))
    if why:
        notes.append(render(Sentence("scores alone", why)))
        test = _alone(common, key)
    elif len(common) == 1:
        ours, theirs = (np.stack([_kept(kept, run).values for run in runs]) for runs in common[0])
        groups = next((g for runs in common[0] for r in runs if (g := _kept(kept, r).groups) is not None), None)
        test = same_samples(ours, theirs, groups, (a.fixed, b.fixed))
    else:
        tables, groups = tables_of(common, kept)
        test = own_splits(tables[0], tables[1], groups)
    return test, notes if test else [*notes, *_why_not(a, b, common, key)]


def _kept(kept: dict[Path, Examples | str], run: Run) -> Examples:
    found = kept[run.folder]
    assert isinstance(found, Examples)
    return found


def tables_of(
    sets: Sequence[Sequence[Sequence[Run]]], kept: dict[Path, Examples | str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """(sides, K, N) mean scores of each side's runs on K test sets, NaN for samples not in one; groups (N,) or None.

    sets: per test set the runs of each side, with scores kept for each sample.
    """
    found = [[[_kept(kept, run) for run in runs] for runs in both] for both in sets]
    place, named = {}, {}
    for each in (e for both in found for runs in both for e in runs):
        named |= dict(zip(each.ids, each.ids if each.groups is None else each.groups, strict=True))
        for name in each.ids:
            place.setdefault(name, len(place))
    tables = np.full((len(sets[0]), len(sets), len(place)), np.nan)
    for k, both in enumerate(found):
        for side, runs in enumerate(both):
            tables[side, k, [place[name] for name in runs[0].ids]] = np.mean([e.values for e in runs], 0)
    groups = np.array([named[name] for name in place])
    return tables, groups if len(np.unique(groups)) < len(groups) else None


def _alone(common: Sequence[tuple[list[Run], list[Run]]], key: str) -> Test | None:
    """By the runs' scores; on several splits by the mean of each, corrected for the samples that splits share."""
    if len(common) == 1:
        ours, theirs = ([value(run, key) for run in runs] for runs in common[0])
        return scores_alone(ours, theirs)
    ratio = test_per_train([run for both in common for runs in both for run in runs], key)
    ours, theirs = ([float(np.mean([value(run, key) for run in both[side]])) for both in common] for side in (0, 1))
    return scores_alone(ours, theirs, ratio) if ratio else None


def test_per_train(runs: Sequence[Run], key: str) -> float:
    """Size of the scored split over that of the training split, the largest of the runs; 0 where a run has not both."""
    split = key.split("/", 1)[0]
    sizes = [(int(run.split(split).get("n") or 0), int(run.split("train").get("n") or 0)) for run in runs]
    return max(n / train for n, train in sizes) if all(n and train for n, train in sizes) else 0.0


def _why_not(a: Group, b: Group, common: Sequence[tuple[list[Run], list[Run]]], key: str) -> list[str]:
    runs = [[run for both in common for run in both[side]] for side in (0, 1)]
    if len(common) > 1 and not test_per_train([run for side in runs for run in side], key):
        return [render(Sentence("unknown sizes", ""))]
    if min(map(len, runs)) > 1:
        return [render(Sentence("no variance", ""))]
    if max(map(len, runs)) == 1:
        return [render(Sentence("one run each", ""))]
    one, other = (a, b) if len(runs[0]) == 1 else (b, a)
    single = [value(run, key) for run in max(runs, key=len)]
    score = a.declared(key)
    low, high = (Value(score, score.clip(v)) for v in stats.prediction(single))
    facts = {"n": len(single), "other": other.name, "low": low, "high": high}
    return [render(Sentence("one run against", one.name, facts))]


def _digest(run: Run, key: str) -> str | None:
    return run.split(key.split("/", 1)[0]).get("digest")


def verdict_of(test: Test, p: float, many: int, *, share: bool = True, sign: int = 1) -> str:
    """The verdict on a pair, p by Holm of `many` tests; about two networks in words of its own."""
    visible = test.visible(ALPHA / many)
    smallest = min(1.0, test.smallest_p * many)
    found = stats.verdict(
        sign * test.difference, p, smallest_p=smallest, visible=visible if share else 0.0, worth=WORTH
    )
    return NETWORK.get(found, found) if test.about == "networks" else found


def _said(a: Group, b: Group, key: str, test: Test | None, p: float | None, many: int, notes: list[str]) -> Pair:
    if test is None or p is None:
        verdict, record = _untested(a, b, key, notes)
        return Pair(a, b, key, None, None, verdict, record, tuple(notes), many)
    score, both = a.declared(key), f"{a.name} and {b.name}"
    verdict = verdict_of(test, p, many, share=score.is_share, sign=score.sign)
    better, other = (b, a) if verdict.endswith("worse") else (a, b)
    found = "better" if verdict.endswith(("better", "worse")) else "few" if verdict == "too few to tell" else "alike"
    facts = {
        "better": better.name,
        "other": other.name,
        "where": _where(a, b, key, test),
        "gap": Gap(score, abs(test.difference)),
        "how": Sentence("p of many" if many > 1 else "p alone", both, {"p": p, "many": many}),
        "seen": seen(score, test, many),
    }
    record = Sentence(f"{'networks' if test.about == 'networks' else 'pair'} {found}", both, facts)
    return Pair(a, b, key, test, p, verdict, record, tuple(notes), many)


def visible(score: declared.Score, test: Test, many: int) -> float:
    """The smallest difference that the test would have seen; nan where that is more than the score's range."""
    found = test.visible(ALPHA / many)
    return math.nan if found > width(score) else found


def width(score: declared.Score) -> float:
    """The largest difference of two values of a score."""
    return math.inf if score.low is None or score.high is None else score.high - score.low


def seen(score: declared.Score, test: Test, many: int) -> Sentence:
    found = visible(score, test, many)
    if math.isnan(found):
        return Sentence("seen none", score.name)
    return Sentence("seen", score.name, {"gap": Gap(score, found)})


def _untested(a: Group, b: Group, key: str, notes: list[str]) -> tuple[str, Sentence]:
    """What is stated where no test is right: too few runs, or other test sets."""
    facts: dict[str, Any] = {"a": a.name, "b": b.name}
    facts |= {name: Value(g.declared(key), mean(g, key)) for name, g in (("of_a", a), ("of_b", b))}
    both = f"{a.name} and {b.name}"
    if render(Sentence("other test sets", "")) not in notes:
        return "too few to tell", Sentence("pair untested", both, {**facts, "why": "; ".join(notes)})
    split = key.split("/", 1)[0]
    first = [next(iter(g.runs.values())) for g in (a, b)]
    sizes = [scores.sample_size(run, key) for run in first]
    gap = None
    if len(a.runs) == len(b.runs) == 1 and a.declared(key).is_share:
        found = [scores.score(run, key, value(run, key)) for run in first]
        limits = [stats.Interval(s.low, s.high) for s in found if s.low is not None and s.high is not None]
        if len(limits) == 2:
            combined = stats.square_and_add(found[0].value, limits[0], found[1].value, limits[1])
            points = {name: 100 * v for name, v in zip(("difference", "low", "high"), combined, strict=True)}
            gap = Sentence("newcombe", both, points)
    on = [Sentence("samples", both, {"n": n}) if n else Sentence("unknown samples", both) for n in sizes]
    facts |= {"where": SIDES.get(split, split), "on_a": on[0], "on_b": on[1], "gap": gap}
    return "not paired", Sentence("not paired", both, facts)


SIDES = {"val": "validation", "train": "training"}


def _where(a: Group, b: Group, key: str, test: Test) -> Sentence:
    split, metric = key.split("/", 1)
    facts: dict[str, Any] = {"metric": Sentence("in metric", metric) if metric != "accuracy" else None}
    kind = f"{SIDES[split]} " if split in SIDES else ""
    called = f"{kind}{'drawing' if a.kind == STROKES else 'query' if a.gives == 'matches' else 'image'}"
    samples = counted(test.n or 0, called) + (f" of {counted(test.groups, 'object')}" if test.groups else "")
    if test.splits > 1:
        same = Sentence("of the same", samples) if test.n else None
        return Sentence("on splits", key, {**facts, "n": test.splits, "same": same})
    n, m = test.runs
    kind_of_runs = "runs of each" if n == m else "runs of both"
    runs = Sentence(kind_of_runs, key, {"n": n, "m": m, "a": a.name, "b": b.name})
    if test.n is None:
        return Sentence("on scores", key, {**facts, "runs": runs})
    those = Sentence("and runs", render(runs)) if test.about != "networks" else None
    these = "this" if test.n == 1 else "these"
    return Sentence("on samples", key, {**facts, "these": these, "samples": samples, "runs": those})
