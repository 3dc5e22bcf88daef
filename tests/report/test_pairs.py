"""The paired tests behind a comparison: against stats.py and brute force, and when they must not be made."""

import json
import math
import shutil

import numpy as np
import pytest
import yaml
from scipy import stats as scipy_stats

from sketchlab import stats
from sketchlab.report.comparison import groups, pairs
from sketchlab.report.comparison.paired import (
    own_splits,
    same_samples,
    scores_alone,
)
from sketchlab.report.examples import Examples, examples
from tests.report.conftest import put, retrieval, sweep

KEY = "test/accuracy"


def compared(root, key=KEY, by=()):
    runs, _ = groups.read_all(groups.find([root])[0])
    return pairs.compare(groups.gather(runs, by)[0], key)


def hits(generator, seeds, n, share):
    return (generator.random((seeds, n)) < share).astype(float)


# --- the tests themselves


def test_one_run_each_is_mcnemar_and_about_the_networks():
    generator = np.random.default_rng(0)
    a, b = hits(generator, 1, 80, 0.8), hits(generator, 1, 80, 0.6)
    found, exact = same_samples(a, b), stats.mcnemar_exact(a[0], b[0])
    assert found is not None and (found.method, found.about) == ("exact McNemar", "networks")
    assert (found.p, found.smallest_p, found.discordant) == (exact.p, exact.smallest_p, (exact.b + exact.c) / 80)
    assert found.difference == pytest.approx(a.mean() - b.mean()) and found.n == 80 and found.runs == (1, 1)
    turned = found.turned()
    assert (turned.difference, turned.low, turned.high) == (-found.difference, -found.high, -found.low)


def test_samples_of_one_object_are_no_mcnemar():
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(20), 6)
    a, b = (np.repeat(hits(generator, 1, 20, p), 6, axis=1) for p in (0.9, 0.5))  # all six alike
    naive, found, alone = same_samples(a, b), same_samples(a, b, groups), same_samples(a[:, ::6], b[:, ::6])
    assert naive and found and alone and (found.method, found.groups, found.n) == ("cluster-robust t", 20, 120)
    assert naive.p < 1e-6 < 0.001 < found.p and found.p == pytest.approx(alone.p, rel=1.5)
    assert found.high - found.low == pytest.approx(alone.high - alone.low, rel=0.05)


def test_several_runs_in_any_number_are_about_the_settings():
    generator = np.random.default_rng(2)
    a, b = hits(generator, 3, 80, 0.8), hits(generator, 5, 80, 0.6)
    found = same_samples(a, b)
    assert found is not None and (found.about, found.runs) == ("settings", (3, 5))
    estimate = stats.estimate_difference(a, b)
    assert found.p == stats.p_value(estimate) and (found.low, found.high) == pytest.approx(stats.interval(estimate))


def test_one_run_against_several_is_not_judged_unless_its_seed_changes_nothing():
    generator = np.random.default_rng(3)
    a, b = hits(generator, 1, 80, 0.9), hits(generator, 5, 80, 0.5)
    assert same_samples(a, b) is None and same_samples(b, a) is None and same_samples(b, a, fixed=(True, False)) is None
    found = same_samples(a, b, fixed=(True, False))
    assert found is not None and found.about == "settings" and found.runs == (1, 5) and found.p < 0.001


def test_splits_are_paired_one_by_one():
    generator = np.random.default_rng(4)
    tested = generator.random((6, 90)).argsort(1) < 30
    a, b = (np.where(tested, hits(generator, 6, 90, p), np.nan) for p in (0.9, 0.5))
    found = own_splits(a, b)
    assert (found.about, found.splits, found.n) == ("settings", 6, 90)
    assert found.difference == pytest.approx(np.mean(np.nanmean(a, 1) - np.nanmean(b, 1)))
    shared = np.where(tested, (np.arange(90) < 45) * 1.0, np.nan)  # one image decides alike in all splits
    spread, _ = own_splits(shared, np.where(tested, 0.0, np.nan)).estimate.spreads
    assert spread.variance > 1.5 * np.nanmean(shared, 1).var(ddof=1) / 6


