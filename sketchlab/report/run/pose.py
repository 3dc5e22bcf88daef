"""What a second head knows of how drawings are turned and how large they are: a table per split, class by class."""

from __future__ import annotations

import pandas as pd

from sketchlab.report import page, scores
from sketchlab.report.read import Run, numbers

COLUMNS = ("class", "n", "angle, degrees", "of a constant", "size", "of a constant ")


def pose(run: Run) -> str:
    """Mean absolute errors beside those of the best constant guess; "" for a run without that head."""
    parts = {split: found for split in run.predicted() if len(found := table(run, split))}
    if not parts:
        return ""
    result = scores.primary(run)
    first = result.split if result and result.split in parts else next(iter(parts))
    out = page.paragraph(
        "A second head (pipeline.pose_weight) says how far a drawing is turned and how large it is. It learns from the "
        "augmentation, and is asked here about drawings of the split, each turned and sized by a key of its own. Size: "
        "the longer side of the drawing's box when it is turned back upright, as a share of the canvas. Mean absolute "
        "errors, beside those of the best constant guess (upright, and the median size): where both are alike, as for "
        "a circle's angle, there is nothing to know.",
        "soft",
    )
    for split in [first, *(name for name in parts if name != first)]:
        title = scores.SPLITS.get(split, split).capitalize()
        body = page.table(COLUMNS, rows(parts[split]), numbers=COLUMNS[1:])
        out += f"<h3>{title}</h3>{body}" if split == first else page.details(title, body)
    return out


def table(run: Run, split: str) -> pd.DataFrame:
    """pose_<split>.csv as pipelines/classify/pose.py writes it; empty where there is none. A class may be called NA."""
    path = run.folder / f"pose_{split}.csv"
    if not path.is_file():
        return pd.DataFrame()
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    return found.assign(n=found["n"].astype(int), **{key: numbers(found, key) for key in found.columns[2:]})


def rows(found: pd.DataFrame) -> list[tuple[object, ...]]:
    """As text, – for a class without samples."""
    return [
        (name, n, *("–" if pd.isna(v) else f"{v:.4g}" for v in values))
        for name, n, *values in found.itertuples(index=False)
    ]
