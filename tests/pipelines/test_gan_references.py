"""What a generator's scores give for real images, noise and grey, and which of them tell these apart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from sketchlab.metrics import generation
from sketchlab.pipelines.gan import reference_scores as gan_calibration
from sketchlab.pipelines.gan.feature_nets import Features
from sketchlab.pipelines.gan.reference_scores import Calibration, entry, mean, warnings

SIZE = 16
CONFIG = SimpleNamespace(eval_images=60, kid_subsets=5, kid_subset_size=30)


class Reals:
    """60 training images and 40 of val: one bright square each, at a place of its own."""

    def __init__(self) -> None:
        self.splits = {"train": self.drawn(60, 0), "val": self.drawn(40, 1), "few": self.drawn(3, 2)}

    def drawn(self, n: int, seed: int) -> Tensor:
        draw, images = np.random.default_rng(seed), torch.zeros(n, 1, SIZE, SIZE)
        for image, (top, left) in zip(images, draw.integers(0, SIZE - 5, (n, 2)), strict=True):
            image[:, top : top + 5, left : left + 5] = 1
        return images

    def of(self, split: str) -> Tensor:
        return self.splits[split]


def features(of) -> Features:
    return Features("made", "made", of)


def places(images: Tensor) -> Tensor:
    """Sees where things are, means of rows and columns; what is grey all over is in the middle of what is real."""
    return torch.cat([images.mean(2).flatten(1), images.mean(3).flatten(1)], 1)


def contrast(images: Tensor) -> Tensor:
    """Sees too how far pixels are from each other."""
    return torch.cat([places(images), 10 * images.flatten(1).std(1, keepdim=True)], 1)


def known(of, split: str = "val") -> gan_calibration.Known:
    reals, seen = Reals(), features(of)
    return Calibration(reals, seen, CONFIG).against_real(split, seen.of(reals.of(split)))


def test_what_sees_tells_real_images_from_noise_and_grey():
    found = known(contrast)
    assert list(found) == ["kid@made", "fid@made", "precision@made", "recall@made"]
    assert all(one["informative"] for one in found.values())
    assert abs(found["kid@made"]["real"]) < 3 * found["kid@made"]["real_sd"]
    assert found["recall@made"]["grey"] == 0 == found["precision@made"]["noise"]
    for one in found.values():
        assert (one["n_real"], one["n_other"], one["draws"]) == (40, 60, gan_calibration.DRAWS)
    reals = Reals()
    real, grey = contrast(reals.of("val")), contrast(reals.of("train").mean().expand(1, 1, SIZE, SIZE)).expand(60, -1)
    assert found["fid@made"]["grey"] == pytest.approx(generation.fid(real, grey).value, rel=1e-5)
    assert known(contrast) == found  # the same at every evaluation, and after a resumption


def test_what_sees_nothing_is_not_informative():
    blind = known(lambda images: torch.ones(len(images), 4))
    assert blind and not any(one["informative"] for one in blind.values())


def test_a_grey_image_amid_the_real_ones_fools_precision_alone():
    found = known(places)
    assert found["precision@made"]["grey"] == 1 and not found["precision@made"]["informative"]
    assert found["recall@made"]["informative"] and found["recall@made"]["grey"] == 0
    said = warnings({"precision@made": 1.0, "recall@made": 0.0, "fid@made": found["fid@made"]["real"]}, found)
    assert (
        "precision@made of noise" in said["not informative"] and "one grey image 1, of real" in said["not informative"]
    )
    assert "recall@made 0, of noise 0, of one grey image 0" in said["no better than grey"]
    assert "fid" not in said["no better than grey"]


def test_fid_of_real_against_real_is_its_bias():
    """Beside the mean over fresh sets of the same distribution, which have the distance 0."""
    draw = torch.Generator().manual_seed(0)
    fresh = [generation.fid(torch.randn(40, 5, generator=draw), torch.randn(60, 5, generator=draw)) for _ in range(200)]
    expected = np.mean([found.value for found in fresh])
    estimated = []
    for seed in range(8):
        images = torch.randn(100, 5, generator=torch.Generator().manual_seed(seed)).view(100, 1, 5, 1)
        reals = SimpleNamespace(of=lambda split, images=images: images[:60])
        seen = features(lambda images: images.flatten(1))
        estimated.append(
            Calibration(reals, seen, CONFIG).against_real("val", images[60:].flatten(1))["fid@made"]["real"]
        )
    assert 0.2 < expected < 1
    assert np.mean(estimated) == pytest.approx(expected, rel=0.1)


def test_too_few_images_leave_a_calibration_out():
    assert set(known(places, "few")) == {"kid@made", "fid@made"}  # precision needs four


@pytest.mark.parametrize(
    "better, real, sd, noise, grey, informative",
    [
        ("lower", 0.0, 0.1, 5.0, 0.31, True),
        ("lower", 0.0, 0.1, 5.0, 0.29, False),
        ("lower", 0.0, 0.1, -5.0, 5.0, False),
        ("higher", 0.9, 0.1, 0.0, 0.5, True),
        ("higher", 0.9, 0.1, 0.0, 1.0, False),
        ("higher", 0.9, 0.0, 0.0, 0.9, False),
        ("as real", 0.4, 0.01, 0.0, 1.0, True),
        ("as real", 0.4, 0.01, 0.42, 1.0, False),
        ("as real", 0.4, 0.01, 0.0, 0.38, False),
    ],
)
def test_what_is_informative(better, real, sd, noise, grey, informative):
    assert entry(better, real, sd, noise, grey)["informative"] == informative


def test_of_a_mean_of_scores():
    both = mean([entry("lower", 0.0, 0.3, 2.0, 1.0), entry("lower", 0.2, 0.4, 4.0, 2.0)])
    assert (both["real"], both["noise"], both["grey"]) == (0.1, 3.0, 1.5) and both["real_sd"] == pytest.approx(0.25)
    assert both["informative"] and not mean([entry("lower", 0.0, 2.0, 2.0, 1.0)])["informative"]
