"""What a generator makes, always from the same noise: images to measure, sheets to look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine.runtime import Runtime
from sketchlab.pipelines.gan.data import Reals
from sketchlab.pipelines.gan.sheets import between, nearest, noise, sheet, small

ROW = 8  # images of a class, or from one noise to another, on a sheet
CLASSES = 40  # classes on a sheet, at most
SEARCHED = 20_000  # training images that the nearest is looked for among, at most
_BATCH = 256


class Sampler:
    """net: (n, z), and (n,) classes where it has some → (n, C, S, S), pixels(…) of which are in [0, 1].

    labels: (n,) of the training split, which say how common each class is.
    """

    def __init__(self, net: nn.Module, labels: Tensor, runtime: Runtime, seed: int) -> None:
        self.net, self.labels, self.runtime, self.seed = net, labels, runtime, seed
        self.z, self.n_classes = int(net.z), int(net.n_classes)  # type: ignore[arg-type]

    def made(self, z: Tensor, classes: Tensor | None) -> Tensor:
        """(n, z) and (n,) on the CPU, n > 0 → (n, C, S, S) in [0, 1] on the CPU, by this rank alone."""
        net: Any = self.net.eval()
        out = []
        with torch.no_grad():
            for at in torch.arange(len(z)).split(_BATCH):
                class_args = (self.runtime.to_device(classes[at]),) if classes is not None else ()
                with self.runtime.autocast():
                    images = net(self.runtime.to_device(z[at]), *class_args)
                out.append(net.pixels(images.float()).clamp(0, 1).cpu())
        return torch.cat(out)

    def noise(self, places: Tensor) -> Tensor:
        return noise(rng.fold(self.seed, "samples"), places, self.z)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """(n, C, S, S) in [0, 1] on the CPU, on every rank, and (n,) the classes told, as common as in training;
        image i always comes from the same noise and class. n: at least as many as there are ranks."""
        self.runtime.same_buffers(self.net)
        places = self.runtime.shard(n)
        of = torch.from_numpy(rng.generator(self.seed, "gan classes").integers(0, len(self.labels), n))
        classes = self.labels[of]
        images = self.made(self.noise(places), classes[places] if self.n_classes else None)
        return self.runtime.gather({"images": images}, n)["images"], classes

    def by_class(self) -> Tensor:
        """A sheet: a row a class, a column a noise."""
        rows = min(self.n_classes, CLASSES)
        z = self.noise(torch.arange(ROW)).repeat(rows, 1)
        return sheet(self.made(z, torch.arange(rows).repeat_interleave(ROW)), ROW)

    def ways(self) -> Tensor:
        """A sheet: each row goes from one noise to another, of one class where there are some."""
        start, end = (self.noise(torch.arange(ROW) + first) for first in (0, ROW))
        return sheet(self.made(between(start, end, ROW).flatten(0, 1), self._rows(ROW * ROW)), ROW)

    def beside_nearest(self, reals: Reals) -> tuple[Tensor, dict[str, float]]:
        """A sheet of generated images, each with the nearest training image to its right; how near they are."""
        n = ROW * ROW // 2
        fake = self.made(self.noise(torch.arange(n)), self._rows(n))
        total = len(self.labels)
        among = torch.from_numpy(rng.generator("gan nearest").permutation(total)[:SEARCHED])
        found = torch.cat([small(reals.some("train", at)) for at in among.split(_BATCH)])
        distance, at = nearest(small(fake), found)
        beside = torch.stack([fake, reals.some("train", among[at])], 1).flatten(0, 1)
        return sheet(beside, ROW), {"distance": distance.median().item(), "searched": len(among), "of": total}

    def _rows(self, n: int) -> Tensor | None:
        return torch.arange(n) // ROW % self.n_classes if self.n_classes else None
