from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import functional as TF

from sketchlab.errors import UserError
from sketchlab.layers.chain import frozen_prefix, penultimate
from sketchlab.models import sketchanet
from sketchlab.pipelines.classify import gradcam


def _input(size_px, channels=1):
    norm = {"input.channels": channels, "input.mean": [0.0] * channels, "input.std": [1.0] * channels}
    return {"input.size_px": size_px, **norm}


@pytest.mark.parametrize(("channels", "total"), [(1, 8_508_666), (6, 8_580_666)])
def test_parameter_counts(config, channels, total):
    with torch.device("meta"):
        net = sketchanet.build(config("sketchanet", _input(256, channels)), 250)
    assert sum(p.numel() for p in net.parameters()) == total


def test_maps_of_the_table(config):
    with torch.device("meta"):
        net = sketchanet.build(config("sketchanet"), 250)[1:]
        x, seen = torch.empty(2, 1, 225, 225), {}
        for name, stage in net.named_children():
            x = stage(x)
            seen[name] = tuple(x.shape[1:])
    assert [seen[k] for k in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5", "conv6", "conv7", "flatten")] == [
        (64, 71, 71), (64, 35, 35), (128, 31, 31), (128, 15, 15), (256, 15, 15), (256, 7, 7),
        (512, 1, 1), (512, 1, 1), (250,),
    ]  # fmt: skip


@pytest.mark.parametrize("crop_px", [81, 96, 128, 225])
def test_smaller_crops_make_a_smaller_layer_six(config, crop_px):
    net = sketchanet.build(config("sketchanet", width=0.05, crop_px=crop_px), 4)
    assert net(torch.randn(2, 1, 256, 256)).shape == net.eval()(torch.randn(2, 1, 256, 256)).shape == (2, 4)


def test_ink_starts_loud_enough_to_learn(config):
    net = sketchanet.build(config("sketchanet", _input(96), scale_px=96, crop_px=96, width=0.1, dropout=0.0), 3)
    x, y = (torch.rand(6, 1, 96, 96) > 0.95).float(), torch.tensor([0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "imagenet", "tune": "freeze"}, "sketchanet has none"),
        ({"tune": "freeze"}, "needs weights, but model.weights=none"),
        ({"dropout": -0.1}, "model.dropout=-0.1"),
        ({"width": -1.0}, "model.width=-1.0"),
        ({"crop_px": 64}, "model.crop_px=64: expected 81 to model.input.size_px=256"),
        ({"crop_px": 257}, "model.crop_px=257: expected 81 to"),
        ({"scale_px": 512}, "model.scale_px=512: expected 1 to"),
        ({"test": "ten"}, "model.test=ten: expected centre or ten_crop"),
    ],
)
def test_values_that_cannot_be(config, changes, message):
    with pytest.raises(UserError, match=message):
        sketchanet.build(config("sketchanet", **changes), 2)
    with pytest.raises(UserError, match="no original classes"):
        sketchanet.build(config("sketchanet"), None)


PLACES = [(0, 0), (0, 31), (31, 0), (31, 31), (16, 16)]


def test_ten_crops_are_corners_and_centre_of_the_image_and_its_mirror_image():
    x = torch.randint(0, 256, (3, 2, 256, 256)).float()
    crops = sketchanet.Crops(225, 256, "ten_crop").eval()(x).unflatten(0, (3, 10))
    for i, (top, left) in enumerate(PLACES):
        assert torch.equal(crops[:, i], x[..., top : top + 225, left : left + 225])
        assert torch.equal(crops[:, 5 + i], x.flip(-1)[..., top : top + 225, left : left + 225])
    assert torch.equal(crops, torch.stack(TF.ten_crop(x, [225, 225]), dim=1))
    assert torch.equal(sketchanet.Crops(225, 256, "centre").eval()(x), TF.center_crop(x, [225, 225]))
    assert torch.equal(sketchanet.Crops(256, 256, "centre").eval()(x), x)


