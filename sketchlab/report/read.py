"""The reading layer: one run folder as one value. Everything else in report/ takes a Run and never opens a file."""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml

from sketchlab import semantics
from sketchlab.errors import STRICT, UserError
from sketchlab.metrics.declared import Table
from sketchlab.metrics.declared import read as read_table
from sketchlab.schema import upgraded
from sketchlab.storage import sources

Made = TypeVar("Made")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


@dataclass(frozen=True)
class Run:
    """What a run folder holds, whatever state the run is in; a file not written yet is an empty value here."""

    folder: Path
    config: dict[str, Any]  # schema, command, choices, config, differs
    env: dict[str, Any]
    status: dict[str, Any]  # state, started, …, metrics, best
    data: dict[str, Any]  # classes, splits, rule, …
    notes: list[str] = field(default_factory=list)  # what could not be read, in words
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)  # predictions, once read

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per evaluation; NaN where an evaluation did not give a metric."""
        return pd.DataFrame(self.evaluations)

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """As metrics, without a table: of a thousand runs these are read in a tenth of the time."""
        return _merged(_lines(self.folder / "metrics.jsonl", self.notes))

    @cached_property
    def timing(self) -> pd.DataFrame:
        return pd.DataFrame(self._timing)

    @cached_property
    def _timing(self) -> list[dict[str, Any]]:
        return _lines(self.folder / "timing.jsonl", self.notes)

    @cached_property
    def model(self) -> pd.DataFrame:
        """layer, type, output, parameters, trainable."""
        return _table(self.folder / "model.csv")

    @property
    def state(self) -> str:
        return str(self.status.get("state", "unknown"))

    @cached_property
    def code(self) -> dict[str, Any]:
        """File → the digests of what it means and of its bytes, of the code that made the run; {} in older folders."""
        return self.attempt("the list of its code", lambda: _json(self.folder / "code.json"), {})

    def source(self, name: str) -> str | None:
        """The text of a file of code.json that the run kept: its own model and data, and parts of one's own."""
        return sources.read(self.folder, name)

    @property
    def choices(self) -> dict[str, str]:
        return dict(self.config.get("choices") or {})

    @cached_property
    def settings(self) -> dict[str, str]:
        """Choices (model, data, …), dotted keys and semantics.<part> → value as text; what `auto` became where the run
        says it."""
        config = self.config.get("config") or {}
        decided = (self.config.get("identity") or {}).get("runtime") or {}
        values = dict(flat({**config, "runtime": {**(config.get("runtime") or {}), **decided}}))
        numbers = {f"semantics.{part}": str(number) for part, number in semantics.of_run(self.config).items()}
        return {**values, **numbers, **self.choices}

    @property
    def pipeline(self) -> str:
        """The pipeline's name; classify where the folder does not say."""
        values = (self.config.get("config") or {}).get("pipeline")
        return (values or {}).get("name") or self.choices.get("pipeline") or "classify"

    @cached_property
    def declared(self) -> Table:
        """What each score is: direction, range, unit, interval."""
        return read_table(self.folder, self.pipeline)

    @property
    def fitted(self) -> bool:
        """Whether it was fitted in one go: it has no layers and no epochs."""
        return (self.env.get("parameters") or {}).get("total") == 0

    @property
    def name(self) -> str:
        """<model choice>-<data choice>/<id>, from the folder's own place."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.data.get("classes") or []]

    def attempt(self, what: str, make: Callable[[], Made], otherwise: Made) -> Made:
        """What `make` gives; where a damaged file makes it fail, `otherwise`, and a note that says why."""
        try:
            return make()
        except Exception as error:  # whatever a file that was cut or changed leads to, in whatever is made of it
            if os.environ.get(STRICT) and not isinstance(error, UserError):
                raise
            reason = (str(error).splitlines() or [""])[0]
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            self.notes.append(f"Left out: {what}, as a file of it is damaged or missing ({kind}{reason}).")
            return otherwise

    def split(self, name: str) -> dict[str, Any]:
        """{n, per_class, …} of one split, or {} when data.json does not know it."""
        found = (self.data.get("splits") or self.data).get(name)
        return found if isinstance(found, dict) else {}

    def curve(self, key: str, x: str = "epoch") -> tuple[np.ndarray, np.ndarray]:
        """(E,) places on the x axis and (E,) values of a metric, over the evaluations that gave it."""
        values, places = column(self.evaluations, key), column(self.evaluations, x)
        if not any(x in row for row in self.evaluations):
            return np.zeros(0), np.zeros(0)
        return places[~np.isnan(values)], values[~np.isnan(values)]

    def final(self) -> dict[str, float]:
        """Final value of each metric: from status.json once finished, else the last one in metrics.jsonl.

        Where there are test scores, those of val are of the same weights, the best epoch's, also of runs that kept
        val's last scores in status.json (`last` has these). Without test scores val is of the last epoch.
        """
        return dict(self._final)

    @property
    def tested(self) -> bool:
        """Whether the run has test scores."""
        return any(key.startswith("test/") for key in self._last)

    def last(self, key: str) -> float | None:
        """The value of the last epoch."""
        values = self.curve(key, "step")[1]
        return float(values[-1]) if len(values) else self._last.get(key)

    @cached_property
    def _final(self) -> dict[str, float]:
        best = self.status.get("best") or {}
        if not (self.tested and "epoch" in best):
            return self._last
        at = next((row for row in reversed(self.evaluations) if number(row.get("epoch")) == best["epoch"]), {})
        chosen = {key: number(value) for key, value in at.items() if key.startswith("val/")}
        return self._last | {key: value for key, value in chosen.items() if not math.isnan(value)}

    @cached_property
    def _last(self) -> dict[str, float]:
        values = {}
        known = {key: float(value) for key, value in (self.status.get("metrics") or {}).items()}
        for key in dict.fromkeys(key for row in self.evaluations for key in row):
            if "/" in key and key not in known and len(found := self.curve(key, "step")[1]):
                values[key] = float(found[-1])
        return values | known

    @cached_property
    def seconds(self) -> float | None:
        """Time spent training, evaluating and saving; where that is not kept, from start to end; None: not known."""
        spent = [row[key] for row in self._timing for key in ("train_s", "eval_s", "save_s") if key in row]
        if spent:
            return float(np.nansum([number(value) for value in spent]))
        try:
            started, ended = (
                datetime.datetime.fromisoformat(str(self.status.get(key))) for key in ("started", "ended")
            )
        except ValueError:  # one of them is not written
            return None
        return (ended - started).total_seconds()

    @property
    def n_train(self) -> int | None:
        """Training samples, None where data.json does not say."""
        return ((self.data.get("splits") or {}).get("train") or {}).get("n")

    def document(self, name: str, split: str) -> dict[str, Any]:
        """<name>_<split>.json, such as chance (score → what guessing gives) and quality; {} when it is not there."""
        return _json(self.folder / f"{name}_{split}.json")

    def predicted(self) -> list[str]:
        """Splits that have a predictions file."""
        return sorted(path.stem.removeprefix("predictions_") for path in self.folder.glob("predictions_*.csv"))

    def predictions(self, split: str) -> pd.DataFrame:
        """predictions_<split>.csv: ids and class names as text (a class may be called NA), numbers as numbers."""
        if split not in self._tables:
            self._tables[split] = self._predictions(split)
        return self._tables[split]

    def predicted_classes(self, split: str) -> pd.DataFrame:
        """The predictions of a split without probabilities and distances: what was said of each sample."""
        table = self.predictions(split)
        return table.drop(columns=[c for c in table if c.startswith(("p_", "distance_"))])

    def _predictions(self, split: str) -> pd.DataFrame:
        path = self.folder / f"predictions_{split}.csv"
        with path.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file), [])
        text = [name for name in header if not name.startswith(("p_", "distance_"))]
        return pd.read_csv(
            path,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values=dict.fromkeys([name for name in header if name not in text], ["", "nan"]),
        )

    def map(self, split: str) -> pd.DataFrame:
        """map_<split>.csv: domain, id, label, object, x, y of embeddings in the plane; empty when it is not there."""
        path = self.folder / f"map_{split}.csv"
        if not path.is_file():
            return pd.DataFrame()
        text: Any = dict.fromkeys(("domain", "id", "label", "object"), str)
        return pd.read_csv(path, dtype=text, keep_default_na=False)

    def by_text(self, split: str) -> pd.DataFrame:
        """by_text_<split>.csv: class, photos, text, sketch_before, sketch; empty when it is not there."""
        path = self.folder / f"by_text_{split}.csv"
        return pd.read_csv(path, dtype={"class": str}, keep_default_na=False) if path.is_file() else pd.DataFrame()

    def array(self, name: str) -> np.ndarray | None:
        """arrays/<name>.npy memory-mapped, or None when the run did not write it."""
        path = self.folder / "arrays" / f"{name}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None

    def arrays(self, pattern: str) -> dict[str, np.ndarray]:
        """Arrays by name whose file name matches a glob pattern without the .npy."""
        paths = sorted((self.folder / "arrays").glob(f"{pattern}.npy"))
        return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in paths}

    @cached_property
    def progress(self) -> dict[str, Any]:
        """step, steps, seconds_left of a run that trains; {} where it has not said."""
        return _json(self.folder / "progress.json")

    @cached_property
    def eye_test(self) -> list[dict[str, Any]]:
        """Answers of people who were shown real and generated pictures: truth, said, test, who; [] of any other run."""
        return [row for row in _lines(self.folder / "eye_test.jsonl", self.notes) if {"truth", "said"} <= row.keys()]

    def samples(self, pattern: str) -> list[Path]:
        """Pictures samples/<pattern>.png, in order of the numbers in their names."""
        paths = (self.folder / "samples").glob(f"{pattern}.png")
        return sorted(paths, key=lambda path: (int("".join(filter(str.isdigit, path.stem)) or 0), path.name))


def read(folder: Path) -> Run:
    """Read a run folder.

    Raises UserError when the folder is no run, or when a file that is written in one go is broken.
    """
    run = glance(folder)
    _ = run.metrics, run.timing, run.eye_test  # what is cut in them stands in run.notes
    return run


def glance(folder: Path) -> Run:
    """As `read`, but metrics, timing and model are read when they are first asked for: for many runs at once."""
    folder = Path(folder).resolve()
    if not (folder / "config.yaml").is_file():
        what = "is not there" if not folder.exists() else "holds no config.yaml"
        raise UserError(f"{folder} {what}: expected a run folder, such as outputs/<model>-<data>/<id>")
    config = upgraded(yaml_file(folder / "config.yaml"), folder / "config.yaml")
    return Run(
        folder=folder,
        config=config,
        env=_json(folder / "env.json"),
        status=_json(folder / "status.json"),
        data=_json(folder / "data.json"),
    )


def yaml_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text("utf-8"), Loader=LOADER)
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise UserError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys such as command and config, got {type(content).__name__}")
    return content


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is no readable JSON: {error}; it was changed after the run wrote it") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object with keys, got {type(content).__name__}")
    return content


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The rows of a .jsonl file, read up to the first line that is cut; the rest is told in notes."""
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("no object")
        except ValueError:
            notes.append(f"{path.name} is cut in line {number} of {len(lines)}: read up to line {number - 1}.")
            break
        rows.append(row)
    return rows


