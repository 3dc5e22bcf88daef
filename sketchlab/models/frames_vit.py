"""frankenstein's convolutions with the blocks of a Vision Transformer (Dosovitskiy et al. 2021) in place of the LSTM.

The network that cnn_bilstm2d is compared with, as Sequencer is compared with ViT: the same front, the same places of
its last map, the same head; between them self-attention instead of BiLSTM2D. A block is ViT's: x + attention of
LayerNorm(x), then x + MLP of LayerNorm(x) with GELU. Positions are learned vectors, as in ViT.

Deviations from ViT: a convolutional front instead of patches; no class token: the head reads all places.
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


@dataclass(frozen=True)
class Config:
    input: Input  # frames
    channels: list[int]  # after each convolution; every one halves the side
    blocks: int  # of self-attention and MLP
    heads: int  # of self-attention; they divide the values of a place, which are input.channels × the last of channels
    mlp_ratio: int  # width of the MLP's hidden layer over the values of a place; 4 in ViT
    head: int  # width of the hidden layer before the classes
    dropout: float  # probability, after that layer
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded

    def __post_init__(self) -> None:
        weights.check(self)
        frame_front.check(self.input, self.channels)
        for key in ("blocks", "heads", "mlp_ratio", "head"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key}={getattr(self, key)}: expected at least 1")
        width = self.input.channels * self.channels[-1]
        if width % self.heads:
            raise UserError(f"model.heads={self.heads}: expected a divisor of {width}, the values of a place")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")


def fingerprint(config: Config) -> str:
    """Of the weights that the network starts from: part of the run's id."""
    return weights.fingerprint(config, "frames_vit")


def build(config: Config, n_classes: int) -> nn.Sequential:
    """(B, T, S, S) → (B, n_classes) logits."""
    width = config.input.channels * config.channels[-1]
    side = frame_front.map_px(config.input, config.channels)
    block = {"dim_feedforward": config.mlp_ratio * width, "dropout": 0.0, "activation": "gelu"}
    blocks = [
        nn.TransformerEncoderLayer(width, config.heads, batch_first=True, norm_first=True, **block)
        for _ in range(config.blocks)
    ]
    net = nn.Sequential(
        OrderedDict(
            front=frame_front.FrameFront(config.input, config.channels),
            places=frame_front.Places(),
            tokens=Tokens(width, side),
            blocks=nn.Sequential(*blocks),
            norm=nn.LayerNorm(width),
            head=frame_front.head(width * side**2, config.head, config.dropout, n_classes),
        )
    )
    weights.start(net, config, "frames_vit", head="head.4")
    return net


class Tokens(nn.Module):
    """(B, h, w, C) → (B, h·w, C), each place with its learned position added."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(side**2, width))
        nn.init.normal_(self.position, std=0.02)  # as in ViT

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2) + self.position
