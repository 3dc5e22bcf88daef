"""A data set of images that are made here; put the reading of your own files in their place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sketchlab import rng
from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Images, Split, fingerprint
from sketchlab.data.images import augment
from sketchlab.inputs import Input

GIVES = ("images",)  # what models may take of it: images, frames, points or pairs
SIDE_PX = 32


@dataclass(frozen=True)
class Config:
    classes: list[str] | None  # null = all
    per_class: int
    splits: splits.Config
    augment: augment.Config


def build(config: Config, input: Input) -> Dataset:
    """Bright lines on black, across or upright, on noise."""
    names = config.classes or ["across", "upright"]
    labels = np.repeat(np.arange(len(names)), config.per_class)
    ids = [f"{names[label]}/{i}" for i, label in enumerate(labels)]  # one a sample: the splits follow from them
    pixels = rng.generator("example").integers(0, 60, (len(labels), 1, SIDE_PX, SIDE_PX), dtype=np.uint8)
    pixels[labels == 0, :, ::4] += 150
    pixels[labels == 1, :, :, ::4] += 150
    store, numbers = Images(torch.from_numpy(pixels)), torch.from_numpy(labels)
    rows = {key: torch.from_numpy(v) for key, v in splits.split(config.splits, ids, labels, names).items()}
    made = {key: Split(store, row, numbers[row], [ids[i] for i in row], row) for key, row in rows.items()}
    prepare = augment.Prepare(input, config.augment)
    return Dataset(names, made, prepare, config.augment.views, fingerprint(pixels))
