"""A sweep (-m): many runs, each of which may fail alone, ended by a table of what became of every one.

Every job leaves outputs/sweeps/<when>/runs/<number>.json, whichever launcher ran it and wherever, so that the table is
whole even when the launcher broke. The folder of a run is its own memory: the same sweep again finds, resumes, retries.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import open_dict

from sketchlab import config
from sketchlab.errors import UserError, own_mistake
from sketchlab.storage.files import cores, read_dict, write_json
from sketchlab.sweeps import workers
from sketchlab.training import plan
from sketchlab.training.prepare import prepare
from sketchlab.training.session import carry_out

FAILED = "failed"  # in the folder of a sweep that stops at its first failure
PRUNING = "pruning.json"  # in the folder of a search: the medians that a run is pruned by
BEFORE = {"new": "", "finished": "found", "resumable": "resumed", "damaged": "repaired"}


class Grid(Sweeper):
    """Every combination of the values given with commas, ended by a table. Raises UserError when a run failed.

    params: key → values, as on the command line, which wins (Hydra's hydra.sweeper.params). stop_on_failure: what has
    not begun when a run fails is not begun.
    """

    def __init__(self, params: dict[str, str] | None, stop_on_failure: bool = False) -> None:
        self.params, self.stop_on_failure = params or {}, stop_on_failure

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        assert self.hydra_context and self.launcher
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        words = [*(f"{key}={values}" for key, values in self.params.items()), *arguments]
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(words), None)
        self.validate_batch_is_legal(jobs)
        folder = pinned(self.config)
        with concluded(folder, jobs, at_once(self.config)), announced(folder, self.launcher):
            self.launcher.launch(jobs, initial_job_idx=0)


def at_once(cfg: Any) -> int:
    """How many runs the launcher has side by side."""
    n = cfg.hydra.launcher.get("n_jobs") or 1
    return n if n > 0 else cores()


def pinned(cfg: Any) -> Path:
    """The sweep's folder, the same for every job even if the jobs sweep over run.root or work elsewhere."""
    folder = Path(cfg.hydra.sweep.dir).resolve()
    if "basic" not in cfg.hydra.launcher._target_:  # bars of several runs, or in a cluster's log, are no help;
        os.environ["TQDM_DISABLE"] = "1"  # tqdm asks when it is imported, so that a job could not say it for itself
    with open_dict(cfg):
        cfg.hydra.sweep.dir = str(folder)
        cfg.hydra.overrides.hydra.append(f"hydra.sweep.dir='{folder}'")
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def concluded(folder: Path, jobs: Sequence[Sequence[str]], at_once: int = 1) -> Iterator[None]:
    """Whatever happens within, end with the table. Raises UserError when a run did not finish.

    jobs: the words of every job, by number; it may grow meanwhile. at_once: how many run side by side.
    """
    broken = ""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a launcher that lost a worker: what the others did still counts
        traceback.print_exc()
        broken = f"the launcher broke ({type(error).__name__}: {str(error).strip().splitlines()[-1:]}); "
    finally:
        found = records(folder, jobs)
        if found:
            print(table(found, at_once), flush=True)
            print(compared(folder, found), end="", flush=True)
    bad = [record for record in found if record["state"] not in ("finished", "stopped", "planned")]
    if bad or broken:
        again = "the same command again finds what is finished, resumes what was cut and retries what failed"
        raise UserError(f"{broken}{len(bad)} of {len(found)} runs did not finish; {again}")


def compared(folder: Path, found: Sequence[dict[str, Any]]) -> str:
    """The line that names the page that compares the finished runs; "" where there are no two of them."""
    runs = {record["folder"] for record in found if record["state"] in ("finished", "stopped")}
    if len(runs) < 2:
        return ""
    from sketchlab.report.comparison.compare import compare

    try:
        return f"comparison: {os.path.relpath(compare(sorted(map(Path, runs)), out=folder / 'comparison'))}\n"
    except UserError as error:
        return f"no comparison: {error}\n"


def records(folder: Path, jobs: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """What each job said of itself; a job that said nothing was ended from outside, or waits in a queue."""
    out = []
    for number, words in enumerate(jobs):
        path = folder / "runs" / f"{number}.json"
        silent = {"state": "unknown", "before": "", "folder": None, "message": "it has not said how it ended"}
        out.append({"words": plain(words), **(read_dict(path) if path.exists() else silent)})
    return out


def plain(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("hydra")]


@contextlib.contextmanager
def announced(folder: Path, launcher: Any) -> Iterator[None]:
    """Say here what fails on another machine, when it fails; jobs of this machine say so themselves."""
    if "submitit" not in type(launcher).__module__:
        yield
        return
    done, announced = threading.Event(), set[Path]()

    def watch() -> None:
        last = False
        while not last:
            last = done.wait(1.0)
            for path in sorted(set((folder / "runs").glob("*.json")) - announced):
                record = read_dict(path)
                announced.add(path)
                if record["state"] == "failed":
                    print(f"error: {shlex.join(record['words'])}: {record['message']}", file=sys.stderr, flush=True)

    watcher = threading.Thread(target=watch, daemon=True, name="announce")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def run(cfg: Any, words: list[str], hydra_cfg: Any) -> float:
    """One job of a sweep. Returns its best monitored score for a search; nan when it failed, which is said at once."""
    place = Path(hydra_cfg.sweep.dir)
    folder, before, message, score, state = None, "", "", math.nan, "failed"
    planned: dict[str, Any] = {}
    beside, signum = "joblib" in hydra_cfg.launcher._target_, 0
    pruning = read_dict(place / PRUNING) if (place / PRUNING).exists() else None
    try:
        if (place / FAILED).exists():
            state, message = "not started", "stop_on_failure: another run failed before"
            return score
        if beside:
            workers.share(place, hydra_cfg.launcher.n_jobs)
        with workers.numbered(hydra_cfg.job.num) if beside else contextlib.nullcontext():
            prepared = prepare(config.composed(cfg, hydra_cfg.runtime.choices, words))
            folder, before = str(prepared.folder.path), _before(prepared.folder)
            if prepared.run.plan:
                planned, state = plan.of(prepared).plain(), "planned"
                return score
            found = carry_out(prepared, pruning=pruning)
        score, state = math.nan if found is None else found, "finished"
    except KeyboardInterrupt as stop:
        if stop.args and isinstance(stop.args[0], str):
            state, message = "stopped", stop.args[0]
            print(message, flush=True)
            return score
        state, message = "interrupted", "ended by a signal; the same command goes on from here"
        signum = int(stop.args[0] if stop.args else signal.SIGINT)
    except UserError as error:
        message = str(error)
    except Exception as error:
        mistake = own_mistake(error)
        if mistake is None:
            traceback.print_exc()
        message = str(mistake or f"{type(error).__name__}: {error}")
    finally:
        outcome = {"words": words, "state": state, "before": before, "folder": folder, "message": message}
        outcome |= {"plan": planned} if planned else {}
        write_json(place / "runs" / f"{hydra_cfg.job.num}.json", outcome)
    if state == "interrupted":
        handed_on(signum)
        workers.end(128 + signum) if beside else sys.exit(128 + signum)
    if state == "failed":
        print(f"error: {shlex.join(words)}: {message}", file=sys.stderr, flush=True)
        if hydra_cfg.sweeper.get("stop_on_failure"):
            (place / FAILED).touch()
    return score


def _before(folder: Any) -> str:
    """What there was of a run before its job: for the table."""
    state, why = folder.examine()
    if state == "resumable" and not why and folder.written.get("state") == "failed":
        return "retried"
    return BEFORE[state]


def handed_on(signum: int) -> None:
    """A cluster's own handler of the signal that ended the run (submitit requeues the job) has its turn now."""
    if callable(signal.getsignal(signum)) and signum != signal.SIGINT:
        signal.raise_signal(signum)


def _names(found: Sequence[dict[str, Any]]) -> list[str]:
    """The words of each run that not all of them have."""
    shared = set.intersection(*(set(record["words"]) for record in found)) if len(found) > 1 else set()
    return [shlex.join([w for w in record["words"] if w not in shared]) or "(the defaults)" for record in found]


def table(found: Sequence[dict[str, Any]], at_once: int = 1) -> str:
    """run, state, scores, folder: a line each; below it, why those that failed did. With plan=true, the plan."""
    names = _names(found)
    if planned := [(n, plan.Row(**record["plan"])) for n, record in zip(names, found, strict=True) if "plan" in record]:
        failed = [f"failed: {n}: {r['message']}" for n, r in zip(names, found, strict=True) if r["state"] == "failed"]
        return "\n".join(["", plan.table(planned, at_once, plan.started_s()), *failed])
    rows = [("run", "state", "scores", "folder")]
    for name, record in zip(names, found, strict=True):
        state = record["state"] + (f" ({record['before']})" if record["before"] else "")
        place = os.path.relpath(record["folder"]) if record["folder"] else "–"
        rows.append((name, state, scores(record), place))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, record in zip(names, found, strict=True):
        if record["state"] != "finished":
            lines.append(f"{record['state']}: {name}: {(record['message'].splitlines() or [''])[0]}")
    return "\n" + "\n".join(lines)


def scores(record: dict[str, Any]) -> str:
    """The score that the best weights were chosen by, and the result, as page and comparison have them."""
    from sketchlab.report import scores as of
    from sketchlab.report.read import glance

    if record["state"] not in ("finished", "stopped") or not record["folder"]:
        return "–"
    run = glance(Path(record["folder"]))
    return "  ".join(
        f"{key} {of.text(run.declared[key.partition(',')[0]], value)}" for key, value in of.brief(run).items()
    )
