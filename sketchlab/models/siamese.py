"""das_debnath's network for sketches and photos: convolutions that keep the size, then three linear layers.

At 100×100 grey: channels 1 → 4 → 8 → 8, each 3×3 on a mirrored border, ReLU, batch norm; 80,000 → 500 → 500 → 5.
40,254,465 parameters, of which the first linear layer has 40,000,500. das_debnath leaves widths and border open; they
are those of the tutorial whose layers it names. Its embedding is not brought to unit length.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.stages import Mirrored, UnitLength, towers

GIVES = ("embeddings",)


@dataclass(frozen=True)
class Config:
    input: Input  # pairs; das_debnath: 100 px, grey
    widths: list[int]  # channels after each convolution: as many blocks as numbers
    pool_px: int  # side of a max-pool after each block; 1 = none, as das_debnath
    hidden: list[int]  # widths of the linear layers before the last
    embedding: int  # numbers per image
    normalise: bool  # embeddings of length 1, so that distances lie between 0 and 2
    dropout: float  # probability, after each hidden linear layer
    block_dropout: float  # probability that a whole channel is dropped, after each block
    shared: bool  # one set of weights for sketches and photos; false: one network each

    def __post_init__(self) -> None:
        if not self.widths or min([*self.widths, *self.hidden, self.embedding, self.pool_px]) < 1:
            raise UserError(
                f"model.widths={self.widths}, hidden={self.hidden}, embedding={self.embedding}, pool_px={self.pool_px}"
                ": expected at least one width, and all of them to be at least 1"
            )
        if self.side_px < 1 or self.input.size_px < 2:
            raise UserError(
                f"model.input.size_px={self.input.size_px}: nothing is left of it after {len(self.widths)} times "
                f"model.pool_px={self.pool_px}"
            )
        for key in ("dropout", "block_dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise UserError(f"model.{key}={getattr(self, key)}: expected a probability below 1")

    @property
    def side_px(self) -> int:
        """Of the last map."""
        return self.input.size_px // self.pool_px ** len(self.widths)


def build(config: Config, n_classes: int) -> nn.Module:
    """(B, C, S, S) → (B, embedding); two such networks, `sketch` and `photo`, when weights are not shared."""
    return towers(lambda: _tower(config), config.shared)


def _tower(config: Config) -> nn.Sequential:
    blocks: list[nn.Module] = []
    channels = config.input.channels
    for width in config.widths:
        blocks += [Mirrored(), nn.Conv2d(channels, width, 3), nn.ReLU(), nn.BatchNorm2d(width)]
        blocks += [nn.MaxPool2d(config.pool_px)] if config.pool_px > 1 else []
        blocks += [nn.Dropout2d(config.block_dropout)] if config.block_dropout else []
        channels = width
    head: list[nn.Module] = [nn.Flatten()]
    size = channels * config.side_px**2
    for width in config.hidden:
        head += [nn.Linear(size, width), nn.ReLU()] + [nn.Dropout(config.dropout)] * (config.dropout > 0)
        size = width
    head += [nn.Linear(size, config.embedding)] + [UnitLength()] * config.normalise
    return nn.Sequential(OrderedDict(features=nn.Sequential(*blocks), head=nn.Sequential(*head)))
