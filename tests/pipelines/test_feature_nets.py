"""What images are measured in: which network is taken, and that it is the one it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torchvision.models import inception

from sketchlab.errors import UserError
from sketchlab.metrics import generation
from sketchlab.pipelines.gan import feature_nets

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SKETCHLAB_WEIGHTS", str(tmp_path))
    return tmp_path


def alexnet(folder: Path) -> None:
    net = torchvision.models.alexnet(weights=None)
    save_file(
        {k: v.half() for k, v in net.state_dict().items() if k.startswith("features")},
        folder / "alexnet_features.fp16.safetensors",
    )


def test_auto_takes_the_best_at_hand_and_says_which(folder):
    assert feature_nets.decided("auto") == "random" == feature_nets.fingerprint("auto")
    alexnet(folder)
    assert feature_nets.decided("auto") == "alexnet"
    first = feature_nets.fingerprint("auto")
    alexnet(folder)  # other weights
    assert first.startswith("alexnet-") and first != feature_nets.fingerprint("auto")
    (folder / "inception_v3_fid.safetensors").touch()
    assert feature_nets.decided("auto") == "inception"


def test_missing_or_wrong_weights_are_one_line(folder):
    with pytest.raises(UserError, match="no file inception_v3_fid.*SKETCHLAB_WEIGHTS=.*features=random"):
        feature_nets.decided("inception")
    with pytest.raises(UserError, match="expected auto, inception, alexnet, random"):
        feature_nets.decided("vgg")
    save_file({"features.0.weight": torch.zeros(2)}, folder / "alexnet_features.safetensors")
    with pytest.raises(UserError, match="alexnet_features.safetensors is not the AlexNet"):
        feature_nets.make("alexnet", CPU)


def test_alexnet_sees_what_it_was_trained_on(folder):
    alexnet(folder)
    features = feature_nets.make("auto", CPU)
    images = torch.rand(3, 1, 32, 32)
    net = torchvision.models.alexnet(weights=None).eval()
    net.load_state_dict({**net.state_dict(), **feature_nets.load_file(next(folder.glob("alexnet*")))})
    large = F.interpolate(images, (224, 224), mode="bilinear").expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = net.features((large - mean) / std).mean((2, 3))
    torch.testing.assert_close(features.of(images), expected.detach(), atol=1e-5, rtol=1e-4)


def test_random_features_are_those_of_metrics():
    images = torch.rand(40, 1, 32, 32)
    features = feature_nets.make("random", CPU)
    assert features.name == "random"
    torch.testing.assert_close(features.of(images), generation.random_features(images, 0))


def test_inception_pools_as_fid_does():
    """Each kind of block against torchvision's own formula with the pool replaced."""

    def means(x):
        return torch.ops.aten.avg_pool2d(x, [3, 3], [1, 1], [1, 1], False, False)  # count_include_pad False

    def maxima(x):
        return F.pad(x, (1, 1, 1, 1), value=float("-inf")).unfold(2, 3, 1).unfold(3, 3, 1).amax((4, 5))

    def twin(block, x, pool):
        original = F.avg_pool2d
        inception.F.avg_pool2d = lambda y, **_: pool(y)
        try:
            return block(x)
        finally:
            inception.F.avg_pool2d = original

    for block, channels in ((inception.InceptionA(8, 4), 8), (inception.InceptionE(8), 8)):
        block.eval()
        for pool, theirs in ((feature_nets._mean, means), (feature_nets._maximum, maxima)):
            x = torch.randn(2, channels, 9, 9)
            expected = twin(block, x, theirs)
            assert not torch.allclose(expected, block(x))
            changed = inception.InceptionA(8, 4) if isinstance(block, inception.InceptionA) else inception.InceptionE(8)
            changed.load_state_dict(block.state_dict())
            feature_nets._pool_by(changed.eval(), pool)
            assert torch.equal(changed(x), expected)


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_WEIGHTS" not in os.environ, reason="SKETCHLAB_WEIGHTS is not set")
def test_real_inception_tells_noise_from_pictures():
    features = feature_nets.make("inception", CPU)
    images = torch.rand(2, 3, 299, 299)
    of = features.of(images)
    assert of.shape == (2, 2048) and of.min() >= 0 and 0.1 < of.mean() < 1
    assert not torch.equal(of[0], of[1])
