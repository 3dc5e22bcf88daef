"""Sketches with their nearest photos as one picture, for people: names and distances below."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

CELL_PX, GAP_PX, TEXT_PX = 96, 8, 11
GREY, INK, SOFT = (150, 150, 150), (20, 20, 20), (90, 90, 90)


class Cell(NamedTuple):
    picture: Image.Image | None  # None: it cannot be shown
    name: str
    under: str  # a second line


def matches_sheet(rows: list[list[Cell]]) -> Image.Image:
    """A row a sketch: the sketch first, then photos, the nearest first."""
    font = ImageFont.load_default(TEXT_PX)
    wide, high = CELL_PX + GAP_PX, CELL_PX + GAP_PX + 2 * TEXT_PX + 6
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (GAP_PX + columns * wide + GAP_PX, GAP_PX + len(rows) * high), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            left, top = GAP_PX + x * wide + GAP_PX * (x > 0), GAP_PX + y * high
            _cell(sheet, draw, font, cell, left, top)
    right = GAP_PX + wide - GAP_PX // 2 + GAP_PX // 2
    draw.line([(right, GAP_PX), (right, sheet.height - GAP_PX)], fill=GREY)  # between sketches and photos
    return sheet


def _cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, font: object, cell: Cell, left: int, top: int) -> None:
    box = (left, top, left + CELL_PX - 1, top + CELL_PX - 1)
    if cell.picture is None:
        draw.rectangle(box, outline=GREY)
        draw.line([box[:2], box[2:]], fill=GREY)
    else:
        small = cell.picture.convert("RGB")
        factor = CELL_PX / max(small.size)
        small = small.resize((max(1, round(small.width * factor)), max(1, round(small.height * factor))))
        sheet.paste(small, (left + (CELL_PX - small.width) // 2, top + (CELL_PX - small.height) // 2))
        draw.rectangle(box, outline=GREY)
    for line, (text, ink) in enumerate(((cell.name, INK), (cell.under, SOFT))):
        where = (left, top + CELL_PX + 2 + line * (TEXT_PX + 2))
        draw.text(where, _fitting(draw, text, font), fill=ink, font=font)  # type: ignore[arg-type]


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: object) -> str:
    """The end of a name, which tells files apart, as long as the cell is wide."""
    if draw.textlength(text, font=font) <= CELL_PX:  # type: ignore[arg-type]
        return text
    while text and draw.textlength("…" + text, font=font) > CELL_PX:  # type: ignore[arg-type]
        text = text[1:]
    return "…" + text
