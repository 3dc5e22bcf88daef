"""Runs side by side on one machine: each worker takes its part of the GPUs and cores, and dies with the sweep."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sketchlab.storage.files import cores, locked

_slots: list[tuple[int, Any]] = []  # this process's own, once it has one


def share(place: Path, n_jobs: int) -> None:
    """Take a part of this machine for this process, for good. place: the sweep's folder; n_jobs: joblib's."""
    import joblib

    from sketchlab.engine.runtime import end_with_parent  # with it torch, for which --help does not wait

    workers = joblib.effective_n_jobs(n_jobs)
    end_with_parent(signal.SIGTERM)  # a killed sweep's runs save and end
    if os.getppid() == 1:  # it was killed before
        os._exit(1)
    if not _slots:
        _slots.append(slot(place, workers))
        if mine := part(gpus(), _slots[0][0], workers):
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    import torch

    torch.set_num_threads(max(1, cores() // workers))


@contextlib.contextmanager
def numbered(number: int) -> Iterator[None]:
    """What is printed stands behind the number of its run, line by line."""
    out = _Numbered(sys.stdout, number)
    with contextlib.redirect_stdout(out):
        try:
            yield
        finally:
            if out.begun:
                print()


class _Numbered(io.TextIOBase):
    """Whole lines to `out`, each behind the number of its run: those of several processes stay apart."""

    def __init__(self, out: TextIO, number: int) -> None:
        self.out, self.number, self.begun = out, number, ""

    def write(self, text: str) -> int:
        *lines, self.begun = (self.begun + text).split("\n")
        self.out.write("".join(f"#{self.number} {line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        self.out.flush()


def end(code: int) -> None:
    """A worker of joblib's survives SystemExit and would take the next run, also of a sweep that is dead."""
    sys.stdout.flush()
    os._exit(code)


def slot(place: Path, workers: int) -> tuple[int, Any]:
    """The first number that no other worker holds, and the locked file that must stay open as long as it is ours."""
    while True:
        for number in range(workers):
            file = open(place / f"worker{number}.lock", "w", encoding="utf-8")  # noqa: SIM115  held until the process ends
            if locked(file.fileno()):
                return number, file
            file.close()
        time.sleep(0.1)  # a worker is being replaced


def part(all_gpus: list[str], number: int, workers: int) -> list[str]:
    """A worker's GPUs: some of its own, or one shared in turn where there are more workers than GPUs."""
    return all_gpus[number::workers] or all_gpus[number % max(1, len(all_gpus)) :][:1]


def gpus() -> list[str]:
    """Those this sweep may use, without waking CUDA up in this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [word.strip() for word in visible.split(",") if word.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
