"""A variational autoencoder (Kingma and Welling 2014): what a step, an evaluation and a checkpoint are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine import optim
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config as Loop
from sketchlab.engine.task import trainable
from sketchlab.metrics.declared import Score
from sketchlab.pipelines.gan.sheets import noise, sheet

TAKES = ("autoencoder",)  # what a model must give, one of these
ANSWERS = "images"  # what a finished run is asked for: classes, matches, images, translations or drawings
TITLE = "Autoencoders"  # of its runs in a comparison
SCORES = (  # every number that evaluate and train_step give, the most important one first
    Score("loss", "Reconstruction and divergence a pixel", "smaller", 0.0, source="Kingma and Welling 2014"),
    Score("reconstruction", "Cross-entropy a pixel of the reconstruction", "smaller", 0.0, unit="nats"),
)


@dataclass(frozen=True)
class Config:
    beta: float  # weight of the divergence; 1 = as published
    sheet: int  # pictures on the sheet of samples


class Vae:
    """net: nn.ModuleDict of `encoder` (B, C, S, S) → (B, 2·z) and `G` (B, z) → (B, C, S, S) images."""

    views, fixed_shapes, weights = 0, True, ("G", "encoder")

    def __init__(self, config: Config, net: Any, data: Any, loop: Loop, runtime: Runtime, seed: int) -> None:
        self.config, self.data, self.loop, self.runtime, self.seed = config, data, loop, runtime, seed
        self.net = runtime.place(net)
        self.encoder, self.G = net["encoder"], net["G"]
        self.train = data.splits["train"]
        self.n_train = len(self.train)
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        self.monitor = "val/loss" if "val" in self.splits else ""
        self.optimizer = optim.make(trainable(net), loop, runtime)
        self.parts = {"G": self.G, "encoder": self.encoder, "optimizer": self.optimizer}
        images, z = self._images(self.train.gather(torch.zeros(1, dtype=torch.int64))), self.G.z
        self.networks = {"encoder": (self.encoder, (images,)), "G": (self.G, (images.new_zeros(1, z),))}

    def _images(self, raw: Any, keys: Tensor | None = None) -> Tensor:
        return self.runtime.prepared(self.data.prepare, raw, keys)

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Any]:
        return {"raw": self.train.gather(places), "keys": keys}

    def prepare(self, raw: dict[str, Any]) -> dict[str, Tensor]:
        """(B, C, S, S) images, and (B, z) the noise of each sample, by its key."""
        z = noise(rng.fold("z"), raw["keys"], self.G.z)
        return {"images": self._images(raw["raw"], raw["keys"]), "noise": self.runtime.to_device(z)}

    def begin_step(self, epoch: float) -> None:
        self.net.train()
        optim.set_rate(self.optimizer, self.loop, epoch)

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        loss, reconstruction = self._loss(batch["images"], batch["noise"])
        optim.backward(loss, self.optimizer, self.runtime)
        optim.update(self.optimizer, self.runtime, self.loop)
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach()}

    def _loss(self, images: Tensor, z_noise: Tensor) -> tuple[Tensor, Tensor]:
        """Two numbers, a pixel: with the divergence from a standard normal, and without."""
        mean, log_variance = self.encoder(images).float().chunk(2, 1)  # (B, z) each
        made = self.G.pixels(self.G(mean + z_noise * (log_variance / 2).exp()).float()).clamp(1e-6, 1 - 1e-6)
        reconstruction = F.binary_cross_entropy(made, self.G.pixels(images.float()).clamp(0, 1))
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean() / images[0].numel()
        return reconstruction + self.config.beta * divergence, reconstruction

    def end_step(self) -> None:
        pass

    def learning(self) -> list[nn.Parameter]:
        return trainable(self.net)

    @torch.no_grad()
    def evaluate(self, split: str) -> dict[str, Any]:
        """loss and reconstruction over all samples, with the mean of the code; a sheet of new images."""
        self.net.eval()
        samples, sums = self.data.splits[split], []
        for places in self.runtime.shard(len(samples)).split(256):
            images = self._images(samples.gather(places))
            loss = self._loss(images, images.new_zeros(len(images), self.G.z))
            sums.append(torch.stack(loss).cpu().double().expand(len(places), 2))
        loss, reconstruction = self.runtime.gather({"sums": torch.cat(sums)}, len(samples))["sums"].mean(0).tolist()
        z = noise(rng.fold(self.seed, "sheet"), torch.arange(self.config.sheet), self.G.z)
        new = self.G.pixels(self.G(self.runtime.to_device(z))).cpu()
        return {"loss": loss, "reconstruction": reconstruction, "samples_sheet": sheet(new)}


def build(config: Config, net: nn.Module, data: Any, loop: Loop, runtime: Runtime, seed: int) -> Vae:
    return Vae(config, net, data, loop, runtime, seed)
