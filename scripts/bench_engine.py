"""What the engine adds to a step: sketchlab's loop beside a bare one, the same network on the same batches."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from bench import Row, beside_fit
from torch import nn

from sketchlab import config
from sketchlab.data.dataset import Dataset, Images, Split
from sketchlab.data.images.augment import Prepare
from sketchlab.engine import optim
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime

STEPS_PER_EPOCH = 50
MOST_SHARE, MOST_S = 0.03, 2e-4


def compare(steps: int = 1200, block: int = 20, workers: int = 2) -> Iterator[Row]:
    """what the engine adds to a step of a tiny network, beside a bare loop that ends with the same weights"""
    # constant rate, no dropout: then a bare loop without keyed seeds computes the same
    words = ["model=small_cnn", "model.input.size_px=16", "model.widths=[16,32]", "model.dropout=0"]
    words += ["loop.schedule=constant", "loop.warmup_epochs=0", f"runtime.workers={workers}"]
    words += [f"loop.epochs={steps // STEPS_PER_EPOCH + 1}"]
    run = config.from_overrides(words)
    data = pictures(run.model.config.input, 10, STEPS_PER_EPOCH * run.loop.batch_size)
    runtime = Runtime(run.runtime)
    runtime.seed(0)
    net = run.model.build(10)
    twin = copy.deepcopy(net)
    task = run.pipeline.build(net, data, run.loop, runtime, run.seed)
    block = 10 * block if runtime.device.type == "cuda" else block
    blocks = beside_fit(task, run, runtime, bare_step(run, twin, data, runtime), steps, block)
    sides = blocks.wall_s
    added = [b - a for a, b in zip(*sides.values(), strict=True)]
    processor_s = {side: f"{statistics.median(v) * 1e3:.3f} ms" for side, v in blocks.processor_s.items()}
    fastest = {side: f"{min(v) * 1e3:.3f} ms" for side, v in sides.items()}
    yield Row(
        "step",
        sides,
        "step",
        goal=f"less than {MOST_SHARE:.0%} or {MOST_S * 1e3} ms a step more",
        reached=lambda bare, _: statistics.median(added) < max(MOST_SHARE * bare, MOST_S),
        notes={
            "network": f"small_cnn, widths {run.model.config.widths}, 1×16×16, batch {run.loop.batch_size}",
            "added_share": f"{statistics.median(added) / statistics.median(sides['bare']):.1%}",
            "processor_time_a_step": processor_s,  # of all threads: what a busy machine disturbs less
            "fastest_block": fastest,
            "same_weights_at_the_end": same(net, twin),
        },
    )


def pictures(input: Any, n_classes: int, n: int) -> Dataset:
    """n random images in memory, as a data set without evaluation."""
    draw = torch.Generator().manual_seed(0)
    shape = (n, input.channels, input.size_px, input.size_px)
    pixels = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)  # (n, C, S, S)
    labels = torch.randint(0, n_classes, (n,), generator=draw)
    split = Split(Images(pixels), torch.arange(n), labels, [str(i) for i in range(n)], torch.arange(n))
    return Dataset([str(i) for i in range(n_classes)], {"train": split}, Prepare(input, None), 0, "bench")


def bare_step(run: Any, net: nn.Module, data: Dataset, runtime: Any) -> Callable[[int], object]:
    """A step of the plainest loop: index, float, forward, cross-entropy, backward, step."""
    layout = torch.channels_last if run.runtime.channels_last else torch.contiguous_format
    train, loop, device = data.splits["train"], run.loop, runtime.device
    images, labels = train.store.to(device).pixels, train.labels.to(device)
    net = net.to(device).to(memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = optim.make(list(net.parameters()), loop, runtime)
    order = Order(len(train), loop.batch_size, run.seed)
    batches = [order.batch(step)[0].to(device) for step in range(order.steps(loop.epochs))]

    def step(number: int) -> None:
        places = batches[number]
        inputs = (images[places].float() / 255).contiguous(memory_format=layout)  # (B, C, S, S)
        with runtime.autocast():
            logits = net(inputs)
        F.cross_entropy(logits.float(), labels[places]).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def same(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return all(torch.equal(one[key], two[key]) for key in one)
