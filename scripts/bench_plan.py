"""What plan=true says a run will take, beside what it then takes: each a process of its own, from a cold cache.

Of a row the first side is the plan, the second one the run. The goal is on all of them together: a median error of at
most 25%, and no plan further off than by a factor of 2; the last row holds these two figures.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from bench import Row, python_path

CASES: dict[str, list[str]] = {
    "small_cnn": ["model=small_cnn", "loop.epochs=20"],
    "small_cnn, large batches": ["model=small_cnn", "loop.batch_size=256", "loop.epochs=20", "data/augment=none"],
    "mobilenet_v2": ["model=mobilenet_v2", "model.weights=none", "model.tune=scratch", "model.input.size_px=64"]
    + ["loop.epochs=2", "data.per_class=100"],
    "vgg16, narrow": ["model=vgg16", "model.weights=none", "model.tune=scratch", "model.width=0.25"]
    + ["model.input.size_px=64", "model.head=pool", "loop.epochs=2"],
    "sketchanet, narrow": ["model=sketchanet", "model.width=0.25", "loop.epochs=2", "data.per_class=40"],
    "cnn_lstm": ["model=cnn_lstm", "loop.epochs=3", "data.per_class=100"],
    "stroke_lstm": ["model=stroke_lstm", "loop.epochs=3"],
    "small_siamese": ["model=small_siamese", "loop.epochs=12"],
    "siamese, 48 px": ["model=siamese", "model.input.size_px=48", "loop.epochs=3", "data.per_class=60"],
    "small_dcgan": ["model=small_dcgan", "loop.epochs=3", "pipeline.features=random"],
    "small_cyclegan": ["model=small_cyclegan", "loop.epochs=1", "data.per_class=10", "pipeline.features=random"]
    + ["pipeline.eval_images=32"],
    "hog_svm": ["model=hog_svm", "data.per_class=100"],
    "pixels_logistic": ["model=pixels_logistic", "data.per_class=100"],
}


def compare(only: str = "") -> Iterator[Row]:
    """seconds that plan=true says, beside those that the run takes"""
    ratios = {}
    for name, words in CASES.items():
        if only and only not in name:
            continue
        with tempfile.TemporaryDirectory() as root:
            environment = {**os.environ, "SKETCHLAB_CACHE": f"{root}/cache", "PYTHONPATH": python_path()}
            command = [sys.executable, "-m", "sketchlab.run", *words, f"run.root={root}/runs"]
            took_s, output = timed(name, [*command, "plan=true"], environment)
            planned_s = seconds(output)
            really_s, _ = timed(name, command, environment)
        ratios[name] = planned_s / really_s
        notes = {"planned over real": f"{ratios[name]:.2f}", "the plan itself took": f"{took_s:.0f} s"}
        yield Row(name, {"planned": [planned_s], "real": [really_s]}, "run", notes=notes)
    if only:
        return  # the goal is on all of them
    errors = [abs(ratio - 1) for ratio in ratios.values()]
    median, worst = statistics.median(errors), max(max(ratio, 1 / ratio) for ratio in ratios.values())
    yield Row(
        "all",
        {"median error": [median], "worst factor": [worst]},
        "all runs (no seconds)",
        goal="a median error of at most 0.25, a worst factor of at most 2",
        reached=lambda error, factor: error <= 0.25 and factor <= 2,
        notes={"runs": len(ratios)},
    )


def timed(name: str, command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {name}: {done.stderr.strip().splitlines()[-1:]}")
    return time.perf_counter() - start, done.stdout


def seconds(output: str) -> float:
    """Of the line `in all: …; about 2 h 10 min; …`."""
    about = re.search(r"about ((?:[\d.]+ (?:d|h|min|s) ?)+)", output.splitlines()[-1])
    assert about, output
    units = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
    words = about.group(1).split()
    return sum(float(n) * units[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
