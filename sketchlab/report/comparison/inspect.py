"""Curves to look into: the SVG inside the page, groups hidden by ticking, values under the pointer. No network."""

from __future__ import annotations

import json
import re
from itertools import chain

from sketchlab.metrics import declared
from sketchlab.report import page, scores
from sketchlab.report.comparison.figures import Drawn, Line, Look, finite

CSS = """
.look { position: relative; } .look, .still { max-width: 42rem; }
.look > svg, .still svg { width: 100%; height: auto; display: block;
  touch-action: pan-y; } .look > svg:focus-visible { outline: 2px solid var(--accent); }
.look > svg [id$="-patch_1"], .look > svg [id$="-patch_2"], .still svg [id$="-patch_1"], .still svg [id$="-patch_2"] {
  display: none; }
.keys { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .9rem; } .keys label { cursor: pointer; }
.keys svg { width: 2.2rem; height: .6rem; vertical-align: middle; margin: 0 .3rem; }
.tip { position: absolute; pointer-events: none; background: var(--paper); border: 1px solid var(--line); z-index: 1;
  padding: .2rem .5rem; font-size: .8rem; font-variant-numeric: tabular-nums; }
.tip td { padding: 0 .5rem 0 0; border: 0; white-space: nowrap; } .tip table { margin: 0; }
.quote { border-left: .3rem solid var(--line); padding-left: .8rem; } .quote.better { border-color: var(--accent); }
.quote .soft { display: block; }
tr.first td { background: var(--card); }
@media (prefers-color-scheme: dark) { .look > svg, .still svg, .keys svg { filter: invert(0.91) hue-rotate(180deg); } }
@media print { .keys, .tip { display: none; } }
"""

# Everything here works on what the page already shows; without it only the values under the pointer are missing.
SCRIPT = """addEventListener('DOMContentLoaded', () => {
for (const look of document.querySelectorAll('.look')) {
  const data = JSON.parse(look.querySelector('script').textContent), svg = look.querySelector('svg');
  const tip = look.querySelector('.tip'), [left, top, right, bottom] = data.box, [low, high] = data.range;
  const cursor = document.createElementNS(svg.namespaceURI, 'line');
  for (const [k, v] of Object.entries({y1: top, y2: bottom, stroke: '#555', 'stroke-width': 1, visibility: 'hidden'}))
    cursor.setAttribute(k, v);
  svg.append(cursor);
  const all = [...new Set(data.lines.flatMap(l => l.x))].sort((a, b) => a - b);
  const place = x => left + (x - low) / (high - low) * (right - left);
  let at = -1;
  const hide = () => { tip.hidden = true; cursor.setAttribute('visibility', 'hidden'); };
  const show = i => {
    at = Math.max(0, Math.min(all.length - 1, i));
    const x = all[at], rows = [];
    for (const l of data.lines) {
      const j = l.x.indexOf(x), box = document.getElementById(l.box);
      if (j < 0 || l.mean[j] === null || (box && !box.checked)) continue;
      rows.push([l.mean[j], l.swatch, l.name, l.text[j]]);
    }
    rows.sort((a, b) => data.less ? a[0] - b[0] : b[0] - a[0]);
    tip.replaceChildren();
    const head = document.createElement('b'), table = document.createElement('table');
    head.textContent = 'epoch ' + x;
    for (const [, swatch, name, text] of rows) {
      const row = table.insertRow(), key = row.insertCell();
      key.className = 'keys'; key.innerHTML = swatch;
      row.insertCell().textContent = name; row.insertCell().textContent = text;
    }
    tip.append(head, table);
    tip.hidden = false;
    cursor.setAttribute('x1', place(x)); cursor.setAttribute('x2', place(x));
    cursor.setAttribute('visibility', 'visible');
    const wide = svg.getBoundingClientRect().width, scale = wide / svg.viewBox.baseVal.width, px = place(x) * scale;
    tip.style.left = 0;
    const beside = px > wide / 2 ? px - tip.offsetWidth - 12 : px + 12;
    tip.style.left = Math.max(0, Math.min(beside, look.clientWidth - tip.offsetWidth)) + 'px';
    tip.style.top = (svg.getBoundingClientRect().top - look.getBoundingClientRect().top + top * scale) + 'px';
  };
  const move = e => {
    const box = svg.getBoundingClientRect(), x = (e.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    if (x < left - 10 || x > right + 10) return hide();
    let best = 0;
    all.forEach((v, i) => { if (Math.abs(place(v) - x) < Math.abs(place(all[best]) - x)) best = i; });
    show(best);
  };
  svg.addEventListener('pointermove', move); svg.addEventListener('pointerdown', move);
  svg.addEventListener('pointerleave', hide); svg.addEventListener('blur', hide);
  svg.addEventListener('keydown', e => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (step) { e.preventDefault(); show(at + step); }
    if (e.key === 'Escape') hide();
  });
  look.addEventListener('change', () => { if (!tip.hidden) show(at); });
}});
"""


def inspectable(drawn: Drawn, key: str) -> str:
    """The figure with its legend of tick boxes, its data for the pointer, and the same numbers as a table."""
    name = page.anchor(drawn.stem.name)
    boxes, rules, lines = [], [], []
    for look in drawn.lines:
        box, line = f"{name}-show-{look.gid}", look.line
        group = f' data-group="{page.escape(look.group)}"' if look.group else ""
        swatch = _swatch(look)
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
    data = json.dumps({"box": drawn.box, "range": drawn.x_range, "less": less, "lines": lines}).replace("<", "\\u003c")
    return (
        f'<div class="look"><style>{"".join(rules)}</style>{svg(drawn, name)}<div class="tip" hidden></div>'
        f'<div class="keys" role="group" aria-label="Show or hide">{"".join(boxes)}</div>'
        f'<script type="application/json">{data}</script></div>' + _numbers(drawn, key)
    )


def _lines(drawn: Drawn) -> list[Line]:
    return [look.line for look in drawn.lines if look.line is not None]


def _swatch(look: Look) -> str:
    """A piece of the line, as it is drawn."""
    dashes = f' stroke-dasharray="{" ".join(f"{2 * d:g}" for d in look.dashes)}"' if look.dashes else ""
    line = f'<path d="M0 4H32" stroke="{look.colour}" stroke-width="3" fill="none"{dashes}/>'
    return f'<svg viewBox="0 0 32 8" aria-hidden="true">{line}</svg>'


def still(drawn: Drawn) -> str:
    """The figure as it is."""
    return f'<div class="still">{svg(drawn, page.anchor(drawn.stem.name))}</div>'


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


def svg(drawn: Drawn, name: str) -> str:
    """The SVG file as a part of a page: no header, no metadata, ids of its own."""
    text = drawn.stem.with_name(f"{drawn.stem.name}.svg").read_text("utf-8")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = (
        re.sub(r' (?:xmlns(?::xlink)?|width|height|version)="[^"]*"', "", text.split(">", 1)[0])
        + ">"
        + text.split(">", 1)[1]
    )
    text = re.sub(r' id="', f' id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    head = f'<svg role="img" tabindex="0" aria-label="{page.escape(drawn.title)}"'
    return text.replace("<svg", head, 1)
