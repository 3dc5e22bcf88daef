"""CelebA (Liu et al. 2015), aligned and cropped faces: one class, for generators."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sketchlab.data import splits
from sketchlab.data.dataset import Dataset
from sketchlab.data.images import augment, files, tree
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.schema import Machine

GIVES = ("images",)
FOLDER, LIST = "celeba/img_align_celeba", "celeba/list_eval_partition.txt"
PARTS = {"0": "train", "1": "val", "2": "test"}  # the README of the data set


@dataclass(frozen=True)
class Config:
    root: Machine[str | None]  # folder of data sets; null = $SKETCHLAB_DATA, else ./data
    classes: list[str] | None  # null or [face]
    per_class: int | None  # at most so many images of each official split; null = all
    on_bad: Machine[str]  # unreadable files: error stops with their list; skip leaves them out and says so
    resize: str  # crop (the central square), pad or squash; the aligned faces are 178×218
    splits: splits.Config
    augment: augment.Config


def build(config: Config, input: Input) -> Dataset:
    """Raises UserError for a missing folder, a missing official list, unreadable files."""
    where = tree.place(config.root, FOLDER, "celeba")
    classes = tree.wanted(where, ["face"], config.classes)
    names = sorted(entry.name for entry in os.scandir(where) if entry.name.lower().endswith(".jpg"))
    if not names:
        raise UserError(f"{where} holds no .jpg files: expected 000001.jpg …, as img_align_celeba.zip unpacks")
    official = _official(tree.data_root(config.root) / LIST) if config.splits.rule == "official" else {}
    if unlisted := [name for name in names if official and name not in official]:
        raise UserError(f"{LIST} does not list {len(unlisted)} of the images, first {unlisted[0]}")
    labels, parts = np.zeros(len(names), np.int64), [official.get(name, "") for name in names]
    found = tree.Tree(where, classes, names, labels, names, parts)
    found = tree.capped(found, config.per_class, None, "per_class")
    loaded = files.load(found, input, "none", config.resize, config.on_bad)
    divided, notes = files.divide(config.splits, loaded, classes, FOLDER)
    return files.dataset(classes, divided, input, config.augment, loaded.fingerprint, loaded.notes + notes, FOLDER)


def _official(path: Path) -> dict[str, str]:
    """image → train, val or test."""
    try:
        rows = [line.split() for line in tree.list_lines(path)]
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; data.splits.rule=official needs it (`python -m sketchlab.data fetch celeba` "
            "tells where to get it), or choose data/splits=fraction"
        ) from None
    if bad := [row for row in rows if len(row) != 2 or row[1] not in PARTS]:
        raise UserError(f"{path}: expected lines as '000001.jpg 0', found {' '.join(bad[0])!r}")
    return {name: PARTS[number] for name, number in rows}
