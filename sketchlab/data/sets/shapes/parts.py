"""What objects are made of: corners, blobs, arcs and bends, in units in which a whole object is about 2 across."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator
Point = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """One thing to draw or to paint, in units in which the whole object is about 2 across; y points down."""

    points: np.ndarray  # (n, 2) corners, or closely spaced points of a smooth curve
    smooth: bool
    closed: bool
    fill: str = ""  # colour slot in the photo; "" = only in sketches; "hole" = shows the background
    width: float = 0.0  # of the painted line in the photo; 0 = the area inside is painted
    drawn: bool = True  # False: only in the photo


def oval(x: float, y: float, rx: float, ry: float, n: int = 40) -> np.ndarray:
    t = np.arange(n) * (2 * np.pi / n)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, n: int = 20) -> np.ndarray:
    t = np.radians(np.linspace(start, end, n))
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def corners(*points: Point, closed: bool = True, fill: str = "", width: float = 0.0, drawn: bool = True) -> Part:
    return Part(np.array(points, dtype=float), False, closed, fill, width, drawn)


def blob(points: np.ndarray, fill: str = "", drawn: bool = True) -> Part:
    return Part(points, True, True, fill, 0.0, drawn)


def bend(points: np.ndarray, fill: str = "", width: float = 0.0, drawn: bool = True) -> Part:
    return Part(points, True, False, fill, width, drawn)
