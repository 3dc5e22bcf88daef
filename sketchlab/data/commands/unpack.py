"""Archives from the network: unpacked without leaving their folder, and whole or not there."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from sketchlab.errors import UserError


def unpack(archive: Path, folder: Path, gives: Path) -> None:
    """Unpack a zip or tar below `folder` and keep what it is fetched for: `gives`, whole or not at all.

    Nothing else of the archive stays and nothing that was there is touched. Raises UserError for archives that are
    damaged or lead out of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".unpacking-{archive.name}"
    shutil.rmtree(aside, ignore_errors=True)  # left by one that was killed
    aside.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, aside)
        elif tarfile.is_tarfile(archive):
            _untar(archive, aside)
        else:
            raise UserError(f"{archive}: neither zip nor tar; remove it and fetch it again")
        inside = aside / gives.relative_to(folder)
        if not inside.exists():
            held = ", ".join(sorted(os.listdir(aside))[:5]) or "nothing"
            raise UserError(f"{archive}: expected {gives.relative_to(folder)} inside, found {held}")
        gives.parent.mkdir(parents=True, exist_ok=True)
        os.replace(inside, gives)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{archive}: cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unzip(archive: Path, aside: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        for member in members:
            name, mode = member.filename, member.external_attr >> 16
            path, windows = PurePosixPath(name), PureWindowsPath(name)
            if path.is_absolute() or windows.drive or windows.root or ".." in windows.parts or stat.S_ISLNK(mode):
                raise UserError(f"{archive}: refused, since {name!r} would lead out of the folder it is unpacked in")
        _room(sum(member.file_size for member in members), archive, aside)
        for member in tqdm(members, f"unpacking {archive.name}", unit="file", mininterval=0.5, delay=1):
            packed.extract(member, aside)


def _untar(archive: Path, aside: Path) -> None:
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
        _room(sum(member.size for member in members), archive, aside)
        for member in tqdm(members, f"unpacking {archive.name}", unit="file", mininterval=0.5, delay=1):
            try:
                packed.extract(member, aside, filter="data")
            except tarfile.FilterError as error:
                raise UserError(f"{archive}: refused: {error}") from None


def _room(needed: int, archive: Path, aside: Path) -> None:
    if needed > (free := shutil.disk_usage(aside).free):
        raise UserError(f"{archive} unpacks to {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
