"""Photos to search: embedded once, kept beside the run, embedded anew when a file or the weights change.

RUN/gallery/<key>.json names the photos, their sizes and times of change, and the weights that embedded them;
<key>-<stamp>.f32 holds the embeddings, row by row, and is memory-mapped: a gallery need not fit into memory. Of the
run's own photos <key>-<stamp>.u8 holds small pictures too, so that they can be searched and shown where the data are
not. All of it can be deleted at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sketchlab.data import listing
from sketchlab.data.dataset import fingerprint
from sketchlab.data.images.decode import SUFFIXES, BadImage, decode
from sketchlab.errors import UserError
from sketchlab.pipelines.retrieve.embedding_map import thumbnails
from sketchlab.runs import BATCH, reading, transfer
from sketchlab.runs.retrieve.retriever import Retriever, stack
from sketchlab.storage import cache
from sketchlab.storage.files import atomic, cores, digest, write_json

THUMB_PX = 96  # side of a picture shown to people
OWN_SMALL = 5000  # of the run's own photos: up to so many, a small picture of each is kept
SMALL_PX = 64  # its side


@dataclass(frozen=True)
class Gallery:
    """Photos with their embeddings, in the order of their names."""

    where: str  # the folder, or whose photos they are
    names: list[str]  # relative to the folder, or the ids of the run's samples
    embedded: Tensor  # (G, D) float32, memory-mapped
    rows: Path  # the file that holds them
    unreadable: list[tuple[str, str]]  # (name, why)
    fresh: int  # how many had to be embedded now
    notes: list[str] = field(default_factory=list)
    pixels_of: Callable[[int], np.ndarray] | None = None  # place → (H, W, 3) uint8

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, place: int, side_px: int = THUMB_PX) -> Image.Image | None:
        """The photo, no larger than side_px; None when it can no longer be read."""
        if self.pixels_of is None:
            return None
        try:
            image = Image.fromarray(self.pixels_of(place))
        except (OSError, BadImage):
            return None
        image.thumbnail((side_px, side_px))
        return image


def of_folder(retriever: Retriever, folder: Path) -> Gallery:
    """All images in a folder, recursive and sorted. Raises UserError when it holds none that can be read."""
    if not folder.is_dir():
        raise UserError(f"--gallery {folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    names, others = _inside(folder)
    if not names:
        but = f", only {others} other files" if others else ""
        raise UserError(f"--gallery {folder}: no images in this folder ({' '.join(SUFFIXES)}){but}")
    looks = [_look(folder / name) for name in names]

    def load(chosen: list[int]) -> list[np.ndarray | str]:
        with ThreadPoolExecutor(cores(), thread_name_prefix="decode") as pool:
            return reading.squares([str(folder / names[i]) for i in chosen], retriever.read_photo, pool)

    kept = _Kept(retriever, fingerprint("folder", str(folder.resolve())))
    made = kept.refreshed(str(folder), names, looks, load)

    def pixels_of(place: int) -> np.ndarray:
        content = (folder / made.names[place]).read_bytes()
        return decode(content, 2 * THUMB_PX, 3, "pad").transpose(1, 2, 0)

    notes = made.notes + ([f"{others} other files left alone"] if others else [])
    return replace(made, pixels_of=pixels_of, notes=notes)


def of_run(retriever: Retriever) -> Gallery:
    """The run's own photos: of test, or of val where there is no test split.

    Kept with their pictures, they need no data the next time. Raises UserError when they were never embedded and the
    data are not here.
    """
    run = retriever.run
    kept = _Kept(retriever, fingerprint("own"))
    if (found := kept.own()) is not None:
        return found
    try:
        data = transfer.compose(run, []).data.build(run.input)
    except UserError as error:
        raise UserError(
            f"the run's own photos are not here ({error}); give a folder of photos with --gallery"
        ) from None
    name = next(split for split in ("test", "val", "train") if split in data.splits)
    split = data.splits[name].photo

    def load(chosen: list[int]) -> list[np.ndarray | str]:
        return list(split.gather(torch.tensor(chosen)).cpu().numpy())

    looks = [data.fingerprint] * len(split)
    made = kept.refreshed(f"{name} photos of the run", list(split.ids), looks, load, pictures=len(split) <= OWN_SMALL)
    return replace(made, pixels_of=lambda place: _small(split, place))


def _small(split: Any, place: int) -> np.ndarray:
    pixels = split.gather(torch.tensor([place])).cpu()[0]  # (C, H, W) uint8
    return pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


class _Kept:
    """The files of one gallery of one run."""

    def __init__(self, retriever: Retriever, key: str) -> None:
        self.retriever, self.key, self.weights = retriever, key, retriever.weights()
        self.folder, self.notes = retriever.run.path / "gallery", []
        try:
            self.folder.mkdir(exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError
        except OSError:
            before, self.folder = self.folder, cache.home() / "gallery" / fingerprint(str(self.folder.resolve()))
            self.folder.mkdir(parents=True, exist_ok=True)
            self.notes.append(f"cannot write to {before}: embeddings are kept in {self.folder}")

    def index(self) -> dict[str, Any] | None:
        """The .json, when it is whole and of these weights; else None, and a note that says why."""
        path = self.folder / f"{self.key}.json"
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text("utf-8"))
            size = (self.folder / found["rows"]).stat().st_size
            whole = size == 4 * found["dim"] * len(found["names"]) and len(found["names"]) == len(found["looks"])
            whole = whole and all(digest(self.folder / name) == of for name, of in found["digests"].items())
        except (OSError, ValueError, KeyError, TypeError):
            found, whole = {}, False
        if whole and found["weights"] == self.weights:
            return found
        why = "of another run or of other weights" if whole else "not whole"
        self.notes.append(f"{path}: the embeddings in it are {why}; all are made anew")
        return None

    def own(self) -> Gallery | None:
        """The run's own photos as they were kept, with their small pictures."""
        found = self.index()
        if found is None or not found["pictures"]:
            return None
        rows = self.folder / found["rows"]
        side, n = found["pictures"], len(found["names"])
        file = rows.with_suffix(".u8")
        if not file.exists() or file.stat().st_size != n * 3 * side * side:
            return None
        pixels = np.memmap(file, np.uint8, mode="r", shape=(n, 3, side, side))
        opened = self._gallery(found, 0)
        return replace(opened, pixels_of=lambda i: np.array(pixels[i].transpose(1, 2, 0)))

    def _gallery(self, index: dict[str, Any], fresh: int) -> Gallery:
        rows = self.folder / index["rows"]
        bits = np.memmap(rows, np.float32, mode="c", shape=(len(index["names"]), index["dim"]))
        bad = [(name, why) for name, (_, why) in index["bad"].items()]
        embedded = torch.from_numpy(bits)
        return Gallery(index["where"], index["names"], embedded, rows, bad, fresh, list(self.notes))

    def refreshed(
        self,
        where: str,
        names: list[str],
        looks: list[str],
        load: Callable[[list[int]], list[np.ndarray | str]],
        pictures: bool = False,
    ) -> Gallery:
        """Embed what is new or has changed, take the rest as it was kept.

        load: places → (C, S, S) uint8 of each, or why it cannot be read; pictures: keep small ones.
        """
        before = self.index() or {"names": [], "looks": [], "bad": {}, "rows": "", "dim": 0, "pictures": 0}
        if names == before["names"] and looks == before["looks"] and not before["bad"]:
            return self._gallery(before, 0)
        stamp = fingerprint(names, looks, self.weights)[:8]
        file = self.folder / f"{self.key}-{stamp}.f32"
        known = {pair: i for i, pair in enumerate(zip(before["names"], before["looks"], strict=True))}
        old = self._gallery(before, 0).embedded if known else torch.empty(0, 0)
        index: dict[str, Any] = {"where": where, "run": self.retriever.run.path.resolve().name, "weights": self.weights}
        index |= {"rows": file.name, "dim": 0, "pictures": 0, "names": [], "looks": [], "bad": {}}
        fresh, small = 0, []
        with atomic(file) as temporary, open(temporary, "wb") as out:
            for places in self._batches(len(names)):
                new = [i for i in places if (names[i], looks[i]) not in known]
                read = dict(zip(new, load(new), strict=True)) if new else {}
                good = [i for i in new if not isinstance(read[i], str)]
                raw = stack([read[i] for i in good]) if good else None  # type: ignore[misc]
                rows = dict(zip(good, self.retriever.photos(raw), strict=True)) if raw is not None else {}
                if pictures and raw is not None:
                    small.append(thumbnails(raw, SMALL_PX))
                fresh += len(good)
                for i in places:
                    if isinstance(why := read.get(i), str):
                        index["bad"][names[i]] = [looks[i], why]
                        continue
                    row = rows[i] if i in rows else old[known[names[i], looks[i]]]
                    out.write(row.numpy().tobytes())
                    index["dim"] = len(row)
                    index["names"].append(names[i])
                    index["looks"].append(looks[i])
            out.flush()
        if not index["names"]:
            file.unlink()
            name, (_, why) = next(iter(index["bad"].items()))
            raise UserError(f"{where}: none of the {len(names)} images can be read; first {name}: {why}")
        if pictures and fresh == len(names):
            pixels = torch.cat(small).numpy()
            index["pictures"] = pixels.shape[-1]
            with atomic(file.with_suffix(".u8")) as temporary:
                pixels.tofile(temporary)
        index["digests"] = {path.name: digest(path) for path in sorted(self.folder.glob(f"{self.key}-{stamp}.*"))}
        write_json(self.folder / f"{self.key}.json", index)
        for path in self.folder.glob(f"{self.key}-*"):
            if not path.name.startswith(f"{self.key}-{stamp}") and not path.name.startswith("."):
                path.unlink(missing_ok=True)
        return self._gallery(index, fresh)

    @staticmethod
    def _batches(n: int) -> Iterator[range]:
        with tqdm(total=n, desc="embedding the gallery", unit="photo", delay=1, leave=False) as bar:
            for start in range(0, n, BATCH):
                yield (part := range(start, min(start + BATCH, n)))
                bar.update(len(part))


def _inside(folder: Path) -> tuple[list[str], int]:
    """Names of the images in a folder, relative to it, sorted; and how many other files there are."""
    names = listing.files(folder)
    found = [name for name in names if name.lower().endswith(SUFFIXES)]
    return found, len(names) - len(found)


def _look(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return error.strerror or "unreadable"
    return f"{status.st_size}-{status.st_mtime_ns}"
