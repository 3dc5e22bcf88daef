"""Every choice in conf/, found by globbing, brought to a size that a test can train."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sketchlab import config

SMALL_DATA = [
    "data.per_class=8",
    "data.classes=[circle,square,line]",
    "data.splits.train=0.5",
    "data.splits.val=0.25",
    "data.splits.test=0.25",
]
SMALL_RUN = ["loop.epochs=2", "loop.batch_size=4", "runtime.workers=0", "runtime.device=cpu", "run.keep_last=true"]
# A model that is too large for a fast test names its small twin here; any other is trained as it is.
FRESH = ["model.weights=none", "model.tune=scratch"]
RANDOM = ["model@model.backbone=vgg16", "model.backbone.weights=none", "model.backbone.tune=scratch"]  # features
RANDOM += ["model.backbone.input.size_px=32", "model.backbone.width=0.2", "model.backbone.head=pool"]
EMBEDS = ["model.backbone.weights=none", "model.backbone.tune=scratch", "data.per_class=16"]
QUICK = ["loop.lr=0.005"]
FRAMES = ["model.input.size_px=16", "model.input.channels=4", "model.channels=[8,8]", "model.head=16", *QUICK]
GAN = ["pipeline.epoch_images=1", "pipeline.eval_images=8", "pipeline.features=random"]
GAN += ["model.width=4", "model.widest=8", "model.z=8"]
CYCLE = ["pipeline.epoch_images=1", "pipeline.eval_images=8", "pipeline.features=random", "pipeline.pool=3"]
CYCLE += ["model.input.size_px=32", "model.width=4", "model.width_d=8", "model.halvings_d=2"]
DRAW = ["pipeline.eval_images=8", "pipeline.features=random", "pipeline.image_px=16", "pipeline.max_points=30"]
DRAW += ["model.decoder=12", "model.mixtures=3", "model.embedding=4"]
TWINS: dict[str, list[str]] = {
    "features_logistic": [*RANDOM, "model.c=100"],
    "features_random_forest": [*RANDOM, "model.trees=20"],
    "vgg16": [*FRESH, "model.width=0.05", "model.input.size_px=32", "model.head=pool"],
    "vgg16_sketchanet": [*FRESH, "loop=classify", "model.width=0.05", "model.input.size_px=32", "model.head=pool"],
    "sketchanet": ["model.width=0.05", "model.input.size_px=88", "model.scale_px=64", "model.crop_px=81"],
    "mobilenet_v2": [*FRESH, "model.input.size_px=32"],
    "alexnet": [*FRESH, "model.input.size_px=64", "model.head=pool"],
    "googlenet": [*FRESH, "model.input.size_px=64"],
    "resnet18": [*FRESH, "model.input.size_px=32"],
    "resnet34": [*FRESH, "model.input.size_px=32"],
    "inception_v3": [*FRESH, "model.input.size_px=96"],
    "timm": [*FRESH, "model.arch=test_resnet", "model.input.size_px=32"],
    "cnn_lstm": [*FRAMES, "model.hidden=16", "model.layers=2"],
    "cnn_strokes": FRAMES,
    "cnn_bilstm2d": [*FRAMES, "model.hidden=8"],
    "stroke_lstm": ["model.channels=[16,16]", "model.kernels=[5,3]", "model.hidden=16", "model.layers=2", *QUICK],
    "small_siamese": ["data.per_class=16"],
    "siamese": ["data.per_class=16", "model.input.size_px=16", "model.hidden=[16]", *QUICK],
    "siamese_vgg16": [*EMBEDS, "model.backbone.input.size_px=32", "model.backbone.width=0.05"],
    "siamese_mobilenet_v2": [*EMBEDS, "model.backbone.input.size_px=32"],
    "siamese_resnet18": [*EMBEDS, "model.backbone.input.size_px=32"],
    "siamese_googlenet": [*EMBEDS, "model.backbone.input.size_px=64"],
    "small_dcgan": [*GAN, "model.pack=2"],
    "dcgan": [*GAN, "model.input.size_px=32"],
    "dcgan_colour": [*GAN, "model.input.size_px=32"],
    "dcgan_conditional": [*GAN, "model.pack=2"],
    "cyclegan": [*CYCLE, "model.blocks=1"],
    "small_cyclegan": [*CYCLE, "model.blocks=1"],
    "sketch_rnn": [*DRAW, "model.encoder=8", "model.z=6"],
    "sketch_rnn_small": DRAW,
}
# The twins of these still have ten million parameters and more.
LARGE = ("alexnet", "googlenet", "resnet18", "resnet34", "inception_v3", "mobilenet_v2", "timm")
LARGE += ("siamese_googlenet", "siamese_resnet18", "siamese_mobilenet_v2")
# Killing and resuming these goes through the lines of a quicker one.
SHARED = (
    *("vgg16", "vgg16_sketchanet", "sketchanet", "cnn_lstm", "cnn_strokes", "cnn_bilstm2d", "stroke_lstm"),
    *("features_random_forest", "features_logistic", "hog_svm", "pixels_logistic"),
    *("siamese", "siamese_vgg16"),
    *("dcgan", "dcgan_colour", "dcgan_conditional", "cyclegan"),
)


def choices(group: str) -> list[str]:
    return sorted(p.stem for p in (config.conf_dir() / group).glob("*.yaml"))


def models(slow: tuple[str, ...]) -> list[Any]:
    """Every model, those in `slow` marked so."""
    absent = pytest.mark.skipif(find_spec("timm") is None, reason="the optional extra timm is not installed")
    marks = {m: [pytest.mark.slow] * (m in slow) + [absent] * (m == "timm") for m in choices("model")}
    return [pytest.param(m, marks=marks[m]) for m in marks]


def small(model: str, *more: str) -> list[str]:
    """Overrides that train `model` on a few shapes in a second or two."""
    return [f"model={model}", "data=shapes", *SMALL_DATA, *SMALL_RUN, *TWINS.get(model, []), *more]


def train(overrides: list[str], root: str, kill_at: int = -1, kill_in: str = "step") -> None:
    """One run in this process, without its report. SIGKILL at the kill_at-th optimizer step or file replacement."""
    import torch

    from sketchlab import run

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    if kill_at >= 0:
        counted = 0

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal counted
                counted += 1
                if counted > kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        if kill_in == "step":
            from sketchlab.engine import optim

            optim.set_rate = deadly(optim.set_rate)  # type: ignore[assignment]
        else:
            os.replace = deadly(os.replace)  # type: ignore[assignment]
    run.execute(config.from_overrides([*overrides, f"run.root={root}"]), reported=False)


def step(task: Any, raw: Any, epoch: float = 0.0) -> dict[str, Any]:
    """A whole training step of what `draw` gave, as engine/steps.py takes it without a graph."""
    batch = task.prepare(raw)
    task.begin_step(epoch)
    values = task.train_step(batch)
    task.end_step()
    return {name: value.detach().clone() for name, value in values.items()}  # some are changed in place


def explained(task: Any, split: str) -> dict[str, Any]:
    """All that explains the task's last answers to a split; what cannot be made raises."""
    return {name: value for part in task.explain(split).values() for name, value in part().items()}


def folder_in(root: Path) -> Path:
    """The one run folder under `root`."""
    (found,) = root.glob("*/*/config.yaml")
    return found.parent
