"""Every module imports where there is neither fcntl nor prctl; parameter groups; an Apple GPU that is not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from sketchlab import config
from sketchlab.engine import optim
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.storage import files
from sketchlab.storage.lock import Lock

HIDDEN = """
import ctypes, importlib, pkgutil, signal, sys
import torch, torchvision, matplotlib.pyplot, numba, pandas, scipy.stats, sklearn.svm, skimage.feature, uvicorn
import concurrent.futures.process, joblib, multiprocessing.pool, hydra, optuna  # they have ways of their own
for name in ("fcntl", "resource", "pwd", "grp", "termios"): sys.modules[name] = None
for name in ("SIGUSR1", "SIGUSR2", "SIGKILL"): delattr(signal, name)
sys.platform = "win32"
def no_library(name, *rest, **more): raise OSError(f"no library {name}")
ctypes.CDLL = no_library
import sketchlab
for module in pkgutil.walk_packages(sketchlab.__path__, "sketchlab."):
    if not module.name.endswith("__main__"): importlib.import_module(module.name)
from sketchlab.engine.runtime import end_with_parent
end_with_parent(15)
"""


def test_every_module_imports_where_fcntl_and_prctl_are_not():
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


def test_one_at_a_time(tmp_path, monkeypatch):
    """By the kernel's lock on the folder; without one nobody waits, and nothing is left behind."""
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with files.exclusive(tmp_path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert most == [1] and not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="an Apple GPU is here")
def test_an_apple_gpu_that_is_not_there():
    with pytest.raises(UserError, match="runtime.device=mps: torch sees no Apple GPU here"):
        config.from_overrides(["runtime.device=mps"]).runtime.decided()


# --- parameter groups


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_groups_keep_their_own_rates(name, schedule):
    """Beside torch's optimizer whose groups are set by hand: the same bits, also after a checkpoint."""
    words = [f"loop.optimizer={name}", f"loop.schedule={schedule}", "loop.lr=0.01", "loop.epochs=4"]
    run = config.from_overrides([*words, "runtime.device=cpu"])
    loop, runtime = run.loop, Runtime(run.runtime)
    ours, theirs = (nn.ParameterList([torch.ones(3), torch.ones(3)]) for _ in range(2))
    groups = [{"params": [ours[0]], "lr": 1e-4}, {"params": [ours[1]]}]
    optimizer = optim.make(groups, loop, runtime)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 0.01]
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    own = {"momentum": loop.momentum} if name == "sgd" else {"betas": tuple(loop.betas)}
    twin = kind([{"params": [p]} for p in theirs], lr=1.0, weight_decay=loop.weight_decay, **own)
    for step in range(8):
        epoch = step / 2
        optim.set_rate(optimizer, loop, epoch)
        share = optim.rate(loop, epoch, 1e-4), optim.rate(loop, epoch)
        for group, lr in zip(twin.param_groups, share, strict=True):
            group["lr"] = lr
        for parameters, stepper in ((ours, optimizer), (theirs, twin)):
            for p in parameters:
                p.grad = p.detach() * 0.5 + step
            stepper.step()
        if step == 3:  # as from last.pt
            state = optimizer.state_dict()
            optimizer = optim.make([{"params": [ours[0]], "lr": 1e-4}, {"params": [ours[1]]}], loop, runtime)
            optimizer.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    optim.set_rate(optimizer, loop, loop.warmup_epochs, lr=0.02)  # twice the peak: of every group
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert second / first == pytest.approx(100)


def test_groups_as_torch_takes_them_warm_up_like_torchs_own_scheduler():
    """A generator of parameters, as module.parameters() is, and a single tensor; beside LambdaLR, which scales each
    group's own rate."""
    run = config.from_overrides(["loop.optimizer=sgd", "loop.warmup_epochs=2", "loop.lr=0.01", "runtime.device=cpu"])
    loop, runtime = run.loop, Runtime(run.runtime)
    ours, theirs = nn.Linear(2, 2), nn.Linear(2, 2)
    scale = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    theirs.load_state_dict(ours.state_dict())
    optimizer = optim.make([{"params": ours.parameters(), "lr": 1e-4}, {"params": scale[0], "lr": 1e-2}], loop, runtime)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1]
    twin = torch.optim.SGD(
        [{"params": theirs.parameters(), "lr": 1e-4}, {"params": scale[1], "lr": 1e-2}],
        momentum=loop.momentum,
        weight_decay=loop.weight_decay,
    )
    share = [optim.rate(loop, step / 2, 1.0) for step in range(9)]  # half an epoch a step
    assert share[1] == 0.25 and share[2] == 0.5 and share[4] == 1.0
    scheduler = torch.optim.lr_scheduler.LambdaLR(twin, lambda step: share[step])
    for step in range(8):
        optim.set_rate(optimizer, loop, step / 2)
        rates = [[group["lr"] for group in each.param_groups] for each in (optimizer, twin)]
        assert rates[0] == pytest.approx(rates[1], rel=1e-12) and rates[0][1] / rates[0][0] == pytest.approx(100)
        for net, factor, stepper in ((ours, scale[0], optimizer), (theirs, scale[1], twin)):
            (net(torch.ones(3, 2)) * factor).square().sum().backward()
            stepper.step()
            stepper.zero_grad()
        scheduler.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-6, atol=0)
    torch.testing.assert_close(scale[0], scale[1], rtol=1e-6, atol=0)


# --- locks where there is no fcntl


class Windows:
    """msvcrt of one machine: a byte of a file has one owner, until its file is closed."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.owners: dict[tuple[int, int], int] = {}  # (inode, byte) -> open file

    def locking(self, file: int, mode: int, n: int) -> None:
        assert mode == self.LK_NBLCK and n == 1
        place = os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR)
        owner = self.owners.get(place, file)
        if owner != file and os.path.exists(f"/proc/self/fd/{owner}"):
            raise PermissionError(errno.EACCES, "Permission denied")
        self.owners[place] = file


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux which files are open")
def test_the_lock_of_windows_is_on_no_byte_that_others_read(tmp_path, monkeypatch):
    windows = Windows()
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "msvcrt", windows)
    owner = Lock(tmp_path)
    owner.acquire()
    try:
        size = (tmp_path / "lock").stat().st_size
        assert 0 < size < 1000 and all(byte > 2**20 for _, byte in windows.owners)
        with pytest.raises(UserError, match=f"running elsewhere .process {os.getpid()}"):
            Lock(tmp_path).acquire()
    finally:
        owner.release()
    other = Lock(tmp_path)
    other.acquire()
    other.release()


def test_without_locks_one_line_names_what_is_not_protected(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files, "msvcrt", None)
    files._unprotected.cache_clear()
    for _ in range(2):
        with files.exclusive(tmp_path):
            pass
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "neither fcntl nor msvcrt" in printed
    assert "run folder, cache or sweep" in printed
