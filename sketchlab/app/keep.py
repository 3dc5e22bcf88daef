"""Drawings as QuickDraw's simplified ndjson: a line to save, a line read back, a folder that data=strokes trains on."""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ndjson
import numpy as np
import orjson

from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.data.strokes import simplify
from sketchlab.errors import UserError
from sketchlab.storage.files import atomic, exclusive

_MOST_WORD_BYTES = 100


def line(word: str, drawing: simplify.Drawing, recognized: bool | None) -> bytes:
    """One line, with its end. key_id: QuickDraw's are 16 digits; these follow from the strokes, so the same drawing has
    the same id, and a split never parts it from itself. countrycode: not known. recognized: None = not known."""
    digest = hashlib.sha256(orjson.dumps(drawing)).digest()
    values = {
        "word": word,
        "countrycode": None,
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC"),
        "recognized": recognized,
        "key_id": f"{int.from_bytes(digest[:8], 'big') % 10**16:016d}",
        "drawing": drawing,
    }
    return f"{ndjson.dumps([values], ensure_ascii=False)}\n".encode()


def read(text: str) -> dict[str, Any]:
    """A line of a file of drawings → {"word", "drawing"} for the page to show. Raises UserError.

    A drawing in the convention stays as it is. A raw one is fitted into 0…255 with its proportions and marked as raw by
    times, so that it is simplified when it is judged, as it would be in training.
    """
    found = ndjson_files.parsed(1, text.encode("utf-8", "surrogatepass"))
    if found.error:
        raise UserError(f"not a drawing: {found.error}")
    try:
        strokes = simplify.checked(found.drawing)
    except simplify.BadDrawing as error:
        raise UserError(f"not a drawing: {error}") from None
    everything, timed = np.concatenate(strokes), any(len(stroke) > 2 for stroke in found.drawing)
    low, high = everything.min(0), everything.max(0)
    if not timed and low.min() >= 0 and high.max() <= simplify.SIDE:
        return {"word": found.word, "drawing": [stroke.T.tolist() for stroke in strokes]}
    scale = simplify.SIDE / max(float((high - low).max()), 1e-9)
    shift = (simplify.SIDE - (high - low) * scale) / 2
    placed = [((stroke - low) * scale + shift).round(3).T.tolist() for stroke in strokes]
    return {"word": found.word, "drawing": [[x, y, [0] * len(x)] for x, y in placed]}


def check_word(word: str) -> str:
    """A class that can be a file's name, in the composed form of unicode. Raises UserError."""
    word = unicodedata.normalize("NFC", word.strip())
    if not word or word.startswith(".") or re.search(r'[/\\:*?"<>|]', word) or not word.isprintable():
        raise UserError(
            f"label {word[:40]!r}: expected a word that can be a file's name, without . in front or / in it"
        )
    if len(word.encode("utf-8", "replace")) > _MOST_WORD_BYTES:
        raise UserError(f"label {word[:20]!r}…: longer than {_MOST_WORD_BYTES} bytes")
    if ndjson_files.word_of(f"{word}.ndjson") != word:
        raise UserError(f"label {word[:40]!r}: data=strokes would read another class from such a file's name")
    return word


def append(folder: Path, word: str, one: bytes) -> int:
    """Add a line to <word>.ndjson, whole or not at all; returns how many drawings the file has. Raises UserError.

    UserError also for a drawing that is in the file already: trained on twice it would count twice.
    """
    path, packed = folder / f"{word}.ndjson", folder / f"{word}.ndjson.gz"
    if packed.exists():
        raise UserError(f"{packed.name} is in {folder} already: unpack it, or save to another folder")
    if not folder.is_dir():
        raise UserError(f"--save {folder}: no such folder")
    with exclusive(folder):  # another page may save to this folder too
        n, ended = _drawings(path, orjson.loads(one)["key_id"])
        with atomic(path) as temporary:
            if path.exists():
                shutil.copyfile(path, temporary)
            with open(temporary, "ab") as file:
                file.write(one if ended else b"\n" + one)
    return n + 1


def _drawings(path: Path, key_id: str) -> tuple[int, bool]:
    """Lines of the file that hold something, and whether the last one has its end. Raises UserError."""
    if not path.exists():
        return 0, True
    n, raw = 0, b"\n"
    with open(path, "rb") as file:
        for raw in file:
            n += bool(raw.strip())
            if f'"{key_id}"'.encode() in raw:
                raise UserError(f"this drawing is in {path.name} already")
    return n, raw.endswith(b"\n")
