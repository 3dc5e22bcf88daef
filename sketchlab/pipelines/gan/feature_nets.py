"""What KID, FID and coverage are measured in: FID's Inception, AlexNet's last maps, or a fixed random network.

Scores in different features have nothing to do with each other, so their name goes with every number.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import inception
from tqdm import tqdm

from sketchlab.errors import UserError
from sketchlab.inputs import IMAGENET_MEAN, IMAGENET_STD
from sketchlab.metrics import generation as metrics

NAMES = ("inception", "alexnet", "random")  # the first whose weights are at hand is what `auto` takes
_FILES = {"inception": "inception_v3_fid*.safetensors", "alexnet": "alexnet_features*.safetensors"}
_RANDOM_KEY = 0  # of the random network: one for all runs, so that their numbers can be compared
_BATCH = 32


@dataclass(frozen=True)
class Features:
    name: str
    fingerprint: str  # of the weights
    of: Callable[[Tensor], Tensor]  # (n, C, S, S) in [0, 1] → (n, D) on the CPU


def decided(features: str) -> str:
    """auto → the first of NAMES that is at hand. Raises UserError for an unknown name, or weights that are missing."""
    if features == "auto":
        return next(name for name in NAMES if name == "random" or _file(name) is not None)
    if features not in NAMES:
        raise UserError(f"pipeline.features={features}: expected auto, {', '.join(NAMES)}")
    if features != "random" and _file(features) is None:
        where = os.environ.get("SKETCHLAB_WEIGHTS")
        raise UserError(
            f"pipeline.features={features}: no file {_FILES[features]} in "
            f"{f'SKETCHLAB_WEIGHTS={where}' if where else 'a folder named by SKETCHLAB_WEIGHTS, which is not set'}; "
            "put it there, or use pipeline.features=random (or auto: the best there is)"
        )
    return features


def fingerprint(features: str) -> str:
    """The features a run is measured in, with the start of their weights' sha256: a part of its id."""
    name = decided(features)
    path = _file(name)
    if path is None:
        return name
    with path.open("rb") as file:
        return f"{name}-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def make(features: str, device: torch.device) -> Features:
    """Raises UserError as decided() does, or for a file that is not what it should be."""
    name = decided(features)
    if name == "random":
        return Features(name, name, lambda images: _in_parts(_random, images, device))
    path = _file(name)
    assert path is not None
    net = (_inception if name == "inception" else _alexnet)(path).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Features(name, fingerprint(name), lambda images: _in_parts(net, images, device))


def _file(name: str) -> Path | None:
    folder = os.environ.get("SKETCHLAB_WEIGHTS")
    found = sorted(Path(folder).glob(_FILES[name])) if folder and name in _FILES else []
    return found[0] if found else None


@torch.no_grad()
def _in_parts(net: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    bar = tqdm(images.split(_BATCH), "features of images", unit="batch", leave=False, delay=1)
    return torch.cat([net(part.to(device)).float().cpu() for part in bar])


def _random(images: Tensor) -> Tensor:
    return metrics.random_features(images, _RANDOM_KEY)


class Resized(nn.Module):
    """(B, 1 or 3, S, S) in [0, 1] → colour, the side a network was trained at, its scale; then the network."""

    mean: Tensor  # (3, 1, 1)
    std: Tensor

    def __init__(self, net: nn.Module, size_px: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net, self.size = net, (size_px, size_px)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        images = images.expand(-1, 3, -1, -1)
        larger = images.shape[-1] < self.size[0]  # antialiasing is for shrinking
        resized = F.interpolate(images, self.size, mode="bilinear", align_corners=False, antialias=not larger)
        return self.net((resized - self.mean) / self.std).flatten(1)


def _load(net: nn.Module, path: Path, kind: str) -> nn.Module:
    state = {name: value.float() for name, value in load_file(path).items()}
    try:
        missing, extra = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"{path} is not the {kind}: {str(error).splitlines()[-1].strip()}") from None
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or extra:
        raise UserError(f"{path} is not the {kind}: lacks {missing[:1]}, has no place for {extra[:1]}")
    return net.eval().requires_grad_(False)


def _alexnet(path: Path) -> nn.Module:
    """(B, 256): the mean of each of AlexNet's last maps."""
    net = nn.Module()
    net.features = torchvision.models.alexnet(weights=None).features
    _load(net, path, "AlexNet whose features.* are looked for")
    return Resized(
        nn.Sequential(net.features, nn.AdaptiveAvgPool2d(1)), 224, tuple(IMAGENET_MEAN), tuple(IMAGENET_STD)
    ).eval()


def _inception(path: Path) -> nn.Module:
    """(B, 2048): the pooled maps before the classes of the Inception that FID is defined with (Heusel et al. 2017).

    Torchvision's layers; three average pools count no padding, and the last block takes a maximum instead of one, as
    the original graph does.
    """
    net = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=False, transform_input=False)
    net.fc, net.dropout = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    for name, module in net.named_modules():
        if isinstance(module, inception.InceptionA | inception.InceptionC | inception.InceptionE):
            _pool_by(module, _maximum if name == "Mixed_7c" else _mean)
    return Resized(_load(net, path, "Inception of FID"), 299, (0.5,) * 3, (0.5,) * 3).eval()


def _pool_by(block: nn.Module, pool: Callable[[Tensor], Tensor]) -> None:
    """What the block's branch_pool is given becomes pool(the block's input)."""
    given: list[Tensor] = []

    def take(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given[:] = inputs

    block.register_forward_pre_hook(take)
    block.branch_pool.register_forward_pre_hook(lambda *_: (pool(given[0]),))  # type: ignore[union-attr]


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 1, 1)
