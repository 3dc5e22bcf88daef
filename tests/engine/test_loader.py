"""Who draws a batch: this thread while draws are quick, others ahead of it when not; the batches stay the same."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
import torch

from sketchlab.engine import loader
from sketchlab.engine.loader import Order, batches


@pytest.mark.parametrize(("pause_s", "threads"), [(0.0, False), (0.003, True)])
def test_threads_draw_only_what_is_slow(pause_s, threads, monkeypatch):
    order, who, clock_s = Order(10, 3, 0), [], [0.0]
    # a clock of its own: on a busy machine a draw that does nothing can take milliseconds
    monkeypatch.setattr(loader, "time", SimpleNamespace(perf_counter=lambda: clock_s[0]))

    def draw(places, keys):
        clock_s[0] += pause_s
        who.append(threading.current_thread() is threading.main_thread())
        return places, keys

    drawn = list(batches(order, draw, 1, 31, 0, 1, 2))
    for step, got in enumerate(drawn, 1):
        assert all(torch.equal(a, b) for a, b in zip(got, order.batch(step), strict=True))
    assert len(drawn) == len(who) == 30
    assert who[0] and (not all(who)) == threads
    if threads:
        assert not any(who[4:])  # four slow ones are enough to tell


def test_a_drawn_batch_outlives_the_next_ones():
    order = Order(7, 4, 0)
    first = order.batch(0)[0]
    kept = first.clone()
    for step in (5000, 1, 9000):
        order.batch(step)
    assert torch.equal(first, kept)