def test_training_crops_are_every_place_and_mirror_image_and_follow_the_seed():
    place = torch.arange(64.0).reshape(1, 1, 8, 8).expand(4000, 1, 8, 8)
    crops = sketchanet.Crops(6, 8, "ten_crop")(place)
    corners, counts = torch.stack([crops[:, 0, 0, 0], crops[:, 0, 0, -1]], 1).unique(dim=0, return_counts=True)
    plain = {(8 * y + x, 8 * y + x + 5) for y in range(3) for x in range(3)}
    assert {tuple(map(int, c)) for c in corners.tolist()} == plain | {(b, a) for a, b in plain}
    assert counts.min() > 4000 / 18 * 0.7 and counts.max() < 4000 / 18 * 1.3
    for crop in crops[:50, 0]:
        low = int(crop.min())
        whole = place[0, 0, low // 8 : low // 8 + 6, low % 8 : low % 8 + 6]
        assert torch.equal(crop, whole) or torch.equal(crop, whole.flip(-1))
    again = []
    for _ in range(2):
        torch.manual_seed(3)
        again.append(sketchanet.Crops(6, 8, "centre")(place))
    assert torch.equal(*again) and not torch.equal(again[0], crops)


def test_scales_lose_detail_step_by_step_and_keep_the_size():
    x = torch.rand(1, 1, 256, 256)
    scales = [sketchanet.at_scale(x, scale_px) for scale_px in sketchanet.SCALES_PX]
    assert [s.shape for s in scales] == [x.shape] * 5
    assert torch.equal(scales[0], x)
    losses = [(s - x).abs().mean().item() for s in scales]
    assert losses == sorted(losses) and losses[1] > 0
    flat = torch.full((1, 1, 256, 256), 0.3)
    torch.testing.assert_close(sketchanet.at_scale(flat, 64), flat)


def test_scales_are_what_pil_makes_of_them():
    x = torch.zeros(1, 1, 256, 256)
    x[..., 100:104, 20:220] = 1.0
    small = Image.fromarray(x[0, 0].numpy()).resize((64, 64), Image.Resampling.BILINEAR)
    expected = TF.pil_to_tensor(small.resize((256, 256), Image.Resampling.BILINEAR))
    torch.testing.assert_close(sketchanet.at_scale(x, 64)[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 6])
def test_ten_crops_averaged_against_a_loop(config, channels):
    net = sketchanet.build(config("sketchanet", _input(110, channels), scale_px=64, crop_px=96, width=0.05), 4).eval()
    layers = nn.Sequential(*list(net)[1:-1])
    x = torch.rand(3, channels, 110, 110)
    with torch.no_grad():
        ours, features = net(x), sketchanet.features(net, x)
        for i in range(3):
            crops = [crop[0] for crop in TF.ten_crop(sketchanet.at_scale(x[i : i + 1], 64), [96, 96])]
            expected = torch.stack([layers(crop[None])[0] for crop in crops]).mean(0)
            torch.testing.assert_close(ours[i], expected, atol=1e-5, rtol=1e-4)
            seen = torch.stack([penultimate(net[1:])(crop[None]).flatten() for crop in crops]).mean(0)
            torch.testing.assert_close(features[i], seen, atol=1e-5, rtol=1e-4)
    assert features.shape == (3, 26)


def test_random_crops_end_the_frozen_part(config):
    net = sketchanet.build(config("sketchanet", width=0.05), 4).requires_grad_(False)
    prefix, rest = frozen_prefix(net)
    assert len(prefix) == 0 and len(rest) == len(net)


def test_heat_of_crops_lies_where_they_were_cut():
    class Bright(nn.Module):  # its map is the image itself, pooled
        def forward(self, x):
            return nn.functional.avg_pool2d(x, 4)

    crops = sketchanet.Crops(96, 128, "ten_crop")
    net = nn.Sequential(crops, Bright(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), sketchanet.CropMean(10)).eval()
    x = torch.zeros(2, 1, 128, 128)
    x[0, 0, 20:28, 40:48] = x[1, 0, 90:98, 100:108] = 1.0
    heat = gradcam.heat(net, net[1], x, torch.zeros(2, dtype=torch.int64))
    assert heat.shape == (2, 128, 128)
    for i, (y, x) in enumerate([(24, 44), (94, 104)]):
        top = divmod(int(heat[i].argmax()), 128)
        assert abs(top[0] - y) <= 4 and abs(top[1] - x) <= 4
