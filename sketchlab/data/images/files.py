"""From files found to a data set ready to train on: stored, divided, checked. Shared by all data sets of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sketchlab import rng
from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Images, Split
from sketchlab.data.images import augment, store
from sketchlab.data.images.tree import Tree
from sketchlab.errors import UserError
from sketchlab.inputs import Input

INKS = ("dark", "bright", "none")


@dataclass(frozen=True)
class Loaded:
    """All readable samples of one source, before they are divided."""

    all: Split
    objects: list[str]  # what must stay in one split
    parts: list[str]  # the official split of each, "" = none
    fingerprint: str
    notes: list[str]


def channels(input: Input, ink: str) -> int:
    """How many channels are stored: drawings are grey, photos as the model takes them."""
    if ink not in INKS:
        raise UserError(f"data.ink={ink}: expected dark or bright (drawings), or none (photos)")
    if input.channels not in (1, 3):
        raise UserError(f"model.input.channels={input.channels}: images give 1 or 3; 6 needs stroke data")
    return 1 if ink != "none" else input.channels


def load(tree: Tree, input: Input, ink: str, resize: str, on_bad: str, prefix: str = "") -> Loaded:
    """Decode (or find decoded) all files of a tree. Raises UserError, with the list, when files are broken."""
    stored = store.images(tree.root, tree.names, input.size_px, channels(input, ink), resize, on_bad)
    objects = [tree.objects[i] for i in stored.kept]
    everything = Split(
        store=Images(stored.pixels, invert=ink != "none" and ink != input.ink),
        rows=torch.arange(len(stored.kept)),
        labels=torch.from_numpy(tree.labels[stored.kept]),
        ids=[prefix + tree.names[i] for i in stored.kept],
        groups=torch.tensor([rng.fold("object", name) for name in objects]),
    )
    for number, name in enumerate(tree.classes):
        if not (everything.labels == number).any():
            raise UserError(f"class '{name}' has no readable images under {tree.root}; first: {stored.broken[0]}")
    parts, notes = [tree.parts[i] for i in stored.kept], tree.notes + left_out(stored, tree)
    return Loaded(everything, objects, parts, stored.fingerprint, notes)


def left_out(stored: store.ImageStore, tree: Tree) -> list[str]:
    if not stored.broken:
        return []
    return [f"{len(stored.broken)} of {len(tree.names)} images left out as unreadable: {'; '.join(stored.broken)}"]


def pick(split: Split, places: np.ndarray) -> Split:
    """Some places of a split, as a split."""
    chosen = torch.from_numpy(places)
    ids = [split.ids[i] for i in map(int, places)]
    return Split(split.store, split.rows[chosen], split.labels[chosen], ids, split.groups[chosen])


def divide(config: splits.Config, loaded: Loaded, classes: list[str], where: str) -> tuple[dict[str, Split], list[str]]:
    """Splits by the rule, or by the official list; and what a reader must know about them.

    An official list without a val split: the share data.splits.val of its train split is taken for it.
    """
    labels, notes = loaded.all.labels.numpy(), []
    if config.rule != "official":
        places = splits.split(config, loaded.objects, labels, classes)
    else:
        parts = np.array(loaded.parts)
        if not (parts == "train").any():
            raise UserError(
                f"data.splits.rule=official: {where} has no official list, and no folders train, val, test above the "
                "classes; choose data/splits=fraction, count or kfold"
            )
        places = {name: np.flatnonzero(parts == name) for name in splits.NAMES if (parts == name).any()}
        if "val" not in places and config.val > 0:
            places, note = _val_from_train(config, places, loaded, classes)
            notes.append(note)
        places = splits.thinned(config, places, loaded.objects, labels, classes)
    if splits.REST in places:
        notes.append(f"{len(places[splits.REST])} training samples are left out (data.splits.train_at_most)")
    found = {name: pick(loaded.all, places[name]) for name in (*splits.NAMES, splits.REST) if name in places}
    notes += splits.notes(config, classes)
    for name, split in found.items():
        if config.rule != "unseen" and (missing := [c for i, c in enumerate(classes) if not (split.labels == i).any()]):
            notes.append(f"split {name} has no sample of {', '.join(missing)}")
    return found, notes


def _val_from_train(
    config: splits.Config, places: dict[str, np.ndarray], loaded: Loaded, classes: list[str]
) -> tuple[dict[str, np.ndarray], str]:
    train = places["train"]
    rule = replace(config, rule="fraction", train=1 - config.val, val=config.val, test=0.0, train_at_most=None)
    labels = loaded.all.labels.numpy()[train]
    halves = splits.split(rule, [loaded.objects[i] for i in train], labels, classes)
    note = f"the official list has no val: {len(halves['val'])} of {len(train)} train samples serve (data.splits.val)"
    return {**places, "train": train[halves["train"]], "val": train[halves["val"]]}, note


def dataset(
    classes: list[str],
    found: dict[str, Split],
    input: Input,
    changes: augment.Config,
    fingerprint: str,
    notes: Sequence[str],
    where: str,
) -> Dataset:
    """The end of every build: splits that share a sample are refused."""
    splits.check_disjoint({name: split.ids for name, split in found.items()}, where)
    if "train" not in found:
        raise UserError(f"{where}: data.splits leaves nothing to train on")
    prepare = augment.Prepare(input, changes)
    views = changes.views if prepare.active else 1
    return Dataset(classes, dict(found), prepare, views, fingerprint, list(notes))
