"""Two things between processes: the heartbeat of a folder's owner, and rank 0's buffers on every rank."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from sketchlab.engine import lock
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError


def test_the_owner_of_a_folder_beats_until_it_lets_go(tmp_path, monkeypatch):
    assert 2 * lock.HEARTBEAT_S < lock.STALE_S
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.02)
    owner = lock.Lock(tmp_path)
    owner.acquire()
    for _ in range(2):  # again and again
        os.utime(owner.path, (0, 0))
        until = time.monotonic() + 20
        while owner.path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert time.time() - owner.path.stat().st_mtime < lock.STALE_S
    owner.release()
    (tmp_path / "lock").touch()
    time.sleep(0.1)  # a beat that had begun
    os.utime(owner.path, (0, 0))
    time.sleep(0.2)
    assert owner.path.stat().st_mtime == 0


def test_an_owner_elsewhere_lives_as_long_as_it_beats(tmp_path):
    other = lock.Lock(tmp_path)
    other.path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    with pytest.raises(UserError, match="process 1 on elsewhere"):
        other.acquire()
    long_ago = time.time() - lock.STALE_S - 1
    os.utime(other.path, (long_ago, long_ago))
    other.acquire()
    other.release()


def a_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    runtime = Runtime.__new__(Runtime)
    runtime.rank, runtime.ranks = rank, 2
    norm = nn.BatchNorm1d(2)
    for number, buffer in enumerate(norm.buffers()):
        buffer.fill_(10 * rank + number + 1)
    runtime.same_buffers(norm)
    Path(folder, f"{rank}.json").write_text(json.dumps([buffer.tolist() for buffer in norm.buffers()]))
    torch.distributed.destroy_process_group()


def test_ranks_have_rank_0s_buffers(tmp_path):
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=a_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[[1, 1], [2, 2], 3]] * 2
