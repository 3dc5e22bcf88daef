"""frankenstein on Sequencer: accuracy against cost beside ViT at three sizes, and the cross of its receptive field.

Claims: Sequencer's aim is "to rival the accuracy of Vision Transformer (ViT) networks at lower computational cost";
its effective receptive fields "always form a distinct crucifix pattern that is drastically different from existing
models" (frankenstein, of Tatsunami and Taki 2022).

Protocol: experiment=frankenstein/words, eight QuickDraw words, frankenstein's front and head in every arm; between them
nothing (CNN), blocks of BiLSTM2D, or blocks of ViT. S has one block on 64 values a place, M two, L four on 128. Widths
inside the blocks are each paper's: a quarter of the values for each LSTM and an MLP of 3 times; heads of 16, 4 times.

Million MACs: multiplications with an addition of one drawing, counted from torch's operations. ms a drawing: forward,
fp32, one thread, batches of 32 test drawings, the fastest of five, on the machine that writes the table.

Cross: of the effective receptive field of the map's central place (Luo et al. 2016), outside the 24 px around it, the
share that lies in the row and the column of this place, over the share that would if every ring of one distance held
its mass evenly. 1 is no cross, and a field that is one and nothing else has 3.7.
Untrained: the same network before training.

Deviations: Sequencer and ViT are compared on ImageNet from patches; here between a small front and head, on drawings.

Cost of one core in bf16: 4 to 6 minutes a run of S and M, 10 of L; 21 runs in two hours.

    python experiments/frankenstein_cost.py [--arms 'BiLSTM2D*'] [--seeds 3] [--smoke] [--report] [--find] [key=value]
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from arms import main
from arms_types import Arm, Claim, Execute, Experiment, Extra
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sketchlab import rng
from sketchlab.engine.protocols import Dataset
from sketchlab.layers.chain import flatten
from sketchlab.pipelines.classify.bilstm2d import field
from sketchlab.report.read import Run
from sketchlab.runs import OpenedRun
from sketchlab.runs.transfer import compose

WORDS = ["experiment=frankenstein/words", "model.input.std=[0.25]", "pipeline.explain=0"]
LARGE = ["model.channels=[32,16,16]", "model.blocks=4"]
NETS = {
    "CNN": ["model=cnn_strokes"],
    "BiLSTM2D, S": ["model=cnn_bilstm2d", "model.blocks=1"],
    "BiLSTM2D, M": ["model=cnn_bilstm2d", "model.blocks=2"],
    "BiLSTM2D, L": ["model=cnn_bilstm2d", *LARGE, "model.hidden=32"],
    "ViT, S": ["model=frames_vit", "model.blocks=1"],
    "ViT, M": ["model=frames_vit", "model.blocks=2"],
    "ViT, L": ["model=frames_vit", *LARGE, "model.heads=8"],
}
ARMS = [Arm(name, [*WORDS, *words]) for name, words in NETS.items()]
CROSS = "a distinct crucifix pattern that is drastically different from existing models"
CLAIMS = [
    *(Claim(f"BiLSTM2D, {s}", f"ViT, {s}", ask=f"At size {s}, is BiLSTM2D better than ViT's blocks?") for s in "SML"),
    Claim("BiLSTM2D, M", "CNN", ask="Are two blocks of BiLSTM2D better than none?"),
    Claim("ViT, M", "CNN", ask="Are two blocks of ViT better than none?"),
    *(Claim(f"BiLSTM2D, {s}", f"ViT, {s}", CROSS, key="cross") for s in "SML"),
]
FIELD_IMAGES = 64  # of the test split that a receptive field is averaged over
CENTRE_PX = 24  # side of the square around the centre that both a cross and a blob fill


@lru_cache(maxsize=2)
def drawn(folder: Path) -> tuple[Dataset[Any], Tensor]:
    """The data of a run, and a keyed sample of its test drawings."""
    run = OpenedRun(folder)
    data = compose(run, []).data.build(run.input)
    every = torch.arange(len(data.splits["test"]))
    order = rng.fold_each(rng.fold(0, "field"), every).argsort(stable=True)
    return data, order[:FIELD_IMAGES].sort().values


def drawings(folder: Path) -> Tensor:
    """(B, T, S, S): the sample as the run's network takes it."""
    data, places = drawn(folder)
    return data.prepare(data.splits["test"].gather(places), None)


