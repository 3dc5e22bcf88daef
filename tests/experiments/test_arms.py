"""Experiments as a family: every file says what it claims and can be tried, its rows compose, its tests are right."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats as scipy_stats

from sketchlab import config, stats
from sketchlab.report import scores
from sketchlab.report.comparison.groups import Group
from sketchlab.report.read import Run, read

FOLDER = Path(__file__).parents[2] / "experiments"
sys.path.append(str(FOLDER))  # scripts: they find one another as python FILE does
import arms  # noqa: E402
import arms_report  # noqa: E402
import arms_table  # noqa: E402
import arms_tests  # noqa: E402
import arms_types  # noqa: E402
import das_debnath_retrieval as retrieval  # noqa: E402

FILES = sorted(path for path in FOLDER.glob("*.py") if "__main__" in path.read_text())
OF_ARMS = [path.stem for path in FILES if "EXPERIMENT = Experiment(" in path.read_text()]


def experiment(name: str) -> arms_types.Experiment:
    return importlib.import_module(name).EXPERIMENT


# nothing was published of intervals
ASIDE = {"coverage_of_intervals": {"deviation"}}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_says_what_it_claims_and_can_be_tried(path):
    text = path.read_text()
    doc = text.split('"""')[1].lower()
    missing = {word for word in ("claim", "protocol", "deviation", "cost") if word not in doc}
    if path.stem not in OF_ARMS:  # of the others arms.main sees to it
        missing |= {option for option in ('"--smoke"', '"--report"', "ArgumentParser") if option not in text}
    missing -= ASIDE.get(path.stem, set())
    assert not missing, f"{path.name} has no {', '.join(sorted(missing))}"


@pytest.mark.long
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_help(path):
    done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--smoke" in done.stdout and "--report" in done.stdout, done.stderr


@pytest.mark.parametrize("name", OF_ARMS)
def test_rows_compose_and_claims_name_rows(name):
    found = experiment(name)
    names = [arm.name for arm in found.arms]
    assert len(set(names)) == len(names) and found.arms and found.keys and found.seeds >= 3
    for claim in found.claims:
        assert {claim.a, claim.b} <= set(names) and claim.a != claim.b and claim.expects in ("better", "no better")
    assert {published.arm for published in found.published} <= set(names)
    more = [*found.common, *found.of_seed(1)]
    run = config.from_overrides([*found.arms[0].words, *more])
    assert 1 in (run.seed, run.data.config.splits.seed)
    words = found.smoke(found.arms[-1], lambda _: Path("base"))
    assert config.from_overrides([*words, *more]).choices["data"] == "shapes"


@pytest.mark.long
@pytest.mark.parametrize("name", OF_ARMS)
def test_every_row_composes_and_no_two_are_the_same(name):
    found, seen = experiment(name), {}
    for arm in found.arms:
        run = config.from_overrides([*arm.words, *found.common])
        seen.setdefault(repr(sorted(config.flat(run.plain()).items(), key=str)), []).append(arm.name)
        assert config.from_overrides([*found.smoke(arm, lambda _: Path("base")), *found.common])
    assert all(len(names) == 1 for names in seen.values()), [names for names in seen.values() if len(names) > 1]


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_DATA" not in os.environ, reason="needs SKETCHLAB_DATA")
def test_splits_are_as_the_docstring_says():
    found = experiment("chen2019_stem")
    sizes, chosen = [], []
    for seed in (0, 1):
        run = config.from_overrides([*found.arms[0].words, *found.of_seed(seed)])
        splits = run.data.build(run.model.config.input).splits
        sizes.append([len(splits[name]) for name in ("train", "val", "test")])
        chosen.append(set(splits["test"].rows.tolist()))
    assert sizes == [[480, 80, 240]] * 2 and chosen[0] != chosen[1]


def test_only_rows_that_can_run_unless_named():
    rows = [arms_types.Arm("cheap", []), arms_types.Arm("dear", [], "a thousand GPUs")]
    assert arms._choose(rows, None, anything=False) == (rows[:1], rows[1:])
    assert arms._choose(rows, ["d*"], anything=False) == (rows[1:], [])
    assert arms._choose(rows, None, anything=True) == (rows, [])
    with pytest.raises(arms.UserError, match="no such row; there is cheap, dear"):
        arms._choose(rows, ["x"], anything=False)
    with pytest.raises(arms.UserError, match="every row needs a thousand GPUs"):
        arms._choose(rows[1:], None, anything=False)


