"""The focal loss (Lin et al. 2017, equation 4): samples that are classified well already count less."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    gamma: float  # 0 = cross-entropy


class Focal(nn.Module):
    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma  # parameters and buffers would be trained and kept in checkpoints

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(B, n_classes) logits, (B,) int64 → a number. With pipeline=retrieve: (n, D) embeddings and (n,) numbers,
        equal ones match."""
        right = F.log_softmax(outputs, 1).gather(1, labels[:, None])[:, 0]  # (B,) log-probability of the label
        return -((1 - right.exp()) ** self.gamma * right).mean()


def build(config: Config, n_classes: int) -> nn.Module:
    return Focal(config.gamma)
