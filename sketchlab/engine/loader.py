"""Batches in keyed order: an endless stream of epochs, cut into full batches, computed from the step alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sketchlab import rng

_CHUNK = 8192  # positions whose places are computed at once
_WORTH_S = 1e-3  # a draw that takes less costs more to hand to a thread: both then take turns at the interpreter's lock
_OFTEN = 3.0  # four slow draws in a row pass it, or a third of many: one interrupted by other work does not


class Order:
    """Which samples stand in which batch.

    Position p of the stream belongs to epoch p // n; each epoch is its own keyed permutation of all n samples. Batches
    are always full: one that starts in an epoch may end in the next. Any step is computed without the steps before it.
    """

    def __init__(self, n: int, batch_size: int, seed: int, views: int = 0) -> None:
        self.n, self.batch_size, self.seed, self.views = n, batch_size, seed, views
        self._start, self._places, self._keys = 0, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)

    def steps(self, epochs: int) -> int:
        """Batches until every sample was seen `epochs` times."""
        return -(-epochs * self.n // self.batch_size)

    def epochs_done(self, step: int) -> int:
        return step * self.batch_size // self.n

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """(B/ranks,) places and augmentation keys of this rank's part of batch `step`: views, not to be written to."""
        low = step * self.batch_size
        if not self._start <= low <= low + self.batch_size <= self._start + len(self._places):
            self._compute(low)
        part = slice(low - self._start + rank, low - self._start + self.batch_size, ranks)
        return self._places[part], self._keys[part]

    def _compute(self, start: int) -> None:
        positions = np.arange(start, start + max(_CHUNK, self.batch_size))
        epochs, within = positions // self.n, positions % self.n
        places, keys = np.empty_like(positions), np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            places[here] = rng.permutation(within[here], self.n, rng.fold(self.seed, "order", int(epoch)))
            view = int(epoch) % self.views if self.views else int(epoch)
            keys[here] = rng.fold_each(rng.fold(self.seed, "augment", view), places[here])
        self._start, self._places, self._keys = start, torch.from_numpy(places), torch.from_numpy(keys)


def batches(
    order: Order, draw: Callable[[Tensor, Tensor], Any], start: int, stop: int, rank: int, ranks: int, workers: int
) -> Generator[Any, None, None]:
    """draw(places, keys) of this rank's part of steps start … stop − 1, in order, fetched ahead by threads.

    Threads, not processes: a fetch is one gather from a memory map and runs without the interpreter's lock. They begin
    when draws turn out to be slow; who draws a batch never changes it.
    """
    step, slow = start, 0.0
    while step < stop and (workers == 0 or slow < _OFTEN):
        began = time.perf_counter()
        batch = draw(*order.batch(step, rank, ranks))
        slow = 0.9 * slow + (time.perf_counter() - began > _WORTH_S)
        step += 1
        yield batch
    if step == stop:
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="loader") as pool:
        ahead: deque[Future[Any]] = deque()
        try:
            while step < stop or ahead:
                while step < stop and len(ahead) < workers + 1:
                    ahead.append(pool.submit(draw, *order.batch(step, rank, ranks)))
                    step += 1
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
