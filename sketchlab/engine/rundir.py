"""The run folder: what decides its name, who owns it, what is written into it and how it is taken up again."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from torch import Tensor

from sketchlab.engine import checkpoint
from sketchlab.engine.task import Explained
from sketchlab.errors import STRICT, UserError
from sketchlab.metrics import declared
from sketchlab.storage.files import atomic, digest, read_dict, read_lines, remove_temporaries, write_json
from sketchlab.storage.lock import Lock


def identity(deciding: dict[str, Any]) -> str:
    """The id of a run: 12 hexadecimal digits over everything that decides its result."""
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]


def now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


PARTS = ("checkpoints", "arrays", "plots", "samples")  # folders in it
HELD = {"best": ("parts",), "last": ("step", "rows", "averages", "parts")}  # what a checkpoint needs to be used


class Examined(NamedTuple):
    """new; resumable (cut, interrupted or failed); finished; damaged: it was finished, but its files cannot be used."""

    state: str
    why: str = ""  # it is damaged


def numbers(split: str, results: dict[str, Any]) -> dict[str, float]:
    """The scores among the results of an evaluation, as <split>/<name>."""
    files = (pd.DataFrame, dict, Tensor)
    return {f"{split}/{name}": float(value) for name, value in results.items() if not isinstance(value, files)}


def _look(path: Path) -> list[int] | None:
    """By what a file that nobody touched is recognised."""
    if not path.is_file():
        return None
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


class RunDir:
    """One run's folder. `writes` is False on ranks other than 0: they read, and their writes are no-ops."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.lock = Lock(path)
        self.scores = declared.Table("", ())  # until it is declared
        self.made_with: dict[str, Any] = {}  # versions and settings of the machine, kept in every checkpoint
        self.code: tuple[str, str, list[str]] | None = None  # digests before and now, and files, where code changed

    # --- taking it up

    @property
    def written(self) -> dict[str, Any]:
        """status.json; {} where there is none. UserError where it cannot be read."""
        path = self.path / "status.json"
        return read_dict(path) if path.exists() else {}

    def examine(self) -> Examined:
        """The state that the folder is in. What says finished is looked at: its network, its scores."""
        try:
            status = self.written
        except UserError as error:  # everything but the state of the run is in last.pt
            resumable = (self.path / "checkpoints" / "last.pt").exists()
            return Examined("resumable" if resumable else "damaged", str(error))
        if status.get("state") != "finished":
            return Examined("resumable" if status else "new")
        why = self._damage(status)
        return Examined("damaged" if why else "finished", why)

    def _damage(self, status: dict[str, Any]) -> str:
        """Why a finished run cannot be used; "" where it can. Checksums are read where a file is not as it was left."""
        sealed = status.get("sealed", {})
        try:
            if _look(self.path / "checkpoints" / "best.pt") != sealed.get("best.pt"):
                self.load("best")
            scores = self.path / "metrics.jsonl"
            if sealed and (not scores.exists() or digest(scores) != sealed["metrics.jsonl"]):
                return f"{scores}: is not what the run wrote"
            return "" if scores.exists() else f"{scores}: missing"
        except UserError as error:
            return str(error).partition("; refused")[0]

    def seal(self) -> dict[str, Any]:
        """For status.json: by what a finished run is recognised as whole."""
        best = _look(self.path / "checkpoints" / "best.pt")
        weights = checkpoint.digest(self.load("best"))
        return {"best.pt": best, "weights": weights, "metrics.jsonl": digest(self.path / "metrics.jsonl")}

    def open(self) -> None:
        """Make the folder if need be, become its owner, remove what killed writers left. UserError when that cannot
        be."""
        try:
            for part in PARTS:
                (self.path / part).mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
            remove_temporaries(self.path)
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {error.strerror}; choose another folder with run.root=…"
            ) from None

    def begin(self, **status: Any) -> None:
        """A status.json of a run that starts, whatever was in the one before."""
        write_json(self.path / "status.json", {"state": "running", "started": now(), **status, "updated": now()})

    def clear(self, **status: Any) -> None:
        """Everything but the lock goes. status: what is written first, so that a kill in between leaves a run that is
        to be trained, never a finished one without its network."""
        self.begin(**status)
        for item in self.path.iterdir():
            if item.name not in ("lock", "status.json"):
                shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
        for part in PARTS:
            (self.path / part).mkdir()

    def status(self, **changes: Any) -> None:
        if not self.writes:
            return
        write_json(self.path / "status.json", {**self.written, **changes, "updated": now()})

    # --- scores

    def declare(self, scores: declared.Table) -> None:
        """What the run's pipeline declares about its scores, written once, before training."""
        self.scores = scores
        self.document(declared.FILE, scores.document())

    def restore_rows(self, rows: list[dict[str, Any]]) -> None:
        """metrics.jsonl holds these rows, those of the restored checkpoint, and timing.jsonl none of later steps."""
        if not self.writes:
            return
        self._lines("metrics.jsonl", rows)
        step = rows[-1]["step"] if rows else 0
        try:
            times = [row for row in read_lines(self.path / "timing.jsonl") if row.get("step", 0) <= step]
        except UserError as error:  # seconds decide nothing
            self.say(f"{error}: its seconds are left out")
            times = []
        self._lines("timing.jsonl", times)

    def _lines(self, name: str, rows: list[dict[str, Any]]) -> None:
        with atomic(self.path / name) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def add(self, name: str, row: dict[str, Any]) -> None:
        """One line to metrics.jsonl or timing.jsonl."""
        if not self.writes:
            return
        try:
            with open(self.path / name, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(
                f"cannot write {self.path / name}: {error.strerror}; free some space and start again"
            ) from None

    def say(self, line: str, whole: str = "") -> None:
        """To standard output, and to train.log, where it may be longer."""
        if not self.writes:
            return
        from tqdm import tqdm

        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
        with open(self.path / "train.log", "a", encoding="utf-8") as file:
            file.write((whole or line) + "\n")

    # --- checkpoints

    def save(self, name: str, state: dict[str, Any]) -> None:
        if self.writes:
            self.lock.check()
            state = {"made_with": self.made_with, **state, "id": self.path.name}
            checkpoint.save(self.path / "checkpoints" / f"{name}.pt", state)

    def load(self, name: str) -> dict[str, Any]:
        """The state of checkpoints/<name>.pt. UserError where it is missing, damaged, or of another run."""
        path = self.path / "checkpoints" / f"{name}.pt"
        state = checkpoint.load(path)
        if state.get("id") != self.path.name:
            raise UserError(
                f"{path}: is of run {state.get('id')}, not of {self.path.name}: another configuration made it. "
                "Delete it to train this run from the start; to start from those weights use model.weights"
            )
        needed = ("arrays",) if name == "best" and "arrays" in state else HELD[name]
        if missing := [key for key in needed if key not in state]:
            raise UserError(f"{path}: holds no {missing[0]}: rerun=true trains this run from the start")
        return state

    def last(self) -> dict[str, Any] | None:
        """What training goes on from; None where nothing was saved yet. UserError as load()."""
        if not (self.path / "checkpoints" / "last.pt").exists():
            return None
        state = self.load("last")
        if isinstance(state["rows"], int):  # checkpoints of before held how many lines of metrics.jsonl are theirs
            rows = read_lines(self.path / "metrics.jsonl")
            if len(rows) < state["rows"]:
                raise UserError(
                    f"{self.path / 'metrics.jsonl'}: has {len(rows)} rows, last.pt was saved after {state['rows']}; "
                    "rerun=true trains this run from the start"
                )
            state["rows"] = rows[: state["rows"]]
        return state

    # --- results

    def keep(self, split: str, results: dict[str, Any]) -> dict[str, float]:
        """Each result to its file by its type (task.py says which); returns the scores as <split>/<name>."""
        for name, value in results.items():
            if isinstance(value, pd.DataFrame):
                if self.writes:
                    with atomic(self.path / f"{name}_{split}.csv") as temporary:
                        value.to_csv(temporary, index=False)
            elif isinstance(value, dict):
                self.document(f"{name}_{split}.json", value)
            elif isinstance(value, Tensor) and self.writes:
                self._keep_tensor(split, name, value.detach().cpu().numpy())
        return numbers(split, results)

    def explain(self, split: str, parts: Explained) -> None:
        """Each part to its files; explain_<split>.json: part → why it is missing, for the page. No part ends a run.

        A part raises UserError where there is nothing to show. Any other error is a mistake, of sketchlab's or of a
        network of one's own: its traceback stands in train.log, and where STRICT is set it is raised.
        """
        missing: dict[str, str] = {}
        for name, part in parts.items():
            try:
                self.keep(split, part())
            except UserError as error:
                missing[name] = str(error)
                self.say(f"{split}: no {name}: {error}")
            except Exception as error:  # a run that has its scores is finished, whatever fails here
                if os.environ.get(STRICT):
                    raise
                missing[name] = f"{type(error).__name__}: {error} (its traceback stands in train.log)"
                self.say(f"{split}: no {name}, by an error:\n{traceback.format_exc()}")
        self.document(f"explain_{split}.json", missing)

    def _keep_tensor(self, split: str, name: str, array: np.ndarray) -> None:
        if name.endswith("_sheet"):
            self.picture(f"{split}_{name.removesuffix('_sheet')}", array)
            return
        with atomic(self.path / "arrays" / f"{split}_{name}.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, array)

    def picture(self, name: str, pixels: np.ndarray) -> None:
        """(H, W) or (H, W, 3) uint8 → samples/<name>.png"""
        if self.writes:
            with atomic(self.path / "samples" / f"{name}.png") as temporary:
                Image.fromarray(pixels).save(temporary, format="PNG")

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        if self.writes:
            with atomic(self.path / name) as temporary:
                pd.DataFrame(rows).to_csv(temporary, index=False)

    def text(self, name: str, value: str) -> None:
        if self.writes:
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary:
                temporary.write_text(value, encoding="utf-8")

    def document(self, name: str, value: Any) -> None:
        """A dict as YAML or JSON by the ending of `name`."""
        if not self.writes:
            return
        if name.endswith(".json"):
            write_json(self.path / name, value)
            return
        with atomic(self.path / name) as temporary:
            temporary.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
