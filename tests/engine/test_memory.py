"""Short memory and where the time goes: recomputed activations, advice when memory ran out, profiled runs."""

from __future__ import annotations

import copy
import json

import pandas as pd
import pytest
import torch
from torch import nn

from sketchlab import config, run
from sketchlab.engine import memory
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
    for net, forward in zip(nets, (nets[0], memory.recomputed(nets[1])), strict=True):
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


def test_a_run_that_recomputes_is_the_same_run(tmp_path):
    words = every.small("vgg16", "pipeline.explain=0")
    plain, saving = (config.from_overrides([*words, f"runtime.recompute={v}"]) for v in ("false", "true"))
    data = plain.data.build(plain.model.config.input)
    assert run.deciding(plain, data) == run.deciding(saving, data)


def test_a_network_that_is_no_chain_is_refused():
    with pytest.raises(UserError, match="runtime.recompute=true: Bilinear is not a chain of stages"):
        memory.recomputed(nn.Bilinear(2, 2, 2))
    with pytest.raises(UserError, match="runtime.compile=true and runtime.recompute=true"):
        config.from_overrides(["runtime.compile=true", "runtime.recompute=true"])


@pytest.mark.parametrize(("fits", "said"), [(6, "4 fits (tried)"), (0, "and with 1 too")])
def test_out_of_memory_says_what_fits(tmp_path, monkeypatch, fits, said):
    from sketchlab.pipelines.classify import Classify

    step = Classify.train_step

    def short(self, batch, epoch):
        if len(batch["labels"]) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, batch, epoch)

    monkeypatch.setattr(Classify, "train_step", short)
    words = every.small("small_cnn", "loop.batch_size=8", f"run.root={tmp_path}")
    with pytest.raises(UserError, match=r"out of memory on cpu with loop.batch_size=8") as error:
        run.execute(config.from_overrides(words), reported=False)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert json.loads((every.folder_in(tmp_path) / "status.json").read_text())["state"] == "failed"


def test_a_profiled_run_says_where_its_time_went(tmp_path):
    words = every.small("small_cnn", "runtime.profile=true", "loop.epochs=4", f"run.root={tmp_path}")
    run.execute(config.from_overrides(words))
    folder = every.folder_in(tmp_path)
    parts = pd.read_csv(folder / "profile.csv").set_index("part")
    assert (parts.seconds >= 0).all() and parts.share.sum() == pytest.approx(1, abs=1e-3)
    steps = 4 * 12 // 4
    assert [parts.calls[name] for name in ("augment", "forward", "backward", "optimizer")] == [steps] * 4
    assert parts.calls["evaluation"] == 5  # after each epoch, and at the end
    names = {event.get("name") for event in json.loads((folder / "trace.json").read_text())["traceEvents"]}
    assert {"forward", "backward", "optimizer"} <= names
    assert "Where the time went" in (folder / "report.html").read_text()
