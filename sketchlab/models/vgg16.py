"""VGG16 (Simonyan, Zisserman 2015, configuration D), and with Sketch-a-Net's changes: a larger first filter, 3×3 pools.

Parameter names are torchvision's, so its ImageNet weights load. At 224 px every variant keeps
224 → 112 → 56 → 28 → 14 → 7.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.stages import AdaptiveMean, GlobalMean
from sketchlab.schema import added

GIVES = ("logits",)
ARCH = "vgg16"
_HIDDEN = 4096  # width of the two hidden layers
_MAP_PX = 7  # side of the last map at 224 px
_MIN_PX = 32  # five halvings
_STEM = "features.0"
BLOCKS = {  # up to each pool, by the paper's names → torchvision's first layer of it
    "conv1": _STEM,
    "conv2": "features.5",
    "conv3": "features.10",
    "conv4": "features.17",
    "conv5": "features.24",
    "classifier": "classifier",
}


@dataclass(frozen=True)
class Config:
    """VGG16 and its variants."""

    input: Input  # images, 3 channels with pretrained weights
    weights: str  # imagenet, none, a weights file or a run folder
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    train_from: Annotated[str | None, added(None)]  # first block that trains with tune=finetune (conv5); null = all
    fresh: list[str]  # layers that start fresh although weights are loaded, such as classifier
    width: float  # all layer widths times this; pretrained weights exist at 1 only
    kernel_px: int  # side of the first filter, odd; 3 in VGG16, 15 in Sketch-a-Net
    stem: str  # first filter: inflate (the pretrained one, centred in zeros: the same function) or fresh
    pool_px: int  # side of the five pools, stride 2: 2 in VGG16, 3 in Sketch-a-Net
    head: str  # vgg: two hidden layers of 4096; pool: average over the last map, one linear layer
    dropout: float  # probability, in the head

    def __post_init__(self) -> None:
        weights.check(self)
        for key, value, known in (("stem", self.stem, ("inflate", "fresh")), ("head", self.head, ("vgg", "pool"))):
            if value not in known:
                raise UserError(f"model.{key}={value}: expected {' or '.join(known)}")
        if self.kernel_px < 3 or self.kernel_px % 2 == 0:
            raise UserError(f"model.kernel_px={self.kernel_px}: expected an odd number from 3 on (3, 7, 11, 15)")
        if self.pool_px not in (2, 3):
            raise UserError(f"model.pool_px={self.pool_px}: expected 2 or 3")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")
        if self.width <= 0:
            raise UserError(f"model.width={self.width}: expected more than 0")
        if self.input.size_px < _MIN_PX:
            raise UserError(f"model.input.size_px={self.input.size_px}: {ARCH} needs at least {_MIN_PX}")
        if self.weights == "imagenet" and self.tune != "scratch" and self.width != 1:
            raise UserError(f"model.width={self.width}: ImageNet weights exist at width 1 only; set model.weights=none")


def build(config: Config, n_classes: int | None) -> nn.Module:
    """(B, C, S, S) → (B, n_classes) logits. n_classes=None: the pretrained network whole, with its 1000 outputs."""
    if n_classes is None and config.head == "pool":
        raise UserError("model.head=pool has no original classes; the stock network needs model.head=vgg")
    features = _features(config)
    classes = 1000 if n_classes is None else n_classes
    channels, hidden = _scaled(512, config), _scaled(_HIDDEN, config)
    if config.head == "pool":
        tail = [("pool", GlobalMean()), ("classifier", _mlp([channels], classes, config.dropout))]
    else:
        widths = [channels * _MAP_PX**2, hidden, hidden]
        tail = [("avgpool", AdaptiveMean(_MAP_PX)), ("flatten", nn.Flatten()),
                ("classifier", _mlp(widths, classes, config.dropout))]  # fmt: skip
    net = nn.Sequential(OrderedDict([("features", features), *tail]))
    _initialise(net, config.width)
    pool = config.head == "pool"
    return weights.start(
        net,
        config,
        ARCH,
        head="" if n_classes is None else ("classifier.1" if pool else "classifier.6"),
        unused=("classifier",) if pool else (),
        adapt=lambda state: inflate_stem(state, config.kernel_px),
        fresh=(_STEM,) if config.stem == "fresh" else (),
        train_from=config.train_from,
        blocks=BLOCKS,
    )


def notes(config: Config) -> list[str]:
    """Values that change nothing, or less than their names say."""
    out = weights.notes(config)
    if config.tune == "scratch" and config.stem == "fresh":
        out.append("model.stem=fresh changes nothing: model.tune=scratch starts all layers fresh")
    still = config.tune == "freeze" or config.train_from not in (None, "conv1", _STEM)
    inflated = config.weights == "imagenet" and config.kernel_px > 3 and config.stem == "inflate"
    if still and inflated and not {_STEM, "features"} & {*config.fresh}:
        left = "only the 3×3 pools differ from model=vgg16" if config.pool_px == 3 else "nothing differs from 3"
        out.append(
            f"model.kernel_px={config.kernel_px} changes nothing: the pretrained 3×3 filter lies centred in zeros and "
            f"is frozen, so it computes the same; {left}. model.tune=finetune trains it, model.stem=fresh starts anew"
        )
    return out


def fingerprint(config: Config) -> str:
    """Of the weights a run starts from, for its id."""
    return weights.fingerprint(config, ARCH)


def trained_on(config: Config) -> str:
    """What model.weights was trained on: ImageNet's 1,000 classes; "" for a file of one's own."""
    return "imagenet_in1k" if config.weights == "imagenet" else ""


def inflate_stem(state: dict[str, Tensor], kernel_px: int) -> dict[str, Tensor]:
    """Centre a smaller first filter (O, C, k, k) in zeros (O, C, K, K): with padding K//2 it computes the same maps."""
    key = f"{_STEM}.weight"
    if key not in state or state[key].shape[-1] >= kernel_px:
        return state
    border = (kernel_px - state[key].shape[-1]) // 2
    return {**state, key: F.pad(state[key], [border] * 4)}


def _scaled(channels: int, config: Config) -> int:
    return max(1, round(channels * config.width))


def _features(config: Config) -> nn.Sequential:
    layout = [layer if isinstance(layer, str) else _scaled(layer, config) for layer in cfgs["D"]]
    layers = make_layers(layout)
    stem = layers[0]
    assert isinstance(stem, nn.Conv2d)
    kernel = config.kernel_px
    layers[0] = nn.Conv2d(config.input.channels, stem.out_channels, kernel, padding=kernel // 2)
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            # padding 1 keeps 7×7 with 3×3 pools: torch pads with −∞, so the border never wins
            layers[i] = nn.MaxPool2d(config.pool_px, stride=2, padding=config.pool_px // 3)
    return layers


def _mlp(widths: list[int], classes: int, dropout: float) -> nn.Sequential:
    """Hidden layers with torchvision's places (0, 3, 6) for VGG's head; dropout and one linear layer for pool."""
    if len(widths) == 1:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[0], classes))
    layers: list[nn.Module] = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def _initialise(net: nn.Module, width: float) -> None:
    """As torchvision's VGG: He et al. 2015 by fan-out for convolutions, std .01 (at width 1) for linear layers."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01 / math.sqrt(width))
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