def a_run(folder: Path, ids: list[str], right: np.ndarray) -> Run:
    folder.mkdir(parents=True)
    label = np.array(["cat"] * len(ids))
    table = pd.DataFrame({"id": ids, "label": label, "prediction": np.where(right, "cat", "dog")})
    table.to_csv(folder / "predictions_test.csv", index=False)
    status = {"state": "finished", "metrics": {"test/accuracy": float(right.mean())}, "code": "abc"}
    data = {"classes": ["cat", "dog"], "splits": {"test": {"n": len(ids), "digest": ",".join(ids)}}}
    return Run(folder, {"choices": {"pipeline": "classify"}}, {}, status, data)


def groups_of(tmp_path: Path, seeds: int, own_splits: bool, lead: float) -> dict[str, Group]:
    """Arms a and b of 2 × seeds runs on 60 of 90 images; a is right on `lead` more of them."""
    generator, out = np.random.default_rng(0), {}
    splits = [generator.permutation(90)[:60] if own_splits else np.arange(60) for _ in range(seeds)]
    for name, p in (("a", 0.5 + lead), ("b", 0.5)):
        runs = {}
        for seed, chosen in enumerate(splits):
            ids = [f"{i}.png" for i in sorted(chosen)]
            runs[(str(seed),)] = a_run(tmp_path / name / str(seed), ids, generator.random(60) < p)
        out[name] = Group(name, "classify", {}, runs, [])
    return out


def small(claims: list[arms_types.Claim]) -> arms_types.Experiment:
    found = experiment("chen2019_stem")
    return replace(found, arms=[arms_types.Arm("a", []), arms_types.Arm("b", [])], claims=claims, published=[])


def verdict(tested: arms_tests.Tested) -> str:
    return arms_tests.of_claim(tested.claim, tested.verdict)


def line(found: arms_types.Experiment, tested: arms_tests.Tested) -> str:
    """The row of the page's table of tests."""
    rows = [{"arm": name, "n": "–"} for name in ("a", "b")]
    return arms_report.tests_table(found, rows, [arms_table.pair_row(found, tested)])[-1]


def values_of(groups, name):
    runs = groups[name].runs.values()
    tables = [pd.read_csv(r.folder / "predictions_test.csv").set_index("id")["prediction"] == "cat" for r in runs]
    return pd.concat(tables, axis=1).T.to_numpy(dtype=float)  # NaN where a split does not test an image


def test_one_test_set_is_compared_over_runs_and_samples(tmp_path):
    groups = groups_of(tmp_path, 3, own_splits=False, lead=0.4)
    said = arms_types.Claim("a", "b", "a wins")
    tested = arms_tests.test(small([said, arms_types.Claim("b", "a", "b is no better", "no better")]), groups)
    assert tested[0].test is not None and tested[1].test is not None
    estimate = stats.estimate_difference(values_of(groups, "a"), values_of(groups, "b"))
    assert (
        tested[0].test.difference == pytest.approx(float(estimate.value)) == pytest.approx(-tested[1].test.difference)
    )
    assert tested[0].test.p == pytest.approx(float(stats.p_value(estimate)))
    assert tested[0].test.low == pytest.approx(-tested[1].test.high)
    assert tested[0].p == pytest.approx(min(1.0, 2 * tested[0].test.p))  # Holm over two
    assert [verdict(t) for t in tested] == ["holds here", "holds here: worse"]
    assert "| t over runs and samples | 3 runs of each | 60 |" in line(small([said]), tested[0])


@pytest.mark.parametrize(("seeds", "lead", "verdict"), [(8, 0.4, "better"), (2, 0.2, "too few to tell")])
def test_splits_of_their_own_share_images(tmp_path, seeds, lead, verdict):
    groups = groups_of(tmp_path, seeds, own_splits=True, lead=lead)
    (tested,) = arms_tests.test(small([arms_types.Claim("a", "b")]), groups)
    a, b = values_of(groups, "a"), values_of(groups, "b")
    estimate = stats.estimate_difference(a, b)
    assert tested.test is not None and (tested.test.n, tested.test.splits) == (a.shape[1], seeds)
    assert tested.test.difference == pytest.approx(np.mean(np.nanmean(a, 1) - np.nanmean(b, 1)))
    assert tested.test.p == pytest.approx(float(stats.p_value(estimate))) and tested.verdict == verdict
    assert f"| {seeds} splits | {a.shape[1]} |" in line(small([arms_types.Claim("a", "b")]), tested)
    row = arms_table.row(replace(small([]), keys=["test/accuracy"]), groups["a"])
    limits = stats.share_interval(stats.estimate_mean(a))
    assert (row["accuracy low"], row["accuracy high"]) == pytest.approx(limits)


