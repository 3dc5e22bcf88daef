"""Sketches in one folder of classes, photos in another: which sketch is of which photo stands in its file's name.

`split_by` says what is kept apart. photo: all sketches of a photo are in the photo's split, so that nothing of a test
photo was seen in training. sketch: every sketch goes its own way, its photo beside it, as in das_debnath: the photos
that are searched are then known from training. That leaks, and data.json says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from sketchlab import rng
from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Pairs, fingerprint
from sketchlab.data.images import augment, files, matching, tree
from sketchlab.data.images.files import Loaded
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.schema import Machine

GIVES = ("pairs",)
SPLIT_BY = ("photo", "sketch")


@dataclass(frozen=True)
class Config:
    root: Machine[str | None]  # folder of data sets; null = $SKETCHLAB_DATA, else ./data
    sketches: str  # folder of class folders, below root (or absolute)
    photos: str  # another one, with the same class folders
    source: Machine[str]  # its file in conf/data/source, which tells where to get it; "" = your own
    photo_of: str  # expression on a sketch's file name: its bracket is the photo's name; "" = only classes are known
    test_list: str  # file below root, a line <class>/<photo> for each official test photo; "" = train and test folders
    split_by: str  # photo or sketch, see above
    ink: str  # of the sketches: dark or bright lines, or none: in colour, never inverted
    resize: str  # pad or crop (aspect kept), squash (not kept)
    classes: list[str] | None  # in this order; null = all that both folders have
    per_class: int | None  # at most so many photos of each class, with all their sketches; null = all
    per_photo: int | None  # at most so many sketches of each photo; null = all
    on_bad: Machine[
        str
    ]  # unreadable files, sketches without their photo: error stops with their list; skip leaves them out
    splits: splits.Config  # of photos, or of sketches, as split_by says; only classes known: of both, each for itself
    augment: augment.Config  # acts on both domains

    def __post_init__(self) -> None:
        if self.split_by not in SPLIT_BY:
            raise UserError(f"data.split_by={self.split_by}: expected {' or '.join(SPLIT_BY)}")
        tree.expression(self.photo_of, "photo_of")
        if self.splits.train_at_most is not None:
            raise UserError("data.splits.train_at_most: pairs cannot leave training samples out; use data.per_class")
        if self.splits.rule == "official" and self.split_by == "sketch":
            raise UserError("data.splits.rule=official lists photos; expected data.split_by=photo")
        if not self.photo_of and (self.per_photo is not None or self.split_by == "sketch"):
            raise UserError("data.per_photo and data.split_by=sketch need data.photo_of, which names a sketch's photo")


def build(config: Config, input: Input) -> Dataset:
    """Raises UserError, with the list, for unreadable files and for sketches that have no photo or whose names tell
    none (data.on_bad=skip: notes); for folders without a common class; for classes too small for the splits."""
    if input.kind != "pairs":
        raise UserError(f"model.input.kind={input.kind}, but pairs of images are given: choose a model of pairs")
    homes = {side: tree.place(config.root, getattr(config, side), config.source) for side in ("sketches", "photos")}
    classes, notes = matching.classes(homes, config.classes)
    photos = tree.find(homes["photos"], classes, per_class=config.per_class)
    sketches = tree.find(homes["sketches"], classes, group_by=config.photo_of, unmatched_too=True)
    notes += photos.notes + sketches.notes
    if config.photo_of:
        everything = photos if config.per_class is None else tree.find(homes["photos"], classes)
        sketches, notes_on = matching.of_photos(sketches, photos, everything, config.photo_of, config.on_bad == "skip")
        notes += notes_on
        sketches = tree.capped(sketches, config.per_photo, sketches.objects, "per_photo")
    drawn = files.load(replace(sketches, notes=[]), input, config.ink, config.resize, config.on_bad)
    pictures = files.load(replace(photos, notes=[]), input, "none", config.resize, config.on_bad)
    notes += drawn.notes + pictures.notes
    if config.splits.rule == "official" and config.test_list:
        pictures = replace(pictures, parts=_official(tree.data_root(config.root) / config.test_list, pictures))
    divide = _divided if config.photo_of else _by_class
    found, notes_on = divide(config, drawn, pictures, classes)
    if "train" not in found:
        raise UserError(f"{config.sketches}: data.splits leaves nothing to train on")
    splits.check_disjoint({name: pair.sketch.ids for name, pair in found.items()}, config.sketches)
    prepare = augment.Prepare(input, config.augment)
    views = config.augment.views if prepare.active else 1
    prints = fingerprint(drawn.fingerprint, pictures.fingerprint, sketches.objects, pictures.parts)
    return Dataset(classes, found, prepare, views, prints, notes + notes_on)


def _divided(config: Config, drawn: Loaded, pictures: Loaded, classes: list[str]) -> tuple[dict[str, Pairs], list[str]]:
    """Photos with all their sketches, or (split_by=sketch) sketches with the photos they are of."""
    drawn, notes = matching.readable(drawn, pictures)
    by_photo = config.split_by == "photo"
    parted = pictures if by_photo else replace(drawn, objects=list(drawn.all.ids))
    others = drawn.all if by_photo else pictures.all
    halves, notes_on = files.divide(config.splits, parted, classes, config.photos)
    found = {}
    for name, split in halves.items():
        partners = files.pick(others, np.flatnonzero(np.isin(others.groups.numpy(), split.groups.numpy())))
        found[name] = Pairs(partners, split) if by_photo else Pairs(split, partners)
    notes += notes_on
    if not by_photo:
        notes += _leaks(found)
    return found, notes


def _by_class(
    config: Config, drawn: Loaded, pictures: Loaded, classes: list[str]
) -> tuple[dict[str, Pairs], list[str]]:
    """Sketches and photos each for itself: nothing is known of a sketch but its class."""
    alone = torch.tensor([rng.fold("sketch", name) for name in drawn.all.ids])
    drawn = replace(drawn, all=replace(drawn.all, groups=alone))
    (ours, notes_on), (theirs, more) = (
        files.divide(config.splits, side, classes, config.photos) for side in (drawn, pictures)
    )
    found = {name: Pairs(ours[name], theirs[name], objects=False) for name in ours if name in theirs}
    return found, [
        *dict.fromkeys((*notes_on, *more)),
        "only the classes of sketches and photos are known, not which photo a sketch is of",
    ]


def _leaks(found: dict[str, Pairs]) -> list[str]:
    known, notes = set(found["train"].photo.ids) if "train" in found else set(), []
    for name, pair in found.items():
        if name != "train" and (n := sum(i in known for i in pair.photo.ids)):
            notes.append(
                f"LEAK: {n} of the {len(pair.photo.ids)} {name} photos are training photos too, known from other "
                "sketches of them (data.split_by=sketch): scores may be higher than on photos never seen"
            )
    return notes


def _official(path: Path, pictures: Loaded) -> list[str]:
    """train or test for each photo, by the list of test photos."""
    try:
        lines = tree.list_lines(path)
    except OSError as error:
        raise UserError(
            f"data.splits.rule=official needs the list of test photos {path} ({error.strerror}), a line "
            "<class>/<photo> each; get it from the data set's page, or choose data/splits=fraction"
        ) from None
    wanted = {line.rpartition(".")[0] or line for line in lines}
    parts = ["test" if thing in wanted else "train" for thing in pictures.objects]
    if "test" not in parts:
        first = f", first {lines[0]}" if lines else ""
        raise UserError(
            f"{path}: none of its {len(lines)} lines names one of the {len(parts)} photos{first}; expected a line like "
            f"{pictures.all.ids[0]}"
        )
    return parts
