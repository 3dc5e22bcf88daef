import math

import numpy as np
import pytest
import torch

from sketchlab import rng
from sketchlab.data.images.augment import Config, Prepare
from sketchlab.errors import UserError
from sketchlab.inputs import Input

NONE = dict(views=0, flip=0.0, rotate_deg=0.0, scale=[1.0, 1.0], shift=0.0, crop=1.0, erase=0.0, erase_area=[0.02, 0.2])
ALL = NONE | dict(flip=0.5, rotate_deg=20.0, scale=[0.8, 1.2], shift=0.1, crop=0.5, erase=0.5)


def prepare(channels=1, size_px=24, **changes):
    mean, std = [0.5, 0.4, 0.3][:channels], [0.25, 0.2, 0.3][:channels]
    return Prepare(Input("images", size_px, channels, "dark", mean, std), Config(**({"own": {}} | NONE | changes)))


def pixels(n=5, channels=1, side=24):
    return torch.from_numpy(rng.generator(7).integers(0, 256, (n, channels, side, side), dtype=np.uint8))


def drawing(side=24, dark=True):
    """Four marks of different strength on a clean ground."""
    image = np.full((1, 1, side, side), 255, np.uint8)
    image[..., 5:8, 9:15], image[..., 12:20, 6], image[..., 15, 8:18] = 0, 60, 120
    return torch.from_numpy(image if dark else 255 - image)


KEYS = torch.from_numpy(rng.fold_each(3, np.arange(5)))


@pytest.mark.parametrize("given, wanted", [(1, 1), (1, 3), (3, 3), (3, 1)])
def test_plain_image(given, wanted):
    raw, ready = pixels(channels=given), prepare(wanted)
    grey = raw.double() / 255
    if (given, wanted) == (3, 1):
        grey = (grey * torch.tensor([0.299, 0.587, 0.114]).double()[:, None, None]).sum(1, keepdim=True)
    mean, std = (torch.tensor(x).double()[:, None, None] for x in (ready.input.mean, ready.input.std))
    for keys in (None, KEYS):
        out = ready(raw, keys)
        assert out.dtype == torch.float32 and out.shape == (5, wanted, 24, 24)
        torch.testing.assert_close(out.double(), (grey - mean) / std, atol=1e-6, rtol=0)
    assert not ready.active


def test_nothing_on_is_bitwise_the_plain_image():
    assert torch.equal(prepare()(pixels(), KEYS), prepare(**ALL)(pixels(), None))


def test_other_channels_are_refused():
    with pytest.raises(UserError, match="model.input.channels=3"):
        prepare(3)(pixels(channels=2))


def test_other_sizes_are_resized_antialiased():
    lines = torch.full((1, 1, 240, 240), 255, dtype=torch.uint8)
    lines[..., 1::10] = 0  # 1-px lines that every tenth pixel alone would miss
    out = prepare()(lines)
    assert out.shape[-1] == 24 and out.std() < 0.05 and out.mean() < prepare()(torch.full_like(lines, 255)).mean() - 0.3


@pytest.mark.parametrize(
    "change",
    [{"flip": 0.5}, {"rotate_deg": 20.0}, {"scale": [0.5, 2.0]}, {"shift": 0.2}, {"crop": 0.3}, {"erase": 0.9}, ALL],
)
def test_a_sample_depends_on_its_own_key_and_pixels_alone(change):
    ready, raw = prepare(3, **change), pixels(channels=3)
    together = ready(raw, KEYS)
    assert torch.equal(together, ready(raw, KEYS)) and ready.active
    assert torch.equal(together.flip(0), ready(raw.flip(0), KEYS.flip(0)))
    for i in range(len(raw)):
        assert torch.equal(together[i : i + 1], ready(raw[i : i + 1], KEYS[i : i + 1]))
    assert not torch.equal(together, ready(raw, KEYS + 1))


def test_flip_is_exact_and_as_frequent_as_asked():
    raw = pixels(1).expand(2000, -1, -1, -1)
    keys = torch.from_numpy(rng.fold_each(1, np.arange(2000)))
    plain, out = prepare()(raw[:1]), prepare(flip=0.3)(raw, keys)
    mirrored = (out == plain.flip(-1)).flatten(1).all(1)
    assert ((out == plain).flatten(1).all(1) ^ mirrored).all()
    assert abs(mirrored.float().mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 2000)


