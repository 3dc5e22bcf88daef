"""The other runs of the same model and data: which of them this run is, goes on from, or is nearest to.

What each of them decided is kept in an index beside them, which can be deleted: whatever changed is read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sketchlab.config import RunConfig, flat
from sketchlab.errors import UserError
from sketchlab.storage.files import remove_temporaries, write_json
from sketchlab.training.identity import comparable, group_of, id_of, reduced

INDEX = ".index.json"
LISTED = 4  # differences named before "and n more"


class Neighbour(NamedTuple):
    folder: Path
    identity: dict[str, Any]  # reduced, as that of the run which asks
    state: str  # as its status.json has it
    started: str


def of(run: RunConfig, but: Path | None = None) -> list[Neighbour]:
    """Runs of this model and data whose identity is known, by when they started."""
    group = group_of(run)
    found = [
        Neighbour(group / name, reduced(run, entry["identity"]), entry["state"], entry["started"])
        for name, entry in _index(group).items()
        if group / name != but and "identity" in entry and comparable(run, entry["identity"])
    ]
    return sorted(found, key=lambda neighbour: (neighbour.started, neighbour.folder))


def folder_of(run: RunConfig, identity: dict[str, Any]) -> Path:
    """Where this run is: under its id, or under the one that an older sketchlab finished or began it with."""
    path = group_of(run) / id_of(identity)
    return path if path.exists() else alias(run, identity) or path


def alias(run: RunConfig, identity: dict[str, Any]) -> Path | None:
    """The folder of this very run under another id, from when ids held keys that decide nothing: the oldest finished
    one, else the oldest begun."""
    same = [neighbour for neighbour in of(run) if neighbour.identity == identity]
    finished = [neighbour for neighbour in same if neighbour.state == "finished"]
    return (finished or same)[0].folder if same else None


def why_new(run: RunConfig, identity: dict[str, Any], folder: Path) -> str:
    """How the nearest finished run differs from this one, in a line."""
    finished = [neighbour for neighbour in of(run, but=folder) if neighbour.state == "finished"]
    if not finished:
        return f"new: no finished run of {folder.parent.name}"
    ours = flat(identity)
    differences = [(_differences(flat(neighbour.identity), ours), neighbour) for neighbour in finished]
    nearest, neighbour = min(reversed(differences), key=lambda pair: len(pair[0]))
    listed = [f"{key} ({old} → {new})" for key, (old, new) in nearest.items()]
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return f"new: nearest finished run {neighbour.folder.name} differs in {', '.join(listed[:LISTED])}{more}"


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = dict.fromkeys([*ours, *theirs])
    both = {key: (theirs.get(key, "–"), ours.get(key, "–")) for key in keys}
    return {key: pair for key, pair in both.items() if pair[0] != pair[1]}


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
        with contextlib.suppress(UserError, OSError):
            remove_temporaries(group, f".{INDEX}.*.tmp")
            write_json(group / INDEX, entries)
    return entries


def _look(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _kept(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):  # none yet, or damaged: built again
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _entry(folder: Path, looks: list[Any]) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load((folder / "config.yaml").read_text(), loader)
        status = json.loads((folder / "status.json").read_text()) if looks[1] else {}
        identity = dict(document.get("identity") or {})
        entry = {"identity": identity, "state": str(status.get("state")), "started": str(status.get("started"))}
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"{folder}: left out of the runs to go on from: cannot be read ({why})", file=sys.stderr, flush=True)
        return {"looks": looks}
    return {"looks": looks, **entry} if identity else {"looks": looks}
