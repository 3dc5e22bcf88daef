"""A training step as one launch: on a CUDA GPU the kernels of a step are recorded once and replayed (CUDA graphs).

A step has three parts. `begin_step` is the host's: whose turn it is, the rates, random choices. `train_step` is the
device's alone, from the batch to the optimizer's step and the sums of its values; it is what a graph holds. `end_step`
counts. Inputs are copied into tensors that stay in place, as do parameters, optimizer state, sums and rates. A graph is
recorded for each value of `begin_step` (a GAN has one for each set of networks that learn), after three real
steps that make what exists only from the first step on (momentum, workspaces, compiled kernels). Recording computes
nothing: the step that is recorded is then replayed, so that nothing has to be restored. Draws (dropout, noise) follow
the seed that is set before every step, as without a graph.

After LeanRL's and torchtitan's whole-step graphs; "CUDA semantics: CUDA graphs" in PyTorch's documentation.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from sketchlab.engine.rundir import RunDir
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import OPTIMIZERS, Config
from sketchlab.engine.task import Task
from sketchlab.errors import UserError

WARM_UP = 3  # real steps before a step is recorded: the first ones allocate


class Averages:
    """Running means of what train_step returns, and the first step whose values were not finite: on the device, so that
    no step waits. The sums are part of every checkpoint: a resumed epoch averages the same."""

    def __init__(self, state: dict[str, Any] | None, step: int, runtime: Runtime) -> None:
        sums = state["sums"][runtime.rank] if state else {}
        self.count = state["count"] if state else 0
        self.keys = list(sums)
        self.sums = torch.zeros(len(sums), dtype=runtime.widest, device=runtime.device)
        if sums:
            self.sums += torch.stack([*sums.values()]).to(runtime.device, runtime.widest)
        self.step = torch.tensor(step, device=runtime.device)  # steps added so far, counted on the device
        self.bad = torch.tensor(-1, device=runtime.device)  # the first step with a value that is not finite, or −1

    def add(self, values: dict[str, Tensor]) -> None:
        """All values as one vector: on a GPU what is launched takes the time, not what is computed. In place, so that a
        captured step finds its sums again; `count` is the caller's to raise."""
        latest = torch.stack([value.detach() for value in values.values()]).to(self.sums.dtype)  # (K,)
        if list(values) != self.keys:
            latest = self._aligned(list(values), latest)
        self.sums += latest
        self.step += 1
        self.bad.copy_(torch.where((self.bad < 0) & ~latest.sum().isfinite(), self.step, self.bad))

    def _aligned(self, keys: list[str], latest: Tensor) -> Tensor:
        """latest in the order of the sums, where one that joins starts at 0 and one that is missing adds 0."""
        new = [key for key in keys if key not in self.keys]
        self.keys = [*self.keys, *new]
        if new:
            self.sums = torch.cat([self.sums, latest.new_zeros(len(new))])
        nothing = latest.new_zeros(())
        return torch.stack([latest[keys.index(key)] if key in keys else nothing for key in self.keys])

    def take(self, runtime: Runtime) -> dict[str, float]:
        means = dict(zip((f"train/{key}" for key in self.keys), (self.sums / self.count).tolist(), strict=True))
        self.count = 0
        self.sums.zero_()
        return runtime.mean(means)

    def state(self, runtime: Runtime) -> dict[str, Any]:
        """Every rank's own sums: their mean would not restore to the same bits."""
        return {"count": self.count, "sums": runtime.each(dict(zip(self.keys, self.sums.cpu().unbind(), strict=True)))}


