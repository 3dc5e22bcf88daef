from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from sketchlab.errors import UserError
from sketchlab.layers.chain import frozen_prefix, set_train
from sketchlab.models import torchvision_nets
from sketchlab.weights import files as weight_files

ARCHS = list(torchvision_nets.HEADS)
SIZES = {"alexnet": 100, "inception_v3": 80}  # smallest that test something; AlexNet's map is not 6×6 here
TOTALS = {  # torchvision's counts at 1000 classes without auxiliary classifiers
    "alexnet": 61_100_840,
    "googlenet": 6_624_904,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "mobilenet_v2": 3_504_872,
    "inception_v3": 23_834_568,
}
FEATURES = {"alexnet": 4096, "googlenet": 1024, "resnet18": 512, "resnet34": 512, "mobilenet_v2": 1280,
            "inception_v3": 2048}  # fmt: skip


def _theirs(arch: str) -> nn.Module:
    options = {"aux_logits": True, "init_weights": True} if arch in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(arch, weights=None, **options)


@pytest.mark.parametrize("arch", ARCHS)
def test_counts_and_names_are_torchvisions(config, arch):
    with torch.device("meta"):
        whole = torchvision_nets.build(config(arch, tune="scratch"), 1000)
        two = torchvision_nets.build(config(arch, tune="scratch"), 2)
        theirs = _theirs(arch).state_dict()
    assert sum(p.numel() for p in whole.parameters()) == TOTALS[arch]
    assert sum(p.numel() for p in two.parameters()) == TOTALS[arch] - 998 * (FEATURES[arch] + 1)
    names = [k for k in theirs if not k.startswith(torchvision_nets._AUXILIARY)]
    assert {k: v.shape for k, v in whole.state_dict().items()} == {k: theirs[k].shape for k in names}


@pytest.mark.parametrize("arch", ARCHS)
def test_the_chain_of_stages_computes_torchvisions_network(config, arch, monkeypatch, tmp_path):
    theirs = _theirs(arch).eval()
    monkeypatch.setattr(weight_files, "find", lambda *_: tmp_path / "a.pth")
    monkeypatch.setattr(weight_files, "read", lambda *_: theirs.state_dict())
    size = SIZES.get(arch, 64)
    ours = torchvision_nets.build(config(arch, {"input.size_px": size}), None).eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-4)
    assert not any(p.requires_grad for p in ours.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_freeze_leaves_the_last_layer_and_a_prefix_of_features(config, arch, monkeypatch, tmp_path):
    with torch.device("meta"):
        state = _theirs(arch).state_dict()
        monkeypatch.setattr(weight_files, "find", lambda *_: tmp_path / "a.pth")
        monkeypatch.setattr(weight_files, "read", lambda *_: state)
        net = torchvision_nets.build(config(arch), 7)
    head = torchvision_nets.HEADS[arch]
    assert {k for k, p in net.named_parameters() if p.requires_grad} == {f"{head}.weight", f"{head}.bias"}
    set_train(net)
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    prefix, rest = frozen_prefix(net)
    kinds = [nn.Linear] if arch.startswith("resnet") else [nn.Dropout, nn.Linear]
    if arch == "alexnet":  # its first dropout comes before the hidden layers
        kinds = [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(s) for s in rest][-len(kinds) :] == kinds
    assert prefix(torch.empty(2, 3, 299, 299, device="meta")).flatten(1).shape[1] >= FEATURES[arch]


def test_alexnet_with_features_only_asks_for_a_pool_head_or_fresh_layers(config, tmp_path):
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in _theirs("alexnet").state_dict().items() if k.startswith("features")}
    torch.save({k: torch.zeros(s) for k, s in shapes.items()}, tmp_path / "a.pth")
    start = {"weights": str(tmp_path / "a.pth")}
    with pytest.raises(UserError, match=r"lacks layers that alexnet needs: classifier\.1, classifier\.4;.*head=pool"):
        torchvision_nets.build(config("alexnet", **start), 2)
    net = torchvision_nets.build(config("alexnet", **start, head="pool"), 2)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 514
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 2)
    net = torchvision_nets.build(config("alexnet", **start, fresh=["classifier"]), 2)
    assert net.classifier[1].weight.requires_grad and not net.features[0].weight.requires_grad


def test_resnet34_weights_do_not_pass_for_resnet18(config, tmp_path):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"another network than resnet18, which has no place for layer1\.2\.conv1"):
        torchvision_nets.build(config("resnet18", weights=str(tmp_path / "a.pth")), 2)


def test_dropout_is_the_configs(config):
    with torch.device("meta"):
        for arch in ARCHS:
            net = torchvision_nets.build(config(arch, tune="scratch", dropout=0.35), 2)
            assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.35}


def test_class_names_are_imagenets(config):
    names = torchvision_nets.class_names(config("mobilenet_v2"))
    assert len(names) == 1000 and names[772] == "safety pin" and names[0] == "tench"


@pytest.mark.parametrize(
    ("dotted", "changes", "message"),
    [
        ({}, {"arch": "resnet19"}, "model.arch=resnet19: expected one of alexnet"),
        ({}, {"head": "vgg"}, "model.head=vgg: expected stock or pool"),
        ({}, {"dropout": 2.0}, "model.dropout=2.0"),
        ({}, {"weights": "none"}, "needs weights, but model.weights=none"),
        (
            {"input.channels": 1, "input.mean": [0.0], "input.std": [1.0]},
            {},
            "model.input.channels=1: resnet18 takes 3",
        ),
    ],
)
def test_values_that_cannot_be(config, dotted, changes, message):
    with pytest.raises(UserError, match=message):
        config("resnet18", dotted, **changes)


def test_images_too_small(config):
    with pytest.raises(UserError, match="size_px=64: inception_v3 needs at least 75"):
        config("inception_v3", {"input.size_px": 64})
