"""Things among the 18 shapes: eye, fish, hockey stick, hourglass, house, ice cream, paper clip, smiley face.

Each function draws the object's own proportions from `g`, so that every sketch and the photo of one object agree, and
the way one person puts it on paper from `hand` (an outline or a single line, details left out). y points down.
"""

from __future__ import annotations

import numpy as np

from sketchlab.data.sets.shapes.parts import Part, Rng, arc, bend, blob, corners, oval


def eye(g: Rng, hand: Rng) -> list[Part]:
    up, down, iris = g.uniform(0.4, 0.75), g.uniform(0.3, 0.6), g.uniform(0.26, 0.4)
    t = np.linspace(-1, 1, 24)
    upper = np.stack([t, -up * (1 - np.abs(t) ** 1.8)], axis=1)
    lower = np.stack([t[::-1], down * (1 - np.abs(t[::-1]) ** 1.8)], axis=1)
    loop = bool(hand.random() < 0.35)
    x, y = g.normal(0, 0.12), g.normal((down - up) / 3, 0.03)
    parts = [blob(np.concatenate([upper, lower[1:-1]]), "white", drawn=loop)]
    parts += [] if loop else [bend(upper), bend(lower)]
    parts.append(blob(oval(x, y, iris, iris, 28), "iris"))
    pupil = iris * g.uniform(0.3, 0.6)
    parts.append(blob(oval(x, y, pupil, pupil, 14), "dark", drawn=bool(hand.random() < 0.75)))
    if g.random() < 0.6:
        visible, n = bool(hand.random() < 0.85), int(g.integers(3, 9))
        for s in np.linspace(-0.75, 0.75, n) + g.normal(0, 0.04, n):
            foot, long = -up * (1 - abs(s) ** 1.8), g.uniform(0.2, 0.4)
            tip = (s + long * (0.6 * s + g.normal(0, 0.15)), foot - long)
            parts.append(corners((s, foot), tip, closed=False, fill="dark", width=0.035, drawn=visible))
    return parts


def fish(g: Rng, hand: Rng) -> list[Part]:
    fat, tail, spread, joint = g.uniform(0.32, 0.6), g.uniform(0.3, 0.55), g.uniform(0.28, 0.55), g.uniform(0.08, 0.16)
    s = np.linspace(0, np.pi, 22)
    nose, end = -1.0, 0.45
    back = np.stack([nose + (end - nose) * (1 - np.cos(s)) / 2, -fat * np.sin(s) ** 0.85], axis=1)
    back[-1, 1] = -joint / 2
    belly = back * np.array([1, -1])
    fork, forked = g.uniform(0.1, 0.35) * tail, g.random() < 0.6
    top, notch, low = (end + tail, -spread), (end + tail - fork, 0.0), (end + tail, spread)
    ribbon, loop = hand.random() < 0.4, hand.random() < 0.6
    parts = [blob(np.concatenate([back, belly[::-1][:-1]]), "body", drawn=bool(loop and not ribbon))]
    parts.append(corners((end - 0.08, -joint / 2), top, notch, low, (end - 0.08, joint / 2), fill="fin", drawn=False))
    if ribbon:  # one line: tail, back, nose, belly, tail, crossing itself
        shift = np.array([0.1, 0.0])
        parts.append(bend(np.concatenate([[low], (back[::-1] + shift)[:-1], belly + shift, [top]])))
        parts.append(corners(top, low, closed=False) if hand.random() < 0.6 else corners(top, notch, low, closed=False))
    else:
        parts += [] if loop else [bend(back), bend(belly)]
        ends = [(end - 0.03, -joint / 2), top, (notch if forked else low), low, (end - 0.03, joint / 2)]
        parts.append(corners(*ends, closed=False))
    if hand.random() < 0.82:
        parts.append(blob(oval(-0.62, -fat * 0.25, 0.06, 0.06, 10)))
    parts.append(blob(oval(-0.62, -fat * 0.25, 0.07, 0.07, 10), "dark", drawn=False))
    if g.random() < 0.4:
        fin = [(-0.3, -fat * 0.9), (g.uniform(-0.1, 0.15), -fat * 1.5), (0.15, -fat * 0.7)]
        parts.insert(0, corners(*fin, fill="fin", drawn=False))
        parts.append(corners(*fin, closed=False, drawn=bool(hand.random() < 0.7)))
    if g.random() < 0.4:
        parts.append(bend(arc(-0.62, 0, 0.25, fat * 0.75, -65, 65, 12), "dark", 0.03, bool(hand.random() < 0.7)))
    return parts


