"""python -m sketchlab.retrieve RUN SKETCH…: the nearest photos of each sketch, as table, CSV and contact sheet.

A sketch is an image file, an SVG file, or a line of a file of drawings (.ndjson, .ndjson.gz), named file:line. The
photos searched are the run's own test photos, or all images in --gallery DIR; their embeddings are kept in RUN/gallery
(gallery.py).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sketchlab.data.strokes.batch import of_drawings
from sketchlab.data.strokes.raster import pictures
from sketchlab.errors import UserError, exit_on_error
from sketchlab.predict import Row, listed, rows, say
from sketchlab.runs import BATCH, OpenedRun, reading
from sketchlab.runs.retrieve import index
from sketchlab.runs.retrieve.gallery import Gallery, of_folder, of_run
from sketchlab.runs.retrieve.matches_sheet import Cell, matches_sheet
from sketchlab.runs.retrieve.retriever import Retriever, check
from sketchlab.storage.files import atomic, cores

ON_SHEET = 40  # sketches on the contact sheet
SHOWN = 3  # matches in a line of the table


def main(words: list[str] | None = None) -> None:
    """Exit code 0 when everything was answered, 1 when a part could not be read or nothing could be done."""
    arguments = parser().parse_args(words)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  file names are bytes, not always text
    sys.exit(1 if exit_on_error(lambda: retrieve(arguments)) else 0)


def parser() -> argparse.ArgumentParser:
    what = (__doc__ or "").partition("\n")[0]
    out = argparse.ArgumentParser("python -m sketchlab.retrieve", description=what, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a finished retrieval run")
    out.add_argument(
        "sketches",
        nargs="+",
        metavar="SKETCH",
        help="image files, and drawings (.svg, .ndjson, .ndjson.gz); a folder means all of them in it; - reads "
        "names from standard input, one a line",
    )
    out.add_argument(
        "--gallery", type=Path, metavar="DIR", help="search all images in this folder (default: the run's test photos)"
    )
    out.add_argument("-k", type=int, default=10, help="photos for each sketch, the nearest first (default 10)")
    out.add_argument(
        "--index",
        metavar="NAME",
        help="search by a faiss index, as HNSW32 or IVF1024,PQ32, and say what it misses (default: exact search)",
    )
    out.add_argument(
        "--ink",
        choices=("dark", "bright", "none"),
        help="what pictures of sketches are: dark lines on light, the reverse, or neither (default: as in training)",
    )
    out.add_argument(
        "--out", type=Path, metavar="DIR", help="where matches.csv and matches.png go (default RUN/matches)"
    )
    return out


def retrieve(arguments: argparse.Namespace) -> int:
    """Print the table, write CSV and sheet; returns how many sketches and photos could not be read."""
    if arguments.k < 1:
        raise UserError(f"-k {arguments.k}: expected at least 1")
    run = OpenedRun(arguments.run)
    check(run, "retrieve")
    out = arguments.out or run.path / "matches"
    names = listed(arguments.sketches)
    retriever = Retriever(run, arguments.ink)
    photos = of_folder(retriever, arguments.gallery) if arguments.gallery else of_run(retriever)
    k = min(arguments.k, len(photos))
    _tell(photos, arguments.k)
    search = _search(retriever, photos, k, arguments.index)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot make this folder: {error.strerror}") from None
    n = bad = 0
    on_sheet: list[list[Cell]] = []
    with _writer(out / "matches.csv", k) as write:
        for row, query, found in _searched(retriever, names, search):
            n += 1
            bad += isinstance(found, str)
            say(_line(row.name, found, photos))
            write(row, found, photos)
            if not isinstance(found, str) and len(on_sheet) < ON_SHEET:
                on_sheet.append(_cells(retriever, row, query, found, photos))
    if on_sheet:
        with atomic(out / "matches.png") as temporary:
            matches_sheet(on_sheet).save(temporary, format="PNG")
        some = f" (the first {ON_SHEET} sketches)" if n - bad > ON_SHEET else ""
        print(f"written: {out / 'matches.csv'}, {out / 'matches.png'}{some}")
    if bad:
        print(f"{bad} of {n} sketches could not be read", file=sys.stderr)
    return bad + len(photos.unreadable)


def _tell(photos: Gallery, k: int) -> None:
    for note in photos.notes:
        print(note, file=sys.stderr)
    for name, why in photos.unreadable:
        print(f"{name}  cannot be read: {why}", file=sys.stderr)
    if photos.unreadable:
        n = len(photos.unreadable)
        print(
            f"{n} of {n + len(photos)} photos of {photos.where} could not be read; they are not searched",
            file=sys.stderr,
        )
    fresh = f", {photos.fresh} embedded now" if photos.fresh else ""
    fewer = f"; fewer than -k {k}, so all are shown" if k > len(photos) else ""
    print(f"gallery: {len(photos)} photos, {photos.where}{fresh}{fewer}", file=sys.stderr)


def _search(retriever: Retriever, photos: Gallery, k: int, spec: str | None) -> Any:
    """(Q, D) → distances and places (Q, k): exact, or by an index whose recall is said."""
    if spec is None:
        return lambda queries: retriever.nearest(queries, photos.embedded, k)
    made = index.opened(spec, photos.embedded, photos.rows)
    queries = index.evenly(photos.embedded)
    share = index.recall(made, queries, photos.embedded, k)
    print(f"index {spec}: finds {share:.3f} of the exact {k} nearest ({len(queries)} queries)", file=sys.stderr)
    announced = False

    def search(queries: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal announced
        if not announced:
            first = queries[: index.ASKED]
            share = index.recall(made, first, photos.embedded, k)
            print(f"index {spec}: finds {share:.3f} of them for the first {len(first)} sketches", file=sys.stderr)
            announced = True
        return index.nearest(made, queries, photos.embedded, k)

    return search


Found = tuple[list[float], list[int]]  # distances and places


def _searched(retriever: Retriever, names: list[str], search: Any) -> Iterator[tuple[Row, Any, Found | str]]:
    """Each row with what was asked and its matches, or why there are none; one batch in memory at a time."""
    waiting = rows(names)
    with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as pool:
        while batch := list(islice(waiting, BATCH)):
            images = [row.name for row in batch if row.sample is None]
            read = iter(reading.squares(images, retriever.read_sketch, pool))
            samples = [next(read) if row.sample is None else row.sample for row in batch]
            embedded = retriever.sketches(samples)
            there = [i for i, one in enumerate(embedded) if not isinstance(one, str)]
            found: list[Any] = list(embedded)
            if there:
                distances, places = search(torch.stack([embedded[i] for i in there]))  # type: ignore[misc]
                for i, far, at in zip(there, distances.tolist(), places.tolist(), strict=True):
                    found[i] = far, at
            yield from zip(batch, samples, found, strict=True)


def _line(name: str, found: Found | str, photos: Gallery) -> str:
    """A row for people: the sketch and its nearest photos with their distances."""
    if isinstance(found, str):
        return f"{name}  cannot be read: {found}"
    pairs = list(zip(*found, strict=True))[:SHOWN]
    return f"{name}  " + "  ".join(f"{photos.names[at]} {far:.3f}" for far, at in pairs if at >= 0)


@contextlib.contextmanager
def _writer(path: Path, k: int) -> Iterator[Any]:
    """(row, found, photos) → a line of the CSV, which is there whole or not at all."""
    places = range(1, k + 1)
    with (
        atomic(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="", errors="surrogateescape") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        columns = ["query", "key_id", *(f"match_{i}" for i in places), *(f"distance_{i}" for i in places), "error"]
        lines.writerow(columns)

        def write(row: Row, found: Found | str, photos: Gallery) -> None:
            if isinstance(found, str):
                lines.writerow([row.name, row.key_id, *[""] * 2 * k, found])
                return
            names = [photos.names[at] if at >= 0 else "" for at in found[1]]
            lines.writerow(
                [row.name, row.key_id, *names, *(f"{far:.6g}" if far < np.inf else "" for far in found[0]), ""]
            )

        yield write


def _cells(retriever: Retriever, row: Row, query: Any, found: Found, photos: Gallery) -> list[Cell]:
    if isinstance(query, list):  # a drawing
        pixels = pictures(of_drawings([query]))[0].numpy()  # (1, H, W)
    else:
        pixels = 255 - query if retriever.inverts else query
    sketch = Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
    cells = [Cell(sketch, os.path.basename(row.name), "the sketch")]
    for far, at in zip(*found, strict=True):
        if at >= 0:
            cells.append(Cell(photos.picture(at), photos.names[at], f"{far:.3f}"))
    return cells


if __name__ == "__main__":
    main()
