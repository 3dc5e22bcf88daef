"""Measure sketchlab against the plain way of doing the same, on this machine.

    python scripts/bench.py --list
    python scripts/bench.py                         (all of them)
    python scripts/bench.py engine steps=50 repeats=3

A comparison is a file scripts/bench_<name>.py with one function, `compare(key=default, …) -> Iterator[Row]`; its
parameters are the key=value words here. Sides are measured in turns (A B A B …) after a warm-up, so that whatever else
the machine does meets both. Every row is merged into benchmarks/<machine>.json as soon as it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import importlib.metadata
import inspect
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "torchvision", "numpy", "sketchlab")


@dataclass(frozen=True)
class Row:
    """One figure: what each side took, in turns. The first side is the peer, the second one is sketchlab's."""

    name: str
    sides: dict[str, list[float]]  # side → seconds, one per repetition
    per: str  # what the seconds are of: step, run, query
    goal: str = ""  # what is aimed at, in words
    reached: Callable[[float, float], bool] | None = None  # (peer, ours) medians in seconds → whether it is
    estimated: str = ""  # how, when a figure was not measured in full; empty = measured
    notes: dict[str, Any] = field(default_factory=dict)  # accuracies, image sizes: what a reader needs to judge

    def record(self) -> dict[str, Any]:
        """Medians, quartiles and what follows from them, for the JSON file."""
        first, second = list(self.sides.values())[:2]
        peer, ours = statistics.median(first), statistics.median(second)
        sides = {
            side: {"median_s": significant(statistics.median(v)), "n": len(v), "quartiles_s": quartiles(v)}
            for side, v in self.sides.items()
        }
        out: dict[str, Any] = {"per": self.per, "sides": sides, "times_faster": significant(peer / ours)}
        out["difference_s"] = significant(statistics.median(b - a for a, b in zip(first, second, strict=False)))
        out["goal"], out["reached"] = self.goal, bool(self.reached(peer, ours)) if self.reached else None
        out["estimated"] = self.estimated or False
        return out | {"notes": self.notes}


def quartiles(values: list[float]) -> list[float]:
    """First and third; of a single value that value twice."""
    cuts = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return [significant(cuts[0]), significant(cuts[2])]


def significant(value: float) -> float:
    return float(f"{value:.5g}")


