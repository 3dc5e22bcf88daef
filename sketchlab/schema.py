"""What config.yaml of a run folder looks like, and how one written before becomes one of today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
