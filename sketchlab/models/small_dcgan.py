"""A small DCGAN (Radford, Metz, Chintala 2016): 4×4 convolutions of stride 2, up in the generator, down to judge.

No norm after the generator's last layer, nor after the discriminator's first and last; tanh at the generator's end.
Convolutions start from N(0, .02), norm weights from N(1, .02).

Not in that paper: the discriminator judges packs of images, laid one on the other as channels (Lin, Khetan, Fanti, Oh
2018, PacGAN). One at a time, the generator soon draws the same circle from any noise; alike images in a pack betray it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sketchlab.errors import UserError
from sketchlab.inputs import Input

FITS = ("gan",)
_START_PX = 4  # side of the generator's first map and of the discriminator's last


@dataclass(frozen=True)
class Config:
    input: Input
    z: int  # numbers of noise that an image is made from
    widths: list[int]  # channels of the generator's maps from 4 px on, each of twice the side; D mirrors them
    pack: int  # images that the discriminator judges together; 1 = each alone, as in DCGAN
    leak: float  # slope of the discriminator's LeakyReLU below 0

    def __post_init__(self) -> None:
        if self.z < 1 or len(self.widths) < 2 or min(self.widths) < 1:
            raise UserError(f"model.z={self.z}, model.widths={self.widths}: expected z ≥ 1 and at least two widths")
        if self.pack < 1:
            raise UserError(f"model.pack={self.pack}: expected at least 1 image")
        if self.input.size_px != _START_PX * 2 ** len(self.widths):
            raise UserError(
                f"model.input.size_px={self.input.size_px}: {len(self.widths)} model.widths make images of "
                f"{_START_PX * 2 ** len(self.widths)} px; each width more doubles the side"
            )
        if self.input.mean != [0.5] * self.input.channels or self.input.std != [0.5] * self.input.channels:
            raise UserError(
                f"model.input.mean={self.input.mean}, std={self.input.std}: expected 0.5 for each channel, "
                "for tanh gives values from -1 to 1"
            )


class Generator(nn.Module):
    """(B, z) noise → (B, C, S, S) in [-1, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.z = config.z
        first = config.widths[0]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(config.z, first, _START_PX, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
        ]
        for width, wider in zip(config.widths[1:], config.widths, strict=False):
            layers += [nn.ConvTranspose2d(wider, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers, nn.ConvTranspose2d(config.widths[-1], config.input.channels, 4, 2, 1), nn.Tanh()
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z[:, :, None, None])


class Discriminator(nn.Module):
    """(B, C, S, S) → (B / pack,) logits, above 0 = real."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.pack = config.pack
        channels = config.widths[-1]
        layers: list[nn.Module] = [
            nn.Conv2d(config.pack * config.input.channels, channels, 4, 2, 1),
            nn.LeakyReLU(config.leak),
        ]
        for width in config.widths[-2::-1]:
            # always the batch's own statistics: running ones would mix real and fake, and move in the generator's step
            norm = nn.BatchNorm2d(width, track_running_stats=False)
            layers += [nn.Conv2d(channels, width, 4, 2, 1, bias=False), norm, nn.LeakyReLU(config.leak)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, 1, _START_PX))

    def forward(self, images: Tensor) -> Tensor:
        packs = images.reshape(len(images) // self.pack, -1, *images.shape[2:])  # (B / pack, pack · C, S, S)
        return self.layers(packs).flatten()


def start(module: nn.Module) -> None:
    """The paper's initialisation (section 4) of one layer; norm weights as in its public implementations."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def build(config: Config, n_classes: int) -> nn.ModuleDict:
    """{"G": (B, z) → (B, C, S, S), "D": (B, C, S, S) → (B / pack,) logits}; classes play no part."""
    nets = nn.ModuleDict({"G": Generator(config), "D": Discriminator(config)})
    return nets.apply(start)
