"""All of QuickDraw, or any folder of its files, into the stroke store; says what that took and what 50 million would.

    python scripts/prepare_quickdraw.py --download                 (345 words, 23 GB, to $SKETCHLAB_DATA or ./data)
    python scripts/prepare_quickdraw.py FOLDER                     (files that lie in a folder)
    python scripts/prepare_quickdraw.py FOLDER --synthetic 5000000 (writes made-up drawings there first)

Every file is read once, several at a time; what a kill leaves undone is done by the same command. Afterwards a run
takes it, best with few drawings to be tested on, since a test keeps 345 probabilities of each:

    python -m sketchlab.run data=quickdraw model=cnn_lstm \\
        data.splits.train=0.998 data.splits.val=0.001 data.splits.test=0.001

(data=strokes data.root=FOLDER for a folder of your own).
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tqdm import tqdm

from sketchlab import rng
from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.errors import UserError
from sketchlab.storage import cache

# the processes that read import this file too: what needs torch is imported where it is used

CATEGORIES = "https://raw.githubusercontent.com/googlecreativelab/quickdraw-dataset/master/categories.txt"
DRAWINGS = "https://storage.googleapis.com/quickdraw_dataset/full/simplified/"
WHOLE = 50_000_000  # drawings, and what is extrapolated to
SYNTHETIC_WORDS = 345
AT_ONCE = 2000  # synthetic drawings made together
IN_PROCESSES = 10_000  # synthetic drawings from which on processes are worth their start
ASKED, BATCH = 200_000, 512  # drawings gathered to time shuffled access


def main(words: list[str] | None = None) -> None:
    """Exit code 1 with one line for what cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="of <word>.ndjson files; default: data=quickdraw's")
    parser.add_argument("--download", action="store_true", help="first fetch every word that is not there")
    parser.add_argument("--synthetic", type=int, default=0, metavar="N", help="first write N made-up drawings")
    arguments = parser.parse_args(words)
    from sketchlab.data.images import tree

    folder = (arguments.folder or tree.data_root(None) / "quickdraw" / "simplified").resolve()
    try:
        if arguments.download and arguments.synthetic:
            raise UserError("--download and --synthetic: choose one")
        if arguments.download:
            download(folder)
        if arguments.synthetic:
            synthesise(folder, arguments.synthetic)
        if not folder.is_dir():
            raise UserError(f"no folder {folder}: name one, or fetch the drawings with --download")
        prepare(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def download(folder: Path) -> None:
    """Every word of the official list, resumed where it broke off. Raises UserError."""
    from sketchlab.data.__main__ import sources
    from sketchlab.data.commands import fetch as downloads

    try:
        with urllib.request.urlopen(CATEGORIES, timeout=30) as answer:
            names = answer.read().decode().split("\n")
    except (urllib.error.URLError, TimeoutError) as error:
        raise UserError(
            f"{CATEGORIES}: {getattr(error, 'reason', error)}; by hand: put <word>.ndjson files into {folder}"
        ) from None
    found = [name.strip() for name in names if name.strip()]
    files = [
        downloads.File([DRAWINGS + urllib.parse.quote(f"{name}.ndjson")], f"{name}.ndjson", None, None, None, None,
                       f"{name}.ndjson")
        for name in found
    ]  # fmt: skip
    downloads.fetch(replace(sources()["quickdraw"], files=files), folder)


def synthesise(folder: Path, n: int) -> None:
    """345 files of made-up drawings, n in all: each word has strokes of its own, each drawing shakes them."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [(n * (i + 1)) // SYNTHETIC_WORDS - (n * i) // SYNTHETIC_WORDS for i in range(SYNTHETIC_WORDS)]
    jobs = [(folder / f"made up {i:03d}.ndjson", i, size) for i, size in enumerate(sizes) if size]
    if n < IN_PROCESSES:
        for job in jobs:
            _word(job)
        return
    with ProcessPoolExecutor(workers()) as pool:
        for _ in tqdm(pool.map(_word, jobs), "making drawings up", total=len(jobs), unit="file"):
            pass


def _word(job: tuple[Path, int, int]) -> None:
    path, number, size = job
    if path.exists():
        return
    draw = rng.generator("synthetic", number)
    strokes = [draw.integers(10, 246, (2, draw.integers(4, 13))) for _ in range(draw.integers(2, 7))]
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        for low in range(0, size, AT_ONCE):
            shaken = [
                (stroke + draw.integers(-10, 11, (min(AT_ONCE, size - low), *stroke.shape))).tolist()
                for stroke in strokes
            ]
            for i, drawing in enumerate(zip(*shaken, strict=True)):
                line = {"word": path.stem, "key_id": f"{number:06d}{low + i:010d}", "recognized": True}
                file.write(orjson.dumps({**line, "drawing": drawing}, option=orjson.OPT_APPEND_NEWLINE))
    os.replace(temporary, path)


def prepare(folder: Path) -> None:
    """Build what is missing, open it, and print what it took."""
    from sketchlab.data.strokes import store as stroke_store

    files = ndjson_files.words(folder)
    missing = sum(not (stroke_store.place(name, path) / "index.json").is_file() for name, path in files.items())
    with Watched() as memory:
        stroke_store.open_parts(files)
    start = time.perf_counter()
    parts = stroke_store.open_parts(files)
    opened_s = time.perf_counter() - start
    drawings = stroke_store.StrokeStore(parts)
    n, source = len(drawings), sum(path.stat().st_size for path in files.values())
    kept = sum(file.stat().st_size for name, path in files.items() for file in stroke_store.place(name, path).iterdir())
    strokes, points = (sum(part.index[key] for part in parts) for key in ("strokes", "points"))
    print(f"{folder}: {len(files)} files, {n:,} drawings of {strokes / n:.1f} strokes and {points / n:.0f} points")
    print(f"on disk: {size(source)} of ndjson, {size(kept)} in {cache.home()}, {kept / n:.0f} bytes a drawing")
    print(f"opening all of it: {opened_s:.2f} s; in any order: {gathered(drawings):,.0f} drawings a second, one core")
    if missing < len(files):
        print(f"{len(files) - missing} of {len(files)} files were prepared before, so the time is not that of all")
        return
    rate = n / memory.seconds
    print(f"prepared in {memory.seconds:.0f} s by {workers()} processes: {rate:,.0f} drawings a second")
    if memory.most:
        print(f"memory: at most {size(memory.most)} resident, all processes together, shared pages counted once")
    print(
        f"{WHOLE:,} such drawings: {WHOLE / rate / 3600:.1f} hours with {workers()} processes, "
        f"{size(WHOLE * kept / n)} in the store beside {size(WHOLE * source / n)} of ndjson; memory grows with the "
        f"largest file, not with their number"
    )


class Watched:
    """Seconds, and the most bytes that this process and its children had resident together; 0 where no /proc is."""

    def __enter__(self) -> Watched:
        self.most, self.start, self.done = 0, time.perf_counter(), threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.seconds = time.perf_counter() - self.start

    def _watch(self) -> None:
        while not self.done.wait(0.1):
            self.most = max(self.most, sum(resident(pid) for pid in family(os.getpid())))


def family(pid: int) -> list[int]:
    """A process and what it started, down to the last."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
        below = [int(child) for task in tasks for child in task.read_text("utf-8").split()]
    except OSError:  # it has ended
        return []
    return [pid, *(one for child in below for one in family(child))]


def resident(pid: int) -> int:
    """Bytes, of pages shared with others its share."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def gathered(drawings: Any) -> float:
    """Drawings a second of a StrokeStore in the order of a training epoch, in one thread."""
    import torch

    torch.set_num_threads(1)
    rows = torch.from_numpy(rng.permutation(np.arange(min(ASKED, len(drawings))), len(drawings), 0))
    drawings.gather(rows[:BATCH])  # compiles
    start = time.perf_counter()
    for part in rows.split(BATCH):
        drawings.gather(part)
    return len(rows) / (time.perf_counter() - start)


def workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
