"""Baselines on frozen features and on HOG: like scikit-learn's own, refitted and restored to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from sketchlab import config, rng
from sketchlab.baselines import features_random_forest as forests
from sketchlab.baselines import hog_svm
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.layers.chain import penultimate
from sketchlab.pipelines.baseline import task as baseline
from tests import every

DATA = ["data.per_class=12", "data.classes=[circle,square,line]", "runtime.device=cpu"]
MODELS = ["features_logistic", "features_random_forest", "hog_svm"]


SMALL = ["model.backbone.weights=none", "model.backbone.tune=scratch"]


def composed(model: str, *words: str) -> config.RunConfig:
    twin = [] if any(word.startswith("model@") for word in words) else every.TWINS.get(model, [])
    return config.from_overrides([f"model={model}", *DATA, *twin, *words])


def task(model: str, *words: str) -> baseline.Baseline:
    run = composed(model, *words)
    data = run.data.build(run.model.config.input)
    torch.manual_seed(rng.fold(run.seed, "init"))
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), run.seed)


@pytest.mark.parametrize("model", MODELS)
def test_refitted_and_restored_to_the_bit(model, tmp_path):
    first, second = task(model), task(model)
    for one in (first, second):
        one.fit()
        torch.save(one.arrays(), tmp_path / f"{one is first}.pt")
    stored = torch.load(tmp_path / "True.pt", weights_only=True)
    again = torch.load(tmp_path / "False.pt", weights_only=True)
    assert repr(stored) == repr(again)

    torch.manual_seed(99)  # a restored network takes nothing from the random state it was built in
    restored = baseline.from_arrays(composed(model).model.build(3), stored)
    expected = first.log_probabilities("val").exp().numpy()
    given = np.exp(restored.predict_log_proba(first.pixels("val")))
    assert np.allclose(given, expected, atol=1e-4) and (given.argmax(1) == expected.argmax(1)).all()
    inner = getattr(restored, "estimator", restored)
    asked = first.inputs("val")
    assert np.array_equal(inner.predict_log_proba(asked), first.estimator.predict_log_proba(asked))


def test_forest_is_scikit_learns():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(80, 7)).astype(np.float32), np.arange(80) % 3 + 4
    x[:, 0] = x[:, 0].round()  # ties at thresholds
    ours = forests.Forest(25, 2, random_state=5).fit(x, y)
    theirs = RandomForestClassifier(25, min_samples_leaf=2, random_state=5).fit(x, y)
    asked = np.concatenate([x, draw.normal(size=(50, 7)), x.astype(np.float64) + 1e-12])
    assert np.array_equal(ours.predict_proba(asked), theirs.predict_proba(asked))
    assert np.array_equal(ours.predict(asked), theirs.predict(asked))


@pytest.mark.parametrize("classes", [2, 3])
def test_hog_svm_answers_as_the_svm_at_the_likeliest_temperature(classes):
    draw = np.random.default_rng(1)
    y = np.arange(60) % classes
    x = draw.random((60, 256), dtype=np.float32) + np.eye(classes, 256, dtype=np.float32)[y].cumsum(1)
    ours = hog_svm.HogSvm(16, 4, 2, 9, 1.0, random_state=0).fit(x, y)
    described = ours.describe(x)
    theirs = LinearSVC(C=1.0, dual="auto", random_state=0).fit(described, y)
    assert described.shape == (60, 9 * 4 * 9)
    assert np.array_equal(ours.predict(x), theirs.predict(described))
    assert np.allclose(np.exp(ours.predict_log_proba(x)).sum(1), 1) and ours.temperature_ > 0

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    margins = hog_svm.two_sided(
        np.asarray(cross_val_predict(theirs, described, y, cv=folds, method="decision_function"))
    )
    losses = [log_loss(y, softmax(margins / (ours.temperature_ * factor), 1)) for factor in (0.8, 0.95, 1, 1.05, 1.25)]
    assert min(losses) == losses[2]


def test_one_sample_of_a_class_leaves_the_margins_as_they_are():
    fitted = hog_svm.HogSvm(16, 4, 2, 9, 1.0, random_state=0).fit(
        np.random.default_rng(0).random((3, 256)), np.array([0, 1, 1])
    )
    assert fitted.temperature_ == 1.0


def test_features_are_those_before_the_last_layer_and_come_from_any_network():
    fitted = task("features_logistic")
    run = composed("features_logistic")
    torch.manual_seed(rng.fold(run.seed, "init"))
    assert run.model.backbone is not None
    net = run.model.backbone.build(3).eval()
    images = torch.from_numpy(fitted.pixels("val")).unflatten(1, (3, 32, 32))
    with torch.no_grad():
        expected = penultimate(net)(images)
    assert np.allclose(fitted.inputs("val"), expected.numpy(), atol=1e-5) and expected.shape[1] == 102  # 512 · .2
    small = task("features_logistic", "model@model.backbone=small_cnn", *SMALL)
    assert small.inputs("val").shape[1] == 128


def test_every_view_of_a_finite_augmentation_is_fitted():
    fitted = task("features_logistic", "data/augment=finite", "data.augment.views=3")
    n = len(fitted.data.splits["train"])
    rows = fitted.training()
    assert len(rows) == 3 * n and not np.array_equal(rows[:n], rows[n : 2 * n])
    fitted.fit()
    assert fitted.evaluate("val")["accuracy"] >= 0


def test_another_network_than_the_fitted_one_is_refused():
    fitted = task("features_logistic")
    fitted.fit()
    stored = fitted.arrays()
    stored["network"]["tensors"] = {}  # as with weights that lie in a file: they are not stored
    torch.manual_seed(99)
    with pytest.raises(UserError, match="features of another network"):
        baseline.from_arrays(composed("features_logistic").model.build(3), stored)


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("features_logistic", ["model.backbone.tune=finetune", "model.backbone.weights=imagenet"], "expected freeze"),
        ("features_logistic", ["model@model.backbone=small_dcgan"], "backbone"),
        ("features_logistic", ["model.backbone.nothing=1"], "backbone"),
        ("features_logistic", ["model.c=0"], "model.c=0"),
        ("features_random_forest", ["model.trees=0"], "model.trees=0"),
        ("hog_svm", ["model.cell_px=100"], "not one block fits"),
        ("hog_svm", ["model.c=-1"], "c above 0"),
    ],
)
def test_mistakes_in_one_line(model, words, said):
    with pytest.raises(UserError) as error:
        config.from_overrides([f"model={model}", *DATA, *words]).model.build(3)
    assert said in str(error.value) and "\n" not in str(error.value)
