"""Who draws a batch: this thread while draws are quick, others ahead of it when not; the batches stay the same."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch

from sketchlab import config
from sketchlab.engine import loader
from sketchlab.engine.loader import Feed, Order
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError


def runtime(*words: str) -> Runtime:
    return Runtime(config.from_overrides(["runtime.device=cpu", *words]).runtime)


@pytest.mark.parametrize(("pause_s", "threads"), [(0.0, False), (0.003, True)])
def test_threads_draw_only_what_is_slow(pause_s, threads, monkeypatch):
    order, who, clock_s = Order(10, 3, 0), [], [0.0]
    # a clock of its own: on a busy machine a draw that does nothing can take milliseconds
    monkeypatch.setattr(loader, "time", SimpleNamespace(perf_counter=lambda: clock_s[0]))

    def draw(places, keys):
        clock_s[0] += pause_s
        who.append(threading.current_thread() is threading.main_thread())
        return {"places": places, "keys": keys}

    feed = Feed(order, draw, lambda raw: raw, runtime(), at_once=False)
    drawn = list(feed(1, 31))
    for step, got in enumerate(drawn, 1):
        assert all(torch.equal(a, b) for a, b in zip(got.values(), order.batch(step), strict=True))
    assert len(drawn) == len(who) == 30
    assert who[0] and (not all(who)) == threads
    if threads:
        assert not any(who[4:])  # four slow ones are enough to tell
        assert feed.wait_s > 3.99 * pause_s


@pytest.mark.parametrize("most", [1, 3, 32])
def test_batches_are_prepared_together_and_cut_again(most, monkeypatch):
    """Whatever fits into memory at once, also when less does than was thought."""
    order, asked = Order(10, 4, 0), []

    def prepare(raw):
        asked.append(len(raw["places"]) // 4)
        if asked[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"places": raw["places"] * 2}

    feed = Feed(order, lambda places, keys: {"places": places}, prepare, runtime())
    for step, got in enumerate(feed(0, 100)):
        assert torch.equal(got["places"], 2 * order.batch(step)[0])
    assert step == 99 and max(asked) == 32 and sum(n for n in asked if n <= most) == 100
    assert len(asked) < 100 or most == 1
    assert sum(n > most for n in asked) < 32, "of the first 32 alone; what did not fit is not tried again"


def test_a_batch_that_memory_does_not_hold_is_one_line():
    def prepare(raw):
        raise torch.OutOfMemoryError("CUDA out of memory")

    feed = Feed(Order(10, 4, 0), lambda places, keys: {"places": places}, prepare, runtime())
    with pytest.raises(UserError, match="out of memory on cpu while a batch of 4 samples was prepared; make loop"):
        next(feed(0, 10))


def test_a_drawn_batch_outlives_the_next_ones():
    order = Order(7, 4, 0)
    first = order.batch(0)[0]
    kept = first.clone()
    for step in (5000, 1, 9000):
        order.batch(step)
    assert torch.equal(first, kept)
