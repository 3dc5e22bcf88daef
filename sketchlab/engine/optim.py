"""Optimizers and learning rates: the rate is a function of the epoch, so there is no scheduler to save."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config


def make(parameters: list[nn.Parameter], loop: Config) -> torch.optim.Optimizer:
    # on a GPU one kernel for all parameters; elsewhere torch's default
    common: dict[str, Any] = {"lr": loop.lr, "weight_decay": loop.weight_decay}
    common |= {"fused": True} if parameters and all(p.is_cuda for p in parameters) else {}
    if loop.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=loop.momentum, **common)
    kind = torch.optim.AdamW if loop.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, betas=(loop.betas[0], loop.betas[1]), **common)


def rate(loop: Config, epoch: float, lr: float | None = None) -> float:
    """Learning rate after `epoch` epochs (with fraction); `lr` replaces loop.lr as the peak.

    constant; cosine to 0 (Loshchilov, Hutter 2017, no restarts); linear: constant until decay_from_epoch, then straight
    to 0 (CycleGAN); step: times step_gamma every step_epochs. All after a linear warm-up of warmup_epochs.
    """
    peak = loop.lr if lr is None else lr
    if epoch < loop.warmup_epochs:
        return peak * max(epoch, 0.05 * loop.warmup_epochs) / loop.warmup_epochs
    if loop.schedule == "constant":
        return peak
    if loop.schedule == "step":
        return peak * loop.step_gamma ** math.floor(epoch / loop.step_epochs)
    start = loop.warmup_epochs if loop.schedule == "cosine" else loop.decay_from_epoch
    done = min(max(0.0, (epoch - start) / max(loop.epochs - start, 1e-9)), 1.0)
    return peak * (0.5 * (1 + math.cos(math.pi * done)) if loop.schedule == "cosine" else 1 - done)


def depends_on_total(loop: Config) -> bool:
    """Whether adding epochs would have changed the epochs already trained."""
    return loop.schedule in ("cosine", "linear")


def update(
    optimizer: torch.optim.Optimizer, runtime: Runtime, loop: Config, epoch: float, lr: float | None = None
) -> Tensor | None:
    """After backward(): average gradients over ranks, clip, set the rate, step, clear.

    Returns the norm of the gradient when it is clipped (loop.clip_norm=inf measures and clips nothing).
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    runtime.mean_grads(parameters)
    if math.isinf(loop.clip_norm):
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    else:
        norm = nn.utils.clip_grad_norm_(parameters, loop.clip_norm) if loop.clip_norm > 0 else None
    for group in optimizer.param_groups:
        group["lr"] = rate(loop, epoch, lr)
    with runtime.span("optimizer"):
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm
