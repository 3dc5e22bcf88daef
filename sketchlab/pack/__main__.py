"""python -m sketchlab.pack RUN: one file that open_run(FILE) and python -m sketchlab.report FILE read elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sketchlab.errors import UserError, exit_on_error
from sketchlab.report.read import glance
from sketchlab.storage import packed


def main(words: list[str] | None = None) -> None:
    """Exit code 0, or 1 with one line on standard error."""
    out = argparse.ArgumentParser("python -m sketchlab.pack", description=__doc__, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    out.add_argument("--out", type=Path, metavar="FILE", help="default: <model>-<data>-<id>.sketchlab.zip beside you")
    arguments = out.parse_args(words)
    exit_on_error(lambda: pack(arguments.run, arguments.out))


def pack(folder: Path, out: Path | None) -> Path:
    """Write the file and print what it holds; returns its path. UserError for a run that is not finished."""
    run = glance(folder)
    if run.state != "finished":
        raise UserError(f"{folder} is {run.state}, not finished: start its command again first")
    out = out or Path(f"{run.folder.parent.name}-{run.folder.name}{packed.SUFFIX}")
    if out.is_dir():
        raise UserError(f"--out {out}: a folder; expected a file, such as {out / 'run'}{packed.SUFFIX}")
    out.parent.mkdir(parents=True, exist_ok=True)
    files = packed.pack(run.folder, out)
    print(f"{len(files)} files, {out.stat().st_size / 1e6:.1f} MB")
    for line in _needs(run.config.get("config") or {}):
        print(line)
    print(out)
    return out


def _needs(config: dict) -> list[str]:
    """What the file does not hold: data to train again, weights below frozen layers."""
    model = config.get("model") or {}
    model = model.get("backbone") or model
    data = (config.get("data") or {}).get("name")
    lines = [] if data == "shapes" else [f"to train again: data={data}, which the file does not hold"]
    if model.get("tune") == "freeze" and model.get("weights") not in (None, "none"):
        lines.append(f"to predict: weights {model['weights']} of model={model.get('name')}, which stayed frozen")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