def test_smallest_visible_difference():
    """At the difference that is called visible the test finds something in about 80 of 100 samples."""
    generator = np.random.default_rng(1)
    first = same_samples(hits(generator, 1, 300, 0.6), hits(generator, 1, 300, 0.6))
    assert first is not None
    gain = first.visible(0.05)
    again = [same_samples(hits(generator, 1, 300, 0.6 + gain), hits(generator, 1, 300, 0.6)) for _ in range(300)]
    assert np.mean([test is not None and test.p <= 0.05 for test in again]) == pytest.approx(0.8, abs=0.08)
    none = same_samples(np.ones((1, 5)), np.ones((1, 5)))
    assert none is not None and math.isnan(none.visible(0.05)), "five samples can show nothing"


def test_eleven_points_were_fourteen():
    """Of photo_drawing's table: 100 images, 3 differ, 28 comparisons."""
    a, b = np.ones((1, 100)), np.ones((1, 100))
    a[0, 0], b[0, 1:3] = 0, 0
    found = same_samples(a, b)
    assert found is not None and found.visible(0.05 / 28) == pytest.approx(0.14)


def test_scores_alone():
    a, b = [0.9, 0.91, 0.89, 0.92], [0.7, 0.75, 0.72]
    found = scores_alone(a, b)
    assert found is not None and (found.about, found.runs, found.n) == ("samples", (4, 3), None)
    assert found.p == stats.p_value(stats.estimate_scores(a, b)) < 0.05
    gaps = [0.1, 0.2, 0.15, 0.12, 0.3, 0.05]
    splits = scores_alone(gaps, [0.0] * 6, 0.25)
    assert splits is not None and splits.splits == 6 and splits.method == "corrected resampled t over splits"
    se = math.sqrt((1 / 6 + 0.25) * np.var(gaps, ddof=1))
    assert splits.high - splits.difference == pytest.approx(scipy_stats.t.isf(0.025, 5) * se)
    assert scores_alone([0.8, 0.8], [0.7, 0.7]) is None and scores_alone([0.8], [0.7, 0.6]) is None
    assert scores_alone([0.8, 0.9], [0.7, 0.8], 0.25) is None, "the same difference twice: nothing varies"


# --- who is paired with whom


def test_sentences(tmp_path):
    sweep(tmp_path, {"a": 0.8, "b": 0.79, "c": 0.4}, seeds=range(6))
    found = {frozenset((p.a.name, p.b.name)): p for p in compared(tmp_path)}
    assert {p.verdict for p in found.values()} == {"better", "no evidence of a difference"}
    best = found[frozenset("ac")]
    assert best.sentence.startswith("a better than c on these 100 images, 6 runs of each, by ")
    assert "(p < .001, corrected for 3 comparisons)" in best.sentence
    alike = found[frozenset("ab")].sentence
    assert "no evidence of a difference on these 100 images" in alike and "this test would have seen one of" in alike
    assert [p.p for p in found.values()] == stats.holm([p.test.p for p in found.values() if p.test])


def test_tiny_test_sets_are_too_few_to_tell(tmp_path):
    sweep(tmp_path, {"a": 0.8, "b": 0.7}, seeds=[0], n=8)
    (pair,) = compared(tmp_path)
    assert pair.verdict == "too few to tell" and "would have seen one of 88 points" in pair.sentence
    assert pair.sentence.startswith("The networks of a and b: too few to tell on these 8 images (")
    assert pair.sentence.endswith("One run of each says nothing about the settings.")


def test_other_test_samples_are_never_paired(tmp_path):
    sweep(tmp_path, {"a": 0.9}, seeds=[0])
    sweep(tmp_path, {"b": 0.5}, seeds=[0], n=96)
    (pair,) = compared(tmp_path)
    assert pair.test is None and pair.p is None and pair.verdict == "not paired"
    assert "were tested on different test samples (100 samples and 96 samples): not paired" in pair.sentence
    assert "95% Newcombe [" in pair.sentence


def test_each_test_set_has_a_ranking_of_its_own(tmp_path):
    sweep(tmp_path / "x", {"a": 0.9, "b": 0.5}, seeds=[0])
    other = {"data": {"splits": {"test": {"digest": "other"}}}}
    sweep(tmp_path / "y", {"c": 0.95, "d": 0.7}, seeds=[0], n=96, **other)
    runs, _ = groups.read_all(groups.find([tmp_path])[0])
    gathered = groups.gather(runs)[0]
    assert [[g.name for g in block] for block in pairs.test_sets(gathered, KEY)] == [["c", "d"], ["a", "b"]]
    found = pairs.compare(gathered, KEY)
    assert [(p.a.name, p.b.name) for p in found if p.verdict != "not paired"] == [("c", "d"), ("a", "b")]
    assert len(found) == 6 and {p.many for p in found} == {2}


