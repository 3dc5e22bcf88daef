"""CycleGAN (Zhu, Park, Isola, Efros 2017): two generators that undo each other, photo ↔ sketch, and their judges.

generator=resnet, discriminator=patch: the authors' (their section 7.2): reflection padding, instance norm without scale
and shift, nothing tracked; 9 blocks at 256 px, 6 at 128; the 70×70 PatchGAN. Convolutions start from N(0, .02).

generator=short, discriminator=dcgan: mamin's: two 4×4 convolutions of stride 2, `blocks` residual blocks, two
4×4 transposed ones, a norm after every one of them, the last too, LeakyReLU(.2); its DCGAN's discriminator. That its
residual blocks use transposed convolutions of stride 1 is left out: they compute what plain ones do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.models import dcgan

GIVES = ("translators",)
GENERATORS = ("resnet", "short")
DISCRIMINATORS = ("patch", "dcgan")
NAMES = ("to_sketch", "to_photo", "D_sketch", "D_photo")
_LEAK = 0.2


@dataclass(frozen=True)
class Config:
    input: Input  # pairs, used unpaired; mean and std 0.5, for tanh gives −1 to 1
    generator: str  # resnet (the authors') or short (mamin's)
    width: int  # channels of the generators' first map, doubled at each of two halvings
    blocks: int  # residual blocks
    norm: str  # instance (the authors') or batch (mamin)
    discriminator: str  # patch (the authors'), or dcgan (mamin: one answer for the whole image)
    width_d: int  # channels of the discriminators' first map, doubled up to 8 times that
    halvings_d: int  # convolutions of stride 2 in patch; 3 = a field of 70×70 px

    def __post_init__(self) -> None:
        known = {"generator": GENERATORS, "discriminator": DISCRIMINATORS, "norm": dcgan.NORMS}
        for key, allowed in known.items():
            if getattr(self, key) not in allowed:
                raise UserError(f"model.{key}={getattr(self, key)}: expected one of {', '.join(allowed)}")
        for key in ("width", "width_d", "halvings_d"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key}={getattr(self, key)}: expected at least 1")
        if self.blocks < 0:
            raise UserError(f"model.blocks={self.blocks}: expected a number of residual blocks")
        side, channels = self.input.size_px, self.input.channels
        if self.input.kind != "pairs" or self.input.mean != [0.5] * channels or self.input.std != [0.5] * channels:
            raise UserError(
                f"model.input.kind={self.input.kind}, mean={self.input.mean}, std={self.input.std}: expected pairs, "
                "and 0.5 for each channel, for tanh gives −1 to 1"
            )
        if side % 4 or side // 2**self.halvings_d < 4:
            raise UserError(
                f"model.input.size_px={side}, model.halvings_d={self.halvings_d}: expected a multiple of 4, of which "
                f"{self.halvings_d} halvings leave at least 4 px"
            )


class Reflect(nn.Module):
    """Padding by mirror image: (B, C, H, W) → (B, C, H + 2p, W + 2p). From parts whose gradients are deterministic on
    every device, which torch's own reflection padding lacks on CUDA."""

    def __init__(self, px: int) -> None:
        super().__init__()
        self.px = px

    def forward(self, x: Tensor) -> Tensor:
        p = self.px
        x = torch.cat([x[..., 1 : p + 1].flip(-1), x, x[..., -p - 1 : -1].flip(-1)], -1)
        return torch.cat([x[..., 1 : p + 1, :].flip(-2), x, x[..., -p - 1 : -1, :].flip(-2)], -2)

    def extra_repr(self) -> str:
        return f"px={self.px}"


class Residual(nn.Module):
    """x + f(x), or after(x + f(x))."""

    def __init__(self, *layers: nn.Module, after: nn.Module | None = None) -> None:
        super().__init__()
        self.layers, self.after = nn.Sequential(*layers), after

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layers(x)
        return x if self.after is None else self.after(x)


def norm(name: str, width: int, running: bool = True) -> nn.Module:
    if name == "instance":
        return nn.InstanceNorm2d(width)
    return nn.BatchNorm2d(width, track_running_stats=running)


