"""Short memory and where the time goes: recomputed activations, advice when memory ran out, profiled runs."""

from __future__ import annotations

import copy
import json
import weakref

import pandas as pd
import pytest
import torch
from torch import nn

from sketchlab import config, run
from sketchlab.engine import checkpoint, steps
from sketchlab.engine.profile import SKIPPED_STEPS
from sketchlab.engine.recompute import recomputed
from sketchlab.errors import UserError
from tests import every


def chain() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(4):
        conv = nn.Conv2d(3, 3, 3, padding=1)
        layers += [conv, nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Dropout(0.3)]
    return nn.Sequential(nn.Sequential(*layers), nn.Flatten(), nn.Linear(3 * 8 * 8, 2))


def test_recomputed_activations_give_the_same_bits_and_fewer_are_kept():
    nets = [chain(), copy.deepcopy(chain())]
    x, kept, outputs = torch.randn(5, 3, 8, 8), [], []
    for net, forward in zip(nets, (nets[0], recomputed(nets[1])), strict=True):
        n_bytes = 0

        def pack(t: torch.Tensor) -> torch.Tensor:
            nonlocal n_bytes
            n_bytes += t.numel() * t.element_size() if isinstance(t, torch.Tensor) else 0
            return t

        torch.manual_seed(1)
        for _ in range(2):  # the second step sees the statistics that the first one left
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                out = forward(x)
            out.square().mean().backward()
        kept.append(n_bytes)
        outputs.append((out, [p.grad for p in net.parameters()], list(net.buffers())))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.slow
def test_a_run_that_recomputes_is_the_same_run(tmp_path):
    words, folders = every.small("vgg16", "pipeline.explain=0"), []
    for value in ("false", "true"):
        run.execute(
            config.from_overrides([*words, f"runtime.recompute={value}", f"run.root={tmp_path / value}"]),
            reported=False,
        )
        folders.append(every.folder_in(tmp_path / value))
    assert folders[0].name == folders[1].name
    weights = [checkpoint.load(folder / "checkpoints" / "last.pt")["parts"]["net"] for folder in folders]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert (folders[0] / "metrics.jsonl").read_bytes() == (folders[1] / "metrics.jsonl").read_bytes()


def test_a_network_that_is_no_chain_is_refused():
    with pytest.raises(UserError, match="runtime.recompute=true: Bilinear is not a chain of stages"):
        recomputed(nn.Bilinear(2, 2, 2))
    with pytest.raises(UserError, match="runtime.compile=true and runtime.recompute=true"):
        config.from_overrides(["runtime.compile=true", "runtime.recompute=true"])


def test_what_filled_the_memory_is_let_go_before_less_is_tried():
    class Task:
        def train_step(self, batch):
            activations = Held()
            held.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory")

    class Held:
        pass

    held: list[weakref.ref[Held]] = []
    assert steps.attempt(Task(), {}, 8) is None
    assert held[0]() is None


@pytest.mark.parametrize(
    "model", [*(pytest.param(m, marks=pytest.mark.slow) for m in ("small_siamese", "small_cyclegan")), "small_dcgan"]
)
def test_every_pipeline_says_where_its_time_went(model, tmp_path):
    words = every.small(model, "runtime.profile=true", "loop.epochs=1", f"run.root={tmp_path}")
    run.execute(config.from_overrides(words), reported=False)
    parts = pd.read_csv(every.folder_in(tmp_path) / "profile.csv").set_index("part")
    assert (parts.calls[["loading", "augment", "forward", "backward", "optimizer"]] > 0).all()


@pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (2, 6)])
def test_a_short_run_leaves_no_trace_running(epochs, steps, tmp_path):
    words = every.small("small_cnn", "runtime.profile=true", f"loop.epochs={epochs}", f"run.root={tmp_path}")
    run.execute(config.from_overrides(words), reported=False)
    assert (every.folder_in(tmp_path) / "trace.json").exists() == (steps >= SKIPPED_STEPS)
    with torch.profiler.profile():  # refused while another one runs
        pass


@pytest.mark.parametrize(("fits", "said"), [(6, "4 fits (tried)"), (0, "and with 1 too")])
def test_out_of_memory_says_what_fits(tmp_path, monkeypatch, fits, said):
    from sketchlab.pipelines.classify.task import Classify

    step = Classify.train_step

    def short(self, batch):
        if len(batch["labels"]) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, batch)

    monkeypatch.setattr(Classify, "train_step", short)
    words = every.small("small_cnn", "loop.batch_size=8", f"run.root={tmp_path}")
    with pytest.raises(UserError, match=r"out of memory on cpu with loop.batch_size=8") as error:
        run.execute(config.from_overrides(words), reported=False)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert json.loads((every.folder_in(tmp_path) / "status.json").read_text())["state"] == "failed"


@pytest.mark.slow
def test_a_profiled_run_says_where_its_time_went(tmp_path):
    words = every.small("small_cnn", "runtime.profile=true", "loop.epochs=4", f"run.root={tmp_path}")
    run.execute(config.from_overrides(words))
    folder = every.folder_in(tmp_path)
    parts = pd.read_csv(folder / "profile.csv").set_index("part")
    assert (parts.seconds >= 0).all() and parts.share.sum() == pytest.approx(1, abs=1e-3)
    steps = 4 * 12 // 4
    assert [parts.calls[name] for name in ("forward", "backward", "optimizer")] == [steps] * 3
    assert parts.calls["augment"] == parts.calls["loading"] == 2  # the first step's batch, then all others together
    assert parts.calls["evaluation"] == 5  # after each epoch, and at the end
    names = {event.get("name") for event in json.loads((folder / "trace.json").read_text())["traceEvents"]}
    assert {"forward", "backward", "optimizer"} <= names
    assert "Where the time went" in (folder / "report.html").read_text()
