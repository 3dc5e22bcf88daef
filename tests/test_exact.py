"""A run killed at any moment and started again by the same command ends as one never killed, to the bit."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from tests import every
from tests.engine.test_bad_runs import Cut, cut_after

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["torch", "torchvision", "sklearn", "sketchlab.engine.loop", "sketchlab.data.sets"])


def start(overrides: list[str], root: Path, kill_at: int = -1, kill_in: str = "step") -> int:
    process = context.Process(target=every.train, args=(overrides, str(root), kill_at, kill_in))
    process.start()
    process.join(timeout=300)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("the run hangs")
    return process.exitcode


def digest(folder: Path) -> dict[str, str]:
    """sha256 of every tensor in the checkpoints, and of every file of scores."""
    out = {}
    for name in ("best", "last"):
        path = folder / "checkpoints" / f"{name}.pt"
        if path.exists():
            state = torch.load(path, map_location="cpu", weights_only=True)
            del state["made_with"]  # the settings of the machine, which these tests vary
            out[name] = hashlib.sha256(repr(_plain(state)).encode()).hexdigest()
    for path in sorted([*folder.glob("*.csv"), *folder.glob("arrays/*.npy"), folder / "metrics.jsonl"]):
        out[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return out


def _plain(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest(), tuple(value.shape)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("model", ["small_cnn", "small_siamese", "small_dcgan", *every.slow("small_cyclegan")])
def test_cut_and_resumed_equals_unbroken(model, tmp_path, monkeypatch):
    """By an exception, in this process."""
    every.train(every.small(model), str(tmp_path / "whole"))
    cut_after(monkeypatch, 4)
    again = every.small(model, "loop.save_every_s=0")
    with pytest.raises(Cut):
        every.train(again, str(tmp_path / "broken"))
    monkeypatch.undo()
    every.train(again, str(tmp_path / "broken"))
    whole, broken = (every.folder_in(tmp_path / name) for name in ("whole", "broken"))
    assert whole.name == broken.name and digest(whole) == digest(broken)
    assert "resumed at step" in (broken / "train.log").read_text()


@pytest.mark.parametrize("model", every.models((*every.LARGE, *every.SHARED), ()))
def test_killed_and_resumed_equals_unbroken(model, tmp_path):
    kill_and_resume(model, [], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("model", ["vgg16", "vgg16_sketchanet"])
def test_the_whole_vgg16_too(model, tmp_path):
    kill_and_resume(model, ["model.width=1", "model.input.size_px=64"], tmp_path)


def kill_and_resume(model: str, more: list[str], tmp_path: Path) -> None:
    draw = random.Random(model)
    assert start(every.small(model, *more), tmp_path / "whole") == 0
    broken = tmp_path / "broken"
    again = every.small(model, *more, "loop.save_every_s=0", "runtime.workers=2")
    kills = [start(again, broken, draw.randint(0, 5), kill_in) for kill_in in ("replace", "step")]
    assert set(kills) <= {0, -signal.SIGKILL} and -signal.SIGKILL in kills
    assert start(again, broken) == 0
    whole, resumed = (digest(every.folder_in(root)) for root in (tmp_path / "whole", broken))
    assert whole == resumed
    assert every.folder_in(broken).name == every.folder_in(tmp_path / "whole").name


@pytest.mark.long
@pytest.mark.parametrize("model", ["small_cnn", "small_siamese", "small_dcgan"])
def test_killed_ranks_too(model, tmp_path):
    run = every.small(model, "runtime.ranks=2", "loop.batch_size=8", "loop.epochs=12", "loop.save_every_s=0")
    assert start(run, tmp_path / "whole") == 0
    # the job's process replaces files before its ranks do: killed there, or later from outside, it must end them all
    process = context.Process(target=every.train, args=(run, str(tmp_path / "broken")))
    process.start()
    for _ in range(600):
        if list((tmp_path / "broken").glob("*/*/checkpoints/last.pt")) or not process.is_alive():
            break
        time.sleep(0.05)
    process.kill()
    process.join()
    assert start(run, tmp_path / "broken") == 0
    broken = every.folder_in(tmp_path / "broken")
    assert "resumed at step" in (broken / "train.log").read_text(), "it was killed too late to show anything"
    assert digest(every.folder_in(tmp_path / "whole")) == digest(broken)