def test_one_sample_of_another_name_is_enough_not_to_pair(tmp_path):
    sweep(tmp_path, {"a": 0.9, "b": 0.5}, seeds=[0])
    path = tmp_path / "b-shapes" / "0.001_0" / "predictions_test.csv"
    path.write_text(path.read_text().replace("ant/0000", "ant/9999"))
    assert compared(tmp_path)[0].verdict == "not paired"


def test_order_of_the_samples_does_not_matter(tmp_path):
    sweep(tmp_path, {"a": 0.7, "b": 0.6}, seeds=[0])
    (before,) = compared(tmp_path)
    path = tmp_path / "b-shapes" / "0.001_0" / "predictions_test.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines), ""]))
    (after,) = compared(tmp_path)
    assert after.test and before.test and after.test.p == before.test.p < 1


def test_one_run_of_each_is_judged_as_two_networks(tmp_path):
    sweep(tmp_path, {"a": 0.9, "b": 0.5}, seeds=[0])
    (pair,) = compared(tmp_path)
    assert pair.verdict == "network better" and pair.test and pair.test.about == "networks"
    assert pair.sentence.startswith("The network of a is better than that of b on these 100 images, by ")
    assert pair.sentence.endswith("One run of each says nothing about the settings.")


def splits_of(tmp_path, folds, own=True):
    """a and b of six splits; own: each with images of its own (folds), else all with the same hundred."""
    for fold in range(folds):
        splits = {"rule": "kfold", "fold": fold}
        changes = {
            "config": {"config": {"data": {"splits": splits}}},
            "data": {"splits": {"test": {"digest": f"t{fold}"}, "train": {"n": 400}}},
        }
        sweep(tmp_path / str(fold), {"a": 0.9, "b": 0.5}, seeds=[fold], **changes)
        for path in (tmp_path / str(fold)).rglob("predictions_test.csv") if own else ():
            path.write_text(path.read_text().replace("/", f"/{fold}"))


def test_folds_have_samples_of_their_own_and_are_paired_fold_by_fold(tmp_path):
    splits_of(tmp_path, 6)
    (pair,) = compared(tmp_path)
    assert pair.test and pair.test.method == "t over splits and samples" and (pair.test.splits, pair.test.n) == (6, 600)
    assert pair.verdict == "better" and "better than b on 6 splits of the same 600 images" in pair.sentence


def test_splits_without_scores_of_samples_are_corrected_for_what_they_share(tmp_path):
    splits_of(tmp_path, 6)
    for path in tmp_path.rglob("predictions_test.csv"):
        path.unlink()
    (pair,) = compared(tmp_path)
    assert pair.test and pair.test.method == "corrected resampled t over splits" and pair.test.n is None
    for path in tmp_path.rglob("data.json"):
        content = json.loads(path.read_text())
        del content["splits"]["train"]
        put(path.parent, path.name, content)
    (pair,) = compared(tmp_path)
    assert pair.test is None and "how many samples each split has is not known" in pair.sentence


def test_only_splits_that_both_have_are_compared(tmp_path):
    splits_of(tmp_path, 5)
    for fold in (3, 4):
        shutil.rmtree(tmp_path / str(fold) / "b-shapes")
    (pair,) = compared(tmp_path)
    assert pair.test and pair.test.splits == 3
    assert pair.notes == ("2 runs on samples that the other was not tested on left out",)


def test_all_runs_count_whatever_their_seeds(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=[0, 1, 2, 3])
    sweep(tmp_path, {"b": 0.6}, seeds=[2, 3, 4])
    (pair,) = compared(tmp_path)
    assert pair.test and pair.test.runs == (4, 3) and not pair.notes
    assert "on these 100 images, 4 runs of a and 3 runs of b" in pair.sentence


