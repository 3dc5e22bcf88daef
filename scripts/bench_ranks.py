"""How a training step scales over ranks: one rank and two on this machine's CPU, and the model beside them.

The ranks are those of runtime.ranks: processes that fit() trains in and gloo joins, here with one thread each. Two
ranks take turns with one, first with a batch of its size each, then with halves of it. scripts/ranks_model.py says
what the model is, and what follows from it for GPUs.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from bench import Row, interleaved, seconds
from ranks_model import Link, fitted, reduce_s

from sketchlab import config, rng
from sketchlab.engine import loop, rundir
from sketchlab.engine.runtime import Runtime
from sketchlab.metrics.declared import of_pipeline
from sketchlab.storage.files import read_json, write_json
from sketchlab.training import launch

FRESH = ["model.weights=none", "model.tune=scratch"]
NETWORKS = {  # what is measured → its words and the batch of a rank
    "small_cnn": ([], 64),
    "vgg16": ([*FRESH, "model.input.size_px=32"], 8),
}
WORDS = ["data=shapes", "data.per_class=24", "runtime.device=cpu", "runtime.precision=fp32", "runtime.workers=0"]
WORDS += ["loop.lr=0.00001", "loop.epochs=100000", "loop.eval_every=100000", "loop.save_every_s=1e9"]  # steps alone
WARMUP = 2  # steps of a process that are thrown away
SIZES = [2**10, 2**16, 2**20, 2**22, 2**24, 2**26]  # bytes of the all-reduces that a link is fitted to


def compare(repeats: int = 3, steps: int = 12, networks: str = "small_cnn,vgg16") -> Iterator[Row]:
    """a training step on one rank and on two of one CPU thread each, and a model of the gradients' all-reduce"""
    if unknown := set(networks.split(",")) - set(NETWORKS):
        sys.exit(f"error: networks={networks}: {min(unknown)} is none of {', '.join(NETWORKS)}")
    took_s = launched(2, [], all_reduces, repeats * 5)
    link = fitted(SIZES, took_s, 2)
    for name in networks.split(","):
        yield from rows(name, repeats, steps, link, took_s)


def rows(name: str, repeats: int, steps: int, link: Link, took_s: list[float]) -> Iterator[Row]:
    words, batch = NETWORKS[name]
    plan = {"1 rank": (1, batch), "2 ranks": (2, 2 * batch), "2 ranks, half each": (2, batch)}
    said: dict[str, list[dict[str, float]]] = {side: [] for side in plan}

    def step_s(side: str) -> float:
        ranks, size = plan[side]
        said[side].append(launched(ranks, [f"model={name}", *words, f"loop.batch_size={size}"], train, steps))
        return said[side][-1]["step_s"]

    one, two, half = interleaved({s: lambda s=s: step_s(s) for s in plan}, repeats, warmup=0).values()
    about = {"network": f"{name}, shapes, fp32, one thread a rank, gloo"}
    gain = 2 * statistics.median(one) / statistics.median(two)
    notes = {**about, "batch": f"{batch} a rank", "images_a_second": f"{gain:.2f} times those of one rank, of 2"}
    notes |= parts(said["2 ranks"])
    yield Row(f"{name}, same batch a rank", {"1 rank": one, "2 ranks": two}, "step", "none: stated", notes=notes)
    notes = {**about, "batch": f"{batch} in all", **parts(said["2 ranks, half each"])}
    sides = {"1 rank": one, "2 ranks, half each": half}
    yield Row(f"{name}, same batch in all", sides, "step", "none: stated", notes=notes)
    yield predicted(name, one, said["2 ranks"], link, took_s)


def predicted(name: str, one: list[float], two: list[dict[str, float]], link: Link, took_s: list[float]) -> Row:
    n_bytes = two[0]["bytes"]
    guess = [s + reduce_s(n_bytes, 2, link) for s in one]
    off = statistics.median(guess) / statistics.median(said["step_s"] for said in two) - 1
    return Row(
        f"{name}, model",
        {"2 ranks, measured": [said["step_s"] for said in two], "2 ranks, model": guess},
        "step",
        "none: stated",
        estimated="the model's side: a step of one rank, and an all-reduce over the fitted link",
        notes={
            "model": f"{off:+.1%} of what was measured",
            "all_reduce": f"model {seconds(reduce_s(n_bytes, 2, link))}, {parts(two)['all_reduce']} in the step",
            "link": f"{link.bandwidth / 1e9:.3g} GB/s, {link.latency_s * 1e6:.3g} µs a message, fitted to",
            "fit": {f"{n:,} bytes": f"{seconds(t)}, model {seconds(reduce_s(n, 2, link))}"
                    for n, t in zip(SIZES, took_s, strict=True)},
        },
    )  # fmt: skip


