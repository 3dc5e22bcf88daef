"""Images of a folder to training batches on the CPU: sketchlab's way beside timm's create_dataset and create_loader.

Both give (B, 3, S, S) float32, normalised, in a new order every epoch, full batches only. sketchlab's batches are those
of a run: gathered from the store (decoded once, memory-mapped) by engine/loader.py, augmented in batch by
Dataset.prepare. timm decodes every file in every epoch; of its settings (worker processes, and its prefetcher, which
normalises whole batches in the main process) the fastest is taken, found anew for every row.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from bench import Row, interleaved
from torch import Tensor

from sketchlab import config
from sketchlab.data.dataset import Dataset, Split
from sketchlab.engine.loader import Feed, Order
from sketchlab.engine.runtime import Runtime, keep_freed_memory

FOLDER, PARTS = "hymenoptera_data", ("train", "val")
# resized in one step from the exact square, or first to a whole number of pixels and then cut: up to half a pixel apart
MOST_APART = 4 / 255  # mean over all pixels
SAME = 1e-5  # nothing is resized: rounding alone
CROP = "crop of 8 to 100% of the area, sides 3:4 to 4:3, bilinear; mirrored with probability 0.5"
SHARPER = "timm crops from the whole photo, then resizes; sketchlab from the stored square: timm's crops are sharper"


def compare(
    batch: int = 32, repeats: int = 7, trials: int = 3, size_px: int = 224, workers: str = "0,1,2"
) -> Iterator[Row]:
    """hymenoptera's photos to training batches, plain, augmented, from small files and from a cold start; CPU"""
    if importlib.util.find_spec("timm") is None:
        sys.exit("error: the comparison needs timm: pip install 'sketchlab[bench]'")
    keep_freed_memory()  # as in a run; both sides gain
    before = os.environ.get("SKETCHLAB_CACHE")
    with tempfile.TemporaryDirectory() as place:
        os.environ["SKETCHLAB_CACHE"] = f"{place}/cache"
        try:
            yield from rows(Path(place), batch, repeats, trials, size_px, [int(n) for n in workers.split(",")])
        finally:
            os.environ.pop("SKETCHLAB_CACHE")
            if before is not None:
                os.environ["SKETCHLAB_CACHE"] = before


