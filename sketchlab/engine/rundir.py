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
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from torch import Tensor

from sketchlab.engine import checkpoint
from sketchlab.engine.files import atomic, read_json, read_lines, write_json
from sketchlab.engine.lock import Lock
from sketchlab.engine.task import Explained
from sketchlab.errors import UserError
from sketchlab.metrics import declared

STRICT = "SKETCHLAB_STRICT"  # set by the tests: what fails in explaining a result is raised


def identity(deciding: dict[str, Any]) -> str:
    """The id of a run: 12 hexadecimal digits over everything that decides its result."""
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]


def now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


class RunDir:
    """One run's folder. `writes` is False on ranks other than 0: they read, and their writes are no-ops."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.lock = Lock(path)
        self.scores = declared.Table("", ())  # until it is declared

    # --- taking it up

    @property
    def state(self) -> str:
        """new, running (cut, if no one holds the lock), interrupted, failed or finished."""
        return read_json(self.path / "status.json")["state"] if (self.path / "status.json").exists() else "new"

    def open(self) -> None:
        """Make the folder if need be and become its owner. UserError when that cannot be."""
        try:
            for part in ("checkpoints", "arrays", "plots", "samples"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {error.strerror}; choose another folder with run.root=…"
            ) from None

    def clear(self) -> None:
        """rerun=true: everything but the lock goes."""
        for item in self.path.iterdir():
            if item.name != "lock":
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        for part in ("checkpoints", "arrays", "plots", "samples"):
            (self.path / part).mkdir()

    def status(self, **changes: Any) -> None:
        if not self.writes:
            return
        path = self.path / "status.json"
        write_json(path, {**(read_json(path) if path.exists() else {}), **changes, "updated": now()})

    # --- scores

    def declare(self, scores: declared.Table) -> None:
        """What the run's pipeline declares about its scores, written once, before training."""
        self.scores = scores
        self.document(declared.FILE, scores.document())

    def rows(self) -> list[dict[str, Any]]:
        return read_lines(self.path / "metrics.jsonl")

    def cut_rows(self, rows: int) -> None:
        """Forget the lines of metrics.jsonl and timing.jsonl after the restored checkpoint."""
        if not self.writes:
            return
        kept = self.rows()[:rows]
        step = kept[-1]["step"] if kept else 0
        times = [row for row in read_lines(self.path / "timing.jsonl") if row["step"] <= step]
        for name, lines in (("metrics.jsonl", kept), ("timing.jsonl", times)):
            with atomic(self.path / name) as temporary:
                temporary.write_text("".join(json.dumps(row) + "\n" for row in lines))

    def add(self, name: str, row: dict[str, Any]) -> None:
        """One line to metrics.jsonl or timing.jsonl."""
        if not self.writes:
            return
        try:
            with open(self.path / name, "a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(
                f"cannot write {self.path / name}: {error.strerror}; free some space and start again"
            ) from None

    def say(self, line: str) -> None:
        """To standard output and train.log."""
        if not self.writes:
            return
        from tqdm import tqdm

        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
        with open(self.path / "train.log", "a") as file:
            file.write(line + "\n")

    # --- checkpoints

    def save(self, name: str, state: dict[str, Any]) -> None:
        if self.writes:
            checkpoint.save(self.path / "checkpoints" / f"{name}.pt", {**state, "id": self.path.name})

    def load(self, name: str) -> dict[str, Any] | None:
        path = self.path / "checkpoints" / f"{name}.pt"
        if not path.exists():
            return None
        state = checkpoint.load(path)
        if state.get("id") != self.path.name:
            raise UserError(
                f"{path}: is of run {state.get('id')}, not of {self.path.name}: another configuration made it. "
                "Delete it to train this run from the start; to start from those weights use model.weights"
            )
        return state

    # --- results

    def keep(self, split: str, results: dict[str, Any]) -> dict[str, float]:
        """Each result to its file by its type (task.py says which); returns the scores as <split>/<name>."""
        scores = {}
        for name, value in results.items():
            if isinstance(value, pd.DataFrame):
                if self.writes:
                    with atomic(self.path / f"{name}_{split}.csv") as temporary:
                        value.to_csv(temporary, index=False)
            elif isinstance(value, dict):
                self.document(f"{name}_{split}.json", value)
            elif isinstance(value, Tensor):
                if self.writes:
                    self._keep_tensor(split, name, value.detach().cpu().numpy())
            else:
                scores[f"{split}/{name}"] = float(value)
        return scores

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

    def document(self, name: str, value: Any) -> None:
        """A dict as YAML or JSON by the ending of `name`."""
        if not self.writes:
            return
        if name.endswith(".json"):
            write_json(self.path / name, value)
            return
        with atomic(self.path / name) as temporary:
            temporary.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