def hockey_stick(g: Rng, hand: Rng) -> list[Part]:
    lean, blade, lift, thick = g.uniform(0.0, 0.75), g.uniform(0.35, 0.75), g.uniform(-0.05, 0.25), g.uniform(0.1, 0.2)
    top, heel, toe = np.array([-lean, -1.0]), np.array([0.0, 0.8]), np.array([blade, 0.8 - lift])
    style = hand.random()
    shaft = [corners(tuple(top), tuple(heel), closed=False, fill="shaft", width=thick, drawn=False)]
    shaft.append(corners(tuple(heel), tuple(toe), closed=False, fill="tape", width=thick * 1.4, drawn=False))
    if style < 0.3:
        line = [corners(tuple(top), tuple(heel), tuple(toe), closed=False)]
    elif style < 0.5:  # one line with a round heel
        a, b = heel + (top - heel) * 0.2, heel + (toe - heel) * 0.4
        s = np.linspace(0, 1, 8)[:, None]
        curve = (1 - s) ** 2 * a + 2 * s * (1 - s) * heel + s**2 * b
        line = [bend(np.concatenate([np.linspace(top, a, 14)[:-1], curve, np.linspace(b, toe, 6)[1:]]))]
    else:
        w = thick * hand.uniform(0.8, 1.5)
        across, rise = np.array([w, 0.0]), np.array([0.0, -w])
        inner = heel + across + rise
        line = [corners(tuple(top), tuple(heel), tuple(toe), tuple(toe + rise), tuple(inner), tuple(top + across))]
    puck = g.random() < 0.2
    if puck:
        line.append(blob(oval(blade + 0.3, 0.75, 0.15, 0.08, 16), "dark", drawn=bool(hand.random() < 0.8)))
    return shaft + line


def hourglass(g: Rng, hand: Rng) -> list[Part]:
    wide, neck, caps, sand = g.uniform(0.5, 0.8), g.uniform(0.03, 0.12), g.random() < 0.5, g.uniform(0.25, 0.7)
    bulged, s = g.random() < 0.4, np.linspace(-1, 1, 25)
    bow = np.where(np.abs(s) < 0.9, np.abs(s) ** (0.7 if bulged else 1.0), np.abs(s))
    half = neck + (wide - neck) * bow
    left, right = np.stack([-half, s], axis=1), np.stack([half, s], axis=1)
    glass = np.concatenate([left, right[::-1]])
    parts = [Part(glass, True, True, "glass", drawn=False)]
    parts.append(corners((-wide * 0.9, 1), (wide * 0.9, 1), (0, 1 - sand), fill="sand", drawn=False))
    style = hand.random()
    if style < 0.4:  # crossing lines
        parts.append(corners((-wide, -1), (wide, -1), (-wide, 1), (wide, 1)))
    elif style < 0.7 and not bulged:
        n = neck * hand.uniform(1, 2)
        parts.append(corners((-wide, -1), (wide, -1), (n, 0), (wide, 1), (-wide, 1), (-n, 0)))
    else:
        parts += [bend(left), bend(right)]
        parts += [corners((-wide, y), (wide, y), closed=False) for y in (-1.0, 1.0)]
    for y in (-1.0, 1.0) if caps else ():
        w, h = wide * 1.15, np.sign(y) * 0.14
        parts.append(corners((-w, y), (w, y), (w, y + h), (-w, y + h), fill="cap", drawn=bool(hand.random() < 0.6)))
    if hand.random() < 0.3:
        y = 1 - sand * 0.6
        parts.append(bend(arc(0, 1, wide * 0.6, 1 - y, 180, 360, 12)))
    return parts


