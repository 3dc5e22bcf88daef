"""torchvision's AlexNet, GoogLeNet, ResNet-18/34, MobileNetV2 and Inception v3, opened into a chain of stages.

The layers and their names are torchvision's. GoogLeNet and Inception come without their auxiliary classifiers; what
torchvision calls transform_input is the mean and std of .5 in their YAML.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

import torchvision
from torch import nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.stages import AdaptiveMean, GlobalMean
from sketchlab.schema import added

GIVES = ("logits",)
HEADS = {  # the last layer of each network
    "alexnet": "classifier.6",
    "googlenet": "fc",
    "resnet18": "fc",
    "resnet34": "fc",
    "mobilenet_v2": "classifier.1",
    "inception_v3": "fc",
}
_OPTIONS = {
    "googlenet": {"aux_logits": False, "init_weights": True, "transform_input": False},
    "inception_v3": {"aux_logits": False, "init_weights": True, "transform_input": False},
}
_AUXILIARY = ("aux1", "aux2", "AuxLogits")  # in the files, left out here
_ALEXNET_MAP_PX = 6  # side of the last map at 224 px


@dataclass(frozen=True)
class Config:
    """One of torchvision's networks."""

    arch: str  # alexnet, googlenet, resnet18, resnet34, mobilenet_v2, inception_v3
    input: Input  # images, 3 channels
    weights: str  # imagenet, none, a weights file or a run folder
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    train_from: Annotated[str | None, added(None)]  # first block that trains with tune=finetune, such as layer4 or
    # features.14; null = all
    fresh: list[str]  # layers that start fresh although weights are loaded, such as classifier
    head: str  # stock: torchvision's, its last layer fresh; pool: average over the last map, one linear layer
    dropout: float  # probability, in the head

    def __post_init__(self) -> None:
        weights.check(self)
        if self.arch not in HEADS:
            raise UserError(f"model.arch={self.arch}: expected one of {', '.join(HEADS)}")
        if self.head not in ("stock", "pool"):
            raise UserError(f"model.head={self.head}: expected stock or pool")
        if self.input.channels != 3:
            raise UserError(f"model.input.channels={self.input.channels}: {self.arch} takes 3")
        least = max(_meta(self.arch)["min_size"])
        if self.input.size_px < least:
            raise UserError(f"model.input.size_px={self.input.size_px}: {self.arch} needs at least {least}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")


def build(config: Config, n_classes: int | None) -> nn.Module:
    """(B, 3, S, S) → (B, n_classes) logits. n_classes=None: the pretrained network whole, with its 1000 outputs."""
    classes = 1000 if n_classes is None else n_classes
    pool = config.arch == "alexnet" and config.head == "pool"  # the others have that head anyway
    if pool and n_classes is None:
        raise UserError("model.head=pool has no original classes; the stock network needs model.head=stock")
    net = nn.Sequential(_stages(config, classes))
    if pool:
        net = nn.Sequential(
            OrderedDict(
                features=net.get_submodule("features"),
                pool=GlobalMean(),
                classifier=nn.Sequential(nn.Dropout(), nn.Linear(256, classes)),
            )
        )
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout
    head = "classifier.1" if pool else HEADS[config.arch]
    unused = (*_AUXILIARY, "classifier") if pool else _AUXILIARY
    return weights.start(
        net,
        config,
        config.arch,
        head="" if n_classes is None else head,
        unused=unused,
        train_from=config.train_from,
        blocks=_blocks(net),
    )


def notes(config: Config) -> list[str]:
    """Values that change nothing."""
    out = weights.notes(config)
    if config.head == "pool" and config.arch != "alexnet":
        out.append(f"model.head=pool changes nothing: {config.arch} ends in an average over its last map anyway")
    return out


def _blocks(net: nn.Module) -> dict[str, str]:
    """What train_from may name: torchvision's children, and inside `features` and `classifier` the layers."""
    within = (
        f"{name}.{inner}" if name == "features" else name
        for name, child in net.named_children()
        for inner, layer in (child.named_children() if name == "features" else [("", child)])
        if any(True for _ in layer.parameters())
    )
    return {name: name for name in within}


def fingerprint(config: Config) -> str:
    """Of the weights a run starts from, for its id."""
    return weights.fingerprint(config, config.arch)


def trained_on(config: Config) -> str:
    """What model.weights was trained on: ImageNet's 1,000 classes; "" for a file of one's own."""
    return "imagenet_in1k" if config.weights == "imagenet" else ""


def class_names(config: Config) -> list[str]:
    """The 1000 ImageNet classes of the stock network, in the order of its outputs."""
    return list(_meta(config.arch)["categories"])


def _meta(arch: str) -> dict:
    return torchvision.models.get_model_weights(arch)["IMAGENET1K_V1"].meta


def _stages(config: Config, classes: int) -> OrderedDict[str, nn.Module]:
    """torchvision's children in its order of use, with what its forward does between them as stages of their own."""
    net = torchvision.models.get_model(config.arch, weights=None, num_classes=classes, **_OPTIONS.get(config.arch, {}))
    stages = OrderedDict(net.named_children())
    last = HEADS[config.arch].split(".")[0]
    head, dropout = stages.pop(last), stages.pop("dropout", None)
    if config.arch == "alexnet":
        stages["avgpool"] = AdaptiveMean(_ALEXNET_MAP_PX)
    if config.arch == "mobilenet_v2":
        stages["avgpool"] = nn.AdaptiveAvgPool2d(1)
    stages["flatten"] = nn.Flatten()
    if last == "fc":  # ResNets have none of their own: their YAML says 0
        stages["dropout"] = dropout or nn.Dropout()
    stages[last] = head
    return stages
