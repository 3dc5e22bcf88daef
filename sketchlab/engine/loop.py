"""When things happen: the loop, from the first step to the final scores."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sketchlab import rng
from sketchlab.engine import checkpoint, profile
from sketchlab.engine.loader import Feed, Order
from sketchlab.engine.rundir import RunDir, numbers
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import FEW_STEPS, Config
from sketchlab.engine.steps import Averages, Steps
from sketchlab.engine.task import FitOnce, Task
from sketchlab.errors import UserError
from sketchlab.layers import norms
from sketchlab.metrics import declared

FIRST_STEPS = 3  # which do more than others, before those by which it is known how long a run will take:
ESTIMATE_AFTER_S = {20: 10.0, 3: 15.0}  # at least so many steps → from so many seconds on
LONG_S = 600.0  # from when on that is said
WIDTH = 120  # characters of a line on the terminal
TOLD_S = 10.0  # between two entries in progress.json, which the page of a run that trains reads
LOOK_EVERY = 16  # steps after which a GPU's run looks whether to stop, save, or give up


class Interrupted(KeyboardInterrupt):
    """Ended after a step, with everything saved. args: the signal's number, or why a search gave the run up."""


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


class Remaining:
    """Once, some seconds after the first steps, which do more than others: how long the rest of a long run takes."""

    def __init__(self, step: int) -> None:
        self.from_step, self.start, self.known = step + FIRST_STEPS, 0.0, False
        self.told = time.perf_counter()

    def __call__(self, step: int, total: int) -> str:
        now = time.perf_counter()
        if step <= self.from_step:
            self.start = now
        spent_s, steps = now - self.start, step - self.from_step
        if self.known or not any(steps >= least and spent_s >= after_s for least, after_s in ESTIMATE_AFTER_S.items()):
            return ""
        self.known = True
        left_s = (total - step) * spent_s / steps
        return f"about {duration(left_s)} to go, evaluations not counted" if left_s >= LONG_S else ""

    def progress(self, step: int, total: int) -> dict[str, Any] | None:
        """For progress.json, every TOLD_S seconds; seconds_left: by all the time so far, evaluations among it."""
        now, steps = time.perf_counter(), step - self.from_step
        if now - self.told < TOLD_S:
            return None
        self.told = now
        left_s = round((total - step) * (now - self.start) / steps) if steps > 0 else None
        return {"step": step, "steps": total, "seconds_left": left_s}


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

    others = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]  # none on Windows
    handled = [s for s in others if callable(signal.getsignal(s))]
    old = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, *handled)}
    for s in old:
        signal.signal(s, note)
    try:
        yield caught
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)


