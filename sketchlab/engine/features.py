"""What frozen layers give for a sample: computed once, and kept on disk where that took long.

A sweep over heads, rates, seeds or folds then pays for the frozen layers once. A kept file is found by everything that
goes into it (the layers and their weights, the samples as stored, their preparation, precision and device), and is
believed only while its first batch, computed anew, is equal to the bit: other code or another machine begins again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sketchlab.engine.files import atomic
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError

BATCH = 32  # samples per forward pass: always the same ones together, since some kernels look at their neighbours
KEEP_FROM_S = 10.0  # what is computed faster than this is not kept


class Features:
    """images: (raw batch, keys or None) → what the network takes. Raises UserError when the cache has no room."""

    def __init__(
        self, prefix: nn.Module, data: Any, images: Callable[[Any, Tensor | None], Tensor], runtime: Runtime
    ) -> None:
        self.prefix, self.data, self.images, self.runtime = prefix, data, images, runtime
        self._plain: dict[int, tuple[Tensor, Tensor]] = {}  # store → its rows in use, ascending, and their features
        self._views: Tensor | None = None

    def plain(self, split: str, places: Tensor) -> Tensor:
        """(B,) places in a split → (B, …) features of the samples as they are, on the device."""
        samples = self.data.splits[split]
        if id(samples.store) not in self._plain:
            # for all splits at once: the folds of one data set, and the shares of one fold, are then the same file
            rows = torch.cat([s.rows for s in self._asked() if s.store is samples.store]).unique()
            self._plain[id(samples.store)] = rows, self._of(samples.store, rows, None)
        rows, features = self._plain[id(samples.store)]
        return self._take(features, torch.searchsorted(rows, samples.rows[places]))

    def views(self, split: str, places: Tensor, keys: Callable[[], Tensor]) -> Tensor:
        """(B,) places in the views of a split, one after another, whose (views · n,) keys `keys` gives."""
        if self._views is None:
            samples, all_keys = self.data.splits[split], keys()
            rows = samples.rows.repeat(len(all_keys) // len(samples))
            self._views = self._of(samples.store, rows, all_keys)
        return self._take(self._views, places)

    def _asked(self) -> list[Any]:
        """The splits that are seen as they are; one that is augmented has its views."""
        return [s for name, s in self.data.splits.items() if name != "train" or not self.data.prepare.active]

    def _take(self, features: Tensor, places: Tensor) -> Tensor:
        return self.runtime.to_device(features[places.to(features.device)])

    def _of(self, store: Any, rows: Tensor, keys: Tensor | None) -> Tensor:
        """(n,) rows and keys → (n, …) features, in memory or memory-mapped."""
        chunks = torch.arange(len(rows)).split(BATCH)
        start = time.perf_counter()
        first = self._run(store, rows, keys, chunks[0])
        long = (time.perf_counter() - start) * len(chunks) >= KEEP_FROM_S
        path = folder() / f"{self._key(store, rows, keys)}.npy" if long else None
        if path and (kept := _kept(path, first, len(rows))) is not None:
            return kept if self.runtime.device.type == "cpu" else kept.to(self.runtime.device)
        keeps = path if self.runtime.rank == 0 else None
        if keeps:
            _make_room(keeps, first[0].nbytes * len(rows))
        hidden: dict[str, Any] = {"disable": True} if self.runtime.rank > 0 or len(chunks) < 4 else {}
        out = [first]
        for chunk in tqdm(chunks[1:], desc="frozen layers", unit="batch", leave=False, **hidden):
            out.append(self._run(store, rows, keys, chunk))
        features = torch.cat(out)
        if keeps:
            with atomic(keeps) as temporary, open(temporary, "wb") as file:
                np.save(file, features.cpu().numpy())
        return features

    @torch.no_grad()
    def _run(self, store: Any, rows: Tensor, keys: Tensor | None, chunk: Tensor) -> Tensor:
        with self.runtime.autocast():
            images = self.images(store.gather(rows[chunk]), keys if keys is None else keys[chunk])
            return self.prefix.eval()(images).float()

    def _key(self, store: Any, rows: Tensor, keys: Tensor | None) -> str:
        digest = hashlib.sha256()
        settings = (self.runtime.precision, self.runtime.device.type, self.runtime.config.channels_last, BATCH)
        digest.update(repr((self.prefix, self.data.prepare, settings, len(rows))).encode())
        for tensor in [*self.prefix.state_dict().values(), *([] if keys is None else [keys])]:
            digest.update(_bytes(tensor))
        for chunk in rows.split(BATCH):
            raw = store.gather(chunk)  # a tensor, or a batch of strokes made of tensors
            for part in [raw] if isinstance(raw, Tensor) else vars(raw).values():
                digest.update(_bytes(part))
        return digest.hexdigest()[:24]


def folder() -> Path:
    """$SKETCHLAB_CACHE/features or ~/.cache/sketchlab/features; all that is in it can be deleted at any time."""
    return Path(os.environ.get("SKETCHLAB_CACHE") or Path.home() / ".cache" / "sketchlab").expanduser() / "features"


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _kept(path: Path, first: Tensor, n: int) -> Tensor | None:
    """The (n, …) features of a file; None when there is none, or its beginning is not `first` to the bit."""
    if not path.is_file():
        return None
    try:
        array = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError):
        return None  # cut by a crash of the machine: computed and written anew
    if array.shape != (n, *first.shape[1:]) or array.dtype != np.float32:
        return None
    features = torch.from_numpy(array)
    return features if torch.equal(features[: len(first)], first.cpu()) else None


def _make_room(path: Path, needed: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise UserError(f"cannot write to the cache {path.parent}: {error.strerror}; set SKETCHLAB_CACHE") from None
    if needed > free:
        raise UserError(
            f"the cache {path.parent} needs {needed / 1e9:.1f} GB for features of frozen layers, but {free / 1e9:.1f} "
            "GB are free; set SKETCHLAB_CACHE to a larger disk, or pipeline.cache=false"
        )
