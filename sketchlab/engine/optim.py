"""Optimizers and learning rates: the rate is a function of the epoch, so there is no scheduler to save."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sketchlab.engine.runtime import Runtime

if TYPE_CHECKING:
    from sketchlab.engine.loop import Config

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "linear", "step")


def make(parameters: list[nn.Parameter], loop: Config) -> torch.optim.Optimizer:
    if loop.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=loop.lr, momentum=loop.momentum, weight_decay=loop.weight_decay)
    kind = torch.optim.AdamW if loop.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=loop.lr, betas=(loop.betas[0], loop.betas[1]), weight_decay=loop.weight_decay)


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
) -> Tensor:
    """After backward(): average gradients over ranks, clip, set the rate, step, clear. Returns the gradient norm."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    runtime.mean_grads(parameters)
    if loop.clip_norm > 0:
        norm = nn.utils.clip_grad_norm_(parameters, loop.clip_norm)
    else:
        norm = torch.zeros((), device=runtime.device)
    for group in optimizer.param_groups:
        group["lr"] = rate(loop, epoch, lr)
    with runtime.span("optimizer"):
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return norm