def test_one_run_against_several_is_not_judged(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=[0, 1, 2])
    sweep(tmp_path, {"c": 0.3}, seeds=[7])
    (pair,) = compared(tmp_path)
    assert pair.test is None and pair.p is None and pair.verdict == "too few to tell"
    single = [r.final()[KEY] for r in pair.a.runs.values()]
    low, high = stats.prediction(single)
    assert f"one run against 3: what other runs of c would score is not known; 95% of further runs of a would lie between {low:.3f} and {min(high, 1):.3f}".replace("0.", ".") in pair.sentence  # fmt: skip  # noqa: E501


def test_copies_are_counted_once(tmp_path):
    sweep(tmp_path, {"a": 0.8, "b": 0.6}, seeds=[0, 1])
    one = tmp_path / "b-shapes" / "0.001_0"
    for seed in (5, 6, 7):
        copy = shutil.copytree(one, tmp_path / "b-shapes" / f"0.001_{seed}")
        config = yaml.safe_load((copy / "config.yaml").read_text())
        config["config"]["seed"] = seed
        put(copy, "config.yaml", config)
    runs, _ = groups.read_all(groups.find([tmp_path])[0])
    found, _, notes = groups.gather(runs)
    b = next(group for group in found if group.name == "b")
    assert len(b.runs) == 2 and not b.fixed
    assert sum("has the same weights and scores as b-shapes/0.001_0: counted once" in note for note in notes) == 3
    (pair,) = compared(tmp_path)
    assert pair.test and sorted(pair.test.runs) == [2, 2]
    for place, run in enumerate((one, *sorted((tmp_path / "b-shapes").glob("0.001_[567]")))):
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "best.pt").write_bytes(bytes([place]))  # other weights that score the same
    runs, _ = groups.read_all(groups.find([tmp_path])[0])
    found, _, notes = groups.gather(runs)
    assert len(next(group for group in found if group.name == "b").runs) == 5 and not notes


def test_a_seed_that_changes_nothing_counts_as_one_run(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=range(5))
    sweep(tmp_path, {"b": 0.4}, seeds=[0, 1, 2])
    same = (tmp_path / "b-shapes" / "0.001_0" / "predictions_test.csv").read_text()
    for seed in (1, 2):  # other probabilities, the same answers
        path = tmp_path / "b-shapes" / f"0.001_{seed}"
        (path / "predictions_test.csv").write_text(same.replace(",0.4", f",0.4{seed}"))
        status = json.loads((path / "status.json").read_text())
        status["metrics"]["test/accuracy"] = float(np.mean([r["label"] == r["prediction"] for r in rows_of(same)]))
        put(path, "status.json", status)
    runs, _ = groups.read_all(groups.find([tmp_path])[0])
    found, _, notes = groups.gather(runs)
    b = next(group for group in found if group.name == "b")
    assert len(b.runs) == 1 and b.fixed
    assert notes == ["b: 3 runs give the same predictions: the seed changes nothing here, n = 1."]
    (pair,) = compared(tmp_path)
    assert pair.verdict == "better" and "5 runs of a and 1 run of b" in pair.sentence


def test_a_baseline_fitted_again_is_one_run_and_may_be_compared_with_several(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=range(5))
    sweep(tmp_path, {"b": 0.4}, seeds=[0], config={"choices": {"pipeline": "baseline"}})
    one = tmp_path / "b-shapes" / "0.001_0"
    put(one, "env.json", {"parameters": {"total": 0, "trainable": 0}})
    copy = shutil.copytree(one, one.with_name("0.001_1"))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["config"]["seed"] = 1
    put(copy, "config.yaml", config)
    runs, _ = groups.read_all(groups.find([tmp_path])[0])
    found, _, notes = groups.gather(runs)
    (note,) = notes
    assert note.endswith("2 runs give the same predictions: the seed changes nothing here, n = 1.")
    assert next(group for group in found if group.fitted).fixed
    (pair,) = pairs.compare(found, KEY)
    assert pair.verdict == "better" and pair.test and pair.test.runs == (5, 1)


