"""Sentences that a report generates are true: over random run folders, and in the cases that were once wrong."""

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sketchlab import stats
from sketchlab.report import sentences
from sketchlab.report.comparison import conclusion, groups, leaderboard, pairs
from sketchlab.report.comparison.family import Family
from sketchlab.report.read import read
from sketchlab.report.run import gan as generator
from sketchlab.report.run import transfer, warnings
from sketchlab.report.run.headline import headline
from sketchlab.report.sentences import Gap, Sentence, Value, render, stored
from sketchlab.runs.transfer import _same_name
from tests.report.conftest import base, classifier, gan, put, retrieval, sweep, write_predictions

KEY = "test/accuracy"


def parts(sentence: Sentence) -> list[Sentence]:
    """The sentence and those it is made of."""
    return [sentence, *(p for v in sentence.numbers.values() if isinstance(v, Sentence) for p in parts(v))]


def checked(found: list[Sentence]) -> dict[str, Sentence]:
    """Kind → sentence, once every number lies in its range, and singular and plural are right."""
    assert not [pair for pair, times in Counter((s.kind, s.subject) for s in found).items() if times > 1]
    for sentence in found:
        for part in parts(sentence):
            for name, value in part.numbers.items():
                if isinstance(value, Value):
                    assert value.value == value.score.clip(value.value), part
                elif isinstance(value, Gap) and value.score.is_share:
                    assert 0 <= value.value <= 1 + 1e-9, part
                elif name in ("mean", "q95", "counted") or (part.kind, name) == ("commonest class", "commonest"):
                    assert isinstance(value, float) and 0 <= value <= 1, part
        checked_text(render(sentence))
    return {sentence.kind: sentence for sentence in found}


def checked_text(text: str) -> None:
    assert all(float(n) <= 100 for n in re.findall(r"([\d.]+) points", text)), text
    wrong = r"(?<![\d.,])1 (?:samples|images|objects|runs|queries|drawings|evaluations|times|classes|more test sets)\b"
    assert not re.search(wrong, text), text
    assert not re.search(
        r"(?<![\d.,])(?:\d{2,}|[02-9]) (?:sample|image|object|run|query|drawing|evaluation|time)\b", text
    )
    assert "{" not in text and "nan" not in text.lower().split(), text


# --- random runs


def random_classifier(folder: Path, seed: int) -> tuple[Path, int, int, bool]:
    """A run of random size and share of hits: (folder, n, number of classes, whether there is a test split)."""
    draw = np.random.default_rng(seed)
    n, n_classes, test = int(draw.choice([1, 2, 7, 40, 99, 100, 300])), int(draw.integers(2, 6)), bool(draw.integers(2))
    epochs, names = int(draw.integers(1, 9)), [f"c{i}" for i in range(n_classes)]
    labels = draw.integers(0, n_classes, n)
    said = np.where(draw.random(n) < draw.random(), labels, draw.integers(0, n_classes, n))
    if draw.random() < 0.3:
        said[:] = 0
    right = float((said == labels).mean())
    curve = [float(draw.integers(0, n + 1)) / n for _ in range(epochs - 1)] + [right]
    losses = draw.uniform(0.05, 2, (2, epochs))
    rows = [
        {"step": i + 1, "epoch": i + 1, "train/loss": a, "val/loss": b, "val/accuracy": value}
        for i, (value, a, b) in enumerate(zip(curve, *losses.tolist(), strict=True))
    ]
    final = {k: v for k, v in rows[-1].items() if "/" in k} | ({"test/loss": 0.7, KEY: right} if test else {})
    top = int(np.argmax(curve))
    best = {"epoch": top + 1, "val/accuracy": curve[top]}
    base(folder, names, n, rows, metrics=final, best=best, state=str(draw.choice(["finished", "failed", "running"])))
    data = json.loads((folder / "data.json").read_text())
    data["splits"]["test"] = data["splits"]["val"]
    data["splits"]["train"]["per_class"] = draw.integers(1, 60, n_classes).tolist()
    put(folder, "data.json", data)
    for split in ("val", "test") if test else ("val",):
        write_predictions(folder, split, names, labels, said)
    return folder, n, n_classes, test