def interleaved(sides: dict[str, Callable[[], float]], repeats: int, warmup: int = 1) -> dict[str, list[float]]:
    """Each side's function, giving seconds, in turns; the first `warmup` rounds are thrown away."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for round_ in range(warmup + repeats):
        for side, measure in sides.items():
            value = measure()
            if round_ >= warmup:
                seconds[side].append(value)
    return seconds


class _Enough(Exception):
    """Leaves fit() without its final evaluation and checkpoints."""


@dataclass
class Blocks:
    """The mean step of each block, by side: by the clock, and in processor time over all threads."""

    wall_s: dict[str, list[float]]
    processor_s: dict[str, list[float]]

    def add(self, side: str, start: tuple[float, float], end: tuple[float, float], steps: int) -> None:
        for into, a, b in zip((self.wall_s, self.processor_s), start, end, strict=True):
            into[side].append((b - a) / steps)


def beside_fit(task: Any, run: Any, runtime: Any, bare_step: Callable[[int], object], steps: int, block: int) -> Blocks:
    """engine.loop.fit on `task` and bare_step(step), in turns of `block` steps; the first block of each is thrown away.

    A block is timed as a whole, so that on a GPU the host may run ahead in it, as it does in training; all that the
    loop does between its steps is in it.
    """
    import torch

    from sketchlab.engine.loop import fit
    from sketchlab.engine.rundir import RunDir
    from sketchlab.metrics.declared import of_pipeline

    out = Blocks({"bare": [], "sketchlab": []}, {"bare": [], "sketchlab": []})
    begin_step, done = task.begin_step, 0
    began = (0.0, 0.0)

    def now() -> tuple[float, float]:
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def marked(epoch: float) -> Any:
        nonlocal done, began
        if done % block == 0:
            if done > block:
                out.add("sketchlab", began, now(), block)
            if done >= steps:
                raise _Enough
            torch.use_deterministic_algorithms(False)  # a bare loop would not ask for them
            start = now()
            for step in range(done, done + block):
                bare_step(step)
            if done:
                out.add("bare", start, now(), block)
            torch.use_deterministic_algorithms(runtime.config.deterministic)
            began = now()
        done += 1
        return begin_step(epoch)

    task.begin_step = marked
    with tempfile.TemporaryDirectory() as root, open(os.devnull, "w", encoding="utf-8") as nowhere:
        folder = RunDir(Path(root) / "run")
        folder.open()
        folder.declare(of_pipeline(run.pipeline.name))
        folder.say = lambda *_: None  # type: ignore[method-assign]
        try:
            with contextlib.redirect_stderr(nowhere), contextlib.suppress(_Enough):  # the progress bar is drawn, unseen
                fit(task, run.loop, run.seed, runtime, folder)
        finally:
            folder.lock.release()
            task.begin_step = begin_step
    return out


def spoken(rows: Iterator[Row]) -> Iterator[Row]:
    """Data or weights that are not there are said in one line."""
    from sketchlab.errors import UserError

    try:
        yield from rows
    except UserError as error:
        sys.exit(f"error: {error}")


def python_path() -> str:
    """For processes that start elsewhere: this checkout first, then what was given."""
    return os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def comparison(name: str) -> Callable[..., Iterator[Row]]:
    return importlib.import_module(f"bench_{name}").compare


def parameters(name: str, words: dict[str, str]) -> dict[str, Any]:
    """The words as keyword arguments of a comparison, by the types of its defaults."""
    known = inspect.signature(comparison(name)).parameters
    if unknown := [key for key in words if key not in known]:
        sys.exit(f"error: {name} has no parameter {unknown[0]}; it has {', '.join(known)}")
    out = {key: p.default for key, p in known.items()}
    for key, word in words.items():
        try:
            out[key] = type(out[key])(word)
        except ValueError:
            sys.exit(f"error: {key}={word}: expected {type(out[key]).__name__}, as {key}={out[key]}")
    return out


def machine() -> dict[str, Any]:
    """The hardware, and a short name made of it."""
    import torch

    from sketchlab.training.environment import cpu_name

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    what = f"{len(gpus)}x{gpus[0]}" if gpus else f"cpu{cpus}-{cpu_name()}"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "name": re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-"),
        "cpu": cpu_name(),
        "cpus": cpus,
        "gpus": gpus,
        "memory_gb": round(memory),
        "bf16": "in hardware" if has_bf16(bool(gpus)) else "emulated",
        "system": f"{platform.system()} {platform.machine()}",
    }


def has_bf16(gpu: bool) -> bool:
    import torch

    info = Path("/proc/cpuinfo")
    return torch.cuda.is_bf16_supported() if gpu else info.exists() and "avx512_bf16" in info.read_text("utf-8")


def circumstances() -> dict[str, Any]:
    """When, with what, and how busy the machine was before the comparison began."""
    import torch

    from sketchlab.training.environment import git

    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "git": git(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES if installed(name)},
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def store(path: Path, hardware: dict[str, Any], name: str, entry: dict[str, Any]) -> None:
    """Merge one comparison into the machine's file, whole or not at all; rows not measured this time stay."""
    from sketchlab.storage.files import read_json, write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    whole = read_json(path) if path.exists() else {}
    whole["machine"] = hardware
    kept = whole.setdefault("comparisons", {}).get(name, {})
    whole["comparisons"][name] = {row: kept[row] for row in kept} | entry
    write_json(path, whole)


def show(name: str, row: str, record: dict[str, Any]) -> str:
    """A row for people."""
    sides = "   ".join(f"{side} {seconds(v['median_s'])}" for side, v in record["sides"].items())
    verdict = {True: "reached", False: "NOT REACHED", None: ""}[record["reached"]]
    mark = f"   ESTIMATED: {record['estimated']}" if record["estimated"] else ""
    notes = "".join(f"\n    {key}: {value}" for key, value in record["notes"].items())
    return (
        f"{name} / {row}, per {record['per']}: {sides}   {record['times_faster']:.3g} times as fast "
        f"({seconds(record['difference_s'], True)})   goal: {record['goal']} {verdict}{mark}{notes}"
    )


def seconds(value: float, signed: bool = False) -> str:
    sign = "+" if signed and value >= 0 else ""
    return f"{sign}{value:.1f} s" if abs(value) >= 1 else f"{sign}{value * 1e3:.3f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="NAME or key=value", help="comparisons, and parameters of theirs")
    parser.add_argument("--list", action="store_true", help="what can be compared, with parameters")
    parser.add_argument("--out", type=Path, default=HERE.parent / "benchmarks", help="folder of <machine>.json")
    options = parser.parse_intermixed_args()
    values = dict(word.split("=", 1) for word in options.words if "=" in word)
    chosen = [word for word in options.words if "=" not in word] or names()
    if unknown := [name for name in chosen if name not in names()]:
        sys.exit(f"error: no comparison {unknown[0]}; there is: {', '.join(names())}")
    if options.list:
        for name in chosen:
            about = (comparison(name).__doc__ or "").strip().splitlines()[0]
            print(f"{name}: {about}\n   ", *(f"{k}={v}" for k, v in parameters(name, {}).items()))
        return
    hardware = machine()
    path = options.out / f"{hardware['name']}.json"
    for name in chosen:
        given, around = parameters(name, values), circumstances()
        for row in spoken(comparison(name)(**given)):
            record = row.record() | {"parameters": given, **around, "load_after": round(os.getloadavg()[0], 2)}
            store(path, hardware, name, {row.name: record})
            print(show(name, row.name, record), flush=True)
    print(f"written to {path}")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))  # a checkout that was not installed
    main()
