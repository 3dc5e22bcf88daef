"""Features of frozen layers: the same bits kept, found again or computed anew; never those of something else."""

from __future__ import annotations

import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sketchlab import config, rng
from sketchlab.engine import features
from sketchlab.engine.loader import Order
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.layers.chain import flatten
from sketchlab.storage import cache as storage
from tests import every


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(features, "KEEP_FROM_S", 0.0)
    return tmp_path / "features"


def entries(cache):
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


def task(*more: str, weights: int = 0):
    """A small network whose first two layers are frozen, as weights of that name would leave it."""
    run = config.from_overrides(every.small("small_cnn", "model.norm=none", "data.per_class=40", *more))
    runtime, data = Runtime(run.runtime), run.data.build(run.model.config.input)
    runtime.seed(rng.fold(weights, "init"))
    net = run.model.build(len(data.classes))
    for stage in flatten(net)[:4]:
        stage.requires_grad_(False)
    return run.pipeline.build(net, data, run.loop, runtime, 1)


def count(monkeypatch):
    """How many samples went through frozen layers."""
    seen, run = [], features.Features._run

    def counted(self, samples, rows, keys, chunk):
        seen.append(len(chunk))
        return run(self, samples, rows, keys, chunk)

    monkeypatch.setattr(features.Features, "_run", counted)
    return seen


def learn(made, steps: int = 4):
    order = Order(made.n_train, 8, 1, made.views)
    losses = [every.step(made, made.draw(*order.batch(step)), 0.0)["loss"] for step in range(steps)]
    return torch.stack(losses), made.logits("val"), made.logits("test")


@pytest.mark.parametrize("more", [[], ["data/augment=finite", "data.augment.views=2"]])
def test_kept_found_and_uncached_are_equal_to_the_bit(more, cache, monkeypatch):
    seen = count(monkeypatch)
    wholly = learn(task(*more, "pipeline.cache=false"))
    assert not seen and not cache.exists()
    first = learn(task(*more))
    computed, kept = sum(seen), entries(cache)
    again = learn(task(*more))
    assert sum(seen) - computed <= 2 * features.BATCH  # a first batch of each file
    assert computed >= (3 if more else 2) * 40 and entries(cache) == kept
    for a, b, c in zip(wholly, first, again, strict=True):
        assert torch.equal(a, b) and torch.equal(b, c)


def test_folds_share_one_file_and_other_weights_or_samples_do_not(cache, monkeypatch):
    folds = ["data/splits=kfold", "data.splits.val=0.25"]
    one = task(*folds)
    seen = count(monkeypatch)
    other = task(*folds, "data.splits.fold=1")
    assert len(entries(cache)) == 1 and sum(seen) == features.BATCH
    first = one.data.splits["test"].ids[0]
    at = next(s for s in ("train", "val", "test") if first in other.data.splits[s].ids)
    place = torch.tensor([other.data.splits[at].ids.index(first)])
    assert torch.equal(one.features.of("test", torch.tensor([0])), other.features.of(at, place))
    task(*folds, weights=1)
    task(*folds, "data.per_class=39")
    task(*folds, "model.input.ink=dark")
    task(*folds, "runtime.precision=bf16")
    assert len(entries(cache)) == 5


def test_a_file_of_other_code_is_written_anew(cache):
    good = learn(task())
    (folder,) = entries(cache)
    content = (folder / features.FILE).read_bytes()
    array = np.frombuffer(content, np.float32) + np.float32(1e-3)
    storage.put(folder, "", lambda new: {"n": (new / features.FILE).write_bytes(array.tobytes()) and 120})
    assert all(torch.equal(a, b) for a, b in zip(good, learn(task()), strict=True))
    assert (folder / features.FILE).read_bytes() == content


def test_what_is_quick_is_not_kept_and_a_full_disk_says_so(cache, monkeypatch):
    monkeypatch.setattr(features, "KEEP_FROM_S", 1e9)
    task()
    assert not cache.exists()
    monkeypatch.setattr(features, "KEEP_FROM_S", 0.0)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="set SKETCHLAB_CACHE to a larger disk, or pipeline.cache=false"):
        task()


def test_batches_are_written_one_by_one(cache, monkeypatch):
    """No more than one batch of features is in memory while they are made."""
    alive, most, run = weakref.WeakSet(), [], features.Features._run

    def counted(self, samples, rows, keys, chunk):
        made = run(self, samples, rows, keys, chunk)
        alive.add(made)
        most.append(len(alive))
        return made

    monkeypatch.setattr(features.Features, "_run", counted)
    task("data.per_class=200")
    assert len(most) > 10 and max(most) <= 3  # the first one, which is compared, the one before, the one just made