@pytest.mark.parametrize("seed", range(40))
def test_warnings_of_random_classifiers(tmp_path, seed):
    folder, n, n_classes, test = random_classifier(tmp_path / "x" / "y", seed)
    run = read(folder)
    all_found = warnings.find(run)
    found = checked(all_found)
    splits = {"validation", "test"} if test else {"validation"}
    for sentence in all_found:
        assert sentence.numbers.get("where", "validation").lower() in splits
        if "n" in sentence.numbers and sentence.kind != "infinite":
            assert sentence.numbers["n"] == n
    labels, said = (run.predictions("val")[name].tolist() for name in ("label", "prediction"))
    assert ("one class" in found) == (len(set(said)) == 1 < n)
    assert any(kind.startswith("tiny") for kind in found) == (n < 100)
    losses, train = run.curve("val/loss")[1], run.curve("train/loss")[1]
    rose, low = len(losses) >= 5 and losses[-1] > 1.25 * losses.min(), losses.argmin()
    assert ("overfits" in found) == (rose and train[-1] <= train[low])
    assert ("loss rose" in found) == (rose and train[-1] > train[low])
    counts = run.split("train")["per_class"]
    assert ("unequal classes" in found) == (max(counts) > 3 * min(counts))
    for sentence in all_found:
        if sentence.kind in ("guessing", "nothing learnt", "below guessing"):
            share = np.mean([a == b for a, b in zip(labels, said, strict=True)])
            if sentence.subject == KEY or not test:
                assert sentence.numbers["value"].value == pytest.approx(share)
            assert f"1/{n_classes} = " in render(sentence)


@pytest.mark.parametrize("seed", range(30))
def test_answers_of_random_generators(tmp_path, seed):
    draw = np.random.default_rng(seed)
    n, evaluations = int(draw.choice([1, 30, 400])), int(draw.integers(1, 9))
    folder = gan(tmp_path / "x" / "y")
    kid = (draw.choice([-0.01, 0.2]) + 0.01 * draw.normal(size=evaluations)).tolist()
    real, fake = draw.choice([0.6, 0.99]), draw.choice([0.01, 0.4])
    scored = {"val/ms_ssim_real": 0.3, "val/ms_ssim_fake": float(draw.uniform(0, 1))}
    rows = [
        {"step": i, "epoch": i, "train/loss_g": 1.0, "train/loss_d": float(draw.choice([1, 2])), "val/kid@random": v,
         "val/precision@random": 0.5, "val/d_real": real, "val/d_fake": fake, **scored}
        for i, v in enumerate(kid, 1)
    ]  # fmt: skip
    put(folder, "metrics.jsonl", rows)
    status = json.loads((folder / "status.json").read_text())
    put(folder, "status.json", {**status, "metrics": {k: v for k, v in rows[-1].items() if "/" in k}})
    kinds = ("kid", "precision", "ms_ssim")
    put(
        folder,
        "quality_val.json",
        {name: {"features": "random", "n_real": n, "before_training": 0.6} for name in kinds},
    )
    run = read(folder)
    found = checked(warnings.find(run))
    assert ("tiny" in found) == (n < 100) and "tiny, of hits" not in found
    assert "tiny" not in found or found["tiny"].numbers["n"] == n
    told = generator.detectors(run)
    checked(told)
    by_name = {sentence.subject: sentence for sentence in told}
    sure, late = real > 0.95 and fake < 0.05, evaluations // 3
    improves = late and min(kid[:-late]) - min(kid[-late:]) > 0.02 * abs(min(kid[:-late]))
    expected = "No" if not sure or improves else "Yes" if late else "Not known"
    assert by_name["Saturated"].numbers["answer"] == expected
    assert by_name["Collapsed"].numbers["answer"] == ("Yes" if scored["val/ms_ssim_fake"] > 0.45 else "No")
    assert ("Stuck" in by_name) == (evaluations >= 5)
    fired = [s.subject for s in told if s.numbers["answer"] == "Yes"]
    assert [s.subject for s in warnings.find(run) if s.kind == "detector"] == fired


def compared(root: Path) -> Family:
    runs, _ = groups.read_all(groups.find([root])[0])
    own, samples = groups.gather(runs)[0], pairs.Samples(KEY)
    ranked = [group for block in pairs.test_sets(own, KEY) for group in block]
    rows = [leaderboard.entry(group, samples) for group in ranked]
    return Family(KEY, ranked, rows, pairs.compare(own, KEY, samples), [], None, {})


