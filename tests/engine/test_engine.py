"""Order, schedules, ranks and evaluation, each against its slow twin."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sketchlab import config
from sketchlab.engine import loop, optim
from sketchlab.engine.loader import Feed, Order
from sketchlab.engine.rundir import RunDir
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import OPTIMIZERS, Config
from sketchlab.engine.steps import Averages
from sketchlab.engine.task import printout
from sketchlab.errors import UserError
from sketchlab.metrics.declared import of_pipeline
from sketchlab.storage.files import read_json
from tests import every


def settings(*overrides: str) -> Config:
    return config.from_overrides(list(overrides)).loop


# --- order


@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize(("n", "batch"), [(10, 3), (7, 7), (5, 8), (1, 4), (100, 16), (1001, 3)])
def test_every_sample_once_an_epoch(n, batch, sized):
    order = Order(n, batch, seed=1, sizes=torch.arange(n) % 7 if sized else None)
    epochs = 3
    stream = torch.cat([order.batch(step)[0] for step in range(order.steps(epochs))])
    assert len(stream) == order.steps(epochs) * batch
    for epoch in range(epochs):
        assert sorted(stream[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))
    assert n < 5 or (sized and n <= batch) or stream[:n].tolist() != stream[n : 2 * n].tolist()


def test_batches_of_one_size_where_samples_have_sizes():
    """The longest of a batch times its samples, which is what a padded batch costs, against the sum of sizes."""
    sizes = torch.from_numpy(np.random.default_rng(0).integers(5, 100, 5003))
    sorted_, plain = Order(5003, 32, 1, sizes=sizes), Order(5003, 32, 1)
    cost = [sum(int(sizes[o.batch(k)[0]].max()) * 32 for k in range(o.steps(3))) for o in (sorted_, plain)]
    assert cost[0] < 1.08 * int(sizes.sum()) * 3 < 0.65 * cost[1]
    means = torch.stack([sizes[sorted_.batch(k)[0]].double().mean() for k in range(32, 64)])
    assert not torch.equal(means, means.sort().values)  # lengths come in no order


@pytest.mark.parametrize("sizes", [None, torch.arange(1000) % 50])
def test_a_step_needs_no_steps_before_it(sizes):
    whole, late = Order(1000, 32, seed=2, sizes=sizes), Order(1000, 32, seed=2, sizes=sizes)
    before = [whole.batch(step) for step in range(900)]
    for step in (899, 5, 300):
        places, keys = late.batch(step)
        assert torch.equal(places, before[step][0]) and torch.equal(keys, before[step][1])


def test_ranks_share_a_batch_and_workers_change_nothing():
    order = Order(50, 12, seed=3)
    whole = [order.batch(step)[0] for step in range(10)]
    parts = [[order.batch(step, rank, 3)[0] for step in range(10)] for rank in range(3)]
    for step, places in enumerate(whole):
        merged = torch.empty_like(places)
        for rank in range(3):
            merged[rank::3] = parts[rank][step]
        assert torch.equal(merged, places)
    for workers in (0, 1, 4):
        runtime = Runtime(config.from_overrides(["runtime.device=cpu", f"runtime.workers={workers}"]).runtime)
        for at_once in (False, True):
            feed = Feed(order, lambda p, k: {"places": p}, lambda raw: raw, runtime, at_once)
            assert all(torch.equal(a["places"], b) for a, b in zip(feed(2, 9), whole[2:9], strict=True))


def test_views_repeat_their_keys():
    order = Order(20, 20, seed=4, views=2)
    keys = []
    for epoch in range(4):
        places, k = order.batch(epoch)
        keys.append(dict(zip(places.tolist(), k.tolist(), strict=True)))
    assert keys[0] == keys[2] and keys[1] == keys[3] and keys[0] != keys[1]


def test_a_failing_fetch_is_heard():
    def broken(places, keys):
        raise UserError("no such file")

    with pytest.raises(UserError, match="no such file"):
        runtime = Runtime(config.from_overrides(["runtime.device=cpu"]).runtime)
        list(Feed(Order(4, 2, 0), broken, dict, runtime)(0, 2))


# --- learning rate


def test_rates_against_their_formulas():
    cosine = settings("loop.schedule=cosine", "loop.epochs=10", "loop.warmup_epochs=2", "loop.lr=0.8")
    assert optim.rate(cosine, 1.0) == pytest.approx(0.4)
    assert optim.rate(cosine, 6.0) == pytest.approx(0.8 * 0.5 * (1 + math.cos(math.pi * 4 / 8)))
    assert optim.rate(cosine, 10.0) == pytest.approx(0) and optim.rate(cosine, 0.0) > 0
    step = settings(
        "loop.schedule=step", "loop.step_epochs=7", "loop.step_gamma=0.1", "loop.warmup_epochs=0", "loop.lr=1"
    )
    assert [round(optim.rate(step, e), 6) for e in (0, 6.99, 7, 14)] == [1, 1, 0.1, 0.01]
    linear = settings("loop.schedule=linear", "loop.epochs=200", "loop.decay_from_epoch=100", "loop.warmup_epochs=0")
    assert optim.rate(linear, 99) == linear.lr and optim.rate(linear, 150) == pytest.approx(linear.lr / 2)
    assert optim.rate(linear, 150, lr=4) == pytest.approx(2)
    constant = settings("loop.schedule=constant", "loop.warmup_epochs=0")
    assert optim.rate(constant, 1e6) == constant.lr


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_is_torchs_own_step(name):
    run = settings(f"loop.optimizer={name}", "loop.schedule=constant", "loop.warmup_epochs=0", "loop.lr=0.1")
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
        "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.01),
        "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.01),
    }
    runtime = Runtime(config.from_overrides(["runtime.device=cpu"]).runtime)
    a, b = optim.make(list(ours.parameters()), run, runtime), kinds[name](theirs.parameters())
    for _ in range(3):
        x = torch.ones(4, 3)
        ours(x).square().sum().backward()
        theirs(x).square().sum().backward()
        optim.set_rate(a, run, 1.0)
        optim.update(a, runtime, run)
        b.step()
        b.zero_grad()
    assert torch.equal(ours.weight, theirs.weight)


def test_clipping_bounds_the_gradient():
    run = settings("loop.optimizer=sgd", "loop.momentum=0", "loop.weight_decay=0", "loop.clip_norm=0.5", "loop.lr=1")
    run = dataclasses.replace(run, schedule="constant", warmup_epochs=0)
    net = nn.Linear(4, 4)
    before = torch.cat([p.detach().flatten() for p in net.parameters()])
    runtime = Runtime(config.from_overrides(["runtime.device=cpu"]).runtime)
    optimizer = optim.make(list(net.parameters()), run, runtime)
    (net(torch.ones(2, 4)) * 100).square().sum().backward()
    norm = optim.update(optimizer, runtime, run)
    moved = torch.cat([p.detach().flatten() for p in net.parameters()]) - before
    assert norm is not None and norm > 100 and moved.norm() == pytest.approx(0.5, rel=1e-4)

    (net(torch.ones(2, 4)) * 100).square().sum().backward()
    wanted = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()
    norm = optim.update(optimizer, runtime, dataclasses.replace(run, clip_norm=math.inf))
    assert norm is not None and norm == pytest.approx(wanted.item(), rel=1e-6), "measured, not clipped"


def test_averages_are_those_of_each_value_alone():
    """Values that join late, are missing at times or change places; taken up again in the middle."""
    draw, runtime = torch.Generator().manual_seed(0), Runtime(config.from_overrides(["runtime.device=cpu"]).runtime)
    rows = [{key: torch.rand((), generator=draw) for key in keys} for keys in ("ab", "ab", "bca", "ac", "cab")]
    averages = Averages(None, 0, runtime)
    for i, row in enumerate(rows):
        if i == 3:
            averages = Averages(averages.state(runtime), i, runtime)
        averages.add(row)
        averages.count += 1
    wanted = {f"train/{key}": sum(float(row[key]) for row in rows if key in row) / len(rows) for key in "abc"}
    assert averages.take(runtime) == pytest.approx(wanted, rel=1e-12)
    assert averages.bad == -1
    for value in (1.0, math.nan, 2.0, math.inf):
        averages.add({"d": torch.tensor(value)})
    assert averages.bad == len(rows) + 2, "the first step that was not finite"


def test_patience_stops_early():
    rows = [{"val/accuracy": v} for v in (0.1, 0.5, 0.4, 0.5)]
    watch = loop.watched("val/accuracy", of_pipeline("classify"))
    assert loop.best(rows, watch) is rows[3], "the later of equals"
    assert loop.exhausted(rows, watch, 2) and not loop.exhausted(rows, watch, 3)  # an equal score is not better
    assert not loop.exhausted(rows, watch, 0) and not loop.exhausted(rows, None, 1)
    assert loop.watched("", of_pipeline("classify")) is None


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [((3.0, 1.0, 2.0), 1), ((1.0, 1.0, 2.0), 1), ((math.nan, math.inf, math.nan), 2), ((1.0, math.nan, 2.0), 0)],
)
def test_of_equal_epochs_the_lower_loss_then_the_later_one(losses, chosen):
    """Of every prefix too: best.pt is kept while the rows come."""
    watch = loop.watched("val/accuracy", of_pipeline("classify"))
    rows = [{"val/accuracy": 0.5, "val/loss": loss} for loss in losses]
    assert loop.best(rows, watch) is rows[chosen]
    kept = [row for n, row in enumerate(rows, 1) if loop.best(rows[:n], watch) is row][-1]
    assert kept is rows[chosen]
    better = [*rows, {"val/accuracy": 0.6, "val/loss": 9.0}, {"val/accuracy": math.nan, "val/loss": 0.1}]
    assert loop.best(better, watch) is better[3]


def test_a_monitor_is_what_its_pipeline_declares():
    gan = of_pipeline("gan")
    watch = loop.watched("val/kid@random", gan)
    rows = [{"val/kid@random": value, "val/loss": 1.0} for value in (0.3686, 0.3643, 0.37)]
    assert watch == loop.watched("-val/kid@random", gan) and watch.loss == ""
    assert loop.best(rows, watch) is rows[1]
    for monitor, said in (
        ("+val/kid@random", "better=smaller"),
        ("val/ms_ssim_fake", "better=neither"),
        ("val/nll", "val/nll: pipeline=gan gives this score without declaring it"),
    ):
        with pytest.raises(UserError, match=said):
            loop.watched(monitor, gan)


# --- whole runs


def trained(root, *more: str) -> dict[str, torch.Tensor]:
    every.train(every.small("small_cnn", "runtime.workers=0", *more), str(root))
    state = torch.load(every.folder_in(root) / "checkpoints/best.pt", weights_only=True)
    return state["parts"]["net"]


PLAIN = ("model.norm=none", "model.dropout=0", "loop.batch_size=8", "loop.epochs=4")


def test_accumulation_equals_the_whole_batch(tmp_path):
    whole, parts = (trained(tmp_path / str(k), *PLAIN, f"loop.accumulate={k}") for k in (1, 4))
    assert all(torch.allclose(whole[k], parts[k], rtol=1e-4, atol=1e-5) for k in whole)


@pytest.mark.slow
def test_two_ranks_equal_one_at_the_same_global_batch(tmp_path):
    """Without batch norm and dropout only the order of float sums differs: 1e-5 absolute, 1e-4 relative."""
    one, two = (trained(tmp_path / str(k), *PLAIN, f"runtime.ranks={k}") for k in (1, 2))
    assert all(torch.allclose(one[k], two[k], rtol=1e-4, atol=1e-5) for k in one)
    a, b = (every.folder_in(tmp_path / str(k)) for k in (1, 2))
    assert a.name != b.name, "ranks decide the bits, so they decide the id"


@pytest.mark.slow
def test_torchrun_gives_the_bits_of_spawned_ranks(tmp_path):
    spawned = trained(tmp_path / "spawned", *PLAIN, "runtime.ranks=2")
    run = every.small("small_cnn", *PLAIN, "runtime.workers=0", "runtime.ranks=2", f"run.root={tmp_path / 'torchrun'}")
    words = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29533", "-m", "sketchlab.run", *run]
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    folder = every.folder_in(tmp_path / "torchrun")
    theirs = torch.load(folder / "checkpoints/best.pt", weights_only=True)["parts"]["net"]
    assert all(torch.equal(spawned[k], theirs[k]) for k in spawned)
    assert folder.name == every.folder_in(tmp_path / "spawned").name and done.stdout.count("report: ") == 1


def test_shards_gather_unpadded():
    class Fake(Runtime):
        def __init__(self, rank, ranks, parts):
            self.rank, self.ranks, self.parts = rank, ranks, parts

        def each(self, value):
            return self.parts

    values = torch.arange(11) * 10
    shards = [Fake(rank, 3, None).shard(11) for rank in range(3)]
    assert sorted(torch.cat(shards).tolist()) == list(range(11))
    parts = [{"x": values[shard]} for shard in shards]
    assert torch.equal(Fake(0, 3, parts).gather(parts[0], 11)["x"], values)


def test_bf16_trains(tmp_path):
    net = trained(tmp_path, "runtime.precision=bf16", "runtime.channels_last=true")
    assert all(t.dtype != torch.bfloat16 and bool(t.isfinite().all()) for t in net.values() if t.is_floating_point())


def test_batch_that_ranks_cannot_share(tmp_path):
    with pytest.raises(UserError, match="loop.batch_size=4 cannot be shared by runtime.ranks=1 × loop.accumulate=3"):
        trained(tmp_path, "loop.accumulate=3")


def test_predictions_and_scores_agree(tmp_path):
    import json

    import pandas as pd

    trained(tmp_path)
    folder = every.folder_in(tmp_path)
    table = pd.read_csv(folder / "predictions_test.csv")
    scores = json.loads((folder / "status.json").read_text())["metrics"]
    assert (table.label == table.prediction).mean() == pytest.approx(scores["test/accuracy"])
    confusion = np.load(folder / "arrays/test_confusion.npy")
    assert confusion.trace() / confusion.sum() == pytest.approx(scores["test/accuracy"])
    assert pd.read_csv(folder / "splits.csv").groupby("split").size().to_dict() == {"test": 6, "train": 12, "val": 6}


class Stub:
    """A task whose scores tell its weights: accuracy is the weight."""

    weights = ("net",)
    splits: tuple[str, ...] = ("val", "test")

    def __init__(self, value: float) -> None:
        self.net = nn.Linear(1, 1, bias=False)
        self.net.weight.data.fill_(value)
        self.parts = {"net": self.net}

    def evaluate(self, split: str) -> dict[str, object]:
        value = self.net.weight.item()
        return {"accuracy": value, "look_sheet": torch.full((2, 2), int(255 * value), dtype=torch.uint8)}


@pytest.mark.parametrize(("splits", "val"), [(("val", "test"), 0.75), (("val",), 0.5), (("test",), None)])
def test_val_is_of_the_weights_that_are_tested(tmp_path, splits, val):
    folder, runtime = RunDir(tmp_path), Runtime(config.from_overrides(["runtime.device=cpu"]).runtime)
    folder.open()
    folder.declare(of_pipeline("classify"))
    watch = loop.watched("val/accuracy", folder.scores) if "val" in splits else None
    rows = [{"step": 1, "epoch": 1, "val/accuracy": 0.75}, {"step": 2, "epoch": 2, "val/accuracy": 0.5}]
    rows = rows if watch else [{"step": 2, "epoch": 2}]
    if watch:
        loop.save_best(Stub(0.75), folder, rows[0])
    task = Stub(0.5)
    task.splits = splits
    folder.picture("val_look", np.full((2, 2), 127, dtype=np.uint8))
    loop.finish(task, rows, watch, 2, 0, runtime, folder)
    folder.lock.release()
    status = read_json(tmp_path / "status.json")
    assert status["metrics"].get("val/accuracy") == val
    if "test" in splits:
        assert status["metrics"]["test/accuracy"] == (0.75 if watch else 0.5)
    assert status["best"] == ({"epoch": 1, "val/accuracy": 0.75} if watch else {})
    assert np.asarray(Image.open(tmp_path / "samples" / "val_look.png"))[0, 0] == 127, "the last epoch's sheet stays"


def test_macs_are_those_counted_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    net.train()
    state = torch.get_rng_state()
    assert printout("", net, (torch.zeros(2, 3, 6, 6),))[1] == 36 * 8 * 27 + 8 * 36 * 5
    assert net.training and net[1].num_batches_tracked == 0 and torch.equal(torch.get_rng_state(), state)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    wrapped = nn.Sequential(nn.Flatten(2), encoder)  # (B, 4, 1, 8) → (B, 4, 8)
    attention, mlp = 4 * (3 * 8 * 8 + 8 * 8) + 2 * 4 * 4 * 8, 4 * 2 * 8 * 16
    assert printout("", wrapped, (torch.zeros(1, 4, 1, 8),))[1] == attention + mlp

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(1, 3))

        def forward(self, x):
            return self.logits

    constant = Constant()
    assert printout("", constant, (torch.zeros(1, 2, 2, 4),))[1] == 0 and constant.logits.requires_grad
    assert printout("", nn.LSTM(4, 4), (torch.zeros(1, 2, 4),))[1] is None
