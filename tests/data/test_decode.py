import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from sketchlab.data.images import decode
from sketchlab.data.images.decode import BadImage


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(data, size_px=8, channels=3, resize="squash"):
    return decode.decode(data, size_px, channels, resize)


def flat(mode, colour, size=(8, 8)):
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    "data, colour",
    [
        (encode(flat("L", 100)), (100, 100, 100)),
        (encode(flat("1", 1)), (255, 255, 255)),
        (encode(flat("RGB", (10, 20, 30))), (10, 20, 30)),
        (encode(flat("RGBA", (10, 20, 30, 0))), (255, 255, 255)),
        (encode(flat("RGBA", (0, 0, 0, 51))), (204, 204, 204)),
        (encode(flat("LA", (0, 51))), (204, 204, 204)),
        (encode(flat("RGB", (10, 20, 30)).quantize(4)), (10, 20, 30)),
        (encode(flat("L", 40), transparency=40), (255, 255, 255)),
        (encode(flat("CMYK", (0, 255, 255, 0)), "JPEG"), (254, 0, 0)),
        (encode(flat("CMYK", (0, 0, 0, 255)), "TIFF"), (0, 0, 0)),
        (encode(Image.fromarray(np.full((8, 8), 65535, np.uint16))), (255, 255, 255)),
        (encode(Image.fromarray(np.full((8, 8), 32896, np.uint16))), (128, 128, 128)),
        (encode(flat("RGB", (9, 9, 9)), "GIF"), (9, 9, 9)),
        (encode(flat("RGB", (9, 9, 9), (1, 1))), (9, 9, 9)),
    ],
    ids=[
        "grey",
        "bit",
        "colour",
        "clear-alpha",
        "alpha",
        "grey-alpha",
        "palette",
        "transparency",
        "cmyk-jpeg",
        "cmyk-tiff",
        "white16",
        "grey16",
        "gif",
        "1x1",
    ],
)
def test_modes(data, colour):
    pixels = read(data)
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.array(colour)[:, None, None]).max() <= 1
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    assert np.abs(read(data, channels=1).astype(int) - luma).max() <= 1.5


def test_16_bits_keep_their_gradient():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    pixels = read(encode(Image.fromarray(np.tile(ramp, (64, 1)))), 64, 1)
    assert pixels[0, 0, 0] == 0 and pixels[0, 0, -1] == 255 and len(np.unique(pixels)) > 55


def test_exif_orientation():
    image = flat("RGB", "white", (8, 8))
    image.paste((0, 0, 0), (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown, the top lies on the right
    pixels = read(encode(image, exif=exif))
    assert pixels[:, :, :4].min() == 255 and pixels[:, :, 4:].max() == 0


def animated():
    frames = [flat("L", 50 * i) for i in range(5)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "empty file"),
        (b"these are words, not pixels", "not an image"),
        (encode(Image.effect_noise((64, 64), 50))[:1500], "truncated"),
        (encode(Image.effect_noise((64, 64), 50), "JPEG")[:800], "truncated"),
        (encode(flat("L", 0))[:20], "not an image|Truncated"),
        (animated(), "animated GIF of 5 frames"),
        (encode(Image.fromarray(np.full((8, 8), 1e9, np.float32)), "TIFF"), "8 or 16 bits"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image"),
    ],
    ids=["empty", "text", "png", "jpeg", "header", "gif", "float", "eps"],
)
def test_bad_files_say_why(data, why):
    with pytest.raises(BadImage, match=why):
        read(data)


def test_damaged_bytes_never_escape_as_another_error():
    good = bytearray(encode(Image.effect_noise((32, 32), 50)))
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            assert read(bytes(data)).shape == (3, 8, 8)
        except BadImage as error:
            assert str(error)


@pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000), (20_000, 2_000)])
@pytest.mark.parametrize("resize", decode.RESIZES)
def test_very_long_images(size, resize):
    assert read(encode(flat("1", 1, size)), 16, 1, resize).shape == (1, 16, 16)


