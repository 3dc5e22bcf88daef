"""numba's njit, with its cache where it can be written: beside the code, else below $SKETCHLAB_CACHE, else nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from sketchlab.errors import UserError
from sketchlab.storage import cache

BELOW_CACHE = ".numba"
settings: Any = vars(numba)["config"]  # its attributes are made when it is imported


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: compiled at the first call, or read from the cache; runs without the interpreter's lock."""

    def compiled(function: Callable[..., Any]) -> Any:
        before = settings.CACHE_DIR
        beside = Path(function.__code__.co_filename).parent / "__pycache__"
        kept = bool(before) or os.access(beside if beside.exists() else beside.parent, os.W_OK)
        try:
            if not kept:
                folder = cache.home() / BELOW_CACHE
                folder.mkdir(parents=True, exist_ok=True)
                settings.CACHE_DIR, kept = str(folder), os.access(folder, os.W_OK)
            return numba.njit(cache=kept, nogil=True, **options)(function)
        except (OSError, RuntimeError, UserError):  # no place to keep it: compiled in every process
            return numba.njit(nogil=True, **options)(function)
        finally:
            settings.CACHE_DIR = before

    return compiled
