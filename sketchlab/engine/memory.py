"""When memory is short: activations computed twice instead of kept, and what to do when it ran out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sketchlab.errors import UserError
from sketchlab.stages import flatten


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


def ran_out(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def advice(task: Any, batch: Any, batch_size: int, parts: int, ranks: int, where: str) -> UserError:
    """What to say when a step ran out of memory: halves of the batch are tried until one fits, on this rank alone."""
    size = batch_size
    while ranks == 1 and isinstance(batch, dict) and size >= 2 * parts:
        size //= 2
        try:
            torch.cuda.empty_cache()
            task.train_step({key: value[:size] for key, value in batch.items()}, 0.0)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            continue
        return UserError(
            f"out of memory on {where} with loop.batch_size={batch_size}; {size} fits (tried). Set "
            f"loop.batch_size={size}, or loop.accumulate={parts * math.ceil(batch_size / size)} for the same batch in "
            "parts, or runtime.recompute=true where the network is a chain; the last checkpoint is kept"
        )
    tried = "" if ranks > 1 else f", and with {size} too"
    return UserError(
        f"out of memory on {where} with loop.batch_size={batch_size}{tried}. Make the network or model.input.size_px "
        "smaller, raise loop.accumulate, or set runtime.recompute=true; the last checkpoint is kept"
    )
