"""What is kept below $SKETCHLAB_CACHE (else ~/.cache/sketchlab): folders of files that can be made again at any time.

An entry is a folder: its files, and index.json with what its maker says of them, the size and the digest of each, and
a digest of the index itself. It is made aside and moved into place. When it is opened, sizes are compared; digests too
where size, times or inode of a file are not those of when it was last found whole. What does not fit is made again.
A bit that flips on the disk without the file system's knowledge is found by `python -m sketchlab.data cache verify`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from sketchlab.errors import UserError
from sketchlab.storage.files import locked, sync_folder

INDEX, CHECKED, USED = "index.json", ".checked.json", ".used"
BUILDING = ".building-"  # and the entry's name, - and more: what is not whole yet
LIMIT = "SKETCHLAB_CACHE_GB"  # the most that is kept, in GB; what was used longest ago goes first
RECENT_S = 3600.0  # what was used so lately may be in use


def home() -> Path:
    """$SKETCHLAB_CACHE or ~/.cache/sketchlab; all that is in it can be deleted at any time. Raises UserError."""
    try:
        return Path(os.environ.get("SKETCHLAB_CACHE") or "~/.cache/sketchlab").expanduser()
    except RuntimeError as error:
        raise UserError(f"no folder for the cache: {error}; set SKETCHLAB_CACHE") from None


def entry(folder: Path, what: str, build: Callable[[Path], dict[str, Any]], needed: int = 0) -> dict[str, Any]:
    """What the maker of an entry said of its files: found when it is whole, else made now.

    build: writes the files into an empty folder, and returns what is to be known of them, as JSON takes it. what: of
    what it is, for people. needed: bytes it takes, about. Raises UserError where the cache cannot be written.
    """
    content, _ = _opened(folder)
    if content is None:
        with alone(folder):
            content, why = _opened(folder)  # another process may have made it meanwhile
            if content is None:
                if why:
                    print(f"{folder}: {why}; it is made again", file=sys.stderr, flush=True)
                content = put(folder, what, build, needed)
    _touch(folder / USED)
    return content


def get(folder: Path, tell: bool = True) -> dict[str, Any] | None:
    """What is known of a whole entry; None where there is none. tell: name one that is damaged."""
    content, why = _opened(folder)
    if why and tell:
        print(f"{folder}: {why}; it is made again", file=sys.stderr, flush=True)
    if content is not None:
        _touch(folder / USED)
    return content


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One maker of an entry at a time on this machine, others wait; what killed makers left behind is cleared away."""
    with _lock(folder) as lock:
        try:
            while not locked(lock.fileno()):
                time.sleep(0.05)
        except OSError:  # a file system without locks: two makers do the work twice, the rename keeps it right
            yield
            return
        for left in folder.parent.glob(f"{BUILDING}*"):
            name = left.name.removeprefix(BUILDING).rpartition("-")[0]
            if name == folder.name:
                shutil.rmtree(left, ignore_errors=True)
                continue
            with _lock(folder.with_name(name or "unnamed")) as other:
                if locked(other.fileno()):  # nobody makes it
                    shutil.rmtree(left, ignore_errors=True)
        yield


def _lock(folder: Path) -> TextIO:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return open(folder.with_name(f".{folder.name}.lock"), "w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to the cache {folder.parent}: {error.strerror}; set SKETCHLAB_CACHE") from None


