"""Strokes of SVG files, one a subpath or basic shape, in the order drawn, or that of their ids if all are numbers.

Each drawing is brought to QuickDraw's simplified convention. What is hidden or only defined is left out. What would
have to be drawn and cannot be (text, images, clipping …) is refused by name, never drawn wrongly. Repetitions
in expressions are possessive (++): none takes more than linear time.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sketchlab.data import listing
from sketchlab.data.strokes import simplify
from sketchlab.data.strokes.ndjson import MOST_BYTES, Line
from sketchlab.data.strokes.simplify import BadDrawing

SUFFIX = ".svg"
LARGEST = 1e9  # coordinate; beyond it float arithmetic loses the drawing
MOST_POINTS = 50 * simplify.MOST_POINTS
MOST_USED, DEEPEST = 10_000, 50  # elements drawn by <use>, and one in another
_SVG, _HREF = "http://www.w3.org/2000/svg", ("href", "{http://www.w3.org/1999/xlink}href")
_NUMBER = re.compile(r"[+-]?+(?:[0-9]++\.?+[0-9]*+|\.[0-9]++)(?:[eE][+-]?+[0-9]++)?+")
_FLAG, _SPACE, _COMMA = re.compile("[01]"), re.compile(r"\s*"), re.compile(r"\s*,?\s*")
_TRANSFORM = re.compile(r"(?:\s*+,)?+\s*+([A-Za-z]{1,9}+)\s*+\(([^()]*+)\)")
_LENGTH = re.compile(rf"\s*+({_NUMBER.pattern})\s*+([a-zA-Z%]*+)\s*+")
_PX = {"": 1, "px": 1, "pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96, "q": 96 / 101.6}
_TAKES = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}  # numbers of each command
_GROUPS = ("svg", "g", "a")
_UNDRAWN = ("defs", "symbol", "clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient", "filter")
_UNDRAWN += ("title", "desc", "metadata", "script", "style", "view", "animate", "animateTransform", "set")
_HIDES = re.compile(r"display|visibility|transform|clip-path|mask|[^-]opacity\s*+:\s*+0*+\.?+0*+\s*+[;}%]")
_BLANK = ("none", "transparent", "white", "#fff", "#ffffff", "rgb(255,255,255)")


@dataclass(frozen=True)
class _Outer:
    """What an element has from those around it."""

    matrix: np.ndarray  # (3, 3) from its units to the picture's
    size: tuple[float, float]  # of the viewport, which percentages are of
    fill: str = "black"
    stroke: str = "none"
    visible: bool = True
    used: tuple[str, ...] = ()  # ids that <use> led here by
    name: str = ""  # id of the outermost <use>, which names what it draws


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
    if len(raw) > MOST_BYTES:
        raise BadDrawing(f"larger than {MOST_BYTES >> 20} MB")
    try:
        root = ET.fromstring(raw)
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two: an encoding that Python does not have
        raise BadDrawing(f"no SVG: {error}") from None
    if _tag(root) != "svg":
        raise BadDrawing(f"no SVG: the file begins with <{root.tag[:40]}>")
    with np.errstate(over="ignore", invalid="ignore"):  # checked by _finite
        found = list(_paths(root))
    if all(name.isascii() and name.isdigit() and len(name) < 10 for name, _ in found):
        found.sort(key=lambda item: int(item[0]))  # stable: the order of the file decides between equal ids
    out = [stroke for _, parts in found for stroke in parts]
    if not out:
        raise BadDrawing("no paths that are drawn")
    return out


def _tag(node: ET.Element) -> str:
    """Empty for comments and elements of other namespaces, which editors add."""
    space, _, tag = node.tag.rpartition("}") if isinstance(node.tag, str) else ("", "", "")
    return tag if space in ("", "{" + _SVG) else ""


def _paths(root: ET.Element) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(id, strokes) of every path and shape that is drawn. A stack, as groups may be nested deeper than calls."""
    stack, n_points = [(root, _Outer(np.eye(3), (800.0, 800.0)))], 0
    side, n_used, by_id = 800.0, 0, {}
    for node in root.iter():
        by_id.setdefault(node.get("id"), node)
        if _tag(node) == "style" and _HIDES.search(node.text or ""):
            raise BadDrawing("<style> that hides or moves parts: only attributes are read")
    while stack:
        node, outer = stack.pop()
        tag, style = _tag(node), _style(node)
        if not tag or tag in _UNDRAWN or style.get("display") == "none" or _zero(style.get("opacity")):
            continue
        for key in ("clip-path", "mask"):
            if style.get(key, "none") != "none":
                raise BadDrawing(f"{key} on <{tag}> is not read")
        outer = _inherited(node, tag, style, outer)
        n_used += bool(outer.used) * (1 + sum(map(len, node.attrib.values())) // 1000)
        if n_used > MOST_USED:
            raise BadDrawing(f"more than {MOST_USED:,} elements by <use>")
        if tag == "use":
            stack.append(_used(node, outer, by_id))
            continue
        if tag == "svg":
            outer = _viewport(node, outer, node is root)
            side = max(outer.size) * _scale(outer.matrix) if node is root else side
        if tag in _GROUPS:
            stack += [(child, outer) for child in reversed(node)]
            continue
        text = _shape(node, tag, outer.size)
        if not outer.visible or (outer.stroke in ("none", "transparent") and outer.fill in _BLANK):
            continue
        zoom = min(_scale(outer.matrix) * 800 / side, LARGEST)
        parts = []
        for points in path(text, zoom, MOST_POINTS - n_points):
            parts.append(_finite(points @ outer.matrix[:2, :2].T + outer.matrix[:2, 2]))
            n_points += len(points)
        yield outer.name or node.get("id", ""), parts


def _used(node: ET.Element, outer: _Outer, by_id: dict[str | None, ET.Element]) -> tuple[ET.Element, _Outer]:
    """The element that a <use> draws, and where. Raises BadDrawing for one that is not in the file, or leads back."""
    address = next((node.get(key, "") for key in _HREF if node.get(key)), "").strip()
    found, name = by_id.get(address[1:]) if address[:1] == "#" else None, address[1:]
    if found is None:
        raise BadDrawing(f"<use> of {address[:40]!r}: no such element in the file")
    if name in outer.used or len(outer.used) >= DEEPEST:
        raise BadDrawing(f"<use> of {address[:40]!r} {'in itself' if name in outer.used else 'is nested too deep'}")
    shift = np.eye(3)
    shift[:2, 2] = [_length(node, key, outer.size, 0.0, i) for i, key in enumerate("xy")]
    if _tag(found) in ("symbol", "svg"):  # drawn as an <svg> of the size that the <use> asks for
        given = {key: node.get(key, "") for key in ("width", "height") if node.get(key)}
        inner = ET.Element("svg", {**found.attrib, **given})
        inner.extend(found)
        found = inner
    at = replace(outer, matrix=_finite(outer.matrix @ shift), used=(*outer.used, name))
    return found, replace(at, name=outer.name or node.get("id", ""))


def _scale(matrix: np.ndarray) -> float:
    return float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))


