"""What frozen layers give for a sample: computed once, and kept on disk where that took long.

A sweep over heads, rates, seeds or folds then pays for the frozen layers once. A kept file is found by everything that
goes into it (the layers and their weights, the samples as stored, their preparation, precision and device), and is
believed only while its first batch, computed anew, is equal to the bit: other code or another machine begins again.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine.protocols import Prepare, Split, Store
from sketchlab.engine.runtime import Runtime
from sketchlab.storage import cache

BATCH = 32  # samples per forward pass: always the same ones together, since some kernels look at their neighbours
FILE = "features.f32"
KEEP_FROM_S = 10.0  # what is computed faster than this is not kept


class Features:
    """A data set behind frozen layers: what they give for its samples. Training samples that are augmented have
    `views` versions, whose keys follow from the seed. Raises UserError when the cache has no room."""

    def __init__(
        self, prefix: nn.Module, splits: Mapping[str, Split], prepare: Prepare, views: int, runtime: Runtime, seed: int
    ) -> None:
        self.prefix, self.splits, self.prepare, self.n_views = prefix, splits, prepare, views
        self.runtime, self.seed = runtime, seed
        self._plain: dict[int, tuple[Tensor, Tensor]] = {}  # store → its rows in use, ascending, and their features
        self._views: Tensor | None = None

    def of(self, split: str, places: Tensor, keys: Tensor | None = None) -> Tensor:
        """(B,) places in a split → (B, …) features on the device: of the samples as they are, or of training samples
        in the views whose (B,) keys these are."""
        samples = self.splits[split]
        if split == "train" and self.prepare.active:
            if keys is not None:
                return self.views(self._rows(places, keys))
            return self.prefix.eval()(self.runtime.prepared(self.prepare, samples.gather(places)))
        if id(samples.store) not in self._plain:
            # for all splits at once: the folds of one data set, and the shares of one fold, are then the same file
            rows = torch.cat([s.rows for s in self._asked() if s.store is samples.store]).unique()
            self._plain[id(samples.store)] = rows, self._of(samples.store, rows, None)
        rows, features = self._plain[id(samples.store)]
        return self._take(features, torch.searchsorted(rows, samples.rows[places]))

    def views(self, rows: Tensor) -> Tensor:
        """(B,) rows of all views of the training split, one view after another → (B, …) features on the device."""
        if self._views is None:
            samples, views = self.splits["train"], range(self.n_views)
            keys = torch.cat([self._keys(view, torch.arange(len(samples))) for view in views])
            self._views = self._of(samples.store, samples.rows.repeat(len(views)), keys)
        return self._take(self._views, rows)

    def _rows(self, places: Tensor, keys: Tensor) -> Tensor:
        """(B,) rows of `views`: the view of a sample is the one whose key this is."""
        rows, n = places.clone(), len(self.splits["train"])
        for view in range(1, self.n_views):
            rows += (keys == self._keys(view, places)) * (view * n)
        return rows

    def _keys(self, view: int, places: Tensor) -> Tensor:
        return rng.fold_each(rng.fold(self.seed, "augment", view), places)

    def _asked(self) -> list[Split]:
        """The splits that are seen as they are; one that is augmented has its views."""
        return [s for name, s in self.splits.items() if name != "train" or not self.prepare.active]

    def _take(self, features: Tensor, places: Tensor) -> Tensor:
        return self.runtime.to_device(features[places.to(features.device)])

    def _of(self, store: Store, rows: Tensor, keys: Tensor | None) -> Tensor:
        """(n,) rows and keys → (n, …) features, in memory or memory-mapped."""
        chunks = torch.arange(len(rows)).split(BATCH)
        start = time.perf_counter()
        first = self._run(store, rows, keys, chunks[0])
        long = (time.perf_counter() - start) * len(chunks) >= KEEP_FROM_S
        shape = (len(rows), *first.shape[1:])
        kept = cache.home() / "features" / self._key(store, rows, keys) if long else None
        if kept and (found := _kept(kept, first, shape)) is not None:
            return found.to(self.runtime.device)
        bar = self.runtime.bar(chunks[1:], "frozen layers")
        made = itertools.chain([first], (self._run(store, rows, keys, chunk) for chunk in bar))
        if kept is None or self.runtime.rank > 0:
            return torch.cat(list(made))
        what = f"{len(rows):,} samples behind frozen layers"
        with cache.alone(kept):
            found = _kept(kept, first, shape, tell=False)  # another process may have made it meanwhile
            if found is None:
                instead = ", or pipeline.cache=false"
                cache.put(kept, what, lambda folder: _write(folder, made), 4 * math.prod(shape), instead)
                found = _kept(kept, first, shape)
        assert found is not None, "what was just written is whole"
        return found.to(self.runtime.device)

    @torch.no_grad()
    def _run(self, store: Store, rows: Tensor, keys: Tensor | None, chunk: Tensor) -> Tensor:
        with self.runtime.autocast():
            raw = store.gather(rows[chunk])
            images = self.runtime.prepared(self.prepare, raw, keys if keys is None else keys[chunk])
            return self.prefix.eval()(images).float()

    def _key(self, store: Store, rows: Tensor, keys: Tensor | None) -> str:
        digest = hashlib.sha256()
        settings = (self.runtime.precision, self.runtime.device.type, self.runtime.config.channels_last, BATCH)
        digest.update(repr((self.prefix, self.prepare, settings, len(rows))).encode())
        for tensor in [*self.prefix.state_dict().values(), *([] if keys is None else [keys])]:
            digest.update(_bytes(tensor))
        for chunk in rows.split(BATCH):
            raw = store.gather(chunk)  # a tensor, or a batch of strokes made of tensors
            for part in [raw] if isinstance(raw, Tensor) else vars(raw).values():
                digest.update(_bytes(part))
        return digest.hexdigest()[:24]


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _write(folder: Path, chunks: Iterable[Tensor]) -> dict[str, Any]:
    """Each batch goes to the file when it is made: of all of them only one is in memory."""
    n = 0
    with open(folder / FILE, "wb") as file:
        for chunk in chunks:
            file.write(_bytes(chunk))
            n += len(chunk)
    return {"n": n}


def _kept(folder: Path, first: Tensor, shape: tuple[int, ...], tell: bool = True) -> Tensor | None:
    """The (n, …) features that are kept; None when there are none, or they do not begin with `first`, to the bit."""
    if cache.get(folder, tell) != {"n": shape[0]} or (folder / FILE).stat().st_size != 4 * math.prod(shape):
        return None
    features = torch.from_numpy(np.memmap(folder / FILE, np.float32, mode="c", shape=shape))
    return features if torch.equal(features[: len(first)], first.cpu()) else None
