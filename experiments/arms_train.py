"""Words of python -m sketchlab.run → folders of finished runs, one after another or side by side."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib

from sketchlab import config
from sketchlab.engine.rundir import RunDir
from sketchlab.errors import UserError
from sketchlab.storage.files import atomic, read_json
from sketchlab.sweeps import workers
from sketchlab.training import session
from sketchlab.training.identity import deciding
from sketchlab.training.neighbours import folder_of


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=_jobs, default=1, help="runs side by side, GPUs dealt out (default 1)")
    parser.add_argument("--pages", action="store_true", help="a page for every run too (seconds each)")


def _jobs(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word}: expected how many runs at once, 1 or more")
    return int(word)


def train(todo: list[tuple[str, int, list[str]]], root: Path, n: int, pages: bool) -> list[str]:
    """Every (arm, seed, words); root/runs.json says which folder is whose. Returns what failed, in words."""
    failed = []
    titled = [(f"{arm}, seed {seed}", words) for arm, seed, words in todo]
    for (arm, seed, _), found in zip(todo, each(titled, root, n, pages), strict=True):
        if isinstance(found, Path):
            note(root, arm, seed, found)
        else:  # the others go on
            failed.append(f"{arm}, seed {seed}: {found}")
    return failed


def each(todo: list[tuple[str, list[str]]], root: Path, n: int, pages: bool) -> Iterator[Path | str]:
    """Of every (title, words), in order: the folder of its finished run, found or trained; or why there is none."""
    runs_of: dict[tuple[str, ...], str] = {}  # rows of several questions may share a run
    for title, words in todo:
        runs_of.setdefault(tuple(words), title)
    if n == 1:
        found: Any = (_attempt(title, list(words), pages) for words, title in runs_of.items())
    else:
        root.mkdir(parents=True, exist_ok=True)
        os.environ["TQDM_DISABLE"] = "1"  # bars of several runs write over one another
        parallel: Any = joblib.Parallel(n_jobs=n, pre_dispatch="all", return_as="generator")
        beside = joblib.delayed(_beside)
        found = parallel(
            beside(i, title, list(words), root, n, pages) for i, (words, title) in enumerate(runs_of.items())
        )
    done: dict[tuple[str, ...], Path | str] = {}
    for _, words in todo:
        if tuple(words) not in done:
            done[tuple(words)] = next(found)
        yield done[tuple(words)]


def _beside(number: int, title: str, words: list[str], root: Path, n: int, pages: bool) -> Path | str:
    workers.share(root, n)
    with workers.numbered(number):
        return _attempt(title, words, pages)


def _attempt(title: str, words: list[str], pages: bool) -> Path | str:
    print(f"--- {title}", flush=True)
    try:
        return existing(words) or execute(words, reported=pages)
    except UserError as error:
        said = str(error)
    except Exception as error:  # a bug in one run is no reason to lose the others
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
    print(f"error: {title}: {said}", file=sys.stderr, flush=True)
    return said


def execute(words: list[str], reported: bool = True) -> Path:
    run = config.from_overrides(words)
    session.execute(run, reported)
    return folder_of(run, deciding(run, run.data.build(run.model.config.input)))


def existing(words: list[str]) -> Path | None:
    """The folder of this run when it is finished, also under an id of before."""
    run = config.from_overrides(words)
    folder = folder_of(run, deciding(run, run.data.build(run.model.config.input)))
    return folder if not run.rerun and RunDir(folder).examine().state == "finished" else None


def note(root: Path, arm: str, seed: int, folder: Path) -> None:
    """root/runs.json: arm → seed → folder, read by the report."""
    path = root / "runs.json"
    index = read_json(path) if path.is_file() else {}
    index.setdefault(arm, {})[str(seed)] = str(folder.relative_to(root))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")
