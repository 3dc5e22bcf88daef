"""A run has a page while it trains; training accuracy and progress are what was computed anyway."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
import torch

from sketchlab import config, rng
from sketchlab.engine import loop
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime
from sketchlab.training import live
from tests import every
from tests.report.conftest import classifier, put


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = classifier(tmp_path / "small_cnn-shapes" / "a", epochs=3, test=False)
    put(path, "status.json", {"state": "running"})
    monkeypatch.setattr(live, "FIRST_S", 0.0)
    said: list[str] = []
    return SimpleNamespace(path=path, say=said.append, said=said)


def until(true, limit_s: float = 60.0) -> None:
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < limit_s
        time.sleep(0.05)


@pytest.mark.slow
def test_the_page_is_drawn_by_another_process_and_once_more_when_the_run_is_cut(folder):
    page = folder.path / "report.html"
    with pytest.raises(KeyboardInterrupt), live.page(folder):
        until(page.exists)
        until(lambda: 'data-next="' in page.read_text())
        until(lambda: not list(folder.path.rglob("*.part")))
        time.sleep(1.0)  # the process has ended
        put(folder.path, "status.json", {"state": "interrupted"})
        raise KeyboardInterrupt
    assert "data-next=" not in page.read_text() and "was interrupted" in page.read_text() and not folder.said


@pytest.mark.slow
def test_a_page_that_cannot_be_drawn_is_said_once_and_ends_no_run(folder):
    (folder.path / "config.yaml").write_text("[")
    with live.page(folder):
        until(lambda: folder.said)
    assert len(folder.said) == 1 and "config.yaml" in folder.said[0]


def test_a_short_run_has_no_page_before_its_end(folder, monkeypatch):
    monkeypatch.setattr(live, "FIRST_S", 60.0)
    with live.page(folder):
        time.sleep(0.05)
    assert not (folder.path / "report.html").exists()


def test_what_is_left_is_reckoned_from_the_time_so_far(monkeypatch):
    now = 100.0
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
    remaining = loop.Remaining(0)
    for step in range(1, 4):  # the first steps do more than others
        now += 2
        remaining(step, 103)
    assert remaining.progress(3, 103) is None
    now += 50
    remaining(28, 103)
    assert remaining.progress(28, 103) == {"step": 28, "steps": 103, "seconds_left": 150}  # 2 s each
    assert remaining.progress(28, 103) is None


def test_accuracy_of_training_is_that_of_the_answers_it_learns_from():
    """With a rate that moves nothing and no dropout the batches are answered as the whole split is."""
    words = every.small("small_cnn", "model.norm=none", "model.dropout=0", "data.per_class=12", "loop.lr=1e-30")
    run = config.from_overrides(words)
    runtime, data = Runtime(run.runtime), run.data.build(run.model.config.input)
    runtime.seed(rng.fold(0, "init"))
    task = run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)
    size = task.n_train // 3
    order, shares, answers, labels = Order(task.n_train, size, 1, task.views), [], [], []
    for step in range(3):
        raw = task.draw(*order.batch(step))
        batch = task.prepare(raw)
        shares.append(float(every.step(task, task.draw(*order.batch(step)), 0.0)["accuracy"]))
        with torch.no_grad():
            answers.append(task.net(batch["inputs"]).argmax(1))
        labels.append(batch["labels"])
    expected = [float((a == b).double().mean()) for a, b in zip(answers, labels, strict=True)]
    assert shares == pytest.approx(expected) and 0 < sum(expected) < 3


def test_it_stands_in_the_rows_of_every_epoch(tmp_path):
    from sketchlab.training import session

    words = every.small("small_cnn", f"run.root={tmp_path}")
    session.execute(config.from_overrides(words))
    path = every.folder_in(tmp_path)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "train/loss" in row]
    assert trained and all(0 <= row["train/accuracy"] <= 1 for row in trained)
    assert not (path / "progress.json").exists()
