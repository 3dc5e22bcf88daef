"""Drawing in batch against a plain drawing of every frame, pixel by pixel."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sketchlab.data.sets import shapes
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.data.strokes import raster
from sketchlab.data.strokes.batch import Strokes
from sketchlab.errors import UserError

FRANKENSTEIN = raster.Config(pool_px=4, line_px=1, antialias=False, late="drop", align="corner", margin=0.0)


def config(**changes):
    return raster.Config(**{**FRANKENSTEIN.__dict__, **changes})


def random_drawings(n, seed=0, most_strokes=12, most_points=9):
    """Lines of every slope, dots, single points, repeated points, the canvas's corners."""
    g = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        strokes = []
        for _ in range(g.integers(1, most_strokes)):
            reach = g.choice([3, 40, 256])
            xy = (
                g.integers(0, 256 - reach + 1, 2)[:, None] + g.integers(0, reach, (2, g.integers(1, most_points)))
            ).tolist()
            strokes.append([[axis[0]] * 2 for axis in xy] if g.random() < 0.1 else xy)
        out.append(strokes)
    return out


def midpoint_line(x0, y0, x1, y1):
    """Bresenham's line as it stands in textbooks: one decision a pixel, ties step."""
    dx, dy = abs(x1 - x0), abs(y1 - y0)
    sx, sy = (1 if x1 > x0 else -1), (1 if y1 > y0 else -1)
    pixels, x, y = [(x0, y0)], x0, y0
    if dx > dy:
        decision = 2 * dy - dx
        while x != x1:
            if decision >= 0:
                y, decision = y + sy, decision - 2 * dx
            x, decision = x + sx, decision + 2 * dy
            pixels.append((x, y))
    else:
        decision = 2 * dx - dy
        while y != y1:
            if decision >= 0:
                x, decision = x + sx, decision - 2 * dy
            y, decision = y + sy, decision + 2 * dx
            pixels.append((x, y))
    return pixels


