"""A sweep of 24 runs, killed ten times at random moments with all its processes, ends as an unbroken one does."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.every import SMALL_DATA, SMALL_RUN
from tests.test_exact import digest

WORDS = [
    *("-m", *SMALL_DATA, *SMALL_RUN, "loop.epochs=8", "loop.save_every_s=0", "pipeline.eval_batch=64"),
    *("model=small_cnn,pixels_naive_bayes,small_siamese", "data.per_class=16", "seed=range(0,8)"),
]
KILLS = 10


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "sketchlab.run", *WORDS, *more],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a process group of its own, killed as one
    )


def finished(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out[-3000:]
    return out


def runs(root: Path) -> dict[str, Path]:
    """Run folders by their names."""
    return {p.parent.name: p.parent for p in root.glob("outputs/*/*/config.yaml")}


def killed_again_and_again(root: Path, longest_s: float, *more: str) -> tuple[int, dict[str, str]]:
    """How often it was alive when it was killed, and when each run that was finished by then had ended."""
    draw, kills, ended = random.Random("sweep"), 0, {}
    while kills < KILLS:
        process = start(root, *more)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=draw.uniform(0.25, 1) * longest_s)
        if process.poll() is not None:
            break  # it came to its end before
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        for name, folder in runs(root).items():
            status = json.loads((folder / "status.json").read_text()) if (folder / "status.json").exists() else {}
            if status.get("state") == "finished":
                ended.setdefault(name, status["ended"])
    return kills, ended


@pytest.mark.long
def test_killed_ten_times_ends_as_unbroken_and_repeats_nothing(tmp_path):
    clock = time.perf_counter()
    finished(start(tmp_path / "whole"))
    longest_s = 6 + (time.perf_counter() - clock) / 6  # six seconds for Python and torch to start
    kills, ended = killed_again_and_again(tmp_path / "broken", longest_s)
    assert kills >= KILLS // 2, "it was too quick to be killed often"
    out = finished(start(tmp_path / "broken"))
    whole, broken = runs(tmp_path / "whole"), runs(tmp_path / "broken")
    assert len(whole) == 24 and broken.keys() == whole.keys()
    assert all(digest(whole[name]) == digest(broken[name]) for name in whole)
    now = {name: json.loads((folder / "status.json").read_text())["ended"] for name, folder in broken.items()}
    assert ended.items() <= now.items(), "a finished run was done again"
    assert out.count("finished (found)") >= len(ended)


@pytest.mark.long
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="the extra parallel is missing")
def test_side_by_side_gives_the_bits_of_one_after_another_killed_too(tmp_path):
    finished(start(tmp_path / "whole", "seed=0,1"))
    side = ("hydra/launcher=parallel", "seed=0,1")
    process = start(tmp_path / "side", *side)
    time.sleep(14)
    os.kill(process.pid, signal.SIGKILL)  # the sweep alone: its workers save and end by themselves
    process.communicate(timeout=120)  # until the last of its workers is gone
    out = finished(start(tmp_path / "side", *side))
    whole, beside = runs(tmp_path / "whole"), runs(tmp_path / "side")
    assert len(whole) == 6 and beside.keys() == whole.keys(), out
    assert "#1 report: " in out and "step/s" not in out
    assert all(digest(whole[name]) == digest(beside[name]) for name in whole)
