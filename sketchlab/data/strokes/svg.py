"""Strokes of TU-Berlin's SVG files: one path a stroke in the order drawn, straight lines and cubic curves, transforms.

Each drawing is brought to QuickDraw's simplified convention. SVG as a whole is much larger: what these files do not
use (arcs, quadratic curves, rotations, shapes that are no paths) is refused by name, never drawn wrongly.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sketchlab.data import listing
from sketchlab.data.strokes import simplify
from sketchlab.data.strokes.ndjson import Line
from sketchlab.data.strokes.simplify import BadDrawing

SUFFIX = ".svg"
_TOKEN = re.compile(r"([A-Za-z])|([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_TRANSFORM = re.compile(r"(\w+)\s*\(([^)]*)\)")
_TAKES = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "Z": 0}  # numbers of each command
_IGNORED = ("svg", "g", "defs", "title", "desc", "metadata")


def files(folder: Path) -> list[str]:
    """The SVG files below a folder, relative to it, sorted."""
    return [name for name in listing.files(folder) if name.lower().endswith(SUFFIX)]


def lines(folder: Path) -> Iterator[Line]:
    """Every .svg file of a folder as one line of ndjson would be, in the order of names; key_id = name, no suffix."""
    for number, name in enumerate(files(folder), start=1):
        raw = (folder / name).read_bytes()
        try:
            drawing, error = simplify.simplify(strokes(raw)), ""
        except BadDrawing as found:
            drawing, error = None, f"{name}: {found}"
        yield Line(number, raw, drawing, name[: -len(SUFFIX)], None, "", error)


def strokes(raw: bytes) -> list[np.ndarray]:
    """The bytes of an SVG file → its strokes, (n, 2) float64 in the units of the picture. Raises BadDrawing."""
    try:
        root = ET.fromstring(raw)
    except ET.ParseError as error:
        raise BadDrawing(f"no SVG: {error}") from None
    found = list(_paths(root, np.eye(3)))
    if all(name.isdigit() for name, _ in found):
        found.sort(key=lambda item: int(item[0]))  # stable: the order of the file decides between equal ids
    out = [stroke for _, parts in found for stroke in parts]
    if not out:
        raise BadDrawing("no paths")
    if sum(map(len, out)) > 50 * simplify.MOST_POINTS:
        raise BadDrawing("too many points")
    return out


def _paths(node: ET.Element, outer: np.ndarray) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(id, strokes) of every path below a node; outer: (3, 3) from its units to the picture's."""
    tag = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else "comment"
    matrix = outer @ transform(node.get("transform", ""))
    if tag == "path":
        flat = [points @ matrix[:2, :2].T + matrix[:2, 2] for points in path(node.get("d", ""))]
        yield node.get("id", ""), flat
    elif tag not in (*_IGNORED, "comment"):
        raise BadDrawing(f"<{tag}>: only paths are read")
    for child in node:
        yield from _paths(child, matrix)


def transform(text: str) -> np.ndarray:
    """translate(x[,y]), scale(x[,y]) and matrix(a,b,c,d,e,f), one after another → (3, 3)."""
    out = np.eye(3)
    for name, words in _TRANSFORM.findall(text):
        values, one = [float(word) for word in re.split(r"[\s,]+", words.strip()) if word], np.eye(3)
        if name == "translate" and len(values) in (1, 2):
            one[:2, 2] = values[0], values[1] if len(values) > 1 else 0.0
        elif name == "scale" and len(values) in (1, 2):
            one[0, 0], one[1, 1] = values[0], values[-1]
        elif name == "matrix" and len(values) == 6:
            one[:2] = np.array(values).reshape(3, 2).T
        else:
            raise BadDrawing(f"transform {name}({words}): only translate, scale and matrix are read")
        out = out @ one
    return out


def path(text: str) -> list[np.ndarray]:
    """The `d` of a path → strokes (n, 2): M, L, H, V, C and Z, absolute or (small letters) relative."""
    out: list[list[np.ndarray]] = []
    here, begun = np.zeros(2), np.zeros(2)
    for command, values in _commands(text):
        kind, base = command.upper(), here if command.islower() else np.zeros(2)
        if kind == "M":
            here = begun = base + values
            out.append([here[None]])
            continue
        if not out:
            raise BadDrawing(f"a path begins with {command}, not with M")
        if kind == "C":
            control = np.concatenate([here[None], base + np.reshape(values, (3, 2))])
            out[-1].append(_curve(control))
        else:
            x = {"H": values[:1], "V": here[:1] - base[:1], "L": values[:1], "Z": begun[:1] - base[:1]}[kind]
            y = {"H": here[1:] - base[1:], "V": values[:1], "L": values[1:], "Z": begun[1:] - base[1:]}[kind]
            out[-1].append((base + np.concatenate([x, y]))[None])
        here = out[-1][-1][-1]
    return [np.concatenate(pieces) for pieces in out]


def _commands(text: str) -> Iterator[tuple[str, np.ndarray]]:
    """One command with its numbers at a time; numbers without a command repeat the last one (after M: L)."""
    tokens = _TOKEN.findall(text)
    if re.sub(r"[\s,]", "", _TOKEN.sub("", text)):
        raise BadDrawing(f"path data {text[:30]!r} cannot be read")
    command, at = "", 0
    while at < len(tokens):
        if tokens[at][0]:
            command, at = tokens[at][0], at + 1
            if command.upper() not in _TAKES:
                raise BadDrawing(f"path command {command}: only M, L, H, V, C and Z are read")
        elif not command or command in "Zz":
            raise BadDrawing(f"path data {text[:30]!r} cannot be read")
        n = _TAKES[command.upper()]
        numbers = [number for _, number in tokens[at : at + n]]
        if len(numbers) < n or "" in numbers:
            raise BadDrawing(f"path command {command} with {len([v for v in numbers if v])} numbers: expected {n}")
        values = np.array([float(number) for number in numbers])
        if not np.isfinite(values).all():
            raise BadDrawing(f"path command {command}: numbers that are not finite")
        yield command, values
        at += n
        command = {"M": "L", "m": "l"}.get(command, command)


def _curve(control: np.ndarray) -> np.ndarray:
    """(4, 2) of a cubic Bézier curve → (n, 2) points along it without the first, about two units apart."""
    length = np.hypot(*np.diff(control, axis=0).T).sum()
    t = np.linspace(0, 1, int(np.clip(length / 2, 1, 500)) + 1)[1:, None]
    a, b, c, d = control
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
