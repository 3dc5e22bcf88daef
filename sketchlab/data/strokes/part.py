"""One file of drawings → one folder of flat arrays, in memory that does not grow with the file.

    points.u8 (P, 2)       x, y of all points, drawing after drawing
    lengths.u16 (S,)       points of each stroke
    first.i64 (N + 1, 2)   the first point and the first stroke of each drawing, and the ends
    words.i64 (N,)         rng.word of the id "class/key_id": any seed's split is computed from it, without the ids
    ids (N, width)         key_id, UTF-8, padded with zeros
    recognized.u8 (N,)     0 = marked as not recognised
    index.json             counts, what was broken, fingerprint (storage/cache.py)

Drawings stand in the order of their split hash for seed 0, so that with this seed a split is a range. Without torch:
many processes do this at once.
"""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from sketchlab import rng
from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.data.strokes import simplify, svg
from sketchlab.data.strokes.ndjson import Line
from sketchlab.data.strokes.simplify import BadDrawing
from sketchlab.storage import cache

VERSION = 1  # raised when the same file would give other arrays
LISTED = 1000  # broken lines named in the index
MOST_ID_BYTES = 100
_AT_ONCE = 20_000  # drawings held before they are written
_counter: Any = None  # of lines read, shared with the process that shows it


def listen(counter: Any) -> None:
    """Called once in each worker process."""
    global _counter
    _counter = counter


def build(path: Path, name: str, folder: Path) -> None:
    """The part of a file, or of a folder of SVG files, as an entry of the cache. Raises UserError."""
    cache.entry(folder, f"drawings of {name} in {path}", lambda building: _read(path, name, building))


def _read(path: Path, name: str, folder: Path) -> dict[str, Any]:
    found = _Found(name, folder, "line" if path.name.lower().endswith(ndjson_files.SUFFIXES) else "drawing")
    for line in svg.lines(path) if path.is_dir() else ndjson_files.lines(path):
        found.add(line)
    found.flush()
    return _write(found, folder)


class _Found:
    """What was read so far: points on disk, in the order of the file; some 45 bytes a drawing in memory."""

    def __init__(self, name: str, folder: Path, unit: str) -> None:
        self.name, self.folder, self.unit = name, folder, unit  # unit: what is counted in the file, line or drawing
        self.xs, self.ys, self.lengths = bytearray(), bytearray(), array("H")  # not yet written
        self.points, self.strokes = array("i"), array("i")  # per drawing
        self.words, self.recognized, self.ids, self.id_bytes = array("q"), bytearray(), bytearray(), array("B")
        self.broken: list[str] = []
        self.n_broken = self.n_other = self.n_lines = self.n_unread = 0
        self.other = ""
        self.contents = hashlib.sha256()

    def add(self, line: Line) -> None:
        self.contents.update(line.raw.rstrip() + b"\n")
        self.n_lines += 1
        try:
            self._add(line)
        except BadDrawing as error:
            self.n_broken += 1
            if len(self.broken) < LISTED:
                self.broken.append(f"{self.name}: {self.unit} {line.number}: {error}")
        if self.n_lines % 1000 == 0:
            self._tell()

    def _add(self, line: Line) -> None:
        if line.error:
            raise BadDrawing(line.error)
        key = (line.key_id or f"line-{line.number:08d}").encode()
        if len(key) > MOST_ID_BYTES or b"\0" in key:
            raise BadDrawing(f"key_id is longer than {MOST_ID_BYTES} bytes, or holds a zero byte")
        xs, ys, lengths = plain(line.drawing) or plain(simplify.convention(line.drawing)) or ([], [], [])
        self.xs += bytes(xs)
        self.ys += bytes(ys)
        self.lengths.extend(lengths)
        self.points.append(len(xs))
        self.strokes.append(len(lengths))
        self.words.append(rng.word(f"{self.name}/{key.decode()}"))
        self.recognized.append(line.recognized is not False)
        self.ids += key
        self.id_bytes.append(len(key))
        if line.word and unicodedata.normalize("NFC", line.word) != self.name:
            self.n_other += 1
            self.other = self.other or line.word
        if len(self.points) % _AT_ONCE == 0:
            self.flush()

    def flush(self) -> None:
        points = np.stack([np.frombuffer(self.xs, np.uint8), np.frombuffer(self.ys, np.uint8)], axis=1)
        for name, values in (("points", points), ("lengths", np.array(self.lengths, np.uint16))):
            with open(self.folder / f"unsorted.{name}", "ab") as file:
                file.write(values.tobytes())
        self.xs, self.ys, self.lengths = bytearray(), bytearray(), array("H")
        self._tell()

    def _tell(self) -> None:
        if _counter is not None:
            with _counter.get_lock():
                _counter.value += self.n_lines - self.n_unread
        self.n_unread = self.n_lines


