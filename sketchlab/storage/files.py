"""Files that are whole or not there: written aside, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sketchlab.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # not Windows
    msvcrt = None

_BEYOND = 2**30  # the byte that Windows locks: nobody else could read the owner's name if it were one of the content


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`: on success it becomes `path`, on failure it is gone, `path` untouched."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was there before is untouched. "
            "Free some space or choose another run.root, then start the same command again"
        ) from error
    except RuntimeError as error:  # torch.save reports a full disk this way
        if temporary.exists() and ("PytorchStreamWriter" in str(error) or "unexpected pos" in str(error)):
            raise UserError(
                f"cannot write {path}: the disk is full or the file too large; the checkpoint before it is untouched. "
                "Free some space, then start the same command again"
            ) from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One process of this machine at a time; others wait. Raises OSError for a folder that cannot be opened.

    Where the kernel locks no folders (Windows) a file `.lock` in it is locked instead.
    """
    held = os.open(folder if fcntl else folder / ".lock", os.O_RDONLY if fcntl else os.O_RDWR | os.O_CREAT)
    try:
        while not locked(held):
            time.sleep(0.01)
        yield
    finally:
        os.close(held)


def locked(file: int) -> bool:
    """Take the kernel's lock on an open file, until it is closed; False where another process has it.

    Where the kernel has none, always True, and one line on stderr names what is not protected.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(file, _BEYOND, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            _unprotected()
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


@functools.cache
def _unprotected() -> None:
    print(
        "warning: this Python has neither fcntl nor msvcrt, so no file is locked: two processes that write to one run "
        "folder, cache or sweep at the same time are not kept apart; start one at a time",
        file=sys.stderr,
        flush=True,
    )


def has_locks() -> bool:
    """Whether the kernel locks files for us."""
    return fcntl is not None or msvcrt is not None


def cores() -> int:
    """How many this process may use: by its affinity, and by the quota of a container or batch job."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(n, quota())))


def quota(root: Path = Path("/")) -> float:
    """Cores that the control groups of this process allow, version 2 or 1, the smallest of all around it; infinity
    where none limits it. root: where proc and sys are."""
    try:
        groups = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return math.inf
    found = [math.inf]
    for _, controllers, path in (line.split(":", 2) for line in groups if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in ("cpu", controllers) if controllers else ("", "unified"):
            top = root / "sys/fs/cgroup" / mount
            inner = top / path.strip("/")  # not there in a container, which sees its own group as the top
            for folder in (inner, *inner.parents):
                found.append(_limit(folder))
                if folder == top:
                    break
    return min(found)


def _limit(folder: Path) -> float:
    """Of one control group: cpu.max of version 2, or quota and period of version 1."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            most, period = " ".join((folder / name).read_text("utf-8") for name in names).split()
            if most.isdigit() and int(period) > 0 and int(most) > 0:  # not "max" or -1
                return int(most) / int(period)
        except (OSError, ValueError):  # another version's file, or a system's own content: no limit is known
            continue
    return math.inf


def sync_folder(folder: Path) -> None:
    """Renames in the folder reach the disk before what follows does."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_temporaries(folder: Path, below: str = "**/") -> None:
    """What killed writers left in the folder and below it ("": in it alone); files of processes that live here stay."""
    for path in folder.glob(f"{below}.*.tmp"):
        pid = path.name.split(".")[-2]
        if not (pid.isdigit() and int(pid) != os.getpid() and alive(int(pid))):
            path.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def read_dict(path: Path, *needed: str) -> dict[str, Any]:
    """A JSON object that has these keys; UserError."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"cannot read {path}: expected a JSON object, found {type(found).__name__}")
    if missing := [key for key in needed if key not in found]:
        raise UserError(f"cannot read {path}: it holds no {missing[0]}; it was changed after the run wrote it")
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a .jsonl file; a last line cut by a kill is left out. Raises UserError naming a bad line."""
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").split("\n")[:-1]
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number} is no JSON object; delete the file, or take it from a backup")
        rows.append(row)
    return rows
