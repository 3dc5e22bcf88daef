"""The 18 shapes of frankenstein as objects: what there is to be sketched or photographed, and in which pose.

The pose (turn, stretch, facing left or right) belongs to the object, so all its pictures share it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sketchlab.data.sets.shapes import forms, things
from sketchlab.data.sets.shapes.parts import Part, Rng

# class → parts, standard deviation of the turn in degrees, of the log of width over height, chance of facing left
OBJECTS: dict[str, tuple[Callable[[Rng, Rng], list[Part]], float, float, float]] = {
    "circle": (forms.circle, 45, 0.09, 0),
    "cloud": (forms.cloud, 9, 0.15, 0.5),
    "donut": (forms.donut, 25, 0.14, 0),
    "eye": (things.eye, 11, 0.17, 0.5),
    "fish": (things.fish, 15, 0.18, 0.45),
    "hexagon": (forms.hexagon, 12, 0.12, 0),
    "hockey stick": (things.hockey_stick, 14, 0.15, 0.45),
    "hourglass": (things.hourglass, 11, 0.17, 0),
    "house": (things.house, 5, 0.17, 0.5),
    "ice cream": (things.ice_cream, 15, 0.14, 0.5),
    "line": (forms.line, 0, 0, 0),
    "mountain": (forms.mountain, 6, 0.2, 0.5),
    "octagon": (forms.octagon, 12, 0.12, 0),
    "paper clip": (things.paper_clip, 40, 0.17, 0.4),
    "smiley face": (things.smiley_face, 11, 0.12, 0.5),
    "square": (forms.square, 10, 0.12, 0),
    "sun": (forms.sun, 30, 0.1, 0),
    "triangle": (forms.triangle, 10, 0.16, 0),
}


def parts_of(name: str, g: Rng, hand: Rng) -> list[Part]:
    """The object as parts, in its pose. g: the object's own generator; hand: that of the one who draws it."""
    make, turn_deg, stretch, mirrored = OBJECTS[name]
    facing, turn, wide = g.random(), np.radians(g.normal(0, turn_deg)), np.exp(g.normal(0, stretch))
    matrix = np.array([[wide, 0.0], [0.0, 1.0]]) @ np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    if facing < mirrored:
        matrix = np.diag([-1.0, 1.0]) @ matrix
    return [Part(p.points @ matrix, p.smooth, p.closed, p.fill, p.width, p.drawn) for p in make(g, hand)]
