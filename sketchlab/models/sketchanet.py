"""Sketch-a-Net (Yu et al. 2015, table 1) and its test protocol: five scales, ten crops.

Deviations: the network starts from He et al. 2015 (fan-in) with zero biases, and takes ink in [0, 1] instead of
[0, 255] minus a mean.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import functional as TF

from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.models import weights

FITS = ("classify",)
ARCH = "sketchanet"
SCALES_PX = (256, 224, 192, 128, 64)  # the five networks of the paper see images of this detail
_MIN_PX = 81  # below, the last map vanishes


@dataclass(frozen=True)
class Config:
    """Sketch-a-Net: large first filters, overlapping pools, no normalisation layers."""

    input: Input  # 225 px, ink bright; 1 channel, or 6 with stroke order
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded
    width: float  # all layer widths times this; 1 in the paper
    dropout: float  # probability after layers 6 and 7; .5 in the paper

    def __post_init__(self) -> None:
        weights.check(self)
        if self.input.size_px < _MIN_PX:
            raise UserError(f"model.input.size_px={self.input.size_px}: {ARCH} needs at least {_MIN_PX}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")
        if self.width <= 0:
            raise UserError(f"model.width={self.width}: expected more than 0")


def build(config: Config, n_classes: int | None) -> nn.Module:
    """(B, C, S, S) → (B, n_classes) logits.

    At 225 px the maps are 71 → 35, 31 → 15, 15 → 7, 1. Layer 6 covers the whole last map: 7×7 in the paper, less with
    smaller images.
    """
    if n_classes is None:
        raise UserError(f"{ARCH} has no original classes; give it a data set's")
    c1, c2, c3, c6 = (max(1, round(c * config.width)) for c in (64, 128, 256, 512))
    stages: OrderedDict[str, nn.Module] = OrderedDict()

    def convolve(i: int, into: int, out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        stages[f"conv{i}"] = nn.Conv2d(into, out, kernel, stride, padding)
        stages[f"relu{i}"] = nn.ReLU(inplace=True)

    convolve(1, config.input.channels, c1, 15, stride=3)
    stages["pool1"] = nn.MaxPool2d(3, stride=2)
    convolve(2, c1, c2, 5)
    stages["pool2"] = nn.MaxPool2d(3, stride=2)
    convolve(3, c2, c3, 3, padding=1)
    convolve(4, c3, c3, 3, padding=1)
    convolve(5, c3, c3, 3, padding=1)
    stages["pool5"] = nn.MaxPool2d(3, stride=2)
    convolve(6, c3, c6, last_map_px(config.input.size_px))
    stages["drop6"] = nn.Dropout(config.dropout)
    convolve(7, c6, c6, 1)
    stages["drop7"] = nn.Dropout(config.dropout)
    stages["conv8"] = nn.Conv2d(c6, n_classes, 1)
    stages["flatten"] = nn.Flatten()
    net = nn.Sequential(stages)
    for stage in net:
        if isinstance(stage, nn.Conv2d) and stage.bias is not None:
            nn.init.kaiming_normal_(stage.weight, nonlinearity="relu")
            nn.init.zeros_(stage.bias)
    return weights.start(net, config, ARCH, head="conv8")


def fingerprint(config: Config) -> str:
    """Of the weights a run starts from, for its id."""
    return weights.fingerprint(config, ARCH)


def last_map_px(size_px: int) -> int:
    """Side of the map that layer 6 sees: 225 → 7."""
    size = (size_px - 15) // 3 + 1
    size = (size - 3) // 2 + 1 - 4
    return ((size - 3) // 2 + 1 - 3) // 2 + 1


def at_scale(images: Tensor, scale_px: int) -> Tensor:
    """(B, C, S, S) brought down to scale_px (antialiased) and back up: the detail of a smaller image, the same size."""
    size = images.shape[-1]
    if scale_px == size:
        return images
    small = F.interpolate(images, size=(scale_px, scale_px), mode="bilinear", antialias=True)
    return F.interpolate(small, size=(size, size), mode="bilinear")


def five_scale(images: Tensor, scales_px: Sequence[int] = SCALES_PX) -> list[Tensor]:
    """(B, C, 256, 256) → the same images at each scale, for the network trained at that scale."""
    return [at_scale(images, scale_px) for scale_px in scales_px]


def ten_crop(images: Tensor, crop_px: int = 225) -> Tensor:
    """(B, C, S, S) → (B, 10, C, crop, crop): four corners and the centre, of the image and of its mirror image."""
    size = images.shape[-1]
    if crop_px > size:
        raise UserError(f"ten crops of {crop_px} px do not fit into images of {size} px")
    return torch.stack(TF.ten_crop(images, [crop_px, crop_px]), dim=1)


def ten_crop_mean(net: nn.Module, images: Tensor, crop_px: int = 225) -> Tensor:
    """(B, C, S, S) → (B, K): the mean output over the ten crops."""
    crops = ten_crop(images, crop_px)  # (B, 10, C, crop, crop)
    return net(crops.flatten(0, 1)).unflatten(0, crops.shape[:2]).flatten(2).mean(1)


def fuse_scores(logits: Sequence[Tensor]) -> Tensor:
    """Outputs of the networks of all scales, (B, K) each → (B, K) mean probabilities."""
    return torch.stack([scale.softmax(1) for scale in logits]).mean(0)