def _style(node: ET.Element) -> dict[str, str]:
    """Attributes, and above them the properties of `style`; lower case without blanks."""
    pairs = [part.partition(":")[::2] for part in node.get("style", "").split(";")]
    own = {key.strip().lower(): value.partition("!")[0].strip().lower() for key, value in pairs if key.strip()}
    if "transform" in own:
        raise BadDrawing("transform inside style: expected an attribute")
    keys = ("display", "visibility", "opacity", "fill", "stroke", "clip-path", "mask")
    return {key: node.get(key, "").strip().lower() for key in keys if node.get(key)} | own


def _zero(opacity: str | None) -> bool:
    return bool(opacity) and re.fullmatch(r"0*+\.?+0*+%?+", opacity or "") is not None


def _inherited(node: ET.Element, tag: str, style: dict[str, str], outer: _Outer) -> _Outer:
    text = node.get("transform", "")
    visibility = style.get("visibility", "inherit")
    fill, stroke = ("".join(style.get(key, "inherit").split()) for key in ("fill", "stroke"))
    return replace(
        outer,
        matrix=_finite(outer.matrix @ transform(text)) if text and text.strip() != "none" else outer.matrix,
        fill=outer.fill if fill == "inherit" else fill,
        stroke=outer.stroke if stroke == "inherit" else stroke,
        visible=outer.visible if visibility == "inherit" else visibility == "visible",
    )