def rows(place: Path, batch: int, repeats: int, trials: int, size_px: int, workers: list[int]) -> Iterator[Row]:
    """plain: the central square. augmented: crops and mirror images. small files: the same, from files that were made
    size_px wide beforehand. cold start: the store is built within the time, and the validation part read once."""
    photos = Path(os.environ.get("SKETCHLAB_DATA") or "data")
    settings = [(n, prefetcher) for n in workers for prefetcher in (False, True)]
    for name, augment in (("plain", "none"), ("augmented", "crop"), ("augmented, small files", "crop")):
        where = photos
        if "small" in name:
            where = place / "small"
            save_small(sketchlab_data(photos, size_px, "none"), where)
        data = sketchlab_data(where, size_px, augment)
        apart = difference(data, where, size_px)
        if apart > (most := SAME if "small" in name else MOST_APART):
            raise AssertionError(f"{name}: without augmentation pixels differ by {apart:.2g}, expected at most {most}")
        n = len(data.splits["train"]) // batch * batch
        peer, setting, tried = best(where, augment, batch, size_px, settings, trials)
        ours = ours_of(data, batch)
        took = interleaved({"timm": timed(peer), "sketchlab": timed(ours)}, repeats)
        yield row(name, f"epoch of {n} images", took, n, setting, tried, augment, apart)
        if name == "augmented":
            cold = cold_sides(where, batch, size_px, augment, setting, place)
            took = interleaved(cold, max(1, repeats // 2))
            n += len(data.splits["val"])
            yield row("cold start, augmented", f"first epoch and validation, {n} images", took, n, setting, {}, augment)


def row(
    name: str, per: str, took: dict[str, list[float]], n: int, setting: tuple[int, bool], tried: dict[str, str],
    augment: str, apart: float | None = None,
) -> Row:  # fmt: skip
    threads = torch.get_num_threads()
    notes: dict[str, Any] = {
        "timm": f"{told(setting)}, {threads} threads in the main process",
        "sketchlab": f"2 threads that fetch, {threads} threads of torch",
        "images_per_s": {side: round(n / statistics.median(v)) for side, v in took.items()},
        "work": "the central square" if augment == "none" else CROP + ("" if "small" in name else f"; {SHARPER}"),
        "around": "the loader alone, no network beside it; the files are in the system's memory",
    }
    if tried:
        notes["timm_epochs_tried"] = tried
    if apart is not None:
        notes["plain_pixels_differ_by"] = f"{apart * 255:.2g} of 255 on average"
    if "cold" in name:
        notes["cold"] = "without imports; sketchlab decodes all files into its store, timm starts its workers"
    return Row(name, took, per, goal="none: stated", notes=notes)


def told(setting: tuple[int, bool]) -> str:
    return f"{setting[0]} worker processes, prefetcher {'on' if setting[1] else 'off'}"


# --- sketchlab


def words(size_px: int, augment: str) -> list[str]:
    return ["model=resnet18", "data=hymenoptera", f"model.input.size_px={size_px}", f"data/augment={augment}"]


def sketchlab_data(where: Path, size_px: int, augment: str) -> Dataset:
    run = config.from_overrides([*words(size_px, augment), f"data.root={where}"])
    return run.data.build(run.model.config.input)


def ours_of(data: Dataset, batch: int) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """An epoch after the other of what the loop and the pipeline do between the store and the network."""
    train: Split = data.splits["train"]
    order, epoch = Order(len(train), batch, 0, data.views), 0
    steps = len(train) // batch

    runtime = Runtime(config.from_overrides(["runtime.device=cpu", "runtime.workers=2"]).runtime)

    def draw(places: Tensor, keys: Tensor) -> dict[str, Any]:
        return {"raw": train.gather(places), "labels": train.labels[places], "keys": keys}

    def prepare(raw: dict[str, Any]) -> dict[str, Tensor]:
        return {"images": data.prepare(raw["raw"], raw["keys"]), "labels": raw["labels"]}

    def one() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal epoch
        epoch += 1
        for got in Feed(order, draw, prepare, runtime)((epoch - 1) * steps, epoch * steps):
            yield got["images"], got["labels"]  # (B, 3, S, S), (B,)

    return one


def plain(data: Dataset, part: str, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A part in its own order, not augmented: as an evaluation reads it."""
    split = data.splits[part]
    for places in torch.arange(len(split)).split(batch):
        yield data.prepare(split.gather(places), None), split.labels[places]


# --- timm


def timm_loader(
    where: Path, part: str, augment: str, batch: int, size_px: int, setting: tuple[int, bool], shuffled: bool = True
) -> Any:
    timm: Any = importlib.import_module("timm.data")  # extra: bench
    input = config.from_overrides(words(size_px, "none")).model.config.input
    return timm.create_loader(
        timm.create_dataset("", root=str(where / FOLDER), split="train" if part == "train" else "validation"),
        input_size=(3, size_px, size_px), batch_size=batch, is_training=shuffled, no_aug=augment == "none",
        scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), hflip=0.5, color_jitter=None, interpolation="bilinear", crop_pct=1.0,
        mean=tuple(input.mean), std=tuple(input.std), num_workers=setting[0], persistent_workers=setting[0] > 0,
        use_prefetcher=setting[1], device=torch.device("cpu"),
    )  # fmt: skip


def best(
    where: Path, augment: str, batch: int, size_px: int, settings: list[tuple[int, bool]], trials: int
) -> tuple[Callable[[], Iterator[Any]], tuple[int, bool], dict[str, str]]:
    """The fastest of timm's settings by its best of `trials` epochs, after one of warm-up; what each took."""
    took: dict[tuple[int, bool], float] = {}
    for setting in settings:
        loader = timm_loader(where, "train", augment, batch, size_px, setting)
        took[setting] = min(interleaved({"": timed(loader.__iter__)}, trials)[""])
        del loader
        gc.collect()  # its workers end
    setting = min(settings, key=lambda s: took[s])
    loader = timm_loader(where, "train", augment, batch, size_px, setting)
    return loader.__iter__, setting, {told(s): f"{s_took:.3f} s" for s, s_took in took.items()}


# --- both


def timed(epoch: Callable[[], Iterator[Any]]) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        for images, _ in epoch():
            assert images.dtype == torch.float32 and images.ndim == 4 and images.shape[1] == 3
        return time.perf_counter() - start

    return measure


def cold_sides(
    where: Path, batch: int, size_px: int, augment: str, setting: tuple[int, bool], place: Path
) -> dict[str, Callable[[], float]]:
    """The first epoch of a run and its validation, each time with nothing decoded and no worker started."""

    def theirs() -> Iterator[Any]:
        yield from timm_loader(where, "train", augment, batch, size_px, setting)
        yield from timm_loader(where, "val", augment, batch, size_px, setting, shuffled=False)

    def ours() -> Iterator[Any]:
        with tempfile.TemporaryDirectory(dir=place) as cache:
            warm, os.environ["SKETCHLAB_CACHE"] = os.environ["SKETCHLAB_CACHE"], cache
            try:
                data = sketchlab_data(where, size_px, augment)
            finally:
                os.environ["SKETCHLAB_CACHE"] = warm
            yield from ours_of(data, batch)()
            yield from plain(data, "val", batch)

    return {"timm": timed(theirs), "sketchlab": timed(ours)}


def difference(data: Dataset, where: Path, size_px: int) -> float:
    """Of the training part, not augmented: mean absolute difference of the two sides' pixels, on a scale of 0 to 1."""
    loader = timm_loader(where, "train", "none", 16, size_px, (0, False), shuffled=False)
    names = [str(Path("train", name)) for name in loader.dataset.filenames()]
    ids = list(data.splits["train"].ids)
    if sorted(names) != sorted(ids):
        raise AssertionError(f"the two sides read other files: {sorted(set(names) ^ set(ids))[:3]}")
    theirs = torch.cat([images for images, _ in loader])[[names.index(name) for name in ids]]
    ours = torch.cat([images for images, _ in plain(data, "train", 16)])
    assert theirs.shape == ours.shape == (len(ids), 3, size_px, size_px), (theirs.shape, ours.shape)
    std = torch.tensor(data.prepare.input.std)[:, None, None]  # type: ignore[attr-defined]
    return float(((theirs - ours) * std).abs().mean())


def save_small(data: Dataset, where: Path) -> None:
    """Every photo as a JPEG of the square that the store has: what one who waits for the loader would prepare."""
    from PIL import Image

    for part in PARTS:
        split = data.splits[part]
        for place, name in enumerate(split.ids):
            path = where / FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = split.pictures(torch.tensor([place]))[0]  # (3, S, S)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, "JPEG", quality=95)
