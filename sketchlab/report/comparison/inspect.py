"""Curves to look into: the SVG inside the page, groups hidden by ticking, values under the pointer. No network."""

from __future__ import annotations

from itertools import chain

from sketchlab.metrics import declared
from sketchlab.report import look as look_into
from sketchlab.report import page, scores
from sketchlab.report.comparison.figures import Drawn, Line
from sketchlab.report.look import finite

CSS = """
.quote { border-left: .3rem solid var(--line); padding-left: .8rem; } .quote.better { border-color: var(--accent); }
.quote .soft { display: block; }
tr.first td { background: var(--card); }
"""


def inspectable(drawn: Drawn, key: str) -> str:
    """The figure with its legend of tick boxes, its data for the pointer, and the same numbers as a table."""
    name = page.anchor(drawn.stem.name)
    boxes, rules, lines = [], [], []
    for look in drawn.lines:
        box, line = f"{name}-show-{look.gid}", look.line
        group = f' data-group="{page.escape(look.group)}"' if look.group else ""
        swatch = look_into.swatch(look.colour, look.dashes)
        boxes.append(
            f'<label><input type="checkbox" checked id="{box}"{group}>{swatch}{page.escape(look.name)}</label>'
        )
        rules.append(f'.look:has(#{box}:not(:checked)) [id^="{name}-{look.gid}-"]{{display:none}}')
        if line is None:
            continue
        texts = [_value(line, i, line.group.declared(key)) for i in range(len(line.x))]
        lines.append(
            {
                "name": line.group.name,
                "swatch": swatch,
                "box": box,
                "x": finite(line.x),
                "mean": finite(line.mean),
                "text": texts,
            }
        )
    less = _lines(drawn)[0].group.declared(key).better == "smaller"
    keys = f'<div class="keys" role="group" aria-label="Show or hide">{"".join(boxes)}</div>'
    data = {**drawn.frame, "less": less, "axis": "epoch", "lines": lines}
    return look_into.curves(_svg(drawn, True), data, keys, "".join(rules)) + _numbers(drawn, key)


def _lines(drawn: Drawn) -> list[Line]:
    return [look.line for look in drawn.lines if look.line is not None]


def still(drawn: Drawn) -> str:
    """The figure as it is."""
    return f'<div class="still">{_svg(drawn, False)}</div>'


def _value(line: Line, i: int, score: declared.Score) -> str:
    spread = ""
    if line.low[i] == line.low[i]:
        spread = f" [{scores.text(score, line.low[i], 2)}, {scores.text(score, line.high[i], 2)}]"
    return scores.text(score, line.mean[i]) + spread + (f" n = {line.n[i]}" if line.n[i] > 1 else "")


def _numbers(drawn: Drawn, key: str) -> str:
    """At most twelve epochs of the curves, for those who read."""
    epochs = sorted(set(chain.from_iterable(line.x for line in _lines(drawn))))
    chosen = [epochs[round(i * (len(epochs) - 1) / 11)] for i in range(12)] if len(epochs) > 12 else epochs
    rows = []
    for line in _lines(drawn):
        at = {x: y for x, y in zip(line.x, line.mean, strict=True)}
        score = line.group.declared(key)
        rows.append((line.group.name, *(scores.text(score, at[x]) if x in at else "–" for x in chosen)))
    columns = ("mean at epoch", *(f"{x:g}" for x in chosen))
    return page.details("The curves as numbers", page.table(columns, rows, columns[1:]))


def _svg(drawn: Drawn, focus: bool) -> str:
    path = drawn.stem.with_name(f"{drawn.stem.name}.svg")
    return look_into.svg(path, drawn.title, page.anchor(drawn.stem.name), focus)
