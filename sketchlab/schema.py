"""What the keys of a configuration do, and how a config.yaml written before becomes one of today.

A field of a Config without a role decides the result, and is in the id of a run; `Annotated[float,
only(loss=("triplet",))]`: where other keys of the same Config have these values. `Shown[int]`: what is drawn and kept
to look at; it changes no bit of a result, and a finished run is shown anew by it. `Machine[int]`: where, how fast;
scores are equal to 1e-5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

from sketchlab.errors import UserError

SCHEMA = 3
# schema → what its successor added: (group, name or any, key, what the runs of before did without knowing it)
ADDED: dict[int, list[tuple[str, str, str, Any]]] = {
    1: [
        ("runtime", "", "recompute", False),
        ("runtime", "", "profile", False),
        ("run", "", "track", []),
        ("pipeline", "classify", "pose_weight", 0.0),
        ("pipeline", "retrieve", "loss", "contrastive"),
        ("pipeline", "retrieve", "sampler", "pairs"),
        ("pipeline", "retrieve", "balance", False),
        ("pipeline", "retrieve", "temperature", 0.07),
        ("pipeline", "retrieve", "cache", False),
    ],
    2: [
        ("runtime", "", "overlap", False),
        ("runtime", "", "graph", "false"),
    ],
}


def upgraded(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """config.yaml as today's code would have written it; what it holds already stays.

    Raises UserError when a newer sketchlab wrote it.
    """
    written = document.get("schema", SCHEMA)
    if not isinstance(written, int) or not 1 <= written <= SCHEMA:
        raise UserError(f"{path}: schema {written}, expected 1 to {SCHEMA}: read it with the sketchlab that wrote it")
    config = {group: dict(v) if isinstance(v, dict) else v for group, v in (document.get("config") or {}).items()}
    for schema in range(written, SCHEMA):
        for group, name, key, value in ADDED[schema]:
            if isinstance(config.get(group), dict) and name in ("", config[group].get("name")):
                config[group].setdefault(key, value)
    return {**document, "schema": SCHEMA, "config": config}


def settled(config: dict[str, Any]) -> dict[str, Any]:
    """config without the keys that hold what runs did before there were such keys: a new key changes no run's id."""
    out = {group: dict(v) if isinstance(v, dict) else v for group, v in config.items()}
    for added in ADDED.values():
        for group, name, key, value in added:
            values = out.get(group)
            if isinstance(values, dict) and name in ("", values.get("name")) and values.get(key, ...) == value:
                del values[key]
    return out


T = TypeVar("T")
SHOWN, MACHINE = "shown", "machine"
Shown = Annotated[T, SHOWN]
Machine = Annotated[T, MACHINE]


def only(**values: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """Each of these keys of the same Config has one of these values."""
    return values


class Field(NamedTuple):
    name: str
    role: str  # SHOWN, MACHINE, or "" = it decides the result
    only: Mapping[str, tuple[Any, ...]]
    nested: type | None  # of a Config within: its class


@cache
def fields(config: type) -> tuple[Field, ...]:
    hints = get_type_hints(config, include_extras=True)
    out = []
    for field in dataclasses.fields(config):
        said = getattr(hints[field.name], "__metadata__", ())
        role = next((word for word in said if word in (SHOWN, MACHINE)), "")
        conditions = next((word for word in said if isinstance(word, dict)), {})
        nested = hints[field.name] if dataclasses.is_dataclass(hints[field.name]) else None
        out.append(Field(field.name, role, conditions, nested))  # type: ignore[arg-type]
    return tuple(out)


def deciding(config: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a Config, as nested dicts, that decide a result. They may be of an older Config."""
    out = dict(values)
    for field in fields(config):
        if field.name not in out:
            continue
        if field.role or any(values.get(key) not in allowed for key, allowed in field.only.items()):
            del out[field.name]
        elif field.nested and isinstance(out[field.name], Mapping):
            out[field.name] = deciding(field.nested, out[field.name])
    return out


def of_role(config: type, role: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name → value, of the fields of a role that the values hold."""
    found = {}
    for field in fields(config):
        if field.role == role and field.name in values:
            found[field.name] = values[field.name]
        elif field.nested and isinstance(values.get(field.name), Mapping):
            inner = of_role(field.nested, role, values[field.name])
            found |= {f"{field.name}.{name}": value for name, value in inner.items()}
    return found
