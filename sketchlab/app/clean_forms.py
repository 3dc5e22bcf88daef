"""Clean forms of the built-in shapes: ideal outlines, in some variants each, for clean.py to lay over a drawing.

Units in which a whole form is about 2 across; y points down. No form repeats the irregularities that the shapes of
data=shapes have on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sketchlab.data.sets.shapes.parts import arc, oval


@dataclass(frozen=True)
class Form:
    strokes: list[np.ndarray]  # (n, 2) each, closed ones come back to their first point
    turn_deg: float  # turned by so much it looks the same; 0: turned by anything, it has no orientation
    stretch: bool = False  # width and height may change apart from each other
    mirror: bool = False  # left and right differ, and may be swapped


def _path(*corners: tuple[float, float]) -> np.ndarray:
    return np.array(corners, dtype=float)


def _closed(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, points[:1]])


def _ring(x: float, y: float, rx: float, ry: float, n: int = 72) -> np.ndarray:
    return _closed(oval(x, y, rx, ry, n))


def _polygon(k: int) -> list[Form]:
    t = (np.arange(k) + 0.5) * (2 * np.pi / k) + np.pi / 2  # a side at the bottom
    return [Form([_closed(np.stack([np.cos(t), np.sin(t)], axis=1))], 360 / k)]


def _circle() -> list[Form]:
    return [Form([_ring(0, 0, 1, 1)], 0)]


def _cloud() -> list[Form]:
    return [Form([_closed(_puffs(n))], 180 if n % 2 == 0 else 360, stretch=True) for n in (5, 6, 7, 8, 9)]


def _puffs(n: int) -> np.ndarray:
    """n arcs around an oval."""
    rim = oval(0, 0, 0.85, 0.5, n)
    step = np.roll(rim, -1, axis=0) - rim
    out = np.stack([step[:, 1], -step[:, 0]], axis=1) * 0.38
    t = np.linspace(0, np.pi, 13)[:-1]
    lobes = (rim + step / 2)[:, None] - step[:, None] / 2 * np.cos(t)[:, None] + out[:, None] * np.sin(t)[:, None]
    return lobes.reshape(-1, 2)


def _donut() -> list[Form]:
    return [Form([_ring(0, 0, 1, 1), _ring(0, 0, hole, hole)], 0) for hole in (0.25, 0.35, 0.45, 0.55)]


def _eye() -> list[Form]:
    t = np.linspace(-1, 1, 41)
    lid = np.stack([t, -0.55 * (1 - np.abs(t) ** 1.8)], axis=1)
    lids, iris, pupil = [lid, lid[::-1] * (1, -1)], _ring(0, 0, 0.34, 0.34, 48), _ring(0, 0, 0.15, 0.15, 24)
    return [Form([*lids, *inside], 180, stretch=True) for inside in ([iris], [iris, pupil])]


def _fish() -> list[Form]:
    s = np.linspace(0, np.pi, 41)
    back = np.stack([-0.3 - 0.7 * np.cos(s), -0.42 * np.sin(s)], axis=1)  # nose on the left
    body, eye = _closed(np.concatenate([back, (back * (1, -1))[::-1][1:-1]])), _ring(-0.65, -0.1, 0.06, 0.06, 16)
    tail = _closed(_path((0.4, 0.0), (0.95, -0.42), (0.95, 0.42)))
    forked = _closed(_path((0.4, 0.0), (0.95, -0.42), (0.78, 0.0), (0.95, 0.42)))
    return [Form([body, end, eye], 360, stretch=True, mirror=True) for end in (tail, forked)]


def _hockey_stick() -> list[Form]:
    out = []
    for lean in (0.1, 0.4, 0.7):
        top, heel, toe, w = (-lean, -1.0), (0.0, 0.8), (0.55, 0.7), 0.16
        line = _path(top, heel, toe)
        outline = _path(top, heel, toe, (toe[0], toe[1] - w), (heel[0] + w, heel[1] - w), (top[0] + w, top[1]))
        out += [Form([stroke], 360, stretch=True, mirror=True) for stroke in (line, _closed(outline))]
    return out


def _hourglass() -> list[Form]:
    crossed = _path((-0.65, -1), (0.65, -1), (-0.65, 1), (0.65, 1))
    necked = _path((-0.65, -1), (0.65, -1), (0.08, 0), (0.65, 1), (-0.65, 1), (-0.08, 0))
    return [Form([_closed(outline)], 180, stretch=True) for outline in (crossed, necked)]


def _house() -> list[Form]:
    walls, roof = _path((-0.8, 0), (0.8, 0), (0.8, 1), (-0.8, 1)), _path((-0.8, 0), (0, -0.75), (0.8, 0))
    eaves = _path((-0.95, 0), (0, -0.75), (0.95, 0))
    side, middle = (_path((x - 0.2, 1), (x - 0.2, 0.4), (x + 0.2, 0.4), (x + 0.2, 1)) for x in (-0.35, 0.0))  # doors
    pane = _closed(_path((0.25, 0.25), (0.55, 0.25), (0.55, 0.55), (0.25, 0.55)))
    insides = ([], [middle], [side], [side, pane])
    return [Form([_closed(walls), top, *i], 360, stretch=True, mirror=True) for top in (roof, eaves) for i in insides]


def _ice_cream() -> list[Form]:
    out = []
    for scoops in (1, 2, 3):
        balls = [arc(0, -0.15 - 0.55 * i, 0.5 * 0.9**i, 0.5 * 0.9**i, 163, 377, 37) for i in range(scoops)]
        cone = _closed(_path((-0.48, 0), (0.48, 0), (0, 1.2)))
        out.append(Form([cone, *balls], 360, stretch=True))
    return out


def _line() -> list[Form]:
    return [Form([_path((-1, 0), (1, 0))], 180)]


def _mountain() -> list[Form]:
    out = []
    for peaks in (1, 2, 3, 4):
        x = np.linspace(-1, 1, 2 * peaks + 1)
        for dip in (0.3, 0.55):
            high = np.where(np.arange(2 * peaks + 1) % 2, -1.0, dip - 1.0)
            high[[0, -1]] = 0
            out.append(Form([np.stack([x, high], axis=1)], 360, stretch=True))
    return out


def _paper_clip() -> list[Form]:
    legs = (-0.35, 0.35, -0.2, 0.2)  # where the four stand, in the order of the wire

    def turn(a: float, b: float, y: float, down: bool) -> np.ndarray:
        r = abs(b - a) / 2
        return arc((a + b) / 2, y - r if down else y + r, (b - a) / 2, r if down else -r, 180, 0, 19)

    wire = [[(legs[0], -0.5)], turn(*legs[0:2], 1, True), turn(*legs[1:3], -1, False), turn(*legs[2:4], 0.65, True)]
    return [Form([np.concatenate([*wire, [(legs[3], -0.4)]])], 360, stretch=True, mirror=True)]


def _smiley_face() -> list[Form]:
    out = []
    for tall in (1.0, 2.0):
        eyes = [_ring(x, -0.32, 0.08, 0.08 * tall, 24) for x in (-0.34, 0.34)]
        out.append(Form([_ring(0, 0, 1, 1), *eyes, arc(0, 0.15, 0.52, 0.4, 5, 175, 37)], 360))
    return out


def _sun() -> list[Form]:
    out = []
    for n in range(5, 13):
        at = np.arange(n) * (2 * np.pi / n) - np.pi / 2
        way = np.stack([np.cos(at), np.sin(at)], axis=1)
        out.append(Form([_ring(0, 0, 0.52, 0.52), *(np.outer((0.62, 1.0), one) for one in way)], 360 / n))
    return out


def _triangle() -> list[Form]:
    isosceles, right = _path((-1, 0.85), (0, -0.85), (1, 0.85)), _path((-1, 0.85), (-1, -0.85), (1, 0.85))
    return [Form([_closed(isosceles)], 360, stretch=True), Form([_closed(right)], 360, stretch=True, mirror=True)]


FORMS: dict[str, Callable[[], list[Form]]] = {
    "circle": _circle,
    "cloud": _cloud,
    "donut": _donut,
    "eye": _eye,
    "fish": _fish,
    "hexagon": lambda: _polygon(6),
    "hockey stick": _hockey_stick,
    "hourglass": _hourglass,
    "house": _house,
    "ice cream": _ice_cream,
    "line": _line,
    "mountain": _mountain,
    "octagon": lambda: _polygon(8),
    "paper clip": _paper_clip,
    "smiley face": _smiley_face,
    "square": lambda: _polygon(4),
    "sun": _sun,
    "triangle": _triangle,
}
