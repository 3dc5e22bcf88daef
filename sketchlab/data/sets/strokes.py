"""Drawings kept as strokes: a folder of ndjson or JSON files, one per word, or of class folders of SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sketchlab import rng
from sketchlab.data import splits
from sketchlab.data.dataset import Dataset, Split, fingerprint
from sketchlab.data.images import store, tree
from sketchlab.data.strokes import augment as stroke_augment
from sketchlab.data.strokes import index as stroke_index
from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.data.strokes import raster, svg
from sketchlab.data.strokes import store as stroke_store
from sketchlab.data.strokes.prepare import KINDS, Prepare
from sketchlab.data.strokes.store import Ids, Part, StrokeStore
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.schema import Machine

GIVES = KINDS
FORMATS = ("ndjson", "json", "svg")


@dataclass(frozen=True)
class Config:
    root: Machine[str | None]  # folder of data sets; null = $SKETCHLAB_DATA, else ./data
    folder: str  # the files, below root (or absolute); "." = root itself
    source: Machine[str]  # its file in conf/data/source, which tells where to get it; "" = your own
    format: str  # ndjson: <word>.ndjson, simplified or raw; json: <word>.json, an array of them; svg: <class>/*.svg
    classes: list[str] | None  # in this order; null = all found
    per_class: int | None  # at most so many drawings of each class, chosen by a keyed hash; null = all
    recognized_only: bool  # leave out what QuickDraw's own network did not recognise; unmarked drawings stay
    on_bad: Machine[str]  # broken lines: error stops with their list; skip leaves them out and says so
    splits: splits.Config
    raster: raster.Config  # how strokes become pictures
    augment: stroke_augment.Config

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f"data.format={self.format}: expected {', '.join(FORMATS)}")
        if self.on_bad not in store.ON_BAD:
            raise UserError(f"data.on_bad={self.on_bad}: expected error or skip")
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"data.per_class={self.per_class}: expected at least 1, or null for all")
        if self.splits.rule == "official":
            raise UserError("data.splits.rule=official: drawings have no official list; take fraction, count or kfold")


def class_names(config: Config) -> list[str]:
    """The classes that build would give, without reading a drawing. Raises UserError as build does."""
    return list(_files(tree.place(config.root, config.folder, config.source), config))


def build(config: Config, input: Input) -> Dataset:
    """Raises UserError for a folder that is missing or empty, unknown classes, broken lines, splits too large."""
    prepare = Prepare(input, config.raster, config.augment)
    where = tree.place(config.root, config.folder, config.source)
    parts = stroke_store.open_parts(_files(where, config))
    notes = _notes(parts, where, config)
    drawings, names = StrokeStore(parts), [part.name for part in parts]

    def of_part(part: Part) -> dict[str, np.ndarray]:
        chosen = _chosen(part, config)
        keys = rng.fold_words(part.words[chosen], config.splits.seed, "split")
        found = splits.of_class(config.splits, keys, part.name)
        if config.splits.train_at_most is not None:
            train = found["train"]
            found["train"] = train[splits.kept(config.splits, keys[train], names.index(part.name), names)]
        return {name: chosen[places] for name, places in found.items()}

    rule = (config.splits, config.per_class, config.recognized_only)
    found = {
        name: Split(drawings, rows, labels, Ids(drawings, rows.numpy()), rows)
        for name, (rows, labels) in stroke_index.divide(drawings, of_part, rule).items()
    }
    if "train" not in found:
        raise UserError(f"{where}: data.splits leaves nothing to train on")
    return Dataset(
        classes=names,
        splits=dict(found),
        prepare=prepare,
        views=config.augment.views if prepare.active else 1,
        fingerprint=fingerprint("strokes", [(part.name, part.index["fingerprint"]) for part in parts]),
        notes=notes,
    )


def _files(where: Path, config: Config) -> dict[str, Path]:
    """Class → its file, or its folder of SVG files, in the order of the classes."""
    if config.format != "svg":
        there = ndjson_files.words(where, ndjson_files.SUFFIXES if config.format == "ndjson" else ndjson_files.ARRAYS)
    else:
        homes, _ = tree.class_folders(where, (svg.SUFFIX,))
        if parts := sorted({folder.partition("/")[0] for part, _, folder in homes if part}):
            raise UserError(
                f"{where} holds folders of splits ({', '.join(parts)}), which drawings do not use; set "
                f"data.folder={where / parts[0]} and divide it by data.splits"
            )
        there = {name: where / folder for _, name, folder in homes if svg.files(where / folder)}
        if not there:
            raise UserError(f"no class folders with .svg files in {where}: expected <class>/<id>.svg")
    return {name: there[name] for name in tree.wanted(where, list(there), config.classes)}


def _chosen(part: Part, config: Config) -> np.ndarray:
    """(n,) which drawings of a part are used, ascending."""
    rows = np.flatnonzero(part.recognized) if config.recognized_only else np.arange(len(part))
    if config.per_class is not None and len(rows) > config.per_class:
        keys = rng.fold_words(part.words[rows], 0, "per_class")
        rows = np.sort(rows[np.argsort(keys, kind="stable")[: config.per_class]])
    if not len(rows):
        why = " that was recognised (data.recognized_only);" if len(part) else ""
        if not len(part) and (broken := part.index["broken"]):
            why = f": none of its {part.index['lines']} lines can be read ({broken[0]}); fix its file, or"
        raise UserError(f"class '{part.name}' has no drawing{why or ';'} leave it out with data.classes")
    return rows


def _notes(parts: Sequence[Part], where: Path, config: Config) -> list[str]:
    broken = [line for part in parts for line in part.index["broken"]]
    n_broken, n_lines = (sum(part.index[key] for part in parts) for key in ("n_broken", "lines"))
    examples = [*broken[: store.LISTED], *[f"and {n_broken - store.LISTED} more"] * (n_broken > store.LISTED)]
    notes = []
    if n_broken and config.on_bad == "error":
        head = f"{n_broken} of {n_lines} drawings in {where} cannot be read; fix them, or leave them out with "
        raise UserError("\n  ".join([head + "data.on_bad=skip:", *examples]))
    if n_broken:
        notes.append(f"{n_broken} of {n_lines} drawings left out as unreadable: {'; '.join(examples)}")
    for part in parts:
        if n := part.index["n_other"]:
            other = part.index["other"]
            notes.append(f"{n} drawings in the file of '{part.name}' name another word, the first '{other}'")
    if (most := config.splits.train_at_most) is not None:
        notes.append(f"training drawings beyond {most} in all are left out (data.splits.train_at_most)")
    left_out = sum(int((part.recognized == 0).sum()) for part in parts)
    if left_out and config.recognized_only:
        notes.append(f"{left_out} drawings that were not recognised left out (data.recognized_only)")
    return notes
