"""mamin's takeaways with numbers: how often D is trained, its options, more data, one class or many.

Claims: with the discriminator trained every other batch its mean prediction comes closer to .5 for real and generated
images; some of the best sketches came from gd_ratio=2, half the learning rate for D and JReLU; a discriminator trained
ahead made no difference, a pretrained one had limited success, a gate that raises the learning rate when the losses
stand still helped at times; more data and one class at a time help.

Protocol: mamin's networks and batch of 64, the same number of generator steps for every arm of a question (an epoch is
the training split as often as 6,400 images take; 20 epochs), KID on the same test drawings, the same features, three
seeds. Drawings are antialiased and centred (data/raster=picture), at 64 px. One run of an arm is held against the
spread of the other's seeds: where one more run of it would lie (95%).

Deviations: `sheep` (8,000 drawings, sketch-rnn's set) stands for QuickDraw's cats and dogs; options are compared on one
built-in shape at 32 px, where a run takes minutes; one class against many is asked on the built-in shapes, some 1,600
training images either way, each scored on drawings of its own classes. A pretrained MobileNetV2 stands for ResNet-18
and judges one image at a time, as does the arm beside it. KID stands for mamin's eye. Labels of real images are .9.

Cost of one core in bf16, for 100 generator steps with their evaluations: 80 s at 64 px (sheep), 5 to 15 s at 32 px; 2
to 5 minutes a run at 32 px, half an hour at 64 px.

    python experiments/mamin_gan.py [--arms 'house*'] [--seeds 3] [--jobs 1] [--smoke] [--report] [--find] [key=value]
"""

from __future__ import annotations

from typing import Any

import torch
from arms import main
from arms_types import Arm, Claim, Execute, Experiment, Extra
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine import checkpoint
from sketchlab.models.dcgan import JReLU
from sketchlab.pipelines.gan.sheets import noise
from sketchlab.report.read import Run
from sketchlab.runs import OpenedRun

SHEEP = ["experiment=mamin/sheep", "loop.epochs=20"]
SHAPES = ["data=shapes", "model=small_dcgan", "loop.epochs=20", "loop.eval_every=10"]
HOUSE = [*SHAPES, "data.classes=[house]", "data.per_class=2000"]
ALL = [*SHAPES, "data.per_class=112"]
TOLD = ["data=shapes", "model=dcgan_conditional", *SHAPES[2:], "data.per_class=112"]
JRELU = ["model.activation_g=jrelu", "model.activation_d=jrelu"]
BEST = ["pipeline.gd_ratio=2", "pipeline.lr_d=0.0001", *JRELU]
PRETRAINED = ["model.pack=1", "model.discriminator=mobilenet_v2", "model.weights=imagenet"]
FOUR = ["model.pack=4"]
LONG = "half an hour a seed"
OPTIONS = {
    "gd_ratio 2": ["pipeline.gd_ratio=2"],
    "gd_ratio 2, per epoch": ["pipeline.gd_ratio=2", "pipeline.gd_per=epoch"],
    "lr_d halved": ["pipeline.lr_d=0.0001"],
    "jrelu": JRELU,
    "gd_ratio 2, lr_d halved, jrelu": BEST,
    "D 100 batches ahead": ["pipeline.d_head_start=100"],
    "instance norm": ["model.norm=instance"],
    "gate at stuck losses": ["pipeline.gate_window=200", "pipeline.gate_flat=0.2"],
}
DEFAULT = "house, D sees four at a time"  # the options are compared at this setting
ARMS = [
    Arm("sheep, default", SHEEP, LONG),
    Arm("sheep, gd_ratio 2", [*SHEEP, "pipeline.gd_ratio=2"], LONG),
    Arm("sheep, gd_ratio 2, lr_d halved, jrelu", [*SHEEP, *BEST], LONG),
    Arm("sheep, 1,000 drawings", [*SHEEP, "data.splits.train_at_most=1000"], LONG),
    Arm(DEFAULT, [*HOUSE, *FOUR]),
    *(Arm(f"house, {name}", [*HOUSE, *FOUR, *words]) for name, words in OPTIONS.items()),
    Arm("house, D sees one at a time", [*HOUSE, "model.pack=1"]),
    Arm("house, D a pretrained MobileNetV2", [*HOUSE, *PRETRAINED]),
    Arm("18 shapes, D sees four at a time", [*ALL, *FOUR]),
    Arm("18 shapes, D sees one at a time", [*ALL, "model.pack=1"]),
    Arm("18 shapes, with classes, D sees four at a time", [*TOLD, *FOUR]),
    Arm("18 shapes, with classes, D sees one at a time", [*TOLD, "model.pack=1"]),
]
HALF = "D's distance from .5"
MEAN, VARIANCE = "activations' mean, off 0", "activations' variance, off 1"
KEEPS = "it may do a better job at maintaining a mean of zero and variance of one for the activations"
CLAIMS = [
    Claim("house, gd_ratio 2", DEFAULT, "training the discriminator every other mini batch seemed to work well"),
    Claim("house, gd_ratio 2", DEFAULT, "mean soft predictions more often converging to 0.5", key=HALF),
    Claim("house, gd_ratio 2, per epoch", DEFAULT, ask="Does it help to train D at every other epoch?"),
    Claim("house, lr_d halved", DEFAULT, "a smaller learning rate for the discriminator was also effective at times"),
    Claim("house, jrelu", DEFAULT, ask="Does JReLU help?"),
    Claim("house, jrelu", DEFAULT, KEEPS, key=MEAN),
    Claim("house, jrelu", DEFAULT, KEEPS, key=VARIANCE),
    Claim("house, gd_ratio 2, lr_d halved, jrelu", DEFAULT, "some of the best results … combined both of these"),
    Claim("house, D 100 batches ahead", DEFAULT, "I did not notice much of a meaningful difference", "no better"),
    Claim("house, instance norm", DEFAULT, ask="Does instance norm help?"),
    Claim("house, gate at stuck losses", DEFAULT, "an additional tweak that proved helpful at times was a gate"),
    Claim("house, D sees one at a time", DEFAULT, ask="On one class, is D better off without packing?"),
    Claim("house, D a pretrained MobileNetV2", DEFAULT, ask="Does a pretrained discriminator help?"),
    Claim("18 shapes, D sees one at a time", "18 shapes, D sees four at a time", ask="On 18 classes?"),
    Claim(
        "18 shapes, with classes, D sees one at a time",
        "18 shapes, with classes, D sees four at a time",
        ask="On 18 classes, with labels?",
    ),
    Claim(
        "18 shapes, with classes, D sees four at a time",
        "18 shapes, D sees four at a time",
        ask="Do class labels help a D that sees four at a time?",
    ),
    Claim(
        "18 shapes, with classes, D sees one at a time",
        "18 shapes, D sees one at a time",
        ask="Do class labels help a D that sees one at a time?",
    ),
    Claim("sheep, default", "sheep, 1,000 drawings", ask="Do more drawings help?"),
    Claim("sheep, gd_ratio 2", "sheep, default", ask="On sheep, does it help to train D at every other batch?"),
    Claim("sheep, gd_ratio 2, lr_d halved, jrelu", "sheep, default", ask="And all three of mamin's options?"),
]


