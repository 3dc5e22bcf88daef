"""Intervals of one run and of many: what they vary over, and that none of them is of width 0."""

import json

import numpy as np
import pandas as pd
import pytest

from sketchlab import stats
from sketchlab.report import scores, sentences
from sketchlab.report.comparison import figures, groups, pairs
from sketchlab.report.comparison.compare import compare
from sketchlab.report.comparison.leaderboard import entry, interval
from sketchlab.report.read import read
from sketchlab.report.run import warnings
from sketchlab.report.run.headline import headline
from sketchlab.report.sentences import render
from tests.report.conftest import classifier, put, retrieval, sweep

KEY = "test/accuracy"


def changed(path, **updates):
    content = json.loads(path.read_text())
    content.update(updates)
    path.write_text(json.dumps(content))


def stood(root, key=KEY):
    runs, _ = groups.read_all(groups.find([root])[0])
    (group,) = groups.gather(runs)[0]
    return entry(group, pairs.Samples(key)), group


def answers_of(group):
    tables = [r.predictions("test").set_index("id").sort_index() for r in group.runs.values()]
    return np.array([t["label"] == t["prediction"] for t in tables], dtype=float)


# --- one run


def test_queries_of_one_photo_are_resampled_together(run_folder):
    """Seven sketches of each photo, in a new folder by its array, in an older one by their names."""
    folder = run_folder("retrieval")
    photo = np.arange(200) // 7
    values = np.random.default_rng(0).random(29)[photo]
    put(folder, "arrays/val_per_query_class_mAP.npy", values)
    alone = {s.metric: s for s in scores.scores(read(folder))}
    put(folder, "arrays/val_groups.npy", photo + 10**15)
    grouped = {s.metric: s for s in scores.scores(read(folder))}
    for metric, each in (("class_mAP", values), ("recall@1", (np.arange(200) < 80) * 1.0)):
        found = grouped[metric]
        assert (found.method, found.groups, found.n) == ("cluster-robust", 29, 200)
        assert (found.low, found.high) == pytest.approx(stats.share(each, photo))
        assert found.high - found.low > 2 * (alone[metric].high - alone[metric].low)
    assert "95% cluster-robust, 29 objects, [" in render(headline(read(folder)))
    (folder / "arrays" / "val_groups.npy").unlink()
    table = pd.read_csv(folder / "predictions_val.csv")
    table["query"] = [f"cup/{p}-{i}" for i, p in enumerate(photo)]
    table.to_csv(folder / "predictions_val.csv", index=False)
    config = {"choices": {"pipeline": "retrieve"}, "config": {"data": {"photo_of": r"(.+)-\d+"}}}
    put(folder, "config.yaml", {"schema": 1, **config})
    older = {s.metric: s for s in scores.scores(read(folder))}
    assert [(s.low, s.groups) for s in older.values()] == [(pytest.approx(s.low), s.groups) for s in grouped.values()]
    data = json.loads((folder / "data.json").read_text())
    data["splits"]["val"]["groups"] = 200  # a new folder in which each query has a photo of its own
    put(folder, "data.json", data)
    assert {s.metric: s for s in scores.scores(read(folder))} == alone


