"""frankenstein's convolutions with Sequencer's mixing (Tatsunami and Taki 2022) in place of the LSTM.

Sequencer's BiLSTM2D reads a map in two directions of space, so the map it is given here is the last one of the front,
the channels of all frames side by side: 8×8 places of 64 values for 8 frames and 8 channels. Strokes are told apart by
their channels; what is read step by step is the picture, downwards, upwards, and both ways across.

A block is Sequencer's: x + BiLSTM2D(LayerNorm(x)), then x + MLP(LayerNorm(x)) with GELU. Deviations: no stochastic
depth, no patch merging; the head is frankenstein's, on all places, not on their mean.
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
DIRECTIONS = ("down", "up", "right", "left")


@dataclass(frozen=True)
class Config:
    input: Input  # frames
    channels: list[int]  # after each convolution; every one halves the side
    blocks: int  # of BiLSTM2D and MLP
    hidden: int  # of each LSTM in each direction; a quarter of the values of a place in Sequencer
    mlp_ratio: int  # width of the MLP's hidden layer over the values of a place; 3 in Sequencer
    head: int  # width of the hidden layer before the classes
    dropout: float  # probability, after that layer
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded

    def __post_init__(self) -> None:
        weights.check(self)
        frame_front.check(self.input, self.channels)
        for key in ("blocks", "hidden", "mlp_ratio", "head"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key}={getattr(self, key)}: expected at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")


def fingerprint(config: Config) -> str:
    """Of the weights that the network starts from: part of the run's id."""
    return weights.fingerprint(config, "cnn_bilstm2d")


def build(config: Config, n_classes: int) -> nn.Sequential:
    """(B, T, S, S) → (B, n_classes) logits."""
    width = config.input.channels * config.channels[-1]
    side = frame_front.map_px(config.input, config.channels)
    blocks = [Block(width, config.hidden, config.mlp_ratio) for _ in range(config.blocks)]
    net = nn.Sequential(
        OrderedDict(
            front=frame_front.FrameFront(config.input, config.channels),
            places=frame_front.Places(),
            blocks=nn.Sequential(*blocks),
            norm=nn.LayerNorm(width),
            head=frame_front.head(width * side**2, config.head, config.dropout, n_classes),
        )
    )
    weights.start(net, config, "cnn_bilstm2d", head="head.4")
    return net


class Block(nn.Module):
    """(B, h, w, C) → the same shape."""

    def __init__(self, width: int, hidden: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1, self.mix, self.norm2 = nn.LayerNorm(width), BiLSTM2D(width, hidden), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class BiLSTM2D(nn.Module):
    """(B, h, w, C) → the same shape: every column and every row read both ways, the four outputs mixed to C again."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.vertical, self.horizontal = BothWays(width, hidden), BothWays(width, hidden)
        self.mix = nn.Linear(4 * hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat(list(self._read(x)), dim=3))  # (B, h, w, 4·hidden) → (B, h, w, C)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.vertical(x.transpose(1, 2)).transpose(1, 2), self.horizontal(x)

    def hidden(self, x: Tensor) -> dict[str, Tensor]:
        """(B, h, w, C) → (B, h, w, hidden) of each direction, before they are mixed: pictures are made of these."""
        both = [half for way in self._read(x) for half in way.chunk(2, dim=3)]
        return dict(zip(DIRECTIONS, both, strict=True))


class BothWays(nn.LSTM):
    """(B, n, L, C) → (B, n, L, 2·hidden): each of the n lines on its own."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, lines: Tensor) -> Tensor:  # type: ignore[override]
        # not super(): torch.compile stumbles over it here
        return nn.LSTM.forward(self, lines.flatten(0, 1))[0].unflatten(0, lines.shape[:2])