def fit(
    task: Task, loop: Config, seed: int, runtime: Runtime, folder: RunDir, pruning: dict[str, Any] | None = None
) -> None:
    """Train `task` to its last epoch, from wherever the folder says it is, and write its scores.

    Raises Interrupted after a signal, or where a search's median pruning (sweeps/search.py) ends the run;
    UserError on a loss that is not finite, a checkpoint that does not fit or a score that is not declared.
    """
    if loop.batch_size % (runtime.ranks * loop.accumulate):
        raise UserError(
            f"loop.batch_size={loop.batch_size} cannot be shared by runtime.ranks={runtime.ranks} × "
            f"loop.accumulate={loop.accumulate}: choose a multiple of {runtime.ranks * loop.accumulate}"
        )
    watch = watched(task.monitor, folder.scores)
    order = Order(task.n_train, loop.batch_size, seed, task.views, getattr(task, "sizes", None))
    total = order.steps(loop.epochs)
    folder.say(f"{loop.epochs} epochs of {task.n_train:,} samples in batches of {loop.batch_size}: {total:,} steps")
    if total < FEW_STEPS:
        few = (
            f"few optimizer steps: {total}, fewer than {FEW_STEPS}, are little to learn from; raise loop.epochs, lower "
            "loop.batch_size, or add samples"
        )
        folder.say(f"warning: {few}")
        folder.document("warnings_train.json", {"few_steps": few})
    last = folder.last()
    step, rows = (last["step"], last["rows"]) if last else (0, [])
    if last:
        checkpoint.restore(task.parts, last["parts"], folder.path / "checkpoints" / "last.pt")
        check_best(rows, watch, folder)
        folder.say(f"resumed at step {step} of {total} (epoch {order.epochs_done(step)})")
        note_other_code(last, step, folder)
    folder.restore_rows(rows)
    averages, clock = Averages(last["averages"] if last else None, step, runtime), Clock()
    saved_at, saved_step = time.perf_counter(), step

    def save() -> None:
        nonlocal saved_at, saved_step
        check_finite(averages.bad, saved_step)
        check_weights(task, step, saved_step)
        with clock("save_s"), runtime.span("saving"):
            parts = {name: part.state_dict() for name, part in task.parts.items()}
            folder.save("last", {"step": step, "rows": rows, "averages": averages.state(runtime), "parts": parts})
        saved_at, saved_step = time.perf_counter(), step

    feed = Feed(order, task.draw, task.prepare, runtime, task.fixed_shapes)
    stream = feed(step, total)
    advance = Steps(task, averages, loop, runtime, folder)
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
    remaining = Remaining(step)
    with signals() as caught, contextlib.closing(stream), bar, profile.traced(runtime.profile, folder):
        while step < total and not exhausted(rows, watch, loop.patience):
            if pruning and (why := median_pruning(rows, watch, pruning)):
                if saved_step != step:
                    save()
                raise Interrupted(why)
            batch = next(stream)
            runtime.seed(rng.fold(seed, "step", step, runtime.rank))
            advance(batch, step * loop.batch_size / task.n_train)
            step += 1
            if runtime.device.type == "cpu":
                check_finite(averages.bad, saved_step)
            elif step % LOOK_EVERY == 0:  # at what was sent off so many steps ago: nothing waits
                check_finite(advance.bad_before(), saved_step)
            if runtime.profile:
                runtime.profile.step()
            clock.samples += loop.batch_size
            bar.update()
            if about := remaining(step, total):
                folder.say(about)
            if now := remaining.progress(step, total):
                folder.document("progress.json", now)

            epoch = order.epochs_done(step)
            if epoch > order.epochs_done(step - 1) and (epoch % loop.eval_every == 0 or step == total):
                scores = averages.take(runtime)
                clock.spent["wait_s"], feed.wait_s = feed.wait_s, 0.0
                with contextlib.ExitStack() as until_saved:
                    results: dict[str, Any] = {}
                    with clock("eval_s"), runtime.span("evaluation"):
                        if "val" in task.splits:
                            until_saved.enter_context(norms.measured(task, step, seed, runtime.autocast))
                            results = task.evaluate("val")
                            scores |= numbers("val", results)
                    folder.scores.check(scores)
                    rows.append({"step": step, "epoch": epoch, **scores})
                    is_best = watch is not None and best(rows, watch) is rows[-1]
                    if not (is_best or step == total):  # tables of every sample: of the best epoch and the last one
                        results = {name: v for name, v in results.items() if not isinstance(v, pd.DataFrame)}
                    folder.keep("val", results)
                    folder.add("metrics.jsonl", rows[-1])
                    if is_best:
                        save_best(task, folder, rows[-1])
                if step == total or exhausted(rows, watch, loop.patience):
                    save()
                seconds = clock.row(runtime)
                folder.add("timing.jsonl", {"step": step, "epoch": epoch, **seconds})
                folder.say(*lines(rows[-1], loop.epochs, seconds, watch.key if watch else ""))
                folder.status()
            due = time.perf_counter() - saved_at >= loop.save_every_s
            if runtime.device.type == "cpu" or step % LOOK_EVERY == 0:  # ranks on GPUs would wait for each other here
                stop, due = runtime.agree(bool(caught), due)
                if (stop or due) and saved_step != step:
                    save()
                if stop:
                    raise Interrupted(caught[0] if caught else signal.SIGTERM)
    with runtime.span("evaluation"):
        finish(task, rows, watch, step, seed, runtime, folder)
    profile.write(runtime.profile, folder)


