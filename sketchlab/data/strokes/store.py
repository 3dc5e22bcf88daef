"""Millions of drawings kept as strokes: memory-mapped from one folder of arrays per file, gathered in batches.

About 115 bytes a drawing on disk. The folders lie in $SKETCHLAB_CACHE/strokes, one per file of drawings, so any choice
of classes uses the same ones, a build that was cut goes on with the files that are missing, and nothing is built twice.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sketchlab.data.dataset import fingerprint
from sketchlab.data.strokes import part as stroke_part
from sketchlab.data.strokes import svg
from sketchlab.data.strokes.batch import Strokes
from sketchlab.errors import UserError
from sketchlab.storage import cache
from sketchlab.storage.files import cores

_SMALL_BYTES = 4_000_000  # files of less than this together are read here, without starting processes


@dataclass(frozen=True)
class Part:
    """The drawings of one file, in the order of their split hash for seed 0. Arrays are memory-mapped."""

    name: str  # class
    points: np.ndarray  # (P, 2) uint8
    lengths: np.ndarray  # (S,) uint16
    first: np.ndarray  # (N + 1, 2) int64, first point and first stroke of each drawing
    words: np.ndarray  # (N,) int64, rng.word of "class/key_id"
    ids: np.ndarray  # (N,) bytes, key_id
    recognized: np.ndarray  # (N,) uint8, 0 = marked as not recognised
    index: dict[str, Any]  # what part.py wrote: counts, broken lines, fingerprint

    def __len__(self) -> int:
        return len(self.words)


class StrokeStore:
    """All drawings of some parts, in their order: row r of part p is start of p + r."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])  # (parts + 1,)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def _lists(self) -> tuple[Any, Any, Any]:
        from numba.typed import List

        return tuple(List(getattr(part, key) for part in self.parts) for key in ("first", "points", "lengths"))  # type: ignore[return-value]

    def gather(self, rows: Tensor) -> Strokes:
        """(B,) int64 rows → those drawings, in memory."""
        from sketchlab.data.strokes import loops as stroke_loops

        places = rows.cpu().numpy()
        part = np.searchsorted(self.starts, places, side="right") - 1
        local = places - self.starts[part]
        first, all_points, all_lengths = self._lists
        n_points, counts = stroke_loops.sizes(first, part, local)
        points, lengths = np.empty((n_points.sum(), 2), np.uint8), np.empty(counts.sum(), np.int64)
        stroke_loops.gather(first, all_points, all_lengths, part, local, points, lengths)
        return Strokes(*map(torch.from_numpy, (points, lengths, counts)))

    def recognized(self, rows: Tensor) -> list[bool]:
        """(B,) rows → false where the file says that QuickDraw's network did not recognise the drawing."""
        part = np.searchsorted(self.starts, rows.numpy(), side="right") - 1
        at = zip(part.tolist(), (rows.numpy() - self.starts[part]).tolist(), strict=True)
        return [bool(self.parts[p].recognized[r]) for p, r in at]

    def ids(self, rows: np.ndarray) -> list[str]:
        """(B,) rows → "class/key_id" of each."""
        part = np.searchsorted(self.starts, rows, side="right") - 1
        at = zip(part.tolist(), (rows - self.starts[part]).tolist(), strict=True)
        return [f"{self.parts[p].name}/{self.parts[p].ids[r].decode()}" for p, r in at]


class Ids(Sequence[str]):
    """The ids of some rows of a store, made when they are read: millions of strings would fill the memory."""

    def __init__(self, store: StrokeStore, rows: np.ndarray) -> None:
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    def digest(self) -> str:
        """Of which ids these are, in whatever order, without making them: from their words, 8 bytes each."""
        words = np.empty(len(self), np.int64)
        for low in range(0, len(self), 100_000):
            rows = self.rows[low : low + 100_000]
            part = np.searchsorted(self.store.starts, rows, side="right") - 1
            for p in np.unique(part):
                here = part == p
                words[low : low + len(rows)][here] = self.store.parts[p].words[rows[here] - self.store.starts[p]]
        words.sort()
        return fingerprint("words", words)

    def __iter__(self) -> Iterator[str]:
        for low in range(0, len(self), 10_000):
            yield from self.store.ids(self.rows[low : low + 10_000])

    def __getitem__(self, at: Any) -> Any:
        return (
            Ids(self.store, self.rows[at])
            if isinstance(at, slice)
            else self.store.ids(self.rows[at : at + 1 or None])[0]
        )