def test_accuracy_classes_and_curves_of_drawings_of_the_same_objects(tmp_path):
    folder = classifier(tmp_path / "x" / "y")
    run = read(folder)
    before, by_class = scores.primary(run), scores.recalls(run, "test")
    objects = np.arange(300) % 3 + 3 * (np.arange(300) // 30)  # ten drawings of each, all of one class
    for split in ("val", "test"):
        put(folder, f"arrays/{split}_groups.npy", objects)
    table = pd.read_csv(folder / "predictions_test.csv")
    right = (table["label"] == table["prediction"]).to_numpy(dtype=float)
    run = read(folder)
    found, classes = scores.primary(run), scores.recalls(run, "test")
    assert (
        before
        and found
        and found.groups == 30
        and (found.low, found.high) == pytest.approx(stats.share(right, objects))
    )
    assert (before.low, before.high) == stats.wilson(int(right.sum()), 300) and before.groups is None
    assert by_class is not None and classes is not None
    name = classes["class"][0]
    mine = (table["label"] == name).to_numpy()
    assert tuple(classes.loc[0, ["low", "high"]]) == pytest.approx(stats.share(right[mine], objects[mine]))
    assert scores.effective_n(run, "test") == pytest.approx(stats.effective_n(right, objects))
    assert scores.units(run, "test") == 30
    (folder / "predictions_test.csv").unlink()  # without it, as if all drawings of an object were alike
    blind = scores.score(read(folder), KEY, 0.8)
    assert (blind.low, blind.high) == stats.wilson(240, 300), "nothing tells the objects"
    data = json.loads((folder / "data.json").read_text())
    data["splits"]["test"] = {**data["splits"]["test"], "groups": 30}
    put(folder, "data.json", data)
    blind = scores.score(read(folder), KEY, 0.8)
    assert (blind.low, blind.high, blind.groups) == (*stats.wilson(24, 30), 30)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_all_right_and_all_wrong_have_an_interval(tmp_path, right):
    sweep(tmp_path, {"x": 2.0 if right else -1.0}, seeds=[0])
    row, _ = stood(tmp_path)
    assert row.mean == right and (row.low, row.high) == stats.wilson(int(100 * right), 100)


def test_a_class_that_test_lacks_has_no_accuracy_and_no_interval_of_width_zero(tmp_path):
    folder = classifier(tmp_path / "x" / "y")
    put(folder, "arrays/test_confusion.npy", np.array([[90, 10, 0], [0, 0, 0], [5, 5, 90]]))
    found = scores.recalls(read(folder), "test")
    assert found is not None
    lacking = found[found["n"] == 0].iloc[0]
    assert np.isnan(lacking["accuracy"]) and (lacking["low"], lacking["high"]) == (0, 1)
    assert (found["high"] > found["low"]).all()


# --- several runs


def test_several_runs_on_one_test_set(tmp_path):
    sweep(tmp_path, {"x": 0.7}, seeds=range(4))
    row, group = stood(tmp_path)
    limits = stats.share_interval(stats.estimate_mean(answers_of(group)))
    assert row.of == "runs" and (row.low, row.high) == pytest.approx(limits) and row.n == "100"
    single = stats.wilson(round(100 * row.single[0]), 100)
    assert row.high - row.low > 0.5 * (single.high - single.low), "more seeds bring no more images"


def splits_of(tmp_path, folds, **train):
    """Six splits of one pool of 100 images: split k tests 40 of them."""
    for fold in range(folds):
        splits = {"test": {"digest": f"t{fold}", "n": 40}, **train}
        changes = {"config": {"config": {"data": {"splits": {"seed": fold}}}}, "data": {"splits": splits}}
        sweep(tmp_path / str(fold), {"x": 0.7}, seeds=[0], **changes)
        path = tmp_path / str(fold) / "x-shapes" / "0.001_0"
        table = pd.read_csv(path / "predictions_test.csv", dtype=str)
        table = table.iloc[np.random.default_rng(fold).permutation(100)[:40]].sort_values("id")
        table.to_csv(path / "predictions_test.csv", index=False)
        status = json.loads((path / "status.json").read_text())
        status["metrics"][KEY] = float((table["label"] == table["prediction"]).mean())
        put(path, "status.json", status)


def test_splits_of_one_pool_do_not_bring_new_images(tmp_path):
    splits_of(tmp_path, 6)
    row, group = stood(tmp_path)
    tables = [r.predictions("test").set_index("id") for r in group.runs.values()]
    right = pd.concat([(t["label"] == t["prediction"]).astype(float) for t in tables], axis=1).T.to_numpy()
    limits = stats.share_interval(stats.estimate_mean(right))
    assert row.of == "splits" and (row.low, row.high) == pytest.approx(limits)
    naive = stats.t_interval(row.single)
    assert row.high - row.low > 1.2 * (naive.high - naive.low)
    pool = int(np.isfinite(right).any(0).sum())
    assert row.high - row.low > 0.9 * np.ptp(stats.wilson(round(row.mean * pool), pool))


def test_splits_without_their_samples_need_the_sizes_of_both_parts(tmp_path):
    splits_of(tmp_path, 6)
    for path in tmp_path.rglob("predictions_test.csv"):
        path.unlink()
    row, _ = stood(tmp_path)
    assert (row.low, row.high, row.of) == (None, None, "") and interval(row) == "–"
    for path in tmp_path.rglob("data.json"):
        changed(path, splits={**json.loads(path.read_text())["splits"], "train": {"n": 60}})
    row, _ = stood(tmp_path)
    resampled = stats.interval(stats.estimate_scores(row.single, test_per_train=40 / 60))
    assert row.of == "resampled" and (row.low, row.high) == pytest.approx(resampled)


def test_equal_scores_of_two_runs_are_not_known_exactly(tmp_path):
    sweep(tmp_path, {"x": 0.7}, seeds=[0, 1])
    for path in tmp_path.rglob("status.json"):
        status = json.loads(path.read_text())
        status["metrics"] |= {"val/accuracy": 0.75, "val/loss": 0.5}
        put(path.parent, path.name, status)
    row, _ = stood(tmp_path, "val/accuracy")
    wilson = stats.wilson(75, 100)
    assert row.of == "scores" and row.low is not None and row.low <= wilson.low and row.high >= wilson.high
    row, group = stood(tmp_path, "val/loss")
    assert row.low is None and row.high is None
    accuracy = group.declared(KEY)
    assert sentences.amount(accuracy, 0.1234) == "12 points" and sentences.amount(accuracy, float("nan")) == "–"


def test_the_band_of_a_curve_has_the_variance_of_its_images(tmp_path):
    sweep(tmp_path, {"x": 0.7}, seeds=range(3))
    for path in tmp_path.rglob("metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        put(path.parent, path.name, [{**r, "val/accuracy": 0.8} if "val/accuracy" in r else r for r in rows])
    _, group = stood(tmp_path)
    line = figures.line(group, "val/accuracy")
    assert line is not None
    assert (line.low <= stats.wilson(80, 100).low).all() and (line.high >= stats.wilson(80, 100).high).all()


def test_no_number_of_the_page_is_beyond_its_range(tmp_path):
    """Two seeds of each on four images, where a t test could only see more than all there is."""
    sweep(tmp_path / "runs", {"a": 0.6, "b": 0.5}, seeds=[0, 1], n=4)
    compare([tmp_path / "runs"], out=tmp_path / "page")
    table = pd.read_csv(tmp_path / "page" / "tables" / "pairs-test-accuracy.csv").iloc[0]
    assert table["would have seen"] == "–" and table["verdict"] == "too few to tell"
    low, high = (float(v) for v in table["95% interval"].strip("[]").split(","))
    assert -100 <= low <= 0 <= high <= 100
    page = (tmp_path / "page" / "comparison.html").read_text()
    assert "this test could have seen no difference" in page


def test_a_tiny_split_of_few_objects_is_told(tmp_path):
    folder = retrieval(tmp_path / "x" / "y")
    assert not any("Tiny" in line for line in warnings.lines(read(folder)))
    put(folder, "arrays/val_groups.npy", np.arange(200) // 20)
    (line,) = [line for line in warnings.lines(read(folder)) if "Tiny" in line]
    (low,), (high,) = stats.wilson_band([0.75], 10)
    assert "n = 200, of 10 objects" in line and f"±{50 * (high - low):.0f} points" in line