def _merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per step: the test scores stand in a line of their own after those of the last evaluation."""
    if not any("step" in row for row in rows):
        return rows
    out: dict[Any, dict[str, Any]] = {}
    for row in rows:
        merged = out.setdefault(row["step"], {}) if "step" in row else {}
        for key, value in row.items():
            if key not in merged or not (value is None or value != value):  # a NaN does not hide a number
                merged[key] = value
    return list(out.values())


def numbers(table: pd.DataFrame, key: str) -> np.ndarray:
    """A column as (rows,) float64; what is missing or no number is NaN."""
    return np.asarray(pd.to_numeric(table[key], errors="coerce"), dtype=np.float64)


def flat(node: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mapping → (dotted key, value as text), in order."""
    out: list[tuple[str, str]] = []
    for key, value in node.items():
        if isinstance(value, dict) and value:
            out += flat(value, f"{prefix}{key}.")
        else:
            out.append((f"{prefix}{key}", text_of(value)))
    return out


def text_of(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float) and len(str(value)) > 14:  # 0.018000000000000002, as a sweep's range makes them
        return f"{value:.12g}"
    return "–" if value is None else str(value)


def number(value: Any) -> float:
    """A value of a .jsonl file; NaN where it is missing or no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def column(rows: list[dict[str, Any]], key: str) -> np.ndarray:
    """(rows,) float64 of one key, as `numbers` of a table."""
    return np.array([number(row.get(key)) for row in rows], dtype=np.float64)


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False) if path.is_file() and path.stat().st_size else pd.DataFrame()
