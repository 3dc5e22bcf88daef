"""What an Apple GPU cannot do is not asked of it: doubles. None is needed here: the CPU refuses them instead."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sketchlab import config
from sketchlab.engine import runtime, steps
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.pipelines.classify.task import Classify
from sketchlab.pipelines.gan import task as gan
from sketchlab.pipelines.retrieve.task import Retrieve
from sketchlab.pipelines.translate.task import Translate
from tests import every

TASKS = {"small_cnn": Classify, "small_siamese": Retrieve, "small_dcgan": gan.Gan, "small_cyclegan": Translate}


class NoDoubles(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
                raise TypeError(f"{function} gave float64, which mps does not have")
        return out


def without_doubles(function):
    def call(*args, **kwargs):
        with NoDoubles():
            return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("model", [pytest.param(m, marks=[pytest.mark.slow] * (m != "small_cnn")) for m in TASKS])
def test_no_step_makes_doubles_on_the_device(model, tmp_path, monkeypatch):
    began = Runtime.__init__

    def begin(self, *args):
        began(self, *args)
        self.widest = torch.float32

    monkeypatch.setattr(Runtime, "__init__", begin)
    for owner, name in ((steps.Averages, "add"), (TASKS[model], "train_step")):
        monkeypatch.setattr(owner, name, without_doubles(getattr(owner, name)))
    every.train(every.small(model), str(tmp_path))
    assert (every.folder_in(tmp_path) / "metrics.jsonl").stat().st_size > 0


def test_doubles_are_noticed():
    with pytest.raises(TypeError, match="float64"), NoDoubles():
        torch.ones(2).double()


def test_a_run_on_mps_is_of_one_rank_in_fp32_or_bf16(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    def settled(*words: str) -> tuple[str, str]:
        return config.from_overrides(["runtime.device=mps", *words]).runtime.decided()

    assert settled() == ("mps", "fp32") and settled("runtime.precision=bf16") == ("mps", "bf16")
    for word in ("runtime.ranks=2", "runtime.precision=fp16"):
        with pytest.raises(UserError, match="runtime.device=mps takes runtime.ranks=1, and runtime.precision=fp32"):
            settled(word)


def test_draws_on_mps_are_keyed(monkeypatch):
    keys = []
    monkeypatch.setattr(runtime.torch.mps, "manual_seed", keys.append)
    here = Runtime(config.from_overrides(["runtime.device=cpu"]).runtime)
    here.seed(5)
    assert keys == []
    here.device = torch.device("mps")
    here.seed(7)
    assert keys == [7]
