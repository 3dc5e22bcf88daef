"""A clean shape in place of a drawing: where, how large and how turned, by fitting ideal outlines to its ink.

Each variant of a class's form is tried at every angle 10° apart, brought to the drawing's box as seen at that angle,
and judged by the chamfer distance: the mean distance from ink to outline plus the mean from outline to ink. The best
few are refined by Nelder and Mead's simplex. No randomness: the same drawing gives the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from sketchlab.app.clean_forms import FORMS, Form

_STEP_DEG = 10
_COARSE, _FINE = 48, 160  # points on ink and outline, to search and to refine
_REFINED = 3  # starts that are refined
_AWAY = 0.01  # added to the distance at half a turn from where the shape is expected, share of the size


@dataclass(frozen=True)
class Clean:
    """A clean shape, in the units of the drawing."""

    strokes: list[np.ndarray]  # (n, 2)
    size: tuple[float, float]  # width and height of the shape as it stands upright
    turn_deg: float | None  # clockwise from upright; None: the class has no orientation
    distance: float  # chamfer distance to the drawing, share of the drawing's longer side


def clean(name: str, strokes: list[np.ndarray], near_deg: float = 0) -> Clean | None:
    """The form of class `name` that lies best on a drawing of (n, 2) strokes; None for a class without a clean form.

    near_deg: of two fits as good, the one turned nearest to this: upright, or what a network says.
    """
    if name not in FORMS:
        return None
    ink = np.concatenate(strokes)
    middle, reach = (ink.min(0) + ink.max(0)) / 2, max(float(np.ptp(ink, axis=0).max()), 1e-6)
    drawn = [(stroke - middle) / reach for stroke in strokes]
    near, first, more = np.radians(near_deg), [], []
    for form in FORMS[name]():
        best, *others = sorted(((*start, form) for start in _starts(form, _spread(drawn, _COARSE), near)), key=_cost)
        first.append(best)
        more += others
    found = [*sorted(first, key=_cost), *sorted(more, key=_cost)][:_REFINED]  # different forms before other angles
    refined = [_refine(form, start, _spread(drawn, _FINE), near) for _, start, form in found]
    chosen = min(range(len(refined)), key=lambda i: refined[i][0])
    (distance, place), form = refined[chosen], found[chosen][2]
    placed = [_placed(stroke, place) * reach + middle for stroke in form.strokes]
    width, height = np.ptp(np.concatenate(form.strokes), axis=0) * np.exp(place[2:4]) * reach
    return Clean(placed, (float(width), float(height)), _turn(form, place), distance)


def _cost(start: tuple[float, np.ndarray, Form]) -> float:
    return start[0]


def _turn(form: Form, place: np.ndarray) -> float | None:
    """Degrees, the smallest turn that looks the same."""
    if not form.turn_deg:
        return None
    turn = float(np.degrees(place[4]))
    return turn - form.turn_deg * round(turn / form.turn_deg)


def _spread(strokes: list[np.ndarray], n: int) -> np.ndarray:
    """(m, 2) about n points at equal distances along all strokes, at least one on each."""
    lengths = [np.hypot(*np.diff(stroke, axis=0).T).sum() for stroke in strokes]
    step = max(sum(lengths) / n, 1e-9)
    out = []
    for stroke, length in zip(strokes, lengths, strict=True):
        along = np.concatenate([[0.0], np.hypot(*np.diff(stroke, axis=0).T).cumsum()])
        at = (np.arange(max(1, round(length / step))) + 0.5) * length / max(1, round(length / step))
        out.append(np.stack([np.interp(at, along, axis) for axis in stroke.T], axis=1))
    points = np.concatenate(out)
    return points if len(points) <= 2 * n else points[np.linspace(0, len(points) - 1, 2 * n).astype(int)]


def _placed(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(n, 2) of a form → the drawing's units. place: x, y, log width, log height, turn (rad), mirrored (±1)."""
    x, y, wide, high, turn, mirrored = place
    scaled = points * (np.exp(wide) * mirrored, np.exp(high))
    c, s = np.cos(turn), np.sin(turn)
    return scaled @ np.array([[c, s], [-s, c]]) + (x, y)


def _chamfer(ink: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """(n, 2) and (…, m, 2) → (…)"""
    gap = cdist(ink, outline.reshape(-1, 2)).reshape(len(ink), *outline.shape[:-1])  # (n, …, m)
    return gap.min(-1).mean(0) + gap.min(0).mean(-1)


def _starts(form: Form, ink: np.ndarray, near: float) -> list[tuple[float, np.ndarray]]:
    """(distance, place) for every angle, the form's box on the drawing's as seen at that angle."""
    points = _spread(form.strokes, _COARSE)
    low, high = points.min(0), points.max(0)
    places = []
    n = max(1, round(form.turn_deg / _STEP_DEG))
    for turn in np.radians((np.arange(n) - n // 2) * (form.turn_deg / n)):
        c, s = np.cos(turn), np.sin(turn)
        seen = ink @ np.array([[c, -s], [s, c]])  # turned back
        for mirrored in (1, -1) if form.mirror else (1,):
            scale = np.maximum(np.ptp(seen, axis=0), 0.02) / np.maximum(high - low, 0.02)
            if not form.stretch:
                scale[:] = max(np.ptp(seen, axis=0).max(), 0.02) / (high - low).max()
            shift = (seen.min(0) + seen.max(0)) / 2 - (low + high) / 2 * scale * (mirrored, 1)
            places.append([*(shift @ np.array([[c, s], [-s, c]])), *np.log(scale), turn, mirrored])
    distances = _chamfer(ink, np.stack([_placed(points, np.array(place)) for place in places]))
    return [(d + _away(p[4] - near), np.array(p)) for d, p in zip(distances.tolist(), places, strict=True)]


def _away(turn: float) -> float:
    return _AWAY * abs((turn + np.pi) % (2 * np.pi) - np.pi) / np.pi


def _refine(form: Form, start: np.ndarray, ink: np.ndarray, near: float) -> tuple[float, np.ndarray]:
    """(distance, place) after the simplex has moved, sized and turned the form."""
    points = _spread(form.strokes, _FINE)
    free = [0, 1, 2, *([3] if form.stretch else []), *([4] if form.turn_deg else [])]

    def at(values: np.ndarray) -> np.ndarray:
        place = start.copy()
        place[free] = values
        if not form.stretch:
            place[3] = start[3] + place[2] - start[2]
        return place

    def cost(values: np.ndarray) -> float:
        place = at(values)
        return float(_chamfer(ink, _placed(points, place))) + _away(place[4] - near)

    simplex = np.stack([start[free]] * (len(free) + 1))
    for row, key in enumerate(free):
        simplex[row + 1, row] += {0: 0.04, 1: 0.04, 2: 0.08, 3: 0.08, 4: 0.1}[key]
    options = {"initial_simplex": simplex, "maxfev": 160, "xatol": 1e-4, "fatol": 1e-5}
    found = minimize(cost, start[free], method="Nelder-Mead", options=options)
    return float(found.fun), at(found.x)
