"""Figures inside a page: SVG in the page's own colours, which follow dark mode; curves to look into. No network."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from sketchlab.report.canvas import PALETTE

SCRIPT = Path(__file__).with_name("look.js").read_text("utf-8")
DARK = ("#4aa8e8", "#ff8f4a", "#2fc496", "#eb9fcb", "#a5dcff", "#f7bd45", "#e4e8ec")  # PALETTE on a dark page
LIGHT_CSS, DARK_CSS = (" ".join(f"--c{i}: {c};" for i, c in enumerate(colours)) for colours in (PALETTE, DARK))
CSS = (
    f":root {{ {LIGHT_CSS} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {DARK_CSS} }}"
    """
  .matrix image { filter: invert(1) hue-rotate(180deg); } }
svg.chart { width: 100%; height: auto; display: block; fill: var(--ink); }
.look { position: relative; min-width: 0; } .look, .still { max-width: 42rem; }
@media (pointer: coarse) { .tools span { display: none; } }
.look > svg.chart { touch-action: pan-y; cursor: crosshair; user-select: none; -webkit-user-select: none; }
.look > svg.chart:focus-visible { outline: 2px solid var(--accent); }
.look .cursor { stroke: var(--soft); } .look .frame { fill: var(--accent); opacity: .2; }
.ticks path { stroke: var(--soft); stroke-width: .5; opacity: .5; } .ticks text { font: 10px system-ui, sans-serif; }
.tools { display: flex; flex-wrap: wrap; align-items: center; gap: .2rem .5rem; font-size: .8rem; color: var(--soft); }
.tools[hidden] { display: none; } .tools button { font: inherit; color: var(--ink); background: var(--card);
  border: 1px solid var(--line); border-radius: .3rem; padding: .1rem .6rem; cursor: pointer; }
.tools button:disabled { opacity: .5; cursor: default; } .tools label[hidden] { display: none; }
.keys { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .9rem; } .keys label { cursor: pointer; }
.keys svg { width: 2.2rem; height: .6rem; vertical-align: middle; margin: 0 .3rem; }
.tip { position: absolute; pointer-events: none; background: var(--paper); border: 1px solid var(--line); z-index: 1;
  padding: .2rem .5rem; font-size: .8rem; font-variant-numeric: tabular-nums; }
.tip td { padding: 0 .5rem 0 0; border: 0; white-space: nowrap; } .tip table { margin: 0; }
@media print { .keys, .tip, .tools { display: none; } }
"""
)
TOOLS = (
    '<div class="tools" hidden><button type="button" data-do="in" aria-label="Zoom in">+</button>'
    '<button type="button" data-do="out" aria-label="Zoom out">−</button>'
    '<button type="button" data-do="home">whole</button>'
    '<label><input type="checkbox" data-do="log" autocomplete="off"> log scale</label>'
    "<span>drag to zoom</span></div>"
)


def curves(drawn: str, data: Mapping[str, Any], more: str = "", rules: str = "") -> str:
    """An SVG of `svg` with values under the pointer, zoom and log scale. more: HTML below it; rules: CSS of its own.

    data: box, range, y, log (of `frame`), less (smaller is better), axis, lines (name, swatch, x, mean, text, box).
    """
    content = json.dumps(dict(data)).replace("<", "\\u003c")
    style = f"<style>{rules}</style>" if rules else ""
    tip = '<div class="tip" hidden></div>'
    return f'<div class="look">{style}{drawn}{tip}{TOOLS}{more}<script type="application/json">{content}</script></div>'


def frame(axes: Axes) -> dict[str, Any]:
    """Where axes lie in the SVG of their figure, once it is laid out: box (left, top, right, bottom; points, y down),
    range and y, the ends of both axes, and whether y is logarithmic."""
    figure = axes.get_figure()
    assert figure is not None
    place, (width, height) = axes.get_position(), 72 * figure.get_size_inches()  # type: ignore[attr-defined]
    box = (place.x0 * width, (1 - place.y1) * height, place.x1 * width, (1 - place.y0) * height)
    ends = {"range": axes.get_xlim(), "y": axes.get_ylim()}
    return {
        "box": [round(float(v), 2) for v in box],
        **{key: [float(v) for v in found] for key, found in ends.items()},
        "log": axes.get_yscale() == "log",
    }


def finite(values: Iterable[float]) -> list[float | None]:
    """For JSON, which knows no NaN."""
    return [float(f"{v:.5g}") if math.isfinite(v) else None for v in values]


def swatch(colour: str, dashes: Sequence[float] = ()) -> str:
    """A piece of a line, as it is drawn. dashes: in line widths."""
    dashed = f' stroke-dasharray="{" ".join(f"{2 * d:g}" for d in dashes)}"' if dashes else ""
    line = f'<path d="M0 4H32" style="stroke: {coloured(colour)}" stroke-width="3" fill="none"{dashed}/>'
    return f'<svg viewBox="0 0 32 8" aria-hidden="true">{line}</svg>'


def coloured(colour: str) -> str:
    """A colour of a figure as one of the page: the palette and greys follow dark mode, others stay."""
    if colour.upper() in PALETTE[:-1]:
        return f"var(--c{PALETTE.index(colour.upper())}, {colour})"
    if len({colour[1:3], colour[3:5], colour[5:7]}) == 1:
        return f"color-mix(in srgb, var(--ink) {100 - int(colour[1:3], 16) / 2.55:.0f}%, var(--paper))"
    return colour


def svg(path: Path, title: str, name: str, focus: bool = False, scale: float = 1.7, least: float = 0.0) -> str:
    """An SVG file as a part of a page: no header, no metadata, ids of its own (`name` before each), no background,
    colours of the page. focus: by the keyboard, too; scale, least: pixels of the page per
    point, at most and at least."""
    text = path.read_text("utf-8")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    head, rest = text.split(">", 1)
    head = re.sub(r' (?:xmlns(?::xlink)?|width|height|version)="[^"]*"', "", head)
    rest = re.sub(r' id="', f' id="{name}-', rest)
    rest = re.sub(r'((?:xlink:)?href="|url\()#', rf"\1#{name}-", rest)
    for patch in ("patch_1", "patch_2"):  # the paper of the figure and of its axes
        rest = rest.replace(f'<g id="{name}-{patch}">', f'<g id="{name}-{patch}" display="none">')
    rest = re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda found: coloured(found[0]), rest)
    width = float(head.split('viewBox="')[1].split()[2])
    style = f"max-width: {scale * width:.0f}px" + (f"; min-width: {least * width:.0f}px" if least else "")
    label = html.escape(title, quote=True)
    shown = f'<svg class="chart" style="{style}" role="img" aria-label="{label}"{" tabindex=0" * focus}'
    return head.replace("<svg", shown, 1) + ">" + rest