def _window(x: float, y: float, r: float, drawn: bool, barred: bool) -> list[Part]:
    frame = corners((x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r), fill="pane", drawn=drawn)
    bars = [corners((x - r, y), (x + r, y), closed=False), corners((x, y - r), (x, y + r), closed=False)]
    return [frame, *bars] if barred else [frame]


def house(g: Rng, hand: Rng) -> list[Part]:
    wide, wall, roof, eave = g.uniform(0.6, 1.0), g.uniform(0.6, 1.1), g.uniform(0.4, 0.9), g.uniform(0.0, 0.2)
    peak = g.normal(0, 0.06)
    base, top = wall, 0.0
    parts = []
    if g.random() < 0.35:
        x, h = g.uniform(0.3, 0.6) * wide, g.uniform(0.75, 1.05) * roof
        chimney = [(x, -roof * 0.35), (x, -h), (x + 0.18, -h), (x + 0.18, -roof * 0.2)]
        parts.append(corners(*chimney, fill="roof", drawn=False))
        parts.append(corners(*chimney, closed=False, drawn=bool(hand.random() < 0.75)))
    pentagon = hand.random() < 0.25
    walls = [(-wide, top), (wide, top), (wide, base), (-wide, base)]
    parts.append(corners(*walls, fill="wall", drawn=not pentagon))
    parts.append(corners((-wide - eave, top), (peak, -roof), (wide + eave, top), fill="roof", drawn=False))
    if pentagon:
        parts.append(corners((-wide, base), (-wide, top), (peak, -roof), (wide, top), (wide, base)))
        parts += [corners(walls[0], walls[1], closed=False)] if hand.random() < 0.4 else []
    else:
        ends = [(-wide - eave, top), (peak, -roof), (wide + eave, top)]
        parts.append(corners(*ends, closed=bool(eave > 0.1 or hand.random() < 0.3)))
    x = g.uniform(-0.55, 0.35) * wide
    if g.random() < 0.8:
        w, h = g.uniform(0.2, 0.35) * wide, g.uniform(0.45, 0.7) * wall
        door = [(x - w, base), (x - w, base - h), (x + w, base - h), (x + w, base)]
        parts.append(corners(*door, fill="door", drawn=False))
        parts.append(corners(*door, closed=False, drawn=bool(hand.random() < 0.85)))
    if g.random() < 0.55:
        cx, cy, r = (0.55 if x < 0 else -0.55) * wide, wall * 0.4, 0.17 * wide
        visible = bool(hand.random() < 0.8)
        parts += _window(cx, cy, r, visible, bool(visible and hand.random() < 0.5))
    return parts


