"""One page about a data set: how many of what, how large, how much ink, and what they look like."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sketchlab import rng
from sketchlab.data.commands import show_strokes
from sketchlab.data.commands.fetch import Source
from sketchlab.data.dataset import Dataset
from sketchlab.data.images import augment
from sketchlab.errors import UserError

SIDE_PX = 80  # of a sample on the page
SAMPLES = 10  # per class
MEASURED = 5000  # files whose size is read, at most
DRAWN = 20_000  # samples of a split whose ink is measured, at most
ASKED = 1000  # samples of a class and split among which those on the page are sampled at random, at most
_BLOCK = 512
CSS = """
:root { color-scheme: light dark; --soft: #59636e; --line: #d6dae0; --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --soft: #9ba6b2; --line: #363d45; --bar: #56b4e9; } }
body { margin: 1rem auto; padding: 0 1rem; max-width: 75rem; font: 1rem/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 1.6rem 0 .4rem; } .soft { color: var(--soft); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
.n { text-align: right; } td img, svg { display: block; } .wide { overflow-x: auto; }
"""


@dataclass(frozen=True)
class Class:
    """What is said about one class."""

    name: str
    counts: list[int]  # per split
    ink: np.ndarray  # (n,) share of ink of each image, 0 to 1
    samples: np.ndarray  # (H, W) or (H, W, 3) uint8, a row of images


def page(name: str, data: Dataset, files: Path | None, source: Source | None) -> str:
    """The page as HTML, nothing outside it. files: where the ids are files, or None. Raises UserError."""
    places = {key: _some(len(split), DRAWN, "ink", key) for key, split in data.splits.items()}
    ink = {key: (places[key], _ink(data, key, places[key])) for key in data.splits}
    classes = [_class(data, number, ink) for number in tqdm(range(len(data.classes)), "drawing", delay=2)]
    n = sum(len(split) for split in data.splits.values())
    parts = [f"<h1>{html.escape(name)}</h1>", _about(source)]
    parts.append(f"<p>{n:,} images in {len(classes)} classes; {_counted(data)}.</p>")
    parts += [f"<p class=soft>{html.escape(note)}</p>" for note in data.notes]
    if files is not None:
        parts.append(_sizes(files, [i for split in data.splits.values() for i in split.ids]))
    measured = sum(map(len, places.values()))
    parts.append(_table(classes, list(data.splits), f" Measured on {measured:,} of {n:,}." if measured < n else ""))
    parts.append(show_strokes.section(data))
    style = f"<style>{CSS}</style>"
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(name)}</title>"
    view = '<meta name=viewport content="width=device-width, initial-scale=1">'
    return "\n".join([head, view, style, *parts, "</html>"])


def _counted(data: Dataset) -> str:
    return ", ".join(f"{key} {len(split):,}" for key, split in data.splits.items())


def _about(source: Source | None) -> str:
    if source is None:
        return ""
    link = f'<a href="{html.escape(source.page)}">{html.escape(source.page)}</a>'
    return f"<p>{html.escape(source.title)}. {link}<br><span class=soft>Licence: {html.escape(source.licence)}. " + (
        f"Cite: {html.escape(source.citation)}.</span></p>"
    )


def _some(n: int, most: int, *key: str) -> Tensor:
    """Places of all n samples, or of `most` of them sampled at random; ascending."""
    if n <= most:
        return torch.arange(n)
    return torch.from_numpy(np.sort(rng.permutation(np.arange(most), n, rng.fold("show", *key))))


def _ink(data: Dataset, key: str, places: Tensor) -> Tensor:
    """(n,) how far each image is from its background (the median of its border), on average; 0 to 1."""
    split, out = data.splits[key], []
    for part in tqdm(places.split(_BLOCK), f"measuring {key}", unit="block", delay=2):
        raw = split.pictures(part)
        if raw.dim() != 4:
            raise UserError("only data sets that give images can be shown")
        images = raw.float() / 255
        out.append((images - augment.background(images)).abs().flatten(1).mean(1))
    return torch.cat(out)


def _class(data: Dataset, number: int, ink: dict[str, tuple[Tensor, Tensor]]) -> Class:
    here = {key: torch.nonzero(split.labels == number).flatten() for key, split in data.splits.items()}
    chosen = {key: places[_some(len(places), ASKED, "class", key)].tolist() for key, places in here.items()}
    order = [(rng.fold("show", data.splits[key].ids[place]), key, place) for key in chosen for place in chosen[key]]
    chosen = [(key, place) for _, key, place in sorted(order)[:SAMPLES]]
    tiles = [_tile(data.splits[key].pictures(torch.tensor([place]))[0]) for key, place in chosen]
    if any(tile.ndim == 3 for tile in tiles):  # photos beside sketches
        tiles = [tile if tile.ndim == 3 else np.repeat(tile[:, :, None], 3, axis=2) for tile in tiles]
    row = np.concatenate([np.pad(t, [(0, 0), (0, 3), (0, 0)][: t.ndim], constant_values=160) for t in tiles], axis=1)
    shares = [share[data.splits[key].labels[places] == number] for key, (places, share) in ink.items()]
    return Class(data.classes[number], [len(places) for places in here.values()], torch.cat(shares).numpy(), row)


def _tile(raw: Tensor) -> np.ndarray:
    pixels = raw.cpu().permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3])
    return np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))


def _sizes(files: Path, ids: list[str]) -> str:
    chosen = sorted(ids, key=lambda i: rng.fold("sizes", i))[:MEASURED]

    def size(name: str) -> tuple[int, int, str]:
        with Image.open(files / name) as image:
            return (*image.size, image.mode)

    with ThreadPoolExecutor() as pool:
        found = list(tqdm(pool.map(size, chosen), "sizes", total=len(chosen), unit="file", delay=2))
    sides = np.array([found_[:2] for found_ in found])
    modes = ", ".join(f"{mode} {n:,}" for mode, n in Counter(f[2] for f in found).most_common())
    usual, n = Counter(f"{w}×{h}" for w, h, _ in found).most_common(1)[0]
    of = f"{len(found):,} of {len(ids):,} files" if len(found) < len(ids) else f"all {len(ids):,} files"
    width, height = (_range(sides[:, axis]) for axis in (0, 1))
    return (
        f"<h2>Size of the files</h2><p>Width {width}, height {height}; most often {usual} ({n / len(found):.0%}). "
        f"Modes: {modes}. <span class=soft>Read from {of}.</span></p>"
    )


def _range(px: np.ndarray) -> str:
    return f"{px[0]} px" if px.min() == px.max() else f"{px.min()}–{px.max()} px (median {np.median(px):.0f})"


def _table(classes: list[Class], splits: list[str], measured: str) -> str:
    top = max(float(np.percentile(c.ink, 95)) for c in classes if len(c.ink)) or 1.0
    head = "".join(f"<th class=n>{html.escape(key)}" for key in splits)
    rows = []
    for one in classes:
        numbers = "".join(f"<td class=n>{n}" for n in one.counts)
        rows.append(f"<tr><td>{html.escape(one.name)}{numbers}<td>{_bar(one.ink, top)}<td>{_picture(one.samples)}")
    return (
        "<h2>Classes</h2><p class=soft>Ink: how far the pixels are on average from the background (the median of the "
        "border), as a share of the way from white to black; for photos, their contrast. Figure and line: median; bar: "
        f"5th to 95th percentile of the images, on a scale from 0 to {top:.1%}.{measured}</p>"
        f"<div class=wide><table><tr><th>class{head}<th>ink<th>{SAMPLES} of them"
        f"{''.join(rows)}</table></div>"
    )


def _bar(ink: np.ndarray, top: float) -> str:
    if not len(ink):
        return "<span class=soft>–</span>"
    low, mid, high = (float(np.percentile(ink, q)) / top * 120 for q in (5, 50, 95))
    return (
        f'<svg width=126 height=14 role=img aria-label="median {np.median(ink):.1%}">'
        f"<title>median {np.median(ink):.1%}, 5th to 95th percentile {np.percentile(ink, 5):.1%} to "
        f"{np.percentile(ink, 95):.1%}, n = {len(ink)}</title>"
        f'<rect x={low + 3:.1f} y=4 width={max(high - low, 1):.1f} height=6 fill="var(--bar)" opacity=.5 />'
        f'<rect x={mid + 2:.1f} y=1 width=2 height=12 fill="var(--bar)" /></svg>'
        f"<span class=soft>{np.median(ink):.1%}</span>"
    )


def _picture(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f'<img alt="samples" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
