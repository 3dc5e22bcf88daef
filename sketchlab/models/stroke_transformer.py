"""On the points themselves: a transformer encoder over the points of a drawing, the mean over all points.

Each point is a token: its step, its place on the canvas (the sum of the steps up to it) and its pen state, brought to
`width` by one linear layer, plus the sinusoids of its number (Vaswani et al. 2017, section 3.5). Then torch's encoder
layers, normalised before each part (Xiong et al. 2020), and a last LayerNorm. Padding is no key, and not in the mean.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sketchlab import inputs, weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("logits",)
_LONGEST = 10_000.0  # base of the wavelengths; Vaswani et al. 2017


@dataclass(frozen=True)
class Config:
    input: Input  # points
    width: int  # of a token, a multiple of twice the heads
    heads: int  # of attention in each layer
    layers: int  # of the encoder
    mlp_ratio: float  # hidden width of each feed-forward part, in widths
    dropout: float  # probability, of attention, after each part and before the classes
    weights: str  # none, a weights file or a run folder; there are no ImageNet weights
    tune: (
        str  # freeze: what is loaded stays; norms: but its LayerNorms train; finetune: all trains; scratch: nothing is
    )
    # loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded

    def __post_init__(self) -> None:
        weights.check(self)
        if self.input.kind != "points":
            raise UserError(f"model.input.kind={self.input.kind}: this network takes points")
        if self.heads < 1 or self.width < 1 or self.width % (2 * self.heads):
            raise UserError(
                f"model.width={self.width}: expected a multiple of twice model.heads={self.heads}, such as "
                f"{max(1, self.width // (2 * max(self.heads, 1))) * 2 * max(self.heads, 1)}"
            )
        if self.layers < 1 or not self.mlp_ratio > 0:
            raise UserError(f"model.layers={self.layers}, mlp_ratio={self.mlp_ratio}: expected at least 1, and above 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")


def fingerprint(config: Config) -> str:
    """Of the weights that the network starts from: part of the run's id."""
    return weights.fingerprint(config, "stroke_transformer")


def build(config: Config, n_classes: int) -> nn.Module:
    """(B, L, 3 or 5) → (B, n_classes) logits."""
    head = OrderedDict[str, nn.Module](dropout=nn.Dropout(config.dropout), linear=nn.Linear(config.width, n_classes))
    net = nn.Sequential(OrderedDict(points=Points(config), head=nn.Sequential(head)))
    return weights.start(net, config, "stroke_transformer", head="head.linear")


class Points(nn.Module):
    """(B, L, 3 or 5) → (B, width), the mean over the points that are no padding."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed = nn.Linear(config.input.channels + 2, config.width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width,
                config.heads,
                dim_feedforward=round(config.mlp_ratio * config.width),
                dropout=config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, points: Tensor) -> Tensor:
        n = inputs.lengths(points)[:, None]  # (B, 1)
        padding = torch.arange(points.shape[1], device=points.device)[None] >= n  # (B, L)
        x = torch.where(padding[..., None], 0.0, points)
        sums = torch.ones(2 * [points.shape[1]], dtype=x.dtype, device=x.device).tril()  # cumsum is random on CUDA
        x = self.embed(torch.cat([x, sums @ x[..., :2]], dim=2))
        x = x + sinusoids(x.shape[1], x.shape[2], x)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return torch.where(padding[..., None], 0.0, self.norm(x)).sum(1) / n


def sinusoids(length: int, width: int, like: Tensor) -> Tensor:
    """(L, width): sines of the place at width/2 wavelengths from 2π to 2π·10,000, then their cosines."""
    place = torch.arange(length, device=like.device, dtype=torch.float32)[:, None]
    speed = torch.exp(torch.arange(width // 2, device=like.device) * (-2 * math.log(_LONGEST) / width))
    return torch.cat([(place * speed).sin(), (place * speed).cos()], dim=1).to(like.dtype)
