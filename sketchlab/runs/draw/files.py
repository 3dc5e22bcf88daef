"""What a run has drawn, as files: an SVG each, all as ndjson, and a sheet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import ndjson
import torch

from sketchlab.data.commands.export import svg
from sketchlab.data.sheet import save
from sketchlab.data.strokes import batch, raster
from sketchlab.data.strokes.simplify import Drawing
from sketchlab.pipelines.gan.sheets import sheet
from sketchlab.storage.files import atomic

SHEET_PX = 96  # side of a drawing on the sheet
SHOWN = 100  # drawings on the sheet, at most


def write(
    folder: Path,
    drawings: Sequence[Drawing],
    words: Sequence[str],
    begun: Sequence[int] | None = None,
    columns: int = 0,
) -> None:
    """Write 00000_<word>.svg …, drawings.ndjson (data=strokes reads it back) and sheet.png.

    words: of each drawing, "" where none is known. begun: strokes of each that were there before, the others are drawn
    in another colour. columns: of the sheet, 0 = about as many as rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i, (drawing, word) in enumerate(zip(drawings, words, strict=True)):
        ending = re.sub(r"[^\w.-]", "_", f"_{word}") if word else ""
        with atomic(folder / f"{i:05d}{ending}.svg") as temporary:
            text = svg(drawing, len(drawing) if begun is None else begun[i])
            temporary.write_text(text, encoding="utf-8")
    lines = [
        {"word": word, "key_id": f"{i:05d}", "recognized": True, "drawing": drawing}
        for i, (drawing, word) in enumerate(zip(drawings, words, strict=True))
    ]
    with atomic(folder / "drawings.ndjson") as temporary:
        temporary.write_text(ndjson.dumps(lines, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = raster.pictures(batch.of_drawings(list(drawings)[:SHOWN]), SHEET_PX)
    save(folder / "sheet.png", sheet(shown.to(torch.float32) / 255, columns).numpy())