def _resnet(config: Config) -> nn.Sequential:
    """(B, C, S, S) → (B, C, S, S) in [−1, 1]."""
    width, channels, bias = config.width, config.input.channels, config.norm == "instance"
    layers = [Reflect(3), nn.Conv2d(channels, width, 7, bias=bias), norm(config.norm, width), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), norm(config.norm, 2 * width), nn.ReLU()]
        width *= 2
    for _ in range(config.blocks):
        half = [Reflect(1), nn.Conv2d(width, width, 3, bias=bias), norm(config.norm, width)]
        other = [Reflect(1), nn.Conv2d(width, width, 3, bias=bias), norm(config.norm, width)]
        layers += [Residual(*half, nn.ReLU(), *other)]
    for _ in range(2):
        up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1, bias=bias)
        layers += [up, norm(config.norm, width // 2), nn.ReLU()]
        width //= 2
    return nn.Sequential(*layers, Reflect(3), nn.Conv2d(width, channels, 7), nn.Tanh())


def _short(config: Config) -> nn.Sequential:
    """(B, C, S, S) → (B, C, S, S) in [−1, 1]."""
    width, channels = config.width, config.input.channels
    layers: list[nn.Module] = []
    for given, wanted in ((channels, width), (width, 2 * width)):
        layers += [nn.Conv2d(given, wanted, 4, 2, 1, bias=False), norm(config.norm, wanted), nn.LeakyReLU(_LEAK)]
    for _ in range(config.blocks):
        inside: list[nn.Module] = []
        for _ in range(2):
            conv = nn.Conv2d(2 * width, 2 * width, 3, 1, 1, bias=False)
            inside += [conv, norm(config.norm, 2 * width), nn.LeakyReLU(_LEAK)]
        layers += [Residual(*inside, after=nn.LeakyReLU(_LEAK))]
    layers += [nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), norm(config.norm, width)]
    layers += [nn.LeakyReLU(_LEAK), nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False)]
    return nn.Sequential(*layers, norm(config.norm, channels), nn.Tanh())


def _patch(config: Config) -> nn.Sequential:
    """(B, C, S, S) → (B, 1, s, s): an answer for each patch, above 0 (bce) or near 1 (lsgan) = real."""
    width, bias = config.width_d, config.norm == "instance"
    layers: list[nn.Module] = [nn.Conv2d(config.input.channels, width, 4, 2, 1), nn.LeakyReLU(_LEAK)]
    for place in range(1, config.halvings_d + 1):
        wider = min(2 * width, 8 * config.width_d)
        stride = 2 if place < config.halvings_d else 1
        layers += [nn.Conv2d(width, wider, 4, stride, 1, bias=bias), norm(config.norm, wider, running=False)]
        layers += [nn.LeakyReLU(_LEAK)]
        width = wider
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))


def _dcgan(config: Config) -> nn.Module:
    """(B, C, S, S) → (B,)."""
    values = {"activation_g": "relu", "activation_d": "leaky", "leak": _LEAK, "norm": config.norm, "labels": False}
    values |= {"discriminator": "dcgan", "weights": "none", "embedding": 1, "pack": 1, "z": 1}
    found = dcgan.Config(input=config.input, width=config.width_d, widest=8 * config.width_d, **values)
    return dcgan.Discriminator(found, 1)


def build(config: Config, n_classes: int) -> nn.ModuleDict:
    """{to_sketch, to_photo, D_sketch, D_photo}; classes play no part."""
    generator = {"resnet": _resnet, "short": _short}[config.generator]
    discriminator = {"patch": _patch, "dcgan": _dcgan}[config.discriminator]
    made = [generator(config), generator(config), discriminator(config), discriminator(config)]
    return nn.ModuleDict({name: net.apply(_start) for name, net in zip(NAMES, made, strict=True)})


def _start(module: nn.Module) -> None:
    if not (isinstance(module, nn.InstanceNorm2d) and module.weight is None):
        dcgan.start(module)
