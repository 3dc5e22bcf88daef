"""Images a discriminator saw before, shown to it again (Shrivastava et al. 2017; CycleGAN, section 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sketchlab.engine.runtime import Runtime


class Pool:
    """Up to `size` generated images of this rank, part of every checkpoint; size 0 gives each image back as it is."""

    def __init__(self, size: int, runtime: Runtime) -> None:
        self.size, self.runtime = size, runtime
        self.images: list[Tensor] = []  # (C, S, S) each

    def query(self, images: Tensor) -> Tensor:
        """(B, C, S, S), detached → as many: while the pool fills, the images themselves; then, for about half of them,
        an older one whose place they take. Draws from torch's generator, which the loop keys."""
        if not self.size:
            return images
        swap, place = torch.rand(len(images)) < 0.5, torch.randint(self.size, (len(images),))
        out = []
        for i, image in enumerate(images):
            if len(self.images) < self.size:
                self.images.append(image)
                out.append(image)
            elif swap[i]:
                out.append(self.images[place[i]])
                self.images[int(place[i])] = image
            else:
                out.append(image)
        return self.runtime.layout(torch.stack(out))

    def state_dict(self) -> dict[str, Any]:
        mine = torch.stack(self.images).cpu() if self.images else torch.empty(0)
        return {"images": self.runtime.each(mine)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images = list(state_dict["images"][self.runtime.rank].to(self.runtime.device))