@pytest.mark.parametrize("seed", range(16))
def test_headlines_of_random_comparisons(tmp_path, seed):
    draw = np.random.default_rng(seed)
    n, seeds = int(draw.choice([1, 4, 20, 100])), range(int(draw.integers(1, 4)))
    shares = {name: float(draw.choice([0.05, 0.25, 0.3, 0.7, 1.0])) for name in "abc"[: int(draw.integers(2, 4))]}
    family = compared(sweep(tmp_path, shares, seeds=seeds, n=n))
    (line,) = conclusion.headline([family])
    checked([line])
    best = family.leaderboard[0]
    assert line.subject == best.group.name and line.numbers["value"].value == best.mean
    at_chance = {row.group.name: row.low is not None and row.low <= 0.25 for row in family.leaderboard}
    stated = "" if line.numbers["chance"] is None else line.numbers["chance"].kind
    second = line.numbers["against"].subject if "against" in line.numbers else ""
    both = at_chance[line.subject] and at_chance.get(second, False)
    assert stated == ("both at chance" if both else "leader at chance" if at_chance[line.subject] else "")
    warned = [s.numbers["groups"] for s in conclusion.at_chance(family)]
    assert warned == ([", ".join(name for name, at in at_chance.items() if at)] if any(at_chance.values()) else [])
    checked([pair.record for pair in family.pairs])
    for pair in family.pairs:
        assert not pair.test or not pair.test.n or re.search(rf"\b{n} images?\b", pair.sentence)
    if second and (first := next(p for p in family.pairs if p.b.name == second and p.a.name == line.subject)).test:
        kinds = {"better": "better", "worse": "worse", "no evidence of a difference": "no evidence"}
        kind = next((k for verdict, k in kinds.items() if first.verdict.endswith(verdict)), "too few")
        assert line.numbers["against"].kind == kind


# --- once wrong


def sure_gan(folder: Path, kid: list[float]) -> Path:
    rows = [
        {"step": i, "epoch": i, "val/d_real": 0.99, "val/d_fake": 0.01, "val/kid@random": v}
        for i, v in enumerate(kid, 1)
    ]
    base(folder, ["cat"], 20, rows, "gan", metrics={k: v for k, v in rows[-1].items() if "/" in k})
    put(folder, "quality_val.json", {"kid": {"features": "random", "n_real": 20}})
    return folder


@pytest.mark.parametrize(
    ("kid", "expected"),
    [
        ([0.487], "Not known"),
        ([0.6, 0.487], "Not known"),
        ([0.6, 0.5, 0.487], "No"),
        ([0.487, 0.487, 0.487], "Yes"),
        ([-0.01, -0.01, -0.01], "Yes"),  # KID is unbiased, so it may be below 0
        ([-0.01, -0.01, -0.02], "No"),
    ],
)
def test_saturated_only_where_kid_is_known_not_to_fall(tmp_path, kid, expected):
    run = read(sure_gan(tmp_path / "x" / "y", kid))
    (told,) = generator.detectors(run)
    assert (told.subject, told.numbers["answer"]) == ("Saturated", expected)
    assert "is not known" not in render(told)
    assert any(line.startswith("Saturated") for line in warnings.lines(run)) == (expected == "Yes")
    if len(kid) < 3:
        count = "1 evaluation of val/kid@random" if len(kid) == 1 else "2 evaluations of val/kid@random"
        assert count in render(told)


def test_saturated_goes_by_the_declared_direction(tmp_path):
    folder = sure_gan(tmp_path / "x" / "y", [0.5] * 6)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    put(folder, "metrics.jsonl", [{**row, "val/recall@random": 0.1 * row["step"]} for row in rows])
    status = json.loads((folder / "status.json").read_text())
    put(folder, "status.json", {**status, "best": {"epoch": 6, "val/recall@random": 0.6}})
    (told,) = generator.detectors(read(folder))  # a recall that rises gets better
    assert told.numbers["answer"] == "No" and "val/recall@random still gets better" in render(told)