def duration(seconds: float) -> str:
    """45 s, 12 min, 2 h 10 min, 3 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def check_best(rows: list[dict[str, Any]], watch: Watch | None, folder: RunDir) -> None:
    """Raises UserError unless best.pt is of the best of these rows, or of a later epoch, which is trained again."""
    top = best(rows, watch) if watch else None
    if top is not None and (epoch := folder.load("best")["epoch"]) < top["epoch"]:
        raise UserError(
            f"{folder.path / 'checkpoints' / 'best.pt'}: is of epoch {epoch}, but epoch {top['epoch']} was better; "
            "rerun=true trains this run from the start"
        )


def note_other_code(last: dict[str, Any], step: int, folder: RunDir) -> None:
    """A run that goes on under other code, other versions or other settings of the machine has them in status.json."""
    before, now = {**(last.get("made_with") or {})}, {**folder.made_with}
    changed, files = [key for key in now if key in before and before[key] != now[key]], []
    if folder.code is not None:
        before["code"], now["code"], files = folder.code
        changed.insert(0, "code")
    if not changed:
        return
    differences = ", ".join(f"{key} ({before[key]} → {now[key]})" for key in changed)
    where = f"; changed files: {', '.join(files)}" if files else ""
    folder.say(f"from step {step} on with another {differences}{where}")
    entry = {"step": step, "before": {key: before[key] for key in changed}, "after": {key: now[key] for key in changed}}
    if folder.writes:
        folder.status(resumed=[*folder.written.get("resumed", []), entry])


def check_finite(bad: Tensor | None, saved_step: int) -> None:
    """bad: the first step with a loss that is not finite, or −1. Raises UserError that names it."""
    if bad is not None and (step := int(bad)) >= 0:
        not_finite("the loss", step, saved_step)


def check_weights(task: Task, step: int, saved_step: int) -> None:
    """Raises UserError when a weight that is about to be saved is not finite: of a network, or of one's own loss."""
    parts = [part for name, part in task.parts.items() if name in task.weights or isinstance(part, nn.Module)]
    weights = [t for part in parts for t in part.state_dict().values() if t.is_floating_point()]
    if not bool(torch.stack([torch.isfinite(t).all() for t in weights]).all()):
        not_finite("a weight", step, saved_step)


def not_finite(what: str, step: int, saved_step: int) -> NoReturn:
    kept = f"the checkpoint of step {saved_step} is kept" if saved_step else "nothing was saved before it"
    raise UserError(
        f"step {step}: {what} is not finite; {kept}. Try a smaller loop.lr, loop.clip_norm=1 or more warm-up"
    )


class Watch(NamedTuple):
    """What best.pt is kept by. loss: the key that decides between epochs of equal score, "" where there is none."""

    key: str
    score: declared.Score
    loss: str


def watched(monitor: str, scores: declared.Table) -> Watch | None:
    """A task's monitor ("val/accuracy"; "+" or "-" before it may repeat the direction) as declared. None for "".

    Raises UserError where the score is not declared, has no direction, or the sign says another one.
    """
    key = monitor.lstrip("+-")
    if not key:
        return None
    scores.check([key])
    score = scores[key]
    if not score.sign or monitor.startswith("-" if score.sign > 0 else "+"):
        raise UserError(
            f"monitor {monitor}: pipeline={scores.pipeline} declares {score.name} with better={score.better}; expected "
            "a score with a direction, and its sign (or none)"
        )
    loss = f"{key.partition('/')[0]}/loss"
    return Watch(key, score, loss if scores[loss].better == "smaller" else "")