def network(run: Run, trained: bool = True) -> nn.Module:
    opened = OpenedRun(run.folder)
    if trained:
        return opened.network()
    torch.manual_seed(rng.fold(int(run.config["config"]["seed"]), "untrained"))
    return opened.model.build(len(opened.classes)).eval()


def million_macs(run: Run) -> float:
    """Of one drawing whose frames are all filled: the front leaves out empty ones."""
    return macs(network(run), *drawings(run.folder).shape[1:3]) / 1e6


def macs(net: nn.Module, frames: int, side: int) -> float:
    """With gradients and without mkldnn: torch's fused LSTM and attention hide their products."""
    counter = FlopCounterMode(display=False)
    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter:
        net(torch.rand(1, frames, side, side))
    return counter.get_total_flops() / 2


@torch.inference_mode()
def forward_ms(run: Run) -> float:
    net, threads, batch = network(run), torch.get_num_threads(), drawings(run.folder)[:32]
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(6):  # the first one warms up
            start = time.perf_counter()
            net(batch)
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 1000 * min(times[1:]) / len(batch)


def cross(run: Run, trained: bool = True) -> float:
    net = network(run, trained)
    blocks = net.get_submodule("blocks") if hasattr(net, "blocks") else None
    if blocks is None:
        return float("nan")  # without mixing nothing beyond the centre is seen
    stages = flatten(net)
    last = max(i for i, stage in enumerate(stages) if any(stage is block for block in blocks.children()))
    data, places = drawn(run.folder)
    chain = nn.Sequential(*stages[: last + 1], Map())
    return cross_of(field(chain, lambda raw: data.prepare(raw, None), data.splits["test"], places))


class Map(nn.Module):
    """(B, h·w, C) tokens → (B, h, w, C); a map as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.dim() == 4 else x.unflatten(1, (round(x.shape[1] ** 0.5), -1))


def cross_of(found: Tensor, places: int = 8) -> float:
    """(S, S) receptive field of the central one of places² → share of its row and column over that of even rings."""
    side = found.shape[0] // places
    middle = (places // 2 + 0.5) * side - 0.5
    at = torch.arange(found.shape[0]) - middle
    near = at.abs() < CENTRE_PX * found.shape[0] / 64 / 2
    outside = (~(near[:, None] & near[None, :])).double()
    band = at.abs() < side / 2
    in_cross = (band[:, None] | band[None, :]).double() * outside
    rings = (at[:, None] ** 2 + at[None, :] ** 2).sqrt().round().long()
    mass, count = (torch.zeros(int(rings.max()) + 1).double().index_put_((rings,), x, accumulate=True)
                   for x in (found.double() * outside, outside))  # fmt: skip
    even = (mass / count.clamp(min=1))[rings] * outside
    return float((found * in_cross).sum() / (even * in_cross).sum())


def smoke(arm: Arm, execute: Execute) -> list[str]:
    words = [word for word in arm.words if not word.startswith(("experiment=", "model.channels"))]
    words += ["data=shapes", "data.classes=[circle,square,triangle]", "data.per_class=20", "loop.epochs=2"]
    words += ["data/stroke_augment=mild", "model.channels=[4,4,8]", "model.head=16"]
    return [word.replace("blocks=4", "blocks=3") for word in words]


EXPERIMENT = Experiment(
    name="frankenstein_cost",
    doc=__doc__ or "",
    title="BiLSTM2D and ViT at three sizes: accuracy, cost, and the cross of the receptive field",
    data="Eight QuickDraw words of some 1,150 drawings, 80% to train on, 920 to test on, the same for all seeds.",
    change="ImageNet and whole networks as Sequencer's authors compare them, more drawings, longer training.",
    arms=ARMS,
    claims=CLAIMS,
    published=[],
    keys=["test/accuracy"],
    extra=(
        Extra("million MACs", million_macs),
        Extra("ms a drawing", forward_ms),
        Extra("cross", cross, "larger"),
        Extra("cross, untrained", lambda run: cross(run, trained=False)),
    ),
    seeds=3,
    of_seed=lambda seed: [f"seed={seed}"],
    common=["runtime.precision=bf16", "runtime.workers=0"],
    smoke=smoke,
)

if __name__ == "__main__":
    main(EXPERIMENT)
