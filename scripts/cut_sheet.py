"""Cut a contact sheet into the images it is made of: the folders of `data=photo_drawing`, or of any other class.

    python scripts/cut_sheet.py photos.png data/photo_drawing/photo --tile 224
    python scripts/cut_sheet.py drawings.png data/photo_drawing/drawing --grid 10x15

--tile is the side of a tile in pixels (or HEIGHTxWIDTH), --grid is ROWSxCOLUMNS. Tiles are written from the left to the
right and from the top down, as <sheet>_<row>_<column>.png, losslessly; tiles of one colour alone, such as the empty
end of the last row, are left out and counted. A sheet that does not divide is refused, unless --allow-rest: what is
left over at the right and at the bottom is then cut off.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps

from sketchlab.errors import UserError

Image.MAX_IMAGE_PIXELS = 40_000 * 40_000  # a sheet is large, and the user's own


def main(words: list[str] | None = None) -> None:
    arguments = parser().parse_args(words)
    try:
        print(cut(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("sheet", type=Path)
    out.add_argument("folder", type=Path, help="where the tiles go; made when it is not there")
    how = out.add_mutually_exclusive_group(required=True)
    how.add_argument("--tile", metavar="PX", help="side of a tile, or HEIGHTxWIDTH")
    how.add_argument("--grid", metavar="ROWSxCOLUMNS", help="how many tiles there are")
    out.add_argument("--allow-rest", action="store_true", help="cut off what is left over")
    return out


def cut(arguments: argparse.Namespace) -> str:
    """Write the tiles; returns a line that says what was done. Raises UserError before anything is written."""
    sheet = opened(arguments.sheet)
    rows, columns, high_px, wide_px = layout(sheet.size, arguments.tile, arguments.grid, arguments.allow_rest)
    width = len(str(max(rows, columns) - 1))
    boxes = {
        arguments.folder / f"{arguments.sheet.stem}_{row:0{width}}_{column:0{width}}.png": (
            column * wide_px,
            row * high_px,
            (column + 1) * wide_px,
            (row + 1) * high_px,
        )
        for row in range(rows)
        for column in range(columns)
    }
    if there := [path for path in boxes if path.exists()]:
        raise UserError(f"{there[0]} is there already ({len(there)} of these tiles are): give an empty folder")
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        blank = sum(not write(sheet.crop(box), path) for path, box in boxes.items())
    except OSError as error:
        raise UserError(f"{arguments.folder}: cannot write there: {error.strerror or error}") from None
    left = f", {blank} of one colour left out" if blank else ""
    return f"{len(boxes) - blank} tiles of {high_px}×{wide_px} px in {arguments.folder}{left}"


def opened(path: Path) -> Image.Image:
    try:
        sheet = ImageOps.exif_transpose(Image.open(path))
        sheet.load()
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image: {getattr(error, 'strerror', None) or error}") from None
    return sheet if sheet.mode in ("L", "RGB", "RGBA") else sheet.convert("RGB")


def layout(size: tuple[int, int], tile: str | None, grid: str | None, allow_rest: bool) -> tuple[int, int, int, int]:
    """rows, columns, height and width of a tile in pixels; size: (width, height) of the sheet."""
    wide, high = size
    if tile is not None:
        high_px, wide_px = pair("--tile", tile, "a side in pixels (224) or HEIGHTxWIDTH (200x224)", single=True)
        rows, columns = high // high_px, wide // wide_px
    else:
        rows, columns = pair("--grid", grid or "", "ROWSxCOLUMNS (10x15)", single=False)
        high_px, wide_px = high // rows, wide // columns
    if not (rows and columns and high_px and wide_px):
        raise UserError(f"the sheet of {high}×{wide} px is smaller than one tile of {high_px}×{wide_px}")
    rest = high - rows * high_px, wide - columns * wide_px
    if any(rest) and not allow_rest:
        what = f"tiles of {high_px}×{wide_px} px" if tile is not None else f"{rows} rows and {columns} columns"
        raise UserError(
            f"the sheet of {high}×{wide} px (height×width) does not divide into {what}: {rest[0]} rows and {rest[1]} "
            "columns of pixels are left over; --allow-rest cuts them off"
        )
    return rows, columns, high_px, wide_px


def pair(option: str, text: str, expected: str, single: bool) -> tuple[int, int]:
    numbers = [int(word) for word in re.findall(r"\d+", text)]
    if not re.fullmatch(r"\d+[x×]\d+|\d+" if single else r"\d+[x×]\d+", text) or not all(numbers):
        raise UserError(f"{option} {text}: expected {expected}")
    return numbers[0], numbers[-1]


def write(tile: Image.Image, path: Path) -> bool:
    """False, and nothing written, for a tile of one colour."""
    if all(low == high for low, high in bands(tile)):
        return False
    part = path.with_name(f".{path.name}.part")
    tile.save(part, "PNG")
    os.replace(part, path)
    return True


def bands(tile: Image.Image) -> Iterator[tuple[float, float]]:
    """(lowest, highest) value of each channel."""
    for band in tile.split():
        yield band.getextrema()  # type: ignore[misc]


if __name__ == "__main__":
    main()
