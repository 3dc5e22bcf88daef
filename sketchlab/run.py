"""python -m sketchlab.run …: compose → parse → train → report of this run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from sketchlab import components, config
from sketchlab.errors import UserError, exit_on_error
from sketchlab.training.session import execute


def main() -> None:
    """Hydra's command line, with every mistake in one line and exit code 1."""
    exit_on_error(_hydra)


def _hydra() -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing: composition_error says it in one line
    import hydra

    overrides = [a for a in sys.argv[1:] if not a.startswith("-")]
    config.check_options(sys.argv[1:])
    try:
        sys.argv[1:] = config.names_as_text(sys.argv[1:])
        sys.argv += ["--config-dir", str(Path(components.EXTRA, "conf"))] if components.EXTRA else []
        hydra.main(config_path=str(config.conf_dir()), config_name="config", version_base="1.3")(job)()
    except Exception as error:
        mistake = config.composition_error(error, overrides)
        if not isinstance(mistake, UserError):
            raise
        raise mistake from None


def job(cfg: Any) -> float | None:
    """One job of Hydra's. Returns the best monitored score for a sweeper."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    hydra_cfg = HydraConfig.get()
    typed = OmegaConf.to_container(hydra_cfg.overrides.task) or []  # as typed: ${…} refers to keys of the run
    overrides = [str(o) for o in typed if not str(o).startswith("hydra.")]
    if hydra_cfg.mode == RunMode.MULTIRUN:
        from sketchlab.sweeps import grid as sweep

        return sweep.run(cfg, overrides, hydra_cfg)
    try:
        run = config.composed(cfg, hydra_cfg.runtime.choices, overrides)
        return planned(run) if run.plan else execute(run)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except Exception as error:
        mistake = config.composition_error(error, overrides)
        if not isinstance(mistake, UserError):
            raise
        print(f"error: {mistake}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        sys.exit(128 + int(stop.args[0] if stop.args else signal.SIGINT))


def planned(run: config.RunConfig) -> None:
    """plan=true: print what would be done, and what it would cost."""
    from sketchlab.training import plan
    from sketchlab.training.prepare import prepare

    start_s = plan.started_s()
    print(plan.table([("this run", plan.of(prepare(run)))], start_s=start_s), flush=True)


if __name__ == "__main__":
    from sketchlab.run import main as importable  # what other processes are sent must be found there by its name

    importable()
