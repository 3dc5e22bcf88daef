from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from sketchlab.errors import UserError
from sketchlab.layers.chain import frozen_prefix
from sketchlab.models import vgg16
from sketchlab.weights import files as weight_files

SMALL = {"input.size_px": 32}


def _counts(net: nn.Module) -> tuple[int, int]:
    return sum(p.numel() for p in net.parameters()), sum(p.numel() for p in net.parameters() if p.requires_grad)


def _file(path: Path, net: nn.Module, only: str = "") -> str:
    torch.save({k: v for k, v in net.state_dict().items() if k.startswith(only)}, path)
    return str(path)


def _small(config, **changes):
    changes = {"weights": "none", "tune": "scratch", "width": 0.05, "head": "vgg", **changes}
    return config(changes.pop("choice", "vgg16"), SMALL, **changes)


@pytest.fixture
def full_file(monkeypatch):
    """A complete VGG16 file, as far as names and shapes go."""
    with torch.device("meta"):
        state = torchvision.models.vgg16(weights=None).state_dict()
    monkeypatch.setattr(weight_files, "find", lambda *_: Path("vgg16-full.pth"))
    monkeypatch.setattr(weight_files, "read", lambda *_: state)


@pytest.mark.parametrize(
    ("choice", "changes", "total"),
    [
        ("vgg16", {"head": "vgg"}, 134_268_738),
        ("vgg16", {}, 14_714_688 + 512 * 2 + 2),
        ("vgg16_sketchanet", {"head": "vgg"}, 134_268_738 + 64 * 3 * (15**2 - 3**2)),
        ("vgg16", {"kernel_px": 7, "head": "vgg"}, 134_268_738 + 64 * 3 * (7**2 - 3**2)),
    ],
)
def test_parameter_counts(config, choice, changes, total):
    with torch.device("meta"):
        assert _counts(vgg16.build(config(choice, tune="scratch", **changes), 2)) == (total, total)


def test_names_and_shapes_are_torchvisions(config):
    with torch.device("meta"):
        ours = vgg16.build(config("vgg16", tune="scratch", head="vgg"), 1000).state_dict()
        theirs = torchvision.models.vgg16(weights=None).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_freeze_trains_the_last_layer_only_and_the_prefix_goes_up_to_the_first_dropout(config, full_file):
    with torch.device("meta"):
        net = vgg16.build(config("vgg16", tune="freeze", head="vgg"), 2)
    assert _counts(net) == (134_268_738, 8_194)
    assert {k for k, p in net.named_parameters() if p.requires_grad} == {"classifier.6.weight", "classifier.6.bias"}
    prefix, rest = frozen_prefix(net)
    assert [type(s) for s in rest] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert prefix(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 4096)


def test_freeze_with_a_pool_head_takes_a_full_file_too_and_trains_1026(config, full_file):
    with torch.device("meta"):
        net = vgg16.build(config("vgg16", tune="freeze"), 2)
    assert _counts(net)[1] == 1_026
    assert frozen_prefix(net)[0](torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 512)


def test_a_fresh_stem_trains_under_freeze_and_leaves_no_prefix(config, full_file):
    with torch.device("meta"):
        net = vgg16.build(config("vgg16_sketchanet", tune="freeze", stem="fresh", head="vgg"), 2)
    assert {k for k, p in net.named_parameters() if p.requires_grad} == {
        "features.0.weight", "features.0.bias", "classifier.6.weight", "classifier.6.bias",
    }  # fmt: skip
    assert len(frozen_prefix(net)[0]) == 0


def test_the_stock_network_keeps_its_thousand_classes_and_nothing_trains(config, full_file):
    with torch.device("meta"):
        net = vgg16.build(config("vgg16", head="vgg"), None)
    assert net.classifier[6].out_features == 1000 and _counts(net)[1] == 0
    with pytest.raises(UserError, match="head=pool has no original classes"):
        vgg16.build(config("vgg16"), None)


@pytest.mark.parametrize("pool_px", [2, 3])
@pytest.mark.parametrize("kernel_px", [3, 7, 11, 15])
def test_every_variant_keeps_224_to_7(config, kernel_px, pool_px):
    with torch.device("meta"):
        net = vgg16.build(config("vgg16", tune="scratch", width=0.1, kernel_px=kernel_px, pool_px=pool_px), 2)
        x, sides = torch.empty(1, 3, 224, 224), []
        for layer in net.features:
            x = layer(x)
            sides += [x.shape[-1]] if isinstance(layer, nn.MaxPool2d) else []
    assert sides == [112, 56, 28, 14, 7]


