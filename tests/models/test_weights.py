from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections import OrderedDict

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.weights import files as weight_files


def _net(classes: int = 3, width: int = 4) -> nn.Sequential:
    features = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3))
    return nn.Sequential(OrderedDict(features=features, classifier=nn.Sequential(nn.Linear(width, classes))))


def _start(**changes):
    class Values:
        weights, tune, fresh = "none", "scratch", []

    values = Values()
    for key, value in changes.items():
        setattr(values, key, value)
    return values


def _save(net: nn.Module, path) -> str:
    torch.save(net.state_dict(), path)
    return str(path)


def _one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- what is loaded


def test_loads_every_parameter_and_says_so(tmp_path):
    source, net = _net(), _net()
    loaded = weights.load(net, _save(source, tmp_path / "a.pth"), "toy", [])
    assert loaded == {name for name, _ in net.named_parameters()}
    for key, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key


def test_none_loads_nothing():
    net = _net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert weights.load(net, "none", "toy", []) == set()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_half_precision_safetensors_become_float32(tmp_path):
    source, net = _net(), _net()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}
    save_file(halves, tmp_path / "a.safetensors")
    weights.load(net, str(tmp_path / "a.safetensors"), "toy", [])
    assert net.features[0].weight.dtype == torch.float32
    assert torch.equal(net.features[0].weight, source.features[0].weight.half().float())


def test_fresh_layers_keep_their_start(tmp_path):
    source, net = _net(), _net()
    before = net.features[3].weight.clone()
    loaded = weights.load(net, _save(source, tmp_path / "a.pth"), "toy", ["features.3"])
    assert not any(name.startswith("features.3") for name in loaded) and "features.0.weight" in loaded
    assert torch.equal(net.features[3].weight, before)


def test_a_head_of_another_class_count_is_fresh_and_one_of_the_same_is_loaded(tmp_path):
    path = _save(_net(classes=3), tmp_path / "a.pth")
    assert "classifier.0.weight" not in weights.load(_net(5), path, "toy", [], head="classifier.0")
    assert "classifier.0.weight" in weights.load(_net(3), path, "toy", [], head="classifier.0")
    with pytest.raises(UserError, match=r"classifier.0.weight is \(3, 4\) in the file and \(5, 4\)"):
        weights.load(_net(5), path, "toy", [])


# ---- what does not fit


def test_missing_layers_are_named_and_the_way_out_works(tmp_path):
    source = _net()
    features = {k: v for k, v in source.state_dict().items() if k.startswith("features")}
    torch.save(features, tmp_path / "a.pth")
    with pytest.raises(
        UserError, match=r"lacks layers that toy needs: classifier\.0;.*model\.fresh=\[classifier\]"
    ) as e:
        weights.load(_net(), str(tmp_path / "a.pth"), "toy", [])
    _one_line(e)
    weights.load(_net(), str(tmp_path / "a.pth"), "toy", ["classifier"])


def test_another_width_names_the_first_mismatching_layer(tmp_path):
    path = _save(_net(width=8), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"features\.0\.weight is \(8, 3, 3, 3\) in the file and \(4, 3, 3, 3\)") as e:
        weights.load(_net(), path, "toy", [])
    _one_line(e)


def test_another_network_shows_how_both_begin(tmp_path):
    torch.save({"conv1.weight": torch.zeros(2, 3, 7, 7)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"another network than toy: it begins with conv1\.weight \(2, 3, 7, 7\), the"):
        weights.load(_net(), str(tmp_path / "a.pth"), "toy", [])


def test_a_deeper_network_is_not_cut_to_size_in_silence(tmp_path):
    deeper = {**_net().state_dict(), "features.7.weight": torch.zeros(4, 4, 3, 3)}
    torch.save(deeper, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"which has no place for features\.7"):
        weights.load(_net(), str(tmp_path / "a.pth"), "toy", [])
    weights.load(_net(), str(tmp_path / "a.pth"), "toy", [], unused=("features.7",))


def test_a_fresh_layer_that_does_not_exist_is_refused(tmp_path):
    path = _save(_net(), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"model\.fresh=\[clasifier\].*it has features, classifier"):
        weights.load(_net(), path, "toy", ["clasifier"])


# ---- files that must not be trusted


class _Bomb:
    def __reduce__(self):
        return os.system, (f"touch {os.environ['BOMB']}",)


@pytest.mark.parametrize("write", [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))])
def test_a_pickle_bomb_is_refused_and_not_executed(write, tmp_path, monkeypatch):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    write({"features.0.weight": _Bomb()}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="not a file of plain tensors") as e:
        weights.load(_net(), str(tmp_path / "a.pth"), "toy", [])
    _one_line(e)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_cut_short_is_refused(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    state = _net().state_dict()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=re.escape(str(path))) as e:
        weights.load(_net(), str(path), "toy", [])
    _one_line(e)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, torch.zeros(3)])
