"""On a real Slurm, started on this machine: one of four jobs is preempted, queued again, ends with the same bits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.every import SMALL_DATA, SMALL_RUN
from tests.sweeps.test_killed_sweep import runs
from tests.test_exact import digest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_here.sh"
WORDS = ["-m", "model=small_cnn", "seed=range(0,4)", *SMALL_DATA, *SMALL_RUN]
WORDS += ["data.per_class=64", "loop.epochs=30", "loop.save_every_s=1000", "pipeline.explain=0"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """SLURM_CONF of a cluster of one node."""
    pytest.importorskip("submitit", reason="the optional extra slurm is not installed")
    if not shutil.which("slurmctld", path=os.environ["PATH"] + ":/usr/sbin"):
        pytest.skip("no Slurm here: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True, timeout=60)
    yield str(folder / "slurm.conf")
    subprocess.run([SCRIPT, "stop", folder], check=True)


def start(folder: Path, **env: str) -> subprocess.Popen[str]:
    folder.mkdir()
    launcher = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1"] if env else []
    return subprocess.Popen(
        [sys.executable, "-m", "sketchlab.run", *WORDS, *launcher],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(what, seconds: float, process: subprocess.Popen[str]):
    for _ in range(int(seconds * 10)):
        if found := what():
            return found
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError(f"nothing in {seconds} s")


def in_training(root: Path) -> Path | None:
    """A run with scores of two epochs, that is not near its end."""
    for folder in runs(root).values():
        path = folder / "metrics.jsonl"
        if path.exists() and 2 <= len(path.read_text().splitlines()) < 20:
            return folder
    return None


@pytest.mark.slurm
@pytest.mark.parametrize("how", ["USR2", "requeue"])
def test_a_preempted_job_is_queued_again_and_ends_with_the_same_bits(how, cluster, tmp_path, whole):
    process = start(tmp_path / "cluster", SLURM_CONF=cluster)
    folder = until(lambda: in_training(tmp_path / "cluster"), 300, process)
    owner = json.loads((folder / "lock").read_text())["pid"]
    job = job_of(owner)
    env = {**os.environ, "SLURM_CONF": cluster}
    words = ["scancel", "--signal=USR2", job] if how == "USR2" else ["scontrol", "requeue", job]
    subprocess.run(words, env=env)  # scancel complains of a job that is queued again while it is told
    until(lambda: "resumed at step" in (folder / "train.log").read_text(), 900, process)
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    assert "finished (resumed)" in out
    ours = runs(tmp_path / "cluster")
    assert len(ours) == 4 and ours.keys() == whole.keys()
    assert all(digest(ours[name]) == digest(whole[name]) for name in whole)


def job_of(pid: int) -> str:
    """The Slurm job that a process belongs to."""
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(w.partition(b"=")[2].decode() for w in words if w.startswith(b"SLURM_JOB_ID="))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    """The same four runs, unbroken and without a cluster."""
    folder = tmp_path_factory.mktemp("unbroken") / "here"
    process = start(folder)
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    return runs(folder)


@pytest.mark.slurm
def test_a_failing_job_is_told_while_the_others_run(cluster, tmp_path):
    folder = tmp_path / "failing"
    folder.mkdir()
    words = ["-m", "model=pixels_naive_bayes", *SMALL_DATA[2:], *SMALL_RUN, "hydra/launcher=slurm"]
    words += ["data.classes=[circle,sqare],[circle,square]", "hydra.launcher.cpus_per_task=1"]
    done = subprocess.run(
        [sys.executable, "-m", "sketchlab.run", *words],
        cwd=folder,
        env={**os.environ, "SLURM_CONF": cluster},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 1 and "no shape 'sqare'" in done.stderr and "1 of 2 runs did not finish" in done.stderr
    assert "finished" in done.stdout and "failed" in done.stdout
