"""A run as a few lines of HTML, for notebooks: its result in words, its scores, one curve, small pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from sketchlab.report import canvas, page, scores
from sketchlab.report.read import Run, read
from sketchlab.report.run import curves
from sketchlab.report.run.headline import headline
from sketchlab.report.sentences import render

SCORES = 8  # rows of the table, at most
SIDE_PX = 320  # of a picture
PICTURES = ("data", "test_[srt]*", "val_[srt]*")  # what the network sees; samples, a search or translations


def html(folder: Path) -> str:
    """Raises UserError when the folder is no run. A run without scores has none in it, and says its state."""
    run = read(folder)
    found = scores.scores(run)[:SCORES]
    rows = [(s.split, s.metric, scores.text(s.declared, s.value), scores.interval_text(s), s.n or "") for s in found]
    parts = [
        f"<b>{page.escape(run.name)}</b> ({page.escape(run.state)})",
        page.paragraph(render(headline(run))),
        page.table(("split", "score", "value", "interval", "n"), rows, numbers=("value", "n")) if rows else "",
        _curve(run),
        *(_picture(path) for path in _pictures(run)),
    ]
    return "\n".join(filter(None, parts))


def _curve(run: Run) -> str:
    """The panel of the score that the best epoch is chosen by; "" where it was measured once or never."""
    watched = scores.watched(run)
    for family, members in curves.families(run).items():
        if watched in members:
            figure, buffer = canvas.new(*curves.SIZE), io.BytesIO()
            curves.panel(run, figure.subplots(), family, members)
            figure.savefig(buffer, format="png", dpi=72)
            return _image(buffer.getvalue(), f"{family} of {run.name}")
    return ""


def _pictures(run: Run) -> list[Path]:
    """data.png, and the last of the pictures of the test split, else of val."""
    data, *splits = (run.samples(pattern) for pattern in PICTURES)
    return data[:1] + next(filter(None, splits), [])[-1:]


def _picture(path: Path) -> str:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((SIDE_PX, SIDE_PX))
        small.save(buffer, "PNG")
    return _image(buffer.getvalue(), path.stem)


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{page.escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
