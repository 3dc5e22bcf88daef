"""Plain forms among the 18 shapes: circle, cloud, donut, polygons, line, mountain, sun.

Each function draws the object's own proportions from `g`, so that every sketch and the photo of one object agree, and
the way one person puts it on paper from `hand` (an outline or a single line, details left out). y points down.
"""

from __future__ import annotations

import numpy as np

from sketchlab.data.sets.shapes.parts import Part, Rng, arc, bend, blob, corners, oval


def _regular(k: int, g: Rng) -> Part:
    first = g.choice([0.0, 0.5], p=[0.35, 0.65]) + g.normal(0, 0.05)
    t = (np.arange(k) + first + g.normal(0, 0.035, k)) * (2 * np.pi / k)
    r = np.exp(g.normal(0, 0.025, k))
    return Part(np.stack([r * np.cos(t), r * np.sin(t)], axis=1), False, True, "body")


def circle(g: Rng, hand: Rng) -> list[Part]:
    return [blob(oval(0, 0, 1, 1), "body")]


def cloud(g: Rng, hand: Rng) -> list[Part]:
    bumps, height, flat = int(g.integers(5, 12)), g.uniform(0.45, 0.8), g.random() < 0.3
    at = np.sort((np.arange(bumps) + g.uniform(-0.3, 0.3, bumps)) * (2 * np.pi / bumps))
    rim = np.stack([np.cos(at), np.sin(at) * height], axis=1) * g.uniform(0.8, 1.05, (bumps, 1))
    if flat:
        rim[:, 1] = np.minimum(rim[:, 1], height * 0.45)
    step = np.roll(rim, -1, axis=0) - rim
    t = np.linspace(0, np.pi, 9)[:-1]
    puff = g.uniform(0.4, 0.85, bumps) * np.where(flat & (rim[:, 1] > height * 0.4), 0.35, 1.0)
    side = np.stack([step[:, 1], -step[:, 0]], axis=1) * puff[:, None] / 2
    middle = rim + step / 2
    lobes = middle[:, None] - step[:, None] / 2 * np.cos(t)[:, None] + side[:, None] * np.sin(t)[:, None]
    return [blob(lobes.reshape(-1, 2), "body")]


def donut(g: Rng, hand: Rng) -> list[Part]:
    hole, x, y = g.uniform(0.24, 0.5), g.normal(0, 0.05), g.normal(0, 0.05)
    parts = [blob(oval(0, 0, 1, 1), "body")]
    iced = g.random() < 0.45
    if iced:
        wave = oval(0, 0, 0.85, 0.85) * (1 + 0.06 * np.sin(np.arange(40) * g.integers(5, 9) * np.pi / 20))[:, None]
        parts.append(blob(wave, "icing", drawn=bool(hand.random() < 0.25)))
    parts.append(blob(oval(x, y, hole, hole * g.uniform(0.85, 1.1), 28), "hole"))
    if iced and g.random() < 0.6:
        visible = hand.random() < 0.6
        for angle in np.linspace(0, 360, int(g.integers(4, 9)), endpoint=False) + g.uniform(0, 40):
            cx, cy = arc(0, 0, (1 + hole) / 2, (1 + hole) / 2, angle, angle, 1)[0]
            dx, dy = g.normal(0, 0.07, 2)
            parts.append(
                corners(
                    (cx - dx, cy - dy), (cx + dx, cy + dy), closed=False, fill="sprinkle", width=0.06, drawn=visible
                )
            )
    return parts


def hexagon(g: Rng, hand: Rng) -> list[Part]:
    return [_regular(6, g)]


def line(g: Rng, hand: Rng) -> list[Part]:
    angle = np.radians(g.choice([g.normal(0, 7), g.normal(90, 7), g.uniform(-90, 90)], p=[0.5, 0.12, 0.38]))
    x, y, thick = np.cos(angle), np.sin(angle), g.uniform(0.05, 0.16)
    s = np.linspace(-1, 1, 24)
    bow = g.normal(0, 0.04) * (1 - s**2) + g.normal(0, 0.015) * np.sin(s * g.uniform(3, 9))
    path = np.stack([s * x - bow * y, s * y + bow * x], axis=1)
    return [bend(path, "body", thick)]


