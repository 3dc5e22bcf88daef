"""A small convolutional classifier: the default network, and the twin that fast tests train."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.stages import GlobalMean

GIVES = ("logits",)


@dataclass(frozen=True)
class Config:
    input: Input
    widths: list[int]  # channels after each convolution; every one halves the side
    norm: str  # batch or none
    dropout: float  # before the last layer
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded

    def __post_init__(self) -> None:
        weights.check(self)
        if self.norm not in ("batch", "none"):
            raise UserError(f"model.norm={self.norm}: expected batch or none")
        if not self.widths or self.input.size_px < 2 ** len(self.widths):
            raise UserError(f"model.widths={self.widths}: {self.input.size_px} px can be halved fewer times than that")


def fingerprint(config: Config) -> str:
    """Of the weights that the network starts from: part of the run's id."""
    return weights.fingerprint(config, "small_cnn")


def build(config: Config, n_classes: int) -> nn.Sequential:
    """(B, C, S, S) → (B, n_classes) logits."""
    layers: list[nn.Module] = []
    channels = config.input.channels
    for width in config.widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=config.norm == "none")]
        layers += [nn.BatchNorm2d(width)] if config.norm == "batch" else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    head: OrderedDict[str, nn.Module] = OrderedDict(
        mean=GlobalMean(), dropout=nn.Dropout(config.dropout), linear=nn.Linear(channels, n_classes)
    )
    net = nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=nn.Sequential(head)))
    weights.start(net, config, "small_cnn", head="head.linear")
    return net
