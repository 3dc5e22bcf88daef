"""The page itself: HTML from strings, pictures inside it, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from sketchlab.report import look
from sketchlab.report.canvas import Plot

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --card: #f5f6f8; --line: #d6dae0;
  --accent: #0060a0; --warn: #8a4b00; --warn-paper: #fff4e0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9ba6b2; --paper: #14171b; --card: #1d2227;
  --line: #363d45; --accent: #6cb8f0; --warn: #ffc56b; --warn-paper: #33270f; }
  img.chart { filter: invert(0.91) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif;
  text-size-adjust: 100%; -webkit-text-size-adjust: 100%; overflow-wrap: anywhere; }
h1 { font-size: 1.2rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .88rem; }
.headline { font-size: 1.5rem; line-height: 1.3; font-weight: 600; margin: .6rem 0; max-width: none; }
.badge { border: 1px solid var(--line); border-radius: 1rem; padding: .1rem .6rem; font-size: .85rem;
  background: var(--card); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .8rem 0; font-size: .9rem; }
  a { color: var(--accent); }
.warnings { background: var(--warn-paper); border-left: .3rem solid var(--warn); padding: .5rem 1rem;
  margin: 1rem 0; }
.warnings h2 { border: 0; margin: 0; font-size: 1rem; color: var(--warn); } .warnings ul { margin: .3rem 0;
  padding-left: 1.2rem; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td, th { overflow-wrap: normal; } td.number, th.number { text-align: right; white-space: nowrap; }
 
tr.first td { font-weight: 600; } td.key { color: var(--soft); }
figure { margin: .8rem 0; } img { max-width: 100%; height: auto; } img.picture { background: #888; }
.cards.wide img { border: 0; width: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .8rem; }
.cards figure { margin: 0; } .cards img { width: 100%; border: 1px solid var(--line); display: block; }
.cards b { color: var(--ink); } .cards figcaption { font-size: .8rem; line-height: 1.35; }
.id { display: block; overflow-wrap: normal; overflow: hidden; text-overflow: ellipsis; }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
pre { background: var(--card); padding: .7rem; white-space: pre-wrap; font-size: .85rem; margin: .5rem 0; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
@media screen and (max-width: 40rem) { .headline { font-size: .95rem; }
  table.stack, .stack tbody, .stack tr, .stack td { display: block; } .stack thead { display: none; }
  .stack tr { border-bottom: 2px solid var(--line); padding: .3rem 0; } .stack td { border: 0; padding: .05rem 0; }
  .stack td[data-label] { display: flex; gap: 1rem; justify-content: space-between; white-space: normal; }
  td[data-label]::before { content: attr(data-label); color: var(--soft); text-align: left; font-weight: 400; }
  table { font-size: .8rem; } th, td { padding-right: .45rem; }
  .sheet img { max-width: none; width: 44rem; } .stack td.none { display: none; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } nav, details:not([open]) { display: none; }
  .wide { grid-template-columns: 1fr 1fr; } summary { list-style: none; color: var(--ink); }
  figure, tr, .warnings { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""

OPEN = 3  # warnings that push a headline down; the others are a click away

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$css</style><script>$script</script>$head
</head>
<body>
<header>
<h1>$title <span class="badge">$state</span></h1>
$live$above<p class="headline">$headline</p>
<p class="soft">$under</p>
</header>
$below
<nav aria-label="Sections">$nav</nav>
<main>
$main
</main>
</body>
</html>
""")


class Cell(str):
    """The text of a cell of a table, with where it leads and what it is sorted by, if that is not its text."""

    href: str
    order: float | None

    def __new__(cls, text: str, href: str = "", order: float | None = None) -> Cell:
        cell = super().__new__(cls, text)
        cell.href, cell.order = href, order
        return cell


def escape(value: object) -> str:
    return html.escape(str(value), quote=True)


def render(
    title: str,
    state: str,
    headline: str,
    under: str,
    warnings: Sequence[str],
    sections: Iterable[tuple[str, str]],
    head: str = "",
    warnings_first: bool = False,
    live: str = "",
) -> str:
    """The whole page. sections: (title, HTML) in order, empty ones are left out; head, live: HTML; the rest is plain
    text. warnings_first: above the headline, all but the first OPEN folded."""
    filled = [(name, body) for name, body in sections if body]
    lines = [f"<li>{escape(line)}</li>" for line in warnings]
    n = OPEN if warnings_first and len(lines) > OPEN + 1 else len(lines)
    listed = f"<ul>{''.join(lines[:n])}</ul>" + details(
        f"{len(lines) - n} more", f"<ul>{''.join(lines[n:])}</ul>" * (n < len(lines))
    )
    box = f'<section class="warnings" role="note"><h2>Before you believe it</h2>{listed}</section>' if warnings else ""
    return PAGE.substitute(
        css=CSS + look.CSS,
        script=look.SCRIPT,
        head=head,
        title=escape(title),
        state=escape(state),
        headline=escape(headline),
        under=escape(under),
        live=live,
        above=box if warnings_first else "",
        below="" if warnings_first else box,
        nav="".join(f'<a href="#{anchor(name)}">{escape(name)}</a>' for name, _ in filled),
        main="\n".join(
            f'<section id="{anchor(name)}"><h2>{escape(name)}</h2>\n{body}\n</section>' for name, body in filled
        ),
    )


def anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def paragraph(text: str, style: str = "") -> str:
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    numbers: Sequence[str] = (),
    first: bool = False,
    bold: Collection[tuple[int, int]] = (),
) -> str:
    """A table that scrolls sideways on its own; one of four columns and more is a list of cards on a narrow screen.
    numbers: columns set to the right; first: the first row stands out; bold: (row, column) of cells."""
    labels = [f' data-label="{escape(name)}"' if len(columns) > 3 and i else "" for i, name in enumerate(columns)]
    kinds = [' class="number"' if name in numbers else "" for name in columns]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(columns, kinds, strict=True))
    body = []
    for place, row in enumerate(rows):
        strong = [(place, at) in bold for at in range(len(columns))]
        cells = "".join(map(_cell, row, kinds, labels, strong))
        body.append(f"<tr{' class=first' if first and not place else ''}>{cells}</tr>")
    inside = f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    stack = ' class="stack"' if len(columns) > 3 else ""
    return f'<div class="scroll"><table{stack}>{inside}</table></div>'


def _cell(cell: object, kind: str, label: str, strong: bool) -> str:
    text, order = f"<b>{escape(cell)}</b>" if strong else escape(cell), ""
    if isinstance(cell, Cell):
        text = f'<a href="{escape(cell.href)}">{text}</a>' if cell.href else text
        order = f' data-order="{cell.order:.9g}"' if cell.order is not None else ""
    if text == "–":  # of the cards on a narrow screen it is left out
        kind = f'{kind[:-1]} none"' if kind else ' class="none"'
    return f"<td{kind}{label}{order}>{text}</td>"


def pairs(rows: Iterable[tuple[object, object]]) -> str:
    """Keys and values, one below the other."""
    body = "".join(f'<tr><td class="key">{escape(key)}</td><td>{escape(value)}</td></tr>' for key, value in rows)
    return f'<div class="scroll"><table><tbody>{body}</tbody></table></div>' if body else ""


def identifier(name: str) -> str:
    """The id of a sample, which breaks at a slash alone."""
    return f'<span class="id" title="{escape(name)}">{escape(name).replace("/", "/<wbr>")}</span>'


def details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>" if body else ""


def picture(path: Path, alt: str, style: str = "picture", caption: str = "") -> str:
    """A PNG or WebP file in the page. style: chart (its colours follow the dark mode) or picture (never touched)."""
    figcaption = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return _figure(path.read_bytes(), alt, style, figcaption, path.suffix.removeprefix("."))


def charts(drawn: list[Plot], kind: str, split: str = "") -> str:
    found = [chart(p) for p in drawn if p.kind == kind and split in ("", p.split)]
    return cards(found, wide=True) if len(found) > 1 else "".join(found)


def chart(plot: Plot, caption: str = "") -> str:
    """A figure in the page's colours. On a phone a confusion matrix scrolls; every other one shrinks."""
    scale, least = 1.7 if plot.look else 1.35, 0.8 if plot.kind == "confusion" else 0.0
    drawn = look.svg(plot.path.with_suffix(".svg"), plot.title, anchor(plot.path.stem), bool(plot.look), scale, least)
    if plot.look:
        return look.curves(drawn, plot.look)
    style = {"confusion": "scroll matrix", "map": "map"}.get(plot.kind, "still")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="{style}">{drawn}{below}</figure>'


def pixels(array: np.ndarray, alt: str, caption: str) -> str:
    """(H, W) or (H, W, 3) uint8 as a picture; caption is HTML."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG")
    return _figure(buffer.getvalue(), alt, "picture", f"<figcaption>{caption}</figcaption>")


def cards(figures: Sequence[str], wide: bool = False) -> str:
    return f'<div class="cards{" wide" * wide}">{"".join(figures)}</div>' if figures else ""


def _figure(content: bytes, alt: str, style: str, caption: str, kind: str = "png") -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return f'<figure><img class="{style}" alt="{escape(alt)}" src="{source}">{caption}</figure>'
