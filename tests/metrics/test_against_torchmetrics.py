"""The same features through a well-kept implementation: torchmetrics, where it is installed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sketchlab.metrics import generation

image = pytest.importorskip("torchmetrics.image", reason="torchmetrics is not installed")


class Given(nn.Module):
    """Images that are their own features."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def sets(n: int = 60) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, generator=draw).double(), torch.randn(n, 6, generator=draw).double() * 1.3 + 0.4


def fed(metric, real: Tensor, fake: Tensor):
    metric.update(real[:, :, None, None].float(), real=True)
    metric.update(fake[:, :, None, None].float(), real=False)
    return metric.compute()


def test_fid():
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(Given(), normalize=True, input_img_size=(6, 1, 1)).set_dtype(torch.float64)
    real, fake = sets()
    assert generation.fid(real, fake).value == pytest.approx(float(fed(metric, real, fake)), rel=1e-4)


def test_kid():
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = sets()
    metric = KernelInceptionDistance(Given(), subsets=1, subset_size=60, normalize=True)
    theirs = fed(metric, real, fake)[0]
    assert generation.kid(real, fake, subsets=1, subset_size=60, seed=0).mean == pytest.approx(float(theirs), rel=1e-4)


def test_inception_score():
    from torchmetrics.image.inception import InceptionScore

    logits = torch.randn(80, 6, generator=torch.Generator().manual_seed(1))
    metric = InceptionScore(Given(), normalize=False, splits=1)
    metric.update(logits[:, :, None, None])
    ours = generation.inception_score(logits.softmax(1), splits=1).mean
    assert ours == pytest.approx(float(metric.compute()[0]), rel=1e-5)


def test_ms_ssim():
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as theirs

    draw = torch.Generator().manual_seed(2)
    a = torch.rand(2, 1, 192, 192, generator=draw)
    b = (a + 0.3 * torch.rand(2, 1, 192, 192, generator=draw)).clamp(0, 1)
    expected = theirs(a, b, data_range=1.0, normalize="relu", reduction="none", gaussian_kernel=True)
    ours = generation.ms_ssim(a, b, data_range=1.0, scales=5)
    # theirs also counts the border, where its window is mirrored
    torch.testing.assert_close(ours.float(), expected.flatten(), atol=0.02, rtol=0)
