"""scripts/clean_fid.py: its resizing is the published one, and ours leaves what has the network's side alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from sketchlab.pipelines.gan.feature_nets import Resized

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import clean_fid  # noqa: E402


@pytest.mark.parametrize(("before", "after"), [(64, 20), (20, 64), (33, 29)])
def test_bicubic_of_floats_with_a_filter_that_widens_when_it_shrinks(before, after):
    images = torch.rand(3, 2, before, before, generator=torch.Generator().manual_seed(0))
    found = clean_fid.clean(images, after)
    expected = F.interpolate(images, (after, after), mode="bicubic", align_corners=False, antialias=True)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert found.min() < 0 or found.max() > 1 or before > after, "nothing is clipped"


def test_images_of_the_networks_side_are_not_resized_again():
    net = Resized(torch.nn.Identity(), 29, (0.5,) * 3, (0.5,) * 3)
    images = torch.rand(2, 3, 29, 29, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(images), ((images - 0.5) / 0.5).flatten(1), atol=1e-6, rtol=0)
