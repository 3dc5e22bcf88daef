"""DCGAN (Radford, Metz, Chintala 2016) as mamin builds it, with mamin's variations and class labels.

4×4 convolutions of stride 2, up in the generator, down in the discriminator; tanh at the generator's end; no norm after
the generator's last layer, nor after the discriminator's first and last. Convolutions start from N(0, .02), weights of
norms from N(1, .02).

Not in mamin: a batch norm of the discriminator keeps no running statistics (they would mix real and fake, and
nothing uses them); last layers have a bias; instance norm has a scale and a shift to learn, and the generator's first
layer follows `norm` too, which mamin leaves to batch norm. Packs of images for
the discriminator, laid one on the other as channels (Lin, Khetan, Fanti, Oh 2018, PacGAN), as an option: alike images
in a pack betray a collapse, but one at a time KID was better (experiments/mamin_gan.py). Labels: an embedding beside
the noise (Mirza, Osindero 2014), and a discriminator that adds the product of its features with the embedding of the
class it is told (Miyato, Koyama 2018, projection); a pack then holds images of one class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import IMAGENET_MEAN, IMAGENET_STD, Input
from sketchlab.models import torchvision_nets

GIVES = ("generator and discriminator",)
ACTIVATIONS = ("relu", "leaky", "jrelu")
NORMS = ("batch", "instance")
DISCRIMINATORS = ("dcgan", "resnet18", "mobilenet_v2")
_START_PX = 4  # side of the generator's first map and of the discriminator's last


@dataclass(frozen=True)
class Config:
    input: Input  # images of 16, 32, 64, 128 … px; mean and std such that tanh, −1 to 1, gives black to white
    z: int  # numbers of noise that an image is made from
    width: int  # channels of the generator's largest map, doubled at each halving of the side; D mirrors it
    widest: int  # no map has more channels than this
    pack: int  # images that the discriminator judges together; 1 = each alone, as in DCGAN
    activation_g: str  # of the generator: relu (DCGAN), leaky (slope `leak`), jrelu (leaky(.1) − .4, at most 6)
    activation_d: str  # of the discriminator; DCGAN: leaky
    leak: float  # slope of leaky below 0
    norm: str  # batch or instance
    discriminator: str  # dcgan, or one of torchvision's with one output: resnet18, mobilenet_v2
    weights: str  # what torchvision's discriminator starts from: imagenet, none or a file
    labels: bool  # both networks are told the class
    embedding: int  # numbers that tell the generator the class

    def __post_init__(self) -> None:
        for key in ("z", "width", "widest", "pack", "embedding"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key}={getattr(self, key)}: expected at least 1")
        known = {"activation_g": ACTIVATIONS, "activation_d": ACTIVATIONS, "norm": NORMS}
        for key, allowed in {**known, "discriminator": DISCRIMINATORS}.items():
            if getattr(self, key) not in allowed:
                raise UserError(f"model.{key}={getattr(self, key)}: expected one of {', '.join(allowed)}")
        size = self.input.size_px
        if size < 4 * _START_PX or size & (size - 1):
            raise UserError(f"model.input.size_px={size}: the side doubles from 4 px on; expected 16, 32, 64, 128, …")
        for mean, std in zip(self.input.mean, self.input.std, strict=True):
            if mean - std > 0 or mean + std < 1:
                raise UserError(
                    f"model.input.mean={self.input.mean}, std={self.input.std}: tanh gives mean ± std, which must "
                    "reach from 0 to 1: 0.5 and 0.5; for the statistics of the data set pipeline.normalise=data"
                )
        if self.discriminator != "dcgan" and (self.pack > 1 or self.labels):
            raise UserError(
                f"model.discriminator={self.discriminator} sees one image at a time and no class: it needs "
                f"model.pack=1 and model.labels=false, got pack={self.pack}, labels={str(self.labels).lower()}"
            )

    @property
    def widths(self) -> list[int]:
        """Channels of the generator's maps of 4, 8, … px, up to half the image's side."""
        halvings = (self.input.size_px // _START_PX).bit_length() - 1
        return [min(self.widest, self.width * 2**i) for i in reversed(range(halvings))]


class JReLU(nn.Module):
    """leaky(.1) − .4, at most 6 (J. Howard, as mamin quotes it)."""

    def forward(self, x: Tensor) -> Tensor:
        return (F.leaky_relu(x, 0.1) - 0.4).clamp(max=6.0)


def activation(name: str, leak: float) -> nn.Module:
    return {"relu": nn.ReLU(), "leaky": nn.LeakyReLU(leak), "jrelu": JReLU()}[name]


class Scaled(nn.Module):
    """A network that knows in what scale its images are: what −1 and 1 mean goes with the weights."""

    mean: Tensor  # (C, 1, 1), of [0, 1]
    std: Tensor

    def __init__(self, input: Input) -> None:
        super().__init__()
        for name, values in (("mean", input.mean), ("std", input.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None])

    def pixels(self, images: Tensor) -> Tensor:
        """(B, C, S, S) as the networks speak of them → the same in [0, 1]."""
        return images * self.std + self.mean


class FromNoise(nn.ConvTranspose2d):
    """(B, Z, 1, 1) → (B, C, 4, 4), as the matrix product that it is.

    The gradient of the convolution's kernels has a layout on CUDA that torch's compiler (2.11) does not expect.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return (x.flatten(1) @ self.weight.flatten(1)).unflatten(1, self.weight.shape[1:])