def test_a_generator_has_no_share_of_hits(tmp_path):
    folder = sure_gan(tmp_path / "x" / "y", [0.5])
    status = json.loads((folder / "status.json").read_text())
    put(folder, "status.json", {**status, "metrics": {**status["metrics"], "val/precision@random": 0.9}})
    (line,) = [line for line in warnings.lines(read(folder)) if line.startswith("Tiny")]
    assert line == (
        "Tiny validation split: n = 20. Scores on so few samples vary a lot with the draw: small differences mean "
        "nothing."
    )


def test_groups_at_chance_are_called_so(tmp_path):
    family = compared(sweep(tmp_path, {"a": 0.26, "b": 0.25}))
    (line,) = conclusion.headline([family])
    text = render(line)
    assert "no evidence of a difference to " in text and text.endswith(" Both are at chance (.250).")
    (warning,) = conclusion.at_chance(family)
    assert render(warning) == (
        f"test/accuracy is not significantly better than guessing in {family.groups[0].name}, {family.groups[1].name}: "
        "see the column of intervals. Guessing gives .250."
    )


def test_two_good_groups_are_not_at_chance(tmp_path):
    family = compared(sweep(tmp_path, {"a": 0.81, "b": 0.8}))
    assert "chance" not in render(conclusion.headline([family])[0]) and conclusion.at_chance(family) == []


def test_a_network_without_probabilities_is_not_too_sure(tmp_path):
    folder = retrieval(tmp_path / "x" / "y")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    put(folder, "metrics.jsonl", [{**row, "val/loss": 1 + abs(row["step"] - 3)} for row in rows])
    (line,) = [line for line in warnings.lines(read(folder)) if "overfits" in line]
    assert "the network overfits. Fewer epochs" in line
    folder = classifier(tmp_path / "x" / "z", test=False)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    put(folder, "metrics.jsonl", [{**row, "val/loss": 1 + abs(row["epoch"] - 3)} for row in rows])
    (line,) = [line for line in warnings.lines(read(folder)) if "overfits" in line]
    assert "the network overfits, and its probabilities are too sure." in line


@pytest.mark.parametrize(
    ("theirs", "ours", "same"),
    [
        ("bicycle", "circle", False),
        ("motorcycle", "bicycle", False),
        ("car", "cat", False),
        ("bus", "bush", False),
        ("glass", "glas", False),
        ("Circle", "circle", True),
        ("circles", "circle", True),
        ("boxes", "box", True),
        ("cherry", "Cherries", True),
        ("knives", "knife", True),
        ("T_shirt", "t-shirt", True),
        ("teddy bears", "teddy-bear", True),
    ],
)
def test_renames_are_proposed_for_the_same_name_only(theirs, ours, same):
    assert _same_name(theirs, ours) == same == _same_name(ours, theirs)


def test_singular_and_plural():
    assert [sentences.counted(n, "query") for n in (0, 1, 2)] == ["0 queries", "1 query", "2 queries"]
    assert [sentences.counted(n, "run") for n in (1, 21)] == ["1 run", "21 runs"]


@pytest.mark.parametrize("seed", range(200))
def test_drops_of_random_evaluations(seed):
    """The drop in points lies between −100 and 100, its interval is never of no width, and the verdict is the one
    whose condition holds."""
    draw = np.random.default_rng(seed)
    n_classes = int(draw.integers(2, 6))
    sides = {}
    for name in ("accuracy", "reference"):
        n = int(draw.choice([1, 2, 5, 30, 200, 2000]))
        k = int(draw.choice([0, n, draw.integers(0, n + 1), round(n / n_classes)]))
        low, high = stats.share([1.0] * k + [0.0] * (n - k), None)
        sides[name] = {"k": k, "n": n, "value": k / n, "low": low, "high": high, "split": "test"}
    own, here = sides["reference"], sides["accuracy"]
    limits = [stats.Interval(side["low"], side["high"]) for side in (own, here)]
    gap = stats.square_and_add(own["value"], limits[0], here["value"], limits[1])
    drop = {"value": gap.difference, "low": gap.low, "high": gap.high}
    told = {**sides, "drop": drop, "data": "a", "classes": [f"c{i}" for i in range(n_classes)]}
    record = transfer.drop_of(told)
    assert record is not None and record.kind == "drop"
    numbers = record.numbers
    assert -100 <= numbers["low"] <= numbers["drop"] <= numbers["high"] <= 100 and numbers["low"] < numbers["high"]
    guessing = all(side["low"] <= 1 / n_classes <= side["high"] for side in (own, here))
    clear = gap.low > 0 or gap.high < 0
    expected = "drop at chance" if guessing else "drop clear" if clear else "drop unclear"
    assert numbers["verdict"].kind == expected
    assert render(record).startswith(f"Drop: {100 * gap.difference:.1f} points, 95% Newcombe [")
    assert ("noise explains" in render(record)) == (expected == "drop clear")


