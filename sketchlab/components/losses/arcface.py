"""ArcFace (Deng et al. 2019, equation 3): a direction per class is learnt, with an angular margin around it.

For pipeline=retrieve with match=class: sketches and photos of a class share its direction. Past π − margin, where the
cosine of the enlarged angle would rise again, it goes on as a straight line, as in the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab.errors import UserError


@dataclass(frozen=True)
class Config:
    embedding: int  # numbers per image, as the model gives them
    scale: float  # cosines are multiplied by it; the paper's s = 64
    margin: float  # radians added to the angle to the own class; the paper's m = 0.5

    def __post_init__(self) -> None:
        if not self.scale > 0 or not 0 <= self.margin < math.pi:
            raise UserError(
                f"pipeline.loss_options scale={self.scale}, margin={self.margin}: expected above 0, and 0 to below π"
            )


class ArcFace(nn.Module):
    by_class = True  # its labels are numbers of classes

    def __init__(self, config: Config, n_classes: int) -> None:
        super().__init__()
        self.scale, self.margin = config.scale, config.margin
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_classes, config.embedding)))

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """(n, D) embeddings of any length, (n,) int64 class numbers → the mean cross-entropy."""
        cosine = F.linear(F.normalize(outputs), F.normalize(self.weight))  # (n, n_classes)
        sine = (1 - cosine**2).clamp(min=1e-12).sqrt()  # of an angle of 0 the root has no gradient
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)  # cos(θ + m)
        line = cosine - math.sin(self.margin) * self.margin
        further = torch.where(cosine > -math.cos(self.margin), turned, line)
        own = F.one_hot(labels, len(self.weight)).bool()
        return F.cross_entropy(self.scale * torch.where(own, further, cosine), labels)


def build(config: Config, n_classes: int) -> nn.Module:
    return ArcFace(config, n_classes)
