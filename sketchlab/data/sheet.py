"""Contact sheets: many small images as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from sketchlab import rng
from sketchlab.data.dataset import Dataset, Pairs, Split
from sketchlab.data.strokes.prepare import of_points
from sketchlab.data.strokes.raster import pictures
from sketchlab.inputs import Input
from sketchlab.storage.files import atomic

_COLUMNS, _ROWS = 10, 6
_NAME_PX = 15  # height of a line of names
_MOST = 100_000  # of a larger split so many are looked at, sampled at random


def save(path: Path, pixels: np.ndarray) -> None:
    """(H, W) or (H, W, 3) uint8 → a PNG file, whole or not there."""
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def grid(images: Tensor, columns: int) -> np.ndarray:
    """(N, C, H, W) float in [0, 1] → (H', W', 3) uint8, row by row."""
    whole = make_grid(images.float().cpu(), nrow=columns, padding=2, pad_value=0.5)
    return (whole.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def named(sheet: np.ndarray, names: Sequence[str], columns: int) -> np.ndarray:
    """A `grid` with the name of each row's or tile's class below it, as many names as rows × columns; "" for none.

    sheet: (H, W, 3) uint8. Tiles smaller than 64 px are enlarged, so that names can be read.
    """
    rows = len(names) // columns
    side = (sheet.shape[1] - 2) // columns  # a tile and its border, px
    times = max(1, -(-64 // side))
    sheet, side = sheet.repeat(times, 0).repeat(times, 1), side * times
    height = (sheet.shape[0] - 2 * times) // rows
    out = Image.new("RGB", (sheet.shape[1], rows * (height + _NAME_PX)), (245, 245, 245))
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(11)
    for row in range(rows):
        top = row * (height + _NAME_PX)
        out.paste(Image.fromarray(sheet[row * height : (row + 1) * height + times]), (0, top))
        draw.rectangle((0, top + height, out.width, top + height + _NAME_PX), fill=(245, 245, 245))
        for column, name in enumerate(names[row * columns : (row + 1) * columns]):
            while name and draw.textlength(name, font) > side - 4:
                name = name.rstrip("…")[:-1] + "…" if len(name) > 2 else ""
            draw.text((column * side + 4, top + height + 1), name, fill=(40, 40, 40), font=font)
    return np.asarray(out)


def of_training(data: Dataset, input: Input, seed: int) -> np.ndarray:
    """What the network sees: up to 60 training samples, augmented, several of each class, which is named below each;
    pairs one above the other."""
    if input.kind in ("frames", "points"):
        return _of_strokes(data, input, seed)
    split: Any = data.splits["train"]
    parts = [split.sketch, split.photo] if isinstance(split, Pairs) else [split]
    places = _spread(parts[0], seed, _COLUMNS * (_ROWS // len(parts)))
    rows = []
    for part in parts:
        at = places
        if part is not parts[0]:  # the photo of the same object, or (split.objects false) any of the class
            key = "groups" if split.objects else "labels"
            index = {g: i for i, g in enumerate(getattr(part, key).tolist())}
            at = torch.tensor([index[g] for g in getattr(parts[0], key)[places].tolist()])
        keys = rng.fold_each(rng.fold(seed, "augment", 0), at)
        images = data.prepare(part.gather(at).cpu(), keys)
        mean, std = (torch.tensor(v)[:, None, None] for v in (input.mean, input.std))
        rows.append(
            (images * std + mean).expand(-1, 3, -1, -1) if input.channels == 1 else (images * std + mean)[:, :3]
        )
    lines = [part[i : i + _COLUMNS] for i in range(0, len(places), _COLUMNS) for part in rows]
    names = [data.classes[label] for label in parts[0].labels[places].tolist()]
    columns, images = min(_COLUMNS, len(places)), torch.cat(lines)
    below = [names[i : i + columns] for i in range(0, len(names), columns) for _ in rows]
    return named(grid(images, columns), sum(below, []), columns)


def _of_strokes(data: Dataset, input: Input, seed: int) -> np.ndarray:
    """Frames: a row a drawing, from its first stroke to its last; points: drawn again, as the network is told them."""
    split: Split = data.splits["train"]
    places = _spread(split, seed, 24 if input.kind == "frames" else _COLUMNS * _ROWS)
    names = [data.classes[label] for label in split.labels[places].tolist()]
    batch = data.prepare(split.gather(places).cpu(), rng.fold_each(rng.fold(seed, "augment", 0), places))
    if input.kind == "points":
        drawn, columns = of_points(batch, input), min(_COLUMNS, len(places))
        shown = pictures(replace(drawn, points=drawn.points.clamp(0, 255))) / 255
        return named(grid(shown, columns), names, columns)
    images = batch * input.std[0] + input.mean[0]  # (B, T, S, S)
    many = max(1, round(12 / input.channels))  # drawings side by side
    columns = min(many, len(places)) * input.channels
    below = [part for name in names for part in (name, *[""] * (input.channels - 1))]
    below += [""] * (-len(below) % columns)
    return named(grid(images.flatten(0, 1)[:, None], columns), below, columns)


def _spread(split: Split, seed: int, n: int) -> Tensor:
    """Places of n samples: a keyed shuffle, then one of each class in turn."""
    indices = np.arange(min(len(split), _MOST))
    order = torch.from_numpy(rng.permutation(indices, len(split), rng.fold(seed, "sheet")))
    labels = split.labels[order]
    turn = torch.zeros_like(labels)
    for label in labels.unique():
        here = labels == label
        turn[here] = torch.arange(int(here.sum()))
    chosen = order[torch.argsort(turn * (int(labels.max()) + 1) + labels, stable=True)[:n]]
    chosen = chosen[torch.argsort(split.labels[chosen], stable=True)]
    return chosen[: len(chosen) // _COLUMNS * _COLUMNS] if len(chosen) > _COLUMNS else chosen
