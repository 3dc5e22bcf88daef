"""What can go wrong with a run folder: one clear line, nothing half-written, nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sketchlab import config, run
from sketchlab.engine import checkpoint, loop, optim
from sketchlab.errors import UserError
from sketchlab.training import session
from tests import every


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(session, "report", lambda folder: None)


def execute(root: Path, *more: str) -> None:
    run.execute(config.from_overrides(every.small("small_cnn", f"run.root={root}", *more)))


def status(root: Path) -> dict:
    return json.loads((every.folder_in(root) / "status.json").read_text())


class Cut(Exception):
    pass


def cut_after(monkeypatch, steps: int) -> None:
    """The next run stops dead after some steps, as a bug would stop it."""
    update, done = optim.update, iter(range(steps))

    def deadly(*args, **kwargs):
        if next(done, None) is None:
            raise Cut
        return update(*args, **kwargs)

    monkeypatch.setattr(optim, "update", deadly)


def test_checkpoint_of_another_config_is_refused(tmp_path, monkeypatch):
    execute(tmp_path / "other", "seed=1")
    cut_after(monkeypatch, 3)
    with pytest.raises(Cut):
        execute(tmp_path / "mine")
    monkeypatch.undo()
    mine, other = every.folder_in(tmp_path / "mine"), every.folder_in(tmp_path / "other")
    (mine / "checkpoints/last.pt").write_bytes((other / "checkpoints/last.pt").read_bytes())
    with pytest.raises(UserError, match=f"is of run {other.name}, not of {mine.name}.*model.weights"):
        execute(tmp_path / "mine")
    assert status(tmp_path / "mine")["state"] == "failed"


class Bomb:
    def __reduce__(self):
        return os.system, ("touch boom",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickle_bomb_is_refused_and_does_not_go_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, write in (("torch", torch.save), ("pickle", lambda value, path: path.write_bytes(pickle.dumps(value)))):
        path = tmp_path / f"{name}.pt"
        write({"parts": Bomb()}, path)
        with pytest.raises(UserError, match=f"{name}.pt: not a checkpoint of tensors.*nothing in it was run"):
            checkpoint.load(path)
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match="cut.pt: not a checkpoint"):
        checkpoint.load(tmp_path / "cut.pt")
    assert not (tmp_path / "boom").exists()


def test_same_run_twice_at_once_is_refused(tmp_path, monkeypatch):
    def second(*_args):
        with pytest.raises(UserError, match="running elsewhere"):
            execute(tmp_path)
        raise Cut

    monkeypatch.setattr(session, "train", second)
    with pytest.raises(Cut):
        execute(tmp_path)


@pytest.mark.parametrize("root", ["/proc/sketchlab", "file/below"])
def test_root_that_cannot_be_written(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to .*choose another folder with run.root"):
        execute(tmp_path / root)


@pytest.mark.slow
def test_full_disk_while_saving_keeps_the_last_good_checkpoint(tmp_path):
    """A limit on file size stands for the full disk: the write fails in the middle of the checkpoint."""
    small = every.small("small_cnn", f"run.root={tmp_path}", "loop.save_every_s=0")
    code = (
        "import resource, sys; from sketchlab import config, run; from sketchlab.engine import loop\n"
        "from sketchlab.training import session\n"
        "save, n = loop.save_best, iter(range(99))\n"
        "def fill(*args):\n"
        "    save(*args); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))\n"
        "loop.save_best = fill; session.report = lambda folder: None\n"
        f"run.job = lambda cfg: run.execute(config.from_overrides({small!r}))\n"
        "from sketchlab.errors import UserError\n"
        "try: run.job(None)\n"
        "except UserError as e: print('error:', e); sys.exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "last.pt: " in done.stdout and "is untouched. Free some space" in done.stdout
    folder = every.folder_in(tmp_path)
    assert torch.load(folder / "checkpoints/last.pt", weights_only=True)["step"] > 0
    assert not list(folder.rglob("*.tmp")) and status(tmp_path)["state"] == "failed"
    execute(tmp_path, "loop.save_every_s=0")  # with space again: goes on from there
    assert status(tmp_path)["state"] == "finished" and "resumed at step" in (folder / "train.log").read_text()


@pytest.mark.parametrize(
    ("every_s", "said", "kept"),
    [
        ("0", "step 5: a weight is not finite; the checkpoint of step 4 is kept", 4),
        ("1000", "step 6: the loss is not", None),
    ],
)
def test_loss_that_is_not_finite_stops_and_names_the_step(every_s, said, kept, tmp_path, monkeypatch):
    update, steps = optim.update, iter(range(100))

    def explode(optimizer, *args):
        if next(steps) == 4:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].fill_(float("nan"))
        return update(optimizer, *args)

    monkeypatch.setattr(optim, "update", explode)
    with pytest.raises(UserError, match=said):
        execute(tmp_path, f"loop.save_every_s={every_s}")
    last = every.folder_in(tmp_path) / "checkpoints/last.pt"
    assert last.exists() == (kept is not None)
    if kept:
        state = torch.load(last, weights_only=True)
        assert state["step"] == kept and all(t.isfinite().all() for t in state["parts"]["net"].values())
    assert status(tmp_path)["state"] == "failed" and said[:6] in status(tmp_path)["message"]


def test_signal_ends_the_step_saves_and_resumes(tmp_path, monkeypatch):
    update, steps = optim.update, iter(range(100))

    def interrupt(*args):
        if next(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(*args)

    monkeypatch.setattr(optim, "update", interrupt)
    with pytest.raises(loop.Interrupted) as caught:
        execute(tmp_path)
    assert caught.value.args == (signal.SIGTERM,)
    assert status(tmp_path)["state"] == "interrupted"
    assert torch.load(every.folder_in(tmp_path) / "checkpoints/last.pt", weights_only=True)["step"] == 4
    monkeypatch.setattr(optim, "update", update)
    execute(tmp_path)
    assert status(tmp_path)["state"] == "finished"


def test_found_again_rerun_and_other_code(tmp_path, capsys, monkeypatch):
    execute(tmp_path)
    first = status(tmp_path)
    assert {"train/loss", "val/loss", "val/accuracy", "test/accuracy"} <= set(first["metrics"])
    execute(tmp_path)
    assert "found: this run is finished\n" in capsys.readouterr().out and status(tmp_path) == first
    monkeypatch.setattr("sketchlab.training.provenance.changed", lambda _: ["sketchlab/engine/loop.py"])
    execute(tmp_path)
    assert "made by other code (sketchlab/engine/loop.py changed since)" in capsys.readouterr().out
    execute(tmp_path, "rerun=true")
    assert status(tmp_path)["metrics"] == first["metrics"] and status(tmp_path)["started"] >= first["ended"]


def test_more_epochs_continue_and_equal_an_unbroken_run(tmp_path, capsys):
    longer = ("loop.epochs=4", "loop.schedule=constant")
    execute(tmp_path / "a", "loop.epochs=2", "loop.schedule=constant")
    execute(tmp_path / "a", *longer)
    assert "continues the finished run of 2 epochs" in capsys.readouterr().out
    execute(tmp_path / "b", *longer)
    unbroken = every.folder_in(tmp_path / "b")
    continued = next((tmp_path / "a").glob(f"*/{unbroken.name}"))
    assert (continued / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()
    a, b = (torch.load(f / "checkpoints/best.pt", weights_only=True)["parts"]["net"] for f in (continued, unbroken))
    assert all(torch.equal(a[k], b[k]) for k in b)


@pytest.mark.slow
def test_more_epochs_say_why_not(tmp_path, capsys):
    execute(tmp_path, "loop.epochs=1", "loop.schedule=cosine")
    execute(tmp_path, "loop.epochs=2", "loop.schedule=cosine")
    assert "cannot be continued: loop.schedule=cosine depends on the total" in capsys.readouterr().out
    execute(tmp_path / "x", "loop.epochs=1", "loop.schedule=constant", "run.keep_last=false")
    execute(tmp_path / "x", "loop.epochs=2", "loop.schedule=constant", "run.keep_last=false")
    assert "has no last.pt (run.keep_last=true keeps it)" in capsys.readouterr().out


def test_warm_start_from_a_run(tmp_path):
    execute(tmp_path / "a")
    source = every.folder_in(tmp_path / "a")
    execute(tmp_path / "b", f"model.weights={source}", "model.tune=freeze", "model.fresh=[head.linear]")
    target = every.folder_in(tmp_path / "b")
    kept = torch.load(target / "checkpoints/best.pt", weights_only=True)["parts"]["net"]
    assert all(name.startswith("head.") for name in kept), "a frozen run stores only what it trained"


@pytest.mark.parametrize("more", [[], ["loop.accumulate=4", "loop.batch_size=4"]])
def test_a_batch_norm_with_one_value_a_channel_names_the_batch_size(more, tmp_path):
    """ResNet-18 at 32 px ends in maps of one pixel: a batch of one, or a part of one, has no variance."""
    words = [*every.small("resnet18"), "loop.batch_size=1", *more, f"run.root={tmp_path}"]
    with pytest.raises(UserError, match=r"loop\.batch_size=[14]: a batch norm gets one value a channel .*1, 512, 1, 1"):
        session.execute(config.from_overrides(words))
