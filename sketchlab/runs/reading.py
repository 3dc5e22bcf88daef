"""Picture files and drawings → what a run's network takes, as the run's own training data were read and drawn.

Drawings come from QuickDraw's ndjson, simplified or raw, from SVG files, or as lists from Python; strokes/simplify
brings them to the simplified convention. How they are drawn then follows from what the run was trained on:

- strokes (data=strokes, quickdraw, …, and shapes as frames or points): strokes.prepare with the run's own raster, never
  augmented;
- shapes as images: the pen of shapes itself (shapes/hand.py), the same bits as in training; `evaluate`, which
  changes lines and strokes, takes the rasteriser with that pen's width and margin;
- any other images: a picture of the network's size like TU-Berlin's: antialiased dark lines on white, 3/800 of the side
  wide (as its SVG files say), the drawing in the middle, its longer side .8 of the picture's (median of 400 of its PNG
  files: .79); then turned to bright lines on black where the run's own drawings were. A run trained on photos is shown
  it dark on white, as a picture file would be, unless it is told that these are drawings (ink).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sketchlab import config
from sketchlab.data.images import augment, files
from sketchlab.data.images.decode import BadImage, decode
from sketchlab.data.sets.shapes import hand as shape_hand
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.data.strokes import prepare as stroke_prepare
from sketchlab.data.strokes import raster, simplify, svg
from sketchlab.data.strokes.batch import Strokes
from sketchlab.errors import UserError
from sketchlab.inputs import Input

CHANNELS = raster.CHANNELS  # of images that drawings give
SUFFIXES = (*ndjson_files.SUFFIXES, svg.SUFFIX)  # of files of drawings
LINE_WIDTH, MARGIN = 3 / 800, 0.1  # of TU-Berlin's pictures, shares of the side
_POOL_PX = 4  # canvas pixels a side that one pixel of an antialiased picture is the mean of

Drawing = simplify.Drawing


def of_strokes(data: dict[str, Any], input: Input) -> bool:
    """Whether a data set with these settings gives strokes, which are drawn (or read as points) in each batch."""
    return "raster" in data and (input.kind != "images" or "picture" not in data)


def ink_of(data: dict[str, Any]) -> str:
    """dark, bright or none, from the settings of a data set (of its training side, where it has two)."""
    if "raster" in data and "picture" not in data:
        return "dark"  # a picture file of a drawing is dark on light, however strokes are drawn
    ink = data.get("ink") or (data.get("train") or {}).get("ink")
    return ink or ("dark" if data.get("picture") == "sketch" else "none")


# --- pictures


def picture_reader(data: dict[str, Any], input: Input, ink: str) -> Callable[[bytes], np.ndarray]:
    """Bytes of an image file → (C, S, S) uint8, as these data were read. It raises BadImage; for every file where the
    network takes strokes."""
    if input.kind != "images" or input.channels not in (1, 3):
        takes = input.kind if input.kind != "images" else "groups of strokes"

        def refuse(_: bytes) -> np.ndarray:
            raise BadImage(
                f"a picture has no strokes, but this run's network takes {takes}: give .ndjson or .svg files"
            )

        return refuse
    stored = files.channels(input, ink)  # drawings are kept grey, photos as the model takes them
    resize = data.get("resize", "pad")
    invert = ink != "none" and ink != input.ink

    def read(content: bytes) -> np.ndarray:
        pixels = decode(content, input.size_px, stored, resize)
        return 255 - pixels if invert else pixels

    return read


def for_people(pixels: np.ndarray) -> np.ndarray:
    """(C, S, S) uint8 → (S, S) or (S, S, 3)."""
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))


def squares(
    names: list[str], reader: Callable[[bytes], np.ndarray], pool: ThreadPoolExecutor
) -> list[np.ndarray | str]:
    """Per file its (C, S, S) uint8, or why it cannot be read: one bad file stops no other."""

    def one(name: str) -> np.ndarray | str:
        try:
            return no_file(name) or reader(Path(name).read_bytes())
        except BadImage as error:
            return str(error)
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error)
        except MemoryError:
            return "not enough memory"

    return list(pool.map(one, names))


def no_file(name: str) -> str:
    """Why not to open it: a pipe or a device would never end. "" for a file, and for what is not there."""
    path = Path(name)
    return "not a file" if path.exists() and not path.is_file() else ""


# --- drawings


def drawings(name: str) -> Iterator[tuple[str, str, Drawing | str]]:
    """Every line of a file of drawings: file:line, its key_id, the drawing or why it is none; one line in memory. An
    SVG file is one drawing, under its own name.

    What ends the file early (no such file, a cut archive) is a last row under the file's own name.
    """
    n = 0
    try:
        if why := no_file(name) or ("" if Path(name).exists() else "No such file or directory"):
            yield name, "", why
            return
        if name.lower().endswith(svg.SUFFIX):
            yield name, "", _of_svg(Path(name))
            return
        for line in ndjson_files.lines(Path(name)):
            n += 1
            yield f"{name}:{line.number}", line.key_id, line.error or simplified(line.drawing)
    except UserError as error:
        yield name, "", str(error).removeprefix(f"{name}: ")
        return
    except (OSError, ValueError) as error:  # a name that no file can have
        yield name, "", getattr(error, "strerror", None) or str(error)
        return
    if not n:
        yield name, "", "no drawings in this file"


def simplified(drawing: Any) -> Drawing | str:
    """A drawing in QuickDraw's simplified convention, or why it is none."""
    try:
        return simplify.convention(drawing)
    except simplify.BadDrawing as error:
        return str(error)


