"""frankenstein's network: convolutions over a drawing's frames, an LSTM over its strokes, all outputs to two layers.

With its sizes, 8 frames of 64×64 and 18 classes it has 2,388,522 parameters. frankenstein names a projected LSTM
(Sak et al. 2014) and uses none: proj_size is 0 here too.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers import frame_front

GIVES = ("logits",)
OUTPUTS = ("all", "last", "mean")


@dataclass(frozen=True)
class Config:
    input: Input  # frames
    channels: list[int]  # after each convolution; every one halves the side
    hidden: int  # of the LSTM, in each direction
    layers: int  # of the LSTM
    proj_size: int  # outputs projected to so many (Sak et al. 2014); 0 = as many as hidden
    bidirectional: bool  # read the strokes backwards too
    output: str  # all: every step's output side by side; last: where each direction ends; mean: over the steps
    head: int  # width of the hidden layer before the classes
    dropout: float  # probability, after that layer
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded

    def __post_init__(self) -> None:
        weights.check(self)
        frame_front.check(self.input, self.channels)
        if self.output not in OUTPUTS:
            raise UserError(f"model.output={self.output}: expected one of {', '.join(OUTPUTS)}")
        for key in ("hidden", "layers", "head"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key}={getattr(self, key)}: expected at least 1")
        if not 0 <= self.proj_size < self.hidden:
            raise UserError(f"model.proj_size={self.proj_size}: expected 0 (none) to below model.hidden={self.hidden}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")


def fingerprint(config: Config) -> str:
    """Of the weights that the network starts from: part of the run's id."""
    return weights.fingerprint(config, "cnn_lstm")


def build(config: Config, n_classes: int) -> nn.Sequential:
    """(B, T, S, S) → (B, n_classes) logits."""
    steps = StrokeLSTM(config)
    n_steps = config.input.channels if config.output == "all" else 1
    net = nn.Sequential(
        OrderedDict(
            front=frame_front.FrameFront(config.input, config.channels),
            flatten=nn.Flatten(2),
            lstm=steps,
            head=frame_front.head(steps.width * n_steps, config.head, config.dropout, n_classes),
        )
    )
    weights.start(net, config, "cnn_lstm", head="head.4")
    return net


class StrokeLSTM(nn.LSTM):
    """(B, T, D) → of T outputs of width W: all (B, T, W), the last of each direction or their mean (B, W)."""

    def __init__(self, config: Config) -> None:
        features = config.channels[-1] * frame_front.map_px(config.input, config.channels) ** 2
        super().__init__(
            features,
            config.hidden,
            config.layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            proj_size=config.proj_size,
        )
        self.output = config.output
        self.one_way = config.proj_size or config.hidden
        self.width = self.one_way * (2 if config.bidirectional else 1)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        steps = nn.LSTM.forward(self, x)[0]  # (B, T, W); not super(): torch.compile stumbles over it here
        if self.output == "all":
            return steps
        if self.output == "mean":
            return steps.mean(1)
        forward, backward = steps[:, -1, : self.one_way], steps[:, 0, self.one_way :]
        return torch.cat([forward, backward], dim=1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, output={self.output}"
