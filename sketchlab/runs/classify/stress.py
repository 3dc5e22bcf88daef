"""How far an image may be turned, scaled, moved or redrawn before a classifier's answer goes wrong.

Here for images; stress_strokes.py has the same for drawings kept as strokes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as geometry
from tqdm import tqdm

from sketchlab import rng
from sketchlab.data.images.augment import background

# kind → levels; the level at which nothing changes is among them. rotation: degrees, clockwise; scale: magnification;
# shift: share of the side; thickness: pixels by which a line grows (shrinks) on either side, at the network's size
LEVELS: dict[str, tuple[float, ...]] = {
    "rotation": tuple(range(-180, 181, 30)),
    "scale": (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6),
    "shift_right": (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3),
    "shift_down": (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3),
    "thickness": (-2, -1, 0, 1, 2, 3),
}
NEUTRAL = {"rotation": 0, "scale": 1.0, "shift_right": 0.0, "shift_down": 0.0, "thickness": 0}


@dataclass(frozen=True)
class Kind:
    """One kind of change."""

    levels: tuple[float, ...]
    neutral: float  # the level, one of them, at which nothing changes
    logits: Callable[[Any, float, Tensor], Tensor]  # raw batch, level, keys (B,) of its samples → (B, n_classes)


def of_images(logits: Callable[[Tensor], Tensor], ink: str) -> dict[str, Kind]:
    """The kinds of LEVELS. logits: (B, C, S, S) uint8 → (B, n_classes). ink: bright, dark, or none: photos have no
    lines to thicken."""

    def kind(name: str) -> Kind:
        return Kind(LEVELS[name], NEUTRAL[name], lambda raw, level, _: logits(change(raw, name, level, ink)))

    return {name: kind(name) for name in LEVELS if name != "thickness" or ink != "none"}


def change(raw: Tensor, kind: str, level: float, ink: str) -> Tensor:
    """(B, C, S, S) uint8 → the same, changed by one level of a kind; what comes in at the sides is the background.

    ink: bright or dark lines, for thickness alone: there the image is filtered with the maximum (or minimum) over a
    square of 2·|level| + 1 pixels. That is not a drawing with another pen: lines closer than that run together, and
    a line thinner than that vanishes.
    """
    if level == NEUTRAL[kind]:
        return raw
    images = raw.float()
    if kind == "thickness":
        reach = int(abs(level))
        grows = (level > 0) == (ink == "bright")
        pooled = F.max_pool2d(images if grows else -images, 2 * reach + 1, stride=1, padding=reach)
        return (pooled if grows else -pooled).to(torch.uint8)
    side = raw.shape[-1]
    moved = geometry.affine(
        images - (ground := background(images)),
        angle=level if kind == "rotation" else 0.0,
        translate=[level * side if kind == "shift_right" else 0.0, level * side if kind == "shift_down" else 0.0],  # type: ignore[arg-type]
        scale=level if kind == "scale" else 1.0,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=[0.0],
    )
    return (moved + ground).clamp(0, 255).round().to(torch.uint8)


def chosen(ids: list[str], most: int) -> Tensor:
    """Places of at most `most` samples, the same for every network: those whose hash is smallest, in order."""
    keys = torch.tensor([rng.fold(0, "stress", name) for name in ids])
    return keys.argsort(stable=True)[:most].sort().values


def curves(
    logits: Callable[[Any], Tensor], kinds: dict[str, Kind], samples: Any, most: int, batch: int
) -> pd.DataFrame:
    """One row a level: kind, level, k right of n. All levels see the same samples.

    logits: raw batch → (B, n_classes), of samples as they are.
    """
    places = chosen(samples.ids, most)
    steps = [(name, level) for name, kind in kinds.items() for level in kind.levels]
    right: dict[tuple[str, float], int] = {}
    bar = tqdm(total=len(steps) * len(places), desc="stress", unit="image", mininterval=0.5, leave=False)
    with bar:
        for part in places.split(batch):
            raw, labels = samples.gather(part).cpu(), samples.labels[part].cpu()
            keys = rng.fold_each(rng.fold(0, "stress"), part)
            plain = int((logits(raw).argmax(1) == labels).sum())
            for name, level in steps:
                kind = kinds[name]
                same = level == kind.neutral
                hits = plain if same else int((kind.logits(raw, level, keys).argmax(1) == labels).sum())
                right[name, level] = right.get((name, level), 0) + hits
                bar.update(len(part))
    rows = [{"kind": name, "level": level, "k": right[name, level], "n": len(places)} for name, level in steps]
    return pd.DataFrame(rows)
