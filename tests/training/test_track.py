"""Trackers get the numbers of metrics.jsonl, once each, a resumed run goes on in its own; the run knows nothing."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sketchlab import config, run
from sketchlab.errors import UserError
from sketchlab.training import session, track
from tests import every
from tests.test_exact import digest

ROWS = [{"step": 3 * i, "epoch": i, "train/loss": 1 / i, "val/accuracy": i / 10} for i in range(1, 6)]
ROWS.append({"step": 15, "epoch": 5, "test/accuracy": 0.625})


def write(folder: Path, rows: list[dict], state: str = "running") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "status.json").write_text(json.dumps({"state": state}))


def cut_and_resumed(name: str, folder: Path) -> None:
    """Four rows and a cut line; cut back to two when resumed; all of them; then found again."""
    write(folder, ROWS[:4])
    with track.following([name], folder, {"seed": 0}), open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 15, "ep')
    assert json.loads((folder / f"track_{name}.json").read_text())["rows"] == 4
    write(folder, ROWS[:2])
    with track.following([name], folder, {"seed": 0}):
        write(folder, ROWS, "finished")
    with track.following([name], folder, {"seed": 0}):
        pass
    assert json.loads((folder / f"track_{name}.json").read_text())["rows"] == len(ROWS)


def expected() -> dict[str, list[tuple[int, float]]]:
    out: dict[str, list[tuple[int, float]]] = {}
    for row in ROWS:
        for key, value in row.items():
            if key != "step":
                out.setdefault(key, []).append((row["step"], float(value)))
    return out


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="the optional extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    cut_and_resumed("tensorboard", tmp_path / "m-d/id")
    events = EventAccumulator(str(tmp_path / "m-d/id/tensorboard")).Reload()
    found = {
        key: [(e.step, make_ndarray(e.tensor_proto).item()) for e in events.Tensors(key)]
        for key in events.Tags()["tensors"]
        if not key.startswith("config")
    }
    assert found == expected()


@pytest.mark.slow
def test_mlflow(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the optional extra mlflow is not installed")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    cut_and_resumed("mlflow", tmp_path / "m-d/id")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sketchlab")
    assert experiment is not None
    (one,) = client.search_runs([experiment.experiment_id])
    history = {k: [(m.step, m.value) for m in client.get_metric_history(one.info.run_id, k)] for k in one.data.metrics}
    assert history == expected() and one.info.run_name == "m-d/id" and one.info.status == "FINISHED"
    assert one.data.params == {"seed": "0"}


def leveldb_log(content: bytes, header: int = 7, block: int = 32768) -> Iterator[bytes]:
    """The records of an offline W&B file: LevelDB's log format after a header of seven bytes."""
    place, record = header, b""
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the optional extra wandb is not installed")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.delenv("WANDB_MODE", raising=False)
    cut_and_resumed("wandb", tmp_path / "m-d/id")
    found: dict[str, list[tuple[int, float]]] = {}
    ids = set()
    for path in sorted(tmp_path.glob("m-d/id/wandb/offline-run-*/*.wandb")):
        for data in leveldb_log(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            ids |= {record.run.run_id} if record.HasField("run") else set()
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            for key, value in items.items():
                if not key.startswith("_"):
                    found.setdefault(key, []).append((record.history.step.num, value))
    assert ids == {json.loads((tmp_path / "m-d/id/track_wandb.json").read_text())["id"]}
    assert found == {key: list(dict(rows).items()) for key, rows in expected().items()}  # a step is one row there


def test_neither_id_nor_bits_change(tmp_path, monkeypatch):
    declared = []

    class Kept:
        rows: list[dict] = []

        def __init__(self, *_):
            self.id = "1"

        def declare(self, table):
            declared.append(table)

        def send(self, row):
            self.rows.append(row)

        def close(self):
            pass

    monkeypatch.setattr(session, "report", lambda folder: None)
    monkeypatch.setitem(track.TRACKERS, "tensorboard", Kept)
    monkeypatch.setattr(track, "installed", lambda name: True)
    for name, more in (("plain", []), ("tracked", ["run.track=[tensorboard]"])):
        run.execute(config.from_overrides(every.small("small_cnn", f"run.root={tmp_path / name}", *more)))
    plain, tracked = (every.folder_in(tmp_path / name) for name in ("plain", "tracked"))
    assert plain.name == tracked.name and digest(plain) == digest(tracked)
    assert Kept.rows == [json.loads(line) for line in (tracked / "metrics.jsonl").read_text().splitlines()]
    (table,) = declared  # once, before the first row
    assert table["val/accuracy"].better == "larger" and table["val/loss"].better == "smaller"


def test_a_tracker_that_fails_is_said_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    class Broken:
        def __init__(self, *_):
            raise ConnectionError("no server at https://track.example")

    monkeypatch.setitem(track.TRACKERS, "mlflow", Broken)
    monkeypatch.setattr(track, "installed", lambda name: True)
    write(tmp_path, ROWS)
    with track.following(["mlflow"], tmp_path, {}):
        pass
    said = capsys.readouterr().err
    assert (
        said.startswith("warning: tracking with mlflow ended (ConnectionError: no server at") and said.count("\n") == 1
    )


def test_mistakes(monkeypatch):
    with pytest.raises(UserError, match="run.track=tensorbord: no such tracker; there is: tensorboard, mlflow, wandb"):
        track.check(["tensorbord"])
    monkeypatch.setattr(track, "installed", lambda name: False)
    with pytest.raises(UserError, match=r"run.track=wandb: the package is not installed: pip install 'sketchlab\[wan"):
        track.check(["wandb"])
    with pytest.raises(UserError, match="run.track=tensorboard: expected list"):
        config.from_overrides(["run.track=tensorboard"])


@pytest.mark.parametrize("where", ["__init__", "send", "close"])
def test_a_tracker_that_hangs_is_left_after_a_while(where, tmp_path, monkeypatch, capsys):
    class Hangs:
        id = "x"

        def __init__(self, *_):
            self.wait("__init__")

        def wait(self, here):
            if here == where:
                time.sleep(60)

        def declare(self, table): ...

        def send(self, row):
            self.wait("send")

        def close(self):
            self.wait("close")

    monkeypatch.setattr(track, "WAIT_S", 1.0)
    monkeypatch.setattr(track, "installed", lambda _: True)
    monkeypatch.setitem(track.TRACKERS, "tensorboard", Hangs)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "val/loss": 1.0}\n')
    started = time.monotonic()
    with track.following(["tensorboard"], tmp_path, {}):
        pass
    assert 1 <= time.monotonic() - started < 10
    err = capsys.readouterr().err
    assert "tracking with tensorboard ended (it did not answer for 1 s)" in err and err.count("\n") == 1
