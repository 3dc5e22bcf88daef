"""One image file → one small square uint8 image, whatever mode, depth, orientation and size it comes in."""

from __future__ import annotations

import io
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from sketchlab.errors import UserError

VERSION = 1  # raised when the same file would give other pixels: stores are built anew
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
RESIZES = ("pad", "squash", "crop")
# JPEG covers what cameras call MPO; no EPS: it would start another program
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 20_000 * 20_000
HUGE_PIXELS = 7_000 * 7_000  # from here on one at a time, so that memory stays bounded by one image
_one_at_a_time = threading.Lock()
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # the limit is checked below, with a message that names the file
# PIL refuses more than 1 MiB of text or colour profile; draw.io and Excalidraw keep whole drawings there
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 64 * 2**20
# PIL's remarks on metadata, once and for all: filters belong to the process, and decoding runs in threads
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImage(Exception):
    """A file that cannot be used; the message says why."""


def decode(data: bytes, size_px: int, channels: int, resize: str) -> np.ndarray:
    """The bytes of an image file → (channels, size_px, size_px) uint8.

    EXIF orientation is applied; transparency is laid on white; 16 bits are scaled to 8; CMYK and palettes become
    colour; channels 1 is the luma. resize: pad keeps the aspect and fills with the median of the border, squash does
    not keep it, crop keeps the central square. Always antialiased (triangle filter, as torchvision's bilinear).
    Raises BadImage.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check(image)
        if image.width * image.height < HUGE_PIXELS:
            return _square(_plain(image, channels), size_px, resize)
        with _one_at_a_time:
            return _square(_plain(image, channels), size_px, resize)
    except (BadImage, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        reason = "empty file" if not data else f"not an image (starts with {data[:12]!r})"
        raise BadImage(reason) from None
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise BadImage(f"{str(error) or 'broken'} ({type(error).__name__})") from None


def check_resize(resize: str) -> None:
    if resize not in RESIZES:
        raise UserError(f"data.resize={resize}: expected one of {', '.join(RESIZES)}")


def _check(image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # there the others are previews
        kind = "TIFF" if image.format == "TIFF" else f"animated {image.format}"
        raise BadImage(f"{kind} of {frames} frames: save the one that is meant as a still image")
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{image.width}×{image.height} is more than {MAX_PIXELS / 1e6:.0f} megapixels")


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Upright, opaque, 8 bits; mode L for one channel, RGB for three."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)  # convert copies, and an image may be 1.6 GB


def _to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535) or image.mode == "F":
        raise BadImage(f"values from {low:g} to {high:g}: expected 8 or 16 bits a pixel")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _square(image: Image.Image, size_px: int, resize: str) -> np.ndarray:
    wide, high = image.size
    if resize == "crop":
        side = min(wide, high)
        left, top = (wide - side) / 2, (high - side) / 2
        small = image.resize((size_px, size_px), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    elif resize == "squash" or wide == high:
        small = image.resize((size_px, size_px), Image.Resampling.BILINEAR)
    else:
        factor = size_px / max(wide, high)
        fitted = (max(1, round(wide * factor)), max(1, round(high * factor)))
        small = _padded(image.resize(fitted, Image.Resampling.BILINEAR), size_px)
    pixels = np.asarray(small).reshape(size_px, size_px, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _padded(image: Image.Image, size_px: int) -> np.ndarray:
    """On a square of the border's median: white for drawings, a neutral colour for photos. (S, S, channels)"""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    square = np.empty((size_px, size_px, pixels.shape[-1]), np.uint8)
    square[:] = np.sort(edge, axis=0)[len(edge) // 2]
    top, left = (size_px - image.height) // 2, (size_px - image.width) // 2
    square[top : top + image.height, left : left + image.width] = pixels
    return square
