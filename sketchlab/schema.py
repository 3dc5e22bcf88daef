"""What the keys of a configuration do, and how a config.yaml written before becomes one of today.

A field of a Config without a role decides the result, and is in the id of a run; `Annotated[float,
only(loss=("triplet",))]`: where other keys of the same Config have these values. `Shown[int]`: what is drawn and kept
to look at; it changes no bit of a result, and a finished run is shown anew by it. `Machine[int]`: where, how fast;
scores are equal to 1e-5. A field that joins an older Config says what runs did before, `Annotated[float, added(0.0)]`:
so their folders load, and their ids stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
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
# old dotted key → the one of today, with its group: an old name is one line, older folders load, and ids stay
RENAMED: dict[str, str] = {
    "hydra.sweeper.stop_hopeless": "hydra.sweeper.median_pruning",
    "pipeline.judge": "pipeline.scoring_classifier",
}
# (group, key) → name → why the key went: it changed nothing. Typed it is one line; in older folders it is left out
REMOVED: dict[tuple[str, str], dict[str, str]] = {
    ("data", "root"): {"shapes": "it is drawn by code and reads no files"},
    ("data", "on_bad"): {
        "shapes": "nothing that code draws is broken",
        "cifar10": "a damaged batch is always refused",
    },
}

MOVED = {  # choices of conf/ that have another name now
    "experiment=000_mixed": "experiment=chen2019/sketchy_mixed",
    "experiment=000_photos": "experiment=chen2019/photos_trial",
    "experiment=000_sketches": "experiment=chen2019/sketches_trial",
    "experiment=000_sketches_64": "experiment=chen2019/sketches_64_trial",
    "experiment=000_sketchy_photos": "experiment=chen2019/sketchy_photos",
    "experiment=000_sketchy_sketches": "experiment=chen2019/sketchy_sketches",
    "experiment=001_sketchy": "experiment=das_debnath/by_photo",
    "experiment=001_sketchy_as_published": "experiment=das_debnath/as_published",
    "experiment=001_sketchy_vgg16": "experiment=das_debnath/vgg16",
    "experiment=003_sheep": "experiment=mamin/sheep",
    "experiment=cyclegan_as_published": "experiment=mamin/cyclegan",
    "experiment=photo_vs_drawing": "experiment=photo_drawing/finetuned",
    "experiment=photo_vs_drawing_frozen": "experiment=photo_drawing/frozen",
    "experiment=photo_vs_drawing_scratch": "experiment=photo_drawing/scratch",
    "experiment=quickdraw_18": "experiment=frankenstein/cnn_lstm",
    "experiment=quickdraw_words": "experiment=frankenstein/words",
    "experiment=strokes_shapes": "experiment=frankenstein/shapes",
    "experiment=tuberlin_frozen": "experiment=chen2019/tuberlin_frozen",
}


def upgraded(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """config.yaml as today's code would have written it; what it holds already stays.

    Raises UserError when a newer sketchlab wrote it.
    """
    written = document.get("schema", SCHEMA)
    if not isinstance(written, int) or not 1 <= written <= SCHEMA:
        raise UserError(f"{path}: schema {written}, expected 1 to {SCHEMA}: read it with the sketchlab that wrote it")
    config = completed(document.get("config") or {}, range(written, SCHEMA))
    return {**document, "schema": SCHEMA, "config": current(config)}


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nested values under the names of today, without the keys that are gone."""
    out = moved(config, RENAMED)
    for (group, key), names in REMOVED.items():
        if isinstance(out.get(group), dict) and out[group].get("name") in names:
            out[group].pop(key, None)
    return out


def moved(config: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The nested values with each of these dotted keys under its other name."""
    out: dict[str, Any] = {key: moved(v, {}) if isinstance(v, Mapping) else v for key, v in config.items()}
    for old, new in names.items():
        *path, key = old.split(".")
        *new_path, new_key = new.split(".")
        place = _within(out, path)
        if place is not None and key in place:
            value, target = place.pop(key), _within(out, new_path)
            if target is not None:
                target[new_key] = value
    return out


def _within(config: dict[str, Any], path: list[str]) -> dict[str, Any] | None:
    place: Any = config
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else None


def completed(config: dict[str, Any], schemas: Iterable[int] = tuple(ADDED)) -> dict[str, Any]:
    """config with what these schemas added where it is missing, by the values that stand for what runs did before."""
    out = {group: dict(v) if isinstance(v, dict) else v for group, v in config.items()}
    for schema in schemas:
        for group, name, key, value in ADDED[schema]:
            if isinstance(out.get(group), dict) and name in ("", out[group].get("name")):
                out[group].setdefault(key, value)
    return out


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


class Added(NamedTuple):
    before: Any


def added(before: Any) -> Added:
    """Configurations that lack the field mean this value; a run that has it is the same as one that lacks it."""
    return Added(before)


class Field(NamedTuple):
    name: str
    role: str  # SHOWN, MACHINE, or "" = it decides the result
    only: Mapping[str, tuple[Any, ...]]
    added: Added | None
    nested: type | None  # of a Config within: its class


@cache
def fields(config: type) -> tuple[Field, ...]:
    hints = get_type_hints(config, include_extras=True)
    out = []
    for field in dataclasses.fields(config):
        notes = getattr(hints[field.name], "__metadata__", ())
        role = next((note for note in notes if note in (SHOWN, MACHINE)), "")
        conditions = next((note for note in notes if isinstance(note, dict)), {})
        joined = next((note for note in notes if isinstance(note, Added)), None)
        nested = hints[field.name] if dataclasses.is_dataclass(hints[field.name]) else None
        out.append(Field(field.name, role, conditions, joined, nested))  # type: ignore[arg-type]
    return tuple(out)


def deciding(config: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a Config, as nested dicts, that decide a result. They may be of an older Config."""
    out = dict(values)
    known = {field.name: field.added.before for field in fields(config) if field.added} | out
    for field in fields(config):
        if field.name not in out:
            continue
        before = field.added and field.added.before == values[field.name]
        if field.role or before or any(known.get(key) not in allowed for key, allowed in field.only.items()):
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
