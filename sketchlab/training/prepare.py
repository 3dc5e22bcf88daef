"""Before a run starts: its data is read, so that its folder is known."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sketchlab.config import RunConfig
from sketchlab.errors import UserError
from sketchlab.training import neighbours
from sketchlab.training.identity import deciding, group_of, id_of
from sketchlab.training.neighbours import Neighbour


@dataclass(frozen=True)
class Prepared:
    """A run whose data is read, so that its folder is known."""

    run: RunConfig
    data: Any
    identity: dict[str, Any]  # what its folder is named by
    folder: Any  # engine.rundir.RunDir
    others: list[Neighbour]  # of the same model and data; where the folder is there already, none were looked for


def prepare(run: RunConfig) -> Prepared:
    """Read the data, say what is to be run, and name its folder, which need not exist yet."""
    from sketchlab.engine.rundir import RunDir
    from sketchlab.training import launch

    launch.prepare_environment(run.runtime)
    check(run)
    names = "  ".join(f"{group}={run.choices[group]}" for group in ("pipeline", "model", "data"))
    if launch.env_rank() == 0:
        print(f"{names}  seed={run.seed}", flush=True)
    data = run.data.build(run.model.config.input)
    if run.pipeline.constant("ANSWERS", "") == "classes" and len(data.classes) < 2:
        what = (
            f"pipeline={run.choices['pipeline']} needs at least two classes, but data={run.choices['data']} has one, "
            f"'{data.classes[0]}': expected class folders, <class>/*.png, or more names in data.classes"
        )
        raise UserError("; ".join([what, *data.notes]))
    identity = deciding(run, data)
    path, others = group_of(run) / id_of(identity), []
    if not path.exists():
        others = neighbours.of(run)
        path = neighbours.alias(others, identity) or path
    return Prepared(run, data, identity, RunDir(path, writes=launch.env_rank() == 0), others)


def check(run: RunConfig) -> None:
    """What can be known before data is read, which may take minutes: the device, the weights, trackers, a scoring
    classifier, and where results go. Raises UserError."""
    from sketchlab.runs import OpenedRun
    from sketchlab.training import launch, track

    run.runtime.decided()
    answers, rule = run.pipeline.constant("ANSWERS", ""), getattr(getattr(run.data.config, "splits", None), "rule", "")
    if rule == "unseen" and answers in ("classes", "images"):
        does = {"classes": "a classifier cannot score", "images": "a generator cannot draw"}[answers]
        raise UserError(
            f"data.splits.rule=unseen: {does} classes it never saw; expected a model of pairs (pipeline=retrieve or "
            "translate), or data/splits=fraction, count, kfold or official"
        )
    for model in (run.model, run.model.backbone):
        if model and hasattr(sys.modules[model.module], "fingerprint"):
            model.constant("fingerprint")(model.config)
    track.check(run.run.track)
    if classifier := getattr(run.pipeline.config, "scoring_classifier", None):
        OpenedRun(Path(classifier))
    if launch.env_rank() == 0:
        root = Path(run.run.root).resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise UserError(
                f"cannot write to {root}: {error.strerror}; choose another folder with run.root=…"
            ) from None
