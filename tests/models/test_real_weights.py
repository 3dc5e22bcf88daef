"""On torchvision's ImageNet weights, from the folder SKETCHLAB_WEIGHTS names."""

from __future__ import annotations

import os

import pytest
import torch
import torchvision

from sketchlab.errors import UserError
from sketchlab.layers.chain import penultimate
from sketchlab.models import torchvision_nets, vgg16
from sketchlab.weights import files as weight_files

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not os.environ.get("SKETCHLAB_WEIGHTS"), reason="SKETCHLAB_WEIGHTS is not set"),
]


@pytest.mark.parametrize("kernel_px", [7, 11, 15])
def test_inflation_keeps_the_pretrained_features(config, kernel_px):
    x = torch.randn(1, 3, 96, 96)
    plain = penultimate(vgg16.build(config("vgg16"), 2)).eval()
    inflated = penultimate(vgg16.build(config("vgg16", kernel_px=kernel_px), 2)).eval()
    with torch.no_grad():
        torch.testing.assert_close(inflated(x), plain(x), atol=1e-5, rtol=1e-4)


def test_features_are_torchvisions(config):
    net = vgg16.build(config("vgg16"), 2).eval()
    with torch.device("meta"):
        theirs = torchvision.models.vgg16(weights=None).features.eval()
    state = weight_files.read(weight_files.find("imagenet", "vgg16"))
    theirs.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if "features" in k}, assign=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(net.features(x), theirs(x))


def test_stock_mobilenet_knows_imagenet_and_needs_no_data_set(config):
    choice = config("mobilenet_v2")
    net = torchvision_nets.build(choice, None).eval()
    theirs = torchvision.models.mobilenet_v2(weights=None).eval()
    theirs.load_state_dict(weight_files.read(weight_files.find("imagenet", "mobilenet_v2")))
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(net(x), theirs(x))
    assert len(torchvision_nets.class_names(choice)) == net(x).shape[1]


@pytest.mark.parametrize("arch", ["vgg16", "alexnet"])
def test_a_file_of_features_only_says_what_it_lacks(config, arch):
    if weight_files.find("imagenet", arch).suffix == ".pth":
        pytest.skip("the whole file is there")
    build = vgg16.build if arch == "vgg16" else torchvision_nets.build
    with pytest.raises(UserError, match=r"lacks layers that .* needs: classifier\.\d, classifier\.\d;.*head=pool"):
        build(config(arch, head="vgg" if arch == "vgg16" else "stock"), 2)
