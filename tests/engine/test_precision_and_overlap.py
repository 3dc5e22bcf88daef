"""What a machine's precision is, and ranks whose gradients are averaged while others are computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sketchlab import config
from sketchlab.engine import optim, runtime
from sketchlab.errors import UserError
from tests import every


@pytest.mark.parametrize(
    ("native_bf16", "capability", "precision"),
    [
        (True, (8, 0), "bf16"),
        (True, (9, 0), "bf16"),
        (False, (7, 5), "fp16"),
        (False, (7, 0), "fp16"),
        (False, (6, 1), "fp32"),
    ],
)
def test_auto_takes_what_the_card_computes_in_hardware(native_bf16, capability, precision, monkeypatch):
    """A100, H100; T4, V100, which torch's emulation would call able of bf16; and a P100."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native_bf16
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert config.from_overrides([]).runtime.decided() == ("cuda", precision)
    assert config.from_overrides(["runtime.precision=fp32"]).runtime.decided() == ("cuda", "fp32")
    assert config.from_overrides(["runtime.device=cpu"]).runtime.decided() == ("cpu", "fp32")


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(UserError, match="runtime.precision=fp16 needs a CUDA GPU; on a CPU use fp32 or bf16"):
        config.from_overrides(["runtime.device=cpu", "runtime.precision=fp16"]).runtime.decided()


class Scaler:
    """Of fp16, on a CPU: torch's own needs a GPU's kernels."""

    def __init__(self):
        self.value, self.stepped = 1024.0, []

    def scale(self, loss):
        return loss * self.value

    def unscale_(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad /= self.value

    def step(self, optimizer):
        self.stepped.append(optimizer.param_groups[0]["params"][0].grad.clone())

    def update(self):
        self.value *= 2

    def state_dict(self):
        return {"scale": self.value}

    def load_state_dict(self, state):
        self.value = state["scale"]


def test_losses_are_scaled_and_gradients_brought_back_before_they_are_clipped(monkeypatch):
    run = config.from_overrides(["loop.optimizer=sgd", "loop.clip_norm=1e9", "runtime.device=cpu"])
    here = runtime.Runtime(run.runtime)
    here.precision, net = "fp16", nn.Linear(2, 1, bias=False)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda _: Scaler())
    monkeypatch.setattr(Scaler, "_lazy_init_scale_growth_tracker", lambda *_: None, raising=False)
    optimizer = optim.make(list(net.parameters()), run.loop, here)
    scaler = optimizer.scaler
    loss = net(torch.tensor([[3.0, 4.0]])).sum()
    optim.backward(loss, optimizer, here)
    assert torch.equal(net.weight.grad, torch.tensor([[3.0, 4.0]]) * 1024)
    norm = optim.update(optimizer, here, run.loop)
    assert norm == 5 and torch.equal(scaler.stepped[0], torch.tensor([[3.0, 4.0]])) and scaler.value == 2048
    state = optimizer.state_dict()
    assert state["scaler"] == {"scale": 2048}
    scaler.value = 1.0
    optimizer.load_state_dict(state)
    assert scaler.value == 2048

    net(torch.tensor([[3.0, 4.0]])).sum().backward()
    with pytest.raises(RuntimeError, match="precision fp16: call optim.backward"):
        optim.update(optimizer, here, run.loop)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "words"), [("small_cnn", ["loop.accumulate=2"]), ("small_siamese", [])])
def test_overlapped_ranks_learn_the_same_up_to_rounding(model, words, tmp_path):
    weights = []
    for overlap in ("false", "true"):
        root = tmp_path / overlap
        more = [*words, "runtime.ranks=2", "loop.batch_size=8", f"runtime.overlap={overlap}"]
        every.train(every.small(model, *more), str(root))
        state = torch.load(every.folder_in(root) / "checkpoints/last.pt", weights_only=True)
        weights.append(state["parts"]["net"])
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["small_dcgan", "small_cyclegan"])
def test_overlap_is_refused_where_a_network_is_called_several_times(model, tmp_path):
    with pytest.raises(UserError, match="runtime.overlap=true: pipeline=(gan|translate) calls a network several times"):
        every.train(every.small(model, "runtime.ranks=2", "loop.batch_size=8", "runtime.overlap=true"), str(tmp_path))


def test_overlap_and_recompute_are_refused_together():
    with pytest.raises(UserError, match="runtime.overlap=true and runtime.recompute=true"):
        config.from_overrides(["runtime.overlap=true", "runtime.recompute=true"])
