"""python -m sketchlab.run …: compose → parse → train → report of this run."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sketchlab import config
from sketchlab.config import RunConfig
from sketchlab.errors import UserError

# what changes no bit of a result
FREE = {"data": ("root", "source"), "loop": ("save_every_s",), "runtime": ("workers", "recompute", "profile")}


@dataclass(frozen=True)
class Prepared:
    """A run whose data is read, so that its folder is known."""

    run: RunConfig
    data: Any
    identity: dict[str, Any]  # what its folder is named by
    folder: Any  # engine.rundir.RunDir


def main() -> None:
    """Hydra's command line, with every mistake in one line and exit code 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing: composition_error says it in one line
    import hydra

    overrides = [a for a in sys.argv[1:] if not a.startswith("-")]
    try:
        sys.argv += ["--config-dir", str(Path(config.EXTRA, "conf"))] if config.EXTRA else []
        hydra.main(config_path=str(config.conf_dir()), config_name="config", version_base="1.3")(job)()
    except Exception as error:
        said = config.composition_error(error, overrides)
        if not isinstance(said, UserError):
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(1)


def job(cfg: Any) -> float | None:
    """One job of Hydra's. Returns the best monitored score for a sweeper."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra_cfg = HydraConfig.get()
    overrides = [o for o in hydra_cfg.overrides.task if not o.startswith("hydra.")]
    if hydra_cfg.mode == RunMode.MULTIRUN:
        from sketchlab import sweep

        return sweep.run(cfg, overrides, hydra_cfg)
    try:
        return execute(config.composed(cfg, hydra_cfg.runtime.choices, overrides))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        sys.exit(128 + int(stop.args[0] if stop.args else signal.SIGINT))


def execute(run: RunConfig, reported: bool = True) -> float | None:
    """Train (or find, or resume) a run and write its report, when asked for. Returns its best monitored score."""
    return carry_out(prepare(run), reported)


def prepare(run: RunConfig) -> Prepared:
    """Read the data, say what is to be run, and name its folder, which need not exist yet."""
    from sketchlab.engine import launch
    from sketchlab.engine.rundir import RunDir

    launch.prepare_environment(run.runtime)
    names = "  ".join(f"{group}={run.choices[group]}" for group in ("pipeline", "model", "data"))
    if launch.env_rank() == 0:
        print(f"{names}  seed={run.seed}", flush=True)
    data = run.data.build(run.model.config.input)
    identity = deciding(run, data)
    return Prepared(run, data, identity, RunDir(folder_of(run, identity), writes=launch.env_rank() == 0))


def carry_out(prepared: Prepared, reported: bool = True, yardstick: dict[str, Any] | None = None) -> float | None:
    """Train (or find, or resume) what is prepared. Returns its best monitored score, None when there is none.

    yardstick: of a search, which ends hopeless runs by it (search.py).
    """
    from sketchlab import track
    from sketchlab.engine import launch

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


def deciding(run: RunConfig, data: Any) -> dict[str, Any]:
    """Everything that decides the result of a run, and nothing else: its hash is the id."""
    from sketchlab.engine import launch
    from sketchlab.schema import settled

    plain = settled(run.plain())
    device, precision = run.runtime.decided()
    plain["runtime"] |= {"device": device, "precision": precision, "ranks": launch.world(run.runtime)}
    for group, keys in FREE.items():
        for key in keys:
            plain[group].pop(key, None)
    if hasattr(sys.modules[run.pipeline.module], "decided"):
        plain["pipeline"] |= run.pipeline.constant("decided")(run.pipeline.config)
    for model, values in ((run.model, plain["model"]), (run.model.backbone, plain["model"].get("backbone"))):
        if model and hasattr(sys.modules[model.module], "fingerprint"):
            values["weights"] = model.constant("fingerprint")(model.config)
    return {k: plain[k] for k in ("seed", "data", "model", "pipeline", "loop", "runtime")} | {
        "samples": data.fingerprint
    }


def folder_of(run: RunConfig, identity: dict[str, Any]) -> Path:
    from sketchlab.engine.rundir import identity as digest

    return Path(run.run.root).resolve() / f"{run.choices['model']}-{run.choices['data']}" / digest(identity)


def found(folder: Any) -> str:
    from sketchlab.engine.environment import code
    from sketchlab.engine.files import read_json

    made = read_json(folder.path / "status.json").get("code")
    other = "" if made == code() else f", made by other code ({made}, now {code()}): rerun=true trains it again"
    return f"found: this run is finished{other}"


def train(
    run: RunConfig, data: Any, identity: dict[str, Any], folder: Any, yardstick: dict[str, Any] | None = None
) -> None:
    """From new, cut, interrupted or failed to finished; whatever happens, status.json says it."""
    from sketchlab.engine import environment, launch
    from sketchlab.engine.rundir import now
    from sketchlab.schema import SCHEMA

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


def work(runtime: Any, run: RunConfig, path: Path, data: Any, yardstick: dict[str, Any] | None = None) -> None:
    """One rank: build everything, describe it in the folder, train."""
    from sketchlab import rng
    from sketchlab.data.dataset import resident
    from sketchlab.data.sheet import of_training
    from sketchlab.engine.environment import environment
    from sketchlab.engine.loop import fit, fit_once
    from sketchlab.engine.rundir import RunDir
    from sketchlab.engine.task import printout

    folder = RunDir(path, writes=runtime.rank == 0)
    data = run.data.build(run.model.config.input) if data is None else data
    describe_data(data, run, folder)
    if folder.writes and not (path / "samples" / "data.png").exists():
        folder.picture("data", of_training(data, run.model.config.input, run.seed))
    if runtime.device.type == "cuda":
        data = resident(data, runtime.device, int(0.4 * runtime.free_bytes()))
    runtime.seed(rng.fold(run.seed, "init"))
    model = run.model.build(len(data.classes))
    task = run.pipeline.build(model, data, run.loop, runtime, run.seed)
    if path_of_judge := getattr(run.pipeline.config, "judge", None):
        from sketchlab.opened.judge import judge

        task.judge = judge(path_of_judge, data.classes, run.model.config.input)
    once = hasattr(task, "fit")
    rows = [] if once else [row for name, (net, inputs) in task.networks.items() for row in printout(name, net, inputs)]
    if rows:
        folder.table("model.csv", rows)
    modules = [] if once else [net for net, _ in task.networks.values()]
    parameters = {p for net in modules for p in net.parameters()}
    counts = {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }
    folder.document("env.json", environment(runtime, counts))
    if once:
        fit_once(task, runtime, folder)
    else:
        fit(task, run.loop, run.seed, runtime, folder, yardstick)


def describe_data(data: Any, run: RunConfig, folder: Any) -> None:
    """data.json, and splits.csv while the list is short: who was in which split, and how that was decided."""
    from sketchlab.data.dataset import Pairs

    parts = {name: s.sketch if isinstance(s, Pairs) else s for name, s in data.splits.items()}
    folder.document(
        "data.json",
        {
            "classes": data.classes,
            "splits": {
                name: {
                    "n": len(s),
                    "per_class": s.labels.bincount(minlength=len(data.classes)).tolist(),
                    "groups": n_groups(s),
                    "digest": digest(s.ids),
                }
                for name, s in parts.items()
            },
            "rule": run.plain()["data"].get("splits", {}),
            "fingerprint": data.fingerprint,
            "notes": data.notes,
        },
    )
    for name, s in parts.items():
        if name in ("val", "test") and n_groups(s) < len(s):
            folder.keep(name, {"groups": s.groups})
    if sum(map(len, parts.values())) <= 50_000:
        rows = [
            {"split": name, "id": i, "label": data.classes[label]}
            for name, s in parts.items()
            for i, label in zip(s.ids, s.labels.tolist(), strict=True)
        ]
        folder.table("splits.csv", rows)


def n_groups(split: Any) -> int:
    """How many objects the samples of a split show, which is what scores vary with; of drawings each is its own."""
    return len(split) if split.groups is split.rows else len(split.groups.unique())


def digest(ids: Any) -> str:
    """Which samples a split has, in whatever order; millions of drawings say it without a list of their names."""
    from sketchlab.data.dataset import fingerprint

    return ids.digest() if len(ids) > 1_000_000 and hasattr(ids, "digest") else fingerprint(sorted(ids))


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


if __name__ == "__main__":
    from sketchlab.run import main as importable  # what other processes are sent must be found there by its name

    importable()
