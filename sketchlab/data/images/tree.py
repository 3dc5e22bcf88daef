"""What lies in a folder of classes: <class>/*.png, or {train,val,test}/<class>/*.png; or of one class: *.png."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sketchlab import rng
from sketchlab.data import listing
from sketchlab.data.images.decode import SUFFIXES
from sketchlab.errors import UserError, documentation

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
PARTS |= {"test": "test", "testing": "test"}
NO_ADDRESS = ("celeba", "sketchy")  # sources whose files have none, in conf/data/source
YOURS = {"photo_drawing": "put its two folders there, or cut them from contact sheets with scripts/cut_sheet.py"}


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
        f"lies ({documentation('data/README.md')} tells the layouts)"
    )


def list_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, composed. Raises OSError; UserError for text not in UTF-8."""
    try:
        text = unicodedata.normalize("NFC", path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {error}; save it as UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


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
    unmatched_too: bool = False,
) -> Tree:
    """All images of the classes wanted (None = all found), in sorted order.

    aliases: class → its folder's name here; group_by: expression whose first bracket, matched against the file's name
    without suffix, names the object shown; per_group, per_class: at most so many, chosen by a keyed hash. flat: images
    in a folder without class folders are of one class, which bears the folder's name. unmatched_too: names that
    group_by does not match are neither refused nor noted.
    """
    back = {unicodedata.normalize("NFC", folder): name for name, folder in (aliases or {}).items()}
    homes, empty = class_folders(root, SUFFIXES)
    found = sorted((part, back.get(name, name), folder) for part, name, folder in homes)
    is_flat = flat and not found and _loose(root) > 0
    if is_flat:
        found = [("", unicodedata.normalize("NFC", root.resolve().name), ".")]
    chosen = wanted(root, sorted({name for _, name, _ in found}), classes)
    pattern = expression(group_by)
    tree, other = Tree(root, chosen, [], np.empty(0, np.int64), [], []), defaultdict[str, Counter[str]](Counter)
    unmatched: list[str] = []  # file names that group_by says nothing of
    labels = []
    for part, name, folder in found:
        if name not in chosen:
            continue
        for path in _files(root, folder):
            stem, suffix = os.path.splitext(unicodedata.normalize("NFC", os.path.basename(path)))
            if suffix.lower() not in SUFFIXES:
                other[name][suffix.lower() or "no suffix"] += 1
                continue
            match = pattern.fullmatch(stem) if pattern else None
            if match and not match[1]:
                raise UserError(f"data.group_by={group_by!r}: its bracket is empty in {path}; it must name the object")
            if pattern and not match and not unmatched_too:
                unmatched.append(stem)
            tree.names.append(path)
            tree.objects.append(f"{name}/{match[1] if match else stem}")
            tree.parts.append(part)
            labels.append(chosen.index(name))
    if unmatched and len(unmatched) == len(tree.names):
        raise UserError(f"data.group_by={group_by!r} matches no file name, as '{unmatched[0]}' (without its suffix)")
    kinds = sum(other.values(), Counter())
    notes = [f"{n} file(s) under {root.name} are no images ({kind}) and were left alone" for kind, n in kinds.items()]
    if unmatched:
        notes.append(
            f"data.group_by matches {len(tree.names) - len(unmatched)} of {len(tree.names)} file names, not "
            f"'{unmatched[0]}': each of the others is an object of its own"
        )
    for twins in _same_names(found):
        notes.append(
            f"the folders {' and '.join(map(repr, twins))} are one class: their names differ in encoding alone"
        )
    notes += [f"the folder {name} holds no images and is no split: it was left alone" for name in empty]
    if len(found) == 1 and not is_flat and len(inside := _inside(root / found[0][2])) > 1:
        folder = root / found[0][2]
        what = "splits" if any(map(part_of, inside)) else "classes"
        notes.append(
            f"{folder} holds the folders {', '.join(inside[:5])}: if these are the {what}, data.folder={folder}"
        )
    notes += [f"no class folders: all images in {root} are of one class, '{chosen[0]}'"] if is_flat else []
    tree = replace(tree, labels=np.array(labels, dtype=np.int64), notes=notes)
    for number, name in enumerate(chosen):
        if not (tree.labels == number).any():
            only = f", only {', '.join(other[name])} files" if other[name] else ""
            hint = "" if classes else "; if it is no class, move this folder elsewhere"
            raise UserError(f"class '{name}' has no images ({' '.join(SUFFIXES)}) under {root}{only}{hint}")
    return capped(capped(tree, per_group, tree.objects, "per_group"), per_class, None, "per_class")


