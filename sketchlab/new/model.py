"""A network of two layers: what it takes, what it gives, its settings, how it is built."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sketchlab.inputs import Input

GIVES = ("logits",)  # logits: for pipeline=classify; embeddings: for pipeline=retrieve


@dataclass(frozen=True)
class Config:
    input: Input  # what the data has to be brought to
    hidden: int  # width of the layer between


def build(config: Config, n_classes: int) -> nn.Module:
    """(B, C, S, S) → (B, n_classes) logits. A chain of layers: frozen ones at its start run once per image."""
    pixels = config.input.channels * config.input.size_px**2
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, config.hidden), nn.ReLU(), nn.Linear(config.hidden, n_classes))