def rows_of(text):
    header, *lines = (line.split(",") for line in text.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_sketches_of_one_photo_are_compared_photo_by_photo(tmp_path):
    """Older folders: the photo by the pattern of the data set; new ones: by the array that they hold."""
    sweep(tmp_path, {"a": 0.9, "b": 0.6}, seeds=[0], config={"config": {"data": {"group_by": r"(.+)-\d+"}}})
    for path in tmp_path.rglob("predictions_test.csv"):
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *(renamed(line) for line in lines), ""]))
    (old,) = compared(tmp_path)
    assert old.test and old.test.method == "cluster-robust t" and old.test.groups == 28
    assert "on these 100 images of 28 objects" in old.sentence
    for path in tmp_path.rglob("predictions_test.csv"):
        photos = [row["id"].rpartition("-")[0] for row in rows_of(path.read_text())]
        put(path.parent, "arrays/test_groups.npy", np.unique(photos, return_inverse=True)[1] + 10**12)
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        del config["config"]["data"]["group_by"]
        put(path.parent, "config.yaml", config)
    (new,) = compared(tmp_path)
    assert new.test and (new.test.p, new.test.low, new.test.groups) == (old.test.p, old.test.low, 28)
    for path in tmp_path.rglob("test_groups.npy"):
        path.unlink()
    (alone,) = compared(tmp_path)
    assert alone.test and alone.test.method == "exact McNemar"


def renamed(line):
    """ant/0012 → ant/2-12: seven photos of each class."""
    name, *rest = line.split(",")
    label, number = name.split("/")
    return ",".join([f"{label}/{int(number) // 4 % 7}-{number}", *rest])


def test_other_pictures_of_the_same_names_are_told(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=[0])
    sweep(tmp_path, {"b": 0.6}, seeds=[0], data={"fingerprint": "other"})
    assert "not the same pictures" in compared(tmp_path)[0].notes[0]


def test_scores_not_kept_sample_by_sample_go_by_seeds(tmp_path):
    sweep(tmp_path, {"a": 0.9, "b": 0.5}, seeds=range(3))
    (pair,) = compared(tmp_path, "val/accuracy")
    assert pair.test and pair.test.n is None and pair.test.method == "Welch's t over runs"
    assert "better than b on the same samples, 3 runs of each" in pair.sentence
    assert pair.notes == ("there is no predictions_val.csv, so by the scores of runs alone",)


def test_lower_is_better_for_a_loss(tmp_path):
    sweep(tmp_path, {"a": 0.9, "b": 0.5}, seeds=range(6))
    for path in tmp_path.glob("b-shapes/*/status.json"):
        status = json.loads(path.read_text())
        status["metrics"]["test/loss"] = 0.1 + 0.001 * int(path.parent.name[-1])
        put(path.parent, path.name, status)
    (pair,) = compared(tmp_path, "test/loss")
    assert pair.a.name == "b" and pair.sentence.startswith(
        "b better than a in loss on the same samples, 6 runs of each, by 0.198 "
    )


def test_only_the_best_is_tested_against_very_many(tmp_path):
    sweep(tmp_path, {f"m{i:02d}": 0.4 + 0.01 * i for i in range(20)}, seeds=[0, 1])
    found = compared(tmp_path)
    assert len(found) == 19 and {p.a.name for p in found} == {found[0].a.name} and {p.many for p in found} == {190}
    ps = [p.test.p for p in found if p.test]
    assert [p.p for p in found] == stats.holm([*ps, *[1.0] * 171])[:19]


# --- the samples behind a score


def test_samples_of_retrieval_are_its_queries(tmp_path):
    run = groups.read_all([retrieval(tmp_path / "a" / "b")])[0][0]
    found = examples(run, "val/recall@1")
    assert isinstance(found, Examples) and len(found.ids) == 200 and found.values.sum() == 80 and found.hits
    assert "not kept" in str(examples(run, "val/loss"))


def test_predictions_of_another_state_than_the_score_are_not_used(tmp_path):
    sweep(tmp_path, {"a": 0.9}, seeds=[0])
    run = groups.read_all(groups.find([tmp_path])[0])[0][0]
    path = run.folder / "predictions_test.csv"
    assert isinstance(examples(run, KEY), Examples)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-20]))
    assert "does not fit" in str(examples(run, KEY))
    path.write_text("\n".join([lines[0], *(line.replace(",bee,", ",ant,") for line in lines[1:])]))
    assert "another state" in str(examples(run, KEY))
    path.write_text("id,label\nx,y\n")
    assert "has no column prediction" in str(examples(run, KEY))
