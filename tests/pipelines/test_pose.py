"""The second head: what it is to learn, whether it learns it, whether it resumes, and what a finished run says."""

from __future__ import annotations

import math
import signal

import pandas as pd
import pytest
import torch

from sketchlab import config, open_run
from sketchlab.data.strokes import augment as stroke_augment
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.pipelines.classify import pose
from tests import every
from tests.test_exact import digest, start

TURNED = ["data/stroke_augment=mild", "pipeline.pose_weight=1"]
ARROW = [[[[0, 255], [100, 100]], [[200, 255, 200], [60, 100, 140]]]]  # lies: 255 wide, 80 high


def settings(**changes):
    plain = {"views": 0, "rotate_deg": 0.0, "stretch": 1.0, "scale": [1.0, 1.0], "shift": 0.0, "jitter": 0.0}
    return stroke_augment.Config(**{**plain, "drop": 0.0, "reverse": 0.0, **changes})


def test_the_pose_is_how_the_drawing_was_turned_and_sized():
    batch = stroke_batch.of_drawings(ARROW * 200)
    how = settings(rotate_deg=40.0, scale=[0.5, 1.0], shift=0.1)
    keys = torch.arange(200)
    changed = stroke_augment.augment(batch, keys, how, "corner")
    found = stroke_augment.pose(changed, keys, how)
    tail, tip = changed.points[::5].double(), changed.points[1::5].double()  # of the shaft, that once lay level
    dx, dy = (tip - tail).unbind(1)
    assert torch.allclose(torch.rad2deg(torch.atan2(dy, dx)).float(), found[:, 0], atol=1e-3)
    assert torch.allclose(((dx**2 + dy**2).sqrt() / 255).float(), found[:, 1], atol=1e-5)
    assert found[:, 0].min() < -30 and found[:, 0].max() > 30 and found[:, 1].min() < 0.7


def test_without_a_turn_the_size_is_that_of_the_box():
    batch = stroke_batch.of_drawings(ARROW)
    how = settings(scale=[0.5, 0.5])
    changed = stroke_augment.augment(batch, torch.tensor([3]), how, "corner")
    assert stroke_augment.pose(changed, torch.tensor([3]), how).tolist() == [[0.0, 0.5]]


def test_the_head_reads_back_what_it_learns():
    stands = torch.tensor([[-170.0, 0.2], [0.0, 1.0], [95.0, 0.6]])
    assert torch.allclose(pose.read(pose.targets(stands)), stands, atol=1e-4)
    assert pose.turned(torch.tensor([350.0, -190.0, 20.0])).tolist() == [10.0, 170.0, 20.0]


def test_the_loss_of_a_constant_guess_is_one():
    draw = torch.Generator().manual_seed(0)
    stands = torch.stack([40 * torch.rand(500, generator=draw) - 20, 0.5 + 0.5 * torch.rand(500, generator=draw)], 1)
    wanted = pose.targets(stands)
    head = pose.Pose(4, wanted)
    assert head.loss(wanted.mean(0).expand(500, 3), wanted).item() == pytest.approx(1, abs=1e-4)


def test_scores_against_a_plain_count():
    predicted = torch.tensor([[10.0, 0.5], [-20.0, 0.7], [175.0, 0.9], [0.0, 1.0]])
    stands = torch.tensor([[20.0, 0.5], [-20.0, 0.9], [-175.0, 0.6], [5.0, 0.8]])
    found = pose.evaluation(predicted, stands, torch.tensor([0, 0, 2, 2]), ["a", "b", "c"])
    assert found["angle_error_deg"] == pytest.approx((10 + 0 + 10 + 5) / 4)
    assert found["size_error"] == pytest.approx((0 + 0.2 + 0.3 + 0.2) / 4)
    assert found["chance"]["angle_error_deg"] == pytest.approx((20 + 20 + 175 + 5) / 4)
    table = found["pose"].set_index("class")
    assert table["n"].tolist() == [2, 0, 2] and math.isnan(table.loc["b", "size_error"])
    assert table.loc["c", "angle_error_deg"] == pytest.approx(7.5)


def task(*words):
    run = config.from_overrides(every.small("cnn_lstm", *words))
    data = run.data.build(run.model.config.input)
    runtime = Runtime(run.runtime)
    runtime.seed(1)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)


def test_it_learns_angles_and_leaves_the_answers_alone():
    still = ["loop.lr=0.003", "loop.schedule=constant", "loop.warmup_epochs=0"]
    both = task(*TURNED, "data.classes=[line,house]", "loop.batch_size=8", *still)
    batch = both.draw(*Order(both.n_train, 8, 1).batch(0))
    losses = [every.step(both, batch, 0.0)["pose_loss"].item() for _ in range(80)]
    assert losses[0] > 0.5 and losses[-1] < 0.05
    both.net.eval()
    images = both.data.prepare(both.train.gather(torch.arange(4)))
    assert torch.equal(both.learner(images)[0], both.net(images))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["pipeline.pose_weight=1"], "rotate_deg=0; choose data/stroke_augment"),
        (["pipeline.pose_weight=-1"], "pipeline.pose_weight=-1"),
    ],
)
def test_refused_in_one_line(words, why):
    with pytest.raises(UserError, match=why) as error:
        task(*words)
    assert "\n" not in str(error.value)


def test_pictures_cannot_be_asked():
    run = config.from_overrides(every.small("small_cnn", "pipeline.pose_weight=1"))
    data = run.data.build(run.model.config.input)
    with pytest.raises(UserError, match="needs drawings kept as strokes"):
        run.pipeline.build(run.model.build(3), data, run.loop, Runtime(run.runtime), 1)


@pytest.mark.long
def test_killed_and_resumed_equals_unbroken(tmp_path):
    words = every.small("cnn_lstm", *TURNED)
    assert start(words, tmp_path / "whole") == 0
    again = [*words, "loop.save_every_s=0"]
    assert start(again, tmp_path / "broken", 4) == -signal.SIGKILL
    assert start(again, tmp_path / "broken") == 0
    assert digest(every.folder_in(tmp_path / "whole")) == digest(every.folder_in(tmp_path / "broken"))


@pytest.mark.slow
def test_a_finished_run_says_how_drawings_are_turned(tmp_path):
    every.train(every.small("cnn_lstm", *TURNED), str(tmp_path))
    folder = every.folder_in(tmp_path)
    run = open_run(folder)
    drawings = stroke_batch.of_drawings(ARROW * 3)
    classifier = run.classifier()
    found = classifier.pose(drawings)
    assert found.shape == (3, 2) and found[:, 0].abs().max() <= 180 and bool((found[:, 1] > 0).all())
    assert torch.equal(found[0], found[2])
    errors = run.pose_errors()
    assert errors["class"].tolist() == run.classes and set(errors["oriented"]) <= {True, False}
    final = run.status["metrics"]
    assert {"val/angle_error_deg", "test/angle_error_deg", "test/size_error"} <= set(final)
    assert pd.read_json(folder / "chance_test.json", typ="series")["angle_error_deg"] > 0


def test_a_run_without_it_says_so(tmp_path):
    every.train(every.small("cnn_strokes"), str(tmp_path))
    run = open_run(every.folder_in(tmp_path))
    with pytest.raises(UserError, match="pipeline.pose_weight=1"):
        run.classifier().pose(stroke_batch.of_drawings(ARROW))
    with pytest.raises(UserError, match="no pose_test.csv"):
        run.pose_errors()