def test_three_pixel_pools_pad_with_minus_infinity(config):
    pool = vgg16.build(_small(config, pool_px=3), 2).features[4]
    x = -1 - torch.rand(1, 2, 8, 8)
    assert torch.equal(pool(x), F.max_pool2d(F.pad(x, [1] * 4, value=float("-inf")), 3, 2))
    assert (pool(x) < 0).all()


@pytest.mark.parametrize("kernel_px", [7, 11, 15])
def test_an_inflated_stem_computes_the_pretrained_function(config, tmp_path, kernel_px):
    original = vgg16.build(_small(config), 5).eval()
    path = _file(tmp_path / "a.pth", original)
    inflated = vgg16.build(_small(config, weights=path, tune="finetune", kernel_px=kernel_px), 5).eval()
    assert inflated.features[0].weight.shape[-1] == kernel_px
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(inflated.double()(x), original.double()(x), rtol=1e-12, atol=1e-14)


def test_a_file_without_classifier_is_refused_by_name_unless_it_is_fresh_or_not_needed(config, tmp_path):
    path = _file(tmp_path / "a.pth", vgg16.build(_small(config), 2), only="features")
    start = {"weights": path, "tune": "freeze"}
    with pytest.raises(UserError, match=r"classifier\.0, classifier\.3;.*fresh=\[classifier\].*model\.head=pool") as e:
        vgg16.build(_small(config, **start), 2)
    assert "\n" not in str(e.value)
    assert _counts(vgg16.build(_small(config, **start, head="pool"), 2))[1] == 26 * 2 + 2
    fresh = vgg16.build(_small(config, **start, fresh=["classifier"]), 2)
    assert all(p.requires_grad for p in fresh.classifier.parameters())
    assert not any(p.requires_grad for p in fresh.features.parameters())


def test_a_run_of_the_variant_warm_starts_the_same_variant_and_no_smaller_filter(config, tmp_path):
    path = _file(tmp_path / "a.pth", vgg16.build(_small(config, choice="vgg16_sketchanet"), 2))
    vgg16.build(_small(config, choice="vgg16_sketchanet", weights=path, tune="finetune"), 2)
    with pytest.raises(UserError, match=r"features\.0\.weight is \(3, 3, 15, 15\) in the file and \(3, 3, 3, 3\)"):
        vgg16.build(_small(config, weights=path, tune="finetune"), 2)


def test_resnet_weights_are_refused(config, tmp_path):
    path = _file(tmp_path / "a.pth", torchvision.models.resnet18(weights=None))
    with pytest.raises(UserError, match=r"another network than vgg16: it begins with conv1\.weight \(64, 3, 7, 7\)"):
        vgg16.build(_small(config, weights=path, tune="freeze"), 2)


@pytest.mark.parametrize("choice", ["vgg16", "vgg16_sketchanet"])
@pytest.mark.parametrize("head", ["vgg", "pool"])
def test_small_twin_learns_a_batch(config, choice, head):
    net = vgg16.build(_small(config, choice=choice, head=head, dropout=0.0, width=0.1), 2)
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_px": 4}, "model.kernel_px=4: expected an odd number"),
        ({"kernel_px": 1}, "model.kernel_px=1: expected an odd number"),
        ({"pool_px": 4}, "model.pool_px=4: expected 2 or 3"),
        ({"stem": "blown"}, "model.stem=blown: expected inflate or fresh"),
        ({"head": "none"}, "model.head=none: expected vgg or pool"),
        ({"dropout": 1.0}, "model.dropout=1.0: expected a probability"),
        ({"width": 0.0}, "model.width=0.0: expected more than 0"),
        ({"width": 0.5}, "ImageNet weights exist at width 1 only"),
        ({"weights": "none"}, "model.tune=freeze needs weights, but model.weights=none"),
    ],
)
def test_values_that_cannot_be(config, changes, message):
    with pytest.raises(UserError, match=message):
        config("vgg16", **changes)


def test_images_too_small(config):
    with pytest.raises(UserError, match="size_px=16: vgg16 needs at least 32"):
        config("vgg16", {"input.size_px": 16})


def test_same_seed_same_start(config):
    nets = []
    for _ in range(2):
        torch.manual_seed(7)
        nets.append(vgg16.build(_small(config), 2).state_dict())
    assert all(torch.equal(nets[0][k], nets[1][k]) for k in nets[0])
