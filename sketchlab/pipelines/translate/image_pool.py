"""Images a discriminator saw before, shown to it again (Shrivastava et al. 2017; CycleGAN, section 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sketchlab.engine.runtime import Runtime


class Pool:
    """Up to `size` generated images of this rank, part of every checkpoint; size 0 gives each image back as it is.

    What happens to each image of a batch is decided before the step (`choose`); images move on the device, in place.
    """

    def __init__(self, size: int, runtime: Runtime) -> None:
        self.size, self.runtime = size, runtime
        self.filled = 0  # images held so far
        self.images: Tensor | None = None  # (size, C, S, S), from the first query on
        self.plan: Tensor | None = None  # (3, B) int64 on the device: which place, is its image shown, is it replaced

    def choose(self, n: int) -> None:
        """For the next n images: while the pool fills, each is shown and kept; then, for about half of them, an older
        one is shown, whose place they take. Draws from torch's generator, which the loop keys."""
        if not self.size:
            return
        swap, place = torch.rand(n) < 0.5, torch.randint(self.size, (n,))
        filling = (torch.arange(n) + self.filled) < self.size
        at = torch.where(filling, torch.arange(n) + self.filled, place)
        plan = torch.stack([at, (swap & ~filling).long(), (swap | filling).long()])
        if self.plan is None or self.plan.shape != plan.shape:
            self.plan = torch.empty_like(plan, device=self.runtime.device)
        self.plan.copy_(self.runtime.to_device(plan))
        self.filled = min(self.size, self.filled + n)

    def query(self, images: Tensor) -> Tensor:
        """(B, C, S, S), detached → as many, as `choose` decided. One after another: an image may be shown again in the
        batch in which it came."""
        if not self.size:
            return images
        assert self.plan is not None
        if self.images is None:
            self.images = torch.zeros(self.size, *images.shape[1:], device=images.device)
        out = []
        for i in range(len(images)):
            (at, older, kept), image = self.plan[:, i : i + 1], images[i : i + 1]
            held = self.images.index_select(0, at)
            out.append(torch.where(older.bool(), held, image))
            self.images.index_copy_(0, at, torch.where(kept.bool(), image, held))
        return self.runtime.layout(torch.cat(out))

    def state_dict(self) -> dict[str, Any]:
        mine = torch.empty(0) if self.images is None else self.images[: self.filled].cpu().clone()
        return {"images": self.runtime.each(mine)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        mine = state_dict["images"][self.runtime.rank]
        self.filled = len(mine)
        if self.filled:
            self.images = torch.zeros(self.size, *mine.shape[1:], device=self.runtime.device)
            self.images[: self.filled] = mine.to(self.runtime.device)
