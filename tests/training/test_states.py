"""The life of a run folder: whatever happens to it, the next start of the same command ends with the same bits, or says
in one line why it cannot."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch

from sketchlab import config, run
from sketchlab.engine import checkpoint, rundir
from sketchlab.errors import UserError
from sketchlab.pipelines.classify.task import Classify
from sketchlab.training import neighbours, provenance
from tests import every
from tests.engine.test_bad_runs import Cut, cut_after

SMALL = ("loop.save_every_s=0", "pipeline.explain=0")


def execute(root: Path, *more: str) -> Path:
    run.execute(config.from_overrides(every.small("small_cnn", f"run.root={root}", *SMALL, *more)), reported=False)
    return every.folder_in(root)


def bits(folder: Path) -> tuple[bytes, dict]:
    state = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    return (folder / "metrics.jsonl").read_bytes(), state["parts"]["net"]


def same(one: Path, other: Path) -> bool:
    (rows, net), (rows_of_other, net_of_other) = bits(one), bits(other)
    return rows == rows_of_other and all(torch.equal(net[key], net_of_other[key]) for key in net_of_other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An unbroken run."""
    return execute(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def finished(whole, tmp_path) -> Path:
    """A copy of it in a root of its own, tmp_path."""
    return Path(shutil.copytree(whole, tmp_path / whole.parent.name / whole.name))


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> Path:
    """The same run, dead after four of its six steps."""
    root = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_after(patch, 4)
        execute(root)
    return every.folder_in(root)


@pytest.fixture
def half(cut, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(cut, tmp_path / cut.parent.name / cut.name))


def status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def test_a_copied_run_is_found(finished, tmp_path, capsys):
    execute(tmp_path)
    assert "found: this run is finished\n" in capsys.readouterr().out


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "a flipped bit": lambda path: flip(path, 2000),
    "of another run": lambda path: torch.save({"id": "0" * 12, "parts": {}}, path),
    "a list": lambda path: torch.save([1, 2], path),
}