def twin(image, key, config):
    """The same geometry pixel by pixel with numpy; (S, S) in [0, 1] → (S, S)."""
    d = rng.uniform(np.array([key]), 14)[0].astype(float)
    side = len(image)
    if d[0] < config.flip:
        image = image[:, ::-1]
    ground = np.sort(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]))[2 * side]
    angle = math.radians((2 * d[1] - 1) * config.rotate_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    factor = config.scale[0] * (config.scale[1] / config.scale[0]) ** d[2]
    shift_x, shift_y = (2 * d[3] - 1) * config.shift * side, (2 * d[4] - 1) * config.shift * side
    kept, ratio = config.crop + d[5] * (1 - config.crop), (16 / 9) ** d[6] / (4 / 3)
    width, height = min(1, math.sqrt(kept * ratio)), min(1, math.sqrt(kept / ratio))
    if config.crop == 1:
        width = height = 1
    left, top = d[7] * (1 - width) * side, d[8] * (1 - height) * side
    out = np.empty_like(image)
    for row in range(side):
        for column in range(side):
            x, y = column + 0.5 - side / 2 - shift_x, row + 0.5 - side / 2 - shift_y
            x, y = (cos * x - sin * y) / factor, (sin * x + cos * y) / factor
            x, y = left + (x + side / 2) * width - 0.5, top + (y + side / 2) * height - 0.5
            total = 0.0
            for j in (math.floor(y), math.floor(y) + 1):
                for i in (math.floor(x), math.floor(x) + 1):
                    inside = 0 <= i < side and 0 <= j < side
                    total += (1 - abs(x - i)) * (1 - abs(y - j)) * (image[j, i] if inside else ground)
            out[row, column] = total
    return out


@pytest.mark.parametrize(
    "change",
    [dict(rotate_deg=30.0), dict(scale=[0.5, 2.0]), dict(shift=0.3), dict(crop=0.2), ALL | dict(erase=0.0)],
)
@pytest.mark.parametrize("dark", [True, False])
def test_geometry_against_a_twin(change, dark):
    ready, raw = prepare(**change), drawing(dark=dark)
    for key in KEYS[:3]:
        got = ready(raw, key[None])[0, 0].double() * 0.25 + 0.5
        want = twin(raw[0, 0].numpy() / 255, int(key), ready.augment)
        np.testing.assert_allclose(got, want, atol=2e-4)


@pytest.mark.parametrize("dark", [True, False])
def test_what_comes_in_from_outside_is_background(dark):
    raw = drawing(dark=dark)
    raw[..., 10, 0] = 128  # a stroke that runs out of the picture is not smeared along the border
    keys = torch.from_numpy(rng.fold_each(1, np.arange(50)))
    out = prepare(scale=[0.4, 0.4])(raw.expand(50, -1, -1, -1), keys) * 0.25 + 0.5
    border = torch.cat([out[..., :3, :].flatten(), out[..., -3:, :].flatten(), out[..., :3].flatten()])
    assert (border == border[0]).all() and border[0] == (1 if dark else 0)


def test_erasing_paints_one_rectangle_of_the_asked_area():
    raw = torch.zeros((200, 1, 60, 60), dtype=torch.uint8)
    raw[..., 1:-1, 1:-1] = 255  # ground 0 at the border
    keys = torch.from_numpy(rng.fold_each(2, np.arange(200)))
    out = prepare(size_px=60, erase=0.5, erase_area=[0.1, 0.1])(raw, keys) * 0.25 + 0.5
    lost = (raw[:, 0] / 255 - out[:, 0] > 0.5).flatten(1).float().mean(1)
    hit = lost > 0
    assert abs(hit.float().mean() - 0.5) < 0.15
    assert ((lost[hit] - 0.1).abs() < 0.04).all()


def test_crop_keeps_at_least_the_asked_area():
    ramp = torch.arange(64, dtype=torch.uint8)[None, None, None].expand(300, 1, 64, 64) * 4
    keys = torch.from_numpy(rng.fold_each(2, np.arange(300)))
    out = prepare(size_px=64, crop=0.25)(ramp, keys) * 0.25 + 0.5
    width = (out[:, 0, 32, -1] - out[:, 0, 32, 0]) / (252 / 255)
    assert 0.5 * math.sqrt(3 / 4) - 0.05 < width.min() < 0.6 and width.max() > 0.85


@pytest.mark.parametrize(
    "change, key",
    [
        (dict(flip=1.5), "flip"),
        (dict(views=-1), "views"),
        (dict(scale=[1.2, 0.8]), "scale"),
        (dict(scale=[1.0]), "scale"),
        (dict(crop=0.0), "crop"),
        (dict(shift=1.0), "shift"),
        (dict(rotate_deg=-3.0), "rotate_deg"),
        (dict(erase_area=[0.5, 1.5]), "erase_area"),
    ],
)
def test_bad_values_name_their_key(change, key):
    with pytest.raises(UserError, match=f"data.augment.{key}"):
        prepare(**change)