class Steps:
    """Takes a task's training steps, as graphs where that can be."""

    def __init__(self, task: Task, averages: Averages, loop: Config, runtime: Runtime, folder: RunDir) -> None:
        self.task, self.averages, self.loop, self.runtime, self.folder = task, averages, loop, runtime, folder
        self.graphs: dict[Hashable, Graph] = {}
        self.seen: dict[Hashable, int] = {}  # real steps of each kind so far
        self.pool: Any = None
        self.bad: tuple[Tensor, Any] | None = None  # `averages.bad` on its way to the host
        self.why_not = obstacle(task, runtime, loop)
        if self.why_not and runtime.device.type == "cuda":
            folder.say(f"steps run without a CUDA graph: {self.why_not}")

    def __call__(self, batch: dict[str, Tensor], epoch: float) -> None:
        """One step; the sums of `averages` and their count are one step further."""
        kind = self.task.begin_step(epoch)
        if self.why_not:
            self._really(batch)
        else:
            self._captured(batch, (kind, *((name, value.shape) for name, value in batch.items())))
        self.averages.count += 1
        self.task.end_step()

    def bad_before(self) -> Tensor | None:
        """`averages.bad` as it was when this was called last, on the host: what was asked for then is there by now."""
        before, self.bad = self.bad, None
        if self.runtime.device.type != "cuda":
            return self.averages.bad
        host = torch.empty((), dtype=torch.int64, pin_memory=True)
        host.copy_(self.averages.bad, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self.bad = host, arrived
        if before is None:
            return None
        before[1].synchronize()
        return before[0]

    def _really(self, batch: dict[str, Tensor]) -> None:
        sums = self.averages.sums
        self.averages.add(guarded(self.task, batch, self.loop, self.runtime))
        if self.averages.sums is not sums:  # a value that joined moved them: recorded steps would add to the old ones
            self.graphs.clear()

    def _captured(self, batch: dict[str, Tensor], kind: Hashable) -> None:
        graph, seen = self.graphs.get(kind), self.seen.get(kind, 0)
        if graph is None and seen < WARM_UP:
            self.seen[kind] = seen + 1
            return self._really(batch)
        if graph is None:
            graph = self._record(batch, kind)
        if graph is None:
            return self._really(batch)
        graph.replay(batch)

    def _record(self, batch: dict[str, Tensor], kind: Hashable) -> Graph | None:
        """None where the step cannot be recorded: why is said once, and all steps run without graphs from then on."""
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        keys, draws = list(self.averages.keys), (torch.get_rng_state(), torch.cuda.get_rng_state())
        fresh = torch.Generator(self.runtime.device)
        try:
            self.graphs[kind] = Graph(self.task, batch, self.averages, self.pool)
            if self.averages.keys == keys:
                return self.graphs[kind]
            reason = "its values differ from step to step"
        except RuntimeError as error:
            first: BaseException = error
            while first.__context__:  # ending the recording fails, too, for no reason of its own
                first = first.__context__
            reason = "memory does not hold it" if ran_out(error) else str(first).strip().splitlines()[0][:200]
        self.why_not, self.pool = reason, None
        # a recording that failed leaves torch's generator as if it still went on
        torch.cuda.default_generators[torch.cuda.current_device()].graphsafe_set_state(fresh.graphsafe_get_state())
        torch.set_rng_state(draws[0])
        torch.cuda.set_rng_state(draws[1])
        self.graphs.clear()
        for parameter in self.task.learning():
            parameter.grad = None  # of a step that was never computed
        torch.cuda.empty_cache()
        self.folder.say(f"steps run without a CUDA graph: {reason}")
        return None


class Graph:
    """One recorded step, and the tensors it reads its batch from."""

    def __init__(self, task: Task, batch: dict[str, Tensor], averages: Averages, pool: Any) -> None:
        self.inputs = {name: torch.empty_like(value) for name, value in batch.items()}
        self._fill(batch)
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()  # the runtime's own; loader threads work beside it
        with torch.cuda.graph(self.graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            averages.add(task.train_step(self.inputs))

    def replay(self, batch: dict[str, Tensor]) -> None:
        self._fill(batch)
        self.graph.replay()

    def _fill(self, batch: dict[str, Tensor]) -> None:
        torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
            list(self.inputs.values()), [batch[name] for name in self.inputs]
        )


def obstacle(task: Task, runtime: Runtime, loop: Config) -> str:
    """Why steps are not recorded, "" where they can be."""
    if runtime.device.type != "cuda":
        return "no CUDA device"
    if runtime.config.graph == "false":
        return "runtime.graph=false"
    if runtime.ranks > 1:
        return "several ranks wait for each other in every step"
    if runtime.config.profile:
        return "runtime.profile=true looks into each step"
    if runtime.config.recompute:
        return "runtime.recompute=true looks at the state of the draws in each step"
    if loop.optimizer not in OPTIMIZERS:
        return f"optimizer={loop.optimizer} is of your own, with a rate that is a number"
    if not task.fixed_shapes:
        return "the shapes of batches differ"
    return ""


# --- when memory ran out


def ran_out(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def guarded(task: Task, batch: dict[str, Tensor], loop: Config, runtime: Runtime) -> dict[str, Tensor]:
    """task.train_step. Raises UserError when memory ran out, saying what fits: halves of the batch are tried, on one
    rank alone (several would wait for each other), and nothing that they changed is kept."""
    values = attempt(task, batch, loop.batch_size)
    if values is not None:
        return values
    size = loop.batch_size
    while runtime.ranks == 1 and size >= 2 * loop.accumulate:
        size //= 2
        torch.cuda.empty_cache()
        if attempt(task, {key: value[:size] for key, value in batch.items()}, size) is not None:
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


def attempt(task: Task, batch: dict[str, Tensor], batch_size: int) -> dict[str, Tensor] | None:
    """A step, None when memory ran out: the error is dropped here, as its traceback holds what filled the memory."""
    try:
        return task.train_step(batch)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # torch's batch norm
            raise
        size = str(error).partition("input size ")[2] or "one value a channel"
        raise UserError(
            f"loop.batch_size={batch_size}: a batch norm gets one value a channel ({size}), which has no variance; "
            "expected 2 or more samples a step and rank, or a larger model.input.size_px"
        ) from None
    except RuntimeError as error:
        if not ran_out(error):
            raise
        return None
