"""What a run scored on each sample of a split: what paired tests compare."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np

from sketchlab.report.read import Run


@dataclass(frozen=True)
class Examples:
    """(n,) values, one per sample, in the order of their ids."""

    ids: tuple[str, ...]  # id and label of each sample
    values: np.ndarray

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
    said = run.final().get(key)
    if (
        not ids
        or values.shape != (len(ids),)
        or run.split(split).get("n", len(ids)) != len(ids)
        or not np.isfinite(values).all()
    ):
        return f"predictions_{split}.csv does not fit its scores"
    if said is not None and abs(values.mean() - said) > 0.5 / len(ids) + 1e-6:
        return f"predictions_{split}.csv is of another state of the network than {key}"
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return Examples(tuple(ids[i] for i in order), values[order])
