"""Translation between photos and sketches that need not belong together: CycleGAN (Zhu, Park, Isola, Efros 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine import optim
from sketchlab.engine.protocols import Dataset, Pairs
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config as Loop
from sketchlab.errors import UserError
from sketchlab.pipelines.gan import feature_nets
from sketchlab.pipelines.gan import reference_scores as gan_calibration
from sketchlab.pipelines.gan import scores as gan_scores
from sketchlab.pipelines.gan.data import Reals
from sketchlab.pipelines.gan.sheets import sheet
from sketchlab.pipelines.gan.state import Steps
from sketchlab.pipelines.translate.declared import ANSWERS as ANSWERS
from sketchlab.pipelines.translate.declared import SCORES as SCORES
from sketchlab.pipelines.translate.declared import TAKES as TAKES
from sketchlab.pipelines.translate.declared import TITLE as TITLE
from sketchlab.pipelines.translate.image_pool import Pool
from sketchlab.schema import Machine, Shown

DOMAINS = ("sketch", "photo")
OTHER = {"sketch": "photo", "photo": "sketch"}


@dataclass(frozen=True)
class Config:
    gan_loss: str  # lsgan (least squares, the authors') or bce (cross-entropy, mamin)
    cycle: str  # l1: the way back ends where it began; adversarial: it ends at what passes for real (mamin)
    weight_cycle: float  # of that loss; the authors' λ = 10
    weight_identity: float  # of leaving alone what is of the wanted kind already, as a share of weight_cycle; 0 = none
    weight_d: float  # of the discriminators' losses; the authors': 0.5, which slows them down
    pool: int  # generated images kept to be shown to a discriminator again; 0 = none
    epoch_images: int  # an epoch repeats the larger kind until it has shown at least this many images
    eval_images: int  # images of each kind that an evaluation translates, at most
    eval_batch: Machine[int]  # images per forward pass where nothing is learnt
    features: str  # what kid, fid and coverage are measured in: auto, inception, alexnet or random (feature_nets.py)
    kid_subsets: int  # draws that KID is the mean of
    kid_subset_size: int  # images of each side in a draw; no more than there are
    sheet: Shown[int]  # rows shown at every evaluation, always of the same images

    def __post_init__(self) -> None:
        for key, allowed in (("gan_loss", ("lsgan", "bce")), ("cycle", ("l1", "adversarial"))):
            if getattr(self, key) not in allowed:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected {' or '.join(allowed)}")
        for key in ("weight_cycle", "weight_identity", "pool"):
            if getattr(self, key) < 0:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected 0 or more")
        for key in ("weight_d", "epoch_images", "eval_batch", "sheet"):
            if not getattr(self, key) > 0:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected above 0")
        gan_scores.check(self)
        feature_nets.decided(self.features)


class Translate:
    """The task: two generators, two discriminators, an optimizer for each kind, and the pools of generated images."""

    weights = ("to_sketch", "to_photo", "D_sketch", "D_photo")
    fixed_shapes = True

    def __init__(
        self, config: Config, nets: nn.ModuleDict, data: Dataset[Pairs], loop: Loop, runtime: Runtime, seed: int
    ) -> None:
        if loop.accumulate > 1:
            raise UserError(f"loop.accumulate={loop.accumulate}: pipeline=translate runs a batch whole; expected 1")
        runtime.check_one_call("translate")
        self.config, self.data, self.loop, self.runtime, self.seed = config, data, loop, runtime, seed
        self.nets = {name: runtime.place(net) for name, net in nets.items()}
        self.forwards = {name: runtime.forward(net) for name, net in self.nets.items()}
        halves = {d: {name: getattr(s, d) for name, s in data.splits.items()} for d in DOMAINS}
        given = data.prepare, runtime, config.eval_images, "input"
        self.reals = {d: Reals(halves[d], *given) for d in DOMAINS}
        self.train, self.views = data.splits["train"], data.views
        self.n = {d: len(halves[d]["train"]) for d in DOMAINS}
        larger = max(self.n.values())
        self.n_train = larger * max(1, math.ceil(config.epoch_images / larger))
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        params = {kind: [p for d in DOMAINS for p in self.nets[kind + d].parameters()] for kind in ("to_", "D_")}
        self.opt_G, self.opt_D = (optim.make(params[kind], loop, runtime) for kind in ("to_", "D_"))
        self.generator_parameters = params["to_"]
        self.measured_loop = loop if loop.clip_norm > 0 else replace(loop, clip_norm=math.inf)  # norms are always taken
        self.pools = {d: Pool(config.pool, runtime) for d in DOMAINS}
        self.features = feature_nets.make(config.features, runtime.device)
        self.steps = Steps(self.features.fingerprint, runtime.device)
        self.monitor = f"val/kid@{self.features.name}" if "val" in self.splits else ""
        self.parts: dict[str, Any] = {**self.nets, "opt_G": self.opt_G, "opt_D": self.opt_D, "steps": self.steps}
        self.parts |= {f"pool_{d}": self.pools[d] for d in DOMAINS} if config.pool else {}
        example = self.reals["photo"].images(self.train.photo.gather(torch.zeros(1, dtype=torch.int64)), None)
        self.networks = {name: (net, (example,)) for name, net in self.nets.items()}
        self.real_features: dict[tuple[str, str], Tensor] = {}
        self.calibrations = {d: gan_calibration.Calibration(self.reals[d], self.features, config, d) for d in DOMAINS}
        self.known: dict[str, gan_calibration.Known] = {}  # of each split, once it is asked for

    # --- batches

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Any]:
        """The kind with more images in its order, the other drawn by key: nothing says which belong together."""
        first = max(DOMAINS, key=lambda d: self.n[d])
        chance = rng.uniform(rng.fold_each(rng.fold("unpaired"), keys), 1)[:, 0].double()
        at = {first: places % self.n[first], OTHER[first]: (chance * self.n[OTHER[first]]).long()}
        return {"keys": keys, **{d: getattr(self.train, d).gather(at[d]) for d in DOMAINS}}

    def prepare(self, raw: dict[str, Any]) -> dict[str, Tensor]:
        keys = {"sketch": raw["keys"], "photo": rng.fold_each(rng.fold("photo"), raw["keys"])}
        return {d: self.reals[d].images(raw[d], keys[d]) for d in DOMAINS}  # (B, C, S, S)

    # --- the step

    def begin_step(self, epoch: float) -> None:
        for net in self.nets.values():
            net.train()
        for optimizer in (self.opt_G, self.opt_D):
            optim.set_rate(optimizer, self.loop, epoch)
        for pool in self.pools.values():
            pool.choose(self.loop.batch_size // self.runtime.ranks)

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real = {d: batch[d] for d in DOMAINS}
        with self.runtime.autocast():
            fake = {d: self.forwards[f"to_{d}"](real[OTHER[d]]) for d in DOMAINS}
            back = {d: self.forwards[f"to_{d}"](fake[OTHER[d]]) for d in DOMAINS}
        losses = self._generators_losses(real, fake, back)
        loss_g = torch.stack(list(losses.values())).sum()
        # no gradient reaches the discriminators' parameters
        optim.backward(loss_g, self.opt_G, self.runtime, inputs=self.generator_parameters)
        grad_g = optim.update(self.opt_G, self.runtime, self.measured_loop)

        logs: dict[str, Tensor] = {}
        loss_d = torch.zeros((), device=self.runtime.device)
        for d in DOMAINS:
            pooled = self.pools[d].query(fake[d].detach().float())
            with self.runtime.autocast():
                on_real, on_fake = (self.forwards[f"D_{d}"](x).float() for x in (real[d], pooled))
            loss_d = loss_d + self.config.weight_d * (self._against(on_real, 1.0) + self._against(on_fake, 0.0))
            for name, value in (("real", on_real), ("fake", on_fake)):
                value = value.detach() if self.config.gan_loss == "lsgan" else value.detach().sigmoid()
                logs[f"d_{name}"] = logs.get(f"d_{name}", 0.0) + value.mean() / 2
        optim.backward(loss_d, self.opt_D, self.runtime)
        grad_d = optim.update(self.opt_D, self.runtime, self.measured_loop)
        assert grad_g is not None and grad_d is not None
        logs |= {"loss_g": loss_g, "loss_d": loss_d, "grad_g": grad_g, "grad_d": grad_d}
        return {**logs, **losses}

    def end_step(self) -> None:
        self.steps.done += 1

    def learning(self) -> list[nn.Parameter]:
        return [p for net in self.nets.values() for p in net.parameters()]

    def _generators_losses(
        self, real: dict[str, Tensor], fake: dict[str, Tensor], back: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Each with its weight: their sum is what the generators learn from."""
        config, zero = self.config, torch.zeros((), device=self.runtime.device)
        out = {"part_fool": zero, "part_cycle": zero, "part_identity": zero}
        for d in DOMAINS:
            with self.runtime.autocast():
                logits = self.forwards[f"D_{d}"](fake[d])
                again = self.forwards[f"D_{d}"](back[d]) if config.cycle == "adversarial" else None
            out["part_fool"] = out["part_fool"] + self._against(logits.float(), 1.0)
            missed = F.l1_loss(back[d].float(), real[d]) if again is None else self._against(again.float(), 1.0)
            out["part_cycle"] = out["part_cycle"] + config.weight_cycle * missed
            if config.weight_identity:
                with self.runtime.autocast():
                    same = self.forwards[f"to_{d}"](real[d])
                moved = F.l1_loss(same.float(), real[d])
                out["part_identity"] = out["part_identity"] + config.weight_cycle * config.weight_identity * moved
        return out

    def _against(self, answers: Tensor, target: float) -> Tensor:
        wanted = torch.full_like(answers, target)
        if self.config.gan_loss == "lsgan":
            return F.mse_loss(answers, wanted)
        return F.binary_cross_entropy_with_logits(answers, wanted)

    # --- scores

    @torch.no_grad()
    def translated(self, images: Tensor, to: str) -> Tensor:
        """(n, C, S, S) in [0, 1] on the CPU → the same as sketches or photos, on every rank."""
        net = self.nets[f"to_{to}"]
        self.runtime.same_buffers(net)
        net.eval()
        reals, out = self.reals[to], []
        batches = self.runtime.shard(len(images)).split(self.config.eval_batch)
        for at in self.runtime.bar(batches, f"translating to {to}"):
            given = (self.runtime.to_device(images[at]) - reals.mean) / reals.std
            with self.runtime.autocast():
                made = net(self.runtime.layout(given.expand(-1, len(reals.mean), -1, -1))).float()
            out.append((made * reals.std + reals.mean).clamp(0, 1).cpu())
        whole = torch.cat(out) if out else torch.empty(0, len(reals.mean), *images.shape[2:])
        return self.runtime.gather({"images": whole}, len(images))["images"]

    def evaluate(self, split: str) -> dict[str, Any]:
        """cycle_photo and cycle_sketch: mean absolute error of the cycle, of [0, 1]; kid_sketch@features (generated
        sketches against real ones), kid_photo@features, fid, precision and recall alike; kid@features, the mean of the
        two; a sheet, each row a photo, as a sketch, back, and a sketch, as a photo, back. What real images, noise and
        grey score stands in calibration_<split>.json."""
        real = {d: self.reals[d].of(split) for d in DOMAINS}
        fake = {d: self.translated(real[OTHER[d]], d) for d in DOMAINS}
        back = {d: self.translated(fake[OTHER[d]], d) for d in DOMAINS}
        out: dict[str, Any] = {f"cycle_{d}": (back[d] - real[d]).abs().mean().item() for d in DOMAINS}
        quality: dict[str, Any] = {}
        for d in DOMAINS:
            scores, measured = self._measured(split, d, fake[d])
            out, quality = {**out, **scores}, {**quality, **measured}
        kids = [out[key] for d in DOMAINS if (key := f"kid_{d}@{self.features.name}") in out]
        if len(kids) == len(DOMAINS):
            out[f"kid@{self.features.name}"] = sum(kids) / len(kids)
        known = self._known(split, real)
        out |= {"calibration": known, "warnings": gan_calibration.warnings(out, known)}
        epoch = self.steps.done * self.loop.batch_size // self.n_train
        name = f"translated_{epoch}" if split == "val" else "translated"
        return {**out, "quality": quality, f"{name}_sheet": self._sheet(real, fake, back)}

    def _known(self, split: str, real: dict[str, Tensor]) -> gan_calibration.Known:
        if split in self.known:
            return self.known[split]
        out: gan_calibration.Known = {}
        for d, calibration in self.calibrations.items():
            out |= calibration.against_real(split, self.real_features[split, d])
            noise, grey = ((real[d] - bad).abs().mean().item() for bad in (calibration.noise[:1], calibration.grey))
            out[f"cycle_{d}"] = gan_calibration.entry("lower", 0.0, 0.0, noise, grey)
        name = f"@{self.features.name}"
        kids = [out[key] for d in DOMAINS if (key := f"kid_{d}{name}") in out]
        if len(kids) == len(DOMAINS):
            out[f"kid{name}"] = gan_calibration.mean(kids)
        self.known[split] = out
        return out

    def _sheet(self, real: dict[str, Tensor], fake: dict[str, Tensor], back: dict[str, Tensor]) -> Tensor:
        rows = range(min(self.config.sheet, *(len(images) for images in real.values())))
        cells = [of[i] for i in rows for d in ("photo", "sketch") for of in (real[d], fake[OTHER[d]], back[d])]
        channels = len(self.reals["photo"].mean)
        return sheet(torch.stack([image.expand(channels, -1, -1) for image in cells]), 6)

    def _measured(self, split: str, d: str, fake: Tensor) -> tuple[gan_scores.Scores, gan_scores.Measured]:
        if (split, d) not in self.real_features:
            self.real_features[split, d] = self.features.of(self.reals[d].of(split))
        real = self.real_features[split, d]
        return gan_scores.against_real(real, self.features.of(fake), self.config, self.features, split, d)


def decided(config: Config) -> dict[str, Any]:
    """What the id of a run holds in place of keys that the machine settles."""
    return {"features": feature_nets.fingerprint(config.features)}


def build(
    config: Config, nets: nn.ModuleDict, data: Dataset[Pairs], loop: Loop, runtime: Runtime, seed: int
) -> Translate:
    """nets: {to_sketch, to_photo: (B, C, S, S) → the same; D_sketch, D_photo: (B, C, S, S) → answers of any shape}."""
    return Translate(config, nets, data, loop, runtime, seed)
