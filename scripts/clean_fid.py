"""FID and KID with our resizing and with clean-fid's, on the same images.

clean-fid (Parmar, Zhang and Zhu 2022, "On aliased resizing and surprising subtleties in GAN evaluation") resizes each
channel by itself as PIL images of floats, bicubic, which filters when it shrinks, and rounds and clips nothing. Ours is
bilinear, with PyTorch's filter when it shrinks (sketchlab/pipelines/gan/feature_nets.py). The network, its weights and
the images are the same on both sides. Real images of two classes stand for real and generated ones.

    python scripts/clean_fid.py [-n 200]

Cost: some 10 minutes of a core. Needs SKETCHLAB_DATA (QuickDraw, Sketchy) and Inception's weights in SKETCHLAB_WEIGHTS.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sketchlab import config, rng
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.metrics import generation as metrics
from sketchlab.pipelines.gan.data import Reals
from sketchlab.pipelines.gan.feature_nets import make

SIZE_PX = 299  # of Inception
SETS = {
    "drawings of trees and brooms, 64 px, enlarged": [
        "data=quickdraw",
        "data.folder=quickdraw_10/simplified",
        "data/raster=picture",
        "data.classes=[tree,broom]",
        "model=dcgan",
    ],
    "photos of dogs and elephants, 64 px, enlarged": ["data=sketchy_photos", "data.classes=[dog,elephant]"],
    "photos of dogs and elephants, 512 px, shrunk": [
        "data=sketchy_photos",
        "data.classes=[dog,elephant]",
        "model.input.size_px=512",
    ],
}


def clean(images: Tensor, size_px: int = SIZE_PX) -> Tensor:
    """(n, C, S, S) → (n, C, size_px, size_px), channel by channel as floats, bicubic, nothing rounded or clipped."""
    n, channels = images.shape[:2]
    planes = images.flatten(0, 1).numpy().astype(np.float32)
    shape = (size_px, size_px)
    out = [np.asarray(Image.fromarray(plane, mode="F").resize(shape, Image.Resampling.BICUBIC)) for plane in planes]
    return torch.from_numpy(np.stack(out)).view(n, channels, *shape)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=200, help="images of each class (default 200, or all there are)")
    n = parser.parse_args(words).n
    try:
        print("| images | n | FID, ours | FID, clean-fid | KID, ours | KID, clean-fid |\n|---|---|---|---|---|---|")
        for name, overrides in SETS.items():
            print(row(name, overrides, n), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def row(name: str, overrides: list[str], n: int) -> str:
    run = config.from_overrides(["model=dcgan_colour", *overrides, "data.splits.train=0.98", "data.splits.val=0.01",
                                 "data.splits.test=0.01"])  # fmt: skip
    data, runtime = run.data.build(run.model.config.input), Runtime(run.runtime)
    features, labels = make("inception", runtime.device), data.splits["train"].labels
    sides = []
    for label in (0, 1):
        places = torch.nonzero(labels == label).flatten()[:n]
        images = Reals(data, runtime, n, "input").some("train", places)
        planes = torch.cat([clean(part) for part in tqdm(images.split(32), "resizing", leave=False)])
        sides.append((features.of(images), features.of(planes)))
    found = []
    for real, fake in zip(*sides, strict=True):
        subset = min(100, len(real), len(fake))
        fid, kid = metrics.fid(real, fake), metrics.kid(real, fake, 100, subset, rng.fold("kid", "clean"))
        found.append((float(fid.value), kid.mean))
    (fid, kid), (fid_clean, kid_clean) = found
    sizes = " and ".join(str(len(side[0])) for side in sides)
    return f"| {name} | {sizes} | {fid:.1f} | {fid_clean:.1f} | {kid:.4f} | {kid_clean:.4f} |"


if __name__ == "__main__":
    main()
