"""Filled pictures of the 18 objects: colour, shading, texture, a cast shadow, scenery and noise stand in for photos.

The geometry is the object's own (objects.py), so the photo and the sketches of one object agree.
"""

from __future__ import annotations

import colorsys
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sketchlab.data.sets.shapes.parts import Part, Rng

Tint = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]  # ranges of hue, saturation and value

ANY: Tint = ((0, 1), (0.25, 0.95), (0.35, 0.95))
PASTEL: Tint = ((0, 1), (0.1, 0.5), (0.7, 1))
WOOD: Tint = ((0.05, 0.11), (0.35, 0.75), (0.35, 0.75))
SNOW: Tint = ((0.5, 0.65), (0, 0.1), (0.87, 1))
GLOW: Tint = ((0.06, 0.17), (0.5, 1), (0.85, 1))

# "class slot", else "slot", else ANY; digits at the end of a slot only keep colours apart
TINTS: dict[str, Tint] = {
    "cloud body": ((0.5, 0.65), (0, 0.15), (0.75, 1)),
    "donut body": ((0.05, 0.1), (0.4, 0.85), (0.45, 0.9)),
    "smiley face body": ((0, 0.2), (0.35, 1), (0.75, 1)),
    "sun body": GLOW,
    "ray": GLOW,
    "icing": ((0, 1), (0.2, 0.7), (0.4, 1)),
    "white": SNOW,
    "snow": SNOW,
    "dark": ((0, 1), (0, 0.5), (0.03, 0.2)),
    "shaft": WOOD,
    "tape": ((0, 1), (0, 0.25), (0.05, 0.95)),
    "cap": WOOD,
    "glass": ((0.45, 0.6), (0.05, 0.25), (0.7, 0.97)),
    "sand": ((0.08, 0.14), (0.35, 0.75), (0.6, 0.95)),
    "wall": PASTEL,
    "roof": ((0.98, 1.08), (0.35, 0.85), (0.25, 0.7)),
    "pane": ((0.5, 0.62), (0.15, 0.5), (0.4, 0.95)),
    "scoop": PASTEL,
    "cone": ((0.07, 0.12), (0.4, 0.75), (0.65, 0.92)),
    "waffle": ((0.05, 0.08), (0.6, 0.9), (0.35, 0.5)),
    "cherry": ((0.95, 1.02), (0.7, 1), (0.6, 0.9)),
    "mouth": ((0.95, 1.02), (0.5, 0.9), (0.4, 0.8)),
    "rock": ((0.5, 1.12), (0.03, 0.3), (0.25, 0.65)),
    "wire": ((0, 1), (0, 0.35), (0.55, 0.97)),
}
# what lies behind: pairs of colours from top to bottom, and how the texture is stretched (cells across, cells down)
SCENES: dict[str, tuple[Tint, Tint, tuple[int, int]]] = {
    "sky": (((0.52, 0.65), (0.15, 0.7), (0.55, 1)), ((0.5, 0.62), (0.05, 0.4), (0.7, 1)), (3, 4)),
    "lawn": (((0.2, 0.36), (0.3, 0.75), (0.3, 0.7)), ((0.2, 0.36), (0.3, 0.75), (0.25, 0.6)), (24, 24)),
    "table": (WOOD, WOOD, (3, 22)),
    "wall": (((0, 1), (0, 0.35), (0.35, 0.95)), ((0, 1), (0, 0.35), (0.3, 0.9)), (10, 10)),
    "sea": (((0.5, 0.66), (0.1, 0.5), (0.7, 1)), ((0.48, 0.62), (0.4, 0.85), (0.25, 0.6)), (5, 18)),
    "sand": (((0.52, 0.62), (0.1, 0.5), (0.7, 1)), ((0.08, 0.13), (0.2, 0.5), (0.6, 0.9)), (20, 20)),
}


def _colour(tint: Tint, g: Rng) -> np.ndarray:
    h, s, v = (g.uniform(low, high) for low, high in tint)
    return np.array(colorsys.hsv_to_rgb(h % 1, s, v))


def _tint(name: str, slot: str) -> Tint:
    slot = slot.rstrip("0123456789")
    return TINTS.get(f"{name} {slot}", TINTS.get(slot, ANY))


def _texture(g: Rng, side: int, across: int, down: int) -> np.ndarray:
    """(S, S) smooth noise of about unit variance in two octaves, the same picture at every size."""
    total = np.zeros((side, side))
    for octave, weight in ((1, 0.8), (2, 0.6)):
        grid = g.standard_normal((down * octave, across * octave)).astype(np.float32)
        total += weight * np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC))
    return total