def open_parts(files: dict[str, Path]) -> list[Part]:
    """The part of each class's file, loaded when it is there and up to date, otherwise built. Raises UserError."""
    folders = {name: place(name, path) for name, path in files.items()}
    known = {name: cache.get(folder, tell=False) for name, folder in folders.items()}
    if missing := {name: folder for name, folder in folders.items() if known[name] is None}:
        _build({name: files[name] for name in missing}, missing)
        known |= {name: cache.get(folder) for name, folder in missing.items()}
    return [_open(name, folder, known[name]) for name, folder in folders.items()]


def place(name: str, path: Path) -> Path:
    """Where the part of a class's file is kept, built or not. Raises UserError for a file that is not there."""
    return cache.home() / "strokes" / _key(name, path)


def _key(name: str, path: Path) -> str:
    looks = [(file, *_look(path / file)) for file in svg.files(path)] if path.is_dir() else _look(path)
    return fingerprint(stroke_part.VERSION, name, str(path.resolve()), looks)


def _look(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    return status.st_size, status.st_mtime_ns


def _bytes(path: Path) -> int:
    return sum(_look(path / file)[0] for file in svg.files(path)) if path.is_dir() else path.stat().st_size


def _open(name: str, folder: Path, index: dict[str, Any] | None) -> Part:
    if index is None:
        raise UserError(f"{folder}: was removed while it was to be read; start the same command again")
    n, points, strokes, width = (index[key] for key in ("drawings", "points", "strokes", "id_width"))

    def mapped(file: str, size: int, dtype: Any) -> np.ndarray:
        # torch's mapping keeps no file open, numpy's keeps one: 345 words of 6 files are more than a process may have
        if size == 0:
            return np.empty(0, dtype)
        n_bytes = size * np.dtype(dtype).itemsize
        return torch.from_file(str(folder / file), shared=False, size=n_bytes, dtype=torch.uint8).numpy().view(dtype)

    return Part(
        name,
        mapped("points.u8", 2 * points, np.uint8).reshape(-1, 2),
        mapped("lengths.u16", strokes, np.uint16),
        mapped("first.i64", 2 * (n + 1), np.int64).reshape(-1, 2),
        mapped("words.i64", n, np.int64),
        mapped("ids", n, f"S{width}"),
        mapped("recognized.u8", n, np.uint8),
        index,
    )


def _build(files: dict[str, Path], folders: dict[str, Path]) -> None:
    workers = cores()
    if sum(map(_bytes, files.values())) < _SMALL_BYTES:
        for name in tqdm(files, "reading drawings", unit="file", delay=2):
            stroke_part.build(files[name], name, folders[name])
        return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    largest_first = sorted(files, key=lambda name: -_bytes(files[name]))
    pool = ProcessPoolExecutor(workers, context, initializer=stroke_part.listen, initargs=(counter,))
    with tqdm(desc="reading drawings", unit=" drawings", unit_scale=True, mininterval=0.5) as bar:
        try:
            waiting = {pool.submit(stroke_part.build, files[name], name, folders[name]) for name in largest_first}
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                bar.update(counter.value - bar.n)
                bar.set_postfix_str(f"{len(files) - len(waiting)}/{len(files)} files")
                for future in done:
                    future.result()
        except BrokenProcessPool:
            raise UserError(
                "a process that reads drawings was ended from outside, or could not start: too little memory? A script "
                "that uses sketchlab needs `if __name__ == '__main__':` around what it does"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