class Generator(Scaled):
    """(B, z) noise, and (B,) classes where n_classes > 0 → (B, C, S, S) in [−1, 1]."""

    def __init__(self, config: Config, n_classes: int) -> None:
        super().__init__(config.input)
        self.z, self.n_classes = config.z, n_classes if config.labels else 0
        self.classes = nn.Embedding(n_classes, config.embedding) if self.n_classes else None
        channels, layers = config.z + (config.embedding if self.n_classes else 0), list[nn.Module]()
        for place, width in enumerate(config.widths):
            first = FromNoise(channels, width, _START_PX, bias=False)
            layers += [nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=False) if place else first]
            layers += [norm(config.norm, width), activation(config.activation_g, config.leak)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(channels, config.input.channels, 4, 2, 1), nn.Tanh())

    def forward(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        if self.classes is not None:
            z = torch.cat([z, self.classes(classes)], 1)
        return self.layers(z[:, :, None, None])


class Discriminator(Scaled):
    """(B, C, S, S), and (B,) classes, the same within a pack, where n_classes > 0 → (B / pack,) logits, > 0 = real."""

    def __init__(self, config: Config, n_classes: int) -> None:
        super().__init__(config.input)
        self.pack = config.pack
        channels, layers = config.pack * config.input.channels, list[nn.Module]()
        for place, width in enumerate(reversed(config.widths)):
            layers += [nn.Conv2d(channels, width, 4, 2, 1, bias=place == 0)]
            layers += [norm(config.norm, width, running=False)] if place else []
            layers += [activation(config.activation_d, config.leak)]
            channels = width
        self.layers, self.last = nn.Sequential(*layers), nn.Conv2d(channels, 1, _START_PX)
        self.classes = nn.Embedding(n_classes, channels) if config.labels else None

    def forward(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        packs = images.reshape(len(images) // self.pack, -1, *images.shape[2:])  # (B / pack, pack · C, S, S)
        maps = self.layers(packs)
        logits = self.last(maps).flatten()
        if self.classes is None or classes is None:
            return logits
        return logits + (self.classes(classes[:: self.pack]) * maps.sum((2, 3))).sum(1)


class Pretrained(Scaled):
    """(B, C, S, S) → (B,) logits of a torchvision network with one output, which is shown what ImageNet shows it."""

    theirs_mean: Tensor  # (3, 1, 1)
    theirs_std: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config.input)
        self.pack = 1
        input = replace(config.input, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        tune = "scratch" if config.weights == "none" else "finetune"
        values = {
            "weights": config.weights,
            "tune": tune,
            "train_from": None,
            "fresh": [],
            "head": "stock",
            "dropout": 0.0,
        }
        self.net = torchvision_nets.build(torchvision_nets.Config(arch=config.discriminator, input=input, **values), 1)
        for name, value in (("theirs_mean", IMAGENET_MEAN), ("theirs_std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        colours = self.pixels(images).expand(-1, 3, -1, -1)  # (B, 3, S, S)
        return self.net((colours - self.theirs_mean) / self.theirs_std).flatten()


def norm(name: str, width: int, running: bool = True) -> nn.Module:
    if name == "instance":
        return nn.InstanceNorm2d(width, affine=True)
    return nn.BatchNorm2d(width, track_running_stats=running)


def start(module: nn.Module) -> None:
    """The paper's initialisation (section 4) of one layer; norm weights as in its public implementations."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def build(config: Config, n_classes: int) -> nn.ModuleDict:
    """{"G": Generator, "D": Discriminator or Pretrained}. UserError: labels wanted of data with one class."""
    if config.labels and n_classes < 2:
        raise UserError(
            f"model.labels=true: the data set has {n_classes} class, so there is no label to tell; choose data with "
            "classes, or model=dcgan"
        )
    G = Generator(config, n_classes).apply(start)
    if config.discriminator != "dcgan":
        return nn.ModuleDict({"G": G, "D": Pretrained(config)})
    D = Discriminator(config, n_classes).apply(start)
    if D.classes is not None:
        nn.init.zeros_(D.classes.weight)  # at first the class says nothing
    return nn.ModuleDict({"G": G, "D": D})


def fingerprint(config: Config) -> str:
    """Of the weights a run starts from, for its id."""
    if config.discriminator == "dcgan":
        return "none"
    tune = "scratch" if config.weights == "none" else "finetune"
    return weights.fingerprint(_Start(config.weights, tune, []), config.discriminator)


@dataclass(frozen=True)
class _Start:
    weights: str
    tune: str
    fresh: list[str]
