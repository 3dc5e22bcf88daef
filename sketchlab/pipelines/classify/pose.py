"""A second head: how far a drawing is turned and how large it is, learnt from the augmentation that turned it.

frankenstein's wish, so that a clean shape can take a drawing's place. One linear layer beside the classifier's own, on
the same features; it gives sine and cosine of the angle and the logarithm of the size.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine.protocols import Dataset, Raw, Split, StrokePrepare
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.layers.chain import flatten, penultimate
from sketchlab.pipelines.classify.predictions import right

EXAMPLES = 1000  # training drawings that say how far the targets spread
SMALLEST = 1 / 255  # size of a dot, share of the canvas: its logarithm must be finite


class Pose(nn.Module):
    """(B, features) → (B, 3) sine and cosine of the angle, log of the size; the layer's own outputs are in units of
    the targets' spread, so that at its start the head says what a constant guess says."""

    mean: Tensor  # (3,) of the targets in training
    spread: Tensor  # (3,) angle, angle, size

    def __init__(self, features: int, targets: Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(features, 3)
        variance = targets.var(0, correction=0)
        angle, size = (variance[0] + variance[1]).sqrt(), variance[2].sqrt().clamp(min=0.01)
        self.register_buffer("mean", targets.mean(0))
        self.register_buffer("spread", torch.stack([angle, angle, size]))

    def forward(self, features: Tensor) -> Tensor:
        return self.mean + self.spread * self.layer(features).float()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error, half of it the angle's, in units of what a constant guess gives: 1 = nothing learnt."""
        return ((outputs - targets) / self.spread).square().sum(1).mean() / 2


class Both(nn.Module):
    """What a network takes → (B, n_classes) its logits, (B, 3) the pose. The modules are the network's own."""

    def __init__(self, net: nn.Module, head: Pose) -> None:
        super().__init__()
        self.trunk = penultimate(net)
        self.last, self.head = nn.Sequential(*flatten(net)[len(self.trunk) :]), head

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(inputs)
        return self.last(features), self.head(features.flatten(1))


class Objective:
    """What a step learns with both heads: the loss of the labels and `weight` times the head's.

    forward: what a network takes → (B, n_classes) logits, (B, 3) pose. data.prepare turns drawings by their keys.
    """

    def __init__(
        self,
        weight: float,
        loss: nn.Module,
        net: nn.Module,
        data: Dataset[Split],
        example: Tensor,
        runtime: Runtime,
        seed: int,
    ) -> None:
        self.weight, self.loss, self.prepare, self.runtime, self.seed = weight, loss, turning(data), runtime, seed
        self.head = build(net, data, example, seed).to(runtime.device)
        self.forward = runtime.forward(Both(net, self.head))

    def inputs(self, raw: Raw, keys: Tensor) -> dict[str, Tensor]:
        """Raw drawings, turned by their (B,) keys → inputs, what a network takes, and pose (B, 2), on the device."""
        laid, known = self.prepare.ahead_posed(raw, keys)
        with self.runtime.span("augment"):
            inputs = self.runtime.layout(self.prepare(self.runtime.to_device(laid)))
        return {"inputs": inputs, "pose": self.runtime.to_device(known)}

    def __call__(self, outputs: tuple[Tensor, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits, posed = outputs
        pose_loss = self.head.loss(posed.float(), targets(batch["pose"]))
        loss = self.loss(logits.float(), batch["labels"])
        terms = {"pose_loss": pose_loss, "loss": loss + self.weight * pose_loss}
        return {**terms, "accuracy": right(logits, batch["labels"])}

    @torch.no_grad()
    def evaluate(self, samples: Split, eval_batch: int, classes: list[str]) -> dict[str, Any]:
        """Scores of the head (`evaluation`) on every drawing of a split, each turned by its own key."""
        predicted, known = [torch.empty(0, 2)], [torch.empty(0, 2)]
        for places in self.runtime.shard(len(samples)).split(eval_batch):
            batch = self.inputs(samples.gather(places), keys(self.seed, places))
            with self.runtime.autocast():
                outputs = self.forward(batch["inputs"])[1].float()
            predicted.append(read(outputs).cpu())
            known.append(batch["pose"].cpu())
        whole = self.runtime.gather({"predicted": torch.cat(predicted), "known": torch.cat(known)}, len(samples))
        return evaluation(whole["predicted"], whole["known"], samples.labels.cpu(), classes)


def targets(pose: Tensor) -> Tensor:
    """(B, 2) degrees and size → (B, 3) what the head learns to say."""
    angle = torch.deg2rad(pose[:, 0])
    return torch.stack([angle.sin(), angle.cos(), pose[:, 1].clamp(min=SMALLEST).log()], dim=1)


def read(outputs: Tensor) -> Tensor:
    """(B, 3) as the head says it → (B, 2) degrees and size."""
    return torch.stack([torch.rad2deg(torch.atan2(outputs[:, 0], outputs[:, 1])), outputs[:, 2].exp()], dim=1)


def features(net: nn.Module, example: Tensor) -> Tensor:
    """(B, features) what the classifier's last layer is given. Raises UserError for a network that is one stage."""
    trunk = penultimate(net)
    if not len(trunk):
        raise UserError("pipeline.pose_weight: this network is no chain of stages, its last layer cannot be shared")
    modes = {module: module.training for module in net.modules()}
    with torch.no_grad():
        out = trunk.eval()(example).flatten(1)
    for module, mode in modes.items():
        module.training = mode
    return out


def turning(data: Dataset[Split]) -> StrokePrepare:
    """What turns the drawings of a data set. Raises UserError where nothing does."""
    prepare = data.prepare
    if not isinstance(prepare, StrokePrepare):
        raise UserError(
            "pipeline.pose_weight needs drawings kept as strokes and a network that takes frames or points (or images "
            "drawn from strokes); expected 0 here"
        )
    if prepare.augment is None or prepare.augment.rotate_deg == 0:
        raise UserError(
            "pipeline.pose_weight needs drawings that are turned and sized, but the stroke augmentation has "
            "rotate_deg=0; choose data/stroke_augment@data.augment=mild (built-in shapes: data/stroke_augment=mild)"
        )
    return prepare


def build(net: nn.Module, data: Dataset[Split], example: Tensor, seed: int) -> Pose:
    """The head of a network on a data set whose drawings are turned. Raises UserError where they are not."""
    prepare = turning(data)
    train = data.splits["train"]
    places = torch.arange(0, len(train), max(1, len(train) // EXAMPLES))
    known = torch.cat([prepare.pose(train.gather(p), keys(seed, p)) for p in places.split(64)])
    return Pose(features(net, example).shape[1], targets(known.cpu()))


def keys(seed: int, places: Tensor) -> Tensor:
    """(B,) int64 by which the samples of a split are turned whenever the head is asked how well it performs."""
    return rng.fold_each(rng.fold(seed, "pose"), places)


def evaluation(predicted: Tensor, pose: Tensor, labels: Tensor, classes: list[str]) -> dict[str, Any]:
    """angle_error_deg and size_error, mean absolute errors; chance, what the best constant gives; pose, per class.

    said: (n, 2) degrees and size as the head says; pose: (n, 2) as it was. The constant: upright, and the median size.
    """
    wrong = torch.stack([turned(predicted[:, 0] - pose[:, 0]), (predicted[:, 1] - pose[:, 1]).abs()], dim=1).double()
    guess = torch.stack([pose[:, 0].abs(), (pose[:, 1] - pose[:, 1].median()).abs()], dim=1).double()
    names = ("angle_error_deg", "size_error")
    columns = {}
    for k, name in enumerate(names):
        columns |= {name: wrong[:, k], f"{name}_of_a_constant": guess[:, k]}
    members = [labels == number for number in range(len(classes))]
    rows = [
        {"class": one, "n": int(here.sum()), **{key: value[here].mean().item() for key, value in columns.items()}}
        for one, here in zip(classes, members, strict=True)
    ]
    chance = dict(zip(names, guess.mean(0).tolist(), strict=True))
    return {**dict(zip(names, wrong.mean(0).tolist(), strict=True)), "chance": chance, "pose": pd.DataFrame(rows)}


def turned(degrees: Tensor) -> Tensor:
    """The smaller angle between two directions that differ by so much: 0 to 180."""
    return ((degrees + 180) % 360 - 180).abs()
