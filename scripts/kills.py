"""Kill runs between their first and their last write, start them again, compare with runs that were left alone.

    python scripts/kills.py [kills=200] [seed=0] [only=NAME] [at_once=2]

A kill is SIGKILL to the run's processes at an event: an optimizer step, a file replaced, synced (half of it is written
then), removed, a line added (half of it), a folder made or removed. One case is killed at every replacement; of the
others events are drawn by the seed. Every fourth run is killed a second time. Equal means: the same folders and files,
the same tensors in the checkpoints, the same state and scores in status.json, the same bytes in every other file that
holds no times.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import every

OFTEN, NO_LAST = "loop.save_every_s=0", "run.keep_last=false"
WEIGHTS = os.path.join(tempfile.gettempdir(), f"sketchlab-kills-{os.getpid()}.pt")  # of small_cnn, untrained
TIMES = ("timing.jsonl", "train.log", ".index.json", "report.html", "plots/")  # of these only the names are compared


class Case(NamedTuple):
    words: list[str]
    before: list[str] | None = None  # the run that is finished when the one of `words` starts
    share: float = 1.0  # of the kills, beside others
    whole: bool = False  # killed at every replacement, however many kills that takes
    reported: bool = False


def again(*words: str) -> Case:
    cnn = every.small("small_cnn", *words)
    return Case([*cnn, "rerun=true"], cnn)


CASES = {
    "often saved": Case(every.small("small_cnn", OFTEN)),
    "last.pt not kept": Case(every.small("small_cnn", NO_LAST)),
    "rerun, last.pt not kept": again(NO_LAST)._replace(whole=True),
    "rerun, often saved": again(OFTEN),
    "adopted": Case(
        every.small("small_cnn", OFTEN, "loop.schedule=constant", "loop.epochs=4"),
        every.small("small_cnn", "loop.schedule=constant"),
    ),
    "patience, no test split": Case(
        every.small("small_cnn", OFTEN, "loop.epochs=6", "loop.patience=1", "data.splits.test=0", "data.splits.val=0.5")
    ),
    "with its report": Case(every.small("small_cnn", NO_LAST), share=0.5, reported=True),
    "frozen layers": Case(
        every.small("small_cnn", OFTEN, f"model.weights={WEIGHTS}", "model.tune=freeze", "model.fresh=[head.linear]")
    ),
    "strokes": Case(every.small("stroke_lstm", OFTEN)),
    "retrieve": Case(every.small("small_siamese", OFTEN)),
    "GAN, moving average": Case(every.small("small_dcgan", OFTEN, NO_LAST, "pipeline.ema=0.9")),
    "CycleGAN": Case(every.small("small_cyclegan", OFTEN), share=0.7),
    "baseline": Case(every.small("pixels_naive_bayes"), share=0.4),
    "baseline on features": Case(every.small("features_logistic"), share=0.4),
    "two ranks": Case(every.small("small_cnn", OFTEN, "runtime.ranks=2", "loop.epochs=6"), share=0.4),
}
RUNS: dict[str, list[Any]] = {}  # name → the run to be killed, and the one before it; composed once


class Event(NamedTuple):
    kind: str
    path: str  # below the root


def attempt(name: str, which: int, root: Path, kill_at: int) -> None:
    """One run in a process of its own; SIGKILL at its kill_at-th event, never for −1. <root>.json lists its events."""
    import torch

    from sketchlab.training import session

    os.setpgrp()
    os.chdir(root)
    log = os.open(root.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    events = watch(root, kill_at)
    session.execute(RUNS[name][which], CASES[name].reported)
    root.with_suffix(".json").write_text(json.dumps(events), encoding="utf-8")


def watch(root: Path, kill_at: int) -> list[Event]:
    """List what happens below `root` from now on in this process."""
    from sketchlab.engine import optim, rundir

    events: list[Event] = []

    def at(place: Any, name: str, kind: str, path_of: Callable[..., str], half: Callable[..., None] | None = None):
        function = getattr(place, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            path = os.path.abspath(path_of(*args, **kwargs))
            if path.startswith(f"{root}/"):
                if len(events) == kill_at:
                    if half:
                        half(*args)
                    os.kill(0, signal.SIGKILL)
                events.append(Event(kind, re.sub(r"\.\d+\.tmp$", ".tmp", path[len(f"{root}/") :])))
            return function(*args, **kwargs)

        setattr(place, name, call)

    def file(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def entry(path: Any, *_: Any, dir_fd: int | None = None) -> str:
        return os.path.join("" if dir_fd is None else file(dir_fd), path)

    def half_file(descriptor: int) -> None:
        if file(descriptor).endswith(".tmp"):
            os.truncate(file(descriptor), os.stat(descriptor).st_size // 2)

    def half_line(folder: Any, name: str, row: Any) -> None:
        with open(folder.path / name, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(row)[:20])

    at(optim, "set_rate", "step", lambda *_: f"{root}/step")
    at(rundir.RunDir, "add", "line", lambda folder, name, _: f"{folder.path / name}", half_line)
    at(os, "replace", "replace", lambda _, to: to)
    at(os, "fsync", "sync", file, half_file)
    at(os, "unlink", "remove", entry)
    at(os, "rmdir", "remove", entry)
    at(os, "mkdir", "make", entry)
    return events


def start(name: str, root: Path, which: int = 0, kill_at: int = -1, kill_after_s: float = 300) -> int:
    """The exit code of one run; it is killed from outside after so many seconds."""
    process = multiprocessing.get_context("fork").Process(target=attempt, args=(name, which, root, kill_at))
    process.start()
    process.join(kill_after_s)
    if process.exitcode is None and process.pid:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode or 0


def result(root: Path) -> dict[str, Any]:
    """What the runs below `root` left: path → what is compared of it."""
    import torch

    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        place = str(path.relative_to(root))
        inside = "/".join(path.relative_to(root).parts[3:])
        if path.is_dir() or path.name == ".index.json" or inside.startswith(TIMES):
            found[place] = "is there"
        elif path.suffix == ".pt":
            state = torch.load(path, weights_only=True)
            found[place] = {key: value for key, value in state.items() if key != "made_with"}
        elif inside == "status.json":
            status = json.loads(path.read_text("utf-8"))
            found[place] = {
                key: status.get(key) for key in ("state", "metrics", "best", "keeps_last", "message", "resumed")
            }
        elif path.suffix == ".json":
            found[place] = json.loads(path.read_text("utf-8"))
        elif inside != "lock":
            found[place] = path.read_bytes()
    return found


def difference(one: Any, other: Any, where: str = "") -> str:
    """The first place where two results differ; "" where they are equal."""
    if type(one) is not type(other):
        return f"{where}: {type(one).__name__}, {type(other).__name__}"
    if hasattr(one, "dtype"):
        return "" if one.shape == other.shape and bool((one == other).all()) else where
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"{where}: only in one of both: {', '.join(map(str, set(one) ^ set(other)))}"
        return next((d for key in one if (d := difference(one[key], other[key], f"{where}/{key}"))), "")
    if isinstance(one, list | tuple) and len(one) == len(other):
        return next((d for n, pair in enumerate(zip(one, other)) if (d := difference(*pair, f"{where}/{n}"))), "")  # noqa: B905
    return "" if one == other or (one != one and other != other) else where


def prepared(name: str, root: Path) -> Path:
    """A folder in which the run can start: empty, or with the one before it."""
    if (before := root.parent / "before").exists():
        shutil.copytree(before, root)
    else:
        root.mkdir()
    return root


def killed(name: str, root: Path, kill_at: int, second: int, kill_after_s: float) -> str:
    """One run killed, and started again until it is finished: its first difference from the twin beside it."""
    prepared(name, root)
    codes = [start(name, root, kill_at=kill_at, kill_after_s=kill_after_s)]
    if second >= 0:
        start(name, root, kill_at=second)
    codes.append(start(name, root))
    if codes != [-signal.SIGKILL, 0]:
        return f"exit codes {codes}: {root.with_suffix('.log').read_text('utf-8')[-300:]}"
    found = difference(result(root), result(root.parent / "twin"))
    shutil.rmtree(root)
    return found


def twin(name: str, root: Path) -> tuple[list[Event], float]:
    """The run that is left alone: its events and its seconds."""
    if CASES[name].before:
        (root / "before").mkdir()
        assert start(name, root / "before", which=1) == 0, (root / "before.log").read_text("utf-8")
    assert start(name, prepared(name, root / "first")) == 0, (root / "first.log").read_text(
        "utf-8"
    )  # data is kept after it
    began = time.perf_counter()
    assert start(name, prepared(name, root / "twin")) == 0, (root / "twin.log").read_text("utf-8")
    events = [Event(*event) for event in json.loads((root / "twin.json").read_text("utf-8"))]
    return events, time.perf_counter() - began


def is_mid_run(events: list[Event]) -> Callable[[int], bool]:
    """Whether an event is between the first step and the last replacement."""
    replaced = [at for at, event in enumerate(events) if event.kind == "replace"]
    first = next((at for at, event in enumerate(events) if event.kind == "step"), replaced[0])
    return lambda at: first < at < replaced[-1]


def drawn(case: Case, events: list[Event], n: int, draw: random.Random) -> list[int]:
    """At which events to kill: all replacements, or n: 7 of 8 in mid-run, those that replace another file first."""
    replaced = [at for at, event in enumerate(events) if event.kind == "replace"]
    if case.whole and n >= len(replaced):
        return replaced
    mid, chosen = is_mid_run(events), []
    order = draw.sample(range(len(events)), len(events))
    firsts = {events[at].path: at for at in order if events[at].kind == "replace"}
    for group, most in (([at for at in order if mid(at)], n - n // 8), ([at for at in order if not mid(at)], n // 8)):
        chosen += sorted(group, key=lambda at: firsts.get(events[at].path) != at)[:most]
    return chosen


def tries(name: str, n: int, draw: random.Random, root: Path, pool: Any) -> Iterator[tuple[str, bool, Any]]:
    """Of each kill: at which event, whether in mid-run, and the future of its first difference."""
    events, seconds = pool.submit(twin, name, root).result()
    if RUNS[name][0].runtime.ranks > 1:  # its ranks are processes of their own: killed from outside
        for number in range(n):
            after_s = seconds * draw.uniform(0.3, 0.95)
            yield (
                f"after {after_s:.1f} of {seconds:.1f} s",
                True,
                pool.submit(killed, name, root / f"{number}", -1, -1, after_s),
            )
        return
    mid = is_mid_run(events)
    for number, at in enumerate(drawn(CASES[name], events, n, draw)):
        second = draw.randrange(len(events) // 2) if number % 4 == 3 else -1
        what = f"{events[at].kind} {at} of {len(events)} ({events[at].path})" + f", then {second}" * (second >= 0)
        yield what, mid(at), pool.submit(killed, name, root / f"{number}", at, second, 300)


def warm(names: list[str]) -> None:
    """What every process needs is imported and composed once, here: they are copies of this one."""
    import pandas  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch

    import sketchlab.report  # noqa: F401
    from sketchlab import config
    from sketchlab.engine import loop  # noqa: F401
    from sketchlab.training import environment, launch, track, work  # noqa: F401

    torch.set_num_threads(1)
    torch.save(config.from_overrides(every.small("small_cnn")).model.build(3).state_dict(), WEIGHTS)
    for name in names:
        words = [words for words in (CASES[name].words, CASES[name].before) if words]
        RUNS[name] = [config.from_overrides([*of, "run.root=runs"]) for of in words]


def main(words: list[str]) -> int:
    given = dict(word.split("=", 1) for word in words)
    total, draw = int(given.get("kills", 200)), random.Random(int(given.get("seed", 0)))
    names = sorted((n for n in CASES if given.get("only", "") in n), key=lambda n: not CASES[n].whole)
    warm(names)
    equal = mid = done = 0
    began = time.perf_counter()
    with ProcessPoolExecutor(int(given.get("at_once", 2)), multiprocessing.get_context("fork")) as pool:
        for place, name in enumerate(names):
            share = CASES[name].share / sum(CASES[other].share for other in names[place:])
            n = total if CASES[name].whole and total >= 100 else round((total - done) * share)
            differ: list[str] = []
            with tempfile.TemporaryDirectory(prefix="sketchlab-kills-") as root:
                started = list(tries(name, n, draw, Path(root).resolve(), pool))
                for what, in_the_middle, future in started:
                    mid += in_the_middle
                    if why := future.result():
                        differ.append(f"{what}: {why}")
            done, equal = done + len(started), equal + len(started) - len(differ)
            line = f"{name}: {len(started)} kills, {len(started) - len(differ)} equal"
            print(f"{line}, {time.perf_counter() - began:.0f} s", *differ, sep="\n    ", flush=True)
    os.unlink(WEIGHTS)
    print(f"{done} kills, {mid} of them in mid-run: {equal} equal, {time.perf_counter() - began:.0f} s")
    return int(equal != done)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