def slow_canvas(strokes, canvas, line_px=1, shift=(0, 0)):
    """(canvas, canvas) bool, every pixel set one by one."""
    image = np.zeros((canvas, canvas), bool)
    half = [o - (0.5 if line_px % 2 == 0 else 0) for o in range(-((line_px - 1) // 2), line_px // 2 + 1)]
    pen = [(i, j) for i in half for j in half if i * i + j * j <= line_px**2 / 4]
    pen = [(int(np.ceil(i)), int(np.ceil(j))) for i, j in pen]
    for xs, ys in strokes:
        xs, ys = [x + shift[0] for x in xs], [y + shift[1] for y in ys]
        for i in range(max(1, len(xs) - 1)):
            j = min(i + 1, len(xs) - 1)
            for x, y in midpoint_line(xs[i], ys[i], xs[j], ys[j]):
                for u, v in ((x + a, y + b) for a, b in pen):
                    if 0 <= u < canvas and 0 <= v < canvas:
                        image[v, u] = True
    return image


def slow_frames(strokes, n_frames=8):
    """frankenstein: draw strokes 0…k on 256×256, the largest of each 4×4 cell; nothing after the last stroke."""
    out = np.zeros((n_frames, 64, 64), np.uint8)
    for k in range(min(n_frames, len(strokes))):
        out[k] = slow_canvas(strokes[: k + 1], 256).reshape(64, 4, 64, 4).max((1, 3)) * 255
    return out


def pil_canvas(strokes):
    image = Image.new("L", (256, 256))
    pen = ImageDraw.Draw(image)
    for xs, ys in strokes:
        pen.line(list(zip(xs, ys, strict=True)), fill=255) if len(xs) > 1 else pen.point((xs[0], ys[0]), fill=255)
    return np.asarray(image) > 0


def by_tensors(batch, settings=FRANKENSTEIN, size=64, frames=8):
    """The way a GPU takes, on the CPU."""
    points = raster.on_canvas(batch, settings, size * settings.pool_px)
    whole, used = Strokes(points, batch.lengths, batch.counts), batch.counts.clamp(max=frames)
    pen = raster.brush(settings.line_px)
    how = (size, settings.pool_px, pen, frames, True)
    return raster.by_tensors(whole, batch.number_of_stroke(), used, *how, raster._pixels(whole))


@pytest.mark.parametrize("seed", range(4))
def test_frames_equal_the_slow_drawing_of_frankenstein(seed):
    drawings = random_drawings(150, seed)
    batch = stroke_batch.of_drawings(drawings)
    wanted = np.stack([slow_frames(strokes) for strokes in drawings])
    assert np.array_equal(raster.frames(batch, FRANKENSTEIN, 64, 8).numpy(), wanted)
    assert np.array_equal(by_tensors(batch).numpy(), wanted)


@pytest.mark.slow
def test_thousands_of_drawings_are_the_same_by_loop_by_tensors_and_by_pil():
    drawings = random_drawings(2000, 9) + [d for name in shapes.CLASSES for d in shapes.drawings(name, list(range(30)))]
    batch = stroke_batch.of_drawings(drawings)
    drawn = raster.frames(batch, FRANKENSTEIN, 64, 8)
    assert torch.equal(drawn, by_tensors(batch))
    for frames, strokes in zip(drawn.numpy(), drawings, strict=True):
        last = min(8, len(strokes))
        assert np.array_equal(frames[last - 1] > 0, pil_canvas(strokes[:8]).reshape(64, 4, 64, 4).max((1, 3)))
        assert not frames[last:].any()


@pytest.mark.parametrize("pool_px", [1, 3, 4])
def test_lines_of_every_slope_are_those_of_whole_numbers(pool_px):
    """The loop cuts off doubles where the tensors divide whole numbers."""
    ends = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    settings = config(pool_px=pool_px)
    for corner, some in (((0, 0), slice(0, None, 5)), ((255, 0), slice(1, None, 7)), ((129, 254), slice(2, None, 7))):
        for chunk in np.array_split(ends[some], 8):
            lines = np.concatenate([np.full_like(chunk, corner), chunk], axis=1)  # (N, 2, 2)
            batch = stroke_batch.of_drawings([[line.T.tolist()] for line in lines])
            side = 256 // pool_px
            tensors = by_tensors(batch, settings, side, 1)
            assert torch.equal(raster.frames(batch, settings, side, 1), tensors)


@pytest.mark.realdata
@pytest.mark.skipif(not os.environ.get("SKETCHLAB_DATA"), reason="SKETCHLAB_DATA is not set")
def test_real_drawings():
    from sketchlab.data.strokes import ndjson as ndjson_files

    home = Path(os.environ["SKETCHLAB_DATA"], "quickdraw/simplified")
    drawings = [line.drawing for path in sorted(home.iterdir())[::8] for line in ndjson_files.lines(path)]
    batch = stroke_batch.of_drawings(drawings)
    drawn = raster.frames(batch, FRANKENSTEIN, 64, 8)
    assert torch.equal(drawn, by_tensors(batch)) and len(drawings) > 1000
    for frames, strokes in zip(drawn.numpy()[::10], drawings[::10], strict=True):
        assert np.array_equal(frames, slow_frames(strokes))


def test_late_strokes_are_dropped_or_drawn_into_the_last_frame():
    drawings = random_drawings(40, 3, most_strokes=20)
    batch = stroke_batch.of_drawings(drawings)
    last = raster.frames(batch, config(late="last"), 64, 8).numpy()
    for frames, plain, strokes in zip(last, raster.frames(batch, FRANKENSTEIN, 64, 8).numpy(), drawings, strict=True):
        assert np.array_equal(frames[:7], plain[:7])
        if len(strokes) >= 8:
            assert np.array_equal(frames[7] > 0, slow_canvas(strokes, 256).reshape(64, 4, 64, 4).max((1, 3)))


@pytest.mark.parametrize("line_px", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("pool_px", [1, 3, 4])
def test_width_and_pool_equal_the_slow_drawing(line_px, pool_px):
    size = 64 if pool_px == 4 else 40
    canvas = size * pool_px
    drawings = random_drawings(12, line_px * 10 + pool_px, most_strokes=5)
    batch = stroke_batch.of_drawings(drawings)
    settings = config(line_px=line_px, pool_px=pool_px)
    drawn = raster.picture(batch, settings, size).numpy()[:, 0]
    soft = raster.picture(batch, config(line_px=line_px, pool_px=pool_px, antialias=True), size).numpy()[:, 0]
    for hard, grey, strokes in zip(drawn, soft, drawings, strict=True):
        placed = [[[(2 * v + 1) * canvas // 512 for v in axis] for axis in stroke] for stroke in strokes]
        cells = slow_canvas(placed, canvas, line_px).reshape(size, pool_px, size, pool_px)
        assert np.array_equal(hard > 0, cells.max((1, 3)))
        assert np.array_equal(grey, np.floor(cells.mean((1, 3)) * 255 + 0.5 + 1e-9).astype(np.uint8))
    if line_px == 3:
        assert torch.equal(by_tensors(batch, settings, size, 3), raster.frames(batch, settings, size, 3))


def test_drawing_alone_and_in_a_batch_of_chunks_is_the_same(monkeypatch):
    batch = stroke_batch.of_drawings(random_drawings(23, 5))
    soft = config(antialias=True, line_px=5, align="centre", margin=0.1)
    whole = raster.frames(batch, soft, 32, 4)
    monkeypatch.setattr(raster, "_CHUNK_BYTES", {"cpu": 3 * 4 * 128 * 128})
    assert torch.equal(raster.frames(batch, soft, 32, 4), whole)
    for i in (0, 11, 22):
        assert torch.equal(raster.frames(batch[i : i + 1], soft, 32, 4)[0], whole[i])


def test_centre_and_margin():
    batch = stroke_batch.of_drawings([[[[0, 50], [0, 0]]], [[[0, 0], [0, 255]]], [[[255, 255], [3, 3]]]])
    drawn = raster.picture(batch, config(align="centre", margin=0.125, pool_px=1), 256)[:, 0] > 0
    for image in drawn:
        ys, xs = (axis.numpy() for axis in image.nonzero(as_tuple=True))
        assert abs((xs.min() + xs.max()) / 2 - 127.5) <= 0.5 and abs((ys.min() + ys.max()) / 2 - 127.5) <= 0.5
        assert min(xs.min(), ys.min(), 255 - xs.max(), 255 - ys.max()) >= 32
    assert drawn[1].any(1).sum() == 192  # the longer side fills what the margins leave


def test_what_leaves_the_canvas_is_cut_off_not_wrapped_around():
    points = torch.tensor([[-40.0, 100.0], [300.0, 130.0], [500.0, 500.0], [600.0, 600.0]])
    batch = Strokes(points, torch.tensor([2, 2]), torch.tensor([2]))
    wanted = slow_canvas([[[-40, 300], [100, 130]]], 256).reshape(64, 4, 64, 4).max((1, 3))
    for drawn in (raster.frames(batch, FRANKENSTEIN, 64, 2), by_tensors(batch, frames=2)):
        assert np.array_equal(drawn[0, 1].numpy() > 0, wanted)


def test_six_channels_are_thirds_pairs_and_the_whole():
    drawings = random_drawings(60, 8, most_strokes=10)
    got = raster.groups(stroke_batch.of_drawings(drawings), FRANKENSTEIN, 64).numpy() > 0
    for channels, strokes in zip(got, drawings, strict=True):
        n = len(strokes)
        thirds = [
            slow_canvas([s for i, s in enumerate(strokes) if 3 * i // n == g], 256).reshape(64, 4, 64, 4).max((1, 3))
            for g in range(3)
        ]
        a, b, c = thirds
        assert np.array_equal(channels, np.stack([a, b, c, a | b, b | c, a | b | c]))


def test_an_empty_batch_and_bad_settings():
    empty = stroke_batch.of_drawings([random_drawings(1)[0]])[0:0]
    assert raster.frames(empty, FRANKENSTEIN, 64, 8).shape == (0, 8, 64, 64) == by_tensors(empty).shape
    assert raster.picture(empty, config(antialias=True), 64).shape == (0, 1, 64, 64)
    for key, value in (("pool_px", 0), ("line_px", 0), ("late", "never"), ("align", "left"), ("margin", 0.5)):
        with pytest.raises(UserError, match=f"data.raster.{key}="):
            config(**{key: value})


@pytest.mark.gpu
def test_the_same_bits_on_a_gpu():
    batch = stroke_batch.of_drawings(random_drawings(1000, 2))
    for settings in (FRANKENSTEIN, config(line_px=4, antialias=True, align="centre", margin=0.1)):
        drawn = raster.frames(batch, settings, 64, 8)
        assert torch.equal(raster.frames(batch.to("cuda"), settings, 64, 8).cpu(), drawn)
    assert torch.equal(raster.groups(batch.to("cuda"), FRANKENSTEIN, 64).cpu(), raster.groups(batch, FRANKENSTEIN, 64))
