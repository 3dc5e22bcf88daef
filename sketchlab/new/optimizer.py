"""Lion (Chen et al. 2023, algorithm 2): steps by the sign of a momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Config:
    beta1: float  # share of the momentum in the step's sign
    beta2: float  # share of the momentum that stays


class Lion(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                direction = momentum.lerp(p.grad, 1 - group["beta1"]).sign_()
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                momentum.lerp_(p.grad, 1 - group["beta2"])


def build(config: Config, groups: list[dict[str, Any]], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """groups: as torch.optim takes them; some may have an lr of their own. The loop sets each group's lr every step."""
    defaults = {"lr": lr, "weight_decay": weight_decay, "beta1": config.beta1, "beta2": config.beta2}
    return Lion(groups, defaults)
