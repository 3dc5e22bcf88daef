"""Fine-tuning VGG16 at 224 px: sketchlab's step beside others of the same network, each in a process of its own.

On a GPU also beside the sum of its convolutions alone (forward, gradient of the input, gradient of the filter), each by
the fastest algorithm that cuDNN has: what no step of this network can beat by much.

bare: the plainest fp32 loop. lightning: a Lightning module with its defaults, fp32; lightning-bf16: the same with
precision="bf16-mixed". peers=lightning-bf16 measures that row alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import torch
from bench import Row, beside_fit
from bench_engine import bare_step, pictures

from sketchlab import config
from sketchlab.engine.runtime import Runtime

BATCH = 8


@dataclass(frozen=True)
class Beside:
    """A row: sketchlab in a precision, compiled or not, beside a peer."""

    peer: str
    precision: str
    goal: float | None
    compiled: bool = False

    def name(self, batch: int) -> str:
        size = f", batch {batch}" if batch != BATCH else ""
        return f"{self.precision}{', compiled' if self.compiled else ''} beside {self.peer}{size}"


ROWS = [
    *(Beside("bare", "fp32", 1.2), Beside("bare", "bf16", 2.0)),
    *(Beside("lightning", "bf16", 2.0), Beside("lightning-bf16", "bf16", None)),
]
ON_GPU = [Beside("bare", "bf16", 2.0, compiled=True), Beside("lightning-bf16", "bf16", None, compiled=True)]
PEERS = [*dict.fromkeys(row.peer for row in ROWS), "convolutions"]  # the last one on a GPU alone


def compare(
    steps: int = 8,
    batch: int = BATCH,
    size_px: int = 224,
    width: float = 1.0,
    peers: str = "bare,lightning,lightning-bf16,convolutions",
) -> Iterator[Row]:
    """a fine-tuning step of VGG16, all layers training, beside a bare fp32 loop as PyTorch comes, and Lightning's"""
    if unknown := sorted(set(peers.split(",")) - set(PEERS)):
        sys.exit(f"error: peers={unknown[0]}: expected some of {', '.join(PEERS)}")
    words = ["model=vgg16", "model.tune=scratch", f"model.input.size_px={size_px}", f"model.width={width}"]
    words += ["loop.optimizer=sgd", "loop.lr=0.001", "loop.weight_decay=0", f"loop.batch_size={batch}"]
    words += ["loop.epochs=100", "loop.save_every_s=3600"]  # a checkpoint of 1.1 GB is no part of a step
    plain = [*words, "runtime.precision=fp32", "runtime.channels_last=false"]
    on_gpu = torch.cuda.is_available()
    steps, block = (8 * steps, 32) if on_gpu else (steps, 1)
    if on_gpu and "convolutions" in peers.split(","):
        yield from beside_its_convolutions(words, batch, size_px, width)
    for row in [*ROWS, *(ON_GPU if on_gpu else [])]:
        if row.peer not in peers.split(","):
            continue
        with elsewhere(row.peer, plain) as step:
            ours = [f"runtime.precision={row.precision}", f"runtime.compile={str(row.compiled).lower()}"]
            run = config.from_overrides([*words, *ours])
            runtime = Runtime(run.runtime)
            net, data = network_and_data(run)
            task = run.pipeline.build(net, data, run.loop, runtime, run.seed)
            blocks = beside_fit(task, run, runtime, step, steps, block)
            goal = row.goal
            yield Row(
                row.name(batch),
                {row.peer: blocks.wall_s["bare"], "sketchlab": blocks.wall_s["sketchlab"]},
                "step",
                goal=f"{goal:g} times as fast" if goal else "none: stated",
                reached=(lambda peer, mine, goal=goal: peer >= goal * mine) if goal else None,
                notes={
                    "network": f"vgg16, width {width:g}, {size_px} px, batch {batch}, SGD",
                    row.peer: f"{'bf16' if 'bf16' in row.peer else 'fp32'}"
                    f"{' (TF32 in convolutions, as PyTorch comes)' if on_gpu and 'bf16' not in row.peer else ''}, "
                    "contiguous, a process of its own",
                    "sketchlab": f"{row.precision}, channels-last, deterministic"
                    + (", compiled" if row.compiled else "")
                    + ("" if on_gpu else ", freed memory kept"),
                },
            )


