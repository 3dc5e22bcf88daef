"""A sweep finds, resumes and retries; what fails says so at once, the others go on, and the end is a table."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sketchlab import run
from sketchlab.engine import optim
from sketchlab.errors import UserError
from sketchlab.report.comparison import groups
from sketchlab.sweeps import grid as sweep
from sketchlab.sweeps import workers
from sketchlab.training import session
from tests import every

SMALL = [*every.SMALL_DATA, *every.SMALL_RUN]
COMPARED = sweep.compared


@pytest.fixture
def start(tmp_path, monkeypatch) -> Callable[..., int]:
    """python -m sketchlab.run -m … in this process, without reports. Returns the exit code."""
    monkeypatch.setattr(sweep, "compared", lambda folder, found: "")  # takes seconds
    monkeypatch.setattr(session, "report", lambda folder: run_score(folder.path))
    monkeypatch.chdir(tmp_path)

    def main(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["sketchlab", "-m", *SMALL, *words])
        try:
            run.main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return main


def run_score(folder: Path) -> float | None:
    best = json.loads((folder / "status.json").read_text())["best"]
    return next((value for key, value in best.items() if key != "epoch"), None)


def states(root: Path) -> list[tuple[str, str]]:
    """(state, before) of each run of the latest sweep."""
    latest = max((root / "outputs/sweeps").iterdir())
    found = [json.loads(p.read_text()) for p in sorted((latest / "runs").glob("*.json"), key=lambda p: int(p.stem))]
    return [(record["state"], record["before"]) for record in found]


def test_what_fails_is_said_at_once_the_others_go_on_and_the_end_is_a_table(start, tmp_path, capfd):
    words = ["model=pixels_naive_bayes,small_cnn", "data.classes=[circle,sqare],[circle,square]"]
    assert start(*words) == 1
    out, err = capfd.readouterr()
    assert states(tmp_path) == [("failed", ""), ("failed", ""), ("finished", ""), ("finished", "")]
    assert err.startswith("error: data.per_class=8 'data.classes=[circle,sqare]'")
    assert err.count("no shape 'sqare'") == 2
    assert err.splitlines()[-1].startswith("error: 2 of 4 runs did not finish; the same command again finds")
    table = out[out.index("\nrun ") :].splitlines()
    assert table[2].startswith("'data.classes=[circle,sqare]' model=pixels_naive_bayes ") and " failed " in table[2]
    assert " finished " in table[5] and "val/accuracy " in table[5] and "outputs/small_cnn-shapes/" in table[5]
    assert table[6].startswith("failed: ") and "no shape 'sqare'" in table[6]
    assert start(*words[:1], "data.classes=[circle,square]") == 0
    assert states(tmp_path) == [("finished", "found")] * 2


@pytest.mark.slow
def test_a_bug_fails_one_run_and_is_retried_a_signal_ends_the_sweep_and_it_resumes(start, tmp_path, capfd, monkeypatch):
    update, steps = optim.update, iter(range(1000))

    def broken(*args, **kwargs):
        if next(steps) == 3:
            raise RuntimeError("a bug")
        return update(*args, **kwargs)

    words = ["model=small_cnn", "seed=0,1", "loop.save_every_s=0"]
    monkeypatch.setattr(optim, "update", broken)
    assert start(*words) == 1
    assert states(tmp_path) == [("failed", ""), ("finished", "")]
    out, err = capfd.readouterr()
    assert "RuntimeError: a bug" in err and "Traceback" in err and "failed: seed=0: RuntimeError: a bug" in out

    def told_to_stop(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return update(*args, **kwargs)

    monkeypatch.setattr(optim, "update", told_to_stop)
    assert start("model=small_cnn", "seed=1,3,4", "loop.save_every_s=0") == 128 + signal.SIGTERM
    assert states(tmp_path) == [("finished", "found"), ("interrupted", "")]
    assert "interrupted: seed=3: ended by a signal" in capfd.readouterr().out
    monkeypatch.setattr(optim, "update", update)
    assert start("model=small_cnn", "seed=0,3", "loop.save_every_s=0") == 0
    assert states(tmp_path) == [("finished", "retried"), ("finished", "resumed")]


def test_a_mistake_in_the_words_stops_before_the_first_run(start, tmp_path, capfd):
    assert start("model=small_cnn,vgg61") == 1
    assert capfd.readouterr().err.startswith("error: model=vgg61: no such choice; did you mean vgg16?")
    assert not list(tmp_path.glob("outputs/small_cnn-*"))


def test_a_launcher_that_breaks_leaves_what_was_done_in_the_table(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    done = {"words": ["seed=0"], "state": "failed", "before": "", "folder": None, "message": "no data"}
    (tmp_path / "runs/0.json").write_text(json.dumps(done))
    broke = pytest.raises(UserError, match=r"the launcher broke \(OSError: .*2 of 2 runs did not finish")
    with broke, sweep.concluded(tmp_path, [["seed=0", "hydra.x=1"], ["seed=1"]]):
        raise OSError("a worker was lost")
    out = capsys.readouterr().out
    assert "failed: seed=0: no data" in out and "unknown: seed=1: it has not said how it ended" in out


def test_failures_elsewhere_are_told_here(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    launcher = type("Fake", (), {"__module__": "hydra_plugins.hydra_submitit_launcher"})()
    with sweep.announced(tmp_path, launcher):
        done = {"words": ["seed=0"], "state": "failed", "message": "no data"}
        (tmp_path / "runs/0.json").write_text(json.dumps(done))
    assert capsys.readouterr().err == "error: seed=0: no data\n"


@pytest.mark.parametrize(
    ("visible", "n", "parts"),
    [("0,1,2,3", 2, ["0,2", "1,3"]), ("4,5", 2, ["4", "5"]), ("7", 3, ["7", "7", "7"]), ("", 2, ["", ""])],
)
def test_gpus_are_dealt_out(visible, n, parts, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [",".join(workers.part(workers.gpus(), number, n)) for number in range(n)] == parts


def test_every_worker_has_a_place_of_its_own(tmp_path):
    first, second = workers.slot(tmp_path, 2), workers.slot(tmp_path, 2)
    assert (first[0], second[0]) == (0, 1)
    first[1].close()
    assert workers.slot(tmp_path, 2)[0] == 0


def test_a_missing_package_is_one_line(start, capfd, monkeypatch):
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    Plugins.instance()  # which registers it, once in a process
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "joblib.yaml")
    assert start("hydra/launcher=parallel", "seed=0,1") == 1
    assert "hydra/launcher=parallel needs a package: pip install 'sketchlab[parallel]'" in capfd.readouterr().err


def test_lines_of_parallel_runs_carry_their_number(capsys):
    with workers.numbered(3):
        print("one", end=" ")
        print("line\nand another", flush=True, end="")
    assert capsys.readouterr().out == "#3 one line\n#3 and another\n"


@pytest.mark.slow
def test_a_sweep_stops_at_its_first_failure_when_asked_to(start, tmp_path, capfd):
    words = ["model=small_cnn", "data.classes=[circle,square],[circle,sqare],[circle,line]"]
    assert start(*words, "hydra.sweeper.stop_on_failure=true") == 1
    assert states(tmp_path) == [("finished", ""), ("failed", ""), ("not started", "")]
    assert "not started: 'data.classes=[circle,line]': stop_on_failure: another run failed" in capfd.readouterr().out
    assert start(*words) == 1
    assert states(tmp_path) == [("finished", "found"), ("failed", ""), ("finished", "")]


@pytest.mark.slow
def test_a_plan_of_a_sweep_trains_nothing(start, tmp_path, capfd):
    assert start("model=small_cnn", "seed=0") == 0
    capfd.readouterr()
    before = sorted(path.name for path in (tmp_path / "outputs").glob("small_cnn-*/*"))
    assert start("model=small_cnn,pixels_naive_bayes", "seed=0,1", "plan=true") == 0
    out = capfd.readouterr().out
    rows = [line.split() for line in out[out.index("\nrun ") :].splitlines()[2:]]
    assert [row[2] for row in rows[:4]] == ["found", "new", "new", "new"]
    assert rows[4][:5] == ["in", "all:", "1", "found,", "3"] and "nothing was trained" in out
    assert sorted(path.name for path in (tmp_path / "outputs").glob("small_cnn-*/*")) == before
    assert not list(tmp_path.glob("outputs/pixels*/*/config.yaml"))


def test_a_sweep_ends_with_its_comparison_and_report_takes_its_folder(start, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "compared", COMPARED)
    assert start("model=pixels_naive_bayes", "seed=0,1") == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "outputs/sweeps").iterdir()
    page = folder / "comparison" / "comparison.html"
    assert out.endswith(f"comparison: {page.relative_to(tmp_path)}\n") and page.is_file()
    runs, _ = groups.find([folder])
    assert {run.name for run in runs} == {path.parent.name for path in (tmp_path / "outputs").glob("*/*/config.yaml")}
    moved = shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    again, _ = groups.find([Path(moved) / "sweeps" / folder.name])
    assert sorted(run.name for run in again) == sorted(run.name for run in runs) and len(again) == 2
    (Path(moved) / "sweeps" / folder.name / "runs" / "0.json").write_text("[")
    with pytest.raises(UserError, match="0.json"):
        groups.find([Path(moved) / "sweeps" / folder.name])
