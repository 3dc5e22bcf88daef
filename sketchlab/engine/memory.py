"""What to do when memory ran out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import Config
from sketchlab.engine.task import Task
from sketchlab.errors import UserError


def ran_out(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def guarded(task: Task, batch: dict[str, Tensor], loop: Config, runtime: Runtime) -> dict[str, Tensor]:
    """task.train_step. Raises UserError when memory ran out, saying what fits: halves of the batch are tried, on one
    rank alone (several would wait for each other), and nothing that they changed is kept."""
    values = attempt(task, batch)
    if values is not None:
        return values
    size = loop.batch_size
    while runtime.ranks == 1 and size >= 2 * loop.accumulate:
        size //= 2
        torch.cuda.empty_cache()
        if attempt(task, {key: value[:size] for key, value in batch.items()}) is not None:
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


def attempt(task: Task, batch: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """A step, None when memory ran out: the error is dropped here, as its traceback holds what filled the memory."""
    try:
        return task.train_step(batch)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        return None
