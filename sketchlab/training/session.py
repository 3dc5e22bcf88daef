"""The states of a run: new, resumable, finished, damaged, owned elsewhere. All ranks enter; rank 0 decides."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sketchlab import config, schema
from sketchlab.config import RunConfig
from sketchlab.errors import UserError, own_mistake
from sketchlab.training.identity import id_of
from sketchlab.training.prepare import Prepared, prepare
from sketchlab.training.work import show, work


def execute(run: RunConfig, reported: bool = True) -> float | None:
    """Train (or find, or resume) a run and write its report, when asked for. Returns its best monitored score."""
    return carry_out(prepare(run), reported)


def carry_out(prepared: Prepared, reported: bool = True, pruning: dict[str, Any] | None = None) -> float | None:
    """Train (or find, or resume) what is prepared. Returns its best monitored score, None when there is none.

    pruning: of a search, which ends runs behind the median by it (sweeps/search.py). Raises UserError where the
    folder is owned elsewhere, or a run cannot go on.
    """
    from sketchlab.training import launch, live, track

    run, folder = prepared.run, prepared.folder
    track.check(run.run.track)
    decision = launch.decide(run.runtime, lambda: enter(prepared))
    try:
        if not folder.writes:
            if decision != "found":
                launch.launch(run.runtime, *_job(prepared, decision, pruning))
            return None
        with track.following(run.run.track, folder.path, config.flat(run.plain())):
            if decision == "train":
                with live.page(folder):
                    train(prepared, pruning)
            elif decision == "show":
                show_anew(prepared)
            tidy(folder)
        return report(folder) if reported else None
    finally:
        folder.lock.release()


def _job(prepared: Prepared, decision: str, pruning: dict[str, Any] | None) -> tuple[Any, ...]:
    """What every rank calls, and with what; ranks that are spawned read the data themselves."""
    from sketchlab.training import launch

    run = prepared.run
    data = prepared.data if launch.under_torchrun() or run.runtime.ranks == 1 else None
    if decision == "show":
        return show, run, prepared.folder.path, data
    return work, run, prepared.folder.path, data, pruning


def enter(prepared: Prepared) -> str:
    """Become the folder's owner and decide by its state, which a line says: "found", "show" (a finished run, other
    figures) or "train"."""
    folder = prepared.folder
    folder.open()
    try:
        return _decide(prepared)
    except BaseException:
        folder.lock.release()
        raise


def _decide(prepared: Prepared) -> str:
    from sketchlab.training import neighbours

    run, folder = prepared.run, prepared.folder
    state, why = folder.examine()
    if state == "new":
        print(neighbours.why_new(prepared.others or neighbours.of(run), prepared.identity, folder.path), flush=True)
    elif state == "resumable" and why:  # its status.json cannot be read
        print(f"{why}; the run goes on from last.pt", flush=True)
        folder.begin()
    if run.rerun and state != "new":
        if _rerun_goes_on(folder, state):
            print("rerun=true: goes on with the rerun that was cut", flush=True)
            return "train"
        folder.clear(rerun=True)
        return "train"
    if state == "damaged":
        print(f"{why}: this run was finished, but is damaged; it is trained again", flush=True)
        folder.clear()
    if state != "finished":
        return "train"
    print(finished_line(prepared), flush=True)
    if run.run.name and run.run.name != (_config(folder).get("run") or {}).get("name"):
        _describe(prepared)  # comparisons call it so from now on
    return "show" if _shown(run.plain(), run) != _shown(_config(folder), run) else "found"


def _rerun_goes_on(folder: Any, state: str) -> bool:
    """Whether the folder holds a rerun that was cut, by the code of now: a job that was preempted is queued again with
    the same words."""
    from sketchlab.training import provenance

    if state != "resumable" or not folder.written.get("rerun"):
        return False
    try:
        folder.last()
        return not provenance.changed(provenance.read(folder.path))
    except UserError:  # a checkpoint that is damaged: from the start
        return False


def finished_line(prepared: Prepared) -> str:
    """The line of a finished run: under which id, and whether the files of its code are other ones now."""
    from sketchlab.training import provenance

    folder = prepared.folder
    line = "found: this run is finished"
    if folder.path.name != id_of(prepared.identity):
        line += f", as {folder.path.name}: an id of before, when it held keys that decide nothing"
    recorded = provenance.read(folder.path)
    if not recorded:
        return f"{line}, made before the files of its code were recorded"
    if changed := provenance.changed(recorded):
        line += f", made by other code ({provenance.listed(changed)} changed since): rerun=true trains it again"
    return line


def _config(folder: Any) -> dict[str, Any]:
    """The configuration in the folder's config.yaml; {} where it cannot be read."""
    import yaml

    try:
        document = yaml.safe_load((folder.path / "config.yaml").read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    values = document.get("config") if isinstance(document, dict) else None
    return values if isinstance(values, dict) else {}


def _shown(values: dict[str, Any], run: RunConfig) -> dict[str, Any]:
    """Dotted key → value of what only shows a result."""
    return schema.of_role(type(run.pipeline.config), schema.SHOWN, values.get("pipeline") or {})


def _describe(prepared: Prepared) -> None:
    run = prepared.run
    prepared.folder.document(
        "config.yaml",
        {
            "schema": schema.SCHEMA,
            "command": run.command,
            "choices": run.choices,
            "config": run.plain(),
            "differs": run.differs,
            "identity": prepared.identity,
        },
    )


def train(prepared: Prepared, pruning: dict[str, Any] | None = None) -> None:
    """From new or resumable to finished; whatever happens, status.json says it."""
    from sketchlab.engine.rundir import now
    from sketchlab.training import launch

    run, folder = prepared.run, prepared.folder
    _describe(prepared)
    started = {} if "started" in folder.written else {"started": now()}
    folder.status(state="running", message="", **started)
    if not (folder.path / "checkpoints" / "last.pt").exists():
        adopt_shorter(prepared)
    try:
        launch.launch(run.runtime, *_job(prepared, "train", pruning))
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        known = error if isinstance(error, UserError) else own_mistake(error)
        message = str(known or f"{type(error).__name__}: {error}")
        if interrupted:
            message = " ".join(word for word in error.args if isinstance(word, str))
        try:
            folder.status(state="interrupted" if interrupted else "failed", ended=now(), message=message)
        except UserError as second:  # a full disk takes no status either: say both
            raise UserError(f"{message or 'interrupted'} (and {second})") from error
        raise
    folder.status(state="finished", ended=now(), sealed=folder.seal(), keeps_last=_keeps_last(run, folder))


def show_anew(prepared: Prepared) -> None:
    """Figures and tables of a finished run as this configuration wants them, from its weights; no score changes."""
    from sketchlab.training import launch

    launch.launch(prepared.run.runtime, *_job(prepared, "show", None))
    _describe(prepared)
    prepared.folder.status()


def adopt_shorter(prepared: Prepared) -> None:
    """Take up the finished run of the same configuration with fewer epochs, or say why that cannot be.

    last.pt comes last: a kill before it starts over with the shorter run, not from the first epoch.
    """
    from sketchlab.engine.optim import depends_on_total
    from sketchlab.training import neighbours, provenance

    run, folder, identity = prepared.run, prepared.folder, prepared.identity
    if "loop" not in identity:
        return

    def but_epochs(i: dict[str, Any]) -> dict[str, Any]:
        return {**i, "loop": {k: v for k, v in i["loop"].items() if k != "epochs"}}

    shorter = [
        neighbour
        for neighbour in prepared.others or neighbours.of(run)  # none were looked for where the folder was there
        if neighbour.state == "finished" and but_epochs(neighbour.identity) == but_epochs(identity)
    ]
    shorter = [neighbour for neighbour in shorter if neighbour.identity["loop"]["epochs"] < run.loop.epochs]
    if not shorter:
        return
    source = max(shorter, key=lambda neighbour: neighbour.identity["loop"]["epochs"])
    epochs = source.identity["loop"]["epochs"]
    if depends_on_total(run.loop):
        folder.say(
            f"the finished run of {epochs} epochs cannot be continued: loop.schedule={run.loop.schedule} depends on "
            "the total number of epochs (loop.schedule=constant or step does not); training from the start"
        )
        return
    shorter_folder = type(folder)(source.folder)
    try:
        state, best = shorter_folder.last(), shorter_folder.load("best")
    except UserError as error:
        folder.say(f"the finished run of {epochs} epochs cannot be continued: {error}; training from the start")
        return
    if state is None:
        folder.say(
            f"the finished run of {epochs} epochs has no last.pt (run.keep_last=true keeps it); training from the start"
        )
        return
    for name in ("timing.jsonl", provenance.FILE):
        if (source.folder / name).exists():
            shutil.copy(source.folder / name, folder.path / name)
    shutil.copytree(source.folder / "samples", folder.path / "samples", dirs_exist_ok=True)
    folder.save("best", best)
    folder.say(f"continues the finished run of {epochs} epochs, {source.folder.name}, from step {state['step']}")
    folder.save("last", state)


def _keeps_last(run: RunConfig, folder: Any) -> bool:
    """Whether last.pt of the finished run stays: where it is asked for, or small."""
    last, keep = folder.path / "checkpoints" / "last.pt", run.run.keep_last
    return keep == "true" or (keep == "auto" and (not last.exists() or last.stat().st_size <= 100 * 2**20))


def tidy(folder: Any) -> None:
    """Remove last.pt where the finished run does not keep it: only then, so that a kill never trains it again."""
    (folder.path / "progress.json").unlink(missing_ok=True)
    if folder.written.get("keeps_last") is False:
        (folder.path / "checkpoints" / "last.pt").unlink(missing_ok=True)


NEXT = {  # what a pipeline answers with → what to do with a finished run
    "classes": "python -m sketchlab.app {run}",
    "matches": "python -m sketchlab.retrieve {run} SKETCH",
    "images": "python -m sketchlab.generate {run} -n 64",
    "translations": "python -m sketchlab.translate {run} PHOTOS",
    "drawings": "python -m sketchlab.generate {run} -n 64",
}


def result(path: Path) -> list[str]:
    """The result of a finished run in a line, and a command that uses it; [] of a run that has no result."""
    from sketchlab.report import scores
    from sketchlab.report.read import glance

    run = glance(path)
    first = scores.primary(run)
    if run.state != "finished" or first is None:
        return []
    interval = f" [{first.low:.3f}, {first.high:.3f}]" if first.low is not None and first.high is not None else ""
    n = f" (n = {first.n:,})" if first.n else ""
    epoch = run.status.get("best", {}).get("epoch")
    of = f", weights of epoch {epoch}" if epoch is not None and first.split == "test" else ""
    use = NEXT.get(run.declared.answers, "")
    lines = [f"{first.split} {first.metric} {first.value:.3f}{interval}{n}{of}"]
    return lines + ([f"next: {use.format(run=path)}"] if use else [])


def report(folder: Any) -> float | None:
    """Draw the report, unless it shows this state already; its path is the last line of standard output."""
    import sketchlab.report

    page, ended = folder.path / "report.html", (folder.path / "status.json").stat().st_mtime_ns
    if not page.exists() or page.stat().st_mtime_ns < ended:
        page = sketchlab.report.write(folder.path)
    for line in result(folder.path):
        print(line)
    print(f"report: {page}", flush=True)
    scores = [v for k, v in folder.written.get("best", {}).items() if k != "epoch"]
    return scores[0] if scores else None
