"""Drawing point by point: SketchRNN's losses, and how good its drawings are (Ha and Eck 2017, arXiv 1704.03477).

Constants of conf/pipeline/draw.yaml and conf/model/sketch_rnn.yaml are the paper's (its appendix, and the authors' code
for the learning rate). Deviations: gradients are clipped by their norm, not value by value; a batch holds drawings of
about one length (engine/loader.py); augmentation is that of data.stroke_augment; those of the losses and of the network
stand in likelihood.py and models/sketch_rnn.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sketchlab import inputs, rng
from sketchlab.engine import optim
from sketchlab.engine.protocols import Dataset, Split, StrokePrepare
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config as Loop
from sketchlab.engine.task import Explained, trainable
from sketchlab.errors import UserError
from sketchlab.pipelines.draw import likelihood
from sketchlab.pipelines.draw.declared import ANSWERS as ANSWERS
from sketchlab.pipelines.draw.declared import SCORES as SCORES
from sketchlab.pipelines.draw.declared import TAKES as TAKES
from sketchlab.pipelines.draw.declared import TITLE as TITLE
from sketchlab.pipelines.draw.rendered import Drawn
from sketchlab.pipelines.gan import feature_nets
from sketchlab.pipelines.gan import scores as gan_scores
from sketchlab.pipelines.gan.sheets import noise
from sketchlab.schema import Machine, Shown

TOO_LONG = ("simplify", "refuse")
_MEASURED = 16_384  # training drawings that the scale of moves is taken from, at most
_PART = 2048  # drawings read at once where lengths are looked up


@dataclass(frozen=True)
class Config:
    max_points: int  # of a drawing, at most
    too_long: str  # drawings with more: simplify (until they fit; the log says how many), or refuse (the run ends)
    kl_weight: float  # w_KL of the divergence; only with an encoder, as the next three
    kl_start: float  # η_min: the share of the weight at the first step
    kl_rate: float  # R: what is missing of the weight shrinks by this in every step
    kl_min: float  # KL_min: a smaller divergence gives no gradient
    lr_decay: float  # factor of the learning rate in every step; 1 = none, loop.schedule alone decides
    lr_min: float  # the rate falls no further by lr_decay
    unknown_class: float  # share of training drawings whose class is left out, so that it can be left open later
    temperature: float  # of the drawings that are scored and shown
    image_px: int  # side of the pictures of drawings that are scored
    eval_images: int  # drawings made for an evaluation, and the most real ones beside them
    eval_batch: Machine[int]  # drawings a forward pass where nothing is learnt
    features: (
        str  # what kid, fid and coverage are measured in: auto, inception, alexnet or random (gan/feature_nets.py)
    )
    kid_subsets: int  # draws that KID is the mean of
    kid_subset_size: int  # images of each side in a draw; no more than there are
    scoring_classifier: str | None  # folder of a finished classifier run: whether drawings are what was asked for
    sheet: Shown[int]  # drawings shown at every evaluation, always from the same keys

    def __post_init__(self) -> None:
        for key, least in (("max_points", 4), ("image_px", 16), ("sheet", 1), ("eval_batch", 1)):
            if getattr(self, key) < least:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected at least {least}")
        if self.too_long not in TOO_LONG:
            raise UserError(f"pipeline.too_long={self.too_long}: expected {' or '.join(TOO_LONG)}")
        for key in ("kl_start", "kl_rate", "lr_decay", "unknown_class"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected 0 to 1")
        if self.kl_weight < 0 or self.kl_min < 0 or self.lr_min < 0:
            raise UserError(
                f"pipeline.kl_weight={self.kl_weight}, kl_min={self.kl_min}, lr_min={self.lr_min}: expected 0 or more"
            )
        if not self.temperature > 0:
            raise UserError(f"pipeline.temperature={self.temperature}: expected above 0, as 0.5")
        gan_scores.check(self)
        feature_nets.decided(self.features)


class Draw:
    """The task: parts net and optimizer. A sample is a drawing's points.

    scoring_classifier: (n, 1, S, S) in [0, 1] → (n, classes) probabilities, where pipeline.scoring_classifier names a
    run. sizes: (n_train,) points of each training drawing, by which batches are put together.
    """

    scoring_classifier: Callable[[Tensor], Tensor] | None = None
    fixed_shapes = False  # a batch is as long as its longest drawing
    weights: tuple[str, ...] = ("net",)

    def __init__(self, config: Config, net: Any, data: Dataset[Split], loop: Loop, runtime: Runtime, seed: int) -> None:
        if loop.accumulate > 1:
            raise UserError(f"loop.accumulate={loop.accumulate}: pipeline=draw runs a batch whole; expected 1")
        if not isinstance(data.prepare, StrokePrepare):
            raise UserError("pipeline=draw takes drawings that are stored as strokes, as data=shapes or data=strokes")
        self.config, self.data, self.loop, self.runtime, self.seed = config, data, loop, runtime, seed
        self.look: StrokePrepare = data.prepare
        self.train = data.splits["train"]
        self.n_train, self.views = len(self.train), data.views
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        self.monitor = "val/nats_per_point" if "val" in self.splits else ""
        self.notes: dict[str, str] = {}
        self.sizes = self._lengths("train")
        self.n_max = int(self.sizes.max())
        for split in self.splits:
            self._lengths(split)
        self.net: Any = runtime.place(net)
        self.net.scale.fill_(self._scale())
        self.forward = runtime.forward(self.net)
        self.learnt = trainable(self.net)
        self.optimizer = optim.make(self.learnt, loop, runtime)
        self.parts = {"net": self.net, "optimizer": self.optimizer}
        self.eta = torch.ones((), device=runtime.device)  # share of the divergence's weight at this step
        self.drawn = Drawn(self)
        example = self.prepare(self.draw(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)))
        self.networks = {"net": (self.net, self._inputs(example))}

    def _lengths(self, split: str) -> Tensor:
        """(n,) points of each drawing as it is trained on; what is too long is refused, or noted."""
        samples, most = self.data.splits[split], self.config.max_points
        parts = torch.arange(len(samples)).split(_PART)
        n = torch.cat([samples.gather(at).n_points().cpu() for at in parts])  # type: ignore[union-attr]
        long = int((n > most).sum())
        if long and self.config.too_long == "refuse":
            raise UserError(
                f"{long} of {len(n)} drawings of {split} have more than pipeline.max_points={most} points, the longest "
                f"{int(n.max())}; raise it, or set pipeline.too_long=simplify"
            )
        if long:
            self.notes[f"too long, {split}"] = (
                f"{long} of {len(n)} drawings of {split} have more than {most} points and were simplified"
            )
        return n.clamp(max=most)

    def _scale(self) -> float:
        """The standard deviation of the training drawings' moves, Δx and Δy together, first points aside."""
        places = torch.linspace(0, self.n_train - 1, min(self.n_train, _MEASURED)).long()
        moves = []
        for at in places.split(_PART):
            points = self._points(self.train, at, None).cpu()
            real = torch.arange(points.shape[1])[None] < inputs.lengths(points)[:, None]
            real[:, 0] = False
            moves.append(points[..., :2][real].double())
        return max(torch.cat(moves).std(correction=0).item(), 1e-3)

    # --- batches

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Any]:
        raw = self.look.at_most(self.train.gather(places), self.config.max_points)
        return {"raw": raw, "keys": keys, "labels": self.train.labels[places]}

    def prepare(self, raw: dict[str, Any]) -> dict[str, Tensor]:
        """points (B, L, 5) raw; classes (B,), n_classes where it is left out; noise (B, z); as far as there are any."""
        keys, batch = raw["keys"], {"points": self.runtime.prepared(self.look, raw["raw"], raw["keys"])}
        if self.net.n_classes:
            given = rng.uniform(rng.fold_each(rng.fold("class told"), keys), 1)[:, 0] >= self.config.unknown_class
            classes = torch.where(given, raw["labels"].cpu(), self.net.n_classes)
            batch["classes"] = self.runtime.to_device(classes)
        if self.net.z:
            batch["noise"] = self.runtime.to_device(noise(rng.fold("code"), keys, self.net.z))
        return batch

    def _points(self, samples: Split, places: Tensor, keys: Tensor | None) -> Tensor:
        raw = self.look.at_most(samples.gather(places), self.config.max_points)
        return self.runtime.prepared(self.look, raw, keys)

    def _inputs(self, batch: dict[str, Tensor]) -> tuple[Any, ...]:
        return batch["points"], batch.get("classes"), batch.get("noise")

    # --- the step

    def begin_step(self, epoch: float) -> None:
        step = round(epoch * self.n_train / self.loop.batch_size)
        self.net.train()
        c = self.config
        for group in self.optimizer.param_groups:
            rate = optim.rate(self.loop, epoch, group.get("peak_lr"))
            if c.lr_decay < 1:
                rate = min(c.lr_min, rate) + max(rate - c.lr_min, 0) * c.lr_decay**step
            optim.fill_rate(group, rate)
        self.eta.fill_(1 - (1 - c.kl_start) * c.kl_rate**step)

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with self.runtime.autocast():
            outputs, *code = self.forward(*self._inputs(batch))
        found = likelihood.terms(self.net, outputs, batch["points"])
        reconstruction = (found.moves + found.pen + found.end).mean() / self.n_max
        logs, loss = {"reconstruction": reconstruction}, reconstruction
        if code:
            kl = likelihood.divergence(*code).mean()
            logs["kl"] = kl
            loss = loss + self.config.kl_weight * self.eta * kl.clamp(min=self.config.kl_min)
        optim.backward(loss, self.optimizer, self.runtime)
        optim.update(self.optimizer, self.runtime, self.loop)
        return {name: value.detach() for name, value in {"loss": loss, **logs}.items()}

    def end_step(self) -> None:
        pass

    def learning(self) -> list[nn.Parameter]:
        return self.learnt

    # --- scores

    @torch.no_grad()
    def likelihood(self, split: str) -> dict[str, float]:
        """Of every drawing of a split, its class given: reconstruction and kl by the paper's formulas, loss =
        reconstruction + w_KL · kl, and nats_per_point: the drawings' negative log-likelihood on the canvas 0…255 (with
        an encoder its bound, by one code a drawing: the divergence is added), over all their points."""
        samples = self.data.splits[split]
        self.runtime.same_buffers(self.net)
        self.net.eval()
        rows = [torch.empty(0, 4, dtype=torch.float64)]
        shard = self.runtime.shard(len(samples))
        for at in self.runtime.bar(shard.split(self.config.eval_batch), f"evaluating {split}"):
            points = self._points(samples, at, None)
            batch = {"points": points}
            if self.net.n_classes:
                batch["classes"] = self.runtime.to_device(samples.labels[at])
            if self.net.z:
                batch["noise"] = self.runtime.to_device(noise(rng.fold("code", split), at, self.net.z))
            with self.runtime.autocast():
                outputs, *code = self.forward(*self._inputs(batch))
            found = likelihood.terms(self.net, outputs, points)
            kl = likelihood.divergence(*code) if code else torch.zeros_like(found.moves)
            points_nats = found.moves + found.pen
            rows.append(torch.stack([points_nats, found.end, kl, found.n], 1).double().cpu())
        of = self.runtime.gather({"rows": torch.cat(rows)}, len(samples))["rows"]
        points_nats, end, kl, n = of.unbind(1)
        nats = points_nats + end + self.net.z * kl + 2 * n * math.log(self.net.scale.item())
        reconstruction = ((points_nats + torch.where(n < self.n_max, end, 0.0)).mean() / self.n_max).item()
        out = {"nats_per_point": (nats.sum() / n.sum()).item(), "reconstruction": reconstruction}
        mean_kl = kl.mean().item()
        if self.net.z:
            out["kl"] = mean_kl
        return {**out, "loss": reconstruction + self.config.kl_weight * mean_kl}

    def evaluate(self, split: str) -> dict[str, Any]:
        """What `likelihood` gives, and what Drawn.evaluate says of pictures of new drawings, beside real ones."""
        scores = self.likelihood(split)
        found = self.drawn.evaluate(split)
        notes = {name: words for name, words in self.notes.items() if name.endswith((split, "train"))}
        return {**scores, **found, "warnings": {**notes, **found["warnings"]}}

    def explain(self, split: str) -> Explained:
        return self.drawn.explain(split)


def decided(config: Config) -> dict[str, Any]:
    """What the id of a run holds in place of keys that the machine settles."""
    classifier = Path(config.scoring_classifier).resolve().name if config.scoring_classifier else None
    return {"features": feature_nets.fingerprint(config.features), "scoring_classifier": classifier}


def build(config: Config, net: Any, data: Dataset[Split], loop: Loop, runtime: Runtime, seed: int) -> Draw:
    """net: models' SketchRNN, or what has its methods."""
    return Draw(config, net, data, loop, runtime, seed)
