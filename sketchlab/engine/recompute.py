"""Activations computed twice instead of kept (runtime.recompute): less memory, more time, the same bits."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sketchlab.errors import UserError
from sketchlab.layers.chain import flatten


def recomputed(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The forward pass of a chain of n stages that keeps some √n activations and computes the others again in the
    backward pass (Chen et al. 2016, arXiv:1604.06174): the same bits, about a third more time.

    Raises UserError for a network that is not a chain.
    """
    stages = flatten(net)
    starts = [i for i, stage in enumerate(stages) if not getattr(stage, "inplace", False)]  # none writes into its input
    every = max(1, round(math.sqrt(len(starts))))
    cuts = [*starts[::every], len(stages)]
    segments = [nn.Sequential(*stages[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
    if len(segments) < 2:
        raise UserError(
            f"runtime.recompute=true: {type(net).__name__} is not a chain of stages, so there is nothing to leave out; "
            "use loop.accumulate to run a batch in parts"
        )

    def forward(x: Tensor) -> Tensor:
        for segment in segments:
            if not torch.is_grad_enabled():
                x = segment(x)
                continue
            kept = checkpoint(
                segment, x, use_reentrant=False, context_fn=lambda s=segment: (contextlib.nullcontext(), unmoved(s))
            )
            assert isinstance(kept, Tensor)
            x = kept
        return x

    return forward


@contextlib.contextmanager
def unmoved(net: nn.Module) -> Iterator[None]:
    """Batch norms see a batch once, however often it is computed."""
    buffers = [b for module in net.modules() if isinstance(module, _BatchNorm) for b in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
