"""The supervised contrastive loss (Khosla et al. 2020, equation 2): all that match are drawn together, in every batch.

For pipeline=retrieve: a batch's sketches and photos are its views. An anchor that nothing in the batch matches has no
term; the paper has two views of everything.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab.errors import UserError


@dataclass(frozen=True)
class Config:
    temperature: float  # cosines are divided by it; the paper's 0.1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"pipeline.loss_options.temperature={self.temperature}: expected above 0")


class SupCon(nn.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(n, D) embeddings of any length, (n,) numbers of which equal ones match → the mean over anchors."""
        z = F.normalize(outputs)
        logits = z @ z.T / self.temperature  # (n, n)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        log_share = logits - logits.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        positive = (labels[:, None] == labels[None]) & ~itself
        n = positive.sum(1)
        each = -(log_share * positive).sum(1) / n.clamp(min=1)
        return each.sum() / (n > 0).sum().clamp(min=1)


def build(config: Config, n_classes: int) -> nn.Module:
    return SupCon(config.temperature)
