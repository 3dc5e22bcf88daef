"""python -m sketchlab.translate RUN FILES… --to sketch|photo: photos as sketches or sketches as photos, by CycleGAN."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sketchlab.data.sheet import save
from sketchlab.errors import UserError, exit_on_error
from sketchlab.predict import listed
from sketchlab.runs import OpenedRun, reading
from sketchlab.runs.gan import generator
from sketchlab.storage.files import cores

BATCH = 16


def main(words: list[str] | None = None) -> None:
    """Exit code 0 when everything was translated, 1 when a part could not be read or nothing could be done."""
    arguments = parser().parse_args(words)
    sys.exit(1 if exit_on_error(lambda: translate(arguments)) else 0)


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("python -m sketchlab.translate", description=__doc__, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a run of pipeline=translate")
    out.add_argument("files", nargs="+", metavar="FILE", help="images; a folder means all in it, recursive and sorted")
    out.add_argument("--to", choices=("sketch", "photo"), required=True, help="what the files are to become")
    out.add_argument("--weights", choices=generator.WHICH, default="best", help="best by KID (default) or last")
    out.add_argument("--out", type=Path, metavar="DIR", help="where to (default RUN/translated)")
    return out


def translate(arguments: argparse.Namespace) -> int:
    """Write <name>_<to>.png for each file; returns how many could not be read."""
    run = OpenedRun(arguments.run)
    net = generator.translator(run, arguments.to, arguments.weights)
    reader, names = generator.picture_reader(run, arguments.to), listed(arguments.files)
    folder = arguments.out or run.path / "translated"
    goals = targets(names, folder, arguments.to)
    folder.mkdir(parents=True, exist_ok=True)
    bad = 0
    with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as pool:
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            read = reading.squares(part, reader, pool)
            good = [i for i, one in enumerate(read) if not isinstance(one, str)]
            made = iter(generator.translated(run, net, [read[i] for i in good], arguments.to)) if good else iter(())
            for i, name in enumerate(part):
                if i not in good:
                    bad += 1
                    print(f"{name}  cannot be read: {read[i]}", file=sys.stderr)
                    continue
                save(goals[name], next(made))
                print(f"{name}  {goals[name]}")
    return bad


def targets(names: list[str], folder: Path, to: str) -> dict[str, Path]:
    """File → where its translation goes. Raises UserError when two would go to the same place."""
    out: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for name in names:
        goal = folder / f"{Path(name).stem}_{to}.png"
        if taken.setdefault(goal, name) != name:
            raise UserError(f"{name} and {taken[goal]} would both be written to {goal}: translate them one at a time")
        out[name] = goal
    return out


if __name__ == "__main__":
    main()
