"""Where a classifier looked: Grad-CAM heat over the images it got wrong, and over some that it got right."""

from __future__ import annotations

import json
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from sketchlab.report import page, scores
from sketchlab.report.read import Run
from sketchlab.report.scores import share

SIDE_PX = 128  # of one picture
STRONGEST = 0.6  # how much of the colour covers the image where the heat is 1
COLOURS = "plasma"  # dark to light: read in grey, and by the colour-blind


def looking(run: Run) -> str:
    """Cards per split: the image above its overlay, wrong answers first. "" where the run kept no maps."""
    parts = {split: found for split in run.predicted() if (found := _split(run, split))}
    if not parts:
        return _none(run)
    result = scores.primary(run)
    first = result.split if result and result.split in parts else next(iter(parts))
    out = page.paragraph(
        "Grad-CAM (Selvaraju et al. 2017) for the predicted class: the brighter, the more the last map of the "
        "network spoke for that class there. Each picture is scaled to its own strongest place, so it compares places, "
        "not pictures; the map is coarse and says where, not what.",
        "soft",
    )
    for split in [first, *(name for name in parts if name != first)]:
        title = scores.SPLITS.get(split, split).capitalize()
        out += f"<h3>{title}</h3>{parts[split]}" if split == first else page.details(title, parts[split])
    return out


def _none(run: Run) -> str:
    """Why there are no maps, where a run of before explain_<split>.json said so."""
    for split in run.predicted():
        path = run.folder / f"cam_{split}.json"
        if path.is_file():
            return page.paragraph(json.loads(path.read_text("utf-8"))["none"], "soft")
    return ""


def _split(run: Run, split: str) -> str:
    heat, places, pixels = (run.array(f"{split}_{name}") for name in ("cam", "cam_places", "cam_pixels"))
    table = run.predictions(split)
    if heat is None or places is None or pixels is None or not len(places) or not {"label", "prediction"} <= set(table):
        return ""
    size, grid = heat.shape[-1], " × ".join(map(str, heat.shape[1:]))
    wrong, right = [], []
    for i, place in enumerate(places):
        row = table.iloc[int(place)]
        picture = overlaid(np.asarray(pixels[i]), np.asarray(heat[i]))
        kept = right if row["label"] == row["prediction"] else wrong
        kept.append(page.pixels(picture, f"{row['label']}: where the network looked", _caption(row, table)))
    n_wrong = int(np.sum(table["label"].to_numpy() != table["prediction"].to_numpy()))
    out = f"<h3>Wrong ({len(wrong)} of {n_wrong}, the most confident)</h3>{page.cards(wrong)}" if wrong else ""
    if right:
        total = len(table) - n_wrong
        out += f"<h3>Right ({len(right)} of {total}, sampled at random)</h3>{page.cards(right)}"
    return out + page.paragraph(f"The map has {grid} places{' only' if size < 10 else ''}.", "soft") if out else ""


def _caption(row: Any, table: Any) -> str:
    key = f"p_{row['prediction']}"
    sure = f" {share(float(row[key]), 2)}" if key in table else ""
    verdict = "right" if row["label"] == row["prediction"] else f"said {page.escape(row['prediction'])}"
    return f"<b>{page.escape(row['label'])}</b>, {verdict}{sure}" + page.identifier(row["id"])


def overlaid(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W[, 3]) uint8 image, (h, w) uint8 heat → (2·S, S, 3) uint8: the image, below it its heat."""
    image = Image.fromarray(pixels).convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    share = np.asarray(Image.fromarray(heat).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)) / 255.0
    colour = matplotlib.colormaps[COLOURS](share)[..., :3]
    cover = (STRONGEST * share)[..., None]
    grey = np.asarray(image.convert("L"))[..., None] / 255.0  # the heat's colours are read against grey
    over = (1 - cover) * (0.35 + 0.65 * grey if grey.mean() < 0.35 else grey) + cover * colour
    return np.vstack([np.asarray(image), (over * 255).round().astype(np.uint8)])
