"""Checkpoints: written whole or not at all, read without running anything that is in them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import torch

from sketchlab.errors import UserError
from sketchlab.storage.files import atomic


def save(path: Path, state: dict[str, Any]) -> None:
    """Tensors, numbers, strings, lists and dicts → path, atomically. UserError when the disk is full."""
    with atomic(path) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any]:
    """The state on the CPU. UserError for anything but tensors and plain values, whose checksums fit: nothing in the
    file is executed."""
    check(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:  # whatever a file of someone else's makes torch raise
        raise _refused(path, error) from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: expected a dict of states, found {type(state).__name__}")
    return state


def check(path: Path) -> None:
    """Raises UserError unless the file is a whole zip (as torch writes) whose contents fit their CRC-32, which
    torch.load does not look at."""
    try:
        with zipfile.ZipFile(path) as file:
            bad = file.testzip()
    except FileNotFoundError:
        raise UserError(f"cannot read {path}: it is missing") from None
    except Exception as error:  # zipfile raises nine kinds of errors, by where the damage is
        raise _refused(path, error) from None
    if bad:
        raise _refused(path, f"the checksum of {bad} does not fit its contents")


def _refused(path: Path, error: object) -> UserError:
    lines = str(error).strip().splitlines()
    reason = lines[0][:120] if lines else type(error).__name__
    return UserError(
        f"{path}: not a checkpoint of tensors and plain values, or damaged ({reason}); refused, nothing in it was run. "
        "Delete it and start the same command again, or use another file"
    )


def restore(parts: dict[str, Any], states: dict[str, Any], path: Path) -> None:
    """Load each part's state; a part that does not fit is one line."""
    missing = [name for name in parts if not isinstance(states, dict) or name not in states]
    if missing:
        held = ", ".join(map(str, states)) if isinstance(states, dict) else type(states).__name__
        raise UserError(f"{path}: holds {held}, but this run needs {', '.join(missing)}: it is of another model")
    for name, part in parts.items():
        try:
            part.load_state_dict(states[name])
        except Exception as error:  # torch's own parts and a user's raise many kinds for a state that does not fit
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise UserError(
                f"{path}: {name} does not fit this model: {lines[1] if len(lines) > 1 else lines[0]}"
            ) from None


def digest(state: dict[str, Any]) -> str:
    """16 hexadecimal digits of the weights alone: equal for two runs whose networks are equal, to the bit."""
    found = hashlib.sha256()

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                add(f"{name}.{key}", value[key])
        elif isinstance(value, torch.Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        else:
            found.update(f"{name} {value!r}".encode())

    for key in ("parts", "arrays"):
        add(key, state.get(key, {}))
    return found.hexdigest()[:16]
