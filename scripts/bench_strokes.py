"""Drawings to frames, and an epoch of frankenstein's network: sketchlab's way beside PIL, OpenCV and JSON bitmaps.

Frames are frankenstein's: 1-px lines on 256×256, the largest of each 4×4 cell, frame k with strokes 0…k, eight of them.
stroke_peers.py has the other ways; they get their drawings prepared, sketchlab gathers them from its store on disk.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import stroke_peers as peers
import torch
from bench import Row, interleaved
from stroke_peers import FRAMES, SIDE_PX
from torch import nn

from sketchlab import config
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.data.strokes import raster
from sketchlab.engine.runtime import keep_freed_memory, to_device

PEER_BATCH = 32  # their best of 8, 32, 128 and 256
GOALS = {"plain PIL": 100.0, "best PIL": 10.0, "OpenCV": 10.0, "JSON bitmaps": 100.0}
EPOCH_GOALS, MOST_WAITING = {"cpu": {"json": 1.7}, "cuda": {"json": 10.0, "resident": 3.0}}, 0.02
SOURCES = {"json": "DataLoader over JSON with {} workers", "resident": "slices of one tensor on the card"}
CLASSES = 8  # of quickdraw_10


def compare(
    drawings: int = 1024, repeats: int = 7, batch: int = 128, epochs: int = 5, workers: int = 2
) -> Iterator[Row]:
    """drawings to frames on one core (repeats=0: none), cnn_lstm epochs (epochs=0: none); needs SKETCHLAB_DATA with
    quickdraw_10"""
    if importlib.util.find_spec("cv2") is None:
        sys.exit("error: the comparison with OpenCV needs it: pip install 'sketchlab[bench]'")
    words = ["model=cnn_lstm", "data=strokes", "data.folder=quickdraw_10/simplified"]
    words += [f"data.per_class={drawings // CLASSES}", "data.splits.train=1", "data.splits.val=0", "data.splits.test=0"]
    with tempfile.TemporaryDirectory() as folder:
        run = config.from_overrides(words)
        train, document = run.data.build(run.model.config.input).splits["train"], run.data.config.raster
        peers.write_json(np.concatenate(list(frames_of(train, document, batch))), train.labels, Path(folder))
        if repeats:
            yield from frame_rows(train, document, repeats, batch, Path(folder))
        if epochs:
            yield from epoch_rows(words, epochs, workers, Path(folder))


# --- frames


def frame_rows(train: Any, document: raster.Config, repeats: int, batch: int, folder: Path) -> Iterator[Row]:
    """A row per peer, all measured in the same turns on one core; the files of the JSON side stay in `folder`."""
    n = len(train)
    plain = stroke_batch.to_drawings(train.gather(torch.arange(n)))
    points = sum(len(stroke[0]) for drawing in plain for stroke in drawing)
    sides: dict[str, Callable[[], Iterator[np.ndarray]]] = {
        "sketchlab": lambda: frames_of(train, document, batch),
        "plain PIL": lambda: (peers.plain_pil(drawing)[None] for drawing in plain),
        "best PIL": in_batches(peers.best_pil, [peers.flat_lists(drawing) for drawing in plain], PEER_BATCH),
        "OpenCV": in_batches(peers.opencv, [peers.arrays(drawing) for drawing in plain], PEER_BATCH),
        "JSON bitmaps": lambda: (f.numpy() for f, _ in peers.loader(folder, n, PEER_BATCH, 0, shuffle=False)),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a run; every side gains
    try:
        every = {name: np.concatenate(list(side())) for name, side in sides.items()}
        same = {name: float((f == every["sketchlab"]).all((1, 2, 3)).mean()) for name, f in every.items()}
        took = interleaved({name: timed(side, n, name) for name, side in sides.items()}, repeats)
    finally:
        torch.set_num_threads(threads)
    for name in ("plain PIL", "best PIL", "JSON bitmaps"):
        assert same[name] == 1, f"{name}: {1 - same[name]:.2%} of the drawings have other frames"
    for name, goal in GOALS.items():
        yield Row(
            f"frames beside {name}",
            {name: took[name], "sketchlab": took["sketchlab"]},
            "drawing",
            goal=f"{goal:g} times as fast",
            reached=lambda peer, mine, goal=goal: peer >= goal * mine,
            notes={
                "drawings": f"{n} of quickdraw_10, {points / n:.0f} points and "
                f"{sum(map(len, plain)) / n:.1f} strokes each; one core, batches of {batch}, theirs {PEER_BATCH}",
                "drawings_with_equal_frames": f"{same[name]:.1%}" + OTHER_LINES.get(name, ""),
                "drawings_per_s": {side: round(1 / float(np.median(took[side]))) for side in (name, "sketchlab")},
            },
        )
    if torch.cuda.is_available():
        yield gpu_row(train, document, repeats, took["plain PIL"])


OTHER_LINES = {"OpenCV": " (its lines take other pixels on the way: it draws another set of frames)"}


def frames_of(train: Any, document: raster.Config, batch: int) -> Iterator[np.ndarray]:
    """(B, 8, 64, 64) uint8 of one batch after the other, from the store on disk."""
    for part in torch.arange(len(train)).split(batch):
        yield raster.frames(train.gather(part), document, SIDE_PX, FRAMES).numpy()


def gpu_row(train: Any, document: raster.Config, repeats: int, peer: list[float]) -> Row:
    """Batches of 4096 from the store in memory, laid on the canvas there, drawn on the GPU."""
    device = torch.device("cuda")
    rows, picture = torch.arange(4096) % len(train), raster.Picture(document, SIDE_PX, "frames", FRAMES)

    def measure() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(20):
            picture.draw(to_device(picture.lay(train.gather(rows)), device))
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / 20 / len(rows)

    ours = interleaved({"sketchlab": measure}, repeats)["sketchlab"]
    sides = {"plain PIL": peer, "sketchlab": ours}
    return Row("frames on a GPU", sides, "drawing", "none: stated", None, notes={"batch": 4096})


def timed(side: Callable[[], Iterator[np.ndarray]], n: int, name: str) -> Callable[[], float]:
    """Seconds a drawing; a side of milliseconds is run ten times in a row."""
    times = 10 if name == "sketchlab" else 1

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(times):
            for _ in side():
                pass
        return (time.perf_counter() - start) / times / n

    return measure


def in_batches(
    way: Callable[[list[Any]], np.ndarray], given: list[Any], batch: int
) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: (way(given[low : low + batch]) for low in range(0, len(given), batch))


# --- an epoch


class _Enough(Exception):
    """Leaves fit() without its final evaluation."""


def epoch_rows(words: list[str], repeats: int, workers: int, folder: Path) -> Iterator[Row]:
    """Epochs in turns with each peer, which has a process of its own."""
    from sketchlab.engine.runtime import Runtime

    run = config.from_overrides([*words, "loop.epochs=1000", "loop.save_every_s=3600"])
    data = run.data.build(run.model.config.input)
    runtime = Runtime(run.runtime)
    size = run.loop.batch_size
    for source, goal in EPOCH_GOALS[runtime.device.type].items():
        task = run.pipeline.build(network(words, len(data.classes)), data, run.loop, runtime, run.seed)
        steps = task.n_train // size
        made = functools.partial(network, words, len(data.classes))
        with elsewhere(made, folder, steps * size, size, workers if source == "json" else -1) as peer:
            sides, waiting = in_turns(task, run, runtime, peer, steps, repeats)
        yield Row(
            "epoch" if source == "json" else f"epoch beside {source}",
            sides,
            f"epoch of {steps * size} drawings",
            goal=f"{goal:g} times as fast, waiting below {MOST_WAITING:.0%}",
            reached=lambda theirs, mine, goal=goal, waiting=waiting: theirs >= goal * mine and waiting < MOST_WAITING,
            notes={
                "network": f"cnn_lstm, {len(data.classes)} classes, batch {size}, Adam; the weights start the same",
                "bare": f"frankenstein's layers (Conv3d), fp32{' (TF32)' * (runtime.device.type == 'cuda')}, "
                + SOURCES[source].format(workers),
                "sketchlab": f"{runtime.precision}, {run.runtime.workers} threads that fetch",
                "waiting_for_data": f"{waiting:.2%}",
                "drawings_per_s": {k: round(steps * size / float(np.median(v))) for k, v in sides.items()},
            },
        )


def network(words: list[str], n_classes: int) -> nn.Module:
    torch.manual_seed(0)
    return config.from_overrides(words).model.build(n_classes)


def in_turns(
    task: Any, run: Any, runtime: Any, peer: Callable[[], float], steps: int, repeats: int
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each side's epochs, the first of each thrown away, and the share that sketchlab waited for data."""
    from sketchlab.engine.loop import fit
    from sketchlab.engine.rundir import RunDir
    from sketchlab.metrics.declared import of_pipeline
    from sketchlab.storage.files import read_lines

    sides: dict[str, list[float]] = {"bare": [], "sketchlab": []}
    begin_step, done, began = task.begin_step, 0, 0.0

    def marked(epoch: float) -> Any:
        nonlocal done, began
        if done % steps == 0:
            if done:
                sides["sketchlab"].append(time.perf_counter() - began)
            if len(sides["sketchlab"]) > repeats:
                raise _Enough
            sides["bare"].append(peer())
            began = time.perf_counter()
        done += 1
        return begin_step(epoch)

    with tempfile.TemporaryDirectory() as place, open(os.devnull, "w", encoding="utf-8") as nowhere:
        folder = RunDir(Path(place))
        folder.open()
        folder.declare(of_pipeline(run.pipeline.name))
        task.begin_step = marked
        try:
            with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere), contextlib.suppress(_Enough):
                fit(task, run.loop, run.seed, runtime, folder)
        finally:
            folder.lock.release()
        waited = sum(row["wait_s"] for row in read_lines(folder.path / "timing.jsonl"))
    return {side: found[1 : repeats + 1] for side, found in sides.items()}, waited / sum(sides["sketchlab"])


@contextlib.contextmanager
def elsewhere(*what: Any) -> Iterator[Callable[[], float]]:
    """peers.serve's epoch, in a process that has not touched sketchlab's runtime; gives its seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=peers.serve, args=(there, *what))
    process.start()

    def epoch() -> float:
        here.send("epoch")
        return here.recv()

    try:
        yield epoch
        here.send("")
        process.join()
    finally:
        process.terminate()
        process.join()
