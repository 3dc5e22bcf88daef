"""The same numbers elsewhere (run.track=[tensorboard,mlflow,wandb]): what metrics.jsonl says, sent while it is written.

The run knows nothing of it: a thread reads its folder. track_<name>.json keeps which tracked run is this one and how
many rows it has, so a resumed run goes on in it, and a run that is finished can be sent afterwards. Rows that a resumed
run writes again are the same to the bit and are not sent twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sketchlab.errors import UserError
from sketchlab.metrics.declared import FEATURES, Table, read
from sketchlab.storage.files import read_dict, read_lines, write_json

POLL_S = 1.0
WAIT_S = 30.0  # for trackers to send the last rows, when the run is done
Row = dict[str, Any]


class TensorBoard:
    """<run folder>/tensorboard: `tensorboard --logdir outputs` shows every run by its folder."""

    def __init__(self, folder: Path, values: dict[str, Any], known: str | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.id = "tensorboard"
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        if known is None:
            self.writer.add_text("config", "\n".join(f"    {k}: {v}" for k, v in values.items()))

    def declare(self, table: Table) -> None:
        rows = "".join(f"| {s.name} | {s.title} | {s.better} | {s.unit} |\n" for s in table.scores.values())
        self.writer.add_text("scores", f"| score | title | better | unit |\n|---|---|---|---|\n{rows}")

    def send(self, row: Row) -> None:
        for key, value in scores(row).items():
            self.writer.add_scalar(key, value, row["step"], new_style=True, double_precision=True)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class MLflow:
    """To MLFLOW_TRACKING_URI, else <run.root>/mlflow.db (`mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db`)."""

    def __init__(self, folder: Path, values: dict[str, Any], known: str | None) -> None:
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]  # an optional extra
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.parent.parent / 'mlflow.db'}"
        self.client = MlflowClient(address)
        if known is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "sketchlab")
            found = self.client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self.client.create_experiment(name)
            self.id = self.client.create_run(experiment, run_name=named(folder)).info.run_id
            self.client.log_batch(self.id, params=[Param(k, str(v)[:6000]) for k, v in values.items()])
        else:
            self.id = known
            self.client.update_run(known, status="RUNNING")

    def declare(self, table: Table) -> None:
        for score in table.scores.values():  # names of tags hold neither @ nor braces
            name = score.name.removesuffix(FEATURES).replace("@", "_at_")
            self.client.set_tag(self.id, f"better.{name}", score.better)

    def send(self, row: Row) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        now_ms = int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[Metric(k, v, now_ms, row["step"]) for k, v in scores(row).items()])

    def close(self) -> None:
        self.client.set_terminated(self.id)


class WandB:
    """Offline into <run folder>/wandb (`wandb sync` sends it later), or at once with WANDB_MODE=online."""

    def __init__(self, folder: Path, values: dict[str, Any], known: str | None) -> None:
        import wandb  # pyright: ignore[reportMissingImports]  # an optional extra

        self.id = known or secrets.token_hex(4)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "sketchlab"),
            id=self.id,
            name=named(folder),
            config=values,
            dir=str(folder),
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )

    def declare(self, table: Table) -> None:
        summary = {"larger": "max", "smaller": "min", "neither": "last"}
        for score in table.scores.values():
            for split in ("train", "val", "test"):
                name = f"{split}/{score.name.replace(FEATURES, '@*')}"
                self.run.define_metric(name, summary=summary[score.better])

    def send(self, row: Row) -> None:
        self.run.log(scores(row), step=row["step"])

    def close(self) -> None:
        self.run.finish()


TRACKERS = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def named(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def scores(row: Row) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if key != "step" and value is not None}


def check(names: list[str]) -> None:
    """Raises UserError for a name that is none, or whose package is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise UserError(f"run.track={name}: no such tracker; there is: {', '.join(TRACKERS)}")
        if not installed(name):
            raise UserError(f"run.track={name}: the package is not installed: pip install 'sketchlab[{name}]'")


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@contextlib.contextmanager
def following(names: list[str], folder: Path, values: dict[str, Any]) -> Iterator[None]:
    """Send the rows of the folder's metrics.jsonl to every tracker, until the block is left and all are sent.

    values: dotted key → value of the run's configuration. A tracker that fails is said at once and left alone; the run
    goes on. Raises UserError for a tracker that is none or not installed.
    """
    check(names)
    done = threading.Event()
    threads = [threading.Thread(target=_follow, args=(name, folder, values, done), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        deadline = time.monotonic() + WAIT_S
        for name, thread in zip(names, threads, strict=True):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _warn(name, f"it did not answer for {WAIT_S:.0f} s")


def ended(folder: Path) -> bool:
    path = folder / "status.json"
    return path.exists() and read_dict(path).get("state") == "finished"


def _follow(name: str, folder: Path, values: dict[str, Any], done: threading.Event) -> None:
    note = folder / f"track_{name}.json"
    try:
        known = read_dict(note) if note.exists() else {"id": None, "rows": 0}
        if ended(folder) and len(read_lines(folder / "metrics.jsonl")) == known["rows"]:
            return
        tracker = TRACKERS[name](folder, values, known["id"])
        sent = known["rows"]
        write_json(note, {"id": tracker.id, "rows": sent})
        last = False
        while not last:
            last = done.wait(POLL_S)
            for row in read_lines(folder / "metrics.jsonl")[sent:]:
                if not sent and (table := read(folder, "")).scores:
                    tracker.declare(table)
                tracker.send(row)
                sent += 1
                write_json(note, {"id": tracker.id, "rows": sent})
        tracker.close()
    except Exception as error:  # a server that is down must not end the run
        _warn(name, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")


def _warn(name: str, why: str) -> None:
    print(
        f"warning: tracking with {name} ended ({why}); the run goes on, and the same command later sends what is "
        "missing",
        file=sys.stderr,
        flush=True,
    )
