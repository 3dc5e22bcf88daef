"""Published values beside ours: only where the protocol is the same, else said why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sketchlab.errors import UserError
from sketchlab.report.comparison.groups import Group
from sketchlab.report.read import flat, yaml_file

KEYS = ("label", "metric", "value", "protocol")


@dataclass(frozen=True)
class Published:
    """One value of a paper. protocol: choices and dotted keys that a run must have for the two to be comparable."""

    label: str  # who, where: name, year, table
    metric: str  # a key such as test/accuracy
    value: float
    protocol: dict[str, str]


def load(path: Path) -> list[Published]:
    """A YAML file with `values:`, a list of {label, metric, value, protocol: {data: …, data.splits.rule: …}}."""
    if not path.is_file():
        raise UserError(f"--published {path} is not there: expected a YAML file with a list `values`")
    rows = yaml_file(path).get("values")
    if not isinstance(rows, list):
        raise UserError(f"--published {path}: expected `values:` with a list, each of {', '.join(KEYS)}")
    return [_one(path, place, row) for place, row in enumerate(rows, start=1)]


def _one(path: Path, place: int, row: Any) -> Published:
    where = f"--published {path}: value {place}"
    missing = [key for key in KEYS if key not in row] if isinstance(row, dict) else ["keys"]
    if missing:
        raise UserError(f"{where} has no {missing[0]}: expected {', '.join(KEYS)}")
    if not isinstance(row["value"], int | float) or isinstance(row["value"], bool) or "/" not in str(row["metric"]):
        raise UserError(f"{where}: expected a number as value and a key such as test/accuracy as metric")
    if not isinstance(row["protocol"], dict) or not row["protocol"]:
        raise UserError(f"{where}: protocol must name the settings a run must share with it, e.g. data: tuberlin")
    return Published(str(row["label"]), str(row["metric"]), float(row["value"]), dict(flat(row["protocol"])))


def fitting(values: list[Published], groups: list[Group], metric: str) -> tuple[list[Published], list[str]]:
    """The values of this metric whose protocol all the runs share, and a line for each that is not shown."""
    rows = [run.settings for group in groups for run in group.runs.values()]
    fits, notes = [], []
    for value in values:
        if value.metric != metric:
            continue
        other = next(((k, v, row.get(k)) for k, v in value.protocol.items() for row in rows if row.get(k) != v), None)
        if other is None:
            fits.append(value)
        else:
            key, wanted, here = other
            notes.append(
                f"{value.label} ({value.value:g}) is not shown: its protocol has {key}={wanted}, a run here has {here}."
            )
    return fits, notes