def test_plain_data_that_is_no_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        weights.load(_net(), str(tmp_path / "a.pth"), "toy", [])


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file; expected imagenet, none"):
        weights.load(_net(), str(tmp_path / "absent.pth"), "toy", [])
    with pytest.raises(UserError, match=r"no checkpoints/best\.pt"):
        weights.load(_net(), str(tmp_path), "toy", [])


# ---- warm start from a run folder


def _run(folder, state, model) -> str:
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"parts": {"net": state}}, folder / "checkpoints" / "best.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"schema": 1, "config": {"model": model}}))
    return str(folder)


def test_warm_start_from_a_run(tmp_path):
    source, net = _net(), _net()
    run = _run(tmp_path / "run", source.state_dict(), {"weights": "none", "tune": "scratch"})
    assert len(weights.load(net, run, "toy", [], head="classifier.0")) == len(list(net.parameters()))
    assert torch.equal(net.classifier[0].weight, source.classifier[0].weight)


def test_a_frozen_run_that_stored_its_head_only_takes_the_rest_from_where_it_had_it(tmp_path):
    base, tuned, net = _net(), _net(), _net()
    head = {k: v for k, v in tuned.state_dict().items() if k.startswith("classifier")}
    run = _run(tmp_path / "run", head, {"weights": _save(base, tmp_path / "base.pth"), "tune": "freeze"})
    weights.load(net, run, "toy", [], head="classifier.0")
    assert torch.equal(net.features[0].weight, base.features[0].weight)
    assert torch.equal(net.classifier[0].weight, tuned.classifier[0].weight)


def test_a_run_of_another_network_is_refused_even_where_its_head_would_fit(tmp_path):
    run = _run(tmp_path / "run", _net().state_dict(), {"name": "other", "weights": "imagenet", "tune": "freeze"})
    with pytest.raises(UserError, match="is a run of other, not of toy"):
        weights.load(_net(), run, "toy", [])


# ---- what trains


def _trainable(net: nn.Module) -> set[str]:
    return {name for name, p in net.named_parameters() if p.requires_grad}


def test_freeze_trains_what_is_fresh_only(tmp_path):
    config = _start(weights=_save(_net(), tmp_path / "a.pth"), tune="freeze")
    assert _trainable(weights.start(_net(5), config, "toy", head="classifier.0")) == {
        "classifier.0.weight",
        "classifier.0.bias",
    }
    config.fresh = ["features.0"]
    assert "features.0.weight" in _trainable(weights.start(_net(5), config, "toy", head="classifier.0"))


def test_finetune_trains_all_and_scratch_loads_nothing_whatever_weights_says(tmp_path):
    source = _net()
    path = _save(source, tmp_path / "a.pth")
    tuned = weights.start(_net(5), _start(weights=path, tune="finetune"), "toy", head="classifier.0")
    assert _trainable(tuned) == {name for name, _ in tuned.named_parameters()}
    assert torch.equal(tuned.features[0].weight, source.features[0].weight)
    fresh = weights.start(_net(5), _start(weights=path, tune="scratch"), "toy", head="classifier.0")
    assert _trainable(fresh) == _trainable(tuned)
    assert not torch.equal(fresh.features[0].weight, source.features[0].weight)


def test_the_whole_network_is_loaded_and_nothing_of_it_trains(tmp_path):
    path = _save(_net(), tmp_path / "a.pth")
    assert not _trainable(weights.start(_net(), _start(weights=path, tune="freeze"), "toy", head=""))
    with pytest.raises(UserError, match="original classes needs weights"):
        weights.start(_net(), _start(), "toy", head="")


