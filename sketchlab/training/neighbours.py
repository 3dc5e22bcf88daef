"""The other runs of the same model and data: which of them this run is, goes on from, or is nearest to.

What each of them decided is kept in an index beside them, which can be deleted: whatever changed is read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from sketchlab.config import RunConfig
from sketchlab.errors import UserError
from sketchlab.storage.files import atomic, remove_temporaries
from sketchlab.training.identity import comparable, group_of, id_of, reduced

INDEX = ".index.json"
NEAREST = 20  # runs that are compared in full: the nearest ones by what they wrote
LISTED = 4  # differences named before "and n more"


@dataclass(frozen=True)
class Neighbour:
    folder: Path
    written: dict[str, Any]  # its identity as its config.yaml has it
    state: str  # as its status.json has it
    started: str
    run: RunConfig  # which asks

    @cached_property
    def identity(self) -> dict[str, Any]:
        """As that of the run which asks: by the roles of today."""
        return reduced(self.run, self.written)


def of(run: RunConfig) -> list[Neighbour]:
    """Runs of this model and data whose identity is known, by when they started."""
    group = group_of(run)
    found = [
        Neighbour(group / name, entry["identity"], entry["state"], entry["started"], run)
        for name, entry in _index(group).items()
        if "identity" in entry and comparable(run, entry["identity"])
    ]
    return sorted(found, key=lambda neighbour: (neighbour.started, neighbour.folder))


def folder_of(run: RunConfig, identity: dict[str, Any]) -> Path:
    """Where this run is: under its id, or under the one that an older sketchlab finished or began it with."""
    path = group_of(run) / id_of(identity)
    return path if path.exists() else alias(of(run), identity) or path


def alias(others: list[Neighbour], identity: dict[str, Any]) -> Path | None:
    """The folder of this very run under another id, from when ids held keys that decide nothing: the oldest finished
    one, else the oldest begun."""
    plain = [n for n in others if all(n.written.get(key) == identity[key] for key in ("seed", "samples"))]
    same = [neighbour for neighbour in plain if neighbour.identity == identity]
    finished = [neighbour for neighbour in same if neighbour.state == "finished"]
    return (finished or same)[0].folder if same else None


def why_new(others: list[Neighbour], identity: dict[str, Any], folder: Path) -> str:
    """How the nearest finished run differs from this one, in a line."""
    finished = [neighbour for neighbour in reversed(others) if neighbour.state == "finished"]
    if not finished:
        return f"new: no finished run of {folder.parent.name}"
    finished.sort(key=lambda neighbour: len(_differences(neighbour.written, identity)))
    differences = [(_differences(neighbour.identity, identity), neighbour) for neighbour in finished[:NEAREST]]
    nearest, neighbour = min(differences, key=lambda pair: len(pair[0]))
    listed = [f"{key} ({old} → {new})" for key, (old, new) in nearest.items()]
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return f"new: nearest finished run {neighbour.folder.name} differs in {', '.join(listed[:LISTED])}{more}"


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key → both values, where they are not equal."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*ours, *theirs]):
        old, new = theirs.get(key, "–"), ours.get(key, "–")
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= _differences(old, new, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = old, new
    return found


def _index(group: Path) -> dict[str, dict[str, Any]]:
    """Name of each folder → its entry: identity, state, started; only its looks where there is none to read."""
    known = _kept(group / INDEX)
    entries: dict[str, dict[str, Any]] = {}
    if group.is_dir():
        with os.scandir(group) as folders:
            for folder in folders:
                looks = [_look(os.path.join(folder.path, name)) for name in ("config.yaml", "status.json")]
                if looks[0] is not None:
                    old = known.get(folder.name, {})
                    entries[folder.name] = old if old.get("looks") == looks else _entry(Path(folder.path), looks)
    if entries != known:
        # where it cannot be written only time is lost; opening the run's own folder says what is wrong there
        remove_temporaries(group, below="")
        with contextlib.suppress(UserError), atomic(group / INDEX) as temporary:
            temporary.write_bytes(orjson.dumps(entries))
    return entries


def _look(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _kept(path: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, ValueError):  # none yet, or damaged: built again
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _entry(folder: Path, looks: list[Any]) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load((folder / "config.yaml").read_text("utf-8"), loader)
        status = json.loads((folder / "status.json").read_text("utf-8")) if looks[1] else {}
        identity = dict(document.get("identity") or {})
        entry = {"identity": identity, "state": str(status.get("state")), "started": str(status.get("started"))}
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"{folder}: left out of the runs to go on from: cannot be read ({why})", file=sys.stderr, flush=True)
        return {"looks": looks}
    return {"looks": looks, **entry} if identity else {"looks": looks}
