"""Kill runs at any moment between their first and their last write; start them again; compare with runs left alone.

    python scripts/kills.py [kills=200] [seed=0] [only=NAME]

A kill is SIGKILL at an event: an optimizer step, a file that is replaced, synced, removed, a folder that is made. All
replacements of a run are taken first, then events drawn by the seed. Equal means: the same bytes in metrics.jsonl and
the tables of predictions, the same tensors in best.pt, the same final scores, and the same files, no more and no less.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import every

OFTEN = ["loop.save_every_s=0"]
CASES: dict[str, list[str]] = {  # name → words; `rerun` and `adopt` begin from a finished run
    "often saved": every.small("small_cnn", *OFTEN),
    "seldom saved, last.pt not kept": [*every.small("small_cnn"), "run.keep_last=false"],
    "rerun": [*every.small("small_cnn", *OFTEN), "rerun=true", "run.keep_last=false"],
    "adopt": [*every.small("small_cnn", *OFTEN), "loop.schedule=constant", "loop.epochs=4"],
    "no test split": every.small("small_cnn", *OFTEN, "data.splits.test=0", "data.splits.val=0.5"),
    "strokes": every.small("stroke_lstm", *OFTEN),
    "retrieve": every.small("small_siamese", *OFTEN),
    "gan with a moving average": every.small("small_dcgan", *OFTEN, "pipeline.ema=0.9"),
    "baseline": every.small("pixels_naive_bayes"),
}
LOG = os.path.join(tempfile.gettempdir(), f"sketchlab-kills-{os.getpid()}.log")  # what the last process printed
SHARE = {"rerun": 2.0, "seldom saved, last.pt not kept": 1.5, "baseline": 0.4}  # of the kills, beside 1


def attempt(words: list[str], root: Path, kill_at: int, events: Any) -> None:
    """One run in a process of its own; SIGKILL at its kill_at-th event, never for −1. events: list of their kinds."""
    import torch

    from sketchlab import config, run
    from sketchlab.engine import optim

    os.setpgrp()
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    count = 0

    def deadly(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if events is not None:
                events.append(kind)
            if count == kill_at:
                os.kill(0, signal.SIGKILL)
            count += 1
            return function(*args, **kwargs)

        return call

    optim.set_rate = deadly("step", optim.set_rate)
    for place, name, kind in (
        (os, "replace", "replace"),
        (os, "fsync", "sync"),
        (os, "unlink", "remove"),
        (os, "rmdir", "remove"),
        (os, "mkdir", "make"),
    ):
        setattr(place, name, deadly(kind, getattr(place, name)))
    run.execute(config.from_overrides([*words, f"run.root={root}"]), reported=False)


def in_process(words: list[str], root: Path, kill_at: int = -1, events: Any = None) -> int:
    process = multiprocessing.get_context("fork").Process(target=attempt, args=(words, root, kill_at, events))
    process.start()
    process.join(300)
    return process.exitcode if process.exitcode is not None else 99


def begun(name: str, root: Path) -> None:
    """What is there before the run that is killed."""
    if name == "rerun":
        in_process([word for word in CASES[name] if not word.startswith("rerun")], root)
    if name == "adopt":
        in_process([*CASES[name], "loop.epochs=2"], root)


def folder_of(name: str, root: Path) -> Path:
    folders = [path.parent for path in root.glob("*/*/config.yaml")]
    if name == "adopt":
        epochs = "epochs: 4"
        folders = [folder for folder in folders if epochs in (folder / "config.yaml").read_text()]
    (folder,) = folders
    return folder


def result(folder: Path) -> dict[str, Any]:
    import torch

    state = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    status = json.loads((folder / "status.json").read_text())
    files = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "lock"
    )
    return {
        "metrics.jsonl": (folder / "metrics.jsonl").read_bytes(),
        "predictions": {path.name: path.read_bytes() for path in sorted(folder.glob("predictions_*.csv"))},
        "best.pt": {key: state[key] for key in ("parts", "arrays", "epoch") if key in state},
        "status": {key: status[key] for key in ("state", "metrics", "best")},
        "files": files,
    }


def difference(one: Any, other: Any, where: str = "") -> str:
    """The first place where two results differ; "" where they are equal."""
    if type(one) is not type(other):
        return where or "type"
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"{where}: {sorted(set(one) ^ set(other))}"
        return next((d for key in one if (d := difference(one[key], other[key], f"{where}/{key}"))), "")
    if hasattr(one, "dtype"):
        return "" if one.shape == other.shape and bool((one == other).all()) else where
    if isinstance(one, list) and where == "/files":
        return "" if one == other else f"{where}: {sorted(set(one) ^ set(other))}"
    return "" if one == other or (one != one and other != other) else where


def kills(name: str, n: int, draw: random.Random, root: Path) -> Iterator[tuple[str, bool, str]]:
    """Of each of n kills: at which event, whether in mid-run, and the first difference."""
    manager = multiprocessing.Manager()
    twin, kinds = root / "twin", manager.list()
    begun(name, twin)
    in_process(CASES[name], twin, events=kinds)
    kinds = list(kinds)
    expected = result(folder_of(name, twin))
    replaced = [at for at, kind in enumerate(kinds) if kind == "replace"]
    first = kinds.index("step") if "step" in kinds else replaced[0]
    middle, outside = [], []  # mid-run: from the first step to the last replacement, which writes that it is finished
    for at in range(len(kinds)):
        (middle if first < at < replaced[-1] else outside).append(at)
    for places in (middle, outside):
        draw.shuffle(places)
        places.sort(key=lambda at: kinds[at] != "replace")
    n_outside = n // 8
    for number, at in enumerate(middle[: n - n_outside] + outside[:n_outside]):
        place = root / f"{number}"
        begun(name, place)
        code = in_process(CASES[name], place, kill_at=at)
        again = in_process(CASES[name], place)
        last = (Path(LOG).read_text().strip().splitlines() or [""])[-1]
        found = f"exit {code}, then {again}: {last}" if code != -signal.SIGKILL or again else ""
        found = found or difference(result(folder_of(name, place)), expected)
        yield f"{kinds[at]} {at} of {len(kinds)}", first < at < replaced[-1], found
        shutil.rmtree(place, ignore_errors=True)


def main(words: list[str]) -> int:
    given = dict(word.split("=", 1) for word in words)
    total, draw = int(given.get("kills", 200)), random.Random(int(given.get("seed", 0)))
    names = [name for name in CASES if given.get("only", "") in name]
    weights = {name: SHARE.get(name, 1.0) for name in names}
    equal = mid = done = 0
    start = time.perf_counter()
    import pandas  # noqa: F401  imported once, here: every process is a copy of this one
    import sklearn  # noqa: F401

    import sketchlab.training.session  # noqa: F401
    from sketchlab.engine import loop  # noqa: F401

    for place, name in enumerate(names):
        left = sum(weights[other] for other in names[place:])
        n = round((total - done) * weights[name] / left)
        differences, here = [], 0
        with tempfile.TemporaryDirectory(prefix="sketchlab-kills-") as root:
            for at, in_the_middle, found in kills(name, n, draw, Path(root)):
                here, mid = here + 1, mid + in_the_middle
                if found:
                    differences.append(f"{at}: {found}")
        equal, done = equal + here - len(differences), done + here
        print(f"{name}: {here} kills, {here - len(differences)} equal", *differences, sep="\n    ", flush=True)
    print(f"{done} kills, {mid} of them in mid-run: {equal} equal, {time.perf_counter() - start:.0f} s")
    return int(equal != done)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
