"""A run folder as one file: a zip archive with a list of its files and their digests. Unpacked, it is a run folder.

Opening never runs code from it: checkpoints are read as data, and the sources that it holds are texts until the reader
trusts them (open_run(FILE, trust=True)).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from sketchlab.errors import UserError
from sketchlab.storage import cache
from sketchlab.storage.files import atomic, digest

SUFFIX = ".sketchlab.zip"
LIST = "pack.json"  # in the archive: file → [bytes, SHA-256]
LEFT = ("lock", "train.log")  # of a run folder, decides nothing elsewhere
LARGEST = 64 * 2**30  # bytes that an archive may unpack to


def is_packed(path: Path) -> bool:
    return path.is_file() and zipfile.is_zipfile(path)


def pack(folder: Path, out: Path) -> dict[str, int]:
    """Write the archive, whole or not at all; returns file → bytes. last.pt stays behind where there is a best.pt."""
    best = (folder / "checkpoints" / "best.pt").is_file()
    chosen = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or path.is_symlink() or inside.as_posix() in LEFT or inside.name.startswith("."):
            continue
        if inside.parts[0] == "evaluations" or (best and inside.as_posix() == "checkpoints/last.pt"):
            continue
        chosen.append((path, inside.as_posix()))
    listed = {name: [path.stat().st_size, digest(path)] for path, name in chosen}
    with atomic(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, LIST, json.dumps(listed, indent=1).encode())
        for path, name in chosen:
            _add(archive, name, path.read_bytes())
    return {name: size for name, (size, _) in listed.items()}


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """With one time for all, so that the same run makes the same bytes."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(info, content)


def unpacked(path: Path) -> Path:
    """The run folder of an archive, kept in the cache by its digest. UserError for what pack() did not write."""
    folder = cache.home() / "packed" / digest(path)[:16]
    with cache.alone(folder):
        if folder.is_dir():
            return folder
        building = cache.building_place(folder)
        try:
            _unpack(path, building)
            os.replace(building, folder)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"{path}: damaged, or no run that python -m sketchlab.pack wrote ({error})") from None
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def _unpack(path: Path, into: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        try:
            listed = json.loads(archive.read(LIST))
            sizes = {str(name): (int(size), str(sha)) for name, (size, sha) in listed.items()}
        except (KeyError, ValueError, TypeError, AttributeError):
            raise UserError(f"{path}: not a packed run (it has no readable {LIST})") from None
        if set(archive.namelist()) != {LIST, *sizes} or len(archive.namelist()) != len(sizes) + 1:
            raise UserError(f"{path}: holds other files than its {LIST} lists")
        if sum(size for size, _ in sizes.values()) > LARGEST:
            raise UserError(f"{path}: unpacks to more than {LARGEST // 2**30} GiB")
        for name, (size, sha) in sizes.items():
            parts = PurePosixPath(name).parts
            if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or ":" in parts[0]:
                raise UserError(f"{path}: {name!r} would lie outside the run folder")
            target = into.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(archive, name, target, size, sha, path)


def _copy(archive: zipfile.ZipFile, name: str, target: Path, size: int, sha: str, path: Path) -> None:
    found, total = hashlib.sha256(), 0
    with archive.open(name) as source, open(target, "wb") as file:
        while block := source.read(2**20):
            total += len(block)
            if total > size:
                break
            found.update(block)
            file.write(block)
    if total != size or found.hexdigest() != sha:
        raise UserError(f"{path}: {name} is not what {LIST} says; the file is damaged or was changed")
