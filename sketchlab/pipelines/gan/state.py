"""What a GAN run remembers between steps besides its networks and optimizers: all of it is in every checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError


class Steps:
    """How many steps are done: it decides whose turn is next and names the sheets.

    norms: the last gradient norm of each network, which stands where a network did not learn. kid_at_start: what KID
    was before the first step. features: what it is measured in; a run goes on with the same or not at all.
    """

    def __init__(self, features: str, device: torch.device) -> None:
        self.done, self.features = 0, features
        self.kid_at_start: float | None = None
        self.norms = {name: torch.zeros((), device=device) for name in ("grad_g", "grad_d")}  # changed in place

    def state_dict(self) -> dict[str, Any]:
        norms = {name: value.cpu().clone() for name, value in self.norms.items()}
        return {"done": self.done, "norms": norms, "kid_at_start": self.kid_at_start, "features": self.features}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises UserError when the run was measured in other features so far."""
        if state_dict["features"] != self.features:
            raise UserError(
                f"this run's KID was measured in {state_dict['features']} so far, now it would be in {self.features}: "
                "two scales in one curve. Point SKETCHLAB_WEIGHTS at the weights used then, or start afresh: rerun=true"
            )
        self.done, self.kid_at_start = state_dict["done"], state_dict["kid_at_start"]
        for name, value in state_dict["norms"].items():
            self.norms[name].copy_(value)


class Gate:
    """Raises both learning rates when the losses have stopped changing (mamin), every `window` steps.

    Stopped: within the window each loss stayed within `flat` (its standard deviation over its mean). mamin asks
    whether two losses are equal to the last digit, and starts new optimizers; here Adam's moments stay, and the rates,
    times `factor` at each firing, never pass `most` times their configured value.
    """

    def __init__(self, window: int, flat: float, factor: float, most: float, runtime: Runtime) -> None:
        self.window, self.flat, self.factor, self.most, self.runtime = window, flat, factor, most, runtime
        self.rate, self.count = 1.0, 0
        # of loss_g, loss_d and their squares, on this rank
        self.sums = torch.zeros(4, dtype=runtime.widest, device=runtime.device)
        self.fired: list[list[float]] = []  # [step, rates' factor from then on]

    def add(self, loss_g: Tensor, loss_d: Tensor) -> None:
        """In every step, on the device; `look` counts it."""
        if self.window:
            values = torch.stack([loss_g, loss_d]).detach().to(self.sums.dtype)
            self.sums += torch.cat([values, values**2])

    def look(self, step: int) -> None:
        """After `step` steps; a firing holds from the next one on."""
        if not self.window:
            return
        self.count += 1
        if self.count < self.window:
            return
        means = dict(enumerate((self.sums / self.count).tolist()))
        means = self.runtime.mean({str(k): v for k, v in means.items()})
        spread = [max(means[str(i + 2)] - means[str(i)] ** 2, 0.0) ** 0.5 for i in range(2)]
        if all(s < self.flat * abs(means[str(i)]) for i, s in enumerate(spread)) and self.rate < self.most:
            self.rate = min(self.rate * self.factor, self.most)
            self.fired.append([step, self.rate])
        self.count = 0
        self.sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Every rank's own sums: their mean would not restore to the same bits."""
        sums = self.runtime.each(self.sums.cpu().clone())
        return {"rate": self.rate, "count": self.count, "sums": sums, "fired": [list(f) for f in self.fired]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rate, self.count = state_dict["rate"], state_dict["count"]
        self.sums.copy_(state_dict["sums"][self.runtime.rank])
        self.fired = [list(f) for f in state_dict["fired"]]


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """One step of an exponential moving average of weights; buffers (batch-norm statistics) are taken as they are."""
    for old, new in zip(average.parameters(), net.parameters(), strict=True):
        old.lerp_(new, 1 - keep)
    for old, new in zip(average.buffers(), net.buffers(), strict=True):
        old.copy_(new)
