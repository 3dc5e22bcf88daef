"""Checkpoints: written whole or not at all, read without running anything that is in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from sketchlab.engine.files import atomic
from sketchlab.errors import UserError


def save(path: Path, state: dict[str, Any]) -> None:
    """Tensors, numbers, strings, lists and dicts → path, atomically. UserError when the disk is full."""
    with atomic(path) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any]:
    """The state on the CPU. UserError for anything but tensors and plain values: nothing in the file is executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path}: not a checkpoint of tensors and plain values ({reason}); refused, nothing in it was run. "
            "Delete it and start the same command again, or use another file"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if not isinstance(state, dict):
        raise UserError(f"{path}: expected a dict of states, found {type(state).__name__}")
    return state


def restore(parts: dict[str, Any], states: dict[str, Any], path: Path) -> None:
    """Load each part's state; a part that does not fit is one line."""
    if missing := [name for name in parts if name not in states]:
        raise UserError(
            f"{path}: holds {', '.join(states)}, but this run needs {', '.join(missing)}: it is of another model"
        )
    for name, part in parts.items():
        try:
            part.load_state_dict(states[name])
        except (RuntimeError, ValueError, KeyError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise UserError(
                f"{path}: {name} does not fit this model: {lines[1] if len(lines) > 1 else lines[0]}"
            ) from None
