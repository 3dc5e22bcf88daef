"""What the same configuration gives: a number for each part of the program, raised when its results change.

The numbers are a part of a run's identity, where they are not the 1 that every run had before they were kept: so the
ids of runs that a change does not concern stay. A change is a line of CHANGES, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Change(NamedTuple):
    part: str  # one of PARTS
    number: int  # of the part from this change on
    concerns: dict[str, tuple[str, ...]]  # group (its `name`) or group.key of the configuration → values; {} = all
    said: str  # what is different, in a few words


PARTS = ("loop", "metrics", "store")  # how is trained and evaluated; how answers become scores; what samples become
CHANGES = (
    Change(
        "loop",
        2,
        {"runtime.device": ("cuda",)},
        "on a GPU the learning rate is a number of single precision, and drawings are augmented in memory",
    ),
    Change(
        "loop",
        3,
        {"pipeline": ("classify", "retrieve", "gan", "translate")},
        "of epochs with equal scores the best is the one of the lower loss, then the later one; beside a test split "
        "val is of the weights that are tested, not of the last ones",
    ),
    Change(
        "metrics",
        2,
        {"pipeline": ("retrieve",)},
        "scores of a search are expected over ties; before, ties stood in the order of storage, class by class",
    ),
)


def numbers(config: Mapping[str, Any]) -> dict[str, int]:
    """Part → its number for a run of this configuration, without those that are 1."""
    out: dict[str, int] = {}
    for change in CHANGES:
        if all(_value(config, key) in values for key, values in change.concerns.items()):
            out[change.part] = max(change.number, out.get(change.part, 1))
    return out


def _value(config: Mapping[str, Any], key: str) -> Any:
    group, _, name = key.partition(".")
    return (config.get(group) or {}).get(name or "name")


def of_run(document: Mapping[str, Any]) -> dict[str, int]:
    """Part → the number that a run folder's config.yaml holds; 1 where it holds none."""
    kept = (document.get("identity") or {}).get("semantics") or {}
    return {part: int(kept.get(part, 1)) for part in PARTS}


def said(part: str, number: int) -> str:
    """What a number stands for, in words."""
    found = [change.said for change in CHANGES if (change.part, change.number) == (part, number)]
    return found[0] if found else "as before numbers were kept" if number == 1 else "of a newer sketchlab"