def test_one_seed_of_each_tells_nothing_of_a_claim(tmp_path):
    groups = groups_of(tmp_path, 1, own_splits=False, lead=0.5)
    (tested,) = arms_tests.test(small([arms_types.Claim("a", "b", "a wins")]), groups)
    assert tested.verdict == "network better" and verdict(tested) == "cannot be told here: network better"
    assert "| exact McNemar | 1 run of each | 60 |" in line(small([tested.claim]), tested)


def test_one_run_is_held_against_the_spread_of_the_others(tmp_path):
    groups = groups_of(tmp_path, 3, own_splits=False, lead=0.45)
    alone = Group("a", "classify", {}, dict(list(groups["a"].runs.items())[:1]), [])
    claims = [arms_types.Claim("a", "b", "a wins"), arms_types.Claim("b", "a")]
    tested = arms_tests.test(small(claims), {"a": alone, "b": groups["b"]})
    others = [run.status["metrics"]["test/accuracy"] for run in groups["b"].runs.values()]
    one = next(iter(alone.runs.values())).status["metrics"]["test/accuracy"]
    low, high = stats.prediction(others)
    assert tested[0].test is not None and tested[0].test.method == arms_tests.SPREAD
    assert (tested[0].test.low, tested[0].test.high) == pytest.approx((one - high, one - low))
    assert tested[0].test.low > 0 and tested[0].p == pytest.approx(2 * tested[0].test.p)
    assert [verdict(t) for t in tested] == [
        "holds here, by one run outside the spread",
        "worse, outside the spread",
    ]
    assert "95% of further runs of b would lie between" in line(small(claims), tested[0])


@pytest.mark.parametrize(
    ("p_alone", "p", "better", "expected"),
    [
        (0.2, 0.4, "smaller", "inside the spread"),
        (0.04, 0.4, "smaller", "worse, outside the spread, but not once corrected"),
        (0.001, 0.01, "smaller", "worse, outside the spread"),
        (0.001, 0.01, "larger", "better, outside the spread"),
    ],
)
def test_words_of_a_spread(p_alone, p, better, expected):
    assert arms_tests.spread_verdict(0.1, p_alone, p, arms_tests.Score("kid", "KID", better)) == expected


def test_extras_are_tested_over_runs(tmp_path):
    groups = groups_of(tmp_path, 3, own_splits=False, lead=0.4)
    extra = arms_types.Extra("wrong", lambda run: 1 - run.final()["test/accuracy"], "smaller")
    found = replace(small([arms_types.Claim("a", "b", key="wrong")]), extra=(extra,))
    (tested,) = arms_tests.test(found, groups)
    assert tested.test is not None and tested.test.method == "Welch's t over runs" and tested.verdict == "better"
    assert arms_table.row(found, groups["a"])["wrong"] == pytest.approx(1 - values_of(groups, "a").mean())
    assert "| wrong | -0." in line(found, tested)


def test_no_difference_is_called_none(tmp_path):
    groups = groups_of(tmp_path, 8, own_splits=True, lead=0.0)
    said = [arms_types.Claim("a", "b", "a wins"), arms_types.Claim("a", "b", "a does nothing", "no better")]
    texts = [verdict(t) for t in arms_tests.test(small(said), groups)]
    assert texts[0].startswith("not shown here") and texts[1].startswith("nothing here speaks against it")


@pytest.mark.slow
def test_smoke_report_and_find(tmp_path, capsys):
    found, smoke = experiment("frankenstein_strokes"), ["--smoke", "--root", str(tmp_path)]
    arms.main(found, [*smoke, "--seeds", "1", "--arms", "LSTM on points*"])
    page, index = tmp_path / "frankenstein_strokes.md", json.loads((tmp_path / "runs.json").read_text())
    assert list(index) == ["LSTM on points, augmented", "LSTM on points, plain"]
    table = pd.read_csv(tmp_path / "frankenstein_strokes.csv")
    assert table["arm"].tolist() == list(index) and table["accuracy"].between(0, 1).all()
    first = page.read_text()
    assert "smoke" in first and "Not run yet" in first and (tmp_path / "frankenstein_strokes.png").is_file()
    page.unlink()
    arms.main(found, [*smoke, "--report"])
    assert page.read_text() == first
    capsys.readouterr()
    with pytest.raises(SystemExit):
        arms.main(found, ["--report", "--root", str(tmp_path / "none")])
    err = capsys.readouterr().err
    assert "no runs.json" in err and err.count("\n") == 1