def _blur(mask: np.ndarray, radius_px: float) -> np.ndarray:
    image = Image.fromarray(np.rint(mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius_px))
    return np.asarray(image, dtype=float) / 255


def _mask(parts: list[Part], place: np.ndarray, scale: float, side: int) -> np.ndarray:
    """(S, S) in [0, 1]: what `parts` cover, antialiased."""
    fine = 3 if side <= 128 else 2
    image = Image.new("L", (side * fine, side * fine), 0)
    brush = ImageDraw.Draw(image)
    for part in parts:
        spots = [tuple(p) for p in ((part.points * scale + place) * fine).tolist()]
        if not part.width:
            brush.polygon(spots, fill=255)
            continue
        width = max(fine, part.width * scale * fine)
        brush.line(spots, fill=255, width=round(width), joint="curve")
        for x, y in (spots[0], spots[-1]):
            brush.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return np.asarray(image.reduce(fine), dtype=float) / 255


def _scenery(g: Rng, side: int, away_from: np.ndarray) -> np.ndarray:
    """(S, S, 3) background whose colours keep some distance from the object's main colour."""
    top = bottom = np.zeros(3)
    cells = (1, 1)
    for _ in range(20):  # then take what came
        upper, lower, cells = SCENES[str(g.choice(list(SCENES)))]
        top, bottom = _colour(upper, g), _colour(lower, g)
        if min(np.abs(colour - away_from).max() for colour in (top, bottom)) > 0.25:
            break
    sharp, horizon = g.choice([1.5, 30.0], p=[0.65, 0.35]), g.uniform(0.3, 0.75)
    down = 1 / (1 + np.exp(-(np.arange(side) / side - horizon) * sharp * 3))  # a soft change of colour, or a horizon
    base = top + (bottom - top) * down[:, None, None]
    grain = g.uniform(0.02, 0.07) * _texture(g, side, *cells) + g.uniform(0.01, 0.07) * _texture(g, side, 3, 3)
    return base + grain[..., None]


def paint(name: str, parts: list[Part], size_px: int, g: Rng) -> np.ndarray:
    """One object as a (3, S, S) uint8 picture. g: the photographer's generator, apart from the object's."""
    painted = [part for part in parts if part.fill]
    spots = np.concatenate([part.points for part in painted])
    low, reach = spots.min(axis=0), np.ptp(spots, axis=0)
    scale = size_px * g.uniform(0.52, 0.8) / max(float(reach.max()), 0.5)
    room = size_px - reach * scale
    place = room * (0.5 + g.uniform(-0.3, 0.3, 2)) - low * scale
    angle, depth, grain = g.uniform(0, 2 * np.pi), g.uniform(0.15, 0.5), g.uniform(0.02, 0.09)
    light = np.array([np.cos(angle), np.sin(angle)])
    colours = {slot: _colour(_tint(name, slot), g) for slot in dict.fromkeys(p.fill for p in painted)}
    ground = _scenery(g, size_px, colours[painted[0].fill])
    layers = [(slot, _mask(list(group), place, scale, size_px)) for slot, group in groupby(painted, lambda p: p.fill)]

    cover = np.zeros((size_px, size_px))
    for slot, mask in layers:
        cover = np.maximum(cover, mask) if slot != "hole" else cover * (1 - mask)
    away = np.rint(-light * size_px * g.uniform(0.015, 0.06)).astype(int)
    shadow = _blur(np.roll(cover, (away[1], away[0]), axis=(0, 1)), size_px * g.uniform(0.01, 0.04))
    ground = ground * (1 - g.uniform(0.2, 0.6) * shadow)[..., None]

    soft, canvas, rough = size_px * 0.05, ground, _texture(g, size_px, 14, 14)
    for slot, mask in layers:
        if slot == "hole":
            canvas = canvas + (ground - canvas) * mask[..., None]
            continue
        slope_y, slope_x = np.gradient(_blur(mask, soft))
        shade = 1 - depth * 2 * soft * (slope_x * light[0] + slope_y * light[1]) + grain * rough
        canvas = canvas + (colours[slot] * shade[..., None] - canvas) * mask[..., None]
    step = np.linspace(-0.5, 0.5, size_px)
    fall = 1 + g.uniform(0, 0.3) * (step * light[0] + step[:, None] * light[1])
    noise = g.uniform(0.004, 0.03) * g.standard_normal((size_px, size_px, 3), dtype=np.float32)
    return np.rint(np.clip(canvas * fall[..., None] + noise, 0, 1) * 255).astype(np.uint8).transpose(2, 0, 1)
