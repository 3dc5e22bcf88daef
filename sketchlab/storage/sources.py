"""The text of a run's own model and data, and of parts of one's own, as the run read it: source/ in its folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

FOLDER = "source"
EXTRA = "$SKETCHLAB_EXTRA"  # as code.json names one's own folder


def file_of(name: str) -> str:
    """Where a file of code.json is kept below source/."""
    if name.startswith(f"{EXTRA}/"):
        return f"extra/{name.removeprefix(f'{EXTRA}/')}"
    return name if name.startswith("sketchlab/") else f"other/{PurePosixPath(name).name}"


def read(run: Path, name: str) -> str | None:
    """The text of a file of code.json; None where the run did not keep it."""
    path = run / FOLDER / file_of(name)
    return path.read_text("utf-8", errors="replace") if path.is_file() else None


def chosen(names: Iterable[str], modules: Iterable[str]) -> Iterator[str]:
    """Of the files of code.json those that are kept: of these modules, and what is not the package's."""
    stems = [module.replace(".", "/") for module in modules]
    for name in names:
        if not name.startswith("sketchlab/") or any(name == f"{s}.py" or name.startswith(f"{s}/") for s in stems):
            yield name
