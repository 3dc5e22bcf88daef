from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import functional as TF

from sketchlab.errors import UserError
from sketchlab.models import sketchanet
from sketchlab.stages import penultimate


@pytest.mark.parametrize(("channels", "total"), [(1, 8_508_666), (6, 8_580_666)])
def test_parameter_counts(config, channels, total):
    values = {"input.channels": channels, "input.mean": [0.0] * channels, "input.std": [1.0] * channels}
    with torch.device("meta"):
        net = sketchanet.build(config("sketchanet", values), 250)
    assert sum(p.numel() for p in net.parameters()) == total


def test_maps_of_the_table(config):
    with torch.device("meta"):
        net = sketchanet.build(config("sketchanet"), 250)
        x, seen = torch.empty(2, 1, 225, 225), {}
        for name, stage in net.named_children():
            x = stage(x)
            seen[name] = tuple(x.shape[1:])
    assert [seen[k] for k in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5", "conv6", "conv7", "flatten")] == [
        (64, 71, 71), (64, 35, 35), (128, 31, 31), (128, 15, 15), (256, 15, 15), (256, 7, 7),
        (512, 1, 1), (512, 1, 1), (250,),
    ]  # fmt: skip


@pytest.mark.parametrize("size_px", [81, 96, 128, 225])
def test_smaller_images_make_a_smaller_layer_six(config, size_px):
    net = sketchanet.build(config("sketchanet", {"input.size_px": size_px}, width=0.05), 4)
    assert net(torch.randn(2, 1, size_px, size_px)).shape == (2, 4)


def test_ink_starts_loud_enough_to_learn(config):
    net = sketchanet.build(config("sketchanet", {"input.size_px": 96}, width=0.1, dropout=0.0), 3)
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
    ],
)
def test_values_that_cannot_be(config, changes, message):
    with pytest.raises(UserError, match=message):
        sketchanet.build(config("sketchanet", **changes), 2)
    with pytest.raises(UserError, match="size_px=64: sketchanet needs at least 81"):
        config("sketchanet", {"input.size_px": 64})
    with pytest.raises(UserError, match="no original classes"):
        sketchanet.build(config("sketchanet"), None)


def test_ten_crops_are_corners_and_centre_of_the_image_and_its_mirror_image():
    x = torch.randint(0, 256, (3, 2, 256, 256), dtype=torch.uint8)
    crops = sketchanet.ten_crop(x)
    assert crops.shape == (3, 10, 2, 225, 225)
    places = [(0, 0), (0, 31), (31, 0), (31, 31), (16, 16)]
    for i, (top, left) in enumerate(places):
        assert torch.equal(crops[:, i], x[..., top : top + 225, left : left + 225])
        assert torch.equal(crops[:, 5 + i], x.flip(-1)[..., top : top + 225, left : left + 225])
    assert torch.equal(sketchanet.ten_crop(x, 256)[:, 0], x)
    with pytest.raises(UserError, match="crops of 257 px do not fit"):
        sketchanet.ten_crop(x, 257)


def test_five_scales_lose_detail_step_by_step_and_keep_the_size():
    x = torch.rand(1, 1, 256, 256)
    scales = sketchanet.five_scale(x)
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


def test_ten_crop_mean_and_fusion_against_a_loop(config):
    net = sketchanet.build(config("sketchanet", {"input.size_px": 96}, width=0.05), 4).eval()
    x = torch.rand(3, 1, 110, 110)
    with torch.no_grad():
        ours = [sketchanet.ten_crop_mean(net, s, 96) for s in sketchanet.five_scale(x, (110, 64))]
        for scale, logits in zip((110, 64), ours, strict=True):
            for i in range(3):
                crops = TF.ten_crop(sketchanet.at_scale(x[i : i + 1], scale), [96, 96])
                expected = torch.stack([net(crop)[0] for crop in crops]).mean(0)
                torch.testing.assert_close(logits[i], expected, atol=1e-5, rtol=1e-4)
        features = sketchanet.ten_crop_mean(penultimate(net), x, 96)
    assert features.shape == (3, 26)
    fused = sketchanet.fuse_scores(ours)
    torch.testing.assert_close(fused, (ours[0].softmax(1) + ours[1].softmax(1)) / 2)
    torch.testing.assert_close(fused.sum(1), torch.ones(3))