def put(
    folder: Path, what: str, build: Callable[[Path], dict[str, Any]], needed: int = 0, instead: str = ""
) -> dict[str, Any]:
    """Make an entry, in place of the one that is there; where others may make it too, alone().

    instead: what else can be done where there is no room.
    """
    make_room(folder, what, needed, instead)
    building = building_place(folder)
    try:
        content = build(building)
        seal(building, what, content)
        _remove(folder)
        os.replace(building, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise UserError(f"cannot write the cache {folder.parent}: {error.strerror}; set SKETCHLAB_CACHE") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _note(folder, {path.name: _look(path) for path in _files(folder)})
    return content


def building_place(folder: Path) -> Path:
    """An empty folder beside an entry, to make it in."""
    building = Path(tempfile.mkdtemp(prefix=f"{BUILDING}{folder.name}-", dir=folder.parent))
    building.chmod(0o755)  # a cache may be shared
    return building


def seal(building: Path, what: str, content: dict[str, Any]) -> None:
    """Write the index of the files in a folder, and see to it that all are on the disk."""
    files = {path.name: [path.stat().st_size, digest(path)] for path in _files(building)}
    for path in _files(building):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    known = {"what": what, "content": content, "files": files}
    with open(building / INDEX, "w", encoding="utf-8") as file:
        json.dump({**known, "digest": _of_index(known)}, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name != INDEX)


def digest(path: Path) -> str:
    """BLAKE2b of a file, 32 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _of_index(known: dict[str, Any]) -> str:
    text = json.dumps({key: known[key] for key in ("what", "content", "files")}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _opened(folder: Path, fully: bool = False) -> tuple[dict[str, Any] | None, str]:
    """What is known of an entry, or None and why it cannot be used ("" where there is none)."""
    if not folder.exists():
        return None, ""
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        if not isinstance(index, dict) or "digest" not in index:
            return None, "its index has no digests, as before they were kept, or is cut"
        if index["digest"] != _of_index(index):
            return None, "its index was changed"
        looks = _noted(folder)
        found = {}
        for name, (size, expected) in index["files"].items():
            look = _look(folder / name)
            if look[0] != size:
                return None, f"{name} has {look[0]:,} bytes, not {size:,}"
            if (fully or looks.get(name) != look) and digest(folder / name) != expected:
                return None, f"{name} is not what was written"
            found[name] = look
    except FileNotFoundError as error:
        return None, f"{Path(error.filename or INDEX).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"cannot be read ({error})"
    if found != looks:
        _note(folder, found)
    return index["content"], ""


def _look(path: Path) -> list[int]:
    """By what a file that nobody touched is recognised."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _noted(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / CHECKED).read_text("utf-8"))
    except (OSError, ValueError):  # never checked, or damaged: checked now
        return {}
    return found if isinstance(found, dict) else {}


def _note(folder: Path, looks: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a cache that is shared and read-only is checked in full each time
        temporary = folder / f"{CHECKED}.{os.getpid()}"
        temporary.write_text(json.dumps(looks), encoding="utf-8")
        os.replace(temporary, folder / CHECKED)


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.touch()


def _remove(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


# --- all of it


class Entry(NamedTuple):
    folder: Path
    kind: str  # images, strokes, features, shapes, gallery
    what: str  # of what it is; "" where its index cannot be read
    n_bytes: int
    used: float  # when it was used last, seconds since 1970


def entries() -> list[Entry]:
    """What is kept, the one used longest ago first."""
    found = []
    kinds = [path for path in home().iterdir() if path.is_dir() and path.name[0] != "."] if home().is_dir() else []
    for kind in sorted(kinds):
        for folder in sorted(path for path in kind.iterdir() if not path.name.startswith(".")):
            paths = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else [folder]
            used = folder / USED if (folder / USED).exists() else folder
            found.append(
                Entry(folder, kind.name, _what(folder), sum(p.stat().st_size for p in paths), used.stat().st_mtime)
            )
    return sorted(found, key=lambda one: one.used)


def _what(folder: Path) -> str:
    try:
        return str(json.loads((folder / INDEX).read_text("utf-8")).get("what", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def verify() -> list[tuple[Entry, str]]:
    """Read every byte that is kept: the entries that are not what was written, and why. Those are removed."""
    bad = []
    for one in entries():
        if one.kind != "gallery":  # runs keep their own index of it
            _, why = _opened(one.folder, fully=True)
            if why:
                bad.append((one, why))
                _remove(one.folder)
    return bad


def prune(limit_bytes: float, older_than_s: float = 0.0, spare_s: float = 0.0, dry: bool = False) -> list[Entry]:
    """Remove what was used longest ago, until no more than the limit is kept; entries used within spare_s stay.

    older_than_s: also what was not used for so long; 0 = however long. Returns what was removed, or where dry would be.
    """
    kept, now, removed = entries(), time.time(), []
    total = sum(one.n_bytes for one in kept)
    for one in kept:
        old = older_than_s > 0 and now - one.used > older_than_s
        if (old or total > limit_bytes) and now - one.used >= spare_s:
            if not dry:
                _remove(one.folder)
            total -= one.n_bytes
            removed.append(one)
    return removed


def limit_bytes() -> float:
    """Of $SKETCHLAB_CACHE_GB; infinity where it is not set. UserError for what is no number."""
    text = os.environ.get(LIMIT, "").strip()
    try:
        value = float(text) if text else float("inf")
    except ValueError:
        value = -1.0
    if not value > 0:
        raise UserError(f"{LIMIT}={text}: expected a number of GB, or unset: no limit")
    return value * 1e9


def make_room(folder: Path, what: str, needed: int, instead: str = "") -> None:
    """So that `needed` bytes can be written: below the limit, and on the disk. Raises UserError where they cannot."""
    limit = limit_bytes()
    if needed <= limit < float("inf"):
        for one in prune(limit - needed, spare_s=RECENT_S):
            print(
                f"{LIMIT}: removed {one.folder} ({one.n_bytes / 1e6:,.0f} MB, {one.what})", file=sys.stderr, flush=True
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise UserError(f"cannot write to the cache {folder.parent}: {error.strerror}; set SKETCHLAB_CACHE") from None
    if needed > min(free, limit):
        reason = f"{free / 1e9:.1f} GB are free" if free < limit else f"{LIMIT} allows {limit / 1e9:.1f} GB"
        raise UserError(
            f"the cache {home()} needs {needed / 1e9:.1f} GB for {what}, but {reason}; set SKETCHLAB_CACHE to a larger "
            f"disk{instead}"
        )
