import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sketchlab import inputs, rng
from sketchlab.data import splits
from sketchlab.data.images import augment
from sketchlab.data.sets import shapes
from sketchlab.data.sets.shapes import hand as shape_hand
from sketchlab.data.sets.shapes.objects import parts_of
from sketchlab.data.strokes import augment as stroke_augment
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.data.strokes import raster, simplify
from sketchlab.errors import UserError
from sketchlab.inputs import Input

CONF = Path(__file__).parents[2] / "conf" / "data"
DIGEST = "fbebdceb8f123d3f"  # of version 1; a new one needs a new VERSION and new figures in shapes.py


def config(**values) -> shapes.Config:
    given = yaml.safe_load((CONF / "shapes.yaml").read_text())
    del given["defaults"], given["name"]
    given["splits"] = splits.Config(**yaml.safe_load((CONF / "splits" / "fraction.yaml").read_text()))
    given["augment"] = augment.Config(**yaml.safe_load((CONF / "augment" / "none.yaml").read_text()), own={})
    given["raster"] = raster.Config(**yaml.safe_load((CONF / "raster" / "frames.yaml").read_text()))
    changes = yaml.safe_load((CONF / "stroke_augment" / "none.yaml").read_text())
    given["stroke_augment"] = stroke_augment.Config(**changes)
    return shapes.Config(**{**given, "per_class": 10, "classes": ["circle", "house", "sun"], **values})


def takes(kind: str = "images", size_px: int = 32, channels: int = 1, ink: str = "bright") -> Input:
    n = 1 if kind in ("frames", "points") else channels
    return Input(kind, size_px, channels, ink, [0.0] * n, [1.0] * n)


def test_drawings_are_pinned():
    digest = hashlib.sha256()
    for name in shapes.CLASSES:
        digest.update(json.dumps([shapes.drawings(name, list(range(8)), k) for k in (0, 1)]).encode())
    assert digest.hexdigest()[:16] == DIGEST, (
        "drawings changed: add to semantics.CHANGES, and measure the difficulty again"
    )


@pytest.mark.parametrize("name", shapes.CLASSES)
def test_convention(name):
    for strokes in shapes.drawings(name, list(range(12))):
        assert strokes
        for stroke in strokes:
            xs, ys = stroke
            assert len(xs) == len(ys) >= 2
            assert all(type(v) is int and 0 <= v <= 255 for v in xs + ys)
        both = [[v for stroke in strokes for v in stroke[axis]] for axis in (0, 1)]
        assert min(both[0]) <= 2 and min(both[1]) <= 2  # the simplification may drop the outermost point
        assert max(max(both[0]), max(both[1])) >= 252


def test_a_dot_is_two_equal_points():
    line, dot = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.5, 0.5]])
    assert simplify.simplify([line, dot]) == [[[0, 255], [0, 0]], [[128, 128], [128, 128]]]
    assert shape_hand.render([[[7, 7], [9, 9]]], 28).min() < 150


def test_a_sample_is_a_function_of_class_and_number():
    many = shapes.drawings("fish", list(range(70)))
    assert shapes.drawing("fish", 63) == many[63] and shapes.drawings("fish", [63, 5]) == [many[63], many[5]]
    assert shapes.drawing("fish", 5, sketch=1) != many[5]
    assert np.array_equal(shapes.photo("sun", 3, 40), shapes.photo("sun", 3, 40))
    small = shapes.build(config(), takes()).splits
    large = shapes.build(config(classes=["triangle", "sun", "circle", "house"], per_class=14), takes()).splits
    pixels = {}
    for parts in (small, large):
        for part in parts.values():
            for place, name in enumerate(part.ids):
                image = part.gather(torch.tensor([place]))
                assert torch.equal(pixels.setdefault(name, image), image)


@pytest.mark.parametrize("name", shapes.CLASSES)
def test_people_differ(name):
    drawn = shapes.drawings(name, list(range(40)))
    assert len({json.dumps(strokes) for strokes in drawn}) == 40
    assert len({len(strokes) for strokes in drawn}) > 1  # number of strokes
    spans = np.array([np.ptp(np.concatenate([np.array(s) for s in strokes], axis=1), axis=1) for strokes in drawn])
    assert (spans[:, 1] / np.maximum(spans[:, 0], 1)).std() > 0.05  # aspect


@pytest.mark.parametrize("name", shapes.CLASSES)
def test_sketches_and_photo_share_the_object(name):
    """Whoever draws it, the object underneath has the same parts in the same places."""
    for number in range(15):
        seen = []
        for hand in range(3):
            parts = parts_of(name, rng.generator(name, number), rng.generator(name, number, "hand", hand))
            seen.append(sorted((p.fill, p.points.tobytes()) for p in parts if p.fill))
        assert seen[0] and seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("size_px", [28, 64, 100, 256])
def test_never_blank(size_px):
    for name in shapes.CLASSES:
        sketch = shape_hand.render(shapes.drawing(name, 1), size_px)
        assert sketch.shape == (size_px, size_px) and sketch.dtype == np.uint8
        assert 0.005 < (sketch < 128).mean() < 0.35 and sketch[0, 0] == 255
        ink = np.argwhere(sketch < 128)
        assert np.abs(ink.min(0) + ink.max(0) - size_px + 1).max() <= 0.08 * size_px  # centred
        photo = shapes.photo(name, 1, size_px)
        assert photo.shape == (3, size_px, size_px) and photo.std() > 8