def _viewport(node: ET.Element, outer: _Outer, is_root: bool) -> _Outer:
    """The coordinates inside an <svg>: x, y, width, height, viewBox and preserveAspectRatio."""
    box = [float(word) for word in _numbers(node.get("viewBox", ""), "viewBox")]
    if box and (len(box) != 4 or min(box[2:]) <= 0):
        raise BadDrawing(f"viewBox {node.get('viewBox', '')[:40]!r}: expected x y width height")
    whole = (box[2], box[3]) if box and is_root else outer.size
    size = np.array(
        [_length(node, key, whole, whole[i], i) if node.get(key, "auto") != "auto" else whole[i]
         for i, key in enumerate(("width", "height"))]
    )  # fmt: skip
    if not (size > 0).all():
        raise BadDrawing("<svg> of no size")
    one = np.eye(3)
    if not is_root:
        one[:2, 2] = [_length(node, key, whole, 0.0, i) for i, key in enumerate("xy")]
    if not box:
        return replace(outer, matrix=_finite(outer.matrix @ one), size=(float(size[0]), float(size[1])))
    scale, (align, *rest) = size / box[2:], (node.get("preserveAspectRatio", "").split() or ["xMidYMid"])
    if align != "none":
        scale = np.full(2, scale.max() if rest == ["slice"] else scale.min())
    share = {"Min": 0.0, "Mid": 0.5, "Max": 1.0}
    at = np.array([share.get(align[1:4], 0.5), share.get(align[5:8], 0.5)]) if align != "none" else np.zeros(2)
    one[[0, 1], [0, 1]] = scale
    one[:2, 2] += at * (size - scale * box[2:]) - scale * box[:2]
    return replace(outer, matrix=_finite(outer.matrix @ one), size=(box[2], box[3]))


def _length(node: ET.Element, key: str, size: tuple[float, float], otherwise: float, axis: int | None) -> float:
    """An attribute in user units; axis: 0 or 1 = percentages of width or height, None = of the diagonal."""
    text = node.get(key)
    if text is None:
        return otherwise
    match = _LENGTH.fullmatch(text)
    unit = match[2].lower() if match else ""
    if not match or unit not in (*_PX, "%"):
        raise BadDrawing(
            f"{key}={text[:30]!r} on <{_tag(node)}>: expected a number, in {', '.join(filter(None, _PX))} or %"
        )
    whole = float(np.hypot(*size) / np.sqrt(2)) if axis is None else size[axis]
    return float(_finite(np.array([float(match[1]) * (whole / 100 if unit == "%" else _PX[unit])]))[0])


def _finite(values: np.ndarray) -> np.ndarray:
    if not (np.abs(values) <= LARGEST).all():
        raise BadDrawing(f"numbers that are not finite or beyond {LARGEST:g}")
    return values


def _shape(node: ET.Element, tag: str, size: tuple[float, float]) -> str:
    """Path data of a path or a basic shape. Raises BadDrawing for an element of another kind."""

    def at(key: str, axis: int | None, otherwise: float = 0.0) -> float:
        return otherwise if node.get(key) == "auto" else _length(node, key, size, otherwise, axis)

    if tag == "path":
        text = node.get("d", "")
        return "" if text.strip() == "none" else text
    if tag == "line":
        return f"M{at('x1', 0)} {at('y1', 1)}L{at('x2', 0)} {at('y2', 1)}"
    if tag in ("polyline", "polygon"):
        numbers = _numbers(node.get("points", ""), "points")
        if len(numbers) % 2:
            raise BadDrawing(f"points of <{tag}>: {len(numbers)} numbers, expected pairs")
        return f"M{' '.join(numbers)}{'Z' * (tag == 'polygon')}" if numbers else ""
    if tag in ("circle", "ellipse"):
        x, y = at("cx", 0), at("cy", 1)
        rx, ry = [at("r", None)] * 2 if tag == "circle" else [at("rx", 0, at("ry", 1)), at("ry", 1, at("rx", 0))]
        half = f"A{rx} {ry} 0 0 1"
        return f"M{x + rx} {y}{half} {x - rx} {y}{half} {x + rx} {y}Z" if rx > 0 and ry > 0 else ""
    if tag == "rect":
        x, y, w, h = at("x", 0), at("y", 1), at("width", 0), at("height", 1)
        rx, ry = min(at("rx", 0, at("ry", 1)), w / 2), min(at("ry", 1, at("rx", 0)), h / 2)
        if w <= 0 or h <= 0:
            return ""
        if rx <= 0 or ry <= 0:
            return f"M{x} {y}H{x + w}V{y + h}H{x}Z"
        arc, right, low = f"A{rx} {ry} 0 0 1", x + w, y + h
        return (
            f"M{x + rx} {y}H{right - rx}{arc} {right} {y + ry}V{low - ry}{arc} {right - rx} {low}"
            f"H{x + rx}{arc} {x} {low - ry}V{y + ry}{arc} {x + rx} {y}Z"
        )
    raise BadDrawing(f"<{tag}>: only paths and basic shapes are read")