def beside_its_convolutions(words: list[str], batch: int, size_px: int, width: float) -> Iterator[Row]:
    """Rows of the whole step, plain and compiled, beside the convolutions alone, in bf16, channels last."""
    run = config.from_overrides([*words, "runtime.precision=bf16"])
    alone_s = convolutions_s(run, batch, size_px)
    for compiled in (False, True):
        more = ["runtime.precision=bf16", "runtime.deterministic=false", f"runtime.compile={str(compiled).lower()}"]
        run = config.from_overrides([*words, *more])
        runtime = Runtime(run.runtime)
        net, data = network_and_data(run)
        task = run.pipeline.build(net, data, run.loop, runtime, run.seed)
        ours = beside_fit(task, run, runtime, lambda _: None, 5 * 32, 32).wall_s["sketchlab"]
        yield Row(
            f"bf16{', compiled' * compiled} beside its convolutions, batch {batch}",
            {"convolutions": [alone_s], "sketchlab": ours},
            "step",
            goal="0.8 times as fast",
            reached=lambda peer, mine: peer >= 0.8 * mine,
            notes={
                "network": f"vgg16, width {width:g}, {size_px} px, batch {batch}, SGD",
                "convolutions": "each alone, bf16, channels last, cuDNN's fastest algorithm; neither bias nor ReLU, "
                "pools, casts of the weights or the optimizer",
                "sketchlab": f"bf16, channels-last, fastest algorithms{', compiled' * compiled}, steps as graphs",
            },
        )


def convolutions_s(run: Any, batch: int, size_px: int) -> float:
    """Seconds of all convolutions of a step, forward and backward, one after the other, replayed as a graph."""
    torch.backends.cudnn.benchmark = True
    net = run.model.build(2)
    shapes: list[tuple[Any, torch.Size]] = []
    hooks = [
        m.register_forward_hook(lambda layer, given, _: shapes.append((layer, given[0].shape)))
        for m in net.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        net(torch.zeros(1, run.model.config.input.channels, size_px, size_px))
    for hook in hooks:
        hook.remove()
    total = 0.0
    how: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16}
    for number, (conv, shape) in enumerate(shapes):
        x = torch.randn(batch, *shape[1:], **how).contiguous(memory_format=torch.channels_last)
        w = torch.randn(conv.weight.shape, **how).contiguous(memory_format=torch.channels_last)
        out = torch.nn.functional.conv2d(x, w, stride=conv.stride, padding=conv.padding)
        pad, stride = list(conv.padding), list(conv.stride)  # type: ignore[arg-type]
        wanted = [number > 0, True, False]  # the images need no gradient

        def both(x=x, w=w, out=out, pad=pad, stride=stride, wanted=wanted) -> None:
            torch.nn.functional.conv2d(x, w, stride=stride, padding=pad)
            torch.ops.aten.convolution_backward(out, x, w, None, stride, pad, [1, 1], False, [0, 0], 1, wanted)

        for _ in range(3):
            both()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(5):
                both()
        times = []
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            graph.replay()
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / 5)
        total += min(times)
    return total


def network_and_data(run: Any) -> tuple[torch.nn.Module, Any]:
    torch.manual_seed(0)
    return run.model.build(2), pictures(run.model.config.input, 2, 4 * run.loop.batch_size)


@contextlib.contextmanager
def elsewhere(peer: str, words: list[str]) -> Iterator[Callable[[int], object]]:
    """The peer's step in another process, which takes nothing over from sketchlab's runtime: its memory is the
    system's."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=serve_bare if peer == "bare" else serve_lightning, args=(there, words, peer), daemon=True
    )
    process.start()
    there.close()  # held here too, the end of that process would be waited for forever

    def step(number: int) -> None:
        here.send(number)
        here.recv()

    try:
        here.recv()
        yield step
    except (EOFError, ConnectionError):
        process.join(10)
        sys.exit(f"error: the process of {peer} ended, exit code {process.exitcode}; why stands above")
    finally:
        process.kill()  # Lightning would catch a gentler word
        process.join()


def serve_bare(pipe: Connection, words: list[str], _: str) -> None:
    run = config.from_overrides(words)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    step = bare_step(
        run, *network_and_data(run), SimpleNamespace(device=device, precision="fp32", autocast=contextlib.nullcontext)
    )
    pipe.send("ready")
    while True:
        step(pipe.recv())
        if device.type == "cuda":
            torch.cuda.synchronize()
        pipe.send("done")


def serve_lightning(pipe: Connection, words: list[str], peer: str) -> None:
    import lightning  # pyright: ignore[reportMissingImports]  # extra: bench
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, TensorDataset

    run = config.from_overrides(words)
    net, data = network_and_data(run)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            images, labels = batch  # (B, C, S, S) uint8, (B,)
            return F.cross_entropy(self.net(images.float() / 255), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=run.loop.lr, momentum=run.loop.momentum)

        def on_train_batch_start(self, *_: object) -> None:
            pipe.recv()

        def on_train_batch_end(self, *_: object) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            pipe.send("done")

    train = data.splits["train"]
    loader = DataLoader(TensorDataset(train.store.pixels, train.labels), run.loop.batch_size, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=10_000, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, precision="bf16-mixed" if "bf16" in peer else "32-true",
    )  # fmt: skip
    pipe.send("ready")
    trainer.fit(Module(), loader)