def test_nearest_neighbour_stays_below_nine_in_ten():
    """40 a class: a fair twin of the figures in shapes.py, small enough to run each time."""
    images = np.array([[shape_hand.render(s, 32) for s in shapes.drawings(c, list(range(40)))] for c in shapes.CLASSES])
    bright = torch.from_numpy(255 - images).float().reshape(-1, 1, 32, 32)
    for blur in (1, 3):
        soft = torch.nn.functional.avg_pool2d(bright, blur, 1, blur // 2).reshape(18, 40, -1)
        known, asked = soft[:, :32].flatten(0, 1), soft[:, 32:].flatten(0, 1)
        labels = torch.arange(18)
        hits = labels.repeat_interleave(32)[torch.cdist(asked, known).argmin(1)] == labels.repeat_interleave(8)
        assert 0.2 < hits.float().mean() < 0.85


def test_images():
    data = shapes.build(config(), takes())
    assert data.classes == ["circle", "house", "sun"] and {k: len(v) for k, v in data.splits.items()} == {
        "train": 24,
        "val": 3,
        "test": 3,
    }
    part = data.splits["train"]
    raw = part.gather(torch.arange(24))
    assert raw.shape == (24, 1, 32, 32) and raw.float().mean() < 80  # bright ink on black
    assert part.ids[0].startswith("circle/0") and [i.split("/")[0] for i in part.ids[-8:]] == ["sun"] * 8
    assert data.prepare(raw, None).shape == (24, 1, 32, 32)
    dark = shapes.build(config(), takes(channels=3, ink="dark"))
    assert torch.equal(dark.splits["train"].gather(torch.arange(24)), 255 - raw)
    assert dark.prepare(raw, None).shape == (24, 3, 32, 32)
    photos = shapes.build(config(picture="photo"), takes(channels=3))
    assert photos.splits["train"].gather(torch.arange(2)).shape == (2, 3, 32, 32)
    assert len({data.fingerprint, photos.fingerprint, shapes.build(config(per_class=11), takes()).fingerprint}) == 3


def test_pairs_share_groups_and_do_not_leak():
    data = shapes.build(config(sketches_per_photo=3), takes("pairs"))
    seen: dict[int, str] = {}
    for name, pairs in data.splits.items():
        assert len(pairs) == 3 * len(pairs.photo) and pairs.sketch.gather(torch.arange(2)).shape == (2, 1, 32, 32)
        assert pairs.photo.gather(torch.arange(2)).shape == (2, 3, 32, 32)
        assert set(pairs.sketch.groups.tolist()) == set(pairs.photo.groups.tolist())
        photo_of = dict(zip(pairs.photo.groups.tolist(), pairs.photo.ids, strict=True))
        for group, sketch in zip(pairs.sketch.groups.tolist(), pairs.sketch.ids, strict=True):
            assert sketch.split("-")[0] == photo_of[group]
            assert seen.setdefault(group, name) == name
        assert torch.equal(pairs.photo.labels.repeat_interleave(3), pairs.sketch.labels)
    assert "circle/00004-3" in {i for pairs in data.splits.values() for i in pairs.sketch.ids}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"classes": ["circle", "cirle"]}, r"data\.classes: no shape 'cirle'; there are circle, cloud, .*triangle"),
        ({"classes": []}, "data.classes"),
        ({"classes": ["sun", "sun"]}, "each class once"),
        ({"per_class": 0}, "data.per_class=0"),
        ({"sketches_per_photo": 0}, "data.sketches_per_photo=0"),
        ({"picture": "video"}, "data.picture=video: expected one of sketch, photo"),
    ],
)
def test_bad_values(values, says):
    with pytest.raises(UserError, match=says):
        config(**values)


def test_bad_requests():
    with pytest.raises(UserError, match="no shape 'blob'; there are circle"):
        shapes.drawing("blob", 0)
    with pytest.raises(UserError, match="class 'circle' has 2 items: too few"):
        shapes.build(config(per_class=2), takes())
    with pytest.raises(UserError, match="data.picture=photo gives images; for points take data.picture=sketch"):
        shapes.build(config(picture="photo"), takes("points", channels=3))
    with pytest.raises(UserError, match="channels=6"):
        shapes.build(config(), takes(channels=6))
    with pytest.raises(UserError, match="official"):
        config(splits=dataclasses.replace(config().splits, rule="official"))


def test_frames_and_points_are_of_the_same_drawings():
    frames = shapes.build(config(sketches_per_photo=2), takes("frames", 64, 8))
    points = shapes.build(config(sketches_per_photo=2), takes("points", 1, 5))
    for name, split in frames.splits.items():
        assert split.ids == points.splits[name].ids and len(split) == {"train": 48, "val": 6, "test": 6}[name]
        at = torch.arange(len(split))
        drawn, sequences = frames.prepare(split.gather(at), None), points.prepare(points.splits[name].gather(at), None)
        assert drawn.shape == (len(split), 8, 64, 64) and drawn.dtype == torch.float32
        for i, text in enumerate(split.ids):
            shape, _, rest = text.partition("/")
            number, _, sketch = rest.partition("-")
            wanted = shapes.drawing(shape, int(number), int(sketch or 1) - 1)
            assert stroke_batch.to_drawings(split.gather(torch.tensor([i]))) == [wanted]
            n = sum(len(stroke[0]) for stroke in wanted)
            assert inputs.lengths(sequences[i : i + 1]).tolist() == [n]
            assert sequences[i, :, 1 + 2].sum() == len(wanted)
            inked = (drawn[i] > 0).flatten(1).sum(1)
            assert (inked[: len(wanted)] > 0).all() and not inked[len(wanted) :].any()