def best(rows: list[dict[str, Any]], watch: Watch) -> dict[str, Any] | None:
    """The row with the best watched score; of equals the one of the lower loss, then the later one."""

    def order(row: dict[str, Any]) -> tuple[float, float]:
        loss = row.get(watch.loss, math.inf)
        return watch.score.order(row[watch.key]), -loss if math.isfinite(loss) else -math.inf

    scored = [row for row in reversed(rows) if watch.key in row]
    return max(scored, key=order) if scored else None


def exhausted(rows: list[dict[str, Any]], watch: Watch | None, patience: int) -> bool:
    """Whether the last `patience` evaluations brought no better score; one that is only equal is none."""
    if not patience or watch is None:
        return False
    values = [watch.score.order(row[watch.key]) for row in rows if watch.key in row]
    return bool(values) and len(values) - 1 - values.index(max(values)) >= patience


def median_pruning(rows: list[dict[str, Any]], watch: Watch | None, pruning: dict[str, Any]) -> str:
    """Why the run is given up: its best score is behind what others had at this epoch. "" while it is not."""
    key = pruning.get("metric") or (watch.key if watch else "")
    scores = [row[key] for row in rows if key in row]
    behind = pruning.get("median", {}).get(str(rows[-1]["epoch"])) if scores else None
    if behind is None:
        return ""
    larger = pruning["better"] == "larger"
    top = max(scores) if larger else min(scores)
    if top >= behind if larger else top <= behind:
        return ""
    return (
        f"given up after epoch {rows[-1]['epoch']}: {key} {top:.4g} at best, where the median of {pruning['runs']} "
        f"finished runs of this search had {behind:.4g}"
    )


def save_best(task: Task, folder: RunDir, row: dict[str, Any]) -> None:
    folder.save("best", {"parts": {n: task.parts[n].state_dict() for n in task.weights}, "epoch": row["epoch"]})


def finish(
    task: Task, rows: list[dict[str, Any]], watch: Watch | None, step: int, seed: int, runtime: Runtime, folder: RunDir
) -> None:
    """The final scores. Where there is a test split, val and test are of the same weights: the best ones (the last
    where nothing is watched). Without one val is of the last weights: the best epoch's score is optimistic."""
    top = best(rows, watch) if watch else None
    scores: dict[str, float] = {}
    evaluated = [split for split in ("val", "test") if split in task.splits]
    with norms.measured(task, step, seed, runtime.autocast):
        if evaluated == ["val"]:
            scores = keep_last(task, "val", folder)
        if top is None:
            save_best(task, folder, {"epoch": rows[-1]["epoch"]})
        runtime.agree(False)  # every rank waits until best.pt is whole
        if evaluated == ["val"]:
            explain(task, evaluated, folder)
    if "test" in evaluated:
        state, file = folder.load("best"), folder.path / "checkpoints" / "best.pt"
        checkpoint.restore({n: task.parts[n] for n in task.weights}, state["parts"], file)
        if "val" in evaluated:
            scores = keep_last(task, "val", folder, sheets=state["epoch"] == rows[-1]["epoch"])
        tested = keep_last(task, "test", folder)
        rows.append({"step": step, "epoch": rows[-1]["epoch"], **tested})
        folder.add("metrics.jsonl", rows[-1])
    final = {k: v for row in rows for k, v in row.items() if k not in ("step", "epoch")} | scores
    note = {"epoch": top["epoch"], watch.key: top[watch.key]} if top and watch else {}
    folder.status(metrics=final, best=note)
    if "test" in evaluated:
        explain(task, evaluated, folder)


def keep_last(task: Task, split: str, folder: RunDir, sheets: bool = True) -> dict[str, float]:
    """The last scores of a split.

    sheets: False where the weights are of an earlier epoch, whose sheets are kept and would pass for the last one's.
    """
    found = task.evaluate(split)
    scores = folder.keep(split, {k: v for k, v in found.items() if sheets or not k.endswith("_sheet")})
    folder.scores.check(scores)
    for warning in found.get("warnings", {}).values():
        folder.say(f"warning: {split}: {warning}")
    return scores


