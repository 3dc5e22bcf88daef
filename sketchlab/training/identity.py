"""Which run this is: everything that decides its result, and the folder that is named by it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sketchlab import schema, semantics
from sketchlab.config import RunConfig

GROUPS = ("data", "model", "pipeline", "loop", "runtime")


def deciding(run: RunConfig, data: Any) -> dict[str, Any]:
    """Everything that decides the result of a run, and nothing else: its hash is the id."""
    from sketchlab.training import launch

    plain = run.plain()
    device, precision = run.runtime.decided()
    plain["runtime"] |= {"device": device, "precision": precision, "ranks": launch.world(run.runtime)}
    if hasattr(sys.modules[run.pipeline.module], "decided"):
        plain["pipeline"] |= run.pipeline.constant("decided")(run.pipeline.config)
    for model, values in ((run.model, plain["model"]), (run.model.backbone, plain["model"].get("backbone"))):
        if model and hasattr(sys.modules[model.module], "fingerprint"):
            values["weights"] = model.constant("fingerprint")(model.config)
    numbers = semantics.numbers(plain, len(data.splits["train"]))
    kept = {key: plain[key] for key in ("seed", *GROUPS) if key in plain} | {"samples": data.fingerprint}
    return reduced(run, kept | ({"semantics": numbers} if numbers else {}))


def reduced(run: RunConfig, identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity, also one that an older sketchlab wrote, less what decides nothing by the roles of today's fields
    (sketchlab/schema.py). It must be of the pipeline, model and data of `run`."""
    out = schema.completed(schema.current(identity))
    for group in run.pipeline.constant("IGNORES", ()):
        out.pop(group, None)
    for group in GROUPS:
        part = getattr(run, group)
        if isinstance(out.get(group), dict):
            out[group] = schema.deciding(type(getattr(part, "config", part)), out[group])
    if run.model.backbone and "backbone" in out["model"]:
        out["model"]["backbone"] = schema.deciding(type(run.model.backbone.config), out["model"]["backbone"])
    return schema.settled(out)


def comparable(run: RunConfig, identity: Mapping[str, Any]) -> bool:
    """Whether an identity is of the same pipeline, model and data: reduced() takes no other."""
    return all(
        isinstance(identity.get(group), dict) and identity[group].get("name") == getattr(run, group).name
        for group in ("data", "model", "pipeline")
    )


def group_of(run: RunConfig) -> Path:
    """The folder of all runs of this model and data."""
    return Path(run.run.root).resolve() / f"{run.choices['model']}-{run.choices['data']}"


def id_of(identity: Mapping[str, Any]) -> str:
    """12 hexadecimal digits; keys count under the names that they had at first."""
    from sketchlab.engine.rundir import identity as digest

    return digest(schema.moved(identity, {new: old for old, new in schema.RENAMED.items()}))
