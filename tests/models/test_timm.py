"""timm's networks: tiny ones, from files at hand; nothing is fetched."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from safetensors.torch import save_file

from sketchlab import config
from sketchlab.engine import optim
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.layers.chain import frozen_prefix, penultimate
from sketchlab.models import timm_nets
from sketchlab.training import work
from tests.every import NETS

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


@pytest.mark.parametrize("name", NETS)
def test_a_network_by_one_word_is_fed_as_its_weights_are_described(timm, name):
    run = config.from_overrides([f"model={name}"])
    known = timm.get_pretrained_cfg(run.model.config.arch).to_dict()
    given = run.model.config.input
    assert (given.channels, given.size_px, given.size_px) == known["input_size"]
    assert (given.mean, given.std) == ([*known["mean"]], [*known["std"]])
    pairs = config.from_overrides([f"model=siamese_{name}"]).model
    assert pairs.backbone.config == run.model.config and pairs.config.input.mean == given.mean
    with torch.device("meta"):
        net = config.from_overrides([f"model={name}", "model.weights=none", "model.tune=scratch"]).model.build(7)
        images = torch.empty(1, 3, given.size_px, given.size_px)
        theirs = timm.create_model(run.model.config.arch, num_classes=known["num_classes"])
        assert net(images).shape == (1, 7)
    ours = {key.removeprefix("features."): value.shape for key, value in net.state_dict().items()}
    file = {key: value.shape for key, value in theirs.state_dict().items()}  # as the file of weights has them
    last = known["classifier"] if known["num_classes"] else None
    heads = {key for key in file if last and key.startswith(f"{last}.")}
    assert {key: shape for key, shape in ours.items() if not key.startswith("classifier")} == {
        key: shape for key, shape in file.items() if key not in heads
    }


def test_norms_trains_layer_norms_and_what_is_fresh(timm, tmp_path):
    for arch in ("test_vit", "test_resnet"):
        save_file(timm.create_model(arch).state_dict(), tmp_path / f"{arch}.safetensors")
    values = {"input": {"size_px": 160, **HALF}, "weights": str(tmp_path / "test_vit.safetensors"), "tune": "norms"}
    net = network("test_vit", **values)
    trains = {name for name, p in net.named_parameters() if p.requires_grad}
    norms = {f"features.{name}" for name, _ in net.features.named_parameters() if "norm" in name}
    assert trains == norms | {"classifier.weight", "classifier.bias"} and len(norms) > 4
    assert len(frozen_prefix(net)[0]) == 0
    fresh = network("test_vit", **values, fresh=["features.patch_embed"])
    assert fresh.features.patch_embed.proj.weight.requires_grad and not fresh.features.pos_embed.requires_grad
    values["weights"] = str(tmp_path / "test_resnet.safetensors")
    known = timm.get_pretrained_cfg("test_resnet").to_dict()
    values["input"] = {"size_px": 160, "mean": [*known["mean"]], "std": [*known["std"]]}
    with pytest.raises(UserError, match="no LayerNorm was loaded in this network; expected freeze or finetune"):
        network("test_resnet", **values)


@pytest.mark.parametrize("arch", ["test_vit", "test_convnext", "test_resnet"])
def test_layer_decay_is_timms(timm, arch, tmp_path):
    theirs = timm.create_model(arch, num_classes=3)
    names = {id(p): name for name, p in theirs.named_parameters()}
    groups = importlib.import_module("timm.optim").param_groups_layer_decay(theirs, weight_decay=0.0, layer_decay=0.7)
    expected = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    heads = {name for name in expected if expected[name] == 1}
    known = timm.get_pretrained_cfg(arch).to_dict()
    shape = {"size_px": 160, "mean": [*known["mean"]], "std": [*known["std"]]}
    save_file(timm.create_model(arch).state_dict(), tmp_path / "x.safetensors")
    net = network(arch, input=shape, weights=str(tmp_path / "x.safetensors"), tune="finetune", layer_decay=0.7)
    ours = {name.removeprefix("features."): p.lr_scale for name, p in net.named_parameters()}
    last = known["classifier"]  # which is ours
    assert {k: v for k, v in ours.items() if not k.startswith("classifier")} == pytest.approx(
        {k: v for k, v in expected.items() if not k.startswith(f"{last}.")}
    )
    assert f"{last}.weight" in heads and ours["classifier.weight"] == ours["classifier.bias"] == 1
    run = config.from_overrides(["model=small_cnn", "runtime.device=cpu"])
    made = optim.make(list(net.parameters()), run.loop, Runtime(run.runtime))
    optim.set_rate(made, run.loop, 6.0)
    rates = {id(p): group["lr"] for group in made.param_groups for p in group["params"]}
    assert len(rates) == len(ours) and len(made.param_groups) == len(set(ours.values())) > 3
    for p in net.parameters():
        assert rates[id(p)] == pytest.approx(optim.rate(run.loop, 6.0) * p.lr_scale)


def test_one_rate_is_one_group_as_before(timm):
    net = network("test_vit", input={"size_px": 64, **HALF}, weights="none", tune="scratch")
    run = config.from_overrides(["model=small_cnn", "runtime.device=cpu"])
    assert len(optim.make(list(net.parameters()), run.loop, Runtime(run.runtime)).param_groups) == 1


@pytest.mark.parametrize("folder", [None, "here"])
def test_missing_weights_name_the_file_and_where_it_is_published(timm, tmp_path, monkeypatch, folder):
    if folder:
        monkeypatch.setenv("SKETCHLAB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: (_ for _ in ()).throw(OSError("no route to host")))
    with pytest.raises(UserError) as error:
        config.from_overrides(["model=dinov2_s"]).model.build(3)
    said = str(error.value)
    assert "vit_small_patch14_dinov2.lvd142m.safetensors" in said and "no route to host" in said and "\n" not in said
    assert "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m (model.safetensors)" in said
    assert (str(tmp_path) in said) == bool(folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=vit_s"], "Seen in pretraining: 2 of 3 classes are named by labels of ImageNet's 1,000, which"),
        (["model=siamese_convnext_t"], "Seen in pretraining: 2 of 3 classes"),
        (["model=resnet18"], "Seen in pretraining: 2 of 3 classes"),
        (["model=dinov2_s"], "Seen in pretraining: not known. The weights (lvd142m) were trained without"),
        (["model=clip_b32"], "Seen in pretraining: not known. The weights (openai)"),
        (["model=vit_s", "model.weights=none", "model.tune=scratch"], ""),
        (["model=resnet18", "model.weights=x.pth"], ""),
        (["model=small_cnn"], ""),
    ],
)
def test_classes_that_were_seen_in_pretraining(timm, words, said):
    found = work.pretrained_on(config.from_overrides(words), ["circle", "teddy", "Fire_engine"])
    assert found.startswith(said) and bool(found) == bool(said) and "\n" not in found
    assert ("teddy (teddy), Fire_engine (fire engine)" in found) == (" of 3 classes" in found)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"layer_decay": 0.0, "tune": "finetune"}, "model.layer_decay=0.0: expected above 0"),
        ({"layer_decay": 0.7}, "model.layer_decay=0.7 needs model.tune=finetune, but model.tune=freeze"),
        ({"tune": "norm"}, "model.tune=norm: expected one of freeze, norms, finetune, scratch"),
    ],
)
def test_mistakes_of_tuning(timm, values, said):
    with pytest.raises(UserError) as error:
        network("test_vit", **values)
    assert said in str(error.value)