def parts(said: list[dict[str, float]]) -> dict[str, str]:
    """Where a step's communication went, medians over the repetitions."""
    middle = {key: statistics.median(one[key] for one in said) for key in said[0]}
    return {
        "gradient": f"{middle['bytes'] / 1e6:.3g} MB",
        "all_reduce": seconds(middle["reduce_s"]),  # of the rank that came last, which does not wait
        "waiting_for_the_slower": seconds(middle["wait_s"]),
        "flat_and_back": seconds(middle["flat_s"]),  # the gradients in one piece, averaged, and to their places
        "rest_of_the_step": seconds(middle["rest_s"]),  # what a rank alone would do, beside another one
    }


def launched(ranks: int, words: list[str], work: Callable[..., None], *args: Any) -> Any:
    """What rank 0 of work(runtime, run, path, *args) wrote to `path`; several ranks are processes, as in a run."""
    run = config.from_overrides([*WORDS, *words, f"runtime.ranks={ranks}"])
    launch.prepare_environment(run.runtime)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as root:
        try:
            launch.launch(run.runtime, work, run, Path(root) / "measured.json", *args)
        finally:
            torch.set_num_threads(threads)
        return read_json(Path(root) / "measured.json")


def all_reduces(runtime: Runtime, run: Any, path: Path, times: int) -> None:
    torch.set_num_threads(1)
    out = []
    for size in SIZES:
        flat, took = torch.zeros(size // 4), []
        for _ in range(WARMUP + times):
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(flat)
            took.append(time.perf_counter() - start)
        # the rank that came last: the time of the others has their waiting in it
        out.append(statistics.median(min(times) for times in zip(*runtime.each(took[WARMUP:]), strict=True)))
    if runtime.rank == 0:
        write_json(path, out)


class _Enough(Exception):
    """Leaves fit() without its final evaluation."""


def train(runtime: Runtime, run: Any, path: Path, steps: int) -> None:
    """The run's own fit() for some steps, its all-reduce of the gradients under the clock."""
    torch.set_num_threads(1)
    data = run.data.build(run.model.config.input)
    runtime.seed(rng.fold(run.seed, "init"))
    task = run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, run.seed)
    begin_step, mean_grads, all_reduce = task.begin_step, runtime.mean_grads, dist.all_reduce
    marks: list[float] = []  # where each step began
    reduces: list[float] = []  # seconds of each all-reduce
    means: list[float] = []  # the same with what is done before and after it
    n_bytes = 0

    def marked(epoch: float) -> Any:
        marks.append(time.perf_counter())
        if len(marks) > WARMUP + steps:
            raise _Enough
        return begin_step(epoch)

    def timed(flat: torch.Tensor) -> None:
        nonlocal n_bytes
        start, n_bytes = time.perf_counter(), flat.nbytes
        all_reduce(flat)
        reduces.append(time.perf_counter() - start)

    def averaged(parameters: Any) -> None:
        start = time.perf_counter()
        with patch.object(dist, "all_reduce", timed):
            mean_grads(parameters)
        means.append(time.perf_counter() - start)

    task.begin_step, runtime.mean_grads = marked, averaged  # type: ignore[method-assign]
    folder = rundir.RunDir(path.parent, writes=runtime.rank == 0)
    folder.declare(of_pipeline(run.pipeline.name))
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.suppress(_Enough),
    ):
        loop.fit(task, run.loop, run.seed, runtime, folder)
    every = runtime.each(reduces)
    if runtime.rank == 0:
        steps_s = [b - a for a, b in zip(marks, marks[1:], strict=False)]
        write_json(path, {"bytes": n_bytes, **medians(steps_s, means, every)})


def medians(steps_s: list[float], means: list[float], every: list[list[float]]) -> dict[str, float]:
    """Of rank 0's steps after the warm-up; `every` rank's all-reduces, none where there is one rank."""
    own = every[0] or [0.0] * len(steps_s)
    waits = [max(times) - min(times) for times in zip(*every, strict=True)] or own
    middle = {
        "step_s": steps_s,
        "reduce_s": [min(times) for times in zip(*every, strict=True)] or own,
        "wait_s": waits,
        "flat_s": [mean - reduce for mean, reduce in zip(means, own, strict=True)],
        "rest_s": [step - mean for step, mean in zip(steps_s, means, strict=True)],
    }
    return {key: statistics.median(values[WARMUP:]) for key, values in middle.items()}
