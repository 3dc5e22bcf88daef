"""After few updates an evaluation measures batch-norm statistics over training samples; training keeps its own bits."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

from sketchlab import config, rng
from sketchlab.engine.runtime import Runtime
from sketchlab.layers import norms
from sketchlab.layers.chain import moving_norms
from tests.every import folder_in, small, train

WORDS = ["loop.batch_size=8", "pipeline.explain=0", "pipeline.mistakes=0", "data.augment.views=0"]


def made(model, *words):
    run = config.from_overrides(small(model, *words))
    runtime = Runtime(run.runtime)
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 0), runtime


def statistics(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return norm.running_mean, norm.running_var


def test_pooled_moments_are_those_of_all_values_at_once():
    torch.manual_seed(0)
    parts = [torch.randn(n, 3, 5, 4) * 7 + 1000 * (n == 9) for n in (4, 9, 2)]
    found = norms.Moments()
    for part in parts:
        found.add(part)
    variance, mean = torch.var_mean(torch.cat(parts).double(), (0, 2, 3))
    torch.testing.assert_close(found.mean, mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.squares / (found.n - 1), variance, rtol=1e-6, atol=1e-6)
    assert found.n == 15 * 20


@pytest.mark.parametrize("words", [["small_cnn", "model.dropout=0.5"], ["small_siamese"]], ids=lambda words: words[0])
def test_answers_are_those_of_batch_statistics_over_the_whole_subset(words):
    """One batch: each layer's statistics are then just what a network in train mode normalises by."""
    task, runtime = made(*words, "pipeline.eval_batch=256")
    (net, _) = next(iter(task.networks.values()))
    every = torch.from_numpy(rng.generator(7, "norms").choice(task.n_train, task.n_train, replace=False))
    ((_, inputs),) = task.norm_inputs(every, rng.fold_each(rng.fold(7, "norms"), every))
    twin = copy.deepcopy(net).eval()
    for norm in moving_norms(twin):
        norm.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    places = [buffer.data_ptr() for buffer in net.buffers()]
    with torch.no_grad(), norms.measured(task, norms.ENOUGH - 1, 7, runtime.autocast):
        assert [buffer.data_ptr() for buffer in net.buffers()] == places
        name = next(name for name in before if name.endswith("running_var"))
        assert not torch.equal(net.state_dict()[name], before[name])
        for norm, found in norms.measure(
            task, 7, runtime.autocast
        ).items():  # a batch is normalised by its biased variance
            statistics(norm)[1].mul_((found.n - 1) / found.n)
        torch.testing.assert_close(net.eval()(inputs), twin(inputs), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [buffer.data_ptr() for buffer in net.buffers()] == places
    with norms.measured(task, norms.ENOUGH, 7, runtime.autocast):
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_an_error_within_leaves_training_its_statistics():
    task, runtime = made("small_cnn")
    before = [buffer.clone() for buffer in task.net.buffers()]
    with pytest.raises(KeyError), norms.measured(task, 1, 0, runtime.autocast):
        raise KeyError
    assert all(torch.equal(a, b) for a, b in zip(task.net.buffers(), before, strict=True))


def test_frozen_norms_and_networks_without_any_are_left_alone():
    task, runtime = made("resnet18", "loop.batch_size=2", "data.per_class=4")
    stages = list(task.net.modules())
    frozen = next(module for module in stages if isinstance(module, nn.BatchNorm2d))
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    before, other = statistics(frozen)[0].clone(), moving_norms(task.net)[0]
    start = statistics(other)[0].clone()
    with norms.measured(task, 1, 0, runtime.autocast):
        assert torch.equal(statistics(frozen)[0], before) and not torch.equal(statistics(other)[0], start)
    dcgan, runtime = made("small_dcgan", "loop.batch_size=2")
    assert any(isinstance(module, nn.BatchNorm2d) for module in dcgan.D.modules())
    state = {name: value.clone() for name, value in {**dcgan.G.state_dict(), **dcgan.D.state_dict()}.items()}
    with norms.measured(dcgan, 1, 0, runtime.autocast):
        assert all(torch.equal(v, state[k]) for k, v in {**dcgan.G.state_dict(), **dcgan.D.state_dict()}.items())


def test_training_keeps_its_bits_and_best_holds_what_was_evaluated(tmp_path, monkeypatch):
    words = small("small_cnn", "loop.epochs=3", *WORDS)
    train(words, str(tmp_path / "measured"))
    monkeypatch.setattr(norms, "ENOUGH", 0)
    train(words, str(tmp_path / "running"))
    (measured, running) = (folder_in(tmp_path / name) / "checkpoints" for name in ("measured", "running"))
    of = [torch.load(folder / "last.pt", weights_only=True) for folder in (measured, running)]
    assert _flat(of[0]["parts"]).keys() == _flat(of[1]["parts"]).keys()
    assert all(torch.equal(value, _flat(of[1]["parts"])[name]) for name, value in _flat(of[0]["parts"]).items())
    best = [torch.load(folder / "best.pt", weights_only=True)["parts"]["net"] for folder in (measured, running)]
    assert not torch.equal(*(parts[_statistic_of(parts)] for parts in best))
    scores = [(folder.parent / "metrics.jsonl").read_text() for folder in (measured, running)]
    losses = [[json.loads(line).get("train/loss") for line in lines.splitlines()] for lines in scores]
    assert losses[0] == losses[1] and scores[0] != scores[1]


def _statistic_of(parts):
    return next(name for name in parts if name.endswith("running_mean"))


def _flat(value, path=""):
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in _flat(part, f"{path}.{key}").items()}
    return {path: value} if isinstance(value, torch.Tensor) else {}


@pytest.mark.long
def test_a_short_run_on_small_data_scores_what_it_has_learnt(tmp_path):
    words = ["loop.epochs=8", "data.per_class=50", "loop.batch_size=32", "data.classes=[circle,house,fish,sun]"]
    found = []
    for seed in range(3):
        train([f"seed={seed}", *words, "runtime.device=cpu"], str(tmp_path / str(seed)))
        status = json.loads((folder_in(tmp_path / str(seed)) / "status.json").read_text())
        found += [status["metrics"][f"{split}/accuracy"] for split in ("val", "test")]
    assert sum(found) / len(found) >= 0.85, found
