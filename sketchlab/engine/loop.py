"""When things happen: the loop, from the first step to the final scores."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sketchlab import rng
from sketchlab.engine import checkpoint, explain, memory, profile
from sketchlab.engine.loader import Order, batches
from sketchlab.engine.optim import OPTIMIZERS, SCHEDULES
from sketchlab.engine.rundir import RunDir
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.task import FitOnce, Task
from sketchlab.errors import UserError


@dataclass(frozen=True)
class Config:
    epochs: int  # times every training sample is seen
    batch_size: int  # samples a step, over all ranks together
    lr: float  # peak learning rate
    optimizer: str  # sgd, adam, adamw
    momentum: float  # sgd only
    betas: list[float]  # adam and adamw only
    weight_decay: float
    schedule: str  # constant, cosine, linear, step (engine/optim.py)
    warmup_epochs: float  # linear rise from 0 to lr
    step_epochs: int  # step: epochs between decays
    step_gamma: float  # step: factor of each decay
    decay_from_epoch: float  # linear: constant until here
    clip_norm: float  # largest gradient norm; 0 = no clipping
    accumulate: int  # parts a batch is run in, for memory
    eval_every: int  # epochs between evaluations
    patience: int  # evaluations without a better monitored score before stopping early; 0 = never
    save_every_s: float  # seconds between checkpoints; 0 = after every step

    def __post_init__(self) -> None:
        for key, allowed in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, key) not in allowed:
                raise UserError(f"loop.{key}={getattr(self, key)}: expected one of {', '.join(allowed)}")
        for key in ("epochs", "batch_size", "accumulate", "eval_every", "step_epochs"):
            if getattr(self, key) < 1:
                raise UserError(f"loop.{key}={getattr(self, key)}: expected at least 1")
        if not self.lr > 0 or len(self.betas) != 2:
            raise UserError(f"loop.lr={self.lr}, loop.betas={self.betas}: expected lr > 0 and two betas")


class Interrupted(KeyboardInterrupt):
    """Ended after a step, with everything saved. args: the signal's number, or why a search gave the run up."""


class Averages:
    """Running means of what train_step returns; part of every checkpoint, so a resumed epoch averages the same."""

    def __init__(self, state: dict[str, Any] | None, runtime: Runtime) -> None:
        sums = state["sums"][runtime.rank] if state else {}
        self.count = state["count"] if state else 0
        self.keys = list(sums)
        self.sums = torch.zeros(len(sums), dtype=torch.float64, device=runtime.device)
        if sums:
            self.sums += torch.stack([*sums.values()]).to(runtime.device)
        self.latest: Tensor | None = None  # sum of the last step's values: not finite when one of them is not

    def add(self, values: dict[str, Tensor]) -> None:
        """All values as one vector: on a GPU what is launched takes the time, not what is computed."""
        self.count += 1
        latest = torch.stack([value.detach() for value in values.values()]).double()  # (K,)
        if list(values) != self.keys:
            latest = self._aligned(list(values), latest)
        self.sums = self.sums + latest
        self.latest = latest.sum()

    def _aligned(self, keys: list[str], latest: Tensor) -> Tensor:
        """latest in the order of the sums, where one that joins starts at 0 and one that is missing adds 0."""
        new = [key for key in keys if key not in self.keys]
        self.keys = [*self.keys, *new]
        self.sums = torch.cat([self.sums, latest.new_zeros(len(new))])
        nothing = latest.new_zeros(())
        return torch.stack([latest[keys.index(key)] if key in keys else nothing for key in self.keys])

    def take(self, runtime: Runtime) -> dict[str, float]:
        means = dict(zip((f"train/{key}" for key in self.keys), (self.sums / self.count).tolist(), strict=True))
        self.count, self.keys, self.sums = 0, [], self.sums.new_zeros(0)
        return runtime.mean(means)

    def state(self, runtime: Runtime) -> dict[str, Any]:
        """Every rank's own sums: their mean would not restore to the same bits."""
        return {"count": self.count, "sums": runtime.each(dict(zip(self.keys, self.sums.cpu().unbind(), strict=True)))}


