"""What a run scored on each sample of a split: what paired tests compare."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sketchlab.report.read import Run


@dataclass(frozen=True)
class Examples:
    """(n,) values, one per sample, in the order of their ids."""

    ids: tuple[str, ...]  # id and label of each sample
    values: np.ndarray
    groups: np.ndarray | None  # (n,) names of what the samples show, such as a photo; None: each something else

    @property
    def hits(self) -> bool:
        """Right or wrong, nothing between."""
        return bool(np.isin(self.values, (0, 1)).all())


def examples(run: Run, key: str) -> Examples | str:
    """The samples behind the final score `key`, or why there are none.

    accuracy: from predictions_<split>.csv; retrieval: arrays/<split>_per_query_<score>.npy. They must have the mean
    that the run says, else they are of another state of the network.
    """
    split, metric = key.split("/", 1)
    path = run.folder / f"predictions_{split}.csv"
    if not path.is_file():
        return f"there is no predictions_{split}.csv"
    per_query = run.array(f"{split}_per_query_{metric}")
    wanted = ("id", "label", "prediction") if per_query is None else ("query", "label")
    if per_query is None and metric != "accuracy":
        return f"{key} is not kept sample by sample"
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if not set(wanted) <= set(header):
            return f"predictions_{split}.csv has no column {', '.join(w for w in wanted if w not in header)}"
        places = [header.index(name) for name in wanted]
        table = [[row[place] for place in places] for row in rows if len(row) == len(header)]
    ids = [f"{row[0]}\n{row[1]}" for row in table]
    values = np.array([row[1] == row[2] for row in table], float) if per_query is None else np.asarray(per_query, float)
    reported = run.final().get(key)
    if (
        not ids
        or values.shape != (len(ids),)
        or run.split(split).get("n", len(ids)) != len(ids)
        or not np.isfinite(values).all()
    ):
        return f"predictions_{split}.csv does not fit its scores"
    if reported is not None and abs(values.mean() - reported) > 0.5 / len(ids) + 1e-6:
        return f"predictions_{split}.csv is of another state of the network than {key}"
    order = sorted(range(len(ids)), key=ids.__getitem__)
    groups = groups_of(run, split, [row[0] for row in table])
    return Examples(tuple(ids[i] for i in order), values[order], None if groups is None else groups[order])


def groups_of(run: Run, split: str, ids: Sequence[str]) -> np.ndarray | None:
    """(n,) names of what each sample of a split shows; None where no two samples show the same, or nothing tells it.

    From arrays/<split>_groups.npy; in older folders from the ids, by the pattern that the data set was grouped by.
    """
    known, pattern = run.array(f"{split}_groups"), pattern_of(run, split)
    if known is not None and len(known) == len(ids):
        found = np.asarray(known).astype(str)
    elif pattern:
        found = _by_name(pattern, ids)
    else:
        return None
    return found if len(np.unique(found)) < len(found) else None


def pattern_of(run: Run, split: str) -> str:
    """What older folders tell of groups: data.photo_of or data.group_by (of mixed sets that of this split), or shapes'
    own …-2 for a second sketch; "" where nothing tells it, and in newer folders, which keep an array."""
    data = (run.config.get("config") or {}).get("data") or {}
    if run.split(split).get("groups") is not None:
        return ""
    side = data.get(split if split in data else "val")
    pattern = data.get("photo_of") or data.get("group_by") or (side.get("group_by") if isinstance(side, dict) else None)
    return str(pattern or (r"(\d+)(?:-\d+)?" if int(data.get("sketches_per_photo") or 1) > 1 else ""))


def _by_name(pattern: str, ids: Sequence[str]) -> np.ndarray:
    names = []
    for name in ids:
        folder, stem = os.path.split(os.path.splitext(name)[0])
        match = re.fullmatch(pattern, stem)
        names.append(f"{folder}/{match[1] if match else stem}")
    return np.array(names)