@pytest.mark.slow
def test_runs_that_another_command_left_are_found(tmp_path):
    base = experiment("frankenstein_strokes")
    rows = [replace(arm, words=base.smoke(arm, lambda _: tmp_path)) for arm in base.arms if "points, plain" in arm.name]
    found = replace(base, arms=rows)
    words = [*rows[0].words, *base.common, "seed=0", f"run.root={tmp_path}"]
    folder = arms.execute(words, reported=False)
    arms.main(found, ["--report", "--find", "--root", str(tmp_path), "--out", str(tmp_path)])
    index = json.loads((tmp_path / "runs.json").read_text())
    assert index == {rows[0].name: {"0": str(folder.relative_to(tmp_path))}}

    kept = folder / "config.yaml"  # as older code wrote it: under another id, by more than decides
    document = yaml.safe_load(kept.read_text())
    document["identity"]["runtime"]["profile"] = False
    kept.write_text(yaml.safe_dump(document))
    older = folder.rename(folder.with_name("0123456789ab"))
    assert arms.existing(words) == older and arms.existing([*words, "rerun=true"]) is None
    assert arms.existing([*words, "loop.epochs=3"]) is None


def test_a_run_with_another_value_of_a_later_key_is_not_found_instead(tmp_path):
    words = ["model=small_siamese", *retrieval._SMALL, f"run.root={tmp_path}"]
    other = arms.execute([*words, "pipeline.sampler=all"], reported=False)
    assert arms.existing([*words, "pipeline.sampler=all"]) == other
    assert arms.existing(words) is None


def test_a_run_folder_tells_which_samples_show_the_same_object(tmp_path):
    words = ["model=small_siamese", *retrieval._SMALL, f"run.root={tmp_path}", "data.sketches_per_photo=3"]
    run = read(arms.execute([*words, "loop.epochs=1"], reported=False))
    for split, photos in (("val", 12), ("test", 12)):
        groups, table = run.array(f"{split}_groups"), run.predictions(split)
        assert groups is not None and run.split(split)["groups"] == photos and run.split(split)["n"] == 3 * photos
        by_name = [name.partition("-")[0] for name in table["query"]]  # circle/00017-2
        assert len({*zip(by_name, groups.tolist(), strict=True)}) == len(set(by_name)) == photos
    alone = read(arms.execute([*words[:-1], "loop.epochs=1"], reported=False))
    assert alone.array("test_groups") is None and alone.split("test")["groups"] == alone.split("test")["n"] == 12
    score = scores.score(run, "test/recall@1", run.final()["test/recall@1"])
    assert (score.method, score.groups, score.n) == ("cluster-robust", 12, 36)
    older = json.loads((run.folder / "data.json").read_text())
    for split in older["splits"].values():
        del split["groups"]
    (run.folder / "data.json").write_text(json.dumps(older))
    (run.folder / "arrays" / "test_groups.npy").unlink()
    assert scores.score(read(run.folder), "test/recall@1", score.value).groups == 12


def test_choices_that_share_classes_count_as_so_many_classes():
    """Nadeau and Bengio's variance by hand, and t with one degree of freedom less than there are classes."""
    gaps = np.array([0.1, 0.3, 0.2, 0.4, 0.15, 0.35])
    a, b = ({(seed,): value for seed, value in enumerate(values)} for values in (gaps + 0.5, gaps * 0 + 0.5))
    found = arms_tests.by_choice(a, b, arms_types.Choices(classes=5, test_per_train=1.0))
    half = scipy_stats.t.ppf(0.975, 4) * np.sqrt(gaps.var(ddof=1) * (1 / 6 + 1))
    assert found is not None and found.splits == 6
    assert (found.low, found.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    assert found.p == pytest.approx(2 * scipy_stats.t.sf(gaps.mean() / np.sqrt(gaps.var(ddof=1) * (1 / 6 + 1)), 4))
    assert arms_tests.by_choice(a, {(0,): 0.5}, arms_types.Choices(5, 1.0)) is None  # one choice in common


def test_thirty_choices_of_two_test_classes_and_one_to_choose_on():
    found = experiment("unseen_sketchy")
    words = [tuple(found.of_seed(seed)[1:]) for seed in range(found.seeds)]
    assert len(set(words)) == found.seeds == 30
    for seed in range(30):
        run = config.from_overrides([*found.arms[0].words, *found.common, *found.of_seed(seed)])
        splits = run.data.config.splits
        assert len({*splits.test_classes, *splits.val_classes}) == 3 and splits.published is None and run.seed == seed
