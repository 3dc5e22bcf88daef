"""Compiled loops over strokes for the CPU: gathering from many files, and drawing. Imported where they are used."""

from __future__ import annotations

from typing import Any

import numpy as np

from sketchlab.data.strokes.compiled import njit


@njit()
def sizes(first: Any, part: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and strokes of each drawing asked for: drawing `local` of file `part`. first: list of (N + 1, 2)."""
    n = len(part)
    points, strokes = np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        edges = first[part[i]]
        points[i] = edges[local[i] + 1, 0] - edges[local[i], 0]
        strokes[i] = edges[local[i] + 1, 1] - edges[local[i], 1]
    return points, strokes


@njit()
def gather(
    first: Any,
    all_points: Any,
    all_lengths: Any,
    part: np.ndarray,
    local: np.ndarray,
    points: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """Copy those drawings, one after another, into points (P, 2) uint8 and lengths (S,) int64."""
    p = s = 0
    for i in range(len(part)):
        edges, which = first[part[i]], local[i]
        source = all_points[part[i]]
        for j in range(edges[which, 0], edges[which + 1, 0]):
            points[p, 0] = source[j, 0]
            points[p, 1] = source[j, 1]
            p += 1
        of_stroke = all_lengths[part[i]]
        for j in range(edges[which, 1], edges[which + 1, 1]):
            lengths[s] = of_stroke[j]
            s += 1


@njit(inline="always")
def _thin(frame: np.ndarray, x: int, y: int, x_end: int, y_end: int, cell: np.ndarray, side: int, pool: int) -> None:
    """Integer midpoint line of 1 px, both ends included and on the canvas, into the cells of `frame`.

    Pixel t lies ⌊(2 t · short + long) / (2 long)⌋ along the shorter axis. Along the longer one a line passes `pool`
    pixels of a cell and at most two cells abreast: those of its first and its last pixel there. Quotients in doubles
    are cut off at the right whole number: with 1 / (4 long) added, none is nearer to one than that.
    """
    dx, dy = abs(x_end - x), abs(y_end - y)
    if dy >= dx:
        long, slope, along, across = dy, dx / max(dy, 1), y, x
        forward, sideways = y_end > y, 1 if x_end > x else -1
        jump, beside = side, 1
    else:
        long, slope, along, across = dx, dy / dx, x, y
        forward, sideways = x_end > x, 1 if y_end > y else -1
        jump, beside = 1, side
    half = 0.5 + 0.25 / max(long, 1)
    inside = along % pool
    first, last = 0, pool - 1 - inside if forward else inside
    place = cell[along] * jump
    jump = jump if forward else -jump
    while first <= long:
        last = min(last, long)
        a = cell[np.uint32(across + sideways * np.int32(first * slope + half))]
        b = cell[np.uint32(across + sideways * np.int32(last * slope + half))]
        frame[np.uint32(place + a * beside)] = 255
        frame[np.uint32(place + b * beside)] = 255
        place += jump
        first, last = last + 1, last + pool


@njit()
def _thick(
    frame: np.ndarray, x: int, y: int, x_end: int, y_end: int, cell: np.ndarray, row: np.ndarray, brush: np.ndarray
) -> None:
    """The same line drawn with a brush of any shape; what leaves the canvas is not drawn."""
    dx, dy = abs(x_end - x), abs(y_end - y)
    step_x, step_y = 1 if x_end > x else -1, 1 if y_end > y else -1
    steep = dy >= dx
    long, short = (dy, dx) if steep else (dx, dy)
    error = 2 * short - long
    for _ in range(long + 1):
        for k in range(len(brush)):
            u, v = x + brush[k, 0], y + brush[k, 1]
            if 0 <= u < len(cell) and 0 <= v < len(cell):
                frame[row[v] + cell[u]] = 255
        turn = error >= 0
        error += 2 * (short - long) if turn else 2 * short
        x += step_x if turn or not steep else 0
        y += step_y if turn or steep else 0


@njit()
def draw(
    points: np.ndarray,
    lengths: np.ndarray,
    counts: np.ndarray,
    layers: np.ndarray,
    used: np.ndarray,
    cell: np.ndarray,
    brush: np.ndarray,
    cumulative: bool,
    out: np.ndarray,
) -> None:
    """points (P, 2) int32 on the canvas → out (B, T, side · side) uint8, all of it written: 0 or 255.

    layers (S,): the frame in which each stroke first stands, ascending within a drawing, T or more = never.
    used (B,): frames from here on are empty. cell (canvas,) int32: the row or column of `out` that a pixel belongs to.
    """
    side = cell[-1] + 1
    canvas, thin, pool, row = len(cell), len(brush) == 1, len(cell) // side, cell * side
    s = p = 0
    for b in range(len(counts)):
        stop = s + counts[b]
        for k in range(out.shape[1]):
            frame = out[b, k]
            if cumulative and 0 < k < used[b]:
                before = out[b, k - 1]
                for j in range(len(frame)):
                    frame[j] = before[j]
            else:
                frame[:] = 0
            while s < stop and layers[s] == k and k < used[b]:
                end = p + lengths[s]
                for i in range(p, end - 1 if lengths[s] > 1 else end):
                    x, y = points[i, 0], points[i, 1]
                    x_end, y_end = points[min(i + 1, end - 1), 0], points[min(i + 1, end - 1), 1]
                    if thin and min(x, y, x_end, y_end) >= 0 and max(x, y, x_end, y_end) < canvas:
                        _thin(frame, x, y, x_end, y_end, cell, side, pool)
                    else:
                        _thick(frame, x, y, x_end, y_end, cell, row, brush)
                p = end
                s += 1
        while s < stop:
            p += lengths[s]
            s += 1
