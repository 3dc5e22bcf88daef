"""python -m sketchlab.data export NAME --to ndjson|svg|png: the drawings of a data set as files that others read.

    ndjson   <class>.ndjson, QuickDraw's simplified format; data=strokes reads the same drawings, ids and splits
    svg      <class>/<id>.svg, a path for each stroke on a canvas of 256; data=strokes data.format=svg reads them
    png      <class>/<id>.png, dark on white; data=folder reads them

All is written into a folder beside the one that is asked for, which then takes its place: it is whole or not there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import ndjson
from PIL import Image
from tqdm import tqdm

from sketchlab.data.dataset import Dataset, fingerprint
from sketchlab.data.strokes import batch, raster
from sketchlab.data.strokes.simplify import Drawing
from sketchlab.errors import UserError
from sketchlab.storage.files import alive, sync_folder, write_json

FORMATS = ("ndjson", "svg", "png")
MARK = ".sketchlab-export.json"  # in a folder that this command wrote
SIZE_PX = 256  # side of a picture
ADDED = "#c2410c"  # colour of strokes that a network added
_AT_ONCE = 1000  # drawings in memory


class One(NamedTuple):
    key_id: str
    drawing: Drawing
    recognized: bool | None  # false: marked so; None: marked as recognised, or not marked


def export(name: str, data: Dataset, to: str, out: Path) -> dict[str, int]:
    """Write the drawings of all splits; returns class → how many.

    Raises UserError for a folder that holds anything but an earlier export of this name and format, as it was written;
    for two drawings of one id, where each is a file; and for a disk that is full.
    """
    out = out.resolve()
    _check(out, name, to)
    for left in out.parent.glob(f".{out.name}.*.tmp"):  # of an export that was killed
        if (pid := left.name.split(".")[-2]).isdigit() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        counts = {}
        with tqdm(desc=f"writing {to}", unit=" drawings", unit_scale=True, delay=2, disable=None) as bar:
            for label, word in enumerate(data.classes):
                counts[word] = _write(temporary, word, _drawings(data, label), to, bar)
        looks = _looks(temporary)
        write_json(temporary / MARK, {"name": name, "to": to, "drawings": counts, "files": looks})
        if out.exists():
            shutil.rmtree(out)
        os.replace(temporary, out)
        sync_folder(out.parent)
    except OSError as error:
        raise UserError(f"--out {out}: cannot write it: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return counts


def _check(out: Path, name: str, to: str) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: expected a folder, this is a file")
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        mark = json.loads((out / MARK).read_text("utf-8"))
        own = (mark["name"], mark["to"], mark["files"]) == (name, to, _looks(out))
    except (OSError, ValueError, KeyError, TypeError):
        own = False
    if not own:
        raise UserError(
            f"--out {out}: not empty, and not an earlier export of {name} to {to} as it was written; "
            "name a folder that is new or empty"
        )


def _looks(folder: Path) -> str:
    """16 digits over the names, sizes and times of the files in a folder, but for the mark."""
    files = sorted(path for path in folder.rglob("*") if path.name != MARK and not path.is_dir())
    return fingerprint([(str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in files])


def _drawings(data: Dataset, label: int) -> Iterator[One]:
    """Those of one class, split after split."""
    for split in data.splits.values():
        for places in (split.labels == label).nonzero()[:, 0].split(_AT_ONCE):
            drawings = batch.to_drawings(split.gather(places))
            marks = getattr(split.store, "recognized", None)  # of files; built-in shapes have none
            known = [True] * len(places) if marks is None else marks(split.rows[places])
            for place, drawing, recognized in zip(places.tolist(), drawings, known, strict=True):
                yield One(split.ids[place].partition("/")[2], drawing, None if recognized else False)


def _write(folder: Path, word: str, drawings: Iterator[One], to: str, bar: Any) -> int:
    n = 0
    if to == "ndjson":
        with open(folder / f"{word}.ndjson", "w", encoding="utf-8") as file:
            lines = ndjson.writer(file, ensure_ascii=False)
            for one in drawings:
                n += 1
                lines.writerow({"word": word, **one._asdict()})
                bar.update()
        return n
    (folder / word).mkdir()
    for one in drawings:
        n += 1
        path = folder / word / f"{quote(one.key_id, safe=' ')}.{to}"  # an id may hold what no file name can
        if path.exists():
            raise UserError(f"two drawings of {word} are called {one.key_id}: export them --to ndjson")
        if to == "svg":
            path.write_text(svg(one.drawing), encoding="utf-8")
        else:
            pixels = raster.pictures(batch.of_drawings([one.drawing]), SIZE_PX)[0, 0]
            Image.fromarray(pixels.numpy()).save(path)
        bar.update()
    return n


def svg(drawing: Drawing, begun: int | None = None) -> str:
    """A path for each stroke, in the order drawn, as TU-Berlin's files number them; those from number `begun` on in
    another colour."""
    paths = []
    for number, (xs, ys) in enumerate(drawing):
        points = " L".join(f"{x} {y}" for x, y in zip(xs, ys, strict=True))
        colour = f' stroke="{ADDED}"' if begun is not None and number >= begun else ""
        paths.append(f'<path id="{number}" d="M{points}"{colour}/>')
    style = 'fill="none" stroke="black" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256" overflow="visible"><g {style}>'
    return "\n".join([head, *paths, "</g></svg>"]) + "\n"
