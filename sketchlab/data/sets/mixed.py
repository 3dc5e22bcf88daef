"""Train on one folder of classes, validate or test on another: photos against sketches of the same things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Split, fingerprint
from sketchlab.data.images import augment, files, tree
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.schema import Machine, added

GIVES = ("images",)


@dataclass(frozen=True)
class Side:
    """One of the folders; the keys as in data/folder."""

    folder: str  # folder of class folders, below root (or absolute)
    source: str  # its file in conf/data/source, which tells where to get it; "" = your own
    ink: str  # dark or bright lines, or none: photos
    group_by: str  # expression on a file's name whose bracket names its object; "" = each file is its own
    per_group: int | None  # at most so many of each object; null = all
    aliases: dict[str, str] | None  # class → its folder's name here, where the two differ
    splits: Annotated[splits.Config | None, added(None)]  # how this side is divided; null = by data.splits


@dataclass(frozen=True)
class Config:
    root: Machine[str | None]  # folder of data sets; null = $SKETCHLAB_DATA, else ./data
    train: Side  # gives the train split
    val: Side  # gives the val split
    test: Side | None  # gives the test split; null = the folder of val gives it
    paired: bool  # the same name means the same object on all sides (Sketchy): then no object is in two splits
    classes: list[str] | None  # in this order; null = all that every side has
    per_class: int | None  # at most so many images of each class and side; null = all
    on_bad: Machine[str]  # unreadable files: error stops with their list; skip leaves them out and says so
    resize: str  # pad or crop (aspect kept), squash (not kept)
    splits: splits.Config  # each side is divided by this rule and gives its part; official: each side is used whole,
    # unless data.<side>.splits=official: then by its own list
    augment: augment.Config

    def __post_init__(self) -> None:
        own = [name for name in ("train", "val", "test") if (side := getattr(self, name)) and side.splits]
        if self.paired and own:
            raise UserError(
                f"data.{own[0]}.splits with data.paired=true would put an object into two splits: set data.splits alone"
            )


def build(config: Config, input: Input) -> Dataset:
    """Raises UserError as data/folder does, and for sides that share no class or, when used whole, share samples."""
    sides = {"train": config.train, "val": config.val}
    if config.test is not None:
        sides["test"] = config.test
    elif config.val.splits or config.splits.rule != "official":
        sides["test"] = config.val
    if config.paired and config.splits.rule == "official":
        raise UserError("data.paired=true with data.splits.rule=official would put every object into two splits")
    trees = _trees(config, sides)
    loaded = {
        name: files.load(trees[name], input, side.ink, config.resize, config.on_bad, prefix=f"{side.folder}/")
        for name, side in sides.items()
    }
    prints = fingerprint(*(side.fingerprint for side in loaded.values()))
    notes = [f"{name}: {note}" for name, side in loaded.items() for note in side.notes]
    if config.paired:
        loaded, more = _common(loaded)
        notes += more
    classes = trees["train"].classes
    found: dict[str, Split] = {}
    for name, side in loaded.items():
        own = sides[name].splits
        if own is None and config.splits.rule == "official":
            found[name] = side.all
        else:
            parts, more = files.divide(own or config.splits, side, classes, sides[name].folder)
            found |= {name: parts[name]} if name in parts else {}
            notes += [f"{name}: {note}" for note in more if own is not None]
    notes += [f"{name} is from {sides[name].folder}" for name in found]
    return files.dataset(classes, found, input, config.augment, prints, notes, "data=mixed")


def _trees(config: Config, sides: dict[str, Side]) -> dict[str, tree.Tree]:
    def look(side: Side, classes: list[str] | None) -> tree.Tree:
        where = tree.place(config.root, side.folder, side.source)
        return tree.find(
            where,
            classes,
            aliases=side.aliases,
            group_by=side.group_by,
            per_group=side.per_group,
            per_class=config.per_class,
        )

    classes = config.classes
    if classes is None:
        there = {name: look(side, None).classes for name, side in sides.items()}
        classes = sorted(set.intersection(*(set(names) for names in there.values())))
        if not classes:
            lists = "; ".join(f"{name} has {', '.join(names)}" for name, names in there.items())
            raise UserError(f"data: no class on every side: {lists}; give pairs, as data.train.aliases={{ant: ants}}")
    return {name: look(side, classes) for name, side in sides.items()}


def _common(loaded: dict[str, files.Loaded]) -> tuple[dict[str, files.Loaded], list[str]]:
    """The objects that every side shows: the same hash then puts an object into the same split on every side."""
    shared = set.intersection(*(set(side.objects) for side in loaded.values()))
    if not shared:
        raise UserError("data.paired=true, but no object is on every side; see data.val.group_by, or set paired=false")
    out, notes = {}, []
    for name, side in loaded.items():
        keep = np.array([i for i, thing in enumerate(side.objects) if thing in shared])
        if alone := len(side.objects) - len(keep):
            notes.append(f"{name}: {alone} images without a partner on the other side left out")
        objects, parts = [side.objects[i] for i in keep], [side.parts[i] for i in keep]
        out[name] = replace(side, all=files.pick(side.all, keep), objects=objects, parts=parts)
    return out, notes
