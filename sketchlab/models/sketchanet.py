"""Sketch-a-Net (Yu et al. 2015, table 1) and its protocol: trained on random crops, tested on ten of them.

The paper's five scales are five networks: model.scale_px says which one this is, experiments/sketchanet_fusion.py
brings their answers together.

Deviations: the network starts from He et al. 2015 (fan-in) with zero biases, and takes ink in [0, 1] instead of
[0, 255] minus a mean.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.chain import penultimate

GIVES = ("logits",)
ARCH = "sketchanet"
TESTS = ("centre", "ten_crop")
SCALES_PX = (256, 224, 192, 128, 64)  # the five networks of the paper see images of this detail
_MIN_PX = 81  # below, the last map vanishes


@dataclass(frozen=True)
class Config:
    """Sketch-a-Net: large first filters, overlapping pools, no normalisation layers."""

    input: Input  # 256 px, ink bright; 1 channel, or 6 with stroke order
    scale_px: int  # detail: images are brought down to this and up again; 256, 224, 192, 128 or 64 in the paper
    crop_px: int  # side of the part of the image that the layers see; 225 in the paper
    test: str  # ten_crop: corners, centre, their mirror images, outputs averaged, as in the paper; centre: that alone
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded
    width: float  # all layer widths times this; 1 in the paper
    dropout: float  # probability after layers 6 and 7; .5 in the paper

    def __post_init__(self) -> None:
        weights.check(self)
        size = self.input.size_px
        if not _MIN_PX <= self.crop_px <= size:
            raise UserError(f"model.crop_px={self.crop_px}: expected {_MIN_PX} to model.input.size_px={size}")
        if not 1 <= self.scale_px <= size:
            raise UserError(f"model.scale_px={self.scale_px}: expected 1 to model.input.size_px={size} (no change)")
        if self.test not in TESTS:
            raise UserError(f"model.test={self.test}: expected {' or '.join(TESTS)}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")
        if self.width <= 0:
            raise UserError(f"model.width={self.width}: expected more than 0")


def build(config: Config, n_classes: int | None) -> nn.Module:
    """(B, C, S, S) → (B, n_classes) logits.

    Of a crop of 225 px the maps are 71 → 35, 31 → 15, 15 → 7, 1. Layer 6 covers the whole last map: 7×7 in the paper,
    less with smaller crops.
    """
    if n_classes is None:
        raise UserError(f"{ARCH} has no original classes; give it a data set's")
    c1, c2, c3, c6 = (max(1, round(c * config.width)) for c in (64, 128, 256, 512))
    crops = Crops(config.crop_px, config.scale_px, config.test)
    stages: OrderedDict[str, nn.Module] = OrderedDict(crops=crops)

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
    convolve(6, c3, c6, last_map_px(config.crop_px))
    stages["drop6"] = nn.Dropout(config.dropout)
    convolve(7, c6, c6, 1)
    stages["drop7"] = nn.Dropout(config.dropout)
    stages["conv8"] = nn.Conv2d(c6, n_classes, 1)
    stages["flatten"] = nn.Flatten()
    stages["mean"] = CropMean(crops.n_crops)
    net = nn.Sequential(stages)
    for stage in net:
        if isinstance(stage, nn.Conv2d) and stage.bias is not None:
            nn.init.kaiming_normal_(stage.weight, nonlinearity="relu")
            nn.init.zeros_(stage.bias)
    return weights.start(net, config, ARCH, head="conv8")


def notes(config: Config) -> list[str]:
    """Values that change nothing."""
    return weights.notes(config)


def fingerprint(config: Config) -> str:
    """Of the weights a run starts from, for its id."""
    return weights.fingerprint(config, ARCH)


def last_map_px(size_px: int) -> int:
    """Side of the map that layer 6 sees: 225 → 7."""
    size = (size_px - 15) // 3 + 1
    size = (size - 3) // 2 + 1 - 4
    return ((size - 3) // 2 + 1 - 3) // 2 + 1


class Crops(nn.Module):
    """(B, C, S, S) → in training a random crop and mirror image of each, otherwise (n_crops·B, …): all of one image
    after another. The draws are torch's own, which the loop keys step by step."""

    draws = True  # random in training although nothing of it trains; see stages.frozen_prefix

    def __init__(self, crop_px: int, scale_px: int, test: str) -> None:
        super().__init__()
        self.crop_px, self.scale_px, self.test = crop_px, scale_px, test
        self.n_crops = 10 if test == "ten_crop" else 1

    def forward(self, images: Tensor) -> Tensor:
        images = at_scale(images, self.scale_px)
        if self.training:
            return random_crop(images, self.crop_px)
        c = self.crop_px
        crops = []
        for top, left, mirrored in self.windows(images.shape[-1]):
            crop = images[..., top : top + c, left : left + c]
            crops.append(crop.flip(-1) if mirrored else crop)
        return torch.stack(crops, dim=1).flatten(0, 1)

    def windows(self, size_px: int) -> list[tuple[int, int, bool]]:
        """Of the crops in a test: top, left, and whether mirrored afterwards. Corners, centre, then mirror images."""
        end = size_px - self.crop_px
        half = round(end / 2)
        if self.test == "centre":
            return [(half, half, False)]
        plain = [(0, 0), (0, end), (end, 0), (end, end), (half, half)]
        return [(y, x, False) for y, x in plain] + [(y, end - x, True) for y, x in plain]

    def extra_repr(self) -> str:
        return f"crop_px={self.crop_px}, scale_px={self.scale_px}, test={self.test}"


class CropMean(nn.Module):
    """(n·B, K) → (B, K), the mean output over the crops of each image; in training there is one crop."""

    def __init__(self, n_crops: int) -> None:
        super().__init__()
        self.n_crops = n_crops

    def forward(self, outputs: Tensor) -> Tensor:
        if self.training or self.n_crops == 1:
            return outputs
        return outputs.unflatten(0, (-1, self.n_crops)).mean(1)

    def extra_repr(self) -> str:
        return f"n_crops={self.n_crops}"


def at_scale(images: Tensor, scale_px: int) -> Tensor:
    """(B, C, S, S) brought down to scale_px (antialiased) and back up: the detail of a smaller image, the same size."""
    size = images.shape[-1]
    if scale_px == size:
        return images
    small = F.interpolate(images, size=(scale_px, scale_px), mode="bilinear", antialias=True)
    return F.interpolate(small, size=(size, size), mode="bilinear")


def random_crop(images: Tensor, crop_px: int) -> Tensor:
    """(B, C, S, S) → (B, C, crop, crop): every place equally likely, every other one mirrored."""
    n, room = len(images), images.shape[-1] - crop_px + 1
    draws = torch.rand(n, 3, device=images.device)
    top, left = (draws[:, 0] * room).long(), (draws[:, 1] * room).long()
    parts = images.unfold(2, crop_px, 1).unfold(3, crop_px, 1)  # (B, C, room, room, crop, crop), a view
    crops = parts[torch.arange(n, device=images.device), :, top, left]  # (B, C, crop, crop)
    return torch.where((draws[:, 2] < 0.5)[:, None, None, None], crops.flip(-1), crops)


def features(net: nn.Module, images: Tensor) -> Tensor:
    """(B, C, S, S) → (B, D), what the last layer of a network in eval mode sees, mean over the crops."""
    crops = net.get_submodule("crops")
    assert isinstance(crops, Crops)
    return penultimate(net)(images).flatten(1).unflatten(0, (-1, crops.n_crops)).mean(1)
