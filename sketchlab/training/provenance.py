"""Which code a run was made by: every imported Python file outside the standard library and site-packages.

A file's digest is of what it means: comments, docstrings, blank lines and formatting do not count, all else does. It is
the same on every Python version, and that of the file as this process first read it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from sketchlab.errors import UserError
from sketchlab.storage.files import read_dict
from sketchlab.storage.sources import EXTRA, chosen

FILE = "code.json"  # in a run folder
PACKAGE = Path(__file__).resolve().parent.parent
NO_CODE = ("report", "app", "runs")  # rooms of the package that read results and make none
BESIDE = ("experiments", "scripts", "tests", "hydra_plugins")  # what starts runs from a checkout
Table = Mapping[str, Sequence[str]]  # name of a file → digest of what it means, digest of its bytes


def read(folder: Path) -> dict[str, list[str]]:
    """The files of a run folder's code.json; {} where there is none, of runs made before it was kept. UserError."""
    path = folder / FILE
    found = read_dict(path) if path.exists() else {}
    if not all(isinstance(v, list) and len(v) == 2 for v in found.values()):
        raise UserError(f"{path}: expected file → two digests; delete it, and what code made the run is not known")
    return found


def imported() -> dict[str, list[str]]:
    """The files imported so far: sketchlab/…, $SKETCHLAB_EXTRA/…, any other by its whole path."""
    paths = {file for module in list(sys.modules.values()) if (file := _file(module))}
    return {_name(path): [meaning(path), contents(path)] for path in sorted(paths) if _counts(path)}


def texts(recorded: Table, modules: Iterable[str]) -> dict[str, str]:
    """name → text of the files that a run keeps: of its model and data (modules), and what is not the package's."""
    return {name: _path(name).read_text("utf-8", errors="replace") for name in chosen(recorded, modules)}


def changed(recorded: Table) -> list[str]:
    """The names among those recorded whose files are gone or mean something else now."""
    return [name for name, then in recorded.items() if not _same(_path(name), *then)]


def differing(one: Table, other: Table) -> list[str]:
    """The names that both have, with other meanings."""
    return [name for name in one if name in other and one[name][0] != other[name][0]]


def short(recorded: Table) -> str:
    """12 hexadecimal digits over what all of the files mean."""
    text = "".join(f"{name}\0{recorded[name][0]}\n" for name in sorted(recorded))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _file(module: Any) -> Path | None:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py") or getattr(module, "__name__", "") == "__main__":
        return None  # what is run as a script starts runs; what it imports may decide them
    return _resolved(file)


@cache
def _resolved(file: str) -> Path:
    """Kept, because a run asks twice for each of some 3,000 modules."""
    return Path(file).resolve()


def _counts(path: Path) -> bool:
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).parts[0] not in NO_CODE
    if path.is_relative_to(PACKAGE.parent) and path.relative_to(PACKAGE.parent).parts[0] in BESIDE:
        return False
    return not _is_installed(path) and path.is_file()


@cache
def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _installed())


@lru_cache
def _installed() -> tuple[Path, ...]:
    """The standard library's folders, and those of installed packages."""
    paths = sysconfig.get_paths()
    found = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [*site.getsitepackages(), site.getusersitepackages()]
    found += [folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")]
    return tuple(Path(folder).resolve() for folder in found)


def _name(path: Path) -> str:
    if path.is_relative_to(PACKAGE):
        return f"sketchlab/{path.relative_to(PACKAGE).as_posix()}"
    own = os.environ.get("SKETCHLAB_EXTRA")
    if own and path.is_relative_to(Path(own).resolve()):
        return f"{EXTRA}/{path.relative_to(Path(own).resolve()).as_posix()}"
    return path.as_posix()


def _path(name: str) -> Path:
    first, _, rest = name.partition("/")
    place = {"sketchlab": PACKAGE, EXTRA: Path(os.environ.get("SKETCHLAB_EXTRA") or ".")}.get(first)
    return Path(name) if place is None else place.resolve() / rest


def _same(path: Path, meant: str, held: str) -> bool:
    return path.is_file() and (contents(path) == held or meaning(path) == meant)


@cache
def contents(path: Path) -> str:
    """16 hexadecimal digits of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@cache
def meaning(path: Path) -> str:
    """16 hexadecimal digits of what a file means; of its bytes where it is no Python that can be read here."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes and the like: the import has warned
            meant = ascii(_plain(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return contents(path)
    return hashlib.sha256(meant.encode()).hexdigest()[:16]


def _plain(node: Any) -> Any:
    """A syntax tree as tuples, without what Python versions write differently (empty fields) and what means nothing
    (places, texts that stand alone, the contexts of names)."""
    if isinstance(node, ast.Constant):
        return type(node.value).__name__, node.value
    if isinstance(node, ast.JoinedStr):  # adjoining literal pieces as one
        pieces = _joined(node)
        return ("f", *pieces) if any(isinstance(piece, tuple) for piece in pieces) else ("str", "".join(pieces))
    if not isinstance(node, ast.AST):
        return node
    out: list[Any] = [type(node).__name__]
    for key, value in node.__dict__.items():
        if isinstance(value, list):
            value = tuple(_plain(item) for item in value if not _does_nothing(item))
        if key not in _SILENT and value is not None and value != ():
            out.append((key, value if isinstance(value, tuple) else _plain(value)))
    return tuple(out)


def _joined(node: ast.JoinedStr) -> list[Any]:
    pieces: list[Any] = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            if pieces and isinstance(pieces[-1], str):
                pieces[-1] += str(value.value)
            elif value.value:
                pieces.append(str(value.value))
        else:
            pieces.append(_plain(value))
    return pieces


def _does_nothing(node: Any) -> bool:
    """A docstring, another text that stands alone, pass."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return text or isinstance(node, ast.Pass)


_SILENT = {"lineno", "col_offset", "end_lineno", "end_col_offset", "ctx", "kind", "type_comment", "type_ignores"}