def _numbers(text: str, what: str) -> list[str]:
    """Numbers with blanks or one comma between them, as they are written. Raises BadDrawing for anything else."""
    found, place = [], _end(_SPACE, text, 0)
    while place < len(text):
        match = _NUMBER.match(text, place)
        if not match:
            raise BadDrawing(f"{what} {text[:40]!r} cannot be read")
        found.append(match[0])
        place = _end(_COMMA, text, match.end())
    if text.rstrip().endswith(","):
        raise BadDrawing(f"{what} {text[:40]!r} ends with a comma")
    return found


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


def transform(text: str) -> np.ndarray:
    """translate, scale, rotate, skewX, skewY and matrix, one after another → (3, 3). Raises BadDrawing."""
    out, place, end = np.eye(3), 0, len(text.rstrip())
    while place < end:
        match = _TRANSFORM.match(text, place)
        if not match:
            raise BadDrawing(f"transform {text[place : place + 40]!r} cannot be read")
        name, place = match[1], match.end()
        v, one = [float(word) for word in _numbers(match[2], f"transform {name}")], np.eye(3)
        _finite(np.array(v))
        if name == "translate" and len(v) in (1, 2):
            one[:2, 2] = v[0], v[1] if len(v) > 1 else 0.0
        elif name == "scale" and len(v) in (1, 2):
            one[0, 0], one[1, 1] = v[0], v[-1]
        elif name == "matrix" and len(v) == 6:
            one[:2] = np.array(v).reshape(3, 2).T
        elif name == "rotate" and len(v) in (1, 3):
            cos, sin, centre = np.cos(np.radians(v[0])), np.sin(np.radians(v[0])), np.array(v[1:] or [0.0, 0.0])
            one[:2, :2] = [[cos, -sin], [sin, cos]]
            one[:2, 2] = centre - one[:2, :2] @ centre
        elif name in ("skewX", "skewY") and len(v) == 1:
            one[(0, 1) if name == "skewX" else (1, 0)] = np.tan(np.radians(v[0]))
        else:
            raise BadDrawing(f"transform {name}({match[2][:40]}): not one of SVG, or not its count of numbers")
        out = _finite(out @ one)
    return out


def path(text: str, zoom: float = 1.0, most: int = MOST_POINTS) -> list[np.ndarray]:
    """The `d` of a path → strokes (n, 2); commands absolute or (small letters) relative.

    zoom: how large a unit is in a picture of 800, for curves drawn small and scaled up. Raises BadDrawing.
    """
    out: list[list[np.ndarray]] = []
    here, begun, control, before, n_points = np.zeros(2), np.zeros(2), np.zeros(2), "", 0
    for command, values in _commands(text):
        kind, base = command.upper(), here if command.islower() else np.zeros(2)
        if kind == "M":
            here = begun = base + values
            out.append([here[None]])
        elif not out:
            raise BadDrawing(f"a path begins with {command}, not with M")
        elif kind in "CSQT":
            points = base + np.reshape(values, (-1, 2))
            if kind in "ST":  # the control point is the last one mirrored, after a curve of the same kind
                mirrored = 2 * here - control if before in {"S": "CS", "T": "QT"}[kind] and before else here
                points = np.concatenate([mirrored[None], points])
            control = points[-2]
            if kind in "QT":
                points = np.stack(
                    [here + (points[0] - here) * 2 / 3, points[1] + (points[0] - points[1]) * 2 / 3, points[1]]
                )
            out[-1].append(_curve(np.concatenate([here[None], points]), zoom))
        elif kind == "A":
            out[-1].append(_arc(here, values, base + values[5:], zoom))
        else:
            x = {"H": values[:1], "V": here[:1] - base[:1], "L": values[:1], "Z": begun[:1] - base[:1]}[kind]
            y = {"H": here[1:] - base[1:], "V": values[:1], "L": values[1:], "Z": begun[1:] - base[1:]}[kind]
            out[-1].append((base + np.concatenate([x, y]))[None])
        here, before = _finite(out[-1][-1][-1]), kind
        n_points += len(out[-1][-1])
        if n_points > most:
            raise BadDrawing("too many points")
    return [np.concatenate(pieces) for pieces in out]


