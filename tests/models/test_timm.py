"""timm's networks: tiny ones, from files at hand; nothing is fetched."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import save_file

from sketchlab import config
from sketchlab.errors import UserError
from sketchlab.layers.chain import frozen_prefix, penultimate
from sketchlab.models import timm_nets

HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
GREY = {"channels": 1, "mean": [0.0], "std": [1.0], "size_px": 64}


def test_one_line_where_timm_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError) as error:
        network("test_resnet", weights="none", tune="scratch")
    assert "pip install sketchlab[timm]" in str(error.value) and "\n" not in str(error.value)


def network(arch: str, n_classes: int = 3, **values) -> torch.nn.Module:
    return config.model("timm", {"arch": arch, **values}).build(n_classes)


@pytest.fixture
def timm(monkeypatch):
    monkeypatch.delenv("SKETCHLAB_WEIGHTS", raising=False)
    return pytest.importorskip("timm", reason="the optional extra timm is not installed")


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize("shape", [{"size_px": 64, **HALF}, GREY])
def test_any_size_and_channels(timm, arch, shape):
    net = network(arch, input=shape, weights="none", tune="scratch").eval()
    images = torch.randn(2, shape.get("channels", 3), 64, 64)
    assert net(images).shape == (2, 3) and all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_at_hand_are_timms_own_network(timm, tmp_path, monkeypatch, suffix):
    torch.manual_seed(0)
    theirs = timm.create_model("test_vit", num_classes=1000).eval()
    path = tmp_path / f"test_vit{suffix}"
    save_file(theirs.state_dict(), path) if suffix == ".safetensors" else torch.save(theirs.state_dict(), path)
    monkeypatch.setenv("SKETCHLAB_WEIGHTS", str(tmp_path))
    net = network("test_vit", input={"size_px": 160, **HALF}, tune="freeze").eval()
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        assert torch.equal(penultimate(net)(images), expected)
    prefix, rest = frozen_prefix(net)
    assert len(prefix) == 2 and [n for n, p in net.named_parameters() if p.requires_grad] == [
        "classifier.weight",
        "classifier.bias",
    ]
    assert len(timm_nets.fingerprint(config.model("timm", {"arch": "test_vit", "input": HALF}).config)) == 16
    tuned = network("test_vit", input={"size_px": 160, **HALF}, tune="finetune", weights=str(path))
    assert all(p.requires_grad for p in tuned.parameters())


def test_fresh_layers_start_anew_and_train(timm, tmp_path):
    theirs = timm.create_model("test_vit")
    save_file(theirs.state_dict(), tmp_path / "test_vit.safetensors")
    values = {"input": {"size_px": 160, **HALF}, "weights": str(tmp_path / "test_vit.safetensors")}
    net = network("test_vit", **values, fresh=["features.blocks.1"])
    first, last = "blocks.0.attn.qkv.weight", "blocks.1.attn.qkv.weight"
    ours, given = dict(net.named_parameters()), theirs.state_dict()
    assert torch.equal(ours[f"features.{first}"], given[first]) and not ours[f"features.{first}"].requires_grad
    assert not torch.equal(ours[f"features.{last}"], given[last]) and ours[f"features.{last}"].requires_grad
    with pytest.raises(UserError, match=r"model.fresh=\[head\]: test_vit has no such layer; it has features.patch"):
        network("test_vit", **values, fresh=["head"])


def test_a_damaged_or_foreign_file(timm, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"nothing")
    save_file({"a": torch.zeros(2)}, tmp_path / "y.safetensors")
    for name in ("x.pth", "y.safetensors", "none.pth"):
        with pytest.raises(UserError) as error:
            network("test_vit", input={"size_px": 160, **HALF}, weights=str(tmp_path / name))
        assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arch", "values", "said"),
    [
        ("resnet1", {}, "has no such network; did you mean"),
        ("test_vit.nothing", {}, "has no such weights"),
        ("test_vit", {}, "the weights of test_vit expect [0.5, 0.5, 0.5]; set model.input.mean=[0.5,0.5,0.5]"),
        ("test_vit", {"dropout": 1.0}, "model.dropout=1.0"),
        ("test_vit", {"weights": "none"}, "model.tune=freeze needs weights"),
    ],
)
def test_mistakes_in_one_line(timm, arch, values, said):
    with pytest.raises(UserError) as error:
        network(arch, **values)
    assert said in str(error.value) and "\n" not in str(error.value)