def last(key: str, run: Run) -> float:
    return float(run.curve(f"train/{key}")[1][-1])


def from_half(run: Run) -> float:
    """Mean distance of both mean predictions from .5, in the last epoch."""
    return (abs(last("d_real", run) - 0.5) + abs(last("d_fake", run) - 0.5)) / 2


@torch.no_grad()
def activations(run: Run) -> Tensor:
    """(layers, 2) mean and variance of what comes out of every hidden activation of G, and of D shown what G makes.

    64 images, the best weights. A pretrained D has no such layers. nan for a run whose weights were not kept.
    """
    file = run.folder / "checkpoints" / "best.pt"
    if not file.is_file():
        return torch.full((1, 2), torch.nan)
    opened = OpenedRun(run.folder)
    nets: Any = opened.model.build(len(opened.classes))
    parts = checkpoint.load(file)["parts"]
    checkpoint.restore({"G": nets["G"], "D": nets["D"]}, parts, file)
    G, D = nets["G"].eval(), nets["D"]
    out = []

    def note(module: nn.Module, given: Any, found: Tensor) -> None:
        out.append(torch.stack([found.mean(), found.var()]))

    kinds = (nn.ReLU, nn.LeakyReLU, JReLU)
    for module in [*G.modules(), *D.modules()]:
        if isinstance(module, kinds):
            module.register_forward_hook(note)
    classes = torch.arange(G.n_classes).repeat_interleave(64)[:64] if G.n_classes else None
    images = G(noise(rng.fold("activations"), torch.arange(64), G.z), classes)
    if hasattr(D, "layers"):
        D(images, classes)
    return torch.stack(out)


def off_mean(run: Run) -> float:
    """Mean over layers of |mean|."""
    return float(activations(run)[:, 0].abs().mean())


def off_variance(run: Run) -> float:
    """Mean over layers of |variance − 1|."""
    return float((activations(run)[:, 1] - 1).abs().mean())


def smoke(arm: Arm, execute: Execute) -> list[str]:
    """The same options on a tiny network and few images."""
    words = [w for w in arm.words if not w.startswith(("experiment=", "data.per_class", "loop.", "model.pack"))]
    words = words if any(w.startswith("model=") for w in words) else ["data=shapes", "model=small_dcgan", *words]
    few = "1000" in arm.words[-1]
    words = [*words[:-1], "data.splits.train_at_most=200"] if few else words
    words += [f"data.per_class={21 if arm.name.startswith('sheep') else 20}", "model.width=4", "loop.epochs=2"]
    words += ["loop.eval_every=1", "pipeline.epoch_images=64", "pipeline.eval_images=16", "pipeline.features=random"]
    words += ["loop.batch_size=16", f"model.pack={1 if 'model.pack=1' in arm.words else 2}"]
    return [*words, *(["model.weights=none"] if "model.weights=imagenet" in arm.words else [])]


EXPERIMENT = Experiment(
    name="mamin_gan",
    doc=__doc__ or "",
    title="mamin's options for a GAN of drawings, by KID",
    data="Sheep are QuickDraw's, 7,000 to train on, at 64 px, 2,188 generator steps. House is one built-in shape and "
    "18 shapes are all of them, some 1,600 to train on, at 32 px, 2,000 steps. KID is against held-out drawings of the "
    "same classes, in Inception's features; lower is better. Rows of other classes do not compare.",
    change="more seeds (most rows have one), QuickDraw's cats and dogs as published, longer training, people instead "
    "of KID.",
    arms=ARMS,
    claims=CLAIMS,
    published=[],
    keys=["test/kid@inception", "test/fid@inception", "test/recall@inception"],
    pipeline="gan",
    extra=(
        Extra("D on real", lambda run: last("d_real", run)),
        Extra("D on generated", lambda run: last("d_fake", run)),
        Extra(HALF, from_half, "smaller"),
        Extra(MEAN, off_mean, "smaller"),
        Extra(VARIANCE, off_variance, "smaller"),
    ),
    seeds=3,
    of_seed=lambda seed: [f"seed={seed}"],
    common=["runtime.precision=bf16"],
    smoke=smoke,
)

if __name__ == "__main__":
    main(EXPERIMENT)
