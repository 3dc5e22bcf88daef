"""Scores of generated images: distances between feature sets (N, D), coverage, similarity, class probabilities.

All statistics are computed in float64. A score depends on the features it is computed from: name them beside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab import rng
from sketchlab.errors import UserError

_WIDTHS = (32, 64, 128, 256)  # filters per stage of the random network
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
_WINDOW_PX, _WINDOW_SIGMA_PX = 11, 1.5  # Wang et al. 2003 and 2004


class MeanStd(NamedTuple):
    mean: float
    std: float  # over subsets or splits, as in the papers (divided by their number)


class Fid(NamedTuple):
    value: float
    n_real: int  # the value falls with n: compare only equal ones
    n_fake: int


class Coverage(NamedTuple):
    precision: float  # share of fakes that look real
    recall: float  # share of reals that the fakes reach
    n_real: int
    n_fake: int


def _check(real: Tensor, fake: Tensor, least: int) -> tuple[Tensor, Tensor]:
    for name, features in (("real", real), ("fake", fake)):
        if features.ndim != 2 or len(features) < least or not features.shape[1]:
            raise UserError(f"{name} features have shape {tuple(features.shape)}: expected (N, D) with N ≥ {least}")
        if not features.isfinite().all():
            row = int((~features.isfinite()).any(1).nonzero()[0])
            raise UserError(f"{name} features: row {row} holds nan or infinity")
    if real.shape[1] != fake.shape[1]:
        raise UserError(f"real features have {real.shape[1]} dimensions, fake {fake.shape[1]}: expected the same")
    return real.double(), fake.double()


def _draw(n: int, size: int, key: int, device: torch.device) -> Tensor:
    """`size` different places below n."""
    return torch.from_numpy(rng.generator(key).choice(n, size, replace=False)).to(device)


@torch.no_grad()
def kid(real: Tensor, fake: Tensor, subsets: int, subset_size: int, seed: int) -> MeanStd:
    """Kernel inception distance: unbiased MMD² with kernel (x·y/D + 1)³ (Bińkowski et al. 2018, section 4).

    real (N, D), fake (M, D); the mean over `subsets` keyed draws of `subset_size` from each. May be negative.
    Raises UserError when a set is smaller than subset_size.
    """
    if subsets < 1 or subset_size < 2:
        raise UserError(f"subsets={subsets}, subset_size={subset_size}: expected at least 1 subset of at least 2")
    real, fake = _check(real, fake, subset_size)
    values = []
    for i in range(subsets):
        x = real[_draw(len(real), subset_size, rng.fold(seed, "kid real", i), real.device)]
        y = fake[_draw(len(fake), subset_size, rng.fold(seed, "kid fake", i), fake.device)]
        within = sum(k.sum() - k.diagonal().sum() for k in ((a @ a.T / a.shape[1] + 1) ** 3 for a in (x, y)))
        between = ((x @ y.T / x.shape[1] + 1) ** 3).mean()
        values.append(within / (subset_size * (subset_size - 1)) - 2 * between)
    stacked = torch.stack(values)
    return MeanStd(stacked.mean().item(), stacked.std(correction=0).item())


@torch.no_grad()
def fid(real: Tensor, fake: Tensor) -> Fid:
    """Fréchet distance of two Gaussians fitted to real (N, D) and fake (M, D) (Heusel et al. 2017, equation 6).

    |μ - m|² + tr(S + T - 2(ST)^½). With centred features X and Y, S = XᵀX/(N - 1) and T = YᵀY/(M - 1), the eigenvalues
    of ST are the squared singular values of XYᵀ, scaled; of many images S and T take the place of X and Y by their
    roots. Biased upwards by about 1/n (Chong and Forsyth 2020); below D images little can be read from it.
    """
    real, fake = _check(real, fake, 2)
    centres = [f.mean(0) for f in (real, fake)]
    halves = [_half((f - m) / (len(f) - 1) ** 0.5) for f, m in zip((real, fake), centres, strict=True)]
    cross = torch.linalg.svdvals(halves[0] @ halves[1].T).sum()
    value = (centres[0] - centres[1]).square().sum() + sum(h.square().sum() for h in halves) - 2 * cross
    return Fid(value.item(), len(real), len(fake))


def _half(rows: Tensor) -> Tensor:
    """X (N, D) → (≤ D, D) with the same XᵀX."""
    if len(rows) <= rows.shape[1]:
        return rows
    return torch.linalg.qr(rows, mode="r").R


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(features: Tensor, k: int, block: int) -> Tensor:
    """(N,) distance of each row to its k-th nearest other row."""
    out = []
    for start in range(0, len(features), block):
        distances = _distances(features[start : start + block], features)
        distances.diagonal(start).fill_(torch.inf)  # itself
        out.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(out)


def _reached(points: Tensor, centres: Tensor, radii: Tensor, block: int) -> float:
    """Share of points that lie in at least one ball."""
    inside = [(_distances(part, centres) <= radii).any(1) for part in points.split(block)]
    return torch.cat(inside).double().mean().item()


@torch.no_grad()
def precision_recall(real: Tensor, fake: Tensor, k: int = 3, block: int = 256) -> Coverage:
    """Precision and recall of coverage (Kynkäänniemi et al. 2019, equations 1 and 2; k = 3 is theirs).

    A set covers what is no farther from one of its members than that member's k-th nearest neighbour in the set.
    """
    if k < 1 or block < 1:
        raise UserError(f"k={k}, block={block}: expected at least 1 of each")
    real, fake = _check(real, fake, k + 1)
    precision = _reached(fake, real, _radii(real, k, block), block)
    recall = _reached(real, fake, _radii(fake, k, block), block)
    return Coverage(precision, recall, len(real), len(fake))


def _blur(images: Tensor) -> Tensor:
    """Gaussian window without padding, in both directions; (B, C, H, W) → (B, C, H - 10, W - 10)."""
    offsets = torch.arange(_WINDOW_PX, dtype=images.dtype, device=images.device) - _WINDOW_PX // 2
    window = (-(offsets**2) / (2 * _WINDOW_SIGMA_PX**2)).exp()
    window = (window / window.sum()).expand(images.shape[1], 1, 1, -1)
    rows = F.conv2d(images, window, groups=images.shape[1])
    return F.conv2d(rows, window.transpose(2, 3), groups=images.shape[1])


def ms_ssim_scales(height_px: int, width_px: int) -> int:
    """How many scales (0 to 5) images of this size allow: the window must fit the smallest one."""
    return sum(min(height_px, width_px) >> i >= _WINDOW_PX for i in range(len(MS_SSIM_WEIGHTS)))


@torch.no_grad()
def ms_ssim(a: Tensor, b: Tensor, data_range: float, scales: int = 5) -> Tensor:
    """(B,) float64 multi-scale structural similarity of a and b, each (B, C, H, W) (Wang et al. 2003, equation 7).

    data_range: brightest minus darkest possible value. Five scales need 176 px; with fewer, the weights are scaled to
    add up to 1, which is not in the paper (64 px allow three): say so beside the score. Negative contrast terms count
    as 0; channels are averaged.
    """
    if a.ndim != 4 or a.shape != b.shape or not a.numel():
        raise UserError(f"images have shapes {tuple(a.shape)} and {tuple(b.shape)}: expected (B, C, H, W) twice")
    most = ms_ssim_scales(*a.shape[2:])
    if not (1 <= scales <= most and data_range > 0):
        raise UserError(
            f"scales={scales}, data_range={data_range} on {a.shape[2]}×{a.shape[3]} px: "
            f"expected 1 to {most} scales and a positive range; at least {_WINDOW_PX} px are needed"
        )
    x, y = a.double(), b.double()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    weights = [w / sum(MS_SSIM_WEIGHTS[:scales]) for w in MS_SSIM_WEIGHTS[:scales]]
    score = x.new_ones(x.shape[:2])  # (B, C)
    for i, weight in enumerate(weights):
        if i:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        mean_x, mean_y = _blur(x), _blur(y)
        var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
        term = (2 * (_blur(x * y) - mean_x * mean_y) + c2) / (var_x + var_y + c2)
        if i == scales - 1:  # brightness counts at the coarsest scale alone
            term = term * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        score = score * term.mean((2, 3)).clamp(min=0) ** weight
    return score.mean(1)


@torch.no_grad()
def inception_score(probabilities: Tensor, splits: int = 10) -> MeanStd:
    """exp of the mean KL(p(y|x) ‖ p(y)), over splits in the given order (Salimans et al. 2016, section 4).

    probabilities (N, C) of a classifier, rows adding up to 1; the score goes from 1 to C and grows with N per split.
    """
    if probabilities.ndim != 2 or not 1 <= splits <= len(probabilities):
        raise UserError(f"probabilities {tuple(probabilities.shape)}, splits={splits}: expected (N, C), 1 ≤ splits ≤ N")
    p = probabilities.double()
    if not ((p >= 0).all() and ((p.sum(1) - 1).abs() < 1e-3).all()):
        raise UserError("probabilities: rows must not be negative and must add up to 1; give softmax, not logits")
    scores = []
    for part in p.tensor_split(splits):
        marginal = part.mean(0)
        scores.append((torch.xlogy(part, part) - torch.xlogy(part, marginal)).sum(1).mean().exp())
    stacked = torch.stack(scores)
    return MeanStd(stacked.mean().item(), stacked.std(correction=0).item())


@lru_cache(maxsize=4)
def _random_weights(channels: int, key: int) -> tuple[Tensor, ...]:
    """Filters (out, in, 3, 3) per stage, He-uniform; the same bits on every machine and version."""
    out = []
    for stage, (width_in, width) in enumerate(zip((channels, *_WIDTHS), _WIDTHS, strict=False)):
        keys = torch.tensor([rng.fold(key, "random features", stage)])
        unit = rng.uniform(keys, width * width_in * 9).reshape(width, width_in, 3, 3)
        out.append((2 * unit - 1) * (6 / (width_in * 9)) ** 0.5)
    return tuple(out)


@torch.no_grad()
def random_features(images: Tensor, key: int) -> Tensor:
    """Features (B, 480) of float images (B, C, H, W) from an untrained network of fixed weights: features "random".

    The fallback where no pretrained weights are at hand: four convolutions 3×3 of stride 2 with ReLU, 32 to 256
    filters, the mean of every map. The weights follow from `key` alone, so scores of one key can be compared with each
    other, and with no published ones. At least 16 px a side; real and fake in the same range.
    """
    if images.ndim != 4 or not images.numel() or not images.is_floating_point() or min(images.shape[2:]) < 16:
        raise UserError(f"images {tuple(images.shape)} {images.dtype}: expected float (B, C, H, W) of at least 16 px")
    x, means = images.float(), []
    for weight in _random_weights(images.shape[1], key):
        x = F.relu(F.conv2d(x, weight.to(x.device), stride=2, padding=1))
        means.append(x.mean((2, 3)))
    return torch.cat(means, 1)