def test_a_freeze_that_leaves_nothing_to_train_says_what_to_do(tmp_path):
    config = _start(weights=_save(_net(), tmp_path / "a.pth"), tune="freeze")
    with pytest.raises(UserError, match=r"nothing trains; try model\.fresh=\[classifier\.0\]"):
        weights.start(_net(), config, "toy", head="classifier.0")


@pytest.mark.parametrize("tune", ["freeze", "finetune"])
def test_tuning_without_weights_is_refused(tune):
    with pytest.raises(UserError, match=f"model.tune={tune} needs weights, but model.weights=none"):
        weights.check(_start(tune=tune))
    with pytest.raises(UserError, match="needs loaded weights"):
        weights.set_tune(_net(), tune, set())
    with pytest.raises(UserError, match="model.tune=half: expected one of freeze, norms, finetune, scratch"):
        weights.check(_start(tune="half"))


# ---- where imagenet comes from


def test_without_folder_cache_and_network_it_says_which_file_to_put_where(no_weights):
    with pytest.raises(
        UserError, match=r"vgg16-397923af\.pth could not be fetched .*put vgg16-397923af\.pth into"
    ) as e:
        weight_files.find("imagenet", "vgg16")
    _one_line(e)
    with pytest.raises(UserError, match="sketchanet has none"):
        weight_files.find("imagenet", "sketchanet")


def _touch(folder, *names) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())


def test_the_folder_is_looked_at_first_and_other_networks_are_not_taken(no_weights, monkeypatch):
    folder = no_weights / "weights"
    monkeypatch.setenv("SKETCHLAB_WEIGHTS", str(folder))
    with pytest.raises(UserError, match="no such folder"):
        weight_files.find("imagenet", "vgg16")
    others = ("vgg16_bn-6c64b313.pth", "vgg16_features-amdegroot-88682ab5.pth", "lpips_lin_vgg16.safetensors")
    _touch(folder, *others)
    with pytest.raises(UserError, match="could not be fetched"):
        weight_files.find("imagenet", "vgg16")
    _touch(folder, "vgg16_features.fp16.safetensors")
    assert weight_files.find("imagenet", "vgg16").name == "vgg16_features.fp16.safetensors"
    _touch(folder, "vgg16.pth")
    assert weight_files.find("imagenet", "vgg16").name == "vgg16.pth"
    _touch(folder, "vgg16-mine.pth")
    with pytest.raises(UserError, match=r"several vgg16 files: vgg16-mine\.pth, vgg16\.pth"):
        weight_files.find("imagenet", "vgg16")


def test_then_the_cache_and_a_damaged_file_is_noticed(no_weights):
    cached = no_weights / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cut in half")
    with pytest.raises(
        UserError, match=r"resnet18-f37072fd\.pth is damaged: its sha256 begins with [0-9a-f]{8}; delete"
    ):
        weight_files.find("imagenet", "resnet18")


def test_a_download_is_asked_for_with_its_hash(no_weights, monkeypatch):
    asked = []

    def fetch(url, dst, hash_prefix):
        asked.append((url, hash_prefix))
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(UserError, match="invalid hash value"):
        weight_files.find("imagenet", "resnet18")
    assert asked == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")]


def test_fingerprint_is_of_the_file_that_is_used(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"one")
    config = _start(weights=str(path), tune="freeze")
    assert weights.fingerprint(config, "toy") == hashlib.sha256(b"one").hexdigest()[:16]
    path.write_bytes(b"other")
    assert weights.fingerprint(config, "toy") == hashlib.sha256(b"other").hexdigest()[:16]
    config.tune = "scratch"
    assert weights.fingerprint(config, "toy") == "none"


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: torch.save(nn.Sequential(nn.Linear(1, 1)), path), "it holds an object of torch.nn.modules."),
        (lambda path: path.write_text("<html>404"), "(it begins with b'<html>404')"),
        (lambda path: path.write_bytes(b""), "(it is empty)"),
    ],
)
def test_what_is_no_file_of_weights_is_said_in_one_sentence(tmp_path, write, why):
    path = tmp_path / "some.pth"
    write(path)
    with pytest.raises(UserError) as error:
        weight_files.read(path)
    assert why in str(error.value) and "\n" not in str(error.value) and "PyTorch 2.6" not in str(error.value)