def explain(task: Task, splits: list[str], folder: RunDir) -> None:
    """What explains the last scores, where the pipeline has an `explain`. By rank 0 alone, after all that ranks do
    together: it may take longer than they would wait for each other."""
    parts = getattr(task, "explain", None)
    if parts is None or not folder.writes:
        return
    for split in splits:
        folder.explain(split, parts(split))


def show(task: Any, seed: int, runtime: Runtime, folder: RunDir) -> None:
    """Tables and figures of a finished run again, from its weights. Scores stay as they were written; so do sheets of
    val where they are of last weights that are gone.

    Raises UserError where all of val is of the last weights and they were not kept.
    """
    state, file = folder.load("best"), folder.path / "checkpoints" / "best.pt"
    if hasattr(task, "fit"):
        task.load(state["arrays"])
        for split in task.splits:
            folder.keep(split, task.evaluate(split))
        return
    last = folder.last()
    if "test" not in task.splits and last is None:
        raise UserError(
            f"{folder.path}: without a test split its figures are of the last weights, and last.pt was not kept "
            "(run.keep_last=true keeps it); rerun=true trains it again"
        )
    with contextlib.ExitStack() as stack:
        as_last = last is not None and ("test" not in task.splits or state["epoch"] == last["rows"][-1]["epoch"])
        if last is not None and as_last:
            checkpoint.restore(task.parts, last["parts"], file.with_name("last.pt"))
            stack.enter_context(norms.measured(task, last["step"], seed, runtime.autocast))
        else:
            checkpoint.restore({n: task.parts[n] for n in task.weights}, state["parts"], file)
        splits = [name for name in task.splits if name != "train"]
        for split in splits:
            keep_last(task, split, folder, sheets=split == "test" or as_last)
        explain(task, splits, folder)


def fit_once(task: FitOnce, runtime: Runtime, folder: RunDir) -> None:
    """Fit a baseline, store its arrays, write its scores as one row."""
    clock = Clock()
    folder.say("fitting, which shows no progress …")
    task.fit()
    folder.save("best", {"arrays": task.arrays()})
    row: dict[str, Any] = {"step": 1, "epoch": 1}
    with clock("eval_s"), runtime.span("evaluation"):
        for split in task.splits:
            row |= folder.keep(split, task.evaluate(split))
    folder.scores.check(key for key in row if "/" in key)
    folder.restore_rows([row])
    seconds = clock.row(runtime)
    folder.add("timing.jsonl", {"step": 1, "epoch": 1, **seconds})
    folder.say(*lines(row, 1, seconds, ""))
    folder.status(metrics={k: v for k, v in row.items() if k not in ("step", "epoch")}, best={})
    profile.write(runtime.profile, folder)


def lines(row: dict[str, Any], epochs: int, seconds: dict[str, float], watched: str) -> tuple[str, str]:
    """A row for people: of at most WIDTH characters, the watched score and the losses first; and whole, for the log."""
    total_s = seconds["train_s"] + seconds["eval_s"] + seconds["save_s"]
    start, end = f"epoch {row['epoch']:>3}/{epochs}  step {row['step']:>6}", f"  {total_s:.1f} s"
    scores = {key: f"  {key} {value:.4g}" for key, value in row.items() if key not in ("step", "epoch")}
    first = [key for key in (watched, "train/loss", "val/loss") if key in scores]
    room, visible = WIDTH - len(start + end) - len("  …"), set[str]()
    for key in dict.fromkeys([*first, *scores]):
        if len(scores[key]) <= room:
            visible.add(key)
            room -= len(scores[key])
    short = "".join(text for key, text in scores.items() if key in visible) + "  …" * (len(visible) < len(scores))
    return start + short + end, start + "".join(scores.values()) + end
