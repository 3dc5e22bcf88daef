"""Where the time of a run goes (runtime.profile=true): seconds by kind of work, and a trace of a few steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from sketchlab.engine.rundir import RunDir
from sketchlab.storage.files import atomic

SKIPPED_STEPS, TRACED_STEPS = 5, 5  # the first steps of a process are not like the others
PARTS = ("loading", "augment", "forward", "backward", "optimizer", "evaluation", "saving")


class Profile:
    """Spans of work, counted where they are not inside another one; on a GPU each waits for its end, so the run as a
    whole is slower than without. `loading` is what training waits for, not what the loader's threads do meanwhile."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.calls: dict[str, int] = dict.fromkeys(PARTS, 0)
        self.inside, self.steps, self.start = False, 0, time.perf_counter()
        self.trace: Any = None

    @contextlib.contextmanager
    def span(self, part: str) -> Iterator[None]:
        with record_function(part):
            if self.inside:
                yield
                return
            self.inside, start = True, time.perf_counter()
            try:
                yield
                if self.cuda:
                    torch.cuda.synchronize()
            finally:
                self.inside = False
                self.seconds[part] += time.perf_counter() - start
                self.calls[part] += 1

    def spanned(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            with self.span(part):
                return function(*inputs)

        return call

    def step(self) -> None:
        """After every training step: starts and stops the trace."""
        self.steps += 1
        if self.steps == SKIPPED_STEPS:
            kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * self.cuda
            self.trace = torch.profiler.profile(activities=kinds, record_shapes=True)
            self.trace.start()
        elif self.steps == SKIPPED_STEPS + TRACED_STEPS:
            self.trace.stop()

    def rows(self) -> list[dict[str, Any]]:
        """part, seconds, share of the whole, calls; the last row is what no part has."""
        whole = time.perf_counter() - self.start
        spans = [(part, self.seconds[part], self.calls[part]) for part in PARTS]
        other = ("other", whole - sum(self.seconds.values()), 0)
        return [
            {"part": part, "seconds": round(seconds, 4), "share": round(seconds / whole, 4), "calls": calls}
            for part, seconds, calls in (*spans, other)
        ]


@contextlib.contextmanager
def traced(profile: Profile | None, folder: RunDir) -> Iterator[None]:
    """Around the training steps: trace.json at their end, however many there were."""
    try:
        yield
    finally:
        if profile and profile.trace:
            if profile.steps < SKIPPED_STEPS + TRACED_STEPS:
                profile.trace.stop()
            if folder.writes:
                with atomic(folder.path / "trace.json") as temporary:
                    profile.trace.export_chrome_trace(str(temporary))


def write(profile: Profile | None, folder: RunDir) -> None:
    if profile:
        folder.table("profile.csv", profile.rows())
