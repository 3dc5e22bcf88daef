"""The real images a generator is trained with and held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.engine.protocols import Prepare, Raw, Split
from sketchlab.engine.runtime import Runtime

_BATCH = 256
_MEASURED = 4096  # training images that mean and standard deviation of the data are taken from


class Reals:
    """Raw samples → images in the scale of the networks, and in [0, 1].

    scale: input = as the model's Input says; data = mean and standard deviation of each channel over the training
    pixels, 0 and 1 then being what they are. mean, std: (C, 1, 1) of [0, 1].
    """

    def __init__(self, splits: Mapping[str, Split], prepare: Prepare, runtime: Runtime, most: int, scale: str) -> None:
        self.splits, self.prepare, self.runtime, self.most = splits, prepare, runtime, most
        given = prepare.input
        self.given = [torch.tensor(v, device=runtime.device)[:, None, None] for v in (given.mean, given.std)]
        self.kept: dict[str, Tensor] = {}
        self.mean, self.std = self.given
        if scale == "data":
            train = splits["train"]
            every = torch.linspace(0, len(train) - 1, min(len(train), _MEASURED)).long()
            pixels = self.some("train", every).double().transpose(0, 1).flatten(1)  # (C, …)
            mean, std = pixels.mean(1), pixels.std(1).clamp(min=1e-3)
            self.mean, self.std = (v.float()[:, None, None].to(runtime.device) for v in (mean, std))
        self.same_scale = scale != "data"

    def images(self, raw: Raw, keys: Tensor | None) -> Tensor:
        """Raw samples → (B, C, S, S) as the networks take them, on the device."""
        images = self.runtime.prepared(self.prepare, raw, keys)
        if not self.same_scale:
            images = (images * self.given[1] + self.given[0] - self.mean) / self.std
        return self.runtime.layout(images)

    def some(self, split: str, places: Tensor) -> Tensor:
        """(n,) places of a split → (n, C, S, S) in [0, 1] on the CPU."""
        samples, (mean, std) = self.splits[split], self.given
        parts = []
        for at in places.split(_BATCH):
            images = self.runtime.prepared(self.prepare, samples.gather(at))
            parts.append((images * std + mean).clamp(0, 1).contiguous().cpu())
        return torch.cat(parts)

    def parts(self, split: str) -> Iterator[Tensor]:
        """A whole split, (≤ 256, C, S, S) in [0, 1] at a time."""
        for at in torch.arange(len(self.splits[split])).split(_BATCH):
            yield self.some(split, at)

    def of(self, split: str) -> Tensor:
        """(n, C, S, S) in [0, 1]: a split, or `most` of it, in keyed order so that pairs mix classes; kept."""
        if split not in self.kept:
            self.kept[split] = self.some(split, self._places(split))
        return self.kept[split]

    def labels(self, split: str) -> Tensor:
        """(n,) the classes of what `of` gives."""
        return self.splits[split].labels[self._places(split)]

    def _places(self, split: str) -> Tensor:
        n = len(self.splits[split])
        return torch.from_numpy(rng.generator("gan real", split).choice(n, min(n, self.most), replace=False))


class Packs:
    """labels: (n,) of a split. Makes batches in which every `size` images that follow each other are of one class."""

    def __init__(self, labels: Tensor, size: int) -> None:
        self.labels, self.size = labels, size
        self.ordered, self.order = labels.sort(stable=True)

    def __call__(self, places: Tensor, keys: Tensor) -> Tensor:
        """(B,) places and their keys → (B,): every size-th stays, those after it are drawn from its class, each sample
        of it as likely."""
        classes = self.labels[places[:: self.size]].repeat_interleave(self.size)  # (B,)
        low, high = (torch.searchsorted(self.ordered, classes, right=right) for right in (False, True))
        draw = rng.uniform(rng.fold_each(rng.fold("pack"), keys), 1)[:, 0].double()
        others = self.order[low + ((high - low) * draw).long()]
        return torch.where(torch.arange(len(places)) % self.size == 0, places, others)
