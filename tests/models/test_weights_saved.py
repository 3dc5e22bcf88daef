"""Weights as people save them: wrappers before the names, other things beside them, an average over training."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.models import small_cnn

PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "model.", "net.module.")


@pytest.fixture
def net(config):
    return small_cnn.build(config("small_cnn", {"input.size_px": 16}), 3)


@pytest.fixture
def other(config):
    torch.manual_seed(7)
    return small_cnn.build(config("small_cnn", {"input.size_px": 16}), 3)


def loaded(net, path) -> set[str]:
    return weights.load(net, str(path), "small_cnn", [], head="")


def assert_same(net, other):
    for name, value in other.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_wrappers_names(net, other, prefix, tmp_path, capsys):
    torch.save({f"{prefix}{k}": v for k, v in other.state_dict().items()}, tmp_path / "a.pth")
    loaded(net, tmp_path / "a.pth")
    assert_same(net, other)
    assert f"what stands under {prefix.split('.')[0]}. is taken" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_checkpoint_with_more_in_it(net, other, key, tmp_path, capsys):
    torch.save({"epoch": 3, key: other.state_dict(), "optimizer": {"lr": 0.1}}, tmp_path / "a.pt")
    loaded(net, tmp_path / "a.pt")
    assert_same(net, other)
    assert f"a.pt: {key} is taken" in capsys.readouterr().out


def test_lightning_keeps_the_loss_beside_the_network(net, other, tmp_path, capsys):
    state = {f"net.{k}": v for k, v in other.state_dict().items()} | {"loss.weight": torch.ones(3)}
    torch.save({"pytorch-lightning_version": "2.4.0", "state_dict": state, "epoch": 1}, tmp_path / "last.ckpt")
    loaded(net, tmp_path / "last.ckpt")
    assert_same(net, other)
    out = capsys.readouterr().out
    assert "state_dict is taken" in out and "under net. is taken, without loss beside it" in out


def test_the_plain_weights_or_by_a_key_their_average(net, other, tmp_path, capsys):
    average = {k: v + 1 if v.is_floating_point() else v for k, v in other.state_dict().items()}
    path = tmp_path / "a.pth"
    torch.save({"state_dict": other.state_dict(), "state_dict_ema": average}, path)
    loaded(net, path)
    assert_same(net, other)
    assert f"its average over training is model.weights={path}#state_dict_ema" in capsys.readouterr().out
    loaded(net, f"{path}#state_dict_ema")
    assert torch.equal(next(iter(net.state_dict().values())), next(iter(average.values())))
    with pytest.raises(UserError, match="nothing under ema; there is state_dict, state_dict_ema"):
        loaded(net, f"{path}#ema")


def test_the_id_tells_the_average_from_the_plain_weights(config, other, tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": other.state_dict(), "ema": other.state_dict()}, path)
    plain, average = (config("small_cnn", weights=f"{path}{end}", tune="finetune") for end in ("", "#ema"))
    assert small_cnn.fingerprint(average) == small_cnn.fingerprint(plain) + "#ema"


def test_halves_and_safetensors(net, other, tmp_path):
    halves = {f"module.{k}": v.half() if v.is_floating_point() else v for k, v in other.state_dict().items()}
    save_file(halves, tmp_path / "a.safetensors")
    loaded(net, tmp_path / "a.safetensors")
    for name, value in other.state_dict().items():
        assert net.state_dict()[name].dtype == value.dtype
        torch.testing.assert_close(net.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_a_file_named_with_the_sign_is_a_file(net, other, tmp_path):
    torch.save(other.state_dict(), tmp_path / "run#3.pth")
    loaded(net, tmp_path / "run#3.pth")
    assert_same(net, other)


@pytest.mark.parametrize("content", [{"epoch": 3}, {"model": {"a": 1}}, {"state_dict": {}}, [1, 2]])
def test_what_holds_no_network_is_one_line(net, content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds no state dict: expected"):
        loaded(net, tmp_path / "a.pth")
