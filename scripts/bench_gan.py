"""A GAN's step beside the plainest loop of the same networks: real, fake, discriminator's step, generator's step.

On a GPU the loop runs in fp32 (TF32 in convolutions, as PyTorch comes), plain or with its networks compiled; sketchlab
in fp32, and as it comes: bf16, channels last, deterministic, steps recorded as graphs.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from bench import Row, beside_fit
from bench_engine import pictures
from torch import Tensor, nn

from sketchlab import config
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime

PLAIN = ["runtime.precision=fp32", "runtime.channels_last=false", "runtime.deterministic=false"]
OURS = ["runtime.precision=bf16"]
GPU_TIMES = 16  # as many steps and as long blocks as on a CPU
EPOCH_STEPS = 10_000  # no evaluation falls into what is timed


def compare(steps: int = 60, block: int = 6, model: str = "dcgan", size_px: int = 64, batch: int = 64) -> Iterator[Row]:
    """iterations of a DCGAN beside a bare fp32 loop of the same networks, also with our precision and layout"""
    words = [f"model={model}", f"model.input.size_px={size_px}", f"loop.batch_size={batch}", "loop.epochs=2"]
    words += ["pipeline.features=random", f"pipeline.epoch_images={EPOCH_STEPS * batch}", "loop.save_every_s=1e9"]
    if not torch.cuda.is_available():
        yield _row("fp32", [*words, *PLAIN], steps, block, 0.97)
        yield _row("bf16, channels last", [*words, *OURS], steps, block, 1.4)
        return
    steps, block = GPU_TIMES * steps, GPU_TIMES * block
    yield _row("fp32", [*words, "runtime.precision=fp32"], steps, block, 1.0)
    yield _row("bf16", [*words, *OURS], steps, block, 3.0)
    yield _row("bf16, fastest algorithms", [*words, *OURS, "runtime.deterministic=false"], steps, block, 3.0)
    yield _row("bf16 beside compiled", [*words, *OURS], steps, block, 1.5, compiled=True)


def _row(name: str, words: list[str], steps: int, block: int, goal: float, compiled: bool = False) -> Row:
    run = config.from_overrides(words)
    data = pictures(run.model.config.input, 2, 8 * run.loop.batch_size)
    runtime = Runtime(run.runtime)
    runtime.seed(0)
    nets = run.model.build(2)
    bare = bare_step(run, copy.deepcopy(nets), data, runtime, compiled)
    bare(0)  # compiled before anything is timed
    task = run.pipeline.build(nets, data, run.loop, runtime, run.seed)
    task.splits = ()
    sides = beside_fit(task, run, runtime, bare, steps, block).wall_s
    per_s = {side: f"{1 / statistics.median(v):.3g}" for side, v in sides.items()}
    size = f"{run.model.config.input.size_px} px, batch {run.loop.batch_size}"
    return Row(
        name,
        sides,
        "step",
        goal=f"at least {goal} times as many iterations a second as the bare loop in fp32",
        reached=lambda bare_s, ours_s: bare_s / ours_s >= goal,
        notes={"network": f"{run.choices['model']}, {size}", "iterations_a_second": per_s},
    )


def bare_step(
    run: Any, nets: nn.ModuleDict, data: Any, runtime: Runtime, compiled: bool = False
) -> Callable[[int], object]:
    """A step of PyTorch's DCGAN tutorial, fp32, in the usual memory layout."""
    device, loop, train = runtime.device, run.loop, data.splits["train"]
    G, D = (nets[name].to(device).train() for name in ("G", "D"))
    adam = {"lr": loop.lr, "betas": tuple(loop.betas), "fused": device.type == "cuda"}
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), **adam) for net in (G, D))
    if compiled:
        # inductor's change of layout fails on cuDNN's transposed convolutions (torch 2.11)
        G, D = (torch.compile(net, options={"layout_optimization": False}) for net in (G, D))
    images = train.store.to(device).pixels
    order = Order(len(train), loop.batch_size, run.seed)
    z = run.model.config.z

    def loss(logits: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def step(number: int) -> None:
        real = images[order.batch(number)[0].to(device)].float() / 127.5 - 1  # (B, C, S, S)
        opt_d.zero_grad()
        loss(D(real), run.pipeline.config.real_label).backward()
        fake = G(torch.randn(len(real), z, device=device))
        loss(D(fake.detach()), 0.0).backward()
        opt_d.step()
        opt_g.zero_grad()
        loss(D(fake), 1.0).backward()
        opt_g.step()

    return step