class Clock:
    """Where an epoch's seconds went; timing.jsonl's row."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.spent = {"wait_s": 0.0, "eval_s": 0.0, "save_s": 0.0}
        self.start = time.perf_counter()
        self.samples = 0

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent[what] += time.perf_counter() - start

    def row(self, runtime: Runtime) -> dict[str, float]:
        train_s = time.perf_counter() - self.start - self.spent["eval_s"] - self.spent["save_s"]
        row = {
            "train_s": train_s,
            **self.spent,
            "samples_per_s": self.samples / max(train_s, 1e-9),
            "memory_mb": runtime.memory_mb(),
        }
        self.reset()
        return {key: round(value, 4) for key, value in row.items()}


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """SIGTERM and Ctrl-C are noted, not obeyed at once: the loop ends its step and saves. A second one is obeyed.

    So are SIGUSR1 and SIGUSR2 where someone handles them: a cluster's warning that the job is to be queued again.
    """
    caught: list[int] = []

    def note(signum: int, _: Any) -> None:
        caught.append(signum)
        for s, handler in old.items():
            signal.signal(s, handler)

    handled = [s for s in (signal.SIGUSR1, signal.SIGUSR2) if callable(signal.getsignal(s))]
    old = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, *handled)}
    for s in old:
        signal.signal(s, note)
    try:
        yield caught
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)


def fit(
    task: Task, loop: Config, seed: int, runtime: Runtime, folder: RunDir, yardstick: dict[str, Any] | None = None
) -> None:
    """Train `task` to its last epoch, from wherever the folder says it is, and write its scores.

    Raises Interrupted after a signal, or where a search's yardstick (search.py) says that the run is hopeless;
    UserError on a loss that is not finite or a checkpoint that does not fit.
    """
    if loop.batch_size % (runtime.ranks * loop.accumulate):
        raise UserError(
            f"loop.batch_size={loop.batch_size} cannot be shared by runtime.ranks={runtime.ranks} × "
            f"loop.accumulate={loop.accumulate}: choose a multiple of {runtime.ranks * loop.accumulate}"
        )
    order = Order(task.n_train, loop.batch_size, seed, task.views)
    total = order.steps(loop.epochs)
    last = folder.load("last")
    if last:
        checkpoint.restore(task.parts, last["parts"], folder.path / "checkpoints" / "last.pt")
        folder.say(f"resumed at step {last['step']} of {total} (epoch {order.epochs_done(last['step'])})")
    step, rows = (last["step"], folder.rows()[: last["rows"]]) if last else (0, [])
    folder.cut_rows(len(rows))
    averages, clock = Averages(last["averages"] if last else None, runtime), Clock()
    saved_at, saved_step = time.perf_counter(), step

    def save() -> None:
        nonlocal saved_at, saved_step
        check_finite(averages.latest, step, saved_step, task)
        with clock("save_s"), runtime.span("saving"):
            parts = {name: part.state_dict() for name, part in task.parts.items()}
            folder.save("last", {"step": step, "rows": len(rows), "averages": averages.state(runtime), "parts": parts})
        saved_at, saved_step = time.perf_counter(), step

    stream = batches(order, task.draw, step, total, runtime.rank, runtime.ranks, runtime.config.workers)
    hidden: dict[str, Any] = {} if folder.writes else {"disable": True}  # {}: TQDM_DISABLE decides
    bar = tqdm(
        total=total,
        initial=step,
        unit="step",
        leave=False,
        dynamic_ncols=True,
        mininterval=0.5,
        **hidden,
    )
    with signals() as caught, contextlib.closing(stream), bar, profile.traced(runtime.profile, folder):
        while step < total and not exhausted(rows, task.monitor, loop.patience):
            if yardstick and (why := hopeless(rows, task.monitor, yardstick)):
                if saved_step != step:
                    save()
                raise Interrupted(why)
            with clock("wait_s"), runtime.span("loading"):
                batch = next(stream)
            runtime.seed(rng.fold(seed, "step", step, runtime.rank))
            before = averages.latest
            averages.add(memory.guarded(task, batch, step * loop.batch_size / task.n_train, loop, runtime))
            # on a GPU the step before is looked at, so that the queue never runs dry
            suspect = averages.latest if runtime.device.type == "cpu" else before
            check_finite(suspect, step + (suspect is averages.latest), saved_step)
            step += 1
            if runtime.profile:
                runtime.profile.step()
            clock.samples += loop.batch_size
            bar.update()

            epoch = order.epochs_done(step)
            if epoch > order.epochs_done(step - 1) and (epoch % loop.eval_every == 0 or step == total):
                scores = averages.take(runtime)
                with clock("eval_s"), runtime.span("evaluation"):
                    if "val" in task.splits:
                        scores |= folder.keep("val", task.evaluate("val"))
                rows.append({"step": step, "epoch": epoch, **scores})
                folder.add("metrics.jsonl", rows[-1])
                if task.monitor and best(rows, task.monitor) is rows[-1]:
                    save_best(task, folder, rows[-1])
                if step == total or exhausted(rows, task.monitor, loop.patience):
                    save()
                seconds = clock.row(runtime)
                folder.add("timing.jsonl", {"step": step, "epoch": epoch, **seconds})
                folder.say(line(rows[-1], loop.epochs, seconds))
                folder.status()
            due = time.perf_counter() - saved_at >= loop.save_every_s
            if runtime.device.type == "cpu" or step % 16 == 0:  # ranks on GPUs would wait for each other here
                stop, due = runtime.agree(bool(caught), due)
                if (stop or due) and saved_step != step:
                    save()
                if stop:
                    raise Interrupted(caught[0] if caught else signal.SIGTERM)
    with runtime.span("evaluation"):
        finish(task, rows, step, runtime, folder)
    profile.write(runtime.profile, folder)


def check_finite(values: Tensor | None, step: int, saved_step: int, task: Task | None = None) -> None:
    """Raise when a loss is not finite, or (when a checkpoint is about to be written) a weight is not."""
    what = "the loss"
    fine = values is None or math.isfinite(values.item())
    if fine and task is not None:
        what = "a weight"
        weights = (t for name in task.weights for t in task.parts[name].state_dict().values())
        fine = all(bool(torch.isfinite(t).all()) for t in weights if t.is_floating_point())
    if not fine:
        kept = f"the checkpoint of step {saved_step} is kept" if saved_step else "nothing was saved before it"
        raise UserError(
            f"step {step}: {what} is not finite; {kept}. Try a smaller loop.lr, loop.clip_norm=1 or more warm-up"
        )


def best(rows: list[dict[str, Any]], monitor: str) -> dict[str, Any] | None:
    """The first row with the best monitored score ("+name" is better when larger, "-name" when smaller)."""
    scored = [row for row in rows if monitor[1:] in row]
    if not scored:
        return None
    return (max if monitor[0] == "+" else min)(scored, key=lambda row: row[monitor[1:]])


def exhausted(rows: list[dict[str, Any]], monitor: str, patience: int) -> bool:
    """Whether the last `patience` evaluations brought no better score."""
    top = best(rows, monitor) if patience and monitor else None
    return top is not None and len(rows) - 1 - rows.index(top) >= patience


def hopeless(rows: list[dict[str, Any]], monitor: str, yardstick: dict[str, Any]) -> str:
    """Why the run is given up: its best score is behind what others had at this epoch. "" while it is not."""
    key = yardstick.get("metric") or monitor[1:]
    scores = [row[key] for row in rows if key in row]
    behind = yardstick.get("median", {}).get(str(rows[-1]["epoch"])) if scores else None
    if behind is None:
        return ""
    larger = yardstick["better"] == "larger"
    top = max(scores) if larger else min(scores)
    if top >= behind if larger else top <= behind:
        return ""
    return (
        f"given up after epoch {rows[-1]['epoch']}: {key} {top:.4g} at best, where the median of {yardstick['runs']} "
        f"finished runs of this search had {behind:.4g}"
    )


def save_best(task: Task, folder: RunDir, row: dict[str, Any]) -> None:
    folder.save("best", {"parts": {n: task.parts[n].state_dict() for n in task.weights}, "epoch": row["epoch"]})


def finish(task: Task, rows: list[dict[str, Any]], step: int, runtime: Runtime, folder: RunDir) -> None:
    """The final scores: val by the last weights, then test by the best ones (the last where nothing is monitored)."""
    if "val" in task.splits:
        keep_last(task, "val", folder)
    top = best(rows, task.monitor) if task.monitor else None
    if top is None:
        save_best(task, folder, {"epoch": rows[-1]["epoch"]})
    runtime.agree(False)  # every rank waits until best.pt is whole
    state = folder.load("best")
    assert state is not None
    checkpoint.restore(
        {n: task.parts[n] for n in task.weights}, state["parts"], folder.path / "checkpoints" / "best.pt"
    )
    scores = keep_last(task, "test", folder) if "test" in task.splits else {}
    if scores:
        rows.append({"step": step, "epoch": rows[-1]["epoch"], **scores})
        folder.add("metrics.jsonl", rows[-1])
    final = {k: v for row in rows for k, v in row.items() if k not in ("step", "epoch")}
    note = {"epoch": top["epoch"], task.monitor[1:]: top[task.monitor[1:]]} if top else {}
    folder.status(metrics=final, best=note)


def keep_last(task: Task, split: str, folder: RunDir) -> dict[str, float]:
    """The last scores of a split, and what explains them where the pipeline has an `explain` (one rank is enough)."""
    found = task.evaluate(split)
    scores = folder.keep(split, found)
    for warning in found.get("warnings", {}).values():
        folder.say(f"warning: {split}: {warning}")
    parts = getattr(task, "explain", None)
    if parts and folder.writes:
        explain.keep(folder, split, parts(split))
    return scores


def fit_once(task: FitOnce, runtime: Runtime, folder: RunDir) -> None:
    """Fit a baseline, store its arrays, write its scores as one row."""
    clock = Clock()
    task.fit()
    folder.save("best", {"arrays": task.arrays()})
    row: dict[str, Any] = {"step": 1, "epoch": 1}
    with clock("eval_s"), runtime.span("evaluation"):
        for split in task.splits:
            row |= folder.keep(split, task.evaluate(split))
    folder.cut_rows(0)
    folder.add("metrics.jsonl", row)
    seconds = clock.row(runtime)
    folder.add("timing.jsonl", {"step": 1, "epoch": 1, **seconds})
    folder.say(line(row, 1, seconds))
    folder.status(metrics={k: v for k, v in row.items() if k not in ("step", "epoch")}, best={})
    profile.write(runtime.profile, folder)


def line(row: dict[str, Any], epochs: int, seconds: dict[str, float]) -> str:
    """A row for people."""
    scores = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in ("step", "epoch"))
    total_s = seconds["train_s"] + seconds["eval_s"] + seconds["save_s"]
    return f"epoch {row['epoch']:>3}/{epochs}  step {row['step']:>6}  {scores}  {total_s:.1f} s"
