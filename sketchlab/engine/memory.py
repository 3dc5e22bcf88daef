"""When memory is short: activations computed twice instead of kept, and what to do when it ran out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sketchlab.errors import UserError
from sketchlab.layers.chain import flatten

if TYPE_CHECKING:
    from sketchlab.engine.loop import Config
    from sketchlab.engine.runtime import Runtime
    from sketchlab.engine.task import Task


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


def guarded(task: Task, batch: Any, epoch: float, loop: Config, runtime: Runtime) -> dict[str, Tensor]:
    """task.train_step. Raises UserError when memory ran out, saying what fits: halves of the batch are tried, on one
    rank alone (several would wait for each other), and nothing that they changed is kept."""
    values = attempt(task, batch, epoch)
    if values is not None:
        return values
    size = loop.batch_size
    while runtime.ranks == 1 and size >= 2 * loop.accumulate:
        size //= 2
        torch.cuda.empty_cache()
        if attempt(task, {key: value[:size] for key, value in batch.items()}, epoch) is not None:
            raise UserError(
                f"out of memory on {runtime.device.type} with loop.batch_size={loop.batch_size}; {size} fits (tried). "
                f"Set loop.batch_size={size}, or loop.accumulate={loop.accumulate * math.ceil(loop.batch_size / size)} "
                "for the same batch in parts, or runtime.recompute=true where the network is a chain; the last "
                "checkpoint is kept"
            )
    tried = "" if runtime.ranks > 1 else f", and with {size} too"
    raise UserError(
        f"out of memory on {runtime.device.type} with loop.batch_size={loop.batch_size}{tried}. Make the network or "
        "model.input.size_px smaller, raise loop.accumulate, or set runtime.recompute=true; the last checkpoint is kept"
    )


def attempt(task: Task, batch: Any, epoch: float) -> dict[str, Tensor] | None:
    """A step, None when memory ran out: the error is dropped here, as its traceback holds what filled the memory."""
    try:
        return task.train_step(batch, epoch)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        return None
