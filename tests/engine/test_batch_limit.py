"""A batch is at most the training split, so that an epoch is an epoch; steps are counted before a run begins."""

from __future__ import annotations

import dataclasses
import functools
import json

import pytest
import torch

from sketchlab import config, report
from sketchlab.engine.loader import Order
from sketchlab.engine.settings import FEW_STEPS
from sketchlab.errors import UserError
from sketchlab.training.work import fitting
from tests.every import folder_in, small, train

SLOW = pytest.mark.slow


composed = functools.cache(lambda: config.from_overrides(small("small_cnn")))


def fitted(n, batch, accumulate=1, ranks=1):
    loop = dataclasses.replace(composed().loop, batch_size=batch, accumulate=accumulate)
    return fitting(dataclasses.replace(composed(), loop=loop), n, ranks).batch_size


@pytest.mark.parametrize(
    "n, batch, ranks, accumulate, expected",
    [(12, 4, 1, 1, 4), (12, 12, 1, 1, 12), (11, 12, 1, 1, 11), (11, 12, 2, 1, 10), (11, 12, 2, 3, 6), (1, 64, 1, 1, 1)],
)
def test_a_batch_is_the_most_that_can_be_shared(n, batch, ranks, accumulate, expected):
    assert fitted(n, batch, accumulate, ranks) == expected


def test_packs_of_a_gan_are_whole():
    run = config.from_overrides(small("small_dcgan", "loop.batch_size=64", "model.pack=4"))
    assert fitting(run, 15, 1).batch_size == 12 and fitting(run, 15, 2).batch_size == 8
    with pytest.raises(UserError, match=r"3 samples, too few to share a batch by model.pack 4 = 4; lower") as error:
        fitting(run, 3, 1)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"has 1 sample, too few to share a batch by runtime.ranks 2 × loop.acc"):
        fitted(1, 8, accumulate=2, ranks=2)


@pytest.mark.parametrize("n, batch", [(n, batch) for n in range(1, 40, 7) for batch in (1, 3, 8, 64)])
def test_an_epoch_is_an_epoch(n, batch):
    size = fitted(n, batch)
    order = Order(n, size, 0)
    assert size == min(n, batch)
    for epochs in (1, 2, 3):
        assert order.epochs_done(order.steps(epochs)) == epochs
        seen = torch.cat([order.batch(step)[0] for step in range(order.steps(epochs))])[: epochs * n]
        assert (torch.bincount(seen, minlength=n) == epochs).all()


@pytest.mark.parametrize(
    "model", ["small_cnn", *(pytest.param(m, marks=SLOW) for m in ("small_siamese", "small_dcgan", "small_cyclegan"))]
)
def test_each_epoch_is_a_step_and_a_row(model, tmp_path):
    rows = []
    for epochs in (1, 2):
        words = ["loop.batch_size=64", f"loop.epochs={epochs}", "loop.eval_every=1"]
        train(small(model, *words), str(tmp_path / str(epochs)))
        folder = folder_in(tmp_path / str(epochs))
        kept = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        rows.append([(row["epoch"], row["step"]) for row in kept if any(key.startswith("train/") for key in row)])
        state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
        assert state["step"] == epochs
        log = (folder / "train.log").read_text()
        assert "loop.batch_size=64 is more than the " in log and f": {epochs} steps" in log
    assert rows == [[(1, 1)], [(1, 1), (2, 2)]]


@pytest.mark.slow
def test_few_steps_are_a_warning_on_terminal_and_page(tmp_path, capsys):
    words = small("small_cnn", "loop.batch_size=4", "pipeline.explain=0")  # 12 samples: 3 steps an epoch
    for epochs, few in ((16, True), (17, False)):
        train([*words, f"loop.epochs={epochs}", f"loop.eval_every={epochs}"], str(tmp_path / str(epochs)))
        said, folder = capsys.readouterr().out, folder_in(tmp_path / str(epochs))
        assert f"{epochs} epochs of 12 samples in batches of 4: {3 * epochs} steps" in said
        assert ("warning: few optimizer steps: 48, fewer than 50" in said) == few == (3 * epochs < FEW_STEPS)
        assert ("few optimizer steps: 48, fewer than 50" in report.write(folder).read_text()) == few
