"""Sketches of a run's own test data to try on the page, one of each class, before one draws or has a file at hand."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sketchlab import config
from sketchlab.app.page_model import PageModel, PhotoModel, png
from sketchlab.data.dataset import Pairs, Split
from sketchlab.data.strokes.batch import to_drawings
from sketchlab.runs import reading

MOST = 12  # classes shown: all, or some at equal distances in their order
_HELD_OUT = ("test", "val")  # never what the network was trained on


class Examples:
    """The data are opened when the page first asks: decoding some data sets takes minutes."""

    def __init__(self, model: PageModel | PhotoModel) -> None:
        self.model, self._one_at_a_time = model, Lock()

    def found(self) -> dict[str, Any]:
        """{"split", "examples"}: each has its class, its id and what to show, and the strokes where they are known.
        A picture without strokes is exactly what the run's reader of files makes of itself. Raises UserError where the
        data are not to be had."""
        with self._one_at_a_time:
            return self._found

    @cached_property
    def _found(self) -> dict[str, Any]:
        run = self.model.run
        data = config.component("data", run.config["data"]).build(run.input)
        name = next((name for name in _HELD_OUT if len(data.splits.get(name, ()))), None)
        if name is None:
            return {"split": None, "examples": []}
        split = data.splits[name].sketch if isinstance(data.splits[name], Pairs) else data.splits[name]
        labels = np.asarray(split.labels)
        present = np.unique(labels)
        classes = present[np.linspace(0, len(present) - 1, min(MOST, len(present))).round().astype(int)]
        places = [int(np.argmax(labels == label)) for label in classes]
        return {"split": name, "examples": [self._example(split, place, data.classes) for place in places]}

    def _example(self, split: Split, place: int, classes: list[str]) -> dict[str, Any]:
        at = torch.tensor([place])
        raw, facts = split.gather(at), {"class": classes[int(split.labels[place])], "id": str(split.ids[place])}
        if not isinstance(raw, Tensor):
            return {**facts, "src": _png(split.pictures(at)[0]), "drawing": to_drawings(raw.cpu())[0]}
        dark = 255 - raw if self.model.inverts else raw  # as a file of it would be
        return {**facts, "src": _png(dark[0].cpu()), "drawing": None}


def _png(pixels: Tensor) -> str:
    return png(reading.for_people(pixels.numpy()))
