"""A network as a chain of stages: where its frozen, deterministic beginning ends, and what stays still in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torchvision.ops import StochasticDepth


class AdaptiveMean(nn.Module):
    """Average pooling to a fixed map: (B, C, H, W) → (B, C, size, size), the bins of torch's AdaptiveAvgPool2d.

    A map that has the size already passes as it is. Others are averaged by two small matrix products, because the
    backward pass of adaptive pooling has no deterministic CUDA kernel.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if (height, width) == (self.size, self.size):
            return x
        return _bins(height, self.size, x) @ x @ _bins(width, self.size, x).T

    def extra_repr(self) -> str:
        return f"size={self.size}"


def _bins(n: int, size: int, like: Tensor) -> Tensor:
    """(size, n): row i averages the cells from ⌊i·n/size⌋ to ⌈(i+1)·n/size⌉."""
    place, cell = torch.arange(size, device=like.device)[:, None], torch.arange(n, device=like.device)
    inside = (cell >= place * n // size) & (cell < -(-(place + 1) * n // size))
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)


class GlobalMean(nn.Module):
    """(B, C, H, W) → (B, C), the mean of each map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def flatten(net: nn.Module) -> list[nn.Module]:
    """The stages of a network in order: nested Sequentials are opened, everything else is one stage."""
    if isinstance(net, nn.Sequential) and type(net).forward is nn.Sequential.forward:
        return [stage for child in net for stage in flatten(child)]
    return [net]


def frozen_prefix(net: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a network, after its parameters were frozen, into (prefix, rest) that share its modules.

    The prefix is the longest run of leading stages that give the same output for the same image throughout training:
    no trainable parameter, no dropout, no batch norm that moves or looks at its neighbours. It may be empty. Its
    output need be computed only once per image; `rest(prefix(x))` is `net(x)` to the bit.
    """
    stages = flatten(net)
    end = next((i for i, stage in enumerate(stages) if not _is_constant(stage)), len(stages))
    return nn.Sequential(*stages[:end]), nn.Sequential(*stages[end:])


def set_train(net: nn.Module) -> None:
    """Put a network in train mode, except batch norms whose parameters are all frozen: their statistics stay too."""
    net.train()
    for module in net.modules():
        if isinstance(module, _BatchNorm) and _is_frozen_norm(module):
            module.eval()


def penultimate(net: nn.Module) -> nn.Sequential:
    """The network without its last layer: what stands before the last stage that has parameters."""
    stages = flatten(net)
    last = max(i for i, stage in enumerate(stages) if any(True for _ in stage.parameters()))
    return nn.Sequential(*stages[:last])


def _is_constant(stage: nn.Module) -> bool:
    if any(p.requires_grad for p in stage.parameters()):
        return False
    for module in stage.modules():
        if isinstance(module, (_DropoutNd, StochasticDepth)) and module.p > 0:
            return False
        if isinstance(module, nn.RReLU):
            return False
        if isinstance(module, _BatchNorm) and not _is_frozen_norm(module):
            return False
    return True


def _is_frozen_norm(norm: _BatchNorm) -> bool:
    parameters = list(norm.parameters())
    return norm.running_mean is not None and bool(parameters) and not any(p.requires_grad for p in parameters)
