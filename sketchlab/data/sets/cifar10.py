"""CIFAR-10 (Krizhevsky 2009), binary version: no pickles. Stored at 32×32; prepare brings it to the model's size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sketchlab import rng
from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Images, Split
from sketchlab.data.images import augment, files, tree
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.schema import Machine

GIVES = ("images",)
FOLDER = "cifar-10-batches-bin"
BATCHES = {f"data_batch_{i}": "train" for i in range(1, 6)} | {"test_batch": "test"}
SIDE_PX = 32
RECORD = 1 + 3 * SIDE_PX * SIDE_PX  # label, then red, green and blue plane; official description


@dataclass(frozen=True)
class Config:
    root: Machine[str | None]  # folder of data sets; null = $SKETCHLAB_DATA, else ./data
    classes: list[str] | None  # in this order; null = all ten
    per_class: int | None  # at most so many images of each class and official split; null = all
    splits: splits.Config
    augment: augment.Config


def build(config: Config, input: Input) -> Dataset:
    """Raises UserError for a missing or damaged batch file and for unknown classes."""
    where = tree.place(config.root, FOLDER, "cifar10")
    there = [name for name in _read(where / "batches.meta.txt").decode().split() if name]
    records, ids, parts, digest = [], [], [], hashlib.sha256()
    for name, part in BATCHES.items():
        data = _read(where / f"{name}.bin")
        if not data or len(data) % RECORD:
            raise UserError(f"{where / name}.bin: {len(data)} bytes, expected a multiple of {RECORD}: fetch it again")
        digest.update(data)
        records.append(np.frombuffer(data, np.uint8).reshape(-1, RECORD))
        ids += [f"{name}/{i:05d}" for i in range(len(records[-1]))]
        parts += [part] * len(records[-1])
    together = np.concatenate(records)  # (60000, 3073)
    if together[:, 0].max() >= len(there):
        raise UserError(f"{where}: label {together[:, 0].max()} in the batches, but batches.meta.txt has {len(there)}")
    numbers = together[:, 0].astype(np.int64)
    classes = tree.wanted(where, there, config.classes)
    kept = _kept(numbers, np.array(parts), [there.index(name) for name in classes], config.per_class)
    labels = np.array([classes.index(there[number]) for number in numbers[kept]], dtype=np.int64)
    pixels = torch.from_numpy(np.ascontiguousarray(together[kept, 1:]).reshape(-1, 3, SIDE_PX, SIDE_PX))
    names = [ids[i] for i in kept]
    groups = torch.from_numpy(rng.fold_each(rng.fold("object"), kept))
    everything = Split(Images(pixels), torch.arange(len(kept)), torch.from_numpy(labels), names, groups)
    loaded = files.Loaded(everything, names, [parts[i] for i in kept], digest.hexdigest()[:16], [])
    found, notes = files.divide(config.splits, loaded, classes, FOLDER)
    return files.dataset(classes, found, input, config.augment, loaded.fingerprint, notes, FOLDER)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `python -m sketchlab.data fetch cifar10` puts it there") from None


def _kept(numbers: np.ndarray, parts: np.ndarray, wanted: list[int], most: int | None) -> np.ndarray:
    """Ascending places of the wanted classes, capped per class and official split by a keyed hash."""
    if most is not None and most < 1:
        raise UserError(f"data.per_class={most}: expected at least 1, or null for all")
    keys = rng.fold_each(rng.fold(0, "per_class"), np.arange(len(numbers)))
    out = []
    for number in wanted:
        for part in ("train", "test"):
            members = np.flatnonzero((numbers == number) & (parts == part))
            out.append(members[np.argsort(keys[members])][:most])
    return np.sort(np.concatenate(out))
