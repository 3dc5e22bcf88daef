"""A small convolutional embedding of sketches and photos: retrieval's default, and what fast tests train."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.stages import AdaptiveMean, UnitLength, towers

GIVES = ("embeddings",)


@dataclass(frozen=True)
class Config:
    input: Input
    widths: list[int]  # channels after each convolution; every one halves the side
    map_px: int  # side of the map that the last linear layer sees; 1 = the mean over the image
    embedding: int  # numbers per image
    norm: str  # batch or none
    normalise: bool  # embeddings of length 1, so that distances lie between 0 and 2
    dropout: float  # before the last layer
    shared: bool  # one set of weights for sketches and photos; false: one network each

    def __post_init__(self) -> None:
        if self.norm not in ("batch", "none"):
            raise UserError(f"model.norm={self.norm}: expected batch or none")
        side = self.input.size_px // 2 ** len(self.widths)
        if not self.widths or not 1 <= self.map_px <= side:
            raise UserError(
                f"model.widths={self.widths}, model.map_px={self.map_px}: {self.input.size_px} px halved "
                f"{len(self.widths)} times leave a map of {side} px; expected some widths and a map_px from 1 to that"
            )
        if self.embedding < 1:
            raise UserError(f"model.embedding={self.embedding}: expected at least 1")


def build(config: Config, n_classes: int) -> nn.Module:
    """(B, C, S, S) → (B, embedding); two such networks, `sketch` and `photo`, when weights are not shared."""
    return towers(lambda: _tower(config), config.shared)


def _tower(config: Config) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = config.input.channels
    for width in config.widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=config.norm == "none")]
        layers += [nn.BatchNorm2d(width)] if config.norm == "batch" else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    head = OrderedDict[str, nn.Module](mean=AdaptiveMean(config.map_px), flatten=nn.Flatten())
    head["dropout"] = nn.Dropout(config.dropout)
    head["linear"] = nn.Linear(channels * config.map_px**2, config.embedding)
    if config.normalise:
        head["unit"] = UnitLength()
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=nn.Sequential(head)))
