"""Archives from the network: unpacked without leaving their folder, and whole or not there."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tqdm import tqdm

from sketchlab.errors import UserError

MOST_TIMES, LARGEST = 100, 10**9  # an archive may unpack to so many times its size, and to so many bytes in any case
_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, gives: Path) -> None:
    """Unpack a zip or tar below `folder` and keep what it is fetched for: `gives`, whole or not at all.

    Nothing else of the archive stays and nothing that was there is touched. Raises UserError for archives that are
    damaged or lead out of the folder.
    """
    aside = folder / f".unpacking-{archive.name}"
    try:
        shutil.rmtree(aside, ignore_errors=True)  # left by one that was killed
        aside.mkdir(parents=True)
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
    except UserError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{archive}: cannot be unpacked: {why}; remove it and fetch it again") from None
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
            if member.flag_bits & 1:
                raise UserError(f"{archive}: refused, since {name!r} in it is encrypted")
        _room(sum(member.file_size for member in members), archive, aside)
        for member in tqdm(members, f"unpacking {archive.name}", unit="file", mininterval=0.5, delay=1):
            packed.extract(member, aside)


def _untar(archive: Path, aside: Path) -> None:
    with tarfile.open(archive) as packed:
        members, size = [], 0
        for member in packed:
            size += member.size
            _room(size, archive, aside)
            if member.issym():  # the filter below was led out of the folder by chains of them
                raise UserError(f"{archive}: refused, since {member.name!r} is a link")
            members.append(member)
        stream: Any = packed.fileobj
        if stream.tell() <= packed.offset:  # no block of zeros after the last file
            raise UserError(f"{archive}: cut short, it has no end; remove it and fetch it again")
        while stream.read(_BLOCK):  # to the checksum at the end
            pass
        for member in tqdm(members, f"unpacking {archive.name}", unit="file", mininterval=0.5, delay=1):
            try:
                packed.extract(member, aside, filter="data")
            except tarfile.FilterError as error:
                raise UserError(f"{archive}: refused: {error}") from None


def _room(needed: int, archive: Path, aside: Path) -> None:
    if needed > max(LARGEST, MOST_TIMES * archive.stat().st_size):
        raise UserError(
            f"{archive}: refused, since its {archive.stat().st_size / 1e6:.1f} MB would unpack to "
            f"{needed / 1e9:.1f} GB or more"
        )
    if needed > (free := shutil.disk_usage(aside).free):
        raise UserError(f"{archive} unpacks to {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
