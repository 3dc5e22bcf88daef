"""What a key of the configuration does, declared at its field.

A field without a role decides the result, and is in the id of a run; `Annotated[float, only(loss=("triplet",))]`: where
other keys of the same Config have these values. `Shown[int]`: what is drawn and kept to look at; it changes no bit of a
result, and a finished run is shown anew by it. `Machine[int]`: where, how fast; scores are equal to 1e-5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

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


def of(config: type, role: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name → value, of the fields of a role that the values hold."""
    found = {}
    for field in fields(config):
        if field.role == role and field.name in values:
            found[field.name] = values[field.name]
        elif field.nested and isinstance(values.get(field.name), Mapping):
            inner = of(field.nested, role, values[field.name])
            found |= {f"{field.name}.{name}": value for name, value in inner.items()}
    return found
