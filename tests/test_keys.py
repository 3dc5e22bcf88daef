"""Each key of the loop and of the pipelines has a test that names it; here are the effects no other file tests."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sketchlab import config, rng
from sketchlab.engine import optim, settings
from sketchlab.engine.runtime import Runtime
from sketchlab.metrics import generation
from tests import every

PIPELINES = every.choices("pipeline")
MODELS = {"baseline": "pixels_logistic", "classify": "small_cnn", "gan": "small_dcgan", "retrieve": "small_siamese"}
MODELS |= {"translate": "small_cyclegan", "draw": "sketch_rnn"}


def task(model, *words):
    run = config.from_overrides(every.small(model, *words))
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), 0)


def batch(of):
    places = torch.arange(of.loop.batch_size)
    return of.draw(places, rng.fold_each(5, places))


# --- every key is named


def keys():
    out = {("loop", field.name) for field in dataclasses.fields(settings.Config)}
    for name in PIPELINES:
        made = config.from_overrides([f"model={MODELS[name]}"]).pipeline.config
        out |= {("pipeline", field.name) for field in dataclasses.fields(made)}
    return sorted(out)


def unnamed(text):
    return [f"{group}.{key}" for group, key in keys() if not re.search(rf"\b{group}\.{key}\b", text)]


def test_no_key_is_without_a_test():
    """By its whole name, in the code of a test."""
    files = [path for path in Path(__file__).parent.rglob("*.py") if "fixtures" not in path.parts]
    assert unnamed("\n".join(path.read_text() for path in files)) == []
    assert "loop.patience" in unnamed("loop.patience_ and patience") and len(unnamed("")) == len(keys()) > 50


# --- the loop


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_betas_are_those_of_the_first_step(name):
    """m = (1 − β₁) g and v = (1 − β₂) g² after one step."""
    run = config.from_overrides(
        [f"loop.optimizer={name}", "loop.betas=[0.7,0.6]", "loop.weight_decay=0", "runtime.device=cpu"]
    )
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = optim.make([weight], run.loop, Runtime(run.runtime))
    (weight * torch.tensor([3.0, 5.0])).sum().backward()
    optimizer.step()
    state = optimizer.state[weight]
    torch.testing.assert_close(state["exp_avg"], 0.3 * torch.tensor([3.0, 5.0]))
    torch.testing.assert_close(state["exp_avg_sq"], 0.4 * torch.tensor([9.0, 25.0]))


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 2), (2, 3)])
def test_patience_ends_a_run_that_gets_no_better(patience, epochs, tmp_path):
    """A rate of almost 0: every epoch scores as the first."""
    words = ["loop.epochs=6", f"loop.patience={patience}", "loop.lr=1e-30", "pipeline.explain=0", "loop.batch_size=12"]
    every.train(every.small("small_cnn", *words), str(tmp_path))
    log = (every.folder_in(tmp_path) / "train.log").read_text()
    assert log.count("train/loss") == epochs


# --- classification


def logits_of(of, inputs):
    with torch.no_grad():
        return copy.deepcopy(of.net)(inputs).double()


def test_label_smoothing_spreads_its_share_over_all_classes():
    losses = {}
    for share in (0.0, 0.3):
        of = task("small_cnn", f"pipeline.label_smoothing={share}", "model.dropout=0")
        given = of.prepare(batch(of))
        logits, labels = logits_of(of, given["inputs"]), given["labels"]
        log_p = logits.log_softmax(1)
        target = F.one_hot(labels, 3) * (1 - share) + share / 3
        losses[share] = every.step(of, batch(of))["loss"].item()
        assert losses[share] == pytest.approx(-(target * log_p).sum(1).mean().item(), rel=1e-5)
        theirs = nn.CrossEntropyLoss(label_smoothing=share)(logits, labels)
        assert losses[share] == pytest.approx(theirs.item(), rel=1e-5)
    assert losses[0.3] != pytest.approx(losses[0.0], rel=1e-3)


def test_balanced_classes_weigh_the_same_however_many_samples_they_have():
    """Of 4 training samples the first class has 2: n / (classes · n_class), scikit-learn's `balanced`."""
    of = task("small_cnn", "pipeline.class_weights=balanced", "data.splits.train_at_most=4", "model.dropout=0")
    assert of.train.labels.bincount().tolist() == [2, 1, 1]
    assert of.loss.weight.tolist() == pytest.approx([4 / (3 * 2), 4 / 3, 4 / 3])
    given = of.prepare(batch(of))
    own = -logits_of(of, given["inputs"]).log_softmax(1)[torch.arange(4), given["labels"]]
    by_class = torch.stack([own[given["labels"] == label].mean() for label in range(3)])  # one vote a class
    assert every.step(of, batch(of))["loss"].item() == pytest.approx(by_class.mean().item(), rel=1e-5)
    plain = task("small_cnn", "pipeline.class_weights=none", "data.splits.train_at_most=4", "model.dropout=0")
    assert every.step(plain, batch(plain))["loss"].item() == pytest.approx(own.mean().item(), rel=1e-5)
    assert by_class.mean().item() != pytest.approx(own.mean().item(), rel=1e-4)


