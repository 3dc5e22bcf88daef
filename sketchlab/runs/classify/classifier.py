"""What answers: a run's network or fitted baseline, asked in batches about pictures and drawings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sketchlab.data.strokes.batch import of_drawings
from sketchlab.errors import UserError


@dataclass(frozen=True)
class Classifier:
    """Raw batches → logits, by a network or by a fitted baseline."""

    runtime: Any
    pixels: Callable[[Tensor], Tensor]  # (B, C, S, S) uint8 → what the network takes
    strokes: Any  # Strokes → what the network takes: strokes.prepare.Prepare or reading.Rendered; None: impossible
    net: nn.Module | None
    estimator: Any  # where there is no net
    both: nn.Module | None = None  # pipelines.pose.Both, of a run that trained the second head

    def images(self, raw: Any) -> Tensor:
        """(B, C, S, S) uint8 or Strokes → what the network takes, on its device."""
        prepare = self.pixels if isinstance(raw, Tensor) else self.strokes
        if prepare is None:
            raise UserError("this run's network takes images of other channels than drawings give (1, 3 or 6)")
        return self.runtime.layout(prepare(self.runtime.to_device(raw)))

    @torch.no_grad()
    def logits(self, raw: Any) -> Tensor:
        """(B, C, S, S) uint8 or Strokes → (B, n_classes) on the CPU; a baseline's log-probabilities."""
        if self.net is None:
            logs = self.estimator.predict_log_proba(self.images(raw).cpu().flatten(1).numpy())
            return torch.from_numpy(np.maximum(logs, np.log(np.finfo(np.float64).tiny)))  # finite, as it was scored
        with self.runtime.autocast():
            return self.net(self.images(raw)).float().cpu()

    @torch.no_grad()
    def pose(self, raw: Any) -> Tensor:
        """Strokes → (B, 2) on the CPU: degrees that each drawing is turned, clockwise; and its size, the longer side of
        its box when turned back upright, as a share of the canvas (255 in the data's convention).

        Raises UserError for a run without that head (pipeline.pose_weight=0).
        """
        from sketchlab.pipelines.classify import pose

        if self.both is None:
            raise UserError("this run has not learnt how drawings are turned: train with pipeline.pose_weight=1")
        with self.runtime.autocast():
            return pose.read(self.both(self.images(raw))[1].float()).cpu()

    def probabilities(self, samples: list[Any]) -> list[np.ndarray | str]:
        """Per (C, S, S) uint8 or drawing in the convention its (n_classes,) probabilities; a reason (str) stays one."""
        out: list[Any] = list(samples)
        pictures = [i for i, one in enumerate(samples) if isinstance(one, np.ndarray)]
        drawings = [i for i, one in enumerate(samples) if isinstance(one, list)]
        for places, raw in (
            (pictures, lambda: torch.from_numpy(np.stack([samples[i] for i in pictures]))),
            (drawings, lambda: of_drawings([samples[i] for i in drawings])),
        ):
            if places:
                for i, probability in zip(places, self.logits(raw()).double().softmax(1).numpy(), strict=True):
                    out[i] = probability
        return out
