"""python -m sketchlab.predict RUN FILES|FOLDER|-: a finished run's answers on images and drawings, table and CSV.

A file of drawings (.ndjson, .ndjson.gz: QuickDraw's, simplified or raw) gives a row for every line, named file:line,
an SVG file one; reading.py says how drawings are drawn for a run.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import csv
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from sketchlab.data import listing
from sketchlab.data.images.decode import SUFFIXES
from sketchlab.errors import ReaderGone, UserError, exit_on_error
from sketchlab.runs import BATCH, KINDS, OpenedRun, reading
from sketchlab.storage.files import atomic, cores


class Row(NamedTuple):
    """What is asked about: an image file (asked is None until it is read), a drawing, or why there is none."""

    name: str  # the file's, or file:line
    key_id: str  # of a drawing; "" = it has none
    sample: Any


def main(words: list[str] | None = None) -> None:
    """Exit code 0 when everything was answered, 1 when a part could not be read or nothing could be done."""
    arguments = parser().parse_args(words)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  file names are bytes, not always text
    sys.exit(1 if exit_on_error(lambda: predict(arguments)) else 0)


def parser() -> argparse.ArgumentParser:
    what = (__doc__ or "").partition("\n")[0]
    out = argparse.ArgumentParser("python -m sketchlab.predict", description=what, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    out.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image files, and drawings (.svg, .ndjson, .ndjson.gz), in their order; a folder means all of them in "
        "it, recursive and sorted; - reads names from standard input, one a line",
    )
    out.add_argument("-k", type=int, default=3, help="classes shown for each row, the likeliest first (default 3)")
    out.add_argument("--out", type=Path, metavar="CSV", help="also write image, prediction, every p_<class>, error")
    out.add_argument(
        "--ink",
        choices=("dark", "bright", "none"),
        help="what the images are: drawings dark on light, the reverse, or photos (default: as in training)",
    )
    return out


def predict(arguments: argparse.Namespace) -> int:
    """Print the table, write the CSV; returns how many rows could not be read."""
    if arguments.k < 1:
        raise UserError(f"-k {arguments.k}: expected at least 1")
    run = OpenedRun(arguments.run)
    run.check_classifier("predict", KINDS)
    names = listed(arguments.images)
    drawn = any(map(holds_drawings, names))
    k = min(arguments.k, len(run.classes))
    width = min(60, max(len(name) + 6 * holds_drawings(name) for name in names))
    n = bad = 0
    with writer(arguments.out, run.classes, drawn) as write:
        total = None if drawn else len(names)  # how many lines a file has is known at its end
        with tqdm(total=total, unit=" rows", leave=False, file=sys.stderr, mininterval=0.5) as bar:
            for row, probabilities in predictions(run, names, arguments.ink):
                n += 1
                bad += isinstance(probabilities, str)
                say(line(row.name, probabilities, run.classes, k, width))
                write(row, probabilities)
                bar.update()
    if bad:
        print(f"{bad} of {n} {'rows' if drawn else 'images'} could not be read", file=sys.stderr)
    return bad


def say(row: str) -> None:
    try:
        tqdm.write(row, file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def listed(images: list[str]) -> list[str]:
    """File names in the order given. Raises UserError for a folder without images and drawings."""
    names: list[str] = []
    for given in images:
        if given == "-":
            lines = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8).split(b"\n")
            names += [os.fsdecode(part.removesuffix(b"\r")) for part in lines if part.strip()]
        elif os.path.isdir(given):
            names += inside(given)
        else:
            names.append(given)
    if not names:
        raise UserError("no images given: standard input held no file name")
    return names


def inside(folder: str) -> list[str]:
    """Images and files of drawings in a folder, recursive and sorted; the rest is counted on standard error."""
    names = listing.files(folder)
    found = [os.path.join(folder, name) for name in names if name.lower().endswith((*SUFFIXES, *reading.SUFFIXES))]
    others = len(names) - len(found)
    kinds = f"{' '.join(SUFFIXES)}; drawings: {' '.join(reading.SUFFIXES)}"
    if not found:
        raise UserError(f"{folder}: no images in this folder ({kinds})" + f", only {others} other files" * (others > 0))
    if others:
        print(f"{folder}: {others} other files left alone (images: {kinds})", file=sys.stderr)
    return found


def holds_drawings(name: str) -> bool:
    return name.lower().endswith(reading.SUFFIXES)


def predictions(run: OpenedRun, names: list[str], ink: str | None) -> Iterator[tuple[Row, np.ndarray | str]]:
    """Each row with its (n_classes,) probabilities or why there are none, in order; one batch in memory at a time."""
    classifier, reader, waiting = run.classifier(ink), run.reader(ink), rows(names)
    with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as pool:
        while batch := list(islice(waiting, BATCH)):
            images = [row.name for row in batch if row.sample is None]
            read = iter(reading.squares(images, reader, pool))
            samples = [next(read) if row.sample is None else row.sample for row in batch]
            yield from zip(batch, classifier.probabilities(samples), strict=True)


def rows(names: Iterable[str]) -> Iterator[Row]:
    """An image file is a row, a file of drawings one for every line; a line is read when its row is asked for."""
    for name in names:
        if holds_drawings(name):
            yield from (Row(*found) for found in reading.drawings(name))
        else:
            yield Row(name, "", None)


def line(name: str, probabilities: np.ndarray | str, classes: list[str], k: int, width: int) -> str:
    """image  class .93  class .05: a row for people."""
    if isinstance(probabilities, str):
        return f"{name:<{width}}  cannot be read: {probabilities}"
    best = np.argsort(-probabilities, kind="stable")[:k]
    return f"{name:<{width}}  " + "  ".join(f"{classes[i]} {probabilities[i]:.3f}" for i in best)


@contextlib.contextmanager
def writer(path: Path | None, classes: list[str], drawn: bool) -> Iterator[Any]:
    """(row, answer) → a line of the CSV, which is there whole or not at all; without a path nothing is written.

    drawn: with a column key_id, QuickDraw's name of a drawing.
    """
    if path is None:
        yield lambda row, probabilities: None
        return
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--out {path}: expected a file name in a folder that exists")
    with (
        atomic(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="", errors="surrogateescape") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["image", *["key_id"] * drawn, "prediction", *(f"p_{name}" for name in classes), "error"])

        def write(row: Row, probabilities: np.ndarray | str) -> None:
            named = [row.name, *[row.key_id] * drawn]
            if isinstance(probabilities, str):
                lines.writerow([*named, "", *[""] * len(classes), probabilities])
            else:
                best = classes[int(probabilities.argmax())]
                lines.writerow([*named, best, *(f"{p:.6g}" for p in probabilities), ""])

        yield write


if __name__ == "__main__":
    main()