# --- retrieval and generation


@pytest.mark.slow
def test_the_sheet_has_a_row_for_each_of_the_best_and_the_worst():
    heights = {}
    for rows in (0, 1, 2):
        of = task("small_siamese", f"pipeline.sheet_rows={rows}", "loop.batch_size=4")
        of.evaluate("test")
        shown = every.explained(of, "test").get("retrieval_sheet")
        heights[rows] = 0 if shown is None else len(shown) - 4  # a bar of 4 px between best and worst
    assert heights[0] == 0 < heights[1] and heights[2] == 2 * heights[1]


def test_the_gate_multiplies_by_its_factor():
    of = task("small_dcgan", "pipeline.gate_window=2", "pipeline.gate_flat=100", "pipeline.gate_factor=1.25")
    for _ in range(2):
        every.step(of, batch(of))
    assert of.gate.fired == [[2, 1.25]] and of.gate.rate == 1.25


@pytest.mark.parametrize(("subsets", "size"), [(3, 4), (7, 4), (3, 6)])
def test_kid_is_the_mean_of_so_many_draws_of_so_many_images(subsets, size):
    of = task("small_dcgan", f"pipeline.kid_subsets={subsets}", f"pipeline.kid_subset_size={size}")
    found = of.evaluate("val")
    real, fake = (of.features.of(images) for images in (of.reals.of("val"), of.sampler.sample(8)[0]))
    theirs = generation.kid(real, fake, subsets, min(size, len(real), len(fake)), rng.fold("kid", "val"))
    assert found[f"kid@{of.features.name}"] == pytest.approx(theirs.mean, rel=1e-5)
    assert found["quality"]["kid"]["subsets"] == subsets and found["quality"]["kid"]["subset"] == size


def test_the_way_back_weighs_as_much_as_is_asked_for():
    parts = []
    for weight in (1.0, 3.0):
        of = task("small_cyclegan", f"pipeline.weight_cycle={weight}", "pipeline.weight_identity=0")
        parts.append(every.step(of, batch(of)))
    assert parts[1]["part_cycle"].item() == pytest.approx(3 * parts[0]["part_cycle"].item(), rel=1e-5)
    assert parts[1]["part_fool"].item() == pytest.approx(parts[0]["part_fool"].item(), rel=1e-5)


# --- ranks


@pytest.mark.parametrize("name", ["classify", "retrieve", "gan", "translate", "draw"])
def test_an_evaluation_takes_rank_0s_buffers(name, monkeypatch):
    of, asked = task(MODELS[name], "loop.batch_size=4"), []
    monkeypatch.setattr(of.runtime, "same_buffers", asked.append)
    of.evaluate("val")
    nets = [of.nets["to_sketch"], of.nets["to_photo"]] if name == "translate" else [of.G if name == "gan" else of.net]
    assert all(any(net is one for one in asked) for net in nets)
