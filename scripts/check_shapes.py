"""Measure how hard the built-in shapes are and draw contact sheets of them.

    python scripts/check_shapes.py --out sheets

Prints nearest-neighbour accuracies (the figures in sketchlab/data/sets/shapes/) and the time to draw; writes
sketches.png, photos.png and pairs.png to the folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageFilter

from sketchlab import stats
from sketchlab.data.sets import shapes
from sketchlab.data.sets.shapes import hand as shape_hand

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def pictures(per_class: int, size_px: int, picture: str) -> np.ndarray:
    """(classes, per_class, S·S·channels) float32, bright ink for sketches."""
    made = []
    for name in shapes.CLASSES:
        if picture == "photo":
            made.append([shapes.photo(name, i, size_px) for i in range(per_class)])
        else:
            strokes = shapes.drawings(name, list(range(per_class)))
            made.append([255 - shape_hand.render(s, size_px) for s in strokes])
    return np.array(made, dtype=np.float32).reshape(len(shapes.CLASSES), per_class, -1)


def blurred(images: np.ndarray, size_px: int, radius_px: float) -> np.ndarray:
    """The same sketches softened: a stronger twin, since near misses of thin lines then count as near."""
    flat = images.reshape(-1, size_px, size_px).astype(np.uint8)
    soft = [np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(radius_px)), dtype=np.float32) for x in flat]
    return np.array(soft).reshape(images.shape)


def nearest(images: np.ndarray, n_known: int) -> tuple[int, int, list[float]]:
    """(classes, n, pixels): the last of each class against the first n_known → hits, n, share of hits by class."""
    classes, n, pixels = images.shape
    known, asked = images[:, :n_known].reshape(-1, pixels), images[:, n_known:].reshape(-1, pixels)
    distance = (known**2).sum(1) - 2 * asked @ known.T
    hits = np.repeat(np.arange(classes), n_known)[distance.argmin(1)] == np.repeat(np.arange(classes), n - n_known)
    return int(hits.sum()), len(hits), hits.reshape(classes, -1).mean(1).tolist()


def report(title: str, images: np.ndarray) -> None:
    hits, n, by_class = nearest(images, round(images.shape[1] * 0.8))
    low, high = stats.wilson(hits, n)
    print(f"{title:34} {hits / n:.3f} [{low:.3f}, {high:.3f}]  n = {n}")
    worst = sorted(zip(by_class, shapes.CLASSES, strict=True))[:4]
    print(f"{'':34} hardest: {', '.join(f'{name} {share:.2f}' for share, name in worst)}")


def sheet(path: Path, title: str, columns: int, cell, size_px: int = 96) -> None:
    """One row a class; cell(name, column) → (S, S[, 3]) uint8."""
    gap = size_px + 2
    canvas = np.full((gap * len(shapes.CLASSES), gap * columns, 3), 200, dtype=np.uint8)
    for row, name in enumerate(shapes.CLASSES):
        for column in range(columns):
            image = cell(name, column)
            image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
            canvas[row * gap : row * gap + size_px, column * gap : column * gap + size_px] = image
    figure, axes = plt.subplots(figsize=(columns * 0.7 + 1.2, len(shapes.CLASSES) * 0.7 + 0.5), layout="constrained")
    axes.imshow(canvas)
    axes.set(xticks=[], yticks=[gap * (i + 0.5) for i in range(len(shapes.CLASSES))], yticklabels=shapes.CLASSES)
    axes.set_title(title)
    axes.spines[:].set_visible(False)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the contact sheets")
    parser.add_argument("--per-class", type=int, default=200, help="pictures a class, four fifths to compare with")
    parser.add_argument("--size-px", type=int, default=64)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    size, n = options.size_px, options.per_class
    began = time.perf_counter()
    sketches = pictures(n, size, "sketch")
    print(f"{18 * n} sketches at {size} px in {time.perf_counter() - began:.1f} s")
    print(f"nearest neighbour on pixels, 18 classes, {n} a class, 80/20, share right [95% Wilson interval]")
    report("sketches, raw", sketches)
    for radius in (1.0, 1.5, 2.5):
        report(f"sketches, blurred by {radius} px", blurred(sketches, size, radius))
    began = time.perf_counter()
    photos = pictures(n, size, "photo")
    print(f"{18 * n} photos at {size} px in {time.perf_counter() - began:.1f} s")
    report("photos, raw", photos)

    def sketched(name: str, number: int, hand: int = 0) -> np.ndarray:
        return shape_hand.render(shapes.drawing(name, number, hand), 96)

    def painted(name: str, number: int) -> np.ndarray:
        return shapes.photo(name, number, 96).transpose(1, 2, 0)

    def paired(name: str, column: int) -> np.ndarray:
        number, what = divmod(column, 4)
        return painted(name, number) if what == 0 else sketched(name, number, what - 1)

    about = f"shapes, version {shapes.VERSION}"
    sheet(options.out / "sketches.png", f"Sketches: the first 20 of each class ({about})", 20, sketched)
    sheet(options.out / "photos.png", f"Photos: the first 16 of each class ({about})", 16, painted)
    sheet(
        options.out / "pairs.png", f"Pairs: a photo and three sketches of it, 4 objects a class ({about})", 16, paired
    )


if __name__ == "__main__":
    main()
