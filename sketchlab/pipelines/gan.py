"""Generation: a generator and a discriminator against each other; the loss that does not saturate (Goodfellow 2014)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine import optim
from sketchlab.engine.loop import Config as Loop
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.metrics import generation as metrics

FEATURES = ("random",)  # what KID can be measured in
_FEATURES_KEY = 0  # of the random network: one for all runs, so that their numbers can be compared
_GAP_PX = 2  # between the images of a sheet
_SHEET_PX = 64  # smaller images are magnified to about this side, so that an eye sees them


@dataclass(frozen=True)
class Config:
    gd_ratio: int  # the discriminator learns at every gd_ratio-th step, the generator at every one
    d_head_start: int  # first steps in which the discriminator alone learns
    lr_g: float | None  # peak learning rate of the generator; null = loop.lr
    lr_d: float | None  # of the discriminator; null = loop.lr
    real_label: float  # what the discriminator is to say of real images; below 1 it stays unsure (Salimans et al. 2016)
    epoch_images: int  # an epoch repeats the training split until it has shown at least this many images
    eval_images: int  # generated images an evaluation looks at, and the most real ones
    features: str  # what kid is measured in: random = a fixed untrained network; compare no two features
    kid_subsets: int  # draws that KID is the mean of
    kid_subset_size: int  # images of each side in a draw; no more than there are
    sheet: int  # generated images shown at every evaluation, always from the same noise

    def __post_init__(self) -> None:
        for key in ("gd_ratio", "epoch_images", "kid_subsets", "sheet"):
            if getattr(self, key) < 1:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected at least 1")
        for key in ("eval_images", "kid_subset_size"):
            if getattr(self, key) < 2:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected at least 2")
        for key in ("lr_g", "lr_d"):
            if getattr(self, key) is not None and not getattr(self, key) > 0:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected above 0, or null for loop.lr")
        if self.d_head_start < 0:
            raise UserError(f"pipeline.d_head_start={self.d_head_start}: expected a number of steps, 0 = none")
        if not 0.5 < self.real_label <= 1:
            raise UserError(f"pipeline.real_label={self.real_label}: expected above 0.5 and up to 1")
        if self.features not in FEATURES:
            raise UserError(f"pipeline.features={self.features}: expected one of {', '.join(FEATURES)}")


class Steps:
    """How many steps are done: it decides whose turn is next and names the sheets. Part of every checkpoint."""

    def __init__(self) -> None:
        self.done = 0

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.done = state_dict["done"]


class Gan:
    """The task: parts G, D, their optimizers and the count of steps."""

    weights = ("G", "D")

    def __init__(self, config: Config, nets: nn.ModuleDict, data: Any, loop: Loop, runtime: Runtime, seed: int) -> None:
        if loop.accumulate > 1:
            raise UserError(
                f"loop.accumulate={loop.accumulate}: pipeline=gan runs a batch whole; set loop.batch_size smaller"
            )
        self.config, self.data, self.loop, self.runtime, self.seed = config, data, loop, runtime, seed
        self.G, self.D = (runtime.place(nets[name]) for name in ("G", "D"))
        self.z, pack = int(self.G.z), int(self.D.pack)  # type: ignore[arg-type]
        if loop.batch_size % (runtime.ranks * pack):
            raise UserError(
                f"loop.batch_size={loop.batch_size}: the discriminator judges packs of model.pack={pack} on each of "
                f"runtime.ranks={runtime.ranks}; choose a multiple of {runtime.ranks * pack}"
            )
        self.generate, self.judge = runtime.forward(self.G), runtime.forward(self.D)
        self.opt_G, self.opt_D = (optim.make(list(net.parameters()), loop) for net in (self.G, self.D))
        self.steps = Steps()
        self.parts = {"G": self.G, "D": self.D, "opt_G": self.opt_G, "opt_D": self.opt_D, "steps": self.steps}
        self.train = data.splits["train"]
        self.n_train = len(self.train) * max(1, math.ceil(config.epoch_images / len(self.train)))
        self.views = data.views
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        self.monitor = "-val/kid" if "val" in self.splits else ""
        self.real: dict[str, Tensor] = {}  # split → (n, C, S, S) in [0, 1], what the generated images are held against
        example = self._images(self.train.gather(torch.zeros(pack, dtype=torch.int64)), None)
        no_noise = torch.zeros(1, self.z, device=runtime.device)
        self.networks = {"G": (self.G, (no_noise,)), "D": (self.D, (example,))}

    # --- batches

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Tensor]:
        return {"raw": self.train.gather(places % len(self.train)), "keys": keys}

    def _images(self, raw: Tensor, keys: Tensor | None) -> Tensor:
        """Raw samples → (B, C, S, S) as the discriminator takes them, on the device."""
        keys = keys if keys is None else self.runtime.to_device(keys)
        return self.runtime.layout(self.data.prepare(self.runtime.to_device(raw), keys))

    # --- the step

    def turns(self) -> tuple[bool, bool]:
        """Whether the discriminator and the generator learn at this step."""
        late = self.steps.done - self.config.d_head_start
        return late < 0 or late % self.config.gd_ratio == 0, late >= 0

    def train_step(self, batch: dict[str, Tensor], epoch: float) -> dict[str, Tensor]:
        d_learns, g_learns = self.turns()
        self.G.train()
        self.D.train()
        real = self._images(batch["raw"], batch["keys"])  # (B, C, S, S)
        z = torch.randn(len(real), self.z, device=self.runtime.device)  # (B, z); the loop has keyed torch's generator

        with torch.set_grad_enabled(g_learns), self.runtime.autocast():
            fake = self.generate(z)  # (B, C, S, S)

        with torch.set_grad_enabled(d_learns), self.runtime.autocast():
            on_real, on_fake = self.judge(real).float(), self.judge(fake.detach()).float()  # (B / pack,) logits
        loss_d = against(on_real, self.config.real_label) + against(on_fake, 0.0)
        if d_learns:
            loss_d.backward()
            optim.update(self.opt_D, self.runtime, self.loop, epoch, self.config.lr_d)

        with torch.set_grad_enabled(g_learns), self.runtime.autocast():
            fooled = self.judge(fake).float()  # (B / pack,) logits of the discriminator as it is now
        loss_g = against(fooled, 1.0)
        if g_learns:
            loss_g.backward(inputs=list(self.G.parameters()))  # no gradient reaches the discriminator's parameters
            optim.update(self.opt_G, self.runtime, self.loop, epoch, self.config.lr_g)

        self.steps.done += 1
        means = {"d_real": on_real.sigmoid().mean(), "d_fake": on_fake.sigmoid().mean()}
        return {"loss_g": loss_g.detach(), "loss_d": loss_d.detach(), **{k: v.detach() for k, v in means.items()}}

    # --- scores

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """(n, C, S, S) float32 in [0, 1] on the CPU, on every rank; image i always comes from the same noise."""
        self.runtime.same_buffers(self.G)
        self.G.eval()
        places, out = self.runtime.shard(n), []
        for part in places.split(256):
            z = noise(rng.fold(self.seed, "samples"), part, self.z)
            with self.runtime.autocast():
                out.append(self._pixels(self.generate(self.runtime.to_device(z)).float()))
        empty = torch.empty(0, *self.networks["D"][1][0].shape[1:])
        return self.runtime.gather({"images": torch.cat(out) if out else empty}, n)["images"]

    def _pixels(self, images: Tensor) -> Tensor:
        """The networks' values → [0, 1]."""
        scale = self.data.prepare.input
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (scale.mean, scale.std))
        return (images * std + mean).clamp(0, 1)

    def _real(self, split: str) -> Tensor:
        """(n, C, S, S) in [0, 1]: a split, or eval_images of it, in keyed order so that pairs mix classes; kept."""
        if split not in self.real:
            samples = self.data.splits[split]
            n = min(len(samples), self.config.eval_images)
            places = torch.from_numpy(rng.generator("gan real", split).choice(len(samples), n, replace=False))
            parts = [self._pixels(self._images(samples.gather(p), None)).cpu() for p in places.split(256)]
            self.real[split] = torch.cat(parts)
        return self.real[split]

    def evaluate(self, split: str) -> dict[str, Any]:
        """kid ± kid_std (over its draws: too small where a draw takes every real image), ms_ssim_fake and ms_ssim_real
        (between pairs of each), a sheet of samples.

        What they were measured in and on stands beside them, in quality_<split>.json: KID means nothing without its
        features, MS-SSIM without its scales (the size allows two at 32 px). A score that cannot be had, because a split
        holds too few images, is left out.
        """
        real, fake = self._real(split), self.sample(max(self.config.eval_images, self.config.sheet))
        name = f"samples_{self.steps.done * self.loop.batch_size // self.n_train}" if split == "val" else "samples"
        shown, fake = sheet(fake[: self.config.sheet]), fake[: self.config.eval_images]
        kid, kid_on = self._kid(real, fake, split)
        similar, similar_on = similarity({"fake": fake, "real": real})
        return {**kid, **similar, "quality": {"kid": kid_on, "ms_ssim": similar_on}, f"{name}_sheet": shown}

    def _kid(self, real: Tensor, fake: Tensor, split: str) -> tuple[dict[str, float], dict[str, Any]]:
        """Scores, and what they were measured on; no scores of fewer than two images."""
        subset, subsets = min(self.config.kid_subset_size, len(real), len(fake)), self.config.kid_subsets
        on: dict[str, Any] = {"features": self.config.features, "subset": subset, "subsets": subsets}
        on |= {"n_real": len(real), "n_fake": len(fake)}
        if subset < 2:
            return {}, on
        features = [metrics.random_features(images, _FEATURES_KEY) for images in (real, fake)]
        kid = metrics.kid(*features, subsets=subsets, subset_size=subset, seed=rng.fold("kid", split))
        return {"kid": kid.mean, "kid_std": kid.std}, on


