"""Every module imports where there is neither fcntl nor prctl; parameter groups; an Apple GPU that is not there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

from sketchlab import config
from sketchlab.engine import optim
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.storage import files

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


@pytest.mark.slow
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


def test_constraints_pin_all_but_torch():
    """constraints.txt holds a version of each dependency, of none that comes with torch, and no address."""
    root = config.conf_dir().parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert len(pins) == len(lines) > 100 and not [
        name for name in pins if re.match(r"torch$|torchvision|nvidia|triton", name)
    ]
    words = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[><=]", word)[0] for word in words} - {"torch", "torchvision", "sketchlab"}
    assert names <= set(pins), names - set(pins)
    text = (root / "README.md").read_text() + (root / "constraints.txt").read_text()
    assert "-c constraints.txt" in text and "index-url" not in text


def test_every_text_file_is_read_and_written_with_a_named_encoding():
    """Without one Python takes the machine's, which is not UTF-8 everywhere."""
    root, unnamed = Path(__file__).parents[1], []
    for path in [p for room in ("sketchlab", "scripts", "experiments") for p in sorted((root / room).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or any(word.arg in ("encoding", None) for word in node.keywords):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            words = " ".join(ast.unparse(arg) for arg in node.args)
            opens = isinstance(node.func, ast.Name) and name == "open" and "b'" not in words
            if (opens or name in ("read_text", "write_text")) and "'utf-8" not in words:
                unnamed.append(f"{path.relative_to(root)}:{node.lineno}")
    assert unnamed == []


def test_a_terminal_in_ascii_gets_question_marks():
    code = "from sketchlab.errors import UserError, exit_on_error\ndef work(): raise UserError('no class \\u732b')\n"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code + "exit_on_error(work)"], capture_output=True, env=environment)
    assert done.returncode == 1 and b"Traceback" not in done.stderr and b"error: no class " in done.stderr
