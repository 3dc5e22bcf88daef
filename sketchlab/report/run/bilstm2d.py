"""Of a network that mixes a map in space: how far its middle sees, and what its LSTMs hold at each place."""

from __future__ import annotations

import matplotlib
import numpy as np
from PIL import Image

from sketchlab.report import canvas, page, scores
from sketchlab.report.read import Run

SIDE_PX = 160  # of a receptive field
TILE_PX = 56  # of a map of hidden states
GAP_PX = 3
COLOURS = "plasma"  # dark to light: read in grey, and by the colour-blind
FIELDS = ("the convolutions alone", "with the LSTMs")


def mixing(run: Run) -> str:
    """Both pictures of the split of the result, which are kept in plots/ too; "" where the run kept none."""
    result = scores.primary(run)
    names = [result.split] if result else []
    split = next((s for s in [*names, *run.predicted()] if run.array(f"{s}_erf") is not None), None)
    return "" if split is None else _fields(run, split) + _hidden(run, split)


def _fields(run: Run, split: str) -> str:
    erf, count, states = (run.array(f"{split}_{name}") for name in ("erf", "erf_images", "hidden"))
    if erf is None or count is None or states is None:
        return ""
    grid, size, cards = states.shape[-1], erf.shape[-1], []
    middle = (grid // 2 + 0.5) * size / grid - 0.5
    for place, (field, name) in enumerate(zip(np.asarray(erf, dtype=float), FIELDS, strict=True)):
        wide = " and ".join(
            f"{share:.0%} of it in a square of {square(field, share, middle)} px" for share in (0.5, 0.9)
        )
        picture = coloured(np.sqrt(field), SIDE_PX, Image.Resampling.NEAREST)
        canvas.keep(run, picture, f"receptive_field_{place}")
        cards.append(page.pixels(picture, f"receptive field, {name}", f"<b>{name}</b><br>{wide}"))
    text = (
        f"Effective receptive field (Luo et al. 2016, measured as by Ding et al. 2022), mean of {int(count[0])} "
        f"drawings of {scores.SPLITS.get(split, split)}: how much each pixel of the {size} × {size} frames moves the "
        f"central place of the {grid} × {grid} map; the square root of the positive gradient, brightest = 1. The "
        "square around that place is the smallest that holds so much of it."
    )
    return f"<h3>How far the middle sees</h3>{page.paragraph(text, 'soft')}{page.cards(cards, wide=True)}"


def _hidden(run: Run, split: str) -> str:
    names = ("hidden", "hidden_places", "hidden_pixels")
    states, places, pixels = (run.array(f"{split}_{name}") for name in names)
    if states is None or places is None or pixels is None:
        return ""
    table = run.predictions(split)
    cards = []
    for number, (one, place, drawing) in enumerate(zip(states, places, pixels, strict=True)):
        row = table.iloc[int(place)]
        caption = f"<b>{page.escape(row['label'])}</b>, said {page.escape(row['prediction'])}"
        picture = sheet(np.asarray(drawing), np.asarray(one))
        canvas.keep(run, picture, f"hidden_states_{number}")
        cards.append(page.pixels(picture, f"hidden states: {row['label']}", caption))
    text = (
        "Hidden states of the LSTMs: at each place the mean over units of their size, dark = the least of a map, "
        "bright = the most. Left: the drawing. Columns: read downwards, upwards, to the right, to the left. Rows: the "
        "first block, the second, and so on."
    )
    return f"<h3>What the LSTMs hold</h3>{page.paragraph(text, 'soft')}{page.cards(cards, wide=True)}"


def square(field: np.ndarray, share: float, middle: float) -> int:
    """Side in px of the smallest square around pixel (middle, middle) of (S, S) that holds `share` of its sum."""
    far = np.abs(np.arange(len(field)) - middle)
    far = np.maximum(far[:, None], far[None, :]).ravel()
    order = np.argsort(far, kind="stable")
    inside = np.cumsum(field.ravel()[order])
    reach = far[order][np.searchsorted(inside, share * inside[-1])]
    return min(len(field), int(2 * reach) + 1)


def coloured(values: np.ndarray, side_px: int, how: Image.Resampling) -> np.ndarray:
    """(h, w) in [0, 1] → (side, side, 3) uint8."""
    shades = (matplotlib.colormaps[COLOURS](values)[..., :3] * 255).round().astype(np.uint8)
    return np.asarray(Image.fromarray(shades).resize((side_px, side_px), how))


def sheet(drawing: np.ndarray, states: np.ndarray) -> np.ndarray:
    """(S, S) uint8, (stages, directions, h, w) → one picture: the drawing, and a row of maps for each stage."""
    rows, columns = states.shape[:2]
    step = TILE_PX + GAP_PX
    tall = rows * step - GAP_PX
    out = np.full((tall, tall + GAP_PX + columns * step - GAP_PX, 3), 255, np.uint8)
    picture = Image.fromarray(drawing).convert("RGB").resize((tall, tall), Image.Resampling.BILINEAR)
    out[:, :tall] = np.asarray(picture)
    for i, j in np.ndindex(rows, columns):
        one = states[i, j].astype(float)
        spread = np.ptp(one)
        tile = coloured((one - one.min()) / spread if spread else one * 0, TILE_PX, Image.Resampling.NEAREST)
        top, left = i * step, tall + GAP_PX + j * step
        out[top : top + TILE_PX, left : left + TILE_PX] = tile
    return out
