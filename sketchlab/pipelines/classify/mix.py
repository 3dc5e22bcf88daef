"""mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): training samples are mixed with others, and so are labels.

As torchvision's MixUp and CutMix, but for this: the other sample is any training sample, and each sample has a share of
its own; there it is the batch in another order, and one share. So what a sample becomes follows from its key alone:
the same after a resumption, on several ranks, and in parts of a batch.
"""

from __future__ import annotations

import torch
from scipy.special import betaincinv
from torch import Tensor

from sketchlab import rng


def partners(keys: Tensor, n: int) -> Tensor:
    """(B,) int64 keys → (B,) places of 0 to n − 1: which of n training samples each is mixed with."""
    return (rng.fold_each(rng.fold("partner"), keys) & (2**63 - 1)) % n


def drawn(keys: Tensor, mixup: float, cutmix: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(B,) keys → shares (B,) float32 of the sample itself in its label, and boxes (B, 4) int64 of x1, y1, x2, y2.

    mixup, cutmix: α of the Beta(α, α) of the shares; 0 = not done; with both, each is done with half of the samples. A
    box is what CutMix takes from the other sample; it is empty for mixup. CutMix's share is what its box leaves.
    """
    which, share, x, y = rng.uniform(rng.fold_each(rng.fold("mix"), keys), 4).double().unbind(1)
    cut = which < (0.5 if mixup and cutmix else float(cutmix > 0))
    alpha = torch.where(cut, cutmix, mixup).numpy()
    own = torch.from_numpy(betaincinv(alpha, alpha, share.numpy()))  # the quantile function
    half = 0.5 * (1 - own).sqrt()
    sides = []
    for at, side in ((x, width), (y, height)):
        centre, reach = (at * side).long(), (half * side).long()
        sides.append(((centre - reach).clamp(min=0), (centre + reach).clamp(max=side)))
    (x1, x2), (y1, y2) = sides
    boxes = torch.stack([x1, y1, x2, y2], dim=1) * cut[:, None]
    left = 1 - (x2 - x1) * (y2 - y1) / (width * height)
    return torch.where(cut, left, own).float(), boxes


def mixed(images: Tensor, others: Tensor, shares: Tensor, boxes: Tensor) -> Tensor:
    """(B, C, H, W) both, shares (B,) and boxes (B, 4) on their device → (B, C, H, W)."""
    x1, y1, x2, y2 = (side[:, None] for side in boxes.unbind(1))
    across, along = (torch.arange(images.shape[axis], device=images.device)[None] for axis in (-1, -2))
    inside = ((along >= y1) & (along < y2))[:, None, :, None] & ((across >= x1) & (across < x2))[:, None, None, :]
    cut = (x2 > x1)[:, :, None, None]
    own = torch.where(cut, 1.0, shares.to(images.dtype)[:, None, None, None])
    blend = torch.where(cut, images, images * own + others * (1 - own))
    return torch.where(inside, others, blend)


def targets(labels: Tensor, others: Tensor, shares: Tensor, n_classes: int) -> Tensor:
    """(B,) int64 both, (B,) shares → (B, n_classes) float32, probabilities."""
    one_hot = torch.eye(n_classes, device=labels.device)
    share = shares[:, None]
    return share * one_hot[labels] + (1 - share) * one_hot[others]
