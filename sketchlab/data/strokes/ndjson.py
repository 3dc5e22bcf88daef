"""Drawings in QuickDraw's ndjson, one file per word, simplified or raw, plain or gzipped; a line at a time.

Also JSON, one array of drawings per word, as frankenstein's raw data are. Parsed with orjson: 3.9 times the lines per
second of the ndjson package on simplified drawings, 3.2 times on raw ones (one core, 226,000 against 57,000 and 50,000
against 16,000); ndjson hands each line to Python's own json. What is kept and exported is written with ndjson.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import os
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sketchlab.data import listing
from sketchlab.errors import UserError

SUFFIXES = (".ndjson", ".ndjson.gz")
ARRAYS = (".json", ".json.gz")  # of files that hold one array of drawings
PREFIXES = ("full_simplified_", "full_raw_", "full%2Fsimplified%2F", "full%2Fraw%2F")  # browsers save objects so
MOST_BYTES = 32 * 2**20  # of a line


@dataclass(frozen=True)
class Line:
    """One line of a file: a drawing, or why it is none."""

    number: int  # from 1
    raw: bytes
    drawing: Any  # what stood under "drawing", unchecked
    key_id: str  # "" when the line has none
    recognized: bool | None  # null and absent = not known
    word: str  # "" when the line has none
    error: str  # "" = none


def words(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, Path]:
    """Class → its file, sorted by class. Raises UserError for a class with two files, or no files at all."""
    found: dict[str, Path] = {}
    for path in (folder / name for name in listing.meant(os.listdir(folder))):
        name = word_of(path.name, suffixes)
        if name and path.is_file():
            if name in found:
                raise UserError(f"two files for '{name}': {found[name]} and {path.name}; remove one")
            found[name] = path
    if not found:
        raise UserError(f"no {' or '.join(suffixes)} files in {folder}: expected one per word, as cat{suffixes[0]}")
    return dict(sorted(found.items()))


def word_of(file_name: str, suffixes: tuple[str, ...] = SUFFIXES) -> str:
    """The class of a file, in the composed form of unicode; "" for a file of another kind."""
    suffix = next((s for s in suffixes if file_name.lower().endswith(s)), None)
    if suffix is None or file_name.startswith("."):
        return ""
    stem = file_name[: -len(suffix)]
    for prefix in PREFIXES:
        stem = stem.removeprefix(prefix)
    return unicodedata.normalize("NFC", stem)


def lines(path: Path) -> Iterator[Line]:
    """Every line that is not blank, never more than one in memory; of a file of ARRAYS every drawing. Raises UserError
    for a file that cannot be read."""
    with _opened(path) as file:
        if path.name.lower().endswith(ARRAYS):
            yield from _array(path, file.read())
        else:
            number = 0
            while raw := file.readline(MOST_BYTES):
                number += 1
                if number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UserError(f"{path}: text in UTF-16; save it as UTF-8")
                raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                if len(raw) >= MOST_BYTES:
                    raise UserError(f"{path}: line {number} is longer than {MOST_BYTES >> 20} MB: expected ndjson")
                if raw.strip():
                    yield parsed(number, raw)


def _array(path: Path, raw: bytes) -> Iterator[Line]:
    """The drawings of an array: lists of strokes, or objects as a line of ndjson holds one. All in memory."""
    try:
        drawings = orjson.loads(raw.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path}: no JSON: {error}; a file with a drawing in each line is called .ndjson") from None
    if not isinstance(drawings, list):
        raise UserError(f"{path}: expected an array of drawings, got {type(drawings).__name__}")
    for number, one in enumerate(drawings, start=1):
        yield _line(number, orjson.dumps(one), {"drawing": one} if isinstance(one, list) else one)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with open(path, "rb") as plain, gzip.open(plain) if path.suffix.lower() == ".gz" else plain as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{path}: {why}; a download that was cut? get the file again") from None


def parsed(number: int, raw: bytes) -> Line:
    try:
        values = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return Line(number, raw, None, "", None, "", f"no JSON: {error}")
    return _line(number, raw, values)


def _line(number: int, raw: bytes, values: Any) -> Line:
    if not isinstance(values, dict) or "drawing" not in values:
        return Line(number, raw, None, "", None, "", 'no object with "drawing"')
    key_id, recognized, word = values.get("key_id"), values.get("recognized"), values.get("word")
    error = "" if recognized in (True, False, None) else f"recognized is {recognized!r}: expected true, false or null"
    known = recognized if isinstance(recognized, bool) else None
    key = "" if key_id is None else str(key_id)
    return Line(number, raw, values["drawing"], key, known, word if isinstance(word, str) else "", error)
