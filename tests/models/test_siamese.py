"""Embeddings of sketches and photos: das_debnath's network pinned, backbones with a layer anew, frozen ones cached."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sketchlab import config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.layers.stages import Mirrored
from tests import every

TINY = every.TWINS["siamese_vgg16"]


def built(*words: str) -> Any:
    torch.manual_seed(0)
    return config.from_overrides(["data=shapes", *words]).model.build(18)


def n_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_network_of_das_debnath():
    net = built("model=siamese")
    assert n_parameters(net) == 40_254_465
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(80_000, 500), (500, 500), (500, 5)]
    assert n_parameters(linear[0]) == 40_000_500
    kinds = [type(m) for m in net.get_submodule("features")]
    assert kinds == [Mirrored, nn.Conv2d, nn.ReLU, nn.BatchNorm2d] * 3
    assert net.eval()(torch.rand(2, 1, 100, 100)).shape == (2, 5)


def test_the_training_of_das_debnath():
    run = config.from_overrides(["experiment=das_debnath/by_photo"])
    loop, pipeline = run.loop, run.pipeline.config
    assert (loop.epochs, loop.batch_size, loop.optimizer, loop.lr) == (200, 64, "adam", 5e-4)
    assert (loop.schedule, loop.weight_decay) == ("constant", 0)
    assert (pipeline.loss, pipeline.sampler, pipeline.match, pipeline.match_share) == (
        "contrastive",
        "pairs",
        "class",
        0.5,
    )
    assert run.data.config.split_by == "photo" and pipeline.margin == 2.0
    published = config.from_overrides(["experiment=das_debnath/as_published"]).data.config
    assert published.split_by == "sketch" and (published.splits.train, published.splits.val) == (0.8, 0.2)


def test_mirrored_is_reflection_padding():
    x = torch.rand(2, 3, 5, 4, requires_grad=True)
    wanted = nn.ReflectionPad2d(1)(x)
    assert torch.equal(Mirrored()(x), wanted)
    weights = torch.rand_like(wanted)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (Mirrored()(x), nn.ReflectionPad2d(1)(x)))
    torch.testing.assert_close(ours, theirs)


def test_blocks_widths_and_dropout_are_settings():
    words = ("model.widths=[3,6]", "model.pool_px=2", "model.hidden=[7]", "model.embedding=4", "model.input.size_px=20")
    net = built("model=siamese", *words, "model.dropout=0.5", "model.block_dropout=0.2", "model.normalise=true")
    out = net.eval()(torch.rand(3, 1, 20, 20))
    assert out.shape == (3, 4) and out.norm(dim=1).allclose(torch.ones(3))
    assert sum(isinstance(m, nn.Dropout2d) for m in net.modules()) == 2
    assert sum(isinstance(m, nn.Dropout) for m in net.modules()) == 1
    assert n_parameters(net) == 30 + 6 + 168 + 12 + (6 * 25 + 1) * 7 + 8 * 4


@pytest.mark.parametrize("shared", ["true", "false"])
def test_a_backbone_gives_an_embedding(shared):
    net = built("model=siamese_vgg16", *TINY, "model.embedding=12", f"model.shared={shared}").eval()
    towers = [net] if shared == "true" else [net.get_submodule("sketch"), net.get_submodule("photo")]
    outs = [tower(torch.rand(2, 3, 32, 32)) for tower in towers]
    assert all(out.shape == (2, 12) and out.norm(dim=1).allclose(torch.ones(2), atol=1e-5) for out in outs)
    assert len({n_parameters(tower) for tower in towers}) == 1 and (len(towers) == 1) == (shared == "true")


def test_another_backbone_by_name():
    run = config.from_overrides(["model=siamese_vgg16", "model@model.backbone=resnet34"])
    assert (
        run.model.backbone
        and run.model.backbone.config.arch == "resnet34"
        and run.choices["model.backbone"] == "resnet34"
    )
    for name in ("googlenet", "resnet18", "mobilenet_v2"):
        run = config.from_overrides([f"model=siamese_{name}"])
        assert run.model.backbone and run.model.backbone.config.arch == name
        assert run.model.config.input.mean == run.model.backbone.config.input.mean


@pytest.fixture
def weights(tmp_path):
    """A file of weights of a small VGG16 without its last layer."""
    net = built("model=siamese_vgg16", *TINY).get_submodule("backbone")
    path = tmp_path / "vgg16.pth"
    torch.save({k: v for k, v in net.state_dict().items() if k.startswith("features")}, path)
    return path


SMALL = ["data.classes=[circle,square,line]", "data.per_class=16", "data.splits.train=0.5", "data.splits.val=0.25"]
SMALL += ["data.splits.test=0.25", "runtime.device=cpu", "loop.batch_size=8", "model.backbone.dropout=0"]


def task(weights, *words: str):
    tune = [f"model.backbone.weights={weights}", "model.backbone.tune=freeze"]
    run = config.from_overrides(["model=siamese_vgg16", *TINY, *tune, *SMALL, *words])
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(3), data, run.loop, Runtime(run.runtime), run.seed)


@pytest.mark.parametrize("shared", ["true", "false"])
def test_frozen_layers_run_once_and_change_nothing(weights, shared):
    found = []
    for cache in ("true", "false"):
        made = task(weights, f"pipeline.cache={cache}", f"model.shared={shared}")
        assert made.cached == (cache == "true")
        batch = made.draw(torch.arange(8), torch.arange(8))
        assert batch["sketch"].ndim == (2 if made.cached else 4)
        losses = [every.step(made, batch, 1.0)["loss"] for _ in range(3)]
        found.append((losses, *made.embeddings("val"), made.evaluate("test")["class_mAP"]))
        trained = {k for k, p in made.net.named_parameters() if p.requires_grad}
        assert {k.rpartition("backbone.")[2] for k in trained} == {"classifier.1.weight", "classifier.1.bias"}
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_augmented_pairs_are_not_cached(weights):
    assert not task(weights, "data/augment=mild").cached


@pytest.mark.parametrize(
    "words, said",
    [
        (["model=siamese", "model.widths=[]"], "model.widths=[]"),
        (["model=siamese", "model.pool_px=5"], "nothing is left of it after 3 times model.pool_px=5"),
        (["model=siamese", "model.dropout=1"], "model.dropout=1.0: expected a probability below 1"),
        (["model=siamese_vgg16", "model.embedding=0"], "model.embedding=0: expected at least 1"),
        (["model=siamese_vgg16", "model@model.backbone=small_dcgan"], "model.backbone.name=dcgan: gives no features"),
        (["model=siamese_vgg16", "model.input.size_px=64"], "model.input differs from model.backbone.input"),
    ],
)
def test_bad_input_is_one_line(words, said):
    with pytest.raises(UserError) as error:
        config.from_overrides(words)
    assert said in str(error.value) and "\n" not in str(error.value)