def _same_names(found: list[tuple[str, str, str]]) -> list[list[str]]:
    """Folders that are one class of one split."""
    homes = defaultdict(list)
    for part, name, folder in found:
        homes[part, name].append(folder)
    return [twins for twins in homes.values() if len(twins) > 1]


def part_of(folder: str) -> str:
    """train, val or test for a folder named like a split (Train, test_set, val2017), else ""."""
    name = re.sub(r"[ _-]?(set|data|images|split|\d{4})$", "", folder.casefold())
    return PARTS.get(name, "")


def class_folders(root: Path, suffixes: tuple[str, ...]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(split or "", class, folder below root) of each class, sorted; and folders beside the splits that hold nothing.

    A folder named like a split is one when it holds class folders; with files directly inside it is a class.
    Raises UserError, with both readings, where splits and classes stand side by side.
    """
    tops = _printable(listing.folders(root), root)
    direct = {top: listing.holds(root / top, suffixes) for top in tops if part_of(top)}
    below = {top: [n for n in listing.folders(root / top) if _any(root / top / n, suffixes)] for top in direct}
    parts = [top for top in direct if below[top]]
    if not parts:
        return sorted(("", unicodedata.normalize("NFC", name), name) for name in tops), []
    others = [top for top in tops if top not in parts and _any(root / top, suffixes)]
    both = [top for top in parts if direct[top]]
    if others or both:
        first, inside = parts[0], ", ".join(below[parts[0]][:3])
        beside = f"beside it {', '.join(others[:3])} with images" if others else "and images directly inside"
        raise UserError(
            f"{root}: is '{first}' a split or a class? It holds folders ({inside}), as a split does, {beside}, as "
            f"classes have. If it is a split, move what is beside it away or set data.folder={root / first}; if a "
            "class, put its files directly into it"
        )
    if twice := [part for part, n in Counter(map(part_of, parts)).items() if n > 1]:
        names = " and ".join(top for top in parts if part_of(top) == twice[0])
        raise UserError(f"{root}: {names} are both named like the split {twice[0]}; merge or rename one")
    homes = [(part_of(top), name, f"{top}/{name}") for top in parts for name in _printable(below[top], root / top)]
    empty = [top for top in tops if top not in parts]
    return sorted((part, unicodedata.normalize("NFC", name), folder) for part, name, folder in homes), empty


def _inside(folder: Path) -> list[str]:
    return [name for name in listing.folders(folder) if _any(folder / name, SUFFIXES)]


def _any(folder: Path, suffixes: tuple[str, ...]) -> bool:
    return any(name.lower().endswith(suffixes) for name in listing.files(folder))


def _printable(names: list[str], where: str | Path) -> list[str]:
    """Raises UserError for names that are no UTF-8, which nothing could print."""
    for name in names:
        if any("\udc80" <= letter <= "\udcff" for letter in name):
            raise UserError(f"{where}: the name {os.fsencode(name)!r} is not valid UTF-8; rename it")
    return names


def _files(root: Path, folder: str) -> list[str]:
    return [(Path(folder) / name).as_posix() for name in _printable(listing.files(root / folder), root / folder)]


def _loose(root: Path) -> int:
    """Images in the folder itself."""
    return sum(name.lower().endswith(SUFFIXES) for name in listing.meant(os.listdir(root)))


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
