"""Which files a folder holds: one rule for images, SVG and ndjson, in all commands."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from sketchlab.errors import UserError

# left by operating systems, network disks and archives, never meant; as are hidden files
IGNORED = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin")


def meant(names: Iterable[str]) -> list[str]:
    """The names without hidden and system files, sorted."""
    return sorted(name for name in names if not name.startswith(".") and name.lower() not in IGNORED)


def files(folder: str | Path) -> list[str]:
    """All files below a folder, relative to it, with /, sorted. Links are followed, each folder is read once.

    A link to a folder that holds this one is not followed. Raises UserError where a folder cannot be read.
    """
    names, been = [], {str(above) for above in Path(os.path.realpath(folder)).parents}
    for here, inner, files in os.walk(folder, onerror=_unreadable, followlinks=True):
        if (real := os.path.realpath(here)) in been:  # a link that leads back
            inner.clear()
            continue
        been.add(real)
        inner[:] = meant(inner)
        names += [os.path.relpath(os.path.join(here, name), folder).replace(os.sep, "/") for name in meant(files)]
    return sorted(names)


def folders(folder: str | Path) -> list[str]:
    """The folders in a folder, linked ones too, sorted. Raises UserError where it cannot be read."""
    return meant(entry.name for entry in _entries(folder) if entry.is_dir())


def holds(folder: str | Path, suffixes: tuple[str, ...]) -> bool:
    """Whether files with one of these suffixes (lower case) lie directly in a folder."""
    return any(meant([entry.name]) and entry.name.lower().endswith(suffixes) for entry in _entries(folder))


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: {error.strerror}; make it readable or move it elsewhere")