def test_too_large_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 60 * 60)
    with pytest.raises(BadImage, match="64×64 is more than"):
        read(encode(flat("1", 1, (64, 64))))


@pytest.mark.long
def test_20000_px():
    assert (read(encode(flat("1", 1, (20_000, 20_000))), 16, 1, "pad") == 255).all()


def test_resizes_of_a_wide_image():
    image = flat("L", 255, (40, 20))
    image.paste(0, (0, 5, 4, 15))  # a mark at the left edge, which is no majority of the border
    data = encode(image)
    padded, squashed, cropped = (read(data, 20, 1, resize)[0] for resize in ("pad", "squash", "crop"))
    assert (padded[:5] == 255).all() and (padded[-5:] == 255).all() and padded[10, 0] == 0
    assert squashed[10, 0] == 0 and squashed[3, 0] == 255
    assert (cropped == 255).all()
    inverted = read(encode(Image.eval(image, lambda v: 255 - v)), 20, 1, "pad")[0]
    assert np.abs(inverted - (255.0 - padded)).max() <= 1


@pytest.mark.parametrize("size_px", [64, 128, 224])
def test_a_one_pixel_line_at_1111_px_survives(size_px):
    image = flat("L", 255, (1111, 1111))
    pen = ImageDraw.Draw(image)
    for x in range(100, 1000, 173):
        pen.line((x, 50, x + 37, 1050), fill=0, width=1)
    pixels = read(encode(image), size_px, 1)[0].astype(float)
    middle = pixels[size_px // 4 : -size_px // 4]
    assert (255 - middle).max(1).min() > 0.4 * 255 * size_px / 1111  # each line stays in each row
    ink, kept = (255 - np.asarray(image)).mean(), (255 - pixels).mean()
    assert abs(kept / ink - 1) < 0.05  # antialiasing spreads ink, it loses none


@pytest.mark.parametrize("key, zipped", [("text", True), ("text", False), ("itxt", True), ("icc", False)])
def test_a_png_with_three_megabytes_beside_its_pixels(key, zipped):
    info, options, content = PngInfo(), {}, "<mxfile>" + "ab" * 1_500_000
    if key == "text":
        info.add_text("mxfile", content, zip=zipped)
    elif key == "itxt":
        info.add_itxt("scene", content, zip=zipped)
    else:
        options["icc_profile"] = content.encode()
    assert (read(encode(flat("L", 77), pnginfo=info, **options)) == 77).all()


def test_decoding_leaves_the_filters_of_warnings_alone(monkeypatch):
    """They belong to the process: two threads that put them back leave the wrong ones."""
    monkeypatch.setattr(warnings, "catch_warnings", None)
    before = list(warnings.filters)
    assert (read(encode(flat("RGB", (10, 20, 30)).quantize(4), transparency=b"\xff\xff\xff")) >= 0).all()
    assert warnings.filters == before


@pytest.mark.parametrize("n", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_files_are_pixels_or_refused(n):
    kinds = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
    good = [encode(flat("RGB", (9, 90, 200)), kind) for kind in kinds]
    good.append(encode(Image.fromarray(np.full((8, 8), 40_000, np.uint16))))
    change = st.tuples(st.integers(0, 4000), st.integers(0, 255))

    @settings(max_examples=n, deadline=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(good), st.lists(change, max_size=6), st.integers(0, 4000), st.binary(max_size=30))
    def check(data, changes, cut, tail):
        data = bytearray(data)
        for place, value in changes:
            data[place % len(data)] = value
        data = bytes(data[: cut or None]) + tail
        for channels in (1, 3):
            try:
                pixels = read(data, channels=channels)
            except BadImage as error:
                assert str(error)
                continue
            assert pixels.shape == (channels, 8, 8) and pixels.dtype == np.uint8

    check()
