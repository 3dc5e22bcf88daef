"""How a hand draws: ideal parts become wobbly strokes, and QuickDraw's simplified strokes become pictures.

What makes the drawings human: corners that miss, bowed edges, loops that overlap or stay open, strokes split at a
corner or in mid-curve, any start and direction, parts slightly displaced, lines drawn twice, a page held askew.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from sketchlab.data.sets.shapes.parts import Part
from sketchlab.data.strokes.simplify import SIDE, Drawing

MARGIN = 0.07  # white on each side of a picture, share of its size
LINE_WIDTH = 0.021  # share of the picture's size
_WAVES = np.array(
    [0.45, 1.1, 2.3, 4.1]
)  # cycles along a stroke; not whole numbers, so that a loop does not close by itself


def _wobble(n: int, g: np.random.Generator, size: float) -> np.ndarray:
    """(n, 2) slow displacements with a standard deviation of about `size` along a stroke."""
    t = np.linspace(0, 2 * np.pi, n)[:, None] * _WAVES  # (n, waves)
    phase, height = g.uniform(0, 2 * np.pi, (2, 4)), g.normal(0, size, (2, 4)) / np.array([1, 1.3, 2.2, 4])
    return np.stack([np.cos(t + phase[axis]) @ height[axis] for axis in (0, 1)], axis=1)


def _curve(part: Part, g: np.random.Generator, slop: float) -> list[np.ndarray]:
    points, n = part.points, len(part.points)
    reach = float(np.ptp(points, axis=0).max())
    if part.closed:  # a lap that ends too early or too late, from anywhere
        lap = max(8, round(n * (1 + g.normal(0.005, 0.035 * slop))))
        points = points[(int(g.integers(n)) + np.arange(lap + 1)) % n]
    if g.random() < 0.35:
        points = points[::-1]
    points = points + _wobble(len(points), g, slop * (0.008 + 0.018 * reach))
    if part.closed:  # the hand comes back a little beside where it began
        points = points + np.linspace(-0.5, 0.5, len(points))[:, None] * g.normal(0, 0.03 * slop * reach, 2)
    if reach > 0.8 and g.random() < 0.14:
        cut = int(g.integers(len(points) // 4, 3 * len(points) // 4))
        return [points[: cut + 1], points[cut:] + g.normal(0, 0.015 * slop, 2)]
    return [points]


def _edges(corners: np.ndarray, g: np.random.Generator, slop: float, rounds: int) -> np.ndarray:
    """(k, 2) corners → a dense stroke with bowed edges, ends that miss and corners rounded `rounds` times."""
    steps = corners[1:] - corners[:-1]
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    miss = np.clip(g.normal(0, 0.035 * slop, 2), -0.25 * lengths[[0, -1]], 0.3)
    corners, unit = corners.copy(), steps / np.maximum(lengths, 1e-9)[:, None]
    corners[0] -= unit[0] * miss[0]
    corners[-1] += unit[-1] * miss[1]
    t = np.linspace(0, 1, 10)[:-1]
    bow = g.normal(0, 0.03 * slop, len(steps)) * lengths
    side = np.stack([-unit[:, 1], unit[:, 0]], axis=1) * bow[:, None]
    dense = corners[:-1, None] + (corners[1:] - corners[:-1])[:, None] * t[:, None]  # (edges, steps, 2)
    dense = dense + side[:, None] * np.sin(np.pi * t)[:, None]
    stroke = np.concatenate([dense.reshape(-1, 2), corners[-1:]])
    for _ in range(rounds):
        stroke[1:-1] = 0.5 * stroke[1:-1] + 0.25 * (stroke[:-2] + stroke[2:])
    return stroke + _wobble(len(stroke), g, slop * 0.005 * float(lengths.sum()) ** 0.5)


def _polygon(part: Part, g: np.random.Generator, slop: float, rounds: int) -> list[np.ndarray]:
    corners = part.points
    reach = float(np.ptp(corners, axis=0).max())
    jitter = slop * (0.006 + 0.016 * reach)
    corners = corners + g.normal(0, jitter, corners.shape)
    if part.closed:
        k = len(corners)
        corners = corners[(int(g.integers(k)) + np.arange(k + 1)) % k]
        corners[-1] += g.normal(0, jitter, 2)
    if g.random() < 0.4:
        corners = corners[::-1]
    n_edges, style = len(corners) - 1, g.random()
    if style < 0.62 or n_edges == 1:
        cuts: list[int] = []
    elif style < 0.76:  # every edge a stroke of its own
        cuts = list(range(1, n_edges))
    else:
        cuts = sorted({int(g.integers(1, n_edges)) for _ in range(1 + (n_edges > 4))})
    ends = [0, *cuts, n_edges]
    return [
        _edges(corners[a : b + 1] + (g.normal(0, jitter * 0.6, (b + 1 - a, 2)) if cuts else 0.0), g, slop, rounds)
        for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]


def sketch(parts: list[Part], g: np.random.Generator) -> list[np.ndarray]:
    """One person's drawing of `parts`: strokes as dense (n, 2) arrays in the parts' units, in the order drawn."""
    slop = float(np.clip(np.exp(g.normal(0.15, 0.35)), 0.5, 2.2))
    rounds = int(g.choice([0, 0, 1, 2, 4]))
    turn, stretch, shear, taper = g.normal(0, [0.07, 0.1, 0.07, 0.08])
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ np.array(
        [[np.exp(stretch), 0.0], [shear, np.exp(-stretch)]]
    )
    strokes: list[np.ndarray] = []
    for part in parts:
        if part.drawn:
            shift, grow = g.normal(0, 0.022 * slop, 2), np.exp(g.normal(0, 0.03 * slop))
            made = _curve(part, g, slop) if part.smooth else _polygon(part, g, slop, rounds)
            centre = part.points.mean(axis=0)
            strokes += [(stroke - centre) * grow + centre + shift for stroke in made]
    if g.random() < 0.05:  # a line drawn once more
        again = strokes[int(g.integers(len(strokes)))]
        strokes.append(again + _wobble(len(again), g, 0.02 * slop))
    if g.random() < 0.2:
        strokes = [strokes[i] for i in g.permutation(len(strokes))]
    strokes = [stroke @ matrix for stroke in strokes]
    return [stroke * np.stack([1 + taper * stroke[:, 1], np.ones(len(stroke))], axis=1) for stroke in strokes]


def render(strokes: Drawing, size_px: int) -> np.ndarray:
    """(S, S) uint8: the drawing centred, dark ink on white, antialiased, line width and margin in proportion."""
    fine = 4 if size_px <= 128 else 2
    side = size_px * fine
    scale = side * (1 - 2 * MARGIN) / SIDE
    width = max(fine, round(side * LINE_WIDTH))
    image = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(image)
    xs, ys = [x for stroke in strokes for x in stroke[0]], [y for stroke in strokes for y in stroke[1]]
    left, top = (side - scale * (min(xs) + max(xs))) / 2, (side - scale * (min(ys) + max(ys))) / 2
    for stroke in strokes:
        line = [(left + scale * x, top + scale * y) for x, y in zip(*stroke, strict=True)]
        pen.line(line, fill=0, width=width, joint="curve")
        for x, y in (line[0], line[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=0)
    return np.asarray(image.reduce(fine))
