"""What all figures share: palette, size, saving with the same bytes for the same folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from sketchlab.report.read import Run
from sketchlab.storage.files import atomic

# Okabe and Ito's colour-blind-safe palette, without its yellow (too pale for a line on white)
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SPLIT_COLOUR = {"train": PALETTE[1], "val": PALETTE[0], "test": PALETTE[2]}
DPI = 120
PNG: dict[str, Any] = {"Software": None}  # metadata left out: the same bytes from the same folder
SVG: dict[str, Any] = {"Date": None, "Creator": None}


@dataclass(frozen=True)
class Plot:
    """A drawn figure: its file, and what it shows for those who read instead of look."""

    path: Path
    kind: str  # curve, confusion, classes, calibration, early, mistakes, data or time: the section it belongs to
    split: str
    title: str
    look: dict[str, Any] = field(default_factory=dict)  # of curves: what the page's script is told (look.curves)


def new(width_in: float, height_in: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure on Agg, apart from pyplot and its global state."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(run: Run, figure: Figure, name: str, kind: str, split: str, title: str) -> Plot:
    """plots/<name>.png, and .svg for the page; whole or not at all, without the drawing library's name and version."""
    path = run.folder / "plots" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # lays it out, once for both
        figure.set_layout_engine("none")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        files = [(path, PNG), (path.with_suffix(".svg"), SVG)]
        for target, metadata in files[: 1 if kind == "mistakes" else 2]:  # of mistakes the page has cards
            with atomic(target) as temporary:
                dpi = DPI if target == path else 72
                figure.savefig(temporary, format=target.suffix[1:], metadata=metadata, dpi=dpi)
    return Plot(path, kind, split, title)


def write(path: Path, figure: Figure) -> Path:
    """A PNG file, whole or not at all; without the drawing library's name and version in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata=PNG)
    return path


def keep(run: Run, pixels: np.ndarray, name: str) -> None:
    """plots/<name>.png of (h, w) or (h, w, 3) uint8, whole or not at all."""
    path = run.folder / "plots" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def short(name: str, length: int = 22) -> str:
    """At most `length` characters; what goes is in the middle, since names of one family differ at the end."""
    return name if len(name) <= length else f"{name[: length - 6]}…{name[-5:]}"


def two_lines(name: str, length: int) -> str:
    """A name of several settings, cut between them where it is longer than `length`; each line shortened if need be."""
    parts = name.split(" · ")
    if len(name) <= length or len(parts) == 1:
        return short(name, length)
    cut = min(range(1, len(parts)), key=lambda i: abs(len(" · ".join(parts[:i])) - len(name) / 2))
    return "\n".join(short(" · ".join(half), length) for half in (parts[:cut], parts[cut:]))


def plain(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)
    axes.set_xlabel(x)
    axes.set_ylabel(y, parse_math=False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, columns: int = 2) -> None:
    """Below the axes, where it hides no data."""
    figure.legend(fontsize=9, frameon=False, loc="outside lower left", ncols=columns)
