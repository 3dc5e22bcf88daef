"""python -m sketchlab.predict RUN FILES|FOLDER|-: a finished run's answers on images, as a table and a CSV."""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sketchlab.data.decode import SUFFIXES
from sketchlab.engine.files import atomic
from sketchlab.errors import UserError
from sketchlab.opened import BATCH, OpenedRun, squares

STROKES = (".ndjson", ".ndjson.gz")
BAR_FROM = 200  # images from which on a progress bar is shown


class ReaderGone(Exception):
    """Nobody reads standard output any more, as after `| head`."""


def main(words: list[str] | None = None) -> None:
    """Exit code 0 when every image was answered, 1 when one could not be read or nothing could be done."""
    arguments = parser().parse_args(words)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  file names are bytes, not always text
    try:
        bad = predict(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except ReaderGone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if bad else 0)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("python -m sketchlab.predict", description=__doc__, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    out.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="image files in their order; a folder means all images in it, recursive and sorted; - reads names from "
        "standard input, one a line",
    )
    out.add_argument("-k", type=int, default=3, help="classes shown for each image, the likeliest first (default 3)")
    out.add_argument("--out", type=Path, metavar="CSV", help="also write image, prediction, every p_<class>, error")
    out.add_argument(
        "--ink",
        choices=("dark", "bright", "none"),
        help="what the images are: drawings dark on light, the reverse, or photos (default: as in training)",
    )
    return out


def predict(arguments: argparse.Namespace) -> int:
    """Print the table, write the CSV; returns how many images could not be read."""
    if arguments.k < 1:
        raise UserError(f"-k {arguments.k}: expected at least 1")
    run = OpenedRun(arguments.run)
    run.check_classifier("predict")
    names = listed(arguments.images)
    shown = min(arguments.k, len(run.classes))
    width = min(60, max(len(name) for name in names))
    bad = 0
    with writer(arguments.out, run.classes) as write:
        bar = tqdm(total=len(names), unit="image", disable=len(names) < BAR_FROM, file=sys.stderr, mininterval=0.5)
        with bar:
            for name, answer in answers(run, names, arguments.ink):
                bad += isinstance(answer, str)
                say(line(name, answer, run.classes, shown, width))
                write(name, answer)
                bar.update()
    if bad:
        print(f"{bad} of {len(names)} images could not be read", file=sys.stderr)
    return bad


def say(row: str) -> None:
    try:
        tqdm.write(row, file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def listed(images: list[str]) -> list[str]:
    """File names in the order given. Raises UserError for a folder without images."""
    names: list[str] = []
    for given in images:
        if given == "-":
            lines = sys.stdin.buffer.read().split(b"\n")
            names += [os.fsdecode(part.removesuffix(b"\r")) for part in lines if part.strip()]
        elif os.path.isdir(given):
            names += inside(given)
        else:
            names.append(given)
    if not names:
        raise UserError("no images given: standard input held no file name")
    return names


def inside(folder: str) -> list[str]:
    """The images of a folder, recursive and sorted; what else lies there is counted on standard error."""
    found, others = [], 0
    for here, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        shown = [name for name in files if not name.startswith(".")]
        images = [name for name in shown if name.lower().endswith(SUFFIXES)]
        found += [os.path.join(here, name) for name in images]
        others += len(shown) - len(images)
    kinds = " ".join(SUFFIXES)
    if not found:
        raise UserError(f"{folder}: no images in this folder ({kinds})" + f", only {others} other files" * (others > 0))
    if others:
        print(f"{folder}: {others} other files left alone (images are {kinds})", file=sys.stderr)
    return sorted(found)


def answers(run: OpenedRun, names: list[str], ink: str | None) -> Iterator[tuple[str, np.ndarray | str]]:
    """Each name with its (n_classes,) probabilities or why there are none, in order; one batch in memory at a time."""
    classifier, reader = run.classifier(), run.reader(ink)
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as pool:
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            images = [name for name in batch if not name.lower().endswith(STROKES)]
            read: dict[str, Any] = dict(zip(images, squares(images, reader, pool), strict=True))
            good = [name for name in read if not isinstance(read[name], str)]
            if good:
                logits = classifier.logits(torch.from_numpy(np.stack([read[name] for name in good])))
                read |= zip(good, logits.double().softmax(1).numpy(), strict=True)
            for name in batch:
                yield name, read.get(name, "drawings as strokes; this run's network takes images, not strokes")


def line(name: str, answer: np.ndarray | str, classes: list[str], shown: int, width: int) -> str:
    """image  class .93  class .05: a row for people."""
    if isinstance(answer, str):
        return f"{name:<{width}}  cannot be read: {answer}"
    best = np.argsort(-answer, kind="stable")[:shown]
    return f"{name:<{width}}  " + "  ".join(f"{classes[i]} {answer[i]:.3f}" for i in best)


@contextlib.contextmanager
def writer(path: Path | None, classes: list[str]) -> Iterator[Any]:
    """(name, answer) → a row of the CSV, which is there whole or not at all; without a path nothing is written."""
    if path is None:
        yield lambda name, answer: None
        return
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--out {path}: expected a file name in a folder that exists")
    with atomic(path) as temporary, open(temporary, "w", newline="", errors="surrogateescape") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "prediction", *(f"p_{name}" for name in classes), "error"])

        def write(name: str, answer: np.ndarray | str) -> None:
            if isinstance(answer, str):
                rows.writerow([name, "", *[""] * len(classes), answer])
            else:
                best = classes[int(answer.argmax())]
                rows.writerow([name, best, *(f"{p:.6g}" for p in answer), ""])

        yield write


if __name__ == "__main__":
    main()
