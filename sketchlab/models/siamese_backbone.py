"""Any classifier of conf/model as an embedding of sketches and photos: its last layer gives numbers instead of classes.

The backbone is a whole choice, with its weights, what of it is tuned, its head and its input:
`model=siamese_vgg16 model.backbone.tune=finetune`, or another by `model@model.backbone=resnet34`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.stages import UnitLength, towers

GIVES = ("embeddings",)


@dataclass(frozen=True)
class Config:
    backbone: dict[str, Any]  # a choice of conf/model that takes images and can load weights
    input: Input  # pairs; all else as the backbone's
    embedding: int  # numbers per image
    normalise: bool  # embeddings of length 1, so that distances lie between 0 and 2
    shared: bool  # one set of weights for sketches and photos; false: one network each

    def __post_init__(self) -> None:
        if self.embedding < 1:
            raise UserError(f"model.embedding={self.embedding}: expected at least 1")
        if self.input.kind != "pairs":
            raise UserError(f"model.input.kind={self.input.kind}: expected pairs")


def build(config: Config, n_classes: int, backbone: Callable[[int], nn.Module]) -> nn.Module:
    """(B, C, S, S) → (B, embedding); two such networks, `sketch` and `photo`, when weights are not shared.

    backbone: number of outputs → a fresh network that ends in a fresh linear layer.
    """
    return towers(lambda: _tower(config, backbone), config.shared)


def _tower(config: Config, backbone: Callable[[int], nn.Module]) -> nn.Sequential:
    unit: list[tuple[str, nn.Module]] = [("unit", UnitLength())] if config.normalise else []
    return nn.Sequential(OrderedDict([("backbone", backbone(config.embedding)), *unit]))
