"""Any folder of classes: <class>/*.png, or {train,val,test}/<class>/*.png. TU-Berlin and hymenoptera are such.

A folder of images, *.png, is one class for pipelines that need no classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sketchlab.data import splits
from sketchlab.data.dataset import Dataset
from sketchlab.data.images import augment, files, tree
from sketchlab.inputs import Input
from sketchlab.schema import Machine

GIVES = ("images",)


@dataclass(frozen=True)
class Config:
    root: Machine[str | None]  # folder of data sets; null = $SKETCHLAB_DATA, else ./data
    folder: str  # the tree, below root (or absolute); "." = root itself
    source: Machine[str]  # its file in conf/data/source, which tells where to get it; "" = your own
    ink: str  # dark or bright: drawings, dark lines on light or the reverse; none: photos, never inverted
    group_by: str  # expression on file names: its bracket names the object that must stay in one split; "" = the file
    per_group: int | None  # at most so many images of one object; null = all
    classes: list[str] | None  # in this order; null = all found
    per_class: int | None  # at most so many images of each class (and official split); null = all
    on_bad: Machine[str]  # unreadable files: error stops with their list; skip leaves them out and says so
    resize: str  # pad or crop (aspect kept), squash (not kept)
    splits: splits.Config
    augment: augment.Config


def build(config: Config, input: Input) -> Dataset:
    """Raises UserError for a folder that is missing or empty, unknown classes, unreadable files, splits too large."""
    where = tree.place(config.root, config.folder, config.source)
    found = tree.find(
        where,
        config.classes,
        group_by=config.group_by,
        per_group=config.per_group,
        per_class=config.per_class,
        flat=True,
    )
    loaded = files.load(found, input, config.ink, config.resize, config.on_bad)
    divided, notes = files.divide(config.splits, loaded, found.classes, str(where))
    notes = loaded.notes + notes
    return files.dataset(found.classes, divided, input, config.augment, loaded.fingerprint, notes, str(where))
