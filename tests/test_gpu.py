"""On a CUDA GPU: every model learns and is resumed to the bit, batches are those of the CPU, compiled networks compute
the same, ranks speak over NCCL. `pytest -m gpu -n 8` on a machine that has one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from sketchlab import config, rng
from sketchlab.data.dataset import resident
from sketchlab.engine.runtime import Runtime
from sketchlab.metrics import retrieval as metrics
from sketchlab.runs import OpenedRun
from tests import every, test_compiled
from tests.test_every import learn_by_heart
from tests.test_exact import context, digest, kill_and_resume, start

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]
CUDA = "runtime.device=cuda"


@pytest.mark.parametrize("model", test_compiled.NETWORKS)
def test_overfits_one_batch(model):
    learn_by_heart(model, CUDA)


@pytest.mark.parametrize("model", test_compiled.NETWORKS)
def test_killed_and_resumed_equals_unbroken(model, tmp_path):
    kill_and_resume(model, [CUDA], tmp_path)


@pytest.mark.parametrize("model", ["vgg16", "vgg16_sketchanet"])
def test_the_whole_vgg16_too(model, tmp_path):
    kill_and_resume(model, ["model.width=1", "model.input.size_px=64", CUDA], tmp_path)


@pytest.mark.parametrize("model", ["small_cnn", "cnn_lstm", "small_dcgan", "small_siamese"])
@pytest.mark.parametrize("words", [["runtime.precision=fp32"], ["data/augment=strong"], ["loop.accumulate=2"]])
def test_other_settings_are_as_exact(model, words, tmp_path):
    words = [word.replace("data/augment", "data/stroke_augment") for word in words] if model == "cnn_lstm" else words
    if model == "small_dcgan" and words == ["loop.accumulate=2"]:
        words = ["pipeline.gd_ratio=2"]
    for name in ("one", "two"):
        assert start(every.small(model, CUDA, *words), tmp_path / name) == 0
    assert digest(every.folder_in(tmp_path / "one")) == digest(every.folder_in(tmp_path / "two"))


def test_a_search_is_scored_as_on_a_cpu():
    queries, gallery = (
        torch.randint(0, 3, (n, 4), generator=torch.Generator().manual_seed(n)).float() for n in (40, 90)
    )
    queries[:20] += torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    queries[0] = 0
    truth = {"classes": (torch.arange(40) % 3, torch.arange(90) % 3), "instances": (torch.arange(40), torch.arange(90))}
    names = ["recall@1", "recall@10", "class_precision@10", "class_mAP", "class_mAP@20"]
    here = metrics.evaluate(queries, gallery, names=names, block=16, **truth)
    there = metrics.evaluate(queries.cuda(), gallery.cuda(), names=names, block=16, **truth)
    for name in names:
        torch.testing.assert_close(there[name].per_query, here[name].per_query, atol=1e-9, rtol=0)
        assert there[name].tied == here[name].tied and there[name].chance == here[name].chance
    found = metrics.nearest(queries[20:].cuda(), gallery, 10)  # whole numbers: their distances are exact
    expected = metrics.nearest(queries[20:], gallery, 10)
    assert torch.equal(found[1].cpu(), expected[1]) and torch.equal(found[0].cpu(), expected[0])


@pytest.mark.parametrize("augment", ["none", "crop", "flip", "mild", "strong"])
def test_images_are_augmented_as_on_a_cpu(augment):
    run = config.from_overrides(["model=resnet18", "data=shapes", "data.per_class=12", f"data/augment={augment}"])
    here, there = batches(run, 12)
    torch.testing.assert_close(there.cpu(), here, atol=2e-3, rtol=0)


@pytest.mark.parametrize("model", ["cnn_lstm", "stroke_lstm"])
@pytest.mark.parametrize("augment", ["none", "mild", "strong"])
def test_drawings_are_augmented_as_on_a_cpu(model, augment):
    words = [f"model={model}", "data=shapes", "data.per_class=8", f"data/stroke_augment={augment}"]
    here, there = batches(config.from_overrides(words), 64)
    assert here.shape == there.shape
    if model == "stroke_lstm":
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)
    else:  # a coordinate half way between two pixels may fall to either
        assert float((there.cpu() != here).float().mean()) < 1e-4


def batches(run: config.RunConfig, n: int) -> tuple[Tensor, Tensor]:
    """The same training samples with the same keys, from a store in memory and from one on the GPU."""
    data = run.data.build(run.model.config.input)
    keys = torch.from_numpy(rng.fold_each(3, np.arange(n)))
    out = []
    for held in (data, resident(data, torch.device("cuda"), 10**10)):
        raw = held.splits["train"].gather(torch.arange(n))
        assert raw.device.type == ("cpu" if held is data else "cuda")
        out.append(held.prepare(raw, keys))
    return out[0], out[1]


@pytest.mark.parametrize("model", ["small_cnn", "cnn_lstm", "stroke_lstm", "vgg16", "small_siamese"])
def test_the_first_losses_are_those_of_the_cpu(model):
    words = every.small(model, *test_compiled.without_draws(model))
    cpu, gpu = (test_compiled.losses([*words, f"runtime.device={device}"]) for device in ("cpu", "cuda"))
    assert gpu == pytest.approx(cpu, rel=0.02)


@pytest.mark.parametrize("model", ["small_cnn", "vgg16", "cnn_lstm", "small_siamese", "small_dcgan"])
def test_a_compiled_network_computes_the_same(model):
    test_compiled.compare(model, CUDA)


@pytest.mark.parametrize("compiled", ["false", "true"])
def test_a_run_says_where_it_ran_and_is_opened_elsewhere(compiled, tmp_path):
    every.train(every.small("small_cnn", CUDA, f"runtime.compile={compiled}"), str(tmp_path))
    folder = every.folder_in(tmp_path)
    said = pd.read_json(folder / "env.json", typ="series")
    assert (said["device"], said["precision"]) == ("cuda", "bf16")
    assert said["device_name"] == torch.cuda.get_device_name()
    opened, table = OpenedRun(folder), pd.read_csv(folder / "predictions_test.csv")
    assert opened.network()(torch.zeros(1, 1, 32, 32)).shape == (1, len(opened.classes)) and len(table) > 0


def test_ranks_speak_over_nccl():
    """One GPU makes a world of one rank; what is sent, and how, is what more of them send."""
    process = context.Process(target=_speak)
    process.start()
    process.join(120)
    assert process.exitcode == 0


def _speak() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("nccl", rank=0, world_size=1)
    runtime = Runtime(config.from_overrides([CUDA]).runtime, 0, 1)
    runtime.ranks = 2  # the lines of two ranks; sums over a world of one are then half of what they should be
    net = runtime.place(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)))
    net(torch.ones(2, 3, 8, 8, device="cuda")).square().sum().backward()
    wanted = [p.grad.clone() / 2 for p in net.parameters() if p.grad is not None]
    runtime.mean_grads(net.parameters())
    assert all(torch.equal(p.grad, half) for p, half in zip(net.parameters(), wanted, strict=True))
    runtime.same_buffers(net)
    assert runtime.agree(True, False) == [True, False]
    assert runtime.mean({"a": 3.0}) == {"a": 1.5}
    said: list = [None]
    dist.all_gather_object(said, {"x": torch.ones(2)})
    assert torch.equal(said[0]["x"], torch.ones(2))
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("model", ["small_cnn", "small_siamese", "small_dcgan"])
def test_two_gpus_are_exact_and_killed_ranks_resume(model, tmp_path: Path):
    words = every.small(model, CUDA, "runtime.ranks=2", "loop.batch_size=8")
    for name in ("one", "two"):
        assert start(words, tmp_path / name) == 0
    assert digest(every.folder_in(tmp_path / "one")) == digest(every.folder_in(tmp_path / "two"))