def ice_cream(g: Rng, hand: Rng) -> list[Part]:
    wide, long, scoops = g.uniform(0.38, 0.6), g.uniform(0.9, 1.4), int(g.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
    tip = g.normal(0, 0.05)
    parts: list[Part] = []
    r = wide * g.uniform(0.95, 1.2)
    balls = [(g.normal(0, 0.03) + 0.0, -r * 0.3 - i * r * 1.15, r * 0.88**i) for i in range(scoops)]
    full = hand.random() < 0.3
    for i, (x, y, radius) in reversed(list(enumerate(balls))):
        parts.append(blob(oval(x, y, radius, radius, 32), f"scoop{i}", drawn=bool(full)))
    parts.append(corners((-wide, 0), (wide, 0), (tip, long), fill="cone", drawn=bool(full or hand.random() < 0.7)))
    if not parts[-1].drawn:
        parts.append(corners((-wide, 0), (tip, long), (wide, 0), closed=False))
    for i, (x, y, radius) in [] if full else list(enumerate(balls)):
        parts.append(bend(arc(x, y, radius, radius, 160 - 5 * (i > 0), 380 + 5 * (i > 0), 24)))
    if g.random() < 0.4:
        visible = bool(hand.random() < 0.75)
        for s in (0.3, 0.65):
            for end in (-1, 1):
                a, b = (end * wide * (1 - s * 0.2), 0.05 + s * 0.1), (end * -wide * (1 - s) * 0.75, long * s)
                parts.append(corners(a, b, closed=False, fill="waffle", width=0.03, drawn=visible))
    if g.random() < 0.2:
        x, y, radius = balls[-1]
        parts.append(blob(oval(x, y - radius - 0.08, 0.1, 0.1, 14), "cherry", drawn=bool(hand.random() < 0.8)))
    return parts


def paper_clip(g: Rng, hand: Rng) -> list[Part]:
    outer, inner, thick = g.uniform(0.25, 0.42), g.uniform(0.5, 0.72), g.uniform(0.045, 0.07)
    x = np.array([-1.0, 1.0, -1.0 + (1 - inner) * 0.8, inner]) * outer  # the four legs, left to right to left to right
    y = [g.uniform(-0.65, -0.2), 1.0, -1.0, g.uniform(0.45, 0.75), g.uniform(-0.6, -0.1)]

    def turn(a: float, b: float, at: float, down: bool) -> np.ndarray:
        r = abs(b - a) / 2
        centre = at - r if down else at + r
        return arc((a + b) / 2, centre, (b - a) / 2, r if down else -r, 180, 0, 9)

    legs = [[(x[0], y[0])], turn(x[0], x[1], y[1], True), turn(x[1], x[2], y[2], False), turn(x[2], x[3], y[3], True)]
    path = np.concatenate([*legs, [(x[3], y[4])]])
    parts = [bend(path, "wire", thick, drawn=False)]
    style = hand.random()
    short = (
        path if style < 0.7 else (np.concatenate(legs) if style < 0.8 else np.concatenate(legs[1:] + [[(x[3], y[4])]]))
    )
    away = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(short, axis=0).T))])
    at = np.linspace(0, away[-1], 70)
    parts.append(bend(np.stack([np.interp(at, away, short[:, 0]), np.interp(at, away, short[:, 1])], axis=1)))
    return parts


def smiley_face(g: Rng, hand: Rng) -> list[Part]:
    parts = [blob(oval(0, 0, 1, 1), "body", drawn=bool(hand.random() < 0.93))]
    spacing, high, tall, dot = g.uniform(0.25, 0.42), g.uniform(0.2, 0.42), g.uniform(0.8, 2.2), g.uniform(0.06, 0.13)
    style = hand.random()
    for x in (-spacing, spacing):
        parts.append(blob(oval(x, -high, dot, dot * tall, 14), "dark", drawn=bool(style < 0.45)))
        if 0.45 <= style < 0.75:
            parts.append(corners((x, -high - dot * 1.6), (x, -high + dot * 1.6), closed=False))
        elif style >= 0.75:
            parts.append(blob(oval(x, -high, 0.03, 0.03, 6)))
    wide, deep, y = g.uniform(0.4, 0.65), g.uniform(0.25, 0.5), g.uniform(0.1, 0.25)
    mouth = arc(0, y, wide, deep, 5, 175)
    if g.random() < 0.2:
        parts.append(blob(np.concatenate([mouth, np.linspace(mouth[-1], mouth[0], 8)[1:-1]]), "mouth"))
    else:
        parts.append(bend(mouth, "dark", 0.07))
    if g.random() < 0.2:
        parts.append(
            corners((0, -0.1), (0.06, 0.12), closed=False, fill="dark", width=0.05, drawn=bool(hand.random() < 0.7))
        )
    return parts
