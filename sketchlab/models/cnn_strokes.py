"""The LSTM-free twin of frankenstein's network: the same convolutions, then all maps to two linear layers."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers import frame_front

GIVES = ("logits",)


@dataclass(frozen=True)
class Config:
    input: Input  # frames
    channels: list[int]  # after each convolution; every one halves the side
    head: int  # width of the hidden layer before the classes
    dropout: float  # probability, after that layer
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded

    def __post_init__(self) -> None:
        weights.check(self)
        frame_front.check(self.input, self.channels)
        if self.head < 1:
            raise UserError(f"model.head={self.head}: expected at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")


def fingerprint(config: Config) -> str:
    """Of the weights that the network starts from: part of the run's id."""
    return weights.fingerprint(config, "cnn_strokes")


def build(config: Config, n_classes: int) -> nn.Sequential:
    """(B, T, S, S) → (B, n_classes) logits; at 8 frames of 64×64 the linear layers are 4096 → 256 → classes."""
    side = frame_front.map_px(config.input, config.channels)
    features = config.input.channels * config.channels[-1] * side**2
    net = nn.Sequential(
        OrderedDict(
            front=frame_front.FrameFront(config.input, config.channels),
            head=frame_front.head(features, config.head, config.dropout, n_classes),
        )
    )
    weights.start(net, config, "cnn_strokes", head="head.4")
    return net
