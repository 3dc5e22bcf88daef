"""Machines as they are: a read-only installation, no home, fewer cores than the machine has."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from sketchlab import config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.storage import cache, files

ROOT = Path(__file__).parents[2]
DROP_FROM_BOUNDS, IGNORE_PERMISSIONS = 24, 1  # prctl's PR_CAPBSET_DROP, and CAP_DAC_OVERRIDE
DRAW = """
from sketchlab.data.strokes import loops, simplify
import numpy as np
print(simplify.simplify([np.array([[0.0, 0.0], [9.0, 0.0], [9.0, 9.0]])]), simplify._kept.stats.cache_path)
"""


@pytest.fixture
def installed():
    """A copy of the package that nobody may write to, in a place that everybody may read."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        shutil.copytree(ROOT / "sketchlab", root / "lib" / "sketchlab", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "conf", root / "lib" / "sketchlab" / "conf")
        (root / "cache").mkdir()
        (root / "cache").chmod(0o777)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755 if path.is_dir() and path == root else 0o777 if path.name == "cache" else 0o555)
        yield root
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)


def run(root, *words, **env):
    """In a process to which permissions apply, root or not, and that has nothing of this one's environment."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-B", *words],
        cwd=root / "cache",
        env={**kept, "PYTHONPATH": str(root / "lib"), **env},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: ctypes.CDLL(None).prctl(DROP_FROM_BOUNDS, IGNORE_PERMISSIONS),
    )


@pytest.mark.parametrize("home", [None, pytest.param("/nonexistent", marks=pytest.mark.slow)])
def test_a_read_only_installation_keeps_compiled_loops_below_the_cache(installed, home):
    there = {"SKETCHLAB_CACHE": str(installed / "cache"), **({"HOME": home} if home else {})}
    done = run(installed, "-c", DRAW, **there)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[[[0, 255, 255], [0, 0, 255]]] " + str(installed / "cache" / ".numba"))
    assert list((installed / "cache" / ".numba").rglob("*.nbc"))


@pytest.mark.slow
def test_a_run_in_a_read_only_installation_without_a_home(installed):
    words = ["data=shapes", "data.per_class=20", "loop.epochs=1", "loop.batch_size=8", "run.root=out"]
    done = run(installed, "-m", "sketchlab.run", *words, SKETCHLAB_CACHE=str(installed / "cache"), HOME="/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    assert list((installed / "cache" / "out").rglob("report.html"))


def test_a_home_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.delenv("SKETCHLAB_CACHE", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(UserError, match="no folder for the cache: .*; set SKETCHLAB_CACHE"):
        cache.home()


@pytest.mark.slow
def test_loops_are_compiled_where_nothing_can_be_kept(installed):
    done = run(installed, "-c", DRAW, SKETCHLAB_CACHE="/proc/none")
    assert done.returncode == 0 and done.stdout.startswith("[[[0, 255, 255], [0, 0, 255]]]"), done.stderr


def test_compiled_loops_are_no_entry_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path))
    (tmp_path / ".numba" / "strokes_1").mkdir(parents=True)
    (tmp_path / ".numba" / "strokes_1" / "a.nbc").write_bytes(b"x")
    assert cache.entries() == [] and cache.verify() == []


GROUPS = [
    ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
    ("0::/\n", {"cpu.max": "max 100000"}, float("inf")),
    ("0::/a.slice/job\n", {"a.slice/cpu.max": "300000 100000", "a.slice/job/cpu.max": "max 100000"}, 3.0),
    ("0::/a.slice/job\n", {"a.slice/cpu.max": "300000 100000", "a.slice/job/cpu.max": "50000 100000"}, 0.5),
    ("0::/docker/1234\n", {"cpu.max": "200000 100000"}, 2.0),  # a container that sees its own group as the top
    ("4:cpu,cpuacct:/docker/12\n1:name=systemd:/\n",
     {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2.5),
    ("4:cpuacct,cpu:/b\n", {"cpu/b/cpu.cfs_quota_us": "-1", "cpu/b/cpu.cfs_period_us": "100000"}, float("inf")),
    ("5:cpuset:/b\n", {"cpuset/b/cpu.cfs_quota_us": "1", "cpuset/b/cpu.cfs_period_us": "1"}, float("inf")),
    ("0::/\n", {"cpu.max": "many 0"}, float("inf")),
    ("0::/\n", {"cpu.max": ""}, float("inf")),
    ("nonsense\n", {}, float("inf")),
]  # fmt: skip


@pytest.mark.parametrize("groups, written, cores", GROUPS)
def test_the_quota_of_control_groups(tmp_path, groups, written, cores):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in written.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert files.quota(tmp_path) == cores
    assert files.quota(tmp_path / "nothing") == float("inf")


@pytest.mark.parametrize("affinity, allowed, used", [(8, 2.5, 3), (2, 6.0, 2), (4, 0.2, 1), (4, float("inf"), 4)])
def test_threads_are_as_many_as_may_be_used(monkeypatch, affinity, allowed, used):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
    monkeypatch.setattr(files, "quota", lambda: allowed)
    assert files.cores() == used
    threads = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    values = config.from_overrides(["runtime.device=cpu"]).runtime
    Runtime(values)
    assert threads == [used]
    monkeypatch.setenv("OMP_NUM_THREADS", "64")  # asked for
    Runtime(values)
    assert threads == [used]