def test_no_drop_without_a_score_of_ones_own():
    assert transfer.drop_of({"accuracy": {"k": 1, "n": 2}, "classes": ["a", "b"], "data": "x"}) is None


@pytest.mark.parametrize(
    ("kind", "numbers", "text"),
    [
        ("one class asked", {"known": 3, "classes": "a"}, "1 of the run's 3 classes was asked about (a)"),
        (
            "few classes",
            {"asked": 2, "known": 3, "classes": "a, b"},
            "2 of the run's 3 classes were asked about (a, b)",
        ),
        ("trained on", {"n": 1, "seen": 1}, "(1 sample) includes 1 training sample of the run"),
        ("trained on", {"n": 20, "seen": 2}, "(20 samples) includes 2 training samples of the run"),
        ("objects seen", {"n": 20, "seen": 1}, "(20 samples) includes 1 picture named"),
        ("runs elsewhere", {"n": 1}, "1 run on samples"),
        ("seed changes nothing", {"n": 2}, "x: 2 runs give the same"),
        ("where the drop is of", {"split": "test", "classes": 1, "weights": "w"}, "on the same 1 class, by w."),
        ("where the drop is of", {"split": "test", "classes": 2, "weights": "w"}, "on the same 2 classes, by w."),
    ],
)
def test_words_of_evaluations(kind, numbers, text):
    assert text in render(Sentence(kind, "x", numbers))


def test_what_an_evaluation_kept_is_rendered_and_older_texts_stay():
    kept = json.loads(json.dumps({"kind": "trained on", "subject": "x", "numbers": {"n": 3, "seen": 1}}))
    assert "includes 1 training sample" in render(stored(kept))
    assert render(stored("as it was written before.")) == "as it was written before."


@pytest.mark.parametrize("seed", range(30))
def test_where_pairs_were_tested(seed):
    """n and the kind of split are those of the test, in singular and plural."""
    draw = np.random.default_rng(seed)
    n, runs = (int(draw.choice([1, 2, 50])), (int(draw.integers(1, 4)), int(draw.integers(1, 4))))
    split, metric = str(draw.choice(["val", "test"])), str(draw.choice(["accuracy", "top5"]))
    test = SimpleNamespace(n=n, groups=None, splits=1, runs=runs, about="settings")
    a, b = (SimpleNamespace(name=name, kind="Classifiers", gives="classes") for name in ("one", "other"))
    text = render(pairs._where(a, b, f"{split}/{metric}", test))
    assert text.startswith("in top5 on " if metric == "top5" else "on ")
    assert ("validation image" in text) == (split == "val")
    assert ("this " in text) == (n == 1) and (f"these {n} " in text) == (n > 1)
    assert ("of each" in text) == (runs[0] == runs[1])
    assert "1 runs" not in text and "1 images" not in text and "1 validation images" not in text


@pytest.mark.parametrize("seed", range(20))
def test_headlines_of_random_runs(tmp_path, seed):
    """n is that of the split, the value that of the run; nothing is said of an epoch that was not."""
    folder, n, _, test = random_classifier(tmp_path / "x" / "y", seed)
    run = read(folder)
    record, text = headline(run), render(headline(run))
    assert record.kind == "result" and record.subject.startswith("test/" if test else "val/")
    assert f"n = {n}" in text and text.startswith("Test " if test else "Validation ")
    assert record.numbers["value"].value == run.final()[record.subject]
    assert ("after epoch" in text) <= (not test) and ("weights of epoch" in text) <= test
    assert not re.search(r"\(, |, \)|\(\)|; ;", text)
