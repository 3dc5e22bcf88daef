"""Generation: a generator and a discriminator against each other; the loss that does not saturate (Goodfellow 2014)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab.engine import optim
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config as Loop
from sketchlab.engine.task import Explained
from sketchlab.errors import UserError
from sketchlab.pipelines.gan import feature_nets
from sketchlab.pipelines.gan import reference_scores as gan_calibration
from sketchlab.pipelines.gan import scores as gan_scores
from sketchlab.pipelines.gan.data import Packs, Reals
from sketchlab.pipelines.gan.declared import ANSWERS as ANSWERS
from sketchlab.pipelines.gan.declared import SCORES as SCORES
from sketchlab.pipelines.gan.declared import TAKES as TAKES
from sketchlab.pipelines.gan.declared import TITLE as TITLE
from sketchlab.pipelines.gan.samples import Sampler
from sketchlab.pipelines.gan.sheets import sheet
from sketchlab.pipelines.gan.state import Gate, Steps, follow
from sketchlab.schema import Shown


@dataclass(frozen=True)
class Config:
    gd_ratio: int  # the discriminator learns at every gd_ratio-th step (or epoch), the generator at every one
    gd_per: str  # batch, or epoch: the discriminator rests for whole epochs (mamin found that worse)
    d_head_start: int  # first steps in which the discriminator alone learns
    lr_g: float | None  # peak learning rate of the generator; null = loop.lr
    lr_d: float | None  # of the discriminator; null = loop.lr
    real_label: float  # what the discriminator is to say of real images; below 1 it stays unsure (Salimans et al. 2016)
    normalise: str  # what −1 and 1 are: unit = black and white; data = mean ± std of the training pixels (grey ground)
    ema: float  # share of old weights in a moving average of the generator, which samples come from; 0 = none
    gate_window: int  # steps after which it is asked whether the losses stand still; 0 = never (mamin's gate)
    gate_flat: float  # still: the standard deviation of each loss within the window, as a share of its mean, is below
    gate_factor: float  # then both learning rates are multiplied by this
    gate_most: float  # and never pass this many times their configured value
    epoch_images: int  # an epoch repeats the training split until it has shown at least this many images
    eval_images: int  # generated images an evaluation looks at, and the most real ones
    features: str  # what kid, fid and coverage are measured in: auto, inception, alexnet or random (feature_nets.py)
    kid_subsets: int  # draws that KID is the mean of
    kid_subset_size: int  # images of each side in a draw; no more than there are
    scoring_classifier: (
        str | None
    )  # folder of a finished classifier run: inception score, and whether images are what was asked for
    sheet: Shown[int]  # generated images shown at every evaluation, always from the same noise

    def __post_init__(self) -> None:
        for key in ("gd_ratio", "epoch_images", "sheet"):
            if getattr(self, key) < 1:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected at least 1")
        for key in ("lr_g", "lr_d"):
            if getattr(self, key) is not None and not getattr(self, key) > 0:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected above 0, or null for loop.lr")
        for key, allowed in (("gd_per", ("batch", "epoch")), ("normalise", ("unit", "data"))):
            if getattr(self, key) not in allowed:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected {' or '.join(allowed)}")
        if self.d_head_start < 0:
            raise UserError(f"pipeline.d_head_start={self.d_head_start}: expected a number of steps, 0 = none")
        if not 0.5 < self.real_label <= 1:
            raise UserError(f"pipeline.real_label={self.real_label}: expected above 0.5 and up to 1")
        if not 0 <= self.ema < 1:
            raise UserError(f"pipeline.ema={self.ema}: expected a share below 1, as 0.999; 0 = none")
        if self.gate_window < 0 or self.gate_window == 1 or not (self.gate_flat > 0 and self.gate_factor > 1):
            raise UserError(
                f"pipeline.gate_window={self.gate_window}, gate_flat={self.gate_flat}, gate_factor={self.gate_factor}: "
                "expected 0 (no gate) or at least 2 steps, a share above 0, a factor above 1"
            )
        gan_scores.check(self)
        feature_nets.decided(self.features)


class Gan:
    """The task: parts G, D, their optimizers, what is counted between steps, and G's moving average when there is one.

    scoring_classifier: (n, C, S, S) in [0, 1] → (n, classes) probabilities, where pipeline.scoring_classifier
    names a run.
    """

    scoring_classifier: Callable[[Tensor], Tensor] | None = None
    fixed_shapes = True

    def __init__(self, config: Config, nets: nn.ModuleDict, data: Any, loop: Loop, runtime: Runtime, seed: int) -> None:
        if loop.accumulate > 1:
            raise UserError(
                f"loop.accumulate={loop.accumulate}: pipeline=gan runs a batch whole; set loop.batch_size smaller"
            )
        runtime.check_one_call("gan")
        self.config, self.data, self.loop, self.runtime, self.seed = config, data, loop, runtime, seed
        self.G, self.D = (runtime.place(nets[name]) for name in ("G", "D"))
        self.z, self.n_classes, self.pack = int(self.G.z), int(self.G.n_classes), int(self.D.pack)  # type: ignore[arg-type]
        if loop.batch_size % (runtime.ranks * self.pack):
            raise UserError(
                f"loop.batch_size={loop.batch_size}: the discriminator takes packs of model.pack={self.pack} on each "
                f"of runtime.ranks={runtime.ranks}; choose a multiple of {runtime.ranks * self.pack}"
            )
        self.train = data.splits["train"]
        self.n_train = len(self.train) * max(1, math.ceil(config.epoch_images / len(self.train)))
        self.views, self.packs = data.views, Packs(self.train.labels, self.pack)
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        self.reals = Reals(data, runtime, config.eval_images, "data" if config.normalise == "data" else "input")
        for net in (self.G, self.D):
            for name, value in (("mean", self.reals.mean), ("std", self.reals.std)):
                getattr(net, name).copy_(value)
        self.G_ema = copy.deepcopy(self.G).requires_grad_(False) if config.ema else None
        generator = self.G if self.G_ema is None else self.G_ema
        self.sampler = Sampler(generator, self.train.labels, runtime, seed)
        self.generate, self.discriminate = runtime.forward(self.G), runtime.forward(self.D)
        self.opt_G, self.opt_D = (optim.make(list(net.parameters()), loop, runtime) for net in (self.G, self.D))
        self.measured_loop = loop if loop.clip_norm > 0 else replace(loop, clip_norm=math.inf)  # norms are always taken
        self.features = feature_nets.make(config.features, runtime.device)
        self.steps = Steps(self.features.fingerprint, runtime.device)
        self.gate = Gate(config.gate_window, config.gate_flat, config.gate_factor, config.gate_most, runtime)
        self.parts = {"G": self.G, "D": self.D, "opt_G": self.opt_G, "opt_D": self.opt_D, "steps": self.steps}
        self.parts |= {"gate": self.gate} if config.gate_window else {}
        self.turn, self.lr_factor = (True, True), torch.ones((), device=runtime.device)
        self.parts |= {"G_ema": self.G_ema} if self.G_ema is not None else {}
        self.weights = ("G", "D", "G_ema") if self.G_ema is not None else ("G", "D")
        self.monitor = f"val/kid@{self.features.name}" if "val" in self.splits else ""
        self.real_features: dict[str, Tensor] = {}
        self.calibration = gan_calibration.Calibration(self.reals, self.features, config)
        self.known: dict[str, gan_calibration.Known] = {}  # of each split, once it is asked for
        classes = torch.zeros(self.pack, dtype=torch.int64, device=runtime.device)
        example = self.reals.images(self.train.gather(torch.zeros(self.pack, dtype=torch.int64)), None)
        no_noise = torch.zeros(1, self.z, device=runtime.device)
        class_args = ((classes[:1],), (classes,)) if self.n_classes else ((), ())
        self.networks = {"G": (self.G, (no_noise, *class_args[0])), "D": (self.D, (example, *class_args[1]))}

    # --- batches

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Any]:
        places = places % len(self.train)
        if self.n_classes:
            places = self.packs(places, keys)
        return {"raw": self.train.gather(places), "keys": keys, "labels": self.train.labels[places]}

    def prepare(self, raw: dict[str, Any]) -> dict[str, Tensor]:
        images = {"real": self.reals.images(raw["raw"], raw["keys"])}  # (B, C, S, S)
        return images | ({"classes": self.runtime.to_device(raw["labels"])} if self.n_classes else {})

    # --- the step

    def turns(self) -> tuple[bool, bool]:
        """Whether the discriminator and the generator learn at this step."""
        late = self.steps.done - self.config.d_head_start
        unit = late if self.config.gd_per == "batch" else self.steps.done * self.loop.batch_size // self.n_train
        return late < 0 or unit % self.config.gd_ratio == 0, late >= 0

    def begin_step(self, epoch: float) -> tuple[bool, bool]:
        if not self.steps.done and "val" in self.splits:
            self._before_training()
        self.turn = self.turns()
        self.G.train()
        self.D.train()
        for optimizer, lr in ((self.opt_D, self.config.lr_d), (self.opt_G, self.config.lr_g)):
            optim.set_rate(optimizer, self.loop, epoch, (self.loop.lr if lr is None else lr) * self.gate.rate)
        self.lr_factor.fill_(self.gate.rate)
        return self.turn

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        d_learns, g_learns = self.turn
        real, class_args = batch["real"], (batch["classes"],) if self.n_classes else ()
        z = torch.randn(len(real), self.z, device=self.runtime.device)  # (B, z); the loop has keyed torch's generator

        with torch.set_grad_enabled(g_learns), self.runtime.autocast():
            fake = self.generate(z, *class_args)  # (B, C, S, S)

        with torch.set_grad_enabled(d_learns), self.runtime.autocast():
            on_real = self.discriminate(real, *class_args).float()  # (B / pack,) logits
            on_fake = self.discriminate(fake.detach(), *class_args).float()
        loss_d = against(on_real, self.config.real_label) + against(on_fake, 0.0)
        if d_learns:
            optim.backward(loss_d, self.opt_D, self.runtime)
            self._update("d", self.opt_D)

        with torch.set_grad_enabled(g_learns), self.runtime.autocast():
            fooled = self.discriminate(fake, *class_args).float()  # (B / pack,) logits of the updated D
        loss_g = against(fooled, 1.0)
        if g_learns:  # no gradient reaches the discriminator's parameters
            optim.backward(loss_g, self.opt_G, self.runtime, inputs=list(self.G.parameters()))
            self._update("g", self.opt_G)
            if self.G_ema is not None:
                follow(self.G_ema, self.G, self.config.ema)

        self.gate.add(loss_g, loss_d)
        logs = {"d_real": on_real.sigmoid().mean(), "d_fake": on_fake.sigmoid().mean()}
        logs |= {"loss_g": loss_g, "loss_d": loss_d} | self.steps.norms
        return logs | ({"lr_factor": self.lr_factor} if self.config.gate_window else {})

    def _update(self, which: str, optimizer: torch.optim.Optimizer) -> None:
        norm = optim.update(optimizer, self.runtime, self.measured_loop)
        assert norm is not None
        self.steps.norms[f"grad_{which}"].copy_(norm)

    def end_step(self) -> None:
        self.steps.done += 1
        self.gate.look(self.steps.done)

    def learning(self) -> list[nn.Parameter]:
        return [*self.D.parameters(), *self.G.parameters()]

    def _before_training(self) -> None:
        """What KID is before the first step, for the report: kept with the count of steps."""
        scores, _ = self._against("val")
        self.steps.kid_at_start = scores.get(f"kid@{self.features.name}")

    # --- scores

    def _against(self, split: str, fake: Tensor | None = None) -> tuple[gan_scores.Scores, gan_scores.Measured]:
        if split not in self.real_features:
            self.real_features[split] = self.features.of(self.reals.of(split))
        fake = self.sampler.sample(self.config.eval_images)[0] if fake is None else fake
        return gan_scores.against_real(
            self.real_features[split], self.features.of(fake), self.config, self.features, split
        )

    def evaluate(self, split: str) -> dict[str, Any]:
        """kid ± kid_std (over its draws: too small where a draw takes every real image), fid, precision and recall,
        each @features; ms_ssim_fake and ms_ssim_real (between pairs of each); with a classifier inception_score,
        and class_accuracy where G is given classes; a sheet of samples.

        What they were measured in and on stands beside them, in quality_<split>.json, and what real images, noise and
        grey score in calibration_<split>.json. A score that cannot be had is left out, with its reason there.
        """
        fake, classes = self.sampler.sample(max(self.config.eval_images, self.config.sheet))
        pictures = self._pictures(fake)
        fake, classes = fake[: self.config.eval_images], classes[: self.config.eval_images]
        scores, quality = self._against(split, fake)
        if self.steps.kid_at_start is not None:
            quality["kid"]["before_training"] = self.steps.kid_at_start
        similar, quality["ms_ssim"] = gan_scores.similarity({"fake": fake, "real": self.reals.of(split)})
        out: dict[str, Any] = {**scores, **similar}
        condition = classes if self.n_classes else None
        if self.scoring_classifier is not None:
            logits = self.scoring_classifier(fake), self.scoring_classifier(self.reals.of(split))
            classified, on = gan_scores.classified(logits, condition, self.reals.labels(split), len(self.data.classes))
            out, quality = {**out, **classified}, {**quality, **on}
        known = self._known(split, condition, out)
        out |= {"calibration": known, "warnings": gan_calibration.warnings(out, known)}
        if self.config.gate_window:
            out["gate"] = {"fired": [{"step": step, "lr_factor": rate} for step, rate in self.gate.fired]}
        name = f"samples_{self.steps.done * self.loop.batch_size // self.n_train}" if split == "val" else "samples"
        return {**out, "quality": quality, f"{name}_sheet": pictures}

    def _pictures(self, fake: Tensor) -> Tensor:
        return self.sampler.by_class() if self.n_classes else sheet(fake[: self.config.sheet])

    def untrained(self) -> dict[str, Tensor]:
        """The sheet of samples before the first step, from the noise of all later sheets."""
        return {"samples_0_sheet": self._pictures(self.sampler.sample(self.config.sheet)[0])}

    def _known(self, split: str, condition: Tensor | None, scores: dict[str, Any]) -> gan_calibration.Known:
        if split not in self.known:
            calibration = self.calibration
            found = calibration.against_real(split, self.real_features[split]) | calibration.similarity(split)
            if self.scoring_classifier is not None:
                found |= calibration.classified(
                    self.scoring_classifier, condition, scores, len(self.real_features[split])
                )
            self.known[split] = found
        return self.known[split]

    def explain(self, split: str) -> Explained:
        """Ways between noises, and generated images each with the nearest training image beside it."""

        def beside() -> dict[str, Any]:
            found, facts = self.sampler.beside_nearest(self.reals)
            return {"nearest_sheet": found, "nearest": facts}

        return {
            "ways between noises": lambda: {"interpolation_sheet": self.sampler.ways()},
            "nearest training images": beside,
        }


def against(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross-entropy (nats) of (B,) logits against one target for all."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def decided(config: Config) -> dict[str, Any]:
    """What the id of a run holds in place of keys that the machine settles."""
    scoring_classifier = (
        Path(config.scoring_classifier).resolve().name if config.scoring_classifier else None
    )  # a run's id stands for what it learnt
    return {"features": feature_nets.fingerprint(config.features), "scoring_classifier": scoring_classifier}


def build(config: Config, nets: nn.ModuleDict, data: Any, loop: Loop, runtime: Runtime, seed: int) -> Gan:
    """nets: {"G": (B, z) → (B, C, S, S), "D": (B, C, S, S) → (B / pack,) logits}, with z, n_classes and pack as
    attributes; both take (B,) classes too where G.n_classes > 0, and know their images' scale as mean and std."""
    return Gan(config, nets, data, loop, runtime, seed)
