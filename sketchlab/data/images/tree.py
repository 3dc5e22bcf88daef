"""What lies in a folder of classes: <class>/*.png, or {train,val,test}/<class>/*.png; or of one class: *.png."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sketchlab import rng
from sketchlab.data.images.decode import SUFFIXES
from sketchlab.errors import UserError

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NO_ADDRESS = ("celeba", "sketchy")  # sources whose files have none, in conf/data/source
YOURS = {"photo_drawing": "put its two folders there, or cut them from contact sheets with scripts/cut_sheet.py"}
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")  # left by operating systems, never meant; as are hidden files


@dataclass(frozen=True)
class Tree:
    """Image files with their classes; lists of one length."""

    root: Path
    classes: list[str]
    names: list[str]  # relative to root, with /
    labels: np.ndarray  # (N,) int64
    objects: list[str]  # "class/object": what must stay in one split
    parts: list[str]  # train, val or test where the folders say so, else ""
    notes: list[str] = field(default_factory=list)


def data_root(root: str | None) -> Path:
    """Where data sets lie: data.root, else $SKETCHLAB_DATA, else ./data."""
    return Path(root or os.environ.get("SKETCHLAB_DATA") or "data").expanduser()


def place(root: str | None, folder: str, source: str) -> Path:
    """The folder of a data set. Raises UserError that says what to do when it is not there."""
    where = data_root(root) / folder
    if where.is_dir():
        return where
    origin = "data.root" if root else "SKETCHLAB_DATA" if os.environ.get("SKETCHLAB_DATA") else "the default ./data"
    raise UserError(
        f"no folder {where} (from {origin}){_how(folder, source)}; or point data.root or SKETCHLAB_DATA at where it "
        "lies (data/README.md tells the layouts)"
    )


def _how(folder: str, source: str) -> str:
    if folder in YOURS:
        return f"; nobody offers it: {YOURS[folder]}"
    fetch = f"`python -m sketchlab.data fetch {source}`"
    if source in NO_ADDRESS:
        return f"; it has no direct address: {fetch} tells where to get it by hand"
    return f"; {fetch} puts it there" if source else ""


def find(
    root: Path,
    classes: list[str] | None,
    *,
    aliases: dict[str, str] | None = None,
    group_by: str = "",
    per_group: int | None = None,
    per_class: int | None = None,
    flat: bool = False,
) -> Tree:
    """All images of the classes wanted (None = all found), in sorted order.

    aliases: class → its folder's name here; group_by: expression whose first bracket, matched against the file's name
    without suffix, names the object shown; per_group, per_class: at most so many, chosen by a keyed hash. flat: images
    in a folder without class folders are of one class, which bears the folder's name.
    """
    found = _homes(root, {folder: name for name, folder in (aliases or {}).items()})
    is_flat = flat and not found and _loose(root) > 0
    if is_flat:
        found = [("", _name(root.resolve().name, {}), ".")]
    chosen = wanted(root, sorted({name for _, name, _ in found}), classes)
    pattern = expression(group_by)
    tree, other = Tree(root, chosen, [], np.empty(0, np.int64), [], []), Counter()
    labels = []
    for part, name, folder in found:
        if name not in chosen:
            continue
        for path in _files(root, folder):
            stem, suffix = os.path.splitext(os.path.basename(path))
            if suffix.lower() not in SUFFIXES:
                other[suffix.lower() or "no suffix"] += 1
                continue
            match = pattern.fullmatch(stem) if pattern else None
            tree.names.append(path)
            tree.objects.append(f"{name}/{match[1] if match else stem}")
            tree.parts.append(part)
            labels.append(chosen.index(name))
    notes = [f"{n} file(s) under {root.name} are no images ({kind}) and were left alone" for kind, n in other.items()]
    notes += [f"no class folders: all images in {root} are of one class, '{chosen[0]}'"] if is_flat else []
    tree = replace(tree, labels=np.array(labels, dtype=np.int64), notes=notes)
    for number, name in enumerate(chosen):
        if not (tree.labels == number).any():
            kinds = f", only {', '.join(other)} files" if other else ""
            hint = "" if classes else "; if it is no class, name those that are with data.classes"
            raise UserError(f"class '{name}' has no images ({' '.join(SUFFIXES)}) under {root}{kinds}{hint}")
    return capped(capped(tree, per_group, tree.objects, "per_group"), per_class, None, "per_class")


def _homes(root: Path, back: dict[str, str]) -> list[tuple[str, str, str]]:
    """(official split or "", class, folder below root), sorted."""
    tops = _folders(root)
    if "train" in tops and set(tops) <= set(PARTS):
        return sorted((PARTS[top], _name(name, back), f"{top}/{name}") for top in tops for name in _folders(root / top))
    return sorted(("", _name(name, back), name) for name in tops)


def _meant(names: Iterable[str], where: str | Path) -> list[str]:
    """Without hidden and system files. Raises UserError for names that are no UTF-8, which nothing could print."""
    meant = [name for name in names if not name.startswith(".") and name.lower() not in IGNORED]
    for name in meant:
        if any("\udc80" <= letter <= "\udcff" for letter in name):
            raise UserError(f"{where}: the name {os.fsencode(name)!r} is not valid UTF-8; rename it")
    return meant


def _folders(folder: Path) -> list[str]:
    return sorted(_meant((entry.name for entry in os.scandir(folder) if entry.is_dir()), folder))


def _files(root: Path, folder: str) -> list[str]:
    out, been = [], set()
    for here, inner, files in os.walk(root / folder, followlinks=True):
        if (real := os.path.realpath(here)) in been:  # a link that leads back
            inner.clear()
            continue
        been.add(real)
        inner[:] = _meant(inner, here)
        out += [Path(here, name).relative_to(root).as_posix() for name in _meant(files, here)]
    return sorted(out)


def _name(folder: str, back: dict[str, str]) -> str:
    """The class of a folder, in the composed form of unicode whatever the file system keeps."""
    name = unicodedata.normalize("NFC", folder)
    return back.get(name, name)


def _loose(root: Path) -> int:
    """Images in the folder itself."""
    return sum(entry.name.lower().endswith(SUFFIXES) for entry in os.scandir(root) if not entry.name.startswith("."))


def wanted(root: Path, there: list[str], classes: list[str] | None) -> list[str]:
    """The classes asked for, all of them there; None = all. Raises UserError with what is close and what exists."""
    if not there:
        loose = _loose(root)
        raise UserError(
            f"no class folders in {root}" + (f", only {loose} images" if loose else "") + ": expected <class>/*.png or "
            "train/<class>/*.png"
        )
    if classes is None:
        return there
    chosen = [unicodedata.normalize("NFC", name) for name in classes]
    if not chosen:
        raise UserError("data.classes=[]: expected at least one class, or null for all")
    if twice := [name for name, n in Counter(chosen).items() if n > 1]:
        raise UserError(f"data.classes names '{twice[0]}' twice")
    for name in chosen:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise UserError(f"data.classes: no class '{name}' in {root}; {hint}of {len(there)}: {', '.join(there)}")
    return chosen


def expression(group_by: str, key: str = "group_by") -> re.Pattern[str] | None:
    """Compiled, None for "". Raises UserError for one that is none, or has no bracket."""
    try:
        pattern = re.compile(group_by) if group_by else None
    except re.error as error:
        raise UserError(f"data.{key}={group_by!r}: {error}") from None
    if pattern and pattern.groups < 1:
        raise UserError(f"data.{key}={group_by!r}: expected a bracket around what names the object, as '(.+)-\\d+'")
    return pattern


def capped(tree: Tree, most: int | None, units: list[str] | None, key: str) -> Tree:
    """At most so many files per unit (None: per class and official split): those whose hash is smallest."""
    if most is None:
        return tree
    if most < 1:
        raise UserError(f"data.{key}={most}: expected at least 1, or null for all")
    kept, seen = [], Counter()
    hashes = [
        (rng.fold(0, key, thing), rng.fold(0, name)) for thing, name in zip(tree.objects, tree.names, strict=True)
    ]
    for i in sorted(range(len(hashes)), key=hashes.__getitem__):
        unit = units[i] if units else (tree.parts[i], int(tree.labels[i]))
        seen[unit] += 1
        if seen[unit] <= most:
            kept.append(i)
    kept.sort()
    names, objects, parts = ([values[i] for i in kept] for values in (tree.names, tree.objects, tree.parts))
    return replace(tree, names=names, labels=tree.labels[kept], objects=objects, parts=parts)