def _commands(text: str) -> Iterator[tuple[str, np.ndarray]]:
    """One command with its numbers at a time; numbers without a command repeat the last one (after M: L)."""
    command, place, end = "", _end(_SPACE, text, 0), len(text.rstrip())
    while place < end:
        if text[place].isascii() and text[place].isalpha():
            command, place = text[place], _end(_SPACE, text, place + 1)
            if command.upper() not in _TAKES:
                raise BadDrawing(f"path command {command}: none of SVG")
        elif not command or command in "Zz":
            raise BadDrawing(f"path data {text[:30]!r} cannot be read")
        values, n = [], _TAKES[command.upper()]
        while len(values) < n:
            flag = command in "Aa" and len(values) in (3, 4)  # flags may stand without blanks
            match = (_FLAG if flag else _NUMBER).match(text, place)
            if not match:
                if place < end and not text[place].isalpha():
                    raise BadDrawing(f"path data {text[max(place - 10, 0) : place + 20]!r} cannot be read")
                raise BadDrawing(f"path command {command} with {len(values)} numbers: expected {n}")
            values.append(float(match[0]))
            place = _end(_SPACE, text, match.end())
            if place < end and text[place] == ",":
                place = _end(_SPACE, text, place + 1)
                if place >= end or text[place].isalpha():
                    raise BadDrawing(f"path data {text[:30]!r}: a comma with no number after it")
        yield command, _finite(np.array(values))
        command = {"M": "L", "m": "l"}.get(command, command)


def _steps(length: float, zoom: float) -> int:
    return int(np.clip(max(length / 2, length * zoom / 16), 1, 500))


def _curve(control: np.ndarray, zoom: float) -> np.ndarray:
    """(4, 2) of a cubic Bézier curve → (n, 2) points along it without the first, about two units apart."""
    length = np.hypot(*np.diff(control, axis=0).T).sum()
    t = np.linspace(0, 1, _steps(length, zoom) + 1)[1:, None]
    a, b, c, d = control
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d


def _arc(start: np.ndarray, values: np.ndarray, end: np.ndarray, zoom: float) -> np.ndarray:
    """An elliptical arc → (n, 2) points along it without the first; SVG 1.1, appendix F.6: too small radii grow."""
    radii, large, sweep = np.abs(values[:2]), values[3], values[4]
    if not radii.all() or (start == end).all():
        return end[None]
    angle = np.radians(values[2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    unit = (turn.T @ (start - end) / 2) / radii  # half the chord, where the ellipse is a circle of radius 1
    square = float(unit @ unit)
    if square > 1:
        radii, unit, square = radii * np.sqrt(square), unit / np.sqrt(square), 1.0
    if not np.isfinite(radii).all() or square == 0:
        return end[None]
    side = np.sqrt(max(1 / square - 1, 0.0)) * (-1 if large == sweep else 1)
    centre = side * np.array([unit[1], -unit[0]])
    first, last = (np.arctan2(*(point - centre)[::-1]) for point in (unit, -unit))
    if sweep and last < first:
        last += 2 * np.pi
    elif not sweep and last > first:
        last -= 2 * np.pi
    n = max(_steps(abs(last - first) * radii.max(), zoom), int(np.ceil(abs(last - first) * 4)))
    theta = np.linspace(first, last, n + 1)[1:, None]
    middle = (start + end) / 2 + turn @ (radii * centre)
    points = middle + (np.concatenate([np.cos(theta), np.sin(theta)], axis=1) * radii) @ turn.T
    points[-1] = end
    return points
