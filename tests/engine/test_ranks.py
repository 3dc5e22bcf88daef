"""Several processes as one run: they enter together, nothing waits for ever, each fault is one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from sketchlab import config
from sketchlab.engine.runtime import Runtime, joined_world
from sketchlab.errors import UserError
from sketchlab.storage.lock import Lock
from sketchlab.training import launch
from tests import every

TWO = config.from_overrides(["runtime.ranks=2", "runtime.device=cpu"]).runtime


def exchange(runtime: Runtime, folder: str) -> None:
    """Gradients that are missing on no rank, on one, on all; then buffers."""
    rank, found = runtime.rank, {}
    for case, here in {"none": (1, 1, 1), "one": (1, 1 - rank, rank), "all": (1, 0, 1), "every": (0, 0, 0)}.items():
        parameters = [nn.Parameter(torch.zeros(2, n)) for n in (1, 2, 3)]
        for n, (parameter, has) in enumerate(zip(parameters, here, strict=True), 1):
            parameter.grad = torch.full_like(parameter, float(10 * rank + n)) if has else None
        runtime.mean_grads(parameters)
        found[case] = [None if p.grad is None else p.grad.flatten().tolist() for p in parameters]
    norm = nn.BatchNorm1d(2)
    for number, buffer in enumerate(norm.buffers()):
        buffer.fill_(10 * rank + number + 1)
    runtime.same_buffers(norm)
    found["buffers"] = [buffer.tolist() for buffer in norm.buffers()]
    Path(folder, f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.slow
def test_gradients_that_are_missing_on_some_ranks_and_buffers(tmp_path):
    """The mean over ranks, where a missing gradient counts as zero; on no rank, it stays missing."""
    launch.launch(TWO, exchange, str(tmp_path))
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other
    assert one["none"] == [[6.0] * 2, [7.0] * 4, [8.0] * 6]
    assert one["one"] == [[6.0] * 2, [1.0] * 4, [6.5] * 6]
    assert one["all"] == [[6.0] * 2, None, [8.0] * 6]
    assert one["every"] == [None, None, None]
    assert one["buffers"] == [[1, 1], [2, 2], 3]


def fail(runtime: Runtime, kind: str) -> None:
    if runtime.rank == 1:
        raise {"user": UserError, "bug": RuntimeError}[kind]("begin " + "x" * 300_000 + " end")
    runtime.agree(True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["user", "bug"])
def test_a_long_message_of_a_rank_arrives(kind):
    """More than a pipe holds: the rank could not end before it is read."""
    with pytest.raises(UserError if kind == "user" else RuntimeError, match="x" * 1000 + " end"):
        launch.launch(TWO, fail, kind)


@pytest.mark.parametrize(
    "variables",
    [{}, {"RANK": "", "WORLD_SIZE": ""}, {"RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "1"}, {"RANK": " "}],
)
def test_variables_left_over_train_alone(variables, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "LOCAL_RANK": ""}.items():
        monkeypatch.setenv(name, value)
    assert joined_world() is None and launch.world(TWO) == 2 and launch.env_rank() == 0
    assert Runtime(config.from_overrides(["runtime.device=cpu"]).runtime).rank == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "0"}, "RANK=0 WORLD_SIZE=: expected"),
        ({"WORLD_SIZE": "2"}, "RANK= WORLD_SIZE=2: expected"),
        ({"RANK": "a", "WORLD_SIZE": "2"}, "RANK=a WORLD_SIZE=2: expected a rank below"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 WORLD_SIZE=2: expected a rank below"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK=-1 WORLD_SIZE=2: expected a rank below"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK=0 WORLD_SIZE=2 without MASTER_ADDR: torchrun sets"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h"}, "without MASTER_PORT"),
    ],
)
def test_variables_that_are_half_there_are_one_line(variables, said, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        joined_world()


SCRIPT = """
import datetime, sys, time
from sketchlab import run
from sketchlab.pipelines.classify.task import Classify
from sketchlab.training import launch
launch.TIMEOUT = datetime.timedelta(seconds=15)
Classify.explain = lambda task, split: {"what takes long": lambda: time.sleep(10) or {}}
sys.argv[0] = "run"
run.main()
"""


def as_torchrun(*words: str) -> list[subprocess.CompletedProcess]:
    """Two ranks with the variables that torchrun sets, whose patience is 15 s and whose explanations take 20 s."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    done = []
    for rank in ranks:
        out, err = rank.communicate(timeout=150)
        done.append(subprocess.CompletedProcess(rank.args, rank.returncode, out, err))
    return done


@pytest.mark.slow
def test_ranks_enter_together_and_leave_together(tmp_path):
    words = every.small("small_cnn", f"run.root={tmp_path}", "loop.epochs=1")
    first, second = as_torchrun(*words)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.count("report: ") == 1 and "report: " not in second.stdout
    first, second = as_torchrun(*words)  # the run is finished now
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "found: this run is finished" in first.stdout and second.stdout == ""
    owner = Lock(every.folder_in(tmp_path))
    owner.acquire()
    first, second = as_torchrun(*words)
    owner.release()
    assert (first.returncode, second.returncode) == (1, 1)
    assert "running elsewhere" in first.stderr and "running elsewhere" not in second.stderr