def flip(path: Path, at: int, bit: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


FEW = ("missing", "a flipped bit", "of another run")


@pytest.mark.parametrize("damage", [*FEW, *every.slow(*(damage for damage in DAMAGES if damage not in FEW))])
def test_a_finished_run_without_its_network_is_trained_again(damage, finished, whole, tmp_path, capsys):
    DAMAGES[damage](finished / "checkpoints" / "best.pt")
    execute(tmp_path)
    assert "best.pt" in (out := capsys.readouterr().out) and "is damaged; it is trained again" in out
    assert same(finished, whole) and status(finished)["state"] == "finished"


@pytest.mark.parametrize("text", [None, "", '{"step": 1}\n'])
def test_a_finished_run_with_other_scores_is_trained_again(text, finished, whole, tmp_path, capsys):
    scores = finished / "metrics.jsonl"
    scores.unlink() if text is None else scores.write_text(text)
    execute(tmp_path)
    assert "metrics.jsonl" in (out := capsys.readouterr().out) and "it is trained again" in out
    assert same(finished, whole)


@pytest.mark.parametrize("text", ["", "[]", *every.slow("{", "null")])
def test_a_status_that_cannot_be_read(text, finished, whole, tmp_path, capsys):
    (finished / "status.json").write_text(text)
    with pytest.raises(UserError, match="cannot read .*status.json"):
        _ = rundir.RunDir(finished).written
    execute(tmp_path)
    assert "the run goes on from last.pt" in capsys.readouterr().out and same(finished, whole)


def test_a_rerun_that_dies_while_it_deletes_is_trained(finished, whole, tmp_path, monkeypatch):
    def die(*_):
        raise Cut

    monkeypatch.setattr(rundir.shutil, "rmtree", die)
    with pytest.raises(Cut):
        execute(tmp_path, "rerun=true")
    monkeypatch.undo()
    assert status(finished)["state"] == "running"
    execute(tmp_path)
    assert same(finished, whole) and status(finished)["state"] == "finished"


@pytest.mark.slow
def test_a_rerun_that_was_preempted_goes_on_and_with_other_code_starts_over(
    finished, whole, tmp_path, monkeypatch, capsys
):
    for other_code in ([], ["sketchlab/engine/loop.py"]):
        cut_after(monkeypatch, 5)
        with pytest.raises(Cut):
            execute(tmp_path, "rerun=true")
        monkeypatch.undo()
        capsys.readouterr()
        monkeypatch.setattr("sketchlab.training.provenance.changed", lambda _, files=other_code: files)
        execute(tmp_path, "rerun=true")
        out = capsys.readouterr().out
        assert ("goes on with the rerun" in out) == ("resumed at step 5" in out) == (not other_code)
        assert same(finished, whole)
        monkeypatch.undo()
        execute(tmp_path, "rerun=true")  # a finished rerun is trained again
        assert "goes on" not in capsys.readouterr().out


@pytest.mark.parametrize("keep", ["false", *every.slow("true", "auto")])
def test_last_pt_goes_after_finished_is_written(keep, tmp_path, monkeypatch):
    write = rundir.RunDir.status

    def die(folder, **changes):
        if changes.get("state") == "finished":
            raise Cut
        write(folder, **changes)

    monkeypatch.setattr(rundir.RunDir, "status", die)
    with pytest.raises(Cut):
        execute(tmp_path, f"run.keep_last={keep}")
    monkeypatch.undo()
    folder = every.folder_in(tmp_path)
    assert (folder / "checkpoints" / "last.pt").exists()
    cut_after(monkeypatch, 0)  # no step is trained again
    execute(tmp_path, f"run.keep_last={keep}")
    assert (folder / "checkpoints" / "last.pt").exists() == (keep != "false")
    execute(tmp_path)


def test_last_pt_of_a_run_cut_between_the_two_is_removed_when_it_is_found(tmp_path):
    folder = execute(tmp_path, "run.keep_last=false")
    shutil.copy(folder / "checkpoints" / "best.pt", folder / "checkpoints" / "last.pt")
    execute(tmp_path)
    assert not (folder / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize("text", ['{"step": 6, "epoch": 1}\n', '{"a": ', *every.slow("", "no json\n")])
def test_rows_come_from_the_checkpoint(text, whole, tmp_path, half):
    folder = half
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
    (folder / "metrics.jsonl").write_text(text)
    (folder / "timing.jsonl").write_text(text)
    execute(tmp_path)
    assert same(folder, whole)


def test_fewer_rows_than_an_older_checkpoint_counts_is_one_line(tmp_path, half):
    last = half / "checkpoints" / "last.pt"
    state = torch.load(last, weights_only=True)
    torch.save({**state, "rows": len(state["rows"])}, last)
    (last.parent.parent / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="has 0 rows, last.pt was saved after 1; rerun=true"):
        execute(tmp_path)


def test_a_cut_run_without_its_best_network_is_one_line(tmp_path, half):
    best = half / "checkpoints" / "best.pt"
    state = torch.load(best, weights_only=True)
    torch.save({**state, "epoch": 0}, best)
    with pytest.raises(UserError, match="is of epoch 0, but epoch 1 was better; rerun=true"):
        execute(tmp_path)
    best.unlink()
    with pytest.raises(UserError, match="best.pt: it is missing"):
        execute(tmp_path)
    execute(tmp_path, "rerun=true")


def test_the_owner_removes_what_killed_writers_left(finished, tmp_path):
    dead = [finished / ".status.json.999999999.tmp", finished / "checkpoints" / ".last.pt.999999999.tmp"]
    alive = finished / f".report.html.{os.getppid()}.tmp"
    for path in (*dead, alive):
        path.write_text("half")
    execute(tmp_path)
    assert not any(path.exists() for path in dead) and alive.exists()


def test_the_next_writer_of_the_index_removes_what_a_killed_one_left(finished, tmp_path):
    left = [finished.parent / f".{neighbours.INDEX}.{pid}.tmp" for pid in (999999999, os.getppid())]
    for path in left:
        path.write_text("{")
    asked = config.from_overrides(every.small("small_cnn", f"run.root={tmp_path}"))
    assert [neighbour.folder for neighbour in neighbours.of(asked)] == [finished]
    assert [path.exists() for path in left] == [False, True]


@pytest.mark.slow
def test_a_kill_while_a_shorter_run_is_taken_up(tmp_path, monkeypatch, capsys):
    longer = ("loop.epochs=3", "loop.schedule=constant")
    execute(tmp_path / "a", "loop.schedule=constant")
    save = rundir.RunDir.save

    def die(folder, name, state):
        if name == "last":
            raise Cut
        save(folder, name, state)

    monkeypatch.setattr(rundir.RunDir, "save", die)
    with pytest.raises(Cut):
        run.execute(config.from_overrides(every.small("small_cnn", f"run.root={tmp_path / 'a'}", *SMALL, *longer)))
    monkeypatch.undo()
    capsys.readouterr()
    run.execute(
        config.from_overrides(every.small("small_cnn", f"run.root={tmp_path / 'a'}", *SMALL, *longer)), reported=False
    )
    assert "continues the finished run of 2 epochs" in capsys.readouterr().out
    unbroken = execute(tmp_path / "b", *longer)
    assert same(tmp_path / "a" / unbroken.parent.name / unbroken.name, unbroken)


def test_flipped_bits_are_found_or_change_nothing(whole, tmp_path):
    """Each damage of a checkpoint is one line, or of a byte that holds nothing."""
    good = checkpoint.load(whole / "checkpoints" / "last.pt")
    content = (whole / "checkpoints" / "last.pt").read_bytes()
    draw, refused = random.Random(0), 0
    for n in range(150):
        path = tmp_path / "last.pt"
        damaged = bytearray(content)
        if n % 3 == 0:
            damaged = damaged[: draw.randrange(len(damaged))]
        else:
            for _ in range(1 if n % 3 == 1 else 20):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = checkpoint.load(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        net, whole_net = loaded["parts"]["net"], good["parts"]["net"]
        assert loaded["rows"] == good["rows"] and all(torch.equal(net[key], whole_net[key]) for key in whole_net)
    assert refused > 120


@pytest.mark.parametrize("key", ["parts", *every.slow("step", "rows", "averages")])
def test_a_checkpoint_that_lacks_a_part_is_one_line(key, tmp_path, half):
    last = half / "checkpoints" / "last.pt"
    state = torch.load(last, weights_only=True)
    torch.save({name: value for name, value in state.items() if name != key}, last)
    with pytest.raises(UserError, match=f"holds no {key}: rerun=true"):
        execute(tmp_path)
    torch.save({**state, "parts": {**state["parts"], "optimizer": [1]}}, last)
    with pytest.raises(UserError, match="optimizer does not fit this model"):
        execute(tmp_path)


def test_tables_of_every_sample_are_of_the_best_epoch_and_the_last(tmp_path, monkeypatch):
    written = []
    keep = rundir.RunDir.keep

    def count(folder, split, results):
        written.append((split, "predictions" in results))
        return keep(folder, split, results)

    accuracies, evaluate = iter([0.5, 0.9, 0.2, 0.3, 0.4]), Classify.evaluate
    monkeypatch.setattr(rundir.RunDir, "keep", count)
    monkeypatch.setattr(
        Classify, "evaluate", lambda task, split: evaluate(task, split) | {"accuracy": next(accuracies, 0.1)}
    )
    execute(tmp_path, "loop.epochs=5")
    assert [tables for split, tables in written if split == "val"][:5] == [True, True, False, False, True]


def test_a_run_that_goes_on_elsewhere_says_so(tmp_path, monkeypatch, capsys):
    cut_after(monkeypatch, 5)
    with pytest.raises(Cut):
        execute(tmp_path, "runtime.workers=0")
    monkeypatch.undo()
    monkeypatch.setattr("sketchlab.training.provenance.differing", lambda *_: ["sketchlab/engine/loop.py"])
    folder = execute(tmp_path, "runtime.workers=1")
    assert "from step 5 on with another code" in (out := capsys.readouterr().out) and "runtime.workers (0 → 1)" in out
    (entry,) = status(folder)["resumed"]
    assert entry["step"] == 5 and entry["after"]["runtime.workers"] == 1 and set(entry["after"]) >= {"code"}
    assert "changed files: sketchlab/engine/loop.py" in out


def test_the_same_run_goes_on_without_a_word(tmp_path, monkeypatch):
    cut_after(monkeypatch, 5)
    with pytest.raises(Cut):
        execute(tmp_path)
    monkeypatch.undo()
    assert "resumed" not in status(execute(tmp_path))


@pytest.mark.parametrize("cut", [0, 5])
def test_code_that_only_an_earlier_session_needed_is_code_of_the_run(cut, tmp_path, monkeypatch):
    """Such as what made data that is kept since; where nothing was trained with it, it is not."""
    cut_after(monkeypatch, cut)
    with pytest.raises(Cut):
        execute(tmp_path)
    monkeypatch.undo()
    folder = every.folder_in(tmp_path)
    files = provenance.read(folder)
    earlier = {"sketchlab/rng.py": files["sketchlab/rng.py"], "sketchlab/gone.py": ["0" * 16, "1" * 16]}
    (folder / provenance.FILE).write_text(json.dumps(files | earlier))
    execute(tmp_path)
    assert provenance.changed(provenance.read(folder)) == (["sketchlab/gone.py"] if cut else [])
    assert "resumed" not in status(folder)


def test_a_shorter_run_of_other_code_is_named(tmp_path, capsys):
    shorter = execute(tmp_path, "loop.schedule=constant")
    files = provenance.read(shorter)
    (shorter / provenance.FILE).write_text(json.dumps(files | {"sketchlab/rng.py": ["0" * 16, "1" * 16]}))
    last = shorter / "checkpoints" / "last.pt"
    state = torch.load(last, weights_only=True)
    torch.save(state | {"made_with": state["made_with"] | {"code": "0" * 12}}, last)
    words = every.small("small_cnn", f"run.root={tmp_path}", *SMALL, "loop.schedule=constant", "loop.epochs=3")
    run.execute(config.from_overrides(words), reported=False)
    out = capsys.readouterr().out
    assert "continues the finished run of 2 epochs" in out and "changed files: sketchlab/rng.py" in out
