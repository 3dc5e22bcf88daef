"""The paired tests behind a comparison: against stats.py and brute force, and when they must not be made."""

import json
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sketchlab import stats
from sketchlab.report.comparison import groups, pairs
from sketchlab.report.comparison.paired import half_width, inverted, over_examples, over_seeds
from sketchlab.report.examples import Examples, examples
from tests.report.conftest import put, retrieval, sweep

KEY = "test/accuracy"


def compared(root, key=KEY, by=()):
    runs, _ = groups.read_all(groups.find([root])[0])
    return pairs.compare(groups.gather(runs, by)[0], key)


def hits(generator, seeds, n, share):
    return (generator.random((seeds, n)) < share).astype(float)


# --- the tests themselves


def test_one_run_each_is_mcnemar():
    generator = np.random.default_rng(0)
    a, b = hits(generator, 1, 80, 0.8), hits(generator, 1, 80, 0.6)
    found, exact = over_examples(a, b), stats.mcnemar_exact(a[0], b[0])
    assert (found.method, found.p, found.smallest_p) == ("exact McNemar", exact.p, exact.smallest_p)
    assert found.difference == pytest.approx(a.mean() - b.mean()) and found.n == 80 and found.seeds == 1


def test_seeds_that_are_all_alike_count_as_one():
    generator = np.random.default_rng(0)
    a, b = hits(generator, 1, 80, 0.8), hits(generator, 1, 80, 0.6)
    assert over_examples(np.tile(a, (4, 1)), np.tile(b, (4, 1))).p == over_examples(a, b).p
    assert over_examples(np.tile(a, (2, 1)), hits(generator, 2, 80, 0.6)).seeds == 2


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_bootstrap_p_is_below_05_exactly_where_its_interval_leaves_zero_out(seeds):
    generator = np.random.default_rng(seeds)
    sides = set()
    for gain in np.linspace(0, 0.2, 25):
        found = over_examples(hits(generator, seeds, 200, 0.6 + gain), hits(generator, seeds, 200, 0.6))
        outside = found.low > 0 or found.high < 0
        assert (found.p < 0.05) == outside
        sides.add(outside)
    assert sides == {True, False}


def test_p_of_one_mean_is_that_of_a_normal_test():
    differences = np.random.default_rng(0).normal(0.1, 1, (1, 500))
    se = differences.std() / math.sqrt(500)
    half, mean = half_width(differences), float(differences.mean())
    assert half(0.05) == pytest.approx(1.95996 * se, rel=1e-4)
    p = inverted(mean, mean - half(0.05), mean + half(0.05), half)
    assert p == pytest.approx(2 * scipy_stats.norm.sf(mean / se), rel=1e-6)
    assert inverted(0.0, -1, 1, half) == 1.0 and inverted(50 * se, 48 * se, 52 * se, half) == 1e-15


def test_half_width_is_that_of_the_bootstrap():
    generator = np.random.default_rng(3)
    a = hits(generator, 6, 400, 0.7) + generator.normal(0, 0.05, (6, 1))
    found = stats.bootstrap_paired(a, np.zeros_like(a), draws=40_000)
    assert half_width(a)(0.05) == pytest.approx((found.high - found.low) / 2, rel=0.05)


def test_a_few_samples_that_all_say_the_same_are_not_enough():
    """Four of 100: a percentile bootstrap calls that p = .04; no exact test does."""
    a, b = np.ones((3, 100)), np.ones((3, 100))
    b[:, :4] = 0
    b[0, 4] = 0  # not all seeds alike
    assert (
        over_examples(a, b).p == pytest.approx(stats.sign_flip((a - b).mean(0)[:5]).p) and over_examples(a, b).p > 0.05
    )


def test_smallest_visible_difference():
    """At the difference that is called visible the test finds something in about 80 of 100 samples."""
    generator = np.random.default_rng(1)
    first = over_examples(hits(generator, 1, 300, 0.6), hits(generator, 1, 300, 0.6))
    gain = first.visible(0.05)
    found = [
        over_examples(hits(generator, 1, 300, 0.6 + gain), hits(generator, 1, 300, 0.6), draws=100).p < 0.05
        for _ in range(200)
    ]
    assert 0.68 < np.mean(found) < 0.92
    assert over_examples(np.ones((1, 10)), np.ones((1, 10))).visible(0.05) == pytest.approx(
        0.6
    )  # six of ten, all one way


def test_over_seeds():
    differences = [0.1, 0.2, 0.15, 0.12, 0.3, 0.05]
    found = over_seeds(differences, fixed=True)
    assert found.p == found.smallest_p == 2 / 64 and found.n is None and found.seeds == 6
    assert (found.low, found.high) == pytest.approx(scipy_stats.ttest_1samp(differences, 0).confidence_interval())
    assert found.half(0.05) == pytest.approx((found.high - found.low) / 2)


