"""Image files, decoded and resized once, kept as one memory-mapped uint8 array.

By threads: reading, decoding, resizing and hashing all run without the interpreter's lock (measured: twice as fast on
two cores), so nothing is sent between processes. A store is found by what its sources look like from outside (names,
sizes, times of change) and carries a fingerprint of what is in them, which is the same on every machine.
"""

from __future__ import annotations

import hashlib
import os
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
from sketchlab.storage import cache
from sketchlab.storage.files import cores

ON_BAD = ("error", "skip")
LISTED = 20  # bad files named in a message before "and n more"


@dataclass(frozen=True)
class ImageStore:
    """What became of a list of files."""

    pixels: Tensor  # (N, C, S, S) uint8, memory-mapped: only what is read is in memory; changes are never written back
    kept: np.ndarray  # (N,) int64, ascending: which of the files asked for
    broken: list[str]  # "file: why", for those left out
    fingerprint: str  # of the names and contents of the files kept


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
    folder = cache.home() / "images" / key
    what, needed = f"{len(names)} images of {size_px} px", len(names) * int(np.prod(shape))
    index = cache.entry(folder, f"{what} of {root}", lambda folder: _write(root, names, shape, resize, folder), needed)
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
        f"{len(broken)} of {n} images under {root} cannot be read; fix or remove them, or leave them out with "
        "data.on_bad=skip:"
    )
    return "\n".join([head, *(f"  {line}" for line in broken[:LISTED]), *more])


def _look(path: Path) -> tuple[int, int, bool]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return (-1, 0, False)
    return (status.st_size, status.st_mtime_ns, os.access(path, os.R_OK))


def _write(root: Path, names: Sequence[str], shape: tuple[int, int, int], resize: str, folder: Path) -> dict[str, Any]:
    kept, broken, contents = [], [], hashlib.sha256()
    with open(folder / "pixels.u8", "wb") as file:
        for place, (pixels, found) in enumerate(_decoded(root, names, shape, resize)):
            if pixels is None:
                broken.append(f"{names[place]}: {found}")
                continue
            kept.append(place)
            contents.update(f"{names[place]}\0{found}\0".encode())
            file.write(pixels.tobytes())
    return {"root": str(root), "broken": broken, "fingerprint": contents.hexdigest()[:16], "kept": kept}


def _decoded(
    root: Path, names: Sequence[str], shape: tuple[int, int, int], resize: str
) -> Iterator[tuple[np.ndarray | None, str]]:
    """Per file, in order: pixels and the digest of its bytes, or None and why not."""
    workers = cores()

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
            for name in tqdm(names, "decoding", unit="image", mininterval=0.5, delay=1):
                ahead.append(pool.submit(one, name))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
