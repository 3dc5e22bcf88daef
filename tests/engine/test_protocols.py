"""Data sets fit what pipelines ask of them (engine/protocols.py)."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sketchlab import config
from sketchlab.engine import protocols
from sketchlab.inputs import Input
from tests import every

SHAPES = [word for word in every.SMALL_DATA if word.startswith("data.")]
CHANNELS = {"images": 1, "pairs": 1, "frames": 4, "points": 3}


def built(kind: str):
    input = Input(kind, 16, CHANNELS[kind], "bright", [0.0], [1.0])
    return config.data("shapes", SHAPES).build(input)


@pytest.mark.parametrize("kind", CHANNELS)
def test_built_in_data_are_what_pipelines_ask_for(kind):
    data = built(kind)
    assert isinstance(data, protocols.Dataset) and isinstance(data.prepare, protocols.Prepare)
    assert isinstance(data.prepare, protocols.StrokePrepare) == (kind in ("frames", "points"))
    for split in data.splits.values():
        assert isinstance(split, protocols.Pairs) == (kind == "pairs")
        for part in (split.sketch, split.photo) if kind == "pairs" else (split,):
            assert isinstance(part, protocols.Split) and isinstance(part.store, protocols.Store)
            raw = part.gather(torch.arange(2))
            made = data.prepare(data.prepare.ahead(raw, None))
            assert len(raw) == len(made) == 2 and made.dtype == torch.float32


def test_what_lacks_a_part_does_not_fit():
    data = built("images")
    lacking = dataclasses.make_dataclass("Lacking", ["classes", "splits", "prepare"])
    assert not isinstance(lacking(data.classes, data.splits, data.prepare), protocols.Dataset)
    assert not isinstance(data.splits["train"].store, protocols.Split)