def _of_svg(path: Path) -> Drawing | str:
    try:
        return svg_drawing(path.read_bytes())
    except simplify.BadDrawing as error:
        return str(error)


def svg_drawing(content: bytes) -> Drawing:
    """The bytes of an SVG file → its strokes as data.format=svg reads them. Raises simplify.BadDrawing."""
    return simplify.simplify(svg.strokes(content))


def as_lists(drawing: Any) -> Any:
    """Tuples and arrays → lists, all the way down."""
    if isinstance(drawing, np.ndarray | Tensor):
        return drawing.tolist()
    return [as_lists(part) for part in drawing] if isinstance(drawing, list | tuple) else drawing


@dataclass(frozen=True)
class Rendered:
    """Strokes → (B, C, S, S) float32 as the network takes them, by the pen that draws the images of shapes."""

    prepare: augment.Prepare
    invert: bool

    def __call__(self, raw: Strokes) -> Tensor:
        size = self.prepare.input.size_px
        pixels = [shape_hand.render(drawing, size) for drawing in stroke_batch.to_drawings(raw.cpu())]
        images = torch.from_numpy(np.stack(pixels)[:, None]).to(raw.device)
        return self.prepare(255 - images if self.invert else images)


def raster_of(data: dict[str, Any], input: Input) -> raster.Config:
    """How strokes become pictures for a network trained on these data: their own raster, or what comes nearest."""
    if of_strokes(data, input):
        return config.typed(raster.Config, data["raster"], "data.raster")
    shapes = data.get("name") == "shapes" and data.get("picture") == "sketch"
    width, margin = (shape_hand.LINE_WIDTH, shape_hand.MARGIN) if shapes else (LINE_WIDTH, MARGIN)
    line_px = max(1, round(width * _POOL_PX * input.size_px))
    return raster.Config(_POOL_PX, line_px, antialias=True, late="last", align="centre", margin=margin)


def drawer(
    data: dict[str, Any], input: Input, ink: str, look: raster.Config | None = None
) -> stroke_prepare.Prepare | Rendered:
    """Strokes → what the network takes, as the module says.

    ink: none shows drawings as photos are shown. look: draws by this instead. Raises UserError for what strokes do
    not give.
    """
    bright = input.ink == "bright" and (ink != "none" or of_strokes(data, input))
    if look is None and data.get("name") == "shapes" and data["picture"] == "sketch" and input.kind == "images":
        return Rendered(augment.Prepare(input, None), invert=bright)
    picture_input = replace(input, ink="bright" if bright else "dark")
    return stroke_prepare.Prepare(picture_input, look or raster_of(data, input), None)


# --- what Python code asks about


def given(samples: Any, reader: Callable[[bytes], np.ndarray], what: str) -> tuple[list[str], Callable[[int], Any]]:
    """What Python code asks about → names, and what gives each as pixels or drawing, or why it is none."""
    if isinstance(samples, list | tuple) and samples and isinstance(samples[0], list | tuple):
        return [str(i) for i in range(len(samples))], lambda i: simplified(as_lists(samples[i]))
    return _pictures(samples, reader, what)


def _pictures(images: Any, reader: Callable[[bytes], np.ndarray], what: str) -> tuple[list[str], Callable[[int], Any]]:
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            raise UserError(f"{what}: got {images.dtype} {images.shape}, expected uint8 (B, H, W) or (B, H, W, 3)")
        names = [str(i) for i in range(len(images))]
    else:
        files_: Iterable[Any] = [images] if isinstance(images, str | Path) else images
        names = [str(name) for name in files_]
    if not names:
        raise UserError(f"{what}: no images given")

    def load(i: int) -> np.ndarray | str:
        try:
            return reader(_as_file(images[i]) if isinstance(images, np.ndarray) else Path(names[i]).read_bytes())
        except (OSError, BadImage) as error:
            return str(error)

    return names, load


def _as_file(pixels: np.ndarray) -> bytes:
    """(H, W[, 3]) uint8 → the bytes of an uncompressed image file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PPM")
    return buffer.getvalue()
