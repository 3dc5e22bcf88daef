"""Any drawing → QuickDraw's simplified convention, by Google's published recipe.

Aligned to the top-left corner, scaled uniformly so that the longer side is 255, resampled at 1 px, simplified by
Ramer-Douglas-Peucker with ε = 2.0 (README of googlecreativelab/quickdraw-dataset). What the recipe leaves open was
settled on 900 drawings known in both forms, of which 873 come out equal to the last point: samples stand 1, 2, 3 … px
along the stroke with its last point kept; distances are to the line through the end points, not to the segment;
rounding comes last, to the nearest integer. In the other 27, points tie in distance and rounding errors decide.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sketchlab.data.strokes.compiled import njit

Drawing = list[list[list[int]]]  # per stroke [[x…], [y…]], integers in 0…255

EPSILON_PX = 2.0
SIDE = 255
MOST_POINTS = 20_000  # of a drawing; QuickDraw's longest raw ones have a few thousand


class BadDrawing(Exception):
    """A drawing that cannot be used; the message says why."""


def convention(drawing: Any) -> Drawing:
    """[[x…], [y…]] or [[x…], [y…], [t…]] per stroke → simplified strokes, in the order drawn.

    A drawing without times whose coordinates lie in 0…255 is in the convention already and only rounded. All others
    are brought to it: any numbers, on the canvas or off it. Strokes without points draw nothing and are left out; a
    stroke that is a dot becomes two equal points. Raises BadDrawing.
    """
    strokes = checked(drawing)
    everything = np.concatenate(strokes)
    timed = any(len(stroke) > 2 for stroke in drawing)
    if not timed and everything.min() >= 0 and everything.max() <= SIDE:
        return [np.rint(stroke).astype(np.int64).T.tolist() for stroke in strokes]
    return simplify(strokes)


def checked(drawing: Any) -> list[np.ndarray]:
    """The strokes that have points, each (n, 2) float64. Raises BadDrawing."""
    if not isinstance(drawing, list) or not drawing:
        raise BadDrawing("no strokes" if drawing == [] else "'drawing' is not a list of strokes")
    strokes, n = [], 0
    for number, stroke in enumerate(drawing):
        where = f"stroke {number}"
        if not isinstance(stroke, list) or len(stroke) < 2 or not all(isinstance(axis, list) for axis in stroke):
            raise BadDrawing(f"{where} is not [[x…], [y…]] or [[x…], [y…], [t…]]")
        if len(stroke[0]) != len(stroke[1]):
            raise BadDrawing(f"{where} has {len(stroke[0])} x and {len(stroke[1])} y")
        n += len(stroke[0])
        if n > MOST_POINTS:
            raise BadDrawing(f"more than {MOST_POINTS:,} points")
        try:
            points = np.array(stroke[:2]).T
        except (ValueError, OverflowError):
            raise BadDrawing(f"{where} has coordinates that are no numbers") from None
        if points.dtype.kind not in "iuf" and points.size or points.ndim != 2:
            raise BadDrawing(f"{where} has coordinates that are no numbers")
        if not np.abs(points, dtype=np.float64, casting="unsafe").max(initial=0) < 1e9:  # NaN compares false
            raise BadDrawing(f"{where} has coordinates that are not finite")
        if len(points):
            strokes.append(points.astype(np.float64))
    if not strokes:
        raise BadDrawing("no points")
    return strokes


def simplify(strokes: list[np.ndarray]) -> Drawing:
    """Strokes as (n, 2) float64 in any units → the convention."""
    everything = np.concatenate(strokes)
    corner, reach = everything.min(axis=0), float(np.ptp(everything, axis=0).max())
    scale = SIDE / reach if reach > 0 else 0.0
    out = []
    for stroke in strokes:
        kept = thinned((stroke - corner) * scale)
        out.append((kept if len(kept) > 1 else np.repeat(kept, 2, axis=0)).T.tolist())
    return out


def thinned(stroke: np.ndarray) -> np.ndarray:
    """(n, 2) float64 on the canvas → (k, 2) int64: the points that the recipe keeps, where they stand."""
    fine = _one_px(stroke)
    return np.rint(fine[_kept(fine, EPSILON_PX)]).astype(np.int64)


def shortened(drawing: Drawing, most: int) -> Drawing:
    """The drawing with at most so many points: simplified as above with ε that grows by half until it fits; strokes at
    its end are left out where their end points alone are more. most: at least 2."""
    strokes, epsilon = [np.array(stroke, dtype=np.float64).T for stroke in drawing][: most // 2], EPSILON_PX
    while sum(map(len, strokes)) > most:
        strokes, epsilon = [stroke[_kept(stroke, epsilon)] for stroke in strokes], epsilon * 1.5
    return [stroke.astype(np.int64).T.tolist() for stroke in strokes]


@njit()
def _one_px(stroke: np.ndarray) -> np.ndarray:
    """(n, 2) → points every 1 px along the same line, and its last point."""
    n = len(stroke)
    along = np.zeros(n)
    for i in range(1, n):
        along[i] = along[i - 1] + math.hypot(stroke[i, 0] - stroke[i - 1, 0], stroke[i, 1] - stroke[i - 1, 1])
    steps = math.ceil(along[n - 1])
    fine = np.empty((steps + 1, 2))
    fine[steps] = stroke[n - 1]
    i = 0
    for k in range(steps):
        while along[i + 1] <= k:
            i += 1
        for axis in range(2):
            slope = (stroke[i + 1, axis] - stroke[i, axis]) / (along[i + 1] - along[i])
            fine[k, axis] = slope * (k - along[i]) + stroke[i, axis]
    return fine


@njit()
def _kept(points: np.ndarray, epsilon: float) -> np.ndarray:
    """Ramer-Douglas-Peucker: (n, 2) → (n,) bool, which points stay."""
    n = len(points)
    keep = np.zeros(n, dtype=np.bool_)
    keep[0] = keep[n - 1] = True
    low, high = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    low[0], high[0], waiting = 0, n - 1, 1
    while waiting > 0:
        waiting -= 1
        a, b = low[waiting], high[waiting]
        along_x, along_y = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        length = math.hypot(along_x, along_y)
        worst, place = -1.0, a
        for i in range(a + 1, b):
            x, y = points[i, 0] - points[a, 0], points[i, 1] - points[a, 1]
            gap = abs(along_x * y - along_y * x) / length if length > 0 else math.hypot(x, y)
            if gap > worst:
                worst, place = gap, i
        if worst > epsilon:
            keep[place] = True
            low[waiting], high[waiting] = a, place
            low[waiting + 1], high[waiting + 1] = place, b
            waiting += 2
    return keep
