"""A loss with parameters and buffers of its own is trained, averaged over ranks, and in the checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sketchlab import components
from tests import every

CENTRES = '''"""Centres that are learnt, a temperature that is learnt, and a running mean that weighs the loss."""
from dataclasses import dataclass
import torch
from torch import nn

@dataclass(frozen=True)
class Config:
    start: float

class Centres(nn.Module):
    def __init__(self, start, n):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(n, 1))
        self.temperature = nn.Parameter(torch.tensor(start))
        self.register_buffer("typical", torch.ones(()))

    def forward(self, outputs, labels):
        """(B, D), (B,) int64 -> a number."""
        spread = (outputs - self.centres[labels % len(self.centres)]).square().mean()
        self.typical.mul_(0.9).add_(0.1 * spread.detach())
        apart = nn.functional.cross_entropy(outputs / self.temperature, labels % outputs.shape[1])
        return apart + spread / self.typical

def build(config, n_classes):
    return Centres(config.start, n_classes)
'''
LOSS = ["+pipeline.loss=centres", "+pipeline.loss_options.start=2.0", "loop.schedule=constant", "loop.lr=0.01"]
SIAMESE = ["pipeline.loss=centres", *LOSS[1:], "pipeline.sampler=all"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "mine" / "losses").mkdir(parents=True)
    (tmp_path / "mine" / "losses" / "centres.py").write_text(CENTRES)
    folder = str(tmp_path / "mine")
    monkeypatch.setenv("SKETCHLAB_EXTRA", folder)  # of ranks that are spawned
    monkeypatch.setattr(components, "EXTRA", folder)
    monkeypatch.setattr(components, "__path__", [*components.__path__, folder])
    yield tmp_path
    for module in [m for m in sys.modules if m.startswith("sketchlab.components.")]:
        del sys.modules[module]


def trained(root: Path, model: str, *words: str) -> tuple[dict, dict]:
    """(last.pt, best.pt) of a run, the longest one there."""
    every.train(every.small(model, *words), str(root))
    states = {file: torch.load(file, weights_only=True) for file in root.glob("*/*/checkpoints/last.pt")}
    longest = max(states, key=lambda file: states[file]["step"])
    return states[longest]["parts"], torch.load(longest.with_name("best.pt"), weights_only=True)["parts"]


def assert_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[key])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key


def check_resumed(own: Path, model: str, *words: str) -> None:
    """Two epochs at once, and one after another: the same bits of network, loss and optimizer."""
    whole, best = trained(own / "whole", model, *words)
    every.train(every.small(model, *words, "loop.epochs=1"), str(own / "cut"))
    cut, _ = trained(own / "cut", model, *words)
    assert_same(whole, cut)
    assert set(best) == {"net"}, "best.pt is a network's, whatever it learnt from"
    loss = whole["loss"]
    assert loss.keys() == {"centres", "temperature", "typical"}
    assert loss["temperature"] != 2 and loss["typical"] != 1, "learnt and counted"
    learnt = sum(len(group["params"]) for group in whole["optimizer"]["param_groups"])
    assert learnt == len(whole["optimizer"]["state"]), "the loss's parameters among them"


@pytest.mark.parametrize(
    ("model", "words"), [("small_cnn", LOSS), pytest.param("small_siamese", SIAMESE, marks=pytest.mark.slow)]
)
def test_a_run_that_goes_on_has_the_bits_of_one_that_was_never_cut(model, words, own):
    check_resumed(own, model, *words)


@pytest.mark.slow
def test_two_ranks_that_go_on_have_the_bits_of_two_that_were_never_cut(own):
    check_resumed(own, "small_cnn", *LOSS, "runtime.ranks=2")


@pytest.mark.slow
def test_overlapped_ranks_average_the_gradients_of_a_loss(own):
    """DistributedDataParallel holds the network alone."""
    words = [*LOSS, "runtime.ranks=2"]
    (plain, _), (overlapped, _) = (
        trained(own / value, "small_cnn", *words, f"runtime.overlap={value}") for value in ("false", "true")
    )
    for part in ("loss", "net"):
        for name, value in plain[part].items():
            torch.testing.assert_close(value, overlapped[part][name], rtol=1e-3, atol=1e-4)


def test_a_weight_of_a_loss_that_is_not_finite_stops_the_run(own):
    """Infinite centres of a class that no batch has change no loss; what would be saved is looked at."""
    from sketchlab.engine.loop import check_weights
    from sketchlab.errors import UserError

    loss = torch.nn.Linear(2, 2)
    net = torch.nn.Linear(2, 2)
    task = SimpleNamespace(parts={"net": net, "loss": loss}, weights=("net",))
    check_weights(task, 4, 3)
    loss.weight.data[0, 0] = float("inf")
    with pytest.raises(UserError, match="step 4: a weight is not finite; the checkpoint of step 3 is kept"):
        check_weights(task, 4, 3)
