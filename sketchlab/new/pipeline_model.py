"""Encoder and decoder of a small variational autoencoder on images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sketchlab.inputs import Input
from sketchlab.models.dcgan import Scaled

GIVES = ("autoencoder",)


@dataclass(frozen=True)
class Config:
    input: Input
    z: int  # numbers of the code
    hidden: int


class Decoder(Scaled):
    """(B, z) → (B, C, S, S) images in the scale of the data; `pixels` brings them to [0, 1]."""

    n_classes = 0  # a decoder that takes classes too says how many

    def __init__(self, config: Config) -> None:
        super().__init__(config.input)
        self.z, shape = config.z, (config.input.channels, config.input.size_px, config.input.size_px)
        n = shape[0] * shape[1] * shape[2]
        self.layers = nn.Sequential(
            nn.Linear(config.z, config.hidden), nn.ReLU(), nn.Linear(config.hidden, n), nn.Unflatten(1, shape)
        )

    def forward(self, z: Tensor) -> Tensor:
        return (torch.sigmoid(self.layers(z)) - self.mean) / self.std


def build(config: Config, n_classes: int) -> nn.Module:
    n = config.input.channels * config.input.size_px**2
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(n, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 2 * config.z)
    )
    return nn.ModuleDict({"encoder": encoder, "G": Decoder(config)})