def plain(drawing: Any) -> tuple[list[int], list[int], list[int]] | None:
    """A drawing that is in the convention → all x, all y, points of each stroke; None for any other."""
    xs: list[int] = []
    ys: list[int] = []
    lengths = []
    try:
        for x, y in drawing:
            if len(x) != len(y) or not x:
                return None
            xs += x
            ys += y
            lengths.append(len(x))
        whole = len(bytes(xs) + bytes(ys))  # TypeError or ValueError unless all are whole numbers in 0…255
    except (TypeError, ValueError):
        return None
    return (xs, ys, lengths) if 0 < whole <= 2 * simplify.MOST_POINTS else None


def _write(found: _Found, folder: Path) -> dict[str, Any]:
    """From the order of the file to that of the hash, a stretch at a time."""
    words = np.array(found.words, np.int64)
    order = np.argsort(rng.fold_words(words, 0, "split"), kind="stable")
    sizes = np.stack([np.array(found.points, np.int64), np.array(found.strokes, np.int64)], axis=1)  # (N, 2)
    ends = np.cumsum(sizes, axis=0)
    first = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(sizes[order], axis=0)])
    for column, (name, shape, kind) in enumerate((("points", (-1, 2), "u8"), ("lengths", (-1,), "u16"))):
        source = folder / f"unsorted.{name}"
        if len(order):
            values = np.memmap(source, np.uint8 if kind == "u8" else np.uint16, "r").reshape(shape)
            with open(folder / f"{name}.{kind}", "wb") as file:
                for low in range(0, len(order), _AT_ONCE):
                    chosen = order[low : low + _AT_ONCE]
                    n = sizes[chosen, column]
                    shift = ends[chosen, column] - n - (np.cumsum(n) - n)
                    file.write(values[np.arange(n.sum()) + np.repeat(shift, n)].tobytes())
            del values
        source.unlink()
    recognized = np.frombuffer(found.recognized, np.uint8)[order]
    width = max(found.id_bytes, default=1)
    ids = _padded(found.ids, np.array(found.id_bytes, np.int64), width)[order]
    for name, values in (
        ("first.i64", first),
        ("words.i64", words[order]),
        ("ids", ids),
        ("recognized.u8", recognized),
    ):
        (folder / name).write_bytes(values.tobytes())
    return {
        "drawings": len(order),
        "id_width": width,
        "points": int(first[-1, 0]),
        "strokes": int(first[-1, 1]),
        "lines": found.n_lines,
        "n_broken": found.n_broken,
        "broken": found.broken,
        "n_other": found.n_other,
        "other": found.other,
        "fingerprint": found.contents.hexdigest()[:16],
    }


def _padded(text: bytearray, sizes: np.ndarray, width: int) -> np.ndarray:
    """Strings one after another → (N, width) uint8, zeros behind the shorter ones."""
    out = np.zeros((len(sizes), width), np.uint8)
    out[np.arange(width) < sizes[:, None]] = np.frombuffer(text, np.uint8)
    return out