def mountain(g: Rng, hand: Rng) -> list[Part]:
    peaks = int(g.choice([1, 2, 3, 4], p=[0.25, 0.35, 0.28, 0.12]))
    tops = np.linspace(-1, 1, 2 * peaks + 1)
    tops[1:-1] += g.normal(0, 0.12 / peaks, 2 * peaks - 1)
    heights = np.where(
        np.arange(2 * peaks + 1) % 2, -g.uniform(0.6, 1.4, 2 * peaks + 1), -g.uniform(0.05, 0.45, 2 * peaks + 1)
    )
    heights[[0, -1]] = 0
    ridge = np.stack([tops, heights], axis=1)
    soft = hand.random() < 0.25
    parts = [Part(ridge, False, True, "rock", drawn=False)]
    if soft:
        s = np.linspace(0, 2 * peaks, 24 * peaks)
        path = np.stack([np.interp(s, np.arange(2 * peaks + 1), axis) for axis in ridge.T], axis=1)
        for _ in range(6):
            path[1:-1] = 0.5 * path[1:-1] + 0.25 * (path[:-2] + path[2:])
        parts.append(bend(path))
    else:
        parts.append(Part(ridge, False, False))
    if g.random() < (0.75 if peaks == 1 else 0.45):
        for i in range(1, 2 * peaks, 2):
            top, share = ridge[i], g.uniform(0.25, 0.4)
            a, b = top + (ridge[i - 1] - top) * share, top + (ridge[i + 1] - top) * share
            zigzag = [
                a,
                a + (b - a) * 0.3 + (0, 0.12),
                a + (b - a) * 0.5 - (0, 0.04),
                a + (b - a) * 0.72 + (0, 0.12),
                b,
            ]
            parts.append(Part(np.array([top, *zigzag]), False, True, "snow", drawn=False))
            parts.append(Part(np.array(zigzag), False, False, drawn=bool(hand.random() < 0.75)))
    if hand.random() < 0.15:
        parts.append(corners((-1.0, 0.0), (1.0, 0.0), closed=False))
    return parts


def octagon(g: Rng, hand: Rng) -> list[Part]:
    return [_regular(8, g)]


def square(g: Rng, hand: Rng) -> list[Part]:
    return [corners((-1, -1), (1, -1), (1, 1), (-1, 1), fill="body")]


def sun(g: Rng, hand: Rng) -> list[Part]:
    r, n, long, gap = g.uniform(0.4, 0.62), int(g.integers(5, 13)), g.uniform(0.22, 0.5), g.uniform(-0.02, 0.14)
    angles = (np.arange(n) + g.normal(0, 0.12, n)) * (2 * np.pi / n)
    parts: list[Part] = []
    tips = g.uniform(0.75, 1.15, n) * long + r + gap
    star_like, disc_first = g.random() < 0.12, hand.random() < 0.8
    if star_like:  # a corona in place of rays, painted under the disc
        between = angles + np.pi / n
        star = np.stack([np.concatenate([tips, np.full(n, r + gap)]), np.concatenate([angles, between])], axis=1)
        star = star[np.argsort(star[:, 1])]
        parts.append(Part(star[:, :1] * np.stack([np.cos(star[:, 1]), np.sin(star[:, 1])], axis=1), False, True, "ray"))
    else:
        for angle, tip in zip(angles, tips, strict=True):
            ray = np.outer([r + gap, tip], [np.cos(angle), np.sin(angle)])
            parts.append(Part(ray, False, False, "ray", 0.08))
    parts.insert(0 if disc_first and not star_like else len(parts), blob(oval(0, 0, r, r), "body"))
    if g.random() < 0.15:
        visible = bool(hand.random() < 0.8)
        parts += [blob(oval(x, -r * 0.25, 0.05, 0.05, 8), "dark", visible) for x in (-r * 0.35, r * 0.35)]
        parts.append(bend(arc(0, r * 0.1, r * 0.5, r * 0.4, 10, 170, 14), "dark", 0.04, visible))
    return parts


def triangle(g: Rng, hand: Rng) -> list[Part]:
    apex = g.choice([g.normal(0, 0.15), g.uniform(-1.2, 1.2)], p=[0.65, 0.35])
    high = g.uniform(0.9, 2.0)
    flip = -1 if g.random() < 0.05 else 1
    return [corners((-1, flip * high / 2), (apex, -flip * high / 2), (1, flip * high / 2), fill="body")]
