"""python -m sketchlab.generate RUN -n 64: new images from a finished run of a GAN, and a sheet of them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from sketchlab.errors import UserError, exit_on_error
from sketchlab.pipelines.gan.sheets import sheet
from sketchlab.runs import OpenedRun
from sketchlab.runs.gan import generator
from sketchlab.storage.files import atomic

SHOWN = 100  # images on the sheet, at most


def main(words: list[str] | None = None) -> None:
    arguments = parser().parse_args(words)
    print(exit_on_error(lambda: generate(arguments)))


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser("python -m sketchlab.generate", description=__doc__, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a run of pipeline=gan")
    out.add_argument("-n", type=int, default=64, help="how many (default 64)")
    out.add_argument("--class", dest="name", metavar="CLASS", help="of this class (default: each in turn)")
    out.add_argument("--seed", type=int, default=0, help="other noise, other images (default 0)")
    out.add_argument("--weights", choices=generator.WHICH, default="best", help="best by KID (default) or last")
    out.add_argument("--out", type=Path, metavar="DIR", help="where to (default RUN/generated/seed_<seed>…)")
    return out


def generate(arguments: argparse.Namespace) -> Path:
    """Write 00000.png … and sheet.png; returns their folder. The same words write the same bytes."""
    run = OpenedRun(arguments.run)
    net = generator.generator(run, arguments.weights)
    classes = generator.class_numbers(run, net, arguments.n, [] if arguments.name is None else [arguments.name])
    ending = re.sub(r"[^\w.-]", "_", f"_{arguments.name}") if arguments.name else ""
    folder = arguments.out or run.path / "generated" / f"seed_{arguments.seed}{ending}"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: expected a folder, this is a file")
    folder.mkdir(parents=True, exist_ok=True)
    pixels = generator.images(run, net, arguments.n, arguments.seed, classes)
    names = [""] * len(pixels) if classes is None else [f"_{run.classes[int(c)]}" for c in classes]
    endings = [re.sub(r"[^\w.-]", "_", name) for name in names]
    for i, image in enumerate(tqdm(pixels, "writing", unit="image", delay=3)):
        save(folder / f"{i:05d}{endings[i]}.png", image)
    images = torch.from_numpy(pixels[:SHOWN] / np.float32(255))
    save(folder / "sheet.png", sheet(images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)).numpy())
    return folder


def save(path: Path, pixels: np.ndarray) -> None:
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


if __name__ == "__main__":
    main()
