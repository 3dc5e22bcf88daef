"""A scikit-learn estimator on frozen features: what a network gives before its last layer, whatever the network."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.chain import flatten, penultimate

_BATCH = 32  # images through the network at once


class OnFeatures:
    """network: all but the last layer of `backbone`, frozen; estimator: fitted on what it gives, flattened.

    keep: the network's tensors go into the stored state, since nothing else holds them (random weights).
    """

    def __init__(self, estimator: Any, backbone: nn.Module, input: Input, keep: bool) -> None:
        stages = flatten(penultimate(backbone))
        while isinstance(stages[-1], nn.Dropout):  # then these are the layers that tune=freeze runs once, too
            stages.pop()
        self.network = nn.Sequential(*stages).requires_grad_(False).eval()
        self.estimator, self.keep = estimator, keep
        self.shape = (input.channels, input.size_px, input.size_px)

    def state(self) -> dict[str, Any]:
        """Tensors and strings that `load` takes."""
        return {"digest": self._digest(), "tensors": dict(self.network.state_dict()) if self.keep else {}}

    def load(self, state: dict[str, Any]) -> None:
        """Raises UserError when the network is not the one that the estimator was fitted on."""
        if state["tensors"]:
            self.network.load_state_dict(state["tensors"])
        if (now := self._digest()) != state["digest"]:
            raise UserError(
                f"model.backbone: this baseline was fitted on features of another network (digest {state['digest']}, "
                f"here {now}): give the weights file used then by model.backbone.weights, or SKETCHLAB_WEIGHTS"
            )

    def predict_log_proba(self, pixels: np.ndarray) -> np.ndarray:
        """(n, C·S·S) float32, prepared as the network takes them, → (n, n_classes)."""
        images = torch.from_numpy(pixels).unflatten(1, self.shape)  # (n, C, S, S)
        with torch.no_grad():
            features = torch.cat([self.network(part).float().flatten(1) for part in images.split(_BATCH)])
        return self.estimator.predict_log_proba(features.numpy())

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode() + _bytes(tensor))
        return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
