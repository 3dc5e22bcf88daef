"""Every choice in conf/, found by globbing, brought to a size that a test can train."""

from __future__ import annotations

import functools
import os
import re
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
# Networks of timm by one word, each with a twin of its family
NETS = {"dinov2_s": "test_vit", "dinov2_b": "test_vit", "clip_b16": "test_vit", "clip_b32": "test_vit"}
NETS |= {"vit_s": "test_vit", "convnext_t": "test_convnext", "resnet50": "test_resnet"}
TIMM = ("timm", *NETS, *(f"siamese_{name}" for name in NETS), "zero_shot")  # what needs an optional extra
if find_spec("open_clip"):
    import open_clip

    open_clip.add_model_config(Path(__file__).parent / "fixtures" / "clip_tiny.json")  # a text side of 0.8 million
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
DRAW += ["model.decoder=12", "model.mixtures=3", "model.embedding=4", "loop.lr=0.03"]
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
    "frames_vit": [*FRAMES, "model.heads=4"],
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
    "zero_shot": [
        *("model.backbone.weights=none", "model.backbone.tune=scratch", "model.backbone.arch=test_vit"),
        *("model.backbone.input.size_px=32", "model.backbone.text=clip_tiny"),
    ],
    "stroke_transformer": ["model.width=16", "model.heads=2", "model.layers=2", *QUICK],
    **{name: [*FRESH, f"model.arch={arch}", "model.input.size_px=32"] for name, arch in NETS.items()},
    **{
        f"siamese_{name}": [*EMBEDS, f"model.backbone.arch={arch}", "model.backbone.input.size_px=32"]
        for name, arch in NETS.items()
    },
    "sketch_rnn": [*DRAW, "model.encoder=8", "model.z=6"],
    "sketch_rnn_small": DRAW,
}
# Of each pipeline and kind of input one, the quickest: what stands for all others among the fast tests.
FAST = (
    "small_cnn",
    "stroke_lstm",
    "small_siamese",
    "small_dcgan",
    "small_cyclegan",
    "pixels_naive_bayes",
    "sketch_rnn_small",
)
# The twins of these still have ten million parameters and more.
LARGE = ("alexnet", "googlenet", "resnet18", "resnet34", "inception_v3", "mobilenet_v2", *TIMM)
LARGE += ("siamese_googlenet", "siamese_resnet18", "siamese_mobilenet_v2")
# Killing and resuming these goes through the lines of a quicker one.
SHARED = (
    *("vgg16", "vgg16_sketchanet", "sketchanet", "cnn_lstm", "cnn_strokes", "cnn_bilstm2d", "frames_vit"),
    *("stroke_lstm", "stroke_transformer"),
    *("features_random_forest", "features_logistic", "hog_svm", "pixels_logistic"),
    *("siamese", "siamese_vgg16"),
    *("dcgan", "dcgan_colour", "dcgan_conditional", "cyclegan"),
)


def choices(group: str) -> list[str]:
    """Those of the optional extra clip, which has timm, only where it is installed."""
    found = sorted(p.stem for p in (config.conf_dir() / group).glob("*.yaml"))
    here = find_spec("timm") and find_spec("open_clip")
    return [name for name in found if group != "model" or name not in TIMM or here]


def slow(*values: Any) -> list[Any]:
    """Values of a parameter whose tests are slow."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def models(long: tuple[str, ...], fast: tuple[str, ...] = FAST) -> list[Any]:
    """Every model; all but those in `fast` are marked slow, or long where they are in `long`."""
    mark = {m: [] if m in fast else [pytest.mark.long if m in long else pytest.mark.slow] for m in choices("model")}
    return [pytest.param(m, marks=marks) for m, marks in mark.items()]


def modules() -> list[str]:
    """Models of which no two are of the same file of sketchlab/models."""
    texts = {model: (config.conf_dir() / "model" / f"{model}.yaml").read_text() for model in choices("model")}
    named = {model: re.search(r"^name: (\w+)$", text, re.M) for model, text in texts.items()}
    return list({found[1]: model for model, found in named.items() if found}.values())


@functools.cache
def composed(model: str) -> config.RunConfig:
    """The run of a model as it is found, brought to its small twin; once in a process."""
    return config.from_overrides([f"model={model}", "runtime.device=cpu", *TWINS.get(model, [])])


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
