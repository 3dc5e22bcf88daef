"""What a network draws, on the page of its run: drawn stroke by stroke, made again at four temperatures, finished.

The strokes are in drawings_<split>.json; lines take the page's own colours, and what moves is SVG with CSS alone.
"""

from __future__ import annotations

from typing import Any

from sketchlab.report import page
from sketchlab.report.read import Run

Strokes = list[list[list[int]]]  # [[x…], [y…]] of each, 0…255

SECONDS = 6.0  # of the moving drawings, from the first point to the first again
DRAWING = 0.75  # share of them in which the pen draws
LOW, SIDE = -12, 280  # of the pictures: drawings that were made may leave the canvas a little
CSS = """
.drawn { display: grid; gap: .4rem; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); max-width: 46rem; }
.rows .drawn { grid-template-columns: repeat(5, minmax(3.5rem, 8rem)); }
.drawn figure { margin: 0; } .drawn svg { width: 100%; display: block; background: var(--card); }
.drawn path { fill: none; stroke: var(--ink); stroke-width: 4; stroke-linecap: round; stroke-linejoin: round; }
.drawn path.begun { stroke: var(--ink); } .drawn path.added { stroke: #d9480f; }
.moving path { stroke-dasharray: 1; }
@media (prefers-reduced-motion: reduce), print { .moving path { animation: none !important; } }
"""


def section(run: Run) -> str:
    """Of the test split, or of val; "" of a run that keeps no drawings."""
    for split in ("test", "val"):
        if found := run.document("drawings", split):
            return f"<style>{CSS}</style>" + _moving(found) + _rows(found, split) + _completions(found, split)
    return ""


def _moving(found: dict[str, Any]) -> str:
    warm = 1  # of the temperatures, the second
    figures = [_figure(row["made"][warm], row["class"], f"drawn{i}") for i, row in enumerate(found["rows"])]
    heat = found["temperatures"][warm]
    text = f"As they were drawn, stroke by stroke, at temperature {heat:g}."
    return f"<h3>Drawing</h3>{page.paragraph(text, 'soft')}<div class='drawn moving'>{''.join(figures)}</div>"


def _rows(found: dict[str, Any], split: str) -> str:
    heats = [f"temperature {heat:g}" for heat in found["temperatures"]]
    if found["encoder"]:
        title, text = "Made again", f"Drawings of {split}, and what the decoder makes of their codes."
    else:
        title, text = "By temperature", f"Drawings of {split} for comparison, and new ones of the same class."
    body = "".join(
        _figure(drawing, name)
        for row in found["rows"]
        for drawing, name in zip((row["real"], *row["made"]), (row["class"], *heats), strict=True)
    )
    low = "A low temperature takes what is likeliest: clean lines, and drawings that are much alike."
    return _grid(title, f"{text} {low}", body)


def _completions(found: dict[str, Any], split: str) -> str:
    body = "".join(
        _figure(row["beginning"], row["class"])
        + "".join(_figure(row["beginning"], "", added=ending) for ending in row["endings"])
        for row in found["completions"]
    )
    text = f"The first half of the points of a drawing of {split}, and endings of it in another colour."
    return _grid("Finished", text, body)


def _grid(title: str, text: str, body: str) -> str:
    return f"<h3>{title}</h3>{page.paragraph(text, 'soft')}<div class='rows'><div class='drawn'>{body}</div></div>"


def _figure(strokes: Strokes, name: str, moving: str = "", added: Strokes | None = None) -> str:
    """moving: a name for its key frames; "" stands still. added: strokes in another colour."""
    caption = f"<figcaption>{page.escape(name)}</figcaption>" if name else ""
    label = page.escape(name or "a drawing, finished")
    frames, style = _frames(strokes, moving) if moving else ("", [""] * len(strokes))
    paths = "".join(_path(stroke, how) for stroke, how in zip(strokes, style, strict=True))
    paths += "".join(_path(stroke, 'class="added"') for stroke in added or [])
    box = f'viewBox="{LOW} {LOW} {SIDE} {SIDE}"'
    return f'<figure>{frames}<svg {box} role="img" aria-label="{label}">{paths}</svg>{caption}</figure>'


def _path(stroke: list[list[int]], how: str) -> str:
    points = [f"{x} {y}" for x, y in zip(*stroke, strict=True)]
    points = points * 2 if len(points) == 1 else points  # a dot
    return f'<path d="M{" L".join(points)}" pathLength="1" {how}/>'


def _frames(strokes: Strokes, name: str) -> tuple[str, list[str]]:
    """Key frames that draw one stroke after another, each as long as it has points, and each stroke's style."""
    total, done, frames, styles = max(1, sum(len(xs) for xs, _ in strokes)), 0, "", []
    for number, (xs, _) in enumerate(strokes):
        start, end = (100 * DRAWING * at / total for at in (done, done + len(xs)))
        done += len(xs)
        hidden, visible = "{stroke-dashoffset:1;visibility:hidden}", "{stroke-dashoffset:1;visibility:visible}"
        whole = "{stroke-dashoffset:0;visibility:visible}"
        first = f"0%,{start:.2f}%{hidden}" if start else ""
        frames += f"@keyframes {name}_{number}{{{first}{start + 0.01:.2f}%{visible}{end:.2f}%,100%{whole}}}"
        styles.append(f'style="animation:{name}_{number} {SECONDS:g}s linear infinite"')
    return f"<style>{frames}</style>", styles
