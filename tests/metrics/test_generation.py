import itertools
import math

import numpy as np
import pytest
import torch
from scipy import linalg, signal

from sketchlab import rng
from sketchlab.errors import UserError
from sketchlab.metrics import generation

FIRST_WEIGHTS = [
    0.1667012870311737,
    0.67319655418396,
    0.12251652032136917,
]  # pinned: scores of other machines and years stay comparable


def _features(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _mmd_by_loops(x, y):
    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    n = len(x)
    within = sum(kernel(s[i], s[j]) for s in (x, y) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    return within - 2 * sum(kernel(a, b) for a in x for b in y) / n**2


def test_kid_of_the_whole_sets_against_loops():
    real, fake = _features(9, 4), _features(9, 4, seed=1) + 0.5
    found = generation.kid(real, fake, subsets=1, subset_size=9, seed=0)
    assert found == pytest.approx((_mmd_by_loops(real, fake), 0))


def test_kid_of_subsets_against_loops():
    real, fake = _features(12, 3), _features(20, 3, seed=1) * 1.5
    values = []
    for i in range(4):
        places = [
            rng.generator(rng.fold(7, f"kid {name}", i)).choice(n, 6, replace=False)
            for name, n in (("real", 12), ("fake", 20))
        ]
        values.append(_mmd_by_loops(real[places[0]], fake[places[1]]))
    found = generation.kid(real, fake, subsets=4, subset_size=6, seed=7)
    assert found == pytest.approx((np.mean(values), np.std(values)))
    assert found == generation.kid(real, fake, subsets=4, subset_size=6, seed=7)
    assert found != generation.kid(real, fake, subsets=4, subset_size=6, seed=8)


def test_kid_is_unbiased():
    found = generation.kid(_features(4000, 8), _features(4000, 8, seed=1), subsets=100, subset_size=40, seed=0)
    assert abs(found.mean) < 4 * found.std / 10


@pytest.mark.parametrize("n", [50, 9, 6])  # 6 images in 10 dimensions: singular covariances
def test_fid_against_scipy(n):
    real, fake = _features(n, 10) @ _features(10, 10, seed=2), _features(n + 3, 10, seed=1) + 0.3
    assert generation.fid(fake, real).value == pytest.approx(generation.fid(real, fake).value)
    covariances = [np.cov(f.numpy(), rowvar=False) for f in (real, fake)]
    root = linalg.sqrtm(covariances[0] @ covariances[1])
    mean_gap = ((real.mean(0) - fake.mean(0)) ** 2).sum().item()
    expected = mean_gap + np.trace(covariances[0] + covariances[1] - 2 * np.real(root))
    found = generation.fid(real, fake)
    assert found.value == pytest.approx(expected, rel=1e-6 if n == 50 else 1e-3)
    assert (found.n_real, found.n_fake) == (n, n + 3)
    assert generation.fid(real.float(), fake.float()).value == pytest.approx(found.value, rel=1e-4)


def test_fid_of_a_set_and_itself_moved():
    real = _features(40, 5)
    assert generation.fid(real, real).value == pytest.approx(0, abs=1e-9)
    assert generation.fid(real, real + 2).value == pytest.approx(20)
    assert generation.fid(real[:, :1], real[:, :1] * 3).value == pytest.approx(
        4 * real[:, 0].var().item() + 4 * real[:, 0].mean().item() ** 2
    )


@pytest.mark.parametrize("block", [3, 256])
def test_precision_and_recall_against_loops(block):
    real, fake = _features(17, 2).round(decimals=1), _features(23, 2, seed=1).round(decimals=1) * 1.4  # with ties

    def covered(points, centres):
        radii = [sorted(math.dist(c, o) for j, o in enumerate(centres) if j != i)[2] for i, c in enumerate(centres)]
        near = [any(math.dist(p, c) <= r + 1e-12 for c, r in zip(centres, radii, strict=True)) for p in points]
        return sum(near) / len(points)

    found = generation.precision_recall(real, fake, block=block)
    assert found.precision == pytest.approx(covered(fake.tolist(), real.tolist()))
    assert found.recall == pytest.approx(covered(real.tolist(), fake.tolist()))
    assert generation.precision_recall(real, real)[:2] == (1, 1)
    line, fakes = torch.arange(4.0)[:, None], torch.tensor([[-3.0], [6.0], [-3.1], [6.1]])  # radii 3, 2, 2, 3
    assert generation.precision_recall(line, fakes).precision == 0.5  # the edge of a ball belongs to it
    assert generation.precision_recall(real, fake + 100)[:2] == (0, 0)


def _ms_ssim_by_hand(x, y, data_range, scales):
    window = signal.windows.gaussian(11, 1.5)
    window = np.outer(window, window) / window.sum() ** 2
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    c1, c2, score = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2, 1.0

    def blur(image):
        return signal.convolve2d(image, window, mode="valid")

    for i, weight in enumerate(weights / weights.sum()):
        if i:
            h, w = x.shape[0] // 2, x.shape[1] // 2
            x, y = (a[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean((1, 3)) for a in (x, y))
        mx, my = blur(x), blur(y)
        contrast = (2 * blur((x) * (y)) - 2 * mx * my + c2) / (blur(x * x) - mx**2 + blur(y * y) - my**2 + c2)
        light = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        score *= max(0.0, np.mean(contrast * light if i == scales - 1 else contrast)) ** weight
    return score


@pytest.mark.parametrize(("size", "scales"), [((33, 24), 2), ((64, 70), 3), ((176, 177), 5)])
def test_ms_ssim_by_hand(size, scales):
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, *size, generator=generator)
    b = (a + 0.3 * torch.rand(2, 3, *size, generator=generator)).clamp(max=1)
    found = generation.ms_ssim(a, b, data_range=1.0, scales=scales)
    for row in range(2):
        by_channel = [
            _ms_ssim_by_hand(a[row, c].double().numpy(), b[row, c].double().numpy(), 1.0, scales) for c in range(3)
        ]
        assert found[row].item() == pytest.approx(np.mean(by_channel))
    assert generation.ms_ssim(a, a, 1.0, scales).tolist() == pytest.approx([1, 1])
    assert (generation.ms_ssim(a * 255, b * 255, 255.0, scales) - found).abs().max() < 1e-5


def test_ms_ssim_of_a_negative_is_a_number():
    a = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert generation.ms_ssim(a, 1 - a, 1.0, scales=3).item() == 0


def test_ms_ssim_scales():
    assert [generation.ms_ssim_scales(s, 500) for s in (10, 11, 64, 175, 176)] == [0, 1, 3, 4, 5]


def test_inception_score():
    p = torch.rand(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = p / p.sum(1, keepdim=True)
    scores = []
    for part in (p[:6], p[6:]):
        marginal = part.mean(0)
        kl = [sum(float(v) * math.log(v / m) for v, m in zip(row, marginal, strict=True)) for row in part]
        scores.append(math.exp(sum(kl) / 6))
    assert generation.inception_score(p, splits=2) == pytest.approx((np.mean(scores), np.std(scores)))
    assert generation.inception_score(torch.eye(5).repeat(4, 1), splits=2) == pytest.approx((5, 0))
    assert generation.inception_score(torch.full((10, 5), 0.2), splits=1) == pytest.approx((1, 0))


def test_random_features_follow_from_the_key():
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = generation.random_features(images, key=1)
    assert found.shape == (3, 480) and found.dtype == torch.float32
    generation._random_weights.cache_clear()
    assert torch.equal(found, generation.random_features(images, key=1))
    assert not torch.equal(found, generation.random_features(images, key=2))
    assert found.std(0).max() > 0  # tells images apart
    weight = generation._random_weights(1, 1)[0]
    assert weight[0, 0, 0].tolist() == pytest.approx(FIRST_WEIGHTS, abs=0)
    assert all(
        w.std().item() == pytest.approx((2 / (w.shape[1] * 9)) ** 0.5, rel=0.1)
        for w in generation._random_weights(3, 5)
    )


def test_random_features_see_what_is_drawn():
    blank, noise = torch.zeros(40, 3, 32, 32), torch.rand(80, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    noise[:40, :, 8:24] = 0
    a, b, c = (generation.random_features(x, 0) for x in (noise[:20], noise[20:40], noise[40:60]))
    assert generation.fid(a, b).value < generation.fid(a, c).value
    assert generation.random_features(blank, 0).abs().max() == 0


IMAGES = torch.zeros(1, 1, 64, 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generation.kid(_features(5, 2), _features(9, 2), 3, 6, 0), "N ≥ 6"),
        (lambda: generation.kid(_features(5, 2), _features(9, 2), 0, 5, 0), "subsets=0"),
        (lambda: generation.kid(_features(5, 2), _features(9, 3), 1, 5, 0), "2 dimensions, fake 3"),
        (lambda: generation.fid(_features(1, 2), _features(9, 2)), "real features have shape"),
        (lambda: generation.fid(_features(5, 2), _features(9, 2) / 0), "fake features: row 0"),
        (lambda: generation.precision_recall(_features(3, 2), _features(9, 2)), "N ≥ 4"),
        (lambda: generation.precision_recall(_features(5, 2), _features(9, 2), k=0), "k=0"),
        (lambda: generation.ms_ssim(IMAGES, IMAGES, 1.0), "expected 1 to 3 scales"),
        (lambda: generation.ms_ssim(IMAGES, IMAGES[..., :60], 1.0), "twice"),
        (lambda: generation.ms_ssim(IMAGES, IMAGES, 0.0, scales=1), "data_range=0.0"),
        (lambda: generation.ms_ssim(IMAGES[..., :9], IMAGES[..., :9], 1.0, scales=1), "at least 11 px"),
        (lambda: generation.inception_score(torch.randn(20, 3)), "softmax"),
        (lambda: generation.inception_score(torch.full((5, 2), 0.5)), "splits=10"),
        (lambda: generation.random_features(IMAGES.byte(), 0), "uint8"),
        (lambda: generation.random_features(IMAGES[0], 0), "expected float"),
    ],
)
def test_impossible_input_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()
