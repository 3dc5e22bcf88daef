"""Baselines: fitted the same way every time, stored as plain arrays, and as good from those as before."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB

from sketchlab import config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.pipelines.baseline import task as baseline

DATA = ["data.per_class=10", "data.classes=[circle,square,line]"]


def task(*words: str, estimator=None) -> baseline.Baseline:
    run = config.from_overrides(["model=pixels_naive_bayes", *DATA, "runtime.device=cpu", *words])
    data = run.data.build(run.model.config.input)
    estimator = run.model.build(len(data.classes)) if estimator is None else estimator
    return run.pipeline.build(estimator, data, run.loop, Runtime(run.runtime), run.seed)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("model", ["pixels_naive_bayes", "pixels_logistic"])
def test_refit_gives_the_same_arrays_and_arrays_the_same_answers(model, tmp_path):
    first, second = (task(f"model={model}") for _ in range(2))
    first.fit()
    second.fit()
    assert same(first.arrays(), second.arrays())

    torch.save(first.arrays(), tmp_path / "best.pt")
    stored = torch.load(tmp_path / "best.pt", weights_only=True)
    fresh = config.from_overrides([f"model={model}"]).model.build(3)
    baseline.from_arrays(fresh, stored)
    pixels = first.pixels("val")
    assert np.array_equal(fresh.predict_log_proba(pixels), first.estimator.predict_log_proba(pixels))
    assert np.array_equal(fresh.predict(pixels), first.estimator.predict(pixels))


def test_naive_bayes_against_bayes_by_hand():
    fitted = task()
    fitted.fit()
    x, y, asked = fitted.pixels("train").astype(float), fitted.data.splits["train"].labels.numpy(), fitted.pixels("val")
    extra = 0.1 * x.var(0).max()  # var_smoothing of the YAML
    joint = np.empty((len(asked), 3))
    for c in range(3):
        mean, var = x[y == c].mean(0), x[y == c].var(0) + extra
        joint[:, c] = np.log((y == c).mean()) - 0.5 * (np.log(2 * np.pi * var) + (asked - mean) ** 2 / var).sum(1)
    expected = joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
    torch.testing.assert_close(fitted.log_probabilities("val"), torch.from_numpy(expected), rtol=1e-4, atol=1e-3)


def test_scores_and_files_are_those_of_a_classifier():
    fitted = task()
    fitted.fit()
    out = fitted.evaluate("val")
    labels = fitted.data.splits["val"].labels
    predicted = fitted.estimator.predict(fitted.pixels("val"))
    assert out["accuracy"] == pytest.approx((predicted == labels.numpy()).mean())
    assert out["confusion"].sum() == len(labels) and out["confusion"].trace() == (predicted == labels.numpy()).sum()
    assert list(out["predictions"]) == ["id", "label", "prediction", "p_circle", "p_square", "p_line"]
    wrong = int((predicted != labels.numpy()).sum())
    assert wrong == 0 or out["mistake_pixels"].shape == (wrong, 32, 32)


@pytest.mark.filterwarnings("ignore:overflow")
def test_what_an_estimator_calls_impossible_stays_a_number():
    fitted = task()
    fitted.fit()
    fitted.estimator.theta_ = np.concatenate([np.full((1, 1024), 1e160), fitted.estimator.theta_[1:]]).astype(
        float
    )  # no pixel is near: log-probability -inf
    log_p = fitted.log_probabilities("val")
    assert log_p.isfinite().all() and log_p.min() < -700


def test_every_random_state_follows_the_seed():
    states = [task(f"seed={seed}", estimator=RandomForestClassifier()).estimator.random_state for seed in (0, 0, 1)]
    assert states[0] == states[1] != states[2]


def test_fits_every_view_of_a_finite_augmentation():
    plain, viewed = task(), task("data/augment=finite", "data.augment.views=3")
    plain.fit()
    viewed.fit()
    assert viewed.estimator.class_count_.tolist() == [3 * n for n in plain.estimator.class_count_]
    assert not np.array_equal(viewed.pixels("train", 0), viewed.pixels("train", 1))


@pytest.mark.parametrize(
    "words, said",
    [
        (["data.classes=[circle]"], "at least two classes"),
        (["data/augment=mild"], "data.augment.views"),
        (["model.var_smoothing=0"], "model.var_smoothing"),
        (["pipeline.eval_batch=0"], "pipeline.eval_batch"),
        (["pipeline=classify"], "it takes logits, the model gives estimator"),
        (["model.name=pixels_naive_bay"], "did you mean pixels_naive_bayes"),
    ],
)
def test_mistakes_in_one_line(words, said):
    with pytest.raises(UserError) as error:
        task(*words)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_names_of_both_packages_are_listed():
    with pytest.raises(UserError) as error:
        config.component("model", {"name": "nothing"})
    assert "models/nothing.py or sketchlab/baselines/nothing.py" in str(error.value)
    assert "pixels_naive_bayes" in str(error.value) and "small_cnn" in str(error.value)


def test_state_that_is_not_arrays_is_refused():
    forest = RandomForestClassifier(2).fit(np.zeros((4, 2)), [0, 1, 0, 1])
    with pytest.raises(UserError, match="arrays and numbers only"):
        baseline.arrays(forest)
    assert set(baseline.arrays(GaussianNB())) == set()
