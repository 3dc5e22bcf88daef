"""Image files, decoded and resized once, kept as one memory-mapped uint8 array.

By threads: reading, decoding, resizing and hashing all run without the interpreter's lock (measured: twice as fast on
two cores), so nothing is sent between processes. A store is found by what its sources look like from outside (names,
sizes, times of change) and carries a fingerprint of what is in them, which is the same on every machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sketchlab.data.dataset import fingerprint
from sketchlab.data.images import decode
from sketchlab.errors import UserError

ON_BAD = ("error", "skip")
LISTED = 20  # bad files named in a message before "and n more"


@dataclass(frozen=True)
class ImageStore:
    """What became of a list of files."""

    pixels: Tensor  # (N, C, S, S) uint8, memory-mapped: only what is read is in memory; changes are never written back
    kept: np.ndarray  # (N,) int64, ascending: which of the files asked for
    broken: list[str]  # "file: why", for those left out
    fingerprint: str  # of the names and contents of the files kept


def cache_dir() -> Path:
    """$SKETCHLAB_CACHE or ~/.cache/sketchlab; all that is in it can be deleted at any time."""
    return Path(os.environ.get("SKETCHLAB_CACHE") or Path.home() / ".cache" / "sketchlab").expanduser()


def images(root: Path, names: Sequence[str], size_px: int, channels: int, resize: str, on_bad: str) -> ImageStore:
    """The store of files root/name: loaded when it is there and up to date, otherwise built.

    on_bad: error refuses broken files, with their list; skip leaves them out. Raises UserError.
    """
    decode.check_resize(resize)
    if on_bad not in ON_BAD:
        raise UserError(f"data.on_bad={on_bad}: expected error or skip")
    looks = [_look(root / name) for name in names]
    shape = (channels, size_px, size_px)
    key = fingerprint(decode.VERSION, str(root.resolve()), list(names), looks, shape, resize)
    folder = cache_dir() / "images" / key
    index = _read(folder)
    if index is None:
        with alone(folder.parent):
            index = _read(folder)  # another process may have built it meanwhile
            if index is None:
                _build(root, names, shape, resize, folder)
                index = _read(folder)
    assert index is not None
    if index["broken"] and on_bad == "error":
        raise UserError(complaint(index["broken"], len(names), root))
    kept = np.array(index["kept"], dtype=np.int64)
    if not len(kept):
        raise UserError(f"{root}: none of the {len(names)} images can be read; first: {index['broken'][0]}")
    pixels = np.memmap(folder / "pixels.u8", np.uint8, mode="c", shape=(len(kept), *shape))
    return ImageStore(torch.from_numpy(pixels), kept, index["broken"], index["fingerprint"])


def complaint(broken: list[str], n: int, root: Path) -> str:
    """One line with what to do, then the files."""
    more = [f"  and {len(broken) - LISTED} more"] * (len(broken) > LISTED)
    head = (
        f"{len(broken)} of {n} images under {root} cannot be read; mend or remove them, or leave them out with "
        "data.on_bad=skip:"
    )
    return "\n".join([head, *(f"  {line}" for line in broken[:LISTED]), *more])


def _look(path: Path) -> tuple[int, int, bool]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (-1, 0, False)
    return (status.st_size, status.st_mtime_ns, os.access(path, os.R_OK))


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "index.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One builder at a time on this machine, others wait; what a killed builder left behind is cleared away."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"cannot write to the cache {folder}: {error.strerror}; set SKETCHLAB_CACHE") from None
    with lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        except (ImportError, OSError):  # no locks here: two builders do the work twice, the rename keeps it right
            yield
            return
        for left in folder.glob(".building-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _build(root: Path, names: Sequence[str], shape: tuple[int, int, int], resize: str, folder: Path) -> None:
    needed, free = len(names) * int(np.prod(shape)), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(
            f"the cache {cache_dir()} needs {needed / 1e9:.1f} GB for {len(names)} images of {shape[1]} px, but "
            f"{free / 1e9:.1f} GB are free; set SKETCHLAB_CACHE to a larger disk"
        )
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        building.chmod(0o755)  # a cache may be shared
        kept, broken, contents = [], [], hashlib.sha256()
        with open(building / "pixels.u8", "wb") as file:
            for place, (pixels, found) in enumerate(_decoded(root, names, shape, resize)):
                if pixels is None:
                    broken.append(f"{names[place]}: {found}")
                    continue
                kept.append(place)
                contents.update(f"{names[place]}\0{found}\0".encode())
                file.write(pixels.tobytes())
        index = {"root": str(root), "broken": broken, "fingerprint": contents.hexdigest()[:16], "kept": kept}
        (building / "index.json").write_text(json.dumps(index, ensure_ascii=False))
        os.replace(building, folder)
    except OSError as error:
        if _read(folder) is None:
            raise UserError(f"cannot write the cache {folder.parent}: {error.strerror}; set SKETCHLAB_CACHE") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _decoded(
    root: Path, names: Sequence[str], shape: tuple[int, int, int], resize: str
) -> Iterator[tuple[np.ndarray | None, str]]:
    """Per file, in order: pixels and the digest of its bytes, or None and why not."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def one(name: str) -> tuple[np.ndarray | None, str]:
        try:
            data = (root / name).read_bytes()
            return decode.decode(data, shape[1], shape[0], resize), hashlib.sha256(data).hexdigest()
        except (PermissionError, FileNotFoundError, decode.BadImage) as error:
            return None, getattr(error, "strerror", None) or str(error)
        except (OSError, MemoryError) as error:  # not the file's fault: never remembered as broken
            raise UserError(f"{root / name}: {error or 'not enough memory'} ({type(error).__name__})") from None

    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        ahead: deque[Any] = deque()
        try:
            for name in tqdm(names, "decoding", unit="image", mininterval=0.5, disable=len(names) < 200):
                ahead.append(pool.submit(one, name))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
