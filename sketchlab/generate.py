"""python -m sketchlab.generate RUN -n 64: new images or drawings from a finished run, and a sheet of them.

A run of pipeline=draw writes an SVG each and all as ndjson; with --complete it finishes the drawings of a file.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from sketchlab.data.sheet import save
from sketchlab.errors import UserError, exit_on_error
from sketchlab.pipelines.gan.sheets import sheet
from sketchlab.runs import OpenedRun, reading
from sketchlab.runs.draw import files
from sketchlab.runs.draw.drawer import Drawer
from sketchlab.runs.gan import generator

SHOWN = 100  # images on the sheet, at most
N, ENDINGS = 64, 4  # how many there are where -n is not given


def main(words: list[str] | None = None) -> None:
    arguments = parser().parse_args(words)
    print(exit_on_error(lambda: generate(arguments)))


def parser() -> argparse.ArgumentParser:
    what = (__doc__ or "").partition("\n")[0]
    out = argparse.ArgumentParser("python -m sketchlab.generate", description=what, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a run of pipeline=gan or pipeline=draw")
    out.add_argument("-n", type=int, help=f"how many (default {N}); with --complete, of each (default {ENDINGS})")
    out.add_argument("--class", dest="name", metavar="CLASS", help="of this class (default: each in turn)")
    out.add_argument("--seed", type=int, default=0, help="other noise, other images (default 0)")
    out.add_argument("--weights", choices=generator.WHICH, default="best", help="best by val (default) or last")
    out.add_argument("--out", type=Path, metavar="DIR", help="where to (default RUN/generated/seed_<seed>…)")
    out.add_argument("--temperature", type=float, help="drawings: the lower, the likelier (default: the run's)")
    out.add_argument("--complete", type=Path, metavar="FILE", help="drawings: endings of those of this ndjson file")
    return out


def generate(arguments: argparse.Namespace) -> Path:
    """Write what was generated and a sheet of it; returns the folder. The same words write the same bytes."""
    run = OpenedRun(arguments.run)
    endings = [str(arguments.name)] if arguments.name else []
    endings += [arguments.complete.stem] if arguments.complete else []
    endings += [f"t{arguments.temperature:g}"] if arguments.temperature is not None else []
    ending = re.sub(r"[^\w.-]", "_", "".join(f"_{one}" for one in endings))
    folder = arguments.out or run.path / "generated" / f"seed_{arguments.seed}{ending}"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: expected a folder, this is a file")
    if run.scores.answers == "drawings":
        _complete(run, arguments, folder) if arguments.complete else _draw(run, arguments, folder)
        return folder
    for key in ("complete", "temperature"):
        if getattr(arguments, key) is not None:
            run.check_answers("drawings", f"--{key}")
    _images(run, arguments, folder)
    return folder


def _images(run: OpenedRun, arguments: argparse.Namespace, folder: Path) -> None:
    """00000.png …"""
    n = N if arguments.n is None else arguments.n
    net = generator.generator(run, arguments.weights)
    classes = generator.class_numbers(run, net, n, [] if arguments.name is None else [arguments.name])
    folder.mkdir(parents=True, exist_ok=True)
    pixels = generator.images(run, net, n, arguments.seed, classes)
    names = [""] * len(pixels) if classes is None else [f"_{run.classes[int(c)]}" for c in classes]
    endings = [re.sub(r"[^\w.-]", "_", name) for name in names]
    for i, image in enumerate(tqdm(pixels, "writing", unit="image", delay=3)):
        save(folder / f"{i:05d}{endings[i]}.png", image)
    images = torch.from_numpy(pixels[:SHOWN] / np.float32(255))
    save(folder / "sheet.png", sheet(images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)).numpy())


def _draw(run: OpenedRun, arguments: argparse.Namespace, folder: Path) -> None:
    drawer, names = Drawer(run, arguments.weights), [arguments.name] if arguments.name else None
    n = N if arguments.n is None else arguments.n
    drawings = drawer.new(n, arguments.seed, arguments.temperature, names)
    words = [run.classes[int(c)] for c in drawer.classes(n, names)] if drawer.knows else [""] * n
    files.write(folder, drawings, words)


def _complete(run: OpenedRun, arguments: argparse.Namespace, folder: Path) -> None:
    """A row of endings for each drawing of the file; those within 0…255 stay where they stand."""
    drawer, n = Drawer(run, arguments.weights), ENDINGS if arguments.n is None else arguments.n
    drawings, begun = [], []
    for where, _, beginning in reading.drawings(str(arguments.complete)):
        if isinstance(beginning, str):
            raise UserError(f"--complete {where}: {beginning}")
        made = drawer.endings(beginning, n, arguments.seed, arguments.temperature, arguments.name)
        drawings += [[*beginning, *ending] for ending in made]
        begun += [len(beginning)] * len(made)
    files.write(folder, drawings, [arguments.name or ""] * len(drawings), begun, columns=n)


if __name__ == "__main__":
    main()
