"""Batches in keyed order: an endless stream of epochs, cut into full batches, computed from the step alone.

Several batches are fetched and prepared in one call: what a call costs, on a CPU and in launches on a GPU, is paid once
for all of them. Every sample is prepared by its own key, so that no bit depends on how many are.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.steps import ran_out
from sketchlab.errors import UserError

_CPU = torch.device("cpu")
_MOST_STEPS = 32  # whose samples are prepared at once
_AHEAD_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28, "mps": 1 << 28}  # of prepared samples
_POOL = 32  # batches whose samples are sorted together where they have sizes
_CHUNK = 8192  # positions whose places are computed at once
_WORTH_S = 1e-3  # a draw that takes less costs more to hand to a thread: both then take turns at the interpreter's lock
_OFTEN = 3.0  # four slow draws in a row pass it, or a third of many: one interrupted by other work does not


class Order:
    """Which samples stand in which batch.

    Position p of the stream belongs to epoch p // n; each epoch is its own keyed permutation of all n samples. Batches
    are always full: one that starts in an epoch may end in the next. Any step is computed without the steps before it.

    sizes: (n,) of the samples, for batches of samples of about one size: each pool, _POOL batches of an epoch that
    follow each other, is sorted by size, and its batches are put in a keyed order.
    """

    def __init__(self, n: int, batch_size: int, seed: int, views: int = 0, sizes: Tensor | None = None) -> None:
        self.n, self.batch_size, self.seed, self.views = n, batch_size, seed, views
        self.sizes = None if sizes is None else sizes.numpy()
        self._start, self._places, self._keys = 0, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)

    def steps(self, epochs: int) -> int:
        """Batches until every sample was seen `epochs` times."""
        return -(-epochs * self.n // self.batch_size)

    def epochs_done(self, step: int) -> int:
        return step * self.batch_size // self.n

    def batch(self, step: int, rank: int = 0, ranks: int = 1, steps: int = 1) -> tuple[Tensor, Tensor]:
        """(steps · B/ranks,) places and augmentation keys of this rank's part of batches `step`, `step` + 1, …: views,
        not to be written to."""
        low, size = step * self.batch_size, steps * self.batch_size
        if not self._start <= low <= low + size <= self._start + len(self._places):
            self._compute(low, size)
        part = slice(low - self._start + rank, low - self._start + size, ranks)
        return self._places[part], self._keys[part]

    def _compute(self, start: int, size: int) -> None:
        positions = np.arange(start, start + max(_CHUNK, size))
        epochs, within = positions // self.n, positions % self.n
        places, keys = np.empty_like(positions), np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            places[here] = self._of_epoch(int(epoch), within[here])
            view = int(epoch) % self.views if self.views else int(epoch)
            keys[here] = rng.fold_each(rng.fold(self.seed, "augment", view), places[here])
        self._start, self._places, self._keys = start, torch.from_numpy(places), torch.from_numpy(keys)

    def _of_epoch(self, epoch: int, within: np.ndarray) -> np.ndarray:
        """(k,) consecutive positions within an epoch → which samples stand there."""
        key, pool = rng.fold(self.seed, "order", epoch), _POOL * self.batch_size
        if self.sizes is None:
            return rng.permutation(within, self.n, key)
        low, high = within[0] // pool, within[-1] // pool
        pools = [self._pooled(epoch, key, k * pool, min((k + 1) * pool, self.n)) for k in range(low, high + 1)]
        return np.concatenate(pools)[within - low * pool]

    def _pooled(self, epoch: int, key: int, low: int, high: int) -> np.ndarray:
        """The samples at positions low … high − 1 of an epoch. Batches of the stream need not begin where a pool does:
        the smallest samples stand in the parts of batches at its ends."""
        places = rng.permutation(np.arange(low, high), self.n, key)
        assert self.sizes is not None
        places = places[np.argsort(self.sizes[places], kind="stable")]
        size = self.batch_size
        before = min(-(epoch * self.n + low) % size, len(places))
        whole = (len(places) - before) // size
        first, rest = places[:before], places[before:]
        rest, middle = rest[: len(rest) - whole * size], rest[len(rest) - whole * size :]
        turn = rng.permutation(np.arange(whole), max(whole, 1), rng.fold(key, low))
        return np.concatenate([first, middle.reshape(whole, size)[turn].ravel(), rest])


class Feed:
    """The prepared batches of steps start … stop − 1 of this rank, in order: dicts of tensors on the device.

    draw(places, keys) → raw samples, fetched ahead by threads where they come from memory or disk; prepare(raw) → what
    the steps take, of several steps one after another (at_once: false where shapes depend on the batch). Threads, not
    processes: a fetch is one gather from a memory map and runs without the interpreter's lock. They begin when draws
    turn out to be slow; who draws a batch never changes it.
    """

    def __init__(
        self,
        order: Order,
        draw: Callable[[Tensor, Tensor], Any],
        prepare: Callable[[Any], dict[str, Tensor]],
        runtime: Runtime,
        at_once: bool = True,
    ) -> None:
        self.order, self.draw, self.prepare, self.runtime, self.at_once = order, draw, prepare, runtime, at_once
        self.most = 1  # steps prepared at once: known after the first
        self.wait_s = 0.0  # what training has waited for raw samples so far

    def __call__(self, start: int, stop: int) -> Generator[dict[str, Tensor], None, None]:
        with contextlib.closing(self._raw(start, stop)) as raws:
            for steps, raw in raws:
                yield from self._prepared(raw, steps)

    def _prepared(self, raw: Any, steps: int) -> Iterator[dict[str, Tensor]]:
        """Slices of one prepared batch of several steps; in halves where memory does not hold them all."""
        try:
            batch = self.prepare(raw)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            batch = None
        if batch is None and steps == 1:
            raise UserError(
                f"out of memory on {self.runtime.device.type} while a batch of {self.order.batch_size} samples was "
                "prepared; make loop.batch_size or model.input.size_px smaller. The last checkpoint is kept"
            )
        if batch is None:
            self.most, self.at_once = max(1, steps // 2), False
            half, size = steps // 2, self.order.batch_size // self.runtime.ranks
            cut = [slice(0, half * size), slice(half * size, steps * size)]
            for part, n in zip(cut, (half, steps - half), strict=True):
                yield from self._prepared({name: values[part] for name, values in raw.items()}, n)
            return
        if self.at_once and self.most == 1:
            n_bytes = sum(values.nbytes for values in batch.values())
            self.most = min(_MOST_STEPS, max(1, _AHEAD_BYTES[self.runtime.device.type] // max(1, n_bytes)))
        size = self.order.batch_size // self.runtime.ranks
        for step in range(steps):
            yield {name: values[step * size : (step + 1) * size] for name, values in batch.items()}

    def _raw(self, start: int, stop: int) -> Generator[tuple[int, Any], None, None]:
        """(how many steps, their raw samples), from step `start` on."""
        step, slow, rank, ranks = start, 0.0, self.runtime.rank, self.runtime.ranks
        on_device, workers = False, self.runtime.config.workers

        def steps(step: int) -> int:
            return min(self.most, stop - step)

        while step < stop and (workers == 0 or slow < _OFTEN or on_device):
            began, n = time.perf_counter(), steps(step)
            with self.runtime.span("loading"):
                raw = self.draw(*self.order.batch(step, rank, ranks, n))
            spent = time.perf_counter() - began
            on_device = any(getattr(values, "device", _CPU).type != "cpu" for values in raw.values())
            slow, self.wait_s, step = 0.9 * slow + (spent > _WORTH_S), self.wait_s + spent, step + n
            yield n, raw
        if step >= stop:
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="loader") as pool:
            ahead: deque[tuple[int, Future[Any]]] = deque()
            try:
                while step < stop or ahead:
                    while step < stop and len(ahead) < workers + 1:
                        n = steps(step)
                        ahead.append((n, pool.submit(self.draw, *self.order.batch(step, rank, ranks, n))))
                        step += n
                    began, (n, future) = time.perf_counter(), ahead.popleft()
                    with self.runtime.span("loading"):
                        raw = future.result()
                    self.wait_s += time.perf_counter() - began
                    yield n, raw
            finally:
                for _, future in ahead:
                    future.cancel()
