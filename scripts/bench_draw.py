"""An epoch of SketchRNN's decoder beside a plain PyTorch loop: a shuffled DataLoader, batches padded to their longest.

The same network, loss, optimizer and clipping; the loop's drawings lie ready in memory as tensors of points.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from bench import Row, interleaved
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from sketchlab import config, inputs
from sketchlab.engine.loader import Feed, Order
from sketchlab.engine.runtime import Runtime
from sketchlab.pipelines.draw import likelihood

GOAL, MOST_WAITING = 1.5, 0.02


def compare(per_class: int = 200, repeats: int = 5, batch: int = 64, steps: int = 0) -> Iterator[Row]:
    """an epoch of the decoder alone on built-in shapes; steps: of an epoch, 0 = all of it"""
    words = ["model=sketch_rnn_small", "data=shapes", f"data.per_class={per_class}", f"loop.batch_size={batch}"]
    run = config.from_overrides([*words, "data.splits.train=0.9", "data.splits.val=0.05", "data.splits.test=0.05"])
    data, runtime = run.data.build(run.model.config.input), Runtime(run.runtime)
    net = run.model.build(len(data.classes))
    twin = copy.deepcopy(net)
    task = run.pipeline.build(net, data, run.loop, runtime, run.seed)
    twin.scale.copy_(net.scale)
    waits: list[float] = []
    sides = {
        "DataLoader, padded": plain(task, twin.to(runtime.device), run.loop, steps),
        "sketchlab": ours(task, runtime, run, steps, waits),
    }
    took = interleaved(sides, repeats)
    share = sum(waits[1:]) / sum(took["sketchlab"])
    points = f"{int(task.sizes.sum()) / task.n_train:.0f} points on average, {task.n_max} at most"
    yield Row(
        "an epoch of the decoder",
        took,
        "epoch",
        goal=f"{GOAL} times as fast, waiting for data below {MOST_WAITING:.0%}",
        reached=lambda peer, mine: peer >= GOAL * mine and share < MOST_WAITING,
        notes={
            "drawings": f"{task.n_train} shapes of {points}; batches of {batch}",
            "waiting_share": round(share, 5),
            "drawings_per_s": {side: round(task.n_train / statistics.median(v)) for side, v in took.items()},
        },
    )


def ours(task: Any, runtime: Runtime, run: Any, steps: int, waits: list[float]) -> Callable[[], float]:
    """The steps that engine/loop.py takes, without evaluations and checkpoints."""
    order, done = Order(task.n_train, run.loop.batch_size, run.seed, task.views, task.sizes), [0]
    n = steps or order.steps(1)

    def epoch() -> float:
        feed = Feed(order, task.draw, task.prepare, runtime, task.fixed_shapes)
        start = time.perf_counter()
        for batch in feed(done[0], done[0] + n):
            task.begin_step(done[0] * run.loop.batch_size / task.n_train)
            task.train_step(batch)
            done[0] += 1
        waits.append(feed.wait_s)
        return time.perf_counter() - start

    return epoch


def plain(task: Any, net: Any, loop: Any, steps: int) -> Callable[[], float]:
    points = task._points(task.train, torch.arange(task.n_train), None).cpu()
    drawings = [
        (row[:n], label)
        for row, n, label in zip(points, inputs.lengths(points).tolist(), task.train.labels.tolist(), strict=True)
    ]
    end = torch.tensor([0.0, 0, 0, 0, 1])

    def padded(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        rows = pad_sequence([row for row, _ in samples], batch_first=True)
        rows[rows[..., 2:].sum(-1) == 0] = end
        return rows, torch.tensor([label for _, label in samples])

    loader = DataLoader(drawings, loop.batch_size, shuffle=True, collate_fn=padded, drop_last=True)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(net.parameters(), lr=loop.lr)
    device = next(net.parameters()).device

    def epoch() -> float:
        net.train()
        start = time.perf_counter()
        for number, (rows, labels) in enumerate(loader):
            if steps and number >= steps:
                break
            rows = rows.to(device)
            (outputs,) = net(rows, labels.to(device))
            found = likelihood.terms(net, outputs, rows)
            optimizer.zero_grad()
            ((found.moves + found.pen + found.end).mean() / task.n_max).backward()
            nn.utils.clip_grad_norm_(net.parameters(), loop.clip_norm)
            optimizer.step()
        return time.perf_counter() - start

    return epoch
