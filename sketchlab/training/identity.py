"""Which run this is: everything that decides its result, and the folder that is named by it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sketchlab import semantics
from sketchlab.config import RunConfig

# what changes no bit of a result
FREE = {"data": ("root", "source"), "loop": ("save_every_s",), "runtime": ("workers", "recompute", "graph", "profile")}


def deciding(run: RunConfig, data: Any) -> dict[str, Any]:
    """Everything that decides the result of a run, and nothing else: its hash is the id."""
    from sketchlab.schema import settled
    from sketchlab.training import launch

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
    numbers = semantics.numbers(plain, len(data.splits["train"]))
    return {k: plain[k] for k in ("seed", "data", "model", "pipeline", "loop", "runtime")} | {
        "samples": data.fingerprint,
        **({"semantics": numbers} if numbers else {}),
    }


def folder_of(run: RunConfig, identity: dict[str, Any]) -> Path:
    from sketchlab.engine.rundir import identity as digest

    return Path(run.run.root).resolve() / f"{run.choices['model']}-{run.choices['data']}" / digest(identity)
