"""plan=true: what a run would do and cost, without doing it: found, resumed or new, seconds and memory.

A short probe trains a few samples of the same data for two epochs, in a folder that is thrown away, through the very
code that trains: steps, evaluations, saving, what explains the result and the page are timed there and scaled to the
whole. One probe serves all runs of a sweep that have the same model, input, batch, precision and pipeline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sketchlab.config import RunConfig
from sketchlab.training.prepare import Prepared

SAMPLES = 256  # of each evaluated split in a probe, at most
IMAGES = 64  # generated ones in a probe, at most
LEAST_S = 1.0  # of timed steps
STEPS = 4  # an epoch of the first probe has
FIT_ON = (8, 4)  # a baseline is fitted on these parts of its samples, the last two of which say how it grows


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds of the parts of a run, and its memory."""

    setup: float  # building, describing; without frozen features
    features: float  # of all samples
    step: float
    evaluation: float  # of the whole val split
    final: float  # the last evaluations and what explains them
    save: float
    report: float
    memory_mb: float


@dataclasses.dataclass(frozen=True)
class Row:
    state: str  # found, resumed, new
    seconds: float
    memory_mb: float
    note: str = ""

    def plain(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


_known: dict[str, Costs] = {}  # of this process: by what a probe depends on
_started: set[str] = set()  # probes whose frozen features an earlier run of the plan will have kept


def of(prepared: Prepared) -> Row:
    """What the run would do, and what it would cost here."""
    from sketchlab.engine.loader import Order

    run, folder = prepared.run, prepared.folder
    state = folder.examine().state
    if state == "finished" and not run.rerun:
        return Row("found", 0.0, 0.0)
    began = time.perf_counter()
    data = run.data.build(run.model.config.input)
    read_s = time.perf_counter() - began  # the cache has it by now, as it will when the run starts
    key = _key(prepared)
    with _on_one_rank(run) as (alone, ranks):
        if key not in _known:
            _known[key] = _probed(alone, data)
    costs = _known[key]
    features = 0.0 if key in _started else costs.features
    _started.add(key)
    seconds = read_s + costs.setup + features + costs.final + costs.save + costs.report
    note, done = "", 0
    if run.loop is not None:
        n = _epoch(run, data)
        total = Order(n, min(run.loop.batch_size, n), run.seed, 0).steps(run.loop.epochs)
        last = folder.last() if state == "resumable" and not run.rerun else None
        done = last["step"] if last else 0
        left = (total - done) / max(total, 1)
        evaluations = math.ceil(run.loop.epochs / run.loop.eval_every) * left
        training = (total - done) * costs.step + evaluations * costs.evaluation
        seconds += training * (1 + costs.save / max(run.loop.save_every_s, costs.step))
        note = "at most: loop.patience may end it sooner" if run.loop.patience else ""
    if ranks > 1:
        note = f"measured on one rank with a {ranks}th of the batch" + f"; {note}" * bool(note)
    return Row("resumed" if done else "new", seconds, costs.memory_mb, note)


def started_s() -> float:
    """Seconds since this process began, on Linux; 0 elsewhere."""
    try:
        ticks = float(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        return float(Path("/proc/uptime").read_text("utf-8").split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def table(rows: Sequence[tuple[str, Row]], at_once: int = 1, start_s: float = 0.0) -> str:
    """A line per run, then the total. at_once: runs side by side; start_s: of the command, once."""
    from sketchlab.engine.loop import duration

    cells = [("run", "state", "about", "memory", "")]
    for name, row in rows:
        costs = row.state != "found"
        about, memory = (duration(row.seconds), f"{row.memory_mb:,.0f} MB") if costs else ("–", "–")
        cells.append((name, row.state, about, memory, row.note))
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    whole = start_s + max(sum(row.seconds for _, row in rows) / at_once, max((r.seconds for _, r in rows), default=0.0))
    counts = {s: sum(row.state == s for _, row in rows) for s in ("found", "resumed", "new")}
    parts = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    beside = f", {at_once} side by side" if at_once > 1 else ""
    return "\n".join([*lines, f"in all: {parts}; about {duration(whole)}{beside}; nothing was trained"])


def _key(prepared: Prepared) -> str:
    """What a probe depends on."""
    identity, run = prepared.identity, prepared.run
    loop = {k: v for k, v in identity.get("loop", {}).items() if k in ("batch_size", "accumulate", "optimizer")}
    kept = {group: identity[group] for group in ("data", "model", "pipeline", "runtime", "samples")}
    pipeline_values = dataclasses.asdict(run.pipeline.config)
    return json.dumps([kept, loop, pipeline_values, dataclasses.asdict(run.runtime)], sort_keys=True, default=str)


@contextlib.contextmanager
def _on_one_rank(run: RunConfig) -> Iterator[tuple[RunConfig, int]]:
    ranks, loop = run.runtime.ranks, run.loop
    if loop is not None:
        loop = dataclasses.replace(loop, batch_size=max(1, loop.batch_size // ranks))
    yield dataclasses.replace(run, loop=loop, runtime=dataclasses.replace(run.runtime, ranks=1)), ranks


def _epoch(run: RunConfig, data: Any) -> int:
    """Samples of an epoch, as the pipelines count them."""
    train = data.splits["train"]
    n = max(len(train), len(getattr(train, "photo", train)) if hasattr(run.pipeline.config, "epoch_images") else 0)
    return n * max(1, math.ceil(getattr(run.pipeline.config, "epoch_images", 1) / n))


def _probed(run: RunConfig, data: Any) -> Costs:
    if run.loop is None:
        return _baseline(run, data)
    steps = STEPS
    while True:
        costs, train_s = _two_epochs(run, data, steps)
        if train_s >= LEAST_S or steps * run.loop.batch_size >= _epoch(run, data):
            return costs
        steps = math.ceil(steps * min(16.0, 1.5 * LEAST_S / max(train_s, 1e-3)))


def _two_epochs(run: RunConfig, data: Any, steps: int) -> tuple[Costs, float]:
    """Costs by a run of two epochs of so many steps; and how long the second one's steps took."""
    from sketchlab.storage.files import read_lines

    few = {name: SAMPLES for name in data.splits} | {"train": steps * run.loop.batch_size}
    part = dataclasses.replace(data, splits={name: fewer(split, few[name]) for name, split in data.splits.items()})
    pipeline, scale = run.pipeline, 1.0
    if (images := getattr(pipeline.config, "eval_images", 0)) > IMAGES:
        smaller = dataclasses.replace(pipeline.config, eval_images=IMAGES)
        pipeline, scale = dataclasses.replace(pipeline, config=smaller), images / IMAGES
    if hasattr(pipeline.config, "epoch_images"):
        pipeline = dataclasses.replace(pipeline, config=dataclasses.replace(pipeline.config, epoch_images=1))
    loop = dataclasses.replace(run.loop, epochs=2, eval_every=1, patience=0, save_every_s=1e9)
    small = dataclasses.replace(run, pipeline=pipeline, loop=loop)
    with _thrown_away(small, part) as found:
        rows = read_lines(found.folder / "timing.jsonl")
        second = rows[-1]
        n_steps = second["step"] - rows[0]["step"]
        timed = sum(row[key] for row in rows for key in ("train_s", "eval_s", "save_s"))
    sizes = {name: len(split) / max(1, len(part.splits[name])) for name, split in data.splits.items()}
    grows = scale if hasattr(pipeline.config, "eval_images") else sizes.get("val", 1.0)
    evaluation = second["eval_s"] * grows
    ratio = len(part.splits["test"]) / max(1, len(part.splits["val"])) if {"val", "test"} <= sizes.keys() else 0.0
    short = second["eval_s"] * (1 + ratio)
    tests = second["eval_s"] * ratio * (scale if hasattr(pipeline.config, "eval_images") else sizes.get("test", 1.0))
    final = max(0.0, found.fit_s - timed - short) + evaluation + tests
    whole = sum(map(len, data.splits.values())) / sum(map(len, part.splits.values()))
    costs = Costs(
        setup=max(0.0, found.work_s - found.fit_s - found.features_s),
        features=found.features_s * whole,
        step=second["train_s"] / n_steps,
        evaluation=evaluation,
        final=final,
        save=second["save_s"],
        report=found.report_s,
        memory_mb=second["memory_mb"],
    )
    return costs, second["train_s"]


def _baseline(run: RunConfig, data: Any) -> Costs:
    """By fits on growing parts of the samples: seconds grow as a power of their number, which two of them tell."""
    from sketchlab.storage.files import read_lines

    n, measured = len(data.splits["train"]), []
    splits = data.splits
    for part_of in FIT_ON:
        least = 2 * len(data.classes)
        splits = {name: fewer(split, max(least, len(split) // part_of)) for name, split in data.splits.items()}
        part = dataclasses.replace(data, splits=splits)
        with _thrown_away(run, part) as found:
            (row,) = read_lines(found.folder / "timing.jsonl")
        measured.append((len(splits["train"]), row, found))
    (n_1, first, _), (n_2, row, found) = measured
    growth = math.log(max(row["train_s"], 1e-3) / max(first["train_s"], 1e-3)) / math.log(max(n_2 / n_1, 1.01))
    whole = sum(map(len, data.splits.values())) / sum(map(len, splits.values()))
    fit = row["train_s"] * (n / n_2) ** min(max(growth, 0.5), 3.0)
    return Costs(
        setup=max(0.0, found.work_s - found.fit_s - found.features_s) + fit,
        features=found.features_s * whole,
        step=0.0,
        evaluation=0.0,
        final=row["eval_s"] * whole,
        save=row["save_s"],
        report=found.report_s,
        memory_mb=row["memory_mb"],
    )


@dataclasses.dataclass
class _Probe:
    folder: Path
    work_s: float = 0.0
    fit_s: float = 0.0
    features_s: float = 0.0
    report_s: float = 0.0


@contextlib.contextmanager
def _thrown_away(run: RunConfig, data: Any) -> Iterator[_Probe]:
    """A run through training/work.py in a folder that is gone afterwards, timed, without a word."""
    import sketchlab.report
    from sketchlab.engine import features, loop
    from sketchlab.engine.rundir import RunDir
    from sketchlab.layers import norms
    from sketchlab.training import launch, work

    with (
        tempfile.TemporaryDirectory(prefix="sketchlab-plan-") as root,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
    ):
        probe = _Probe(Path(root, "a-b", "0" * 12))
        folder = RunDir(probe.folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            for module, name in ((loop, "fit"), (loop, "fit_once")):
                stack.enter_context(_timed(module, name, probe, "fit_s"))
            stack.enter_context(_timed(features.Features, "_run", probe, "features_s"))
            stack.enter_context(_replaced(features, "KEEP_FROM_S", math.inf))
            stack.enter_context(_replaced(norms, "ENOUGH", 0))
            folder.open()
            try:
                folder.begin()
                began = time.perf_counter()
                launch.launch(run.runtime, work.work, run, folder.path, data)
                probe.work_s = time.perf_counter() - began
                folder.document("config.yaml", {"schema": 1, "config": run.plain(), "choices": run.choices})
                folder.status(state="finished")
                began = time.perf_counter()
                sketchlab.report.write(folder.path)
                probe.report_s = time.perf_counter() - began
            finally:
                folder.lock.release()
        yield probe


@contextlib.contextmanager
def _replaced(place: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def _timed(place: Any, name: str, probe: _Probe, into: str) -> Any:
    function = getattr(place, name)

    def measured(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            setattr(probe, into, getattr(probe, into) + time.perf_counter() - began)

    return _replaced(place, name, measured)


def fewer(split: Any, most: int) -> Any:
    """About so many samples of a split, as many of each class as can be; of pairs with all photos of their sketches."""
    from sketchlab.data.dataset import Pairs

    if len(split) <= most:
        return split
    if not isinstance(split, Pairs):
        return _part(split, _spread(split.labels, most))
    photos = max(2, round(most * len(split.photo) / len(split.sketch)))
    chosen = _part(split.photo, _spread(split.photo.labels, photos))
    if split.objects:
        import torch

        kept = torch.isin(split.sketch.groups, chosen.groups).nonzero()[:, 0]
    else:
        kept = _spread(split.sketch.labels, most)
    return dataclasses.replace(split, sketch=_part(split.sketch, kept), photo=chosen)


def _spread(labels: Any, most: int) -> Any:
    """(n,) class numbers → places of about `most` samples, the first ones of each class, at least two of each."""
    import torch

    order = labels.argsort(stable=True)
    counts = labels.bincount()
    within = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    each = max(2, math.ceil(most / max(1, int((counts > 0).sum()))))
    return order[within < each].sort().values


def _part(split: Any, places: Any) -> Any:
    ids = [split.ids[i] for i in places.tolist()]
    return dataclasses.replace(
        split, rows=split.rows[places], labels=split.labels[places], ids=ids, groups=split.groups[places]
    )
