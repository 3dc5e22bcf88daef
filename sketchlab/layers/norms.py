"""Batch-norm statistics for an evaluation after few updates.

Running statistics follow the batches slowly (momentum 0.1: 0.9^k of their start is left after k updates) and lag behind
weights that still move fast. After fewer than ENOUGH updates an evaluation, and best.pt, use the mean and variance of
each channel over a fixed keyed subset of training samples instead, without augmentation and dropout: what each layer
receives where those before it normalise by their batch, pooled over all batches exactly (Chan, Golub, LeVeque 1979, in
float64; the variance unbiased, as torch's). They are measured in a copy, so that training keeps its own bits; after
Wu, Johnson 2021, "Rethinking 'Batch' in BatchNorm" (PreciseBN).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.layers.chain import moving_norms

ENOUGH = 100  # optimizer steps from which on running statistics are used: 0.9^100 = 0.00003
MOST = 1024  # training samples that are looked at, at most


class Moments:
    """Count, mean and sum of squared deviations of each channel, of all batches so far: (C,) float64."""

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        """(B, C, …) what a norm layer receives."""
        others = [d for d in range(values.ndim) if d != 1]
        n = values.numel() // values.shape[1]
        variance, mean = torch.var_mean(values.float(), others, correction=0)
        if mean.device.type == "mps":  # has no doubles
            variance, mean = variance.cpu(), mean.cpu()
        variance, mean = variance.double(), mean.double()
        self.mean, self.squares = self.mean.to(mean.device), self.squares.to(mean.device)
        total, delta = self.n + n, mean - self.mean
        self.squares = self.squares + variance * n + delta.square() * (self.n * n / total)
        self.mean, self.n = self.mean + delta * (n / total), total


@contextlib.contextmanager
def measured(task: Any, updates: int, seed: int, autocast: Callable[[], Any]) -> Iterator[None]:
    """Within: the norm layers of a task's networks hold measured statistics, where updates are few; afterwards what
    training left there. In place: compiled networks and recorded steps know these tensors by their addresses.

    A task (engine/task.py) takes part by `norm_inputs` and `norm_batch`. Every rank looks at all samples, so that all
    find the same. autocast: a context for the precision of the forward passes.
    """
    few = updates < ENOUGH and hasattr(task, "norm_inputs") and task.n_train > 1
    if not few or not any(moving_norms(net) for net, _ in task.networks.values()):
        yield
        return
    found = measure(task, seed, autocast)
    kept = [(buffer, buffer.clone()) for norm in found for buffer in _statistics(norm)]
    try:
        for norm, moments in found.items():
            mean, variance = _statistics(norm)
            mean.copy_(moments.mean)
            variance.copy_(moments.squares / max(moments.n - 1, 1))
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)


@torch.no_grad()
def measure(task: Any, seed: int, autocast: Callable[[], Any]) -> dict[nn.Module, Moments]:
    """Each norm layer whose statistics move → the moments of what it receives. The task's networks are left alone."""
    n = min(MOST, task.n_train)
    every = torch.from_numpy(rng.generator(seed, "norms").choice(task.n_train, n, replace=False))
    parts = every.tensor_split(max(1, n // max(2, task.norm_batch // 2)))  # never one sample alone: it has no variance
    twins: dict[nn.Module, nn.Module] = {}
    moments: dict[nn.Module, Moments] = {}
    for places in parts:
        for net, inputs in task.norm_inputs(places, rng.fold_each(rng.fold(seed, "norms"), places)):
            if net not in twins:
                twins[net] = _twin(net, moments)
            with autocast():
                twins[net](inputs)
    return moments


def _twin(net: nn.Module, moments: dict[nn.Module, Moments]) -> nn.Module:
    """A copy for evaluation whose moving norms normalise by their batch and add what they receive to `moments`."""
    twin = copy.deepcopy(net).eval()
    for norm, own in zip(moving_norms(net), moving_norms(twin), strict=True):
        moments[norm] = Moments()
        own.train().register_forward_pre_hook(_adding_to(moments[norm]))
    return twin


def _adding_to(moments: Moments) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda _, inputs: moments.add(inputs[0])


def _statistics(norm: Any) -> tuple[Tensor, Tensor]:
    return norm.running_mean, norm.running_var