def test_equal_settings_are_seldom_called_different():
    generator = np.random.default_rng(0)
    called = []
    for _ in range(150):
        likely = generator.beta(2, 1, 100)
        a, b = ((generator.random((3, 100)) < likely).astype(float) for _ in range(2))
        called.append(over_examples(a, b, draws=500).p <= 0.05)
    assert np.mean(called) <= 0.06


# --- who is paired with whom


def test_sentences(tmp_path):
    sweep(tmp_path, {"a": 0.8, "b": 0.79, "c": 0.4}, seeds=range(6))
    found = {frozenset((p.a.name, p.b.name)): p for p in compared(tmp_path)}
    assert {p.verdict for p in found.values()} == {"better", "no evidence of a difference"}
    best = found[frozenset("ac")]
    assert best.sentence.startswith("a better than c on these 100 images and 6 seeds of each, by ")
    assert "(p < .001, corrected for 3 comparisons)" in best.sentence
    alike = found[frozenset("ab")].sentence
    assert "no evidence of a difference on these 100 images" in alike and "this test would have seen one of" in alike
    assert [p.p for p in found.values()] == stats.holm([p.test.p for p in found.values() if p.test])


def test_tiny_test_sets_are_too_few_to_tell(tmp_path):
    sweep(tmp_path, {"a": 0.8, "b": 0.7}, seeds=[0], n=8)
    (pair,) = compared(tmp_path)
    assert pair.verdict == "too few to tell" and "would have been missed" in pair.sentence
    assert "on these 8 images, by one training of each" in pair.sentence


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


def test_folds_have_samples_of_their_own_and_are_paired_fold_by_fold(tmp_path):
    for fold in range(6):
        splits = {"rule": "kfold", "fold": fold}
        changes = {
            "config": {"config": {"data": {"splits": splits}}},
            "data": {"splits": {"test": {"digest": f"t{fold}"}}},
        }
        sweep(tmp_path / str(fold), {"a": 0.9, "b": 0.5}, seeds=[0], **changes)
        for path in (tmp_path / str(fold)).rglob("predictions_test.csv"):
            path.write_text(path.read_text().replace("/", f"/{fold}"))
    (pair,) = compared(tmp_path)
    assert pair.test and pair.test.method == "sign flips over folds" and pair.test.p == 2 / 64
    assert pair.verdict == "better" and "over 6 folds" in pair.sentence


def test_seeds_that_both_have(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=[0, 1, 2, 3])
    sweep(tmp_path, {"b": 0.6}, seeds=[2, 3, 4])
    (pair,) = compared(tmp_path)
    assert (
        pair.test
        and pair.test.seeds == 2
        and pair.notes == ("by the 2 seeds that both have; 3 other runs play no part",)
    )


def test_other_seeds_are_paired_in_order_and_one_run_against_all(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=[0, 1, 2])
    sweep(tmp_path, {"b": 0.6}, seeds=[3, 4])
    sweep(tmp_path, {"c": 0.3}, seeds=[7])
    found = {frozenset((p.a.name, p.b.name)): p for p in compared(tmp_path)}
    ab, ac = found[frozenset("ab")], found[frozenset("ac")]
    assert ab.test and ab.test.seeds == 2 and "paired in order" in ab.notes[0]
    assert ac.test and ac.test.seeds == 3 and "one run of c against 3" in ac.notes[0]


def test_other_pictures_of_the_same_names_are_told(tmp_path):
    sweep(tmp_path, {"a": 0.8}, seeds=[0])
    sweep(tmp_path, {"b": 0.6}, seeds=[0], data={"fingerprint": "other"})
    assert "not the same pictures" in compared(tmp_path)[0].notes[0]


def test_scores_not_kept_sample_by_sample_go_by_seeds(tmp_path):
    sweep(tmp_path, {"a": 0.9, "b": 0.5}, seeds=range(3))
    (pair,) = compared(tmp_path, "val/accuracy")
    assert pair.test and pair.test.n is None and pair.verdict == "too few to tell"
    assert "3 pairs of runs cannot reach p = .05" in pair.sentence and "no predictions_val.csv" in pair.notes[0]


def test_lower_is_better_for_a_loss(tmp_path):
    sweep(tmp_path, {"a": 0.9, "b": 0.5}, seeds=range(6))
    for path in tmp_path.glob("b-shapes/*/status.json"):
        status = json.loads(path.read_text())
        status["metrics"]["test/loss"] = 0.1
        put(path.parent, path.name, status)
    (pair,) = compared(tmp_path, "test/loss")
    assert pair.a.name == "b" and pair.sentence.startswith("b better than a in loss over 6 seeds, by 0.2 ")


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
