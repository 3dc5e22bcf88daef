"""On the points themselves: convolutions along the line, bidirectional LSTMs, the mean over all points.

After the network of the published QuickDraw tutorial: widths 48, 64, 96 of filters 5, 5, 3, then three bidirectional
LSTMs of 128. Deviations: ReLU after each convolution (without, the three are one linear filter); the mean over points,
not their sum, so that long drawings do not shout; dropout between the layers, drawn by torch, not inside cuDNN, whose
draws cannot be keyed.

Padding changes nothing: it is zero wherever a convolution could see it, and the backward direction reads each drawing
reversed in place, so it begins at the drawing's own last point. No sorting, no packing: 1.3 to 1.6 times faster than
a packed sequence on a CPU, and every batch takes one path.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import inputs, weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("logits",)


@dataclass(frozen=True)
class Config:
    input: Input  # points
    channels: list[int]  # after each convolution along the points; may be empty
    kernels: list[int]  # points that each convolution sees, odd; as many as channels
    hidden: int  # of the LSTMs, in each direction
    layers: int  # of LSTMs
    dropout: float  # probability, before each LSTM and before the classes
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: str  # freeze: what is loaded stays; finetune: all trains; scratch: nothing is loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded

    def __post_init__(self) -> None:
        weights.check(self)
        if self.input.kind != "points":
            raise UserError(f"model.input.kind={self.input.kind}: this network takes points")
        if len(self.kernels) != len(self.channels) or any(k < 1 or k % 2 == 0 for k in self.kernels):
            raise UserError(f"model.kernels={self.kernels}: expected an odd number for each of {self.channels}")
        for key in ("hidden", "layers"):
            if getattr(self, key) < 1:
                raise UserError(f"model.{key}={getattr(self, key)}: expected at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")


def fingerprint(config: Config) -> str:
    """Of the weights that the network starts from: part of the run's id."""
    return weights.fingerprint(config, "stroke_lstm")


def build(config: Config, n_classes: int) -> nn.Sequential:
    """(B, L, 3 or 5) → (B, n_classes) logits."""
    points = Points(config)
    head = OrderedDict[str, nn.Module](
        dropout=nn.Dropout(config.dropout), linear=nn.Linear(2 * config.hidden, n_classes)
    )
    net = nn.Sequential(OrderedDict(points=points, head=nn.Sequential(head)))
    weights.start(net, config, "stroke_lstm", head="head.linear")
    return net


class Points(nn.Module):
    """(B, L, 3 or 5) → (B, 2·hidden), the mean over the points that are no padding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = [config.input.channels, *config.channels]
        self.convs = nn.ModuleList(
            nn.Conv1d(into, out, kernel, padding=kernel // 2)
            for into, out, kernel in zip(widths, widths[1:], config.kernels, strict=False)
        )
        into = [widths[-1], *[2 * config.hidden] * (config.layers - 1)]
        self.onward = nn.ModuleList(Line(width, config.hidden) for width in into)
        self.returning = nn.ModuleList(Line(width, config.hidden) for width in into)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, points: Tensor) -> Tensor:
        n = inputs.lengths(points)[:, None]  # (B, 1)
        place = torch.arange(points.shape[1], device=points.device)[None]  # (1, L)
        real = (place < n)[..., None]  # (B, L, 1)
        turned = torch.where(place < n, n - 1 - place, place)[..., None]  # (B, L, 1), its own inverse
        x = torch.where(real, points, 0.0)
        for conv in self.convs:
            x = torch.where(real, F.relu(conv(x.transpose(1, 2)).transpose(1, 2)), 0.0)
        for onward, backward in zip(self.onward, self.returning, strict=True):
            x = self.dropout(x)
            back = backward(x.gather(1, turned.expand_as(x)))
            x = torch.cat([onward(x), back.gather(1, turned.expand_as(back))], dim=2)  # (B, L, 2·hidden)
        return torch.where(real, x, 0.0).sum(1) / n


class Line(nn.LSTM):
    """(B, L, C) → (B, L, hidden), one layer, one direction."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return nn.LSTM.forward(self, x)[0]  # not super(): torch.compile stumbles over it here
