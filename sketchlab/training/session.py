"""The states of a run: new, cut, interrupted or failed → finished, or found finished; then its report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sketchlab import config
from sketchlab.config import RunConfig
from sketchlab.errors import UserError
from sketchlab.training.prepare import Prepared, prepare
from sketchlab.training.work import work


def execute(run: RunConfig, reported: bool = True) -> float | None:
    """Train (or find, or resume) a run and write its report, when asked for. Returns its best monitored score."""
    return carry_out(prepare(run), reported)


def carry_out(prepared: Prepared, reported: bool = True, yardstick: dict[str, Any] | None = None) -> float | None:
    """Train (or find, or resume) what is prepared. Returns its best monitored score, None when there is none.

    yardstick: of a search, which ends hopeless runs by it (sweeps/search.py).
    """
    from sketchlab.training import launch, track

    run, data, folder = prepared.run, prepared.data, prepared.folder
    track.check(run.run.track)
    if not folder.writes:
        launch.launch(run.runtime, work, run, folder.path, data)
        return None
    folder.open()
    try:
        if run.rerun:
            folder.clear()
        with track.following(run.run.track, folder.path, config.flat(run.plain())):
            if folder.state == "finished":
                print(found(folder))
            else:
                train(run, data, prepared.identity, folder, yardstick)
        return report(folder) if reported else None
    finally:
        folder.lock.release()


def found(folder: Any) -> str:
    from sketchlab.engine.files import read_json
    from sketchlab.training.environment import code

    made = read_json(folder.path / "status.json").get("code")
    other = "" if made == code() else f", made by other code ({made}, now {code()}): rerun=true trains it again"
    return f"found: this run is finished{other}"


def train(
    run: RunConfig, data: Any, identity: dict[str, Any], folder: Any, yardstick: dict[str, Any] | None = None
) -> None:
    """From new, cut, interrupted or failed to finished; whatever happens, status.json says it."""
    from sketchlab.engine.rundir import now
    from sketchlab.schema import SCHEMA
    from sketchlab.training import environment, launch

    folder.document(
        "config.yaml",
        {
            "schema": SCHEMA,
            "command": run.command,
            "choices": run.choices,
            "config": run.plain(),
            "differs": run.differs,
            "identity": identity,
        },
    )
    if folder.state == "new":
        folder.status(state="running", started=now())
        adopt_shorter(run, identity, folder)
    folder.status(state="running", code=environment.code(), message="")
    try:
        inline = launch.under_torchrun() or run.runtime.ranks == 1
        launch.launch(run.runtime, work, run, folder.path, data if inline else None, yardstick)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        if interrupted:
            message = " ".join(said for said in error.args if isinstance(said, str))
        try:
            folder.status(state="interrupted" if interrupted else "failed", ended=now(), message=message)
        except UserError as second:  # a full disk takes no status either: say both
            raise UserError(f"{message or 'interrupted'} (and {second})") from error
        raise
    tidy(run, folder)
    folder.status(state="finished", ended=now())


def adopt_shorter(run: RunConfig, identity: dict[str, Any], folder: Any) -> None:
    """Take up the finished run of the same configuration with fewer epochs, or say why that cannot be."""
    import yaml

    from sketchlab.engine import checkpoint
    from sketchlab.engine.optim import depends_on_total

    def but_epochs(i: dict[str, Any]) -> dict[str, Any]:
        return {**i, "loop": {k: v for k, v in i["loop"].items() if k != "epochs"}}

    shorter: list[tuple[int, Path]] = []
    for path in folder.path.parent.glob("*/config.yaml"):
        other = yaml.safe_load(path.read_text()).get("identity")
        if not other or path.parent == folder.path or but_epochs(other) != but_epochs(identity):
            continue
        if other["loop"]["epochs"] < run.loop.epochs and type(folder)(path.parent).state == "finished":
            shorter.append((other["loop"]["epochs"], path.parent))
    if not shorter:
        return
    epochs, source = max(shorter)
    if depends_on_total(run.loop):
        folder.say(
            f"the finished run of {epochs} epochs cannot be continued: loop.schedule={run.loop.schedule} depends on "
            "the total number of epochs (loop.schedule=constant or step does not); training from the start"
        )
        return
    last = source / "checkpoints" / "last.pt"
    if not last.exists():
        folder.say(
            f"the finished run of {epochs} epochs has no last.pt (run.keep_last=true keeps it); training from the start"
        )
        return
    state = checkpoint.load(last)
    for name in ("metrics.jsonl", "timing.jsonl"):
        shutil.copy(source / name, folder.path / name)
    shutil.copytree(source / "samples", folder.path / "samples", dirs_exist_ok=True)
    for name in ("best", "last"):
        if (source / "checkpoints" / f"{name}.pt").exists():
            folder.save(name, checkpoint.load(source / "checkpoints" / f"{name}.pt"))
    folder.say(f"continues the finished run of {epochs} epochs, {source.name}, from step {state['step']}")


def tidy(run: RunConfig, folder: Any) -> None:
    """last.pt of a finished run: kept when asked for, or when it is small."""
    last = folder.path / "checkpoints" / "last.pt"
    keep = run.run.keep_last
    if last.exists() and (keep == "false" or (keep == "auto" and last.stat().st_size > 100 * 2**20)):
        last.unlink()


def report(folder: Any) -> float | None:
    """Draw the report, unless it shows this state already; its path is the last line of standard output."""
    import sketchlab.report
    from sketchlab.engine.files import read_json

    page, ended = folder.path / "report.html", (folder.path / "status.json").stat().st_mtime_ns
    if not page.exists() or page.stat().st_mtime_ns < ended:
        page = sketchlab.report.write(folder.path)
    print(f"report: {page}", flush=True)
    status = read_json(folder.path / "status.json")
    scores = [v for k, v in status.get("best", {}).items() if k != "epoch"]
    return scores[0] if scores else None
