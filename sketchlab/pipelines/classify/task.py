"""Classification: cross-entropy on labelled samples; what is frozen and deterministic runs once per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from sketchlab import components, rng
from sketchlab.engine import optim
from sketchlab.engine.features import Features
from sketchlab.engine.protocols import Dataset, Raw, Split
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config as Loop
from sketchlab.engine.task import Explained, trainable
from sketchlab.errors import UserError
from sketchlab.layers.chain import Trained, flatten, frozen_prefix, set_train
from sketchlab.pipelines.classify import bilstm2d, early, gradcam, mix, pose
from sketchlab.pipelines.classify.declared import ANSWERS as ANSWERS
from sketchlab.pipelines.classify.declared import SCORES as SCORES
from sketchlab.pipelines.classify.declared import TAKES as TAKES
from sketchlab.pipelines.classify.declared import TITLE as TITLE
from sketchlab.pipelines.classify.predictions import evaluation, right
from sketchlab.schema import Machine, Shown, added


@dataclass(frozen=True)
class Config:
    label_smoothing: float  # share of the target spread over all classes; 0 = none
    class_weights: str  # none, or balanced: each class counts the same in the loss, however many samples it has
    mistakes: Shown[int]  # wrong answers kept as pictures for the report, the most confident ones
    eval_batch: Machine[int]  # samples per forward pass where nothing is learnt
    explain: Shown[int]  # images of each split with Grad-CAM in the report, half of them wrong ones; 0 = none
    pose_weight: float  # of a second head's loss, which learns angle and size of turned drawings (pose.py); 0 = none
    cache: bool  # run what is frozen and deterministic once per image; the result is the same without, only slower
    loss: Annotated[str, added("cross_entropy")]  # or a file of your own: loss=<choice>
    loss_options: Annotated[dict[str, Any], added({})]  # of a loss of your own: the keys of its Config
    metrics: Annotated[dict[str, Any], added({})]  # scores of your own → the keys of their Config: metric=<choice>
    mixup: Annotated[float, added(0.0)]  # α of mixup's Beta(α, α), such as 0.2 (mix.py); 0 = none
    cutmix: Annotated[float, added(0.0)]  # α of CutMix, such as 1.0; 0 = none; with mixup each is for half the samples

    def __post_init__(self) -> None:
        if self.class_weights not in ("none", "balanced"):
            raise UserError(f"pipeline.class_weights={self.class_weights}: expected none or balanced")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"pipeline.label_smoothing={self.label_smoothing}: expected 0 to below 1")
        if self.pose_weight < 0:
            raise UserError(f"pipeline.pose_weight={self.pose_weight}: expected 0 (no such head) or more")
        if self.loss != "cross_entropy" and (self.label_smoothing or self.class_weights != "none"):
            raise UserError(
                f"pipeline.loss={self.loss}: label_smoothing and class_weights are of cross_entropy, expected 0, none"
            )
        if min(self.mixup, self.cutmix) < 0:
            raise UserError(f"pipeline.mixup={self.mixup}, cutmix={self.cutmix}: expected 0 (none) or more")
        if self.mixes and (self.loss != "cross_entropy" or self.pose_weight):
            raise UserError(
                "pipeline.mixup and cutmix give each sample two labels: expected pipeline.loss=cross_entropy and "
                "pipeline.pose_weight=0"
            )
        if self.explain < 0:
            raise UserError(f"pipeline.explain={self.explain}: expected a number of images, or 0 for none")

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


class Classify:
    """The task: parts net and optimizer, splits of labelled samples."""

    monitor = "val/accuracy"
    weights: tuple[str, ...] = ("net",)

    def __init__(
        self, config: Config, net: nn.Module, data: Dataset[Split], loop: Loop, runtime: Runtime, seed: int
    ) -> None:
        self.config, self.loop, self.runtime, self.data, self.seed = config, loop, runtime, data, seed
        self.net = runtime.place(net)
        set_train(net)
        crops = max(getattr(stage, "n_crops", 1) for stage in flatten(net))  # one sample may be looked at ten times
        self.eval_batch, self.norm_batch = max(1, config.eval_batch // crops), max(1, 256 // crops)
        self.train = data.splits["train"]
        self.n_train, self.views = len(self.train), data.views
        self.splits = tuple(name for name in ("val", "test") if name in data.splits)
        self.monitor = self.monitor if "val" in self.splits else ""
        self.loss = self._loss()
        first = data.prepare(self.train.gather(torch.zeros(1, dtype=torch.int64))).to(runtime.device)
        example = runtime.layout(first)
        self.networks, self.learnt = {"net": (net, (example,))}, trainable(net)
        self.pose: pose.Objective | None = None
        if config.pose_weight:
            self.pose = pose.Objective(config.pose_weight, self.loss, net, data, example, runtime, seed)
            self.networks["pose"] = (self.pose.head, (pose.features(net, example),))
            self.weights = tuple(self.networks)
            self.learnt += trainable(self.pose.head)
        self.learnt += trainable(self.loss)
        self.optimizer = optim.make(self.learnt, loop, runtime)
        self.fixed_shapes = data.prepare.input.kind != "points"  # drawings of a batch are as long as its longest
        self.parts = {**{name: Trained(part) for name, (part, _) in self.networks.items()}, "optimizer": self.optimizer}
        if config.loss != "cross_entropy" and self.loss.state_dict():
            self.parts["loss"] = self.loss
        prefix, rest = frozen_prefix(net)
        finite = not data.prepare.active or data.views > 0
        if config.mixes and not self.fixed_shapes:
            raise UserError("pipeline.mixup and cutmix are of pixels, but this network takes points: expected 0")
        cached = config.cache and finite and len(prefix) > 0 and self.pose is None and not config.mixes
        self.features, self.rest = (
            (Features(prefix, data.splits, data.prepare, data.views, runtime, seed), rest) if cached else (None, net)
        )
        self.answered: dict[str, Tensor] = {}  # split → the logits of its last evaluation
        self.forward = runtime.forward(self.rest, learns=self.pose is None)  # inputs or features → logits
        self.learner = self.forward if self.pose is None else self.pose.forward  # what a step calls
        self.objective = self._of_labels if self.pose is None else self.pose
        if self.features is not None:  # here, not in the loader's threads
            self.features.of("train", *(torch.zeros(1, dtype=torch.int64),) * (2 if data.prepare.active else 1))

    def _loss(self) -> nn.Module:
        """(B, n_classes) logits, (B,) labels → the loss, a number."""
        n_classes, weight = len(self.data.classes), None
        if self.config.loss != "cross_entropy":
            return components.make("loss", self.config.loss, self.config.loss_options, n_classes).to(
                self.runtime.device
            )
        if self.config.class_weights == "balanced":
            counts = torch.bincount(self.train.labels, minlength=n_classes).float()
            weight = (counts.sum() / counts.clamp(min=1) / len(counts)).to(self.runtime.device)
        loss = nn.CrossEntropyLoss(label_smoothing=self.config.label_smoothing)
        loss.weight = weight  # no part of a checkpoint: it follows from the data
        return loss

    def _of_labels(self, logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": self.loss(logits.float(), batch["labels"]), "accuracy": right(logits, batch["labels"])}

    # --- batches

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Any]:
        labels = self.train.labels[places]
        if self.features is not None:
            return {"inputs": self.features.of("train", places, keys), "labels": labels}
        out = {"raw": self.train.gather(places), "labels": labels, "keys": keys}
        if self.config.mixes:
            others = mix.partners(keys, self.n_train)
            out |= {"other": self.train.gather(others), "other_labels": self.train.labels[others]}
        return out

    def prepare(self, raw: dict[str, Any]) -> dict[str, Tensor]:
        labels = self.runtime.to_device(raw["labels"])
        if self.features is not None:
            return {"inputs": self.runtime.to_device(raw["inputs"]), "labels": labels}
        if self.pose is not None:
            return {"labels": labels, **self.pose.inputs(raw["raw"], raw["keys"])}
        images = self._images(raw["raw"], raw["keys"])
        if self.config.mixes:
            return self._mixed(raw, images, labels)
        return {"labels": labels, "inputs": images}

    def _mixed(self, raw: dict[str, Any], images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The other sample of a mixture is augmented by another key."""
        keys = raw["keys"]
        others = self._images(raw["other"], rng.fold_each(rng.fold("other"), keys))
        drawn = mix.drawn(keys, self.config.mixup, self.config.cutmix, *images.shape[-2:])
        shares, boxes = (self.runtime.to_device(values) for values in drawn)
        other_labels = self.runtime.to_device(raw["other_labels"])
        return {
            "labels": mix.targets(labels, other_labels, shares, len(self.data.classes)),
            "inputs": self.runtime.layout(mix.mixed(images, others, shares, boxes)),
        }

    def _images(self, raw: Raw, keys: Tensor | None) -> Tensor:
        """Raw samples → what the network takes, on the device."""
        return self.runtime.prepared(self.data.prepare, raw, keys)

    # --- the step

    def begin_step(self, epoch: float) -> None:
        if not self.net.training:
            set_train(self.net)
        self.runtime.same_buffers(self.loss)  # what a loss counts decides the next step: all ranks resume with rank 0's
        optim.set_rate(self.optimizer, self.loop, epoch)

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        means: dict[str, Tensor] = {}
        parts = self.loop.accumulate
        for part in range(parts):
            share = {name: values[part::parts] for name, values in batch.items()}
            with self.runtime.autocast():
                outputs = self.learner(self.runtime.layout(share["inputs"]))
            terms = self.objective(outputs, share)  # `loss` and what it is a sum of
            optim.backward(terms["loss"] / parts, self.optimizer, self.runtime)
            means = {name: means.get(name, 0) + value.detach() / parts for name, value in terms.items()}
        optim.update(self.optimizer, self.runtime, self.loop)
        return means

    def end_step(self) -> None:
        pass

    def learning(self) -> list[nn.Parameter]:
        return self.learnt

    # --- scores

    @torch.no_grad()
    def logits(self, split: str) -> Tensor:
        """(n, n_classes) on the CPU, every sample exactly once, in order, on every rank."""
        samples = self.data.splits[split]
        self.runtime.same_buffers(self.net)
        self.net.eval()
        out = [torch.empty(0, len(self.data.classes))]
        for places in self.runtime.bar(self.runtime.shard(len(samples)).split(self.eval_batch), f"evaluating {split}"):
            inputs = self._plain(split, places)
            with self.runtime.autocast():
                out.append(self.forward(inputs).float().cpu())
        return self.runtime.gather({"logits": torch.cat(out)}, len(samples))["logits"]

    def _plain(self, split: str, places: Tensor) -> Tensor:
        """(B,) places → what `forward` takes, on the device, without augmentation."""
        if self.features is not None:
            return self.features.of(split, places)
        return self._images(self.data.splits[split].gather(places), None)

    def norm_inputs(self, places: Tensor, keys: Tensor) -> list[tuple[nn.Module, Tensor]]:
        return [(self.rest, self._plain("train", places))]

    def evaluate(self, split: str) -> dict[str, Any]:
        """Scores, confusion, predictions and mistakes, as pipelines/classify/answers.py names them."""
        self.answered[split] = self.logits(split)
        found = evaluation(
            self.answered[split], self.data.splits[split], self.data.classes, self.config.mistakes, self.config.metrics
        )
        if self.pose is not None:
            found |= self.pose.evaluate(self.data.splits[split], self.eval_batch, self.data.classes)
        return found

    def explain(self, split: str) -> Explained:
        """Of its last answers to a split: where it looked (gradcam.py, mixing.py), how early it knew (early.py)."""
        logits, samples = self.answered[split], self.data.splits[split]

        def images(raw: Raw) -> Tensor:
            return self._images(raw, None)

        def ask(raw: Raw) -> Tensor:
            with torch.no_grad(), self.runtime.autocast():
                return self.net(images(raw)).float().cpu()

        most, device = self.config.explain, self.runtime.device
        seed, prepare = self.seed, self.data.prepare
        return {
            "Grad-CAM": lambda: gradcam.explained(self.net, images, samples, logits, most, seed, device, prepare),
            "maps of the LSTMs": lambda: bilstm2d.hidden_states(self.net, images, samples, most, seed, prepare),
            "answers after each stroke": lambda: early.after_each_stroke(ask, samples, logits, self.eval_batch),
        }


def build(config: Config, net: nn.Module, data: Dataset[Split], loop: Loop, runtime: Runtime, seed: int) -> Classify:
    return Classify(config, net, data, loop, runtime, seed)