def similarity(sides: dict[str, Tensor]) -> tuple[dict[str, float], dict[str, Any]]:
    """Side → (n, C, S, S) in [0, 1]: mean MS-SSIM of n/2 disjoint pairs of each, and what it is over."""
    scores, on = {}, {}
    for side, images in sides.items():
        scales, pairs = metrics.ms_ssim_scales(*images.shape[2:]), len(images) // 2
        on |= {"scales": scales, f"pairs_{side}": pairs}
        if pairs and scales:
            values = metrics.ms_ssim(images[:pairs], images[pairs : 2 * pairs], data_range=1.0, scales=scales)
            scores[f"ms_ssim_{side}"] = values.mean().item()
    return scores, on


def against(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross-entropy (nats) of (B,) logits against one target for all."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def noise(key: int, places: Tensor, z: int) -> Tensor:
    """(n,) places → (n, z) float32 standard normal: a function of key and place alone."""
    uniform = rng.uniform(rng.fold_each(key, places), z) + 2.0**-25  # inside (0, 1)
    return torch.special.ndtri(uniform)


def sheet(images: Tensor) -> Tensor:
    """(n, C, S, S) in [0, 1] → (H, W) or (H, W, 3) uint8: rows of about √n images with grey between them."""
    pixels = (images * 255).round().to(torch.uint8)
    factor = max(1, _SHEET_PX // images.shape[-1])
    pixels = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    columns = math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    side, channels = pixels.shape[-1] + _GAP_PX, pixels.shape[1]
    out = torch.full((channels, rows * side + _GAP_PX, columns * side + _GAP_PX), 128, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = _GAP_PX + i // columns * side, _GAP_PX + i % columns * side
        out[:, top : top + side - _GAP_PX, left : left + side - _GAP_PX] = image
    return out[0] if channels == 1 else out.permute(1, 2, 0)


def build(config: Config, nets: nn.ModuleDict, data: Any, loop: Loop, runtime: Runtime, seed: int) -> Gan:
    """nets: {"G": (B, z) → (B, C, S, S), "D": (B, C, S, S) → (B / pack,) logits}, with z and pack as attributes."""
    return Gan(config, nets, data, loop, runtime, seed)
