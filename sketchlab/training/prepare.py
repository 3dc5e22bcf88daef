"""Before a run starts: its data is read, so that its folder is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sketchlab.config import RunConfig
from sketchlab.training.identity import deciding, folder_of


@dataclass(frozen=True)
class Prepared:
    """A run whose data is read, so that its folder is known."""

    run: RunConfig
    data: Any
    identity: dict[str, Any]  # what its folder is named by
    folder: Any  # engine.rundir.RunDir


def prepare(run: RunConfig) -> Prepared:
    """Read the data, say what is to be run, and name its folder, which need not exist yet."""
    from sketchlab.engine.rundir import RunDir
    from sketchlab.training import launch

    launch.prepare_environment(run.runtime)
    names = "  ".join(f"{group}={run.choices[group]}" for group in ("pipeline", "model", "data"))
    if launch.env_rank() == 0:
        print(f"{names}  seed={run.seed}", flush=True)
    data = run.data.build(run.model.config.input)
    identity = deciding(run, data)
    return Prepared(run, data, identity, RunDir(folder_of(run, identity), writes=launch.env_rank() == 0))
