"""Drawing, point by point: keyed draws from a network's distributions, at a temperature (the paper's equation 8)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sketchlab import rng

PEN_ENDS = 2
BATCH = 128  # drawings at once; always as many, so that no bit depends on how many are asked for


@torch.no_grad()
def sample(
    net: Any,
    keys: Tensor,
    classes: Tensor | None,
    z: Tensor | None,
    temperature: float,
    most: int,
    beginning: Tensor | None = None,
) -> Tensor:
    """(n,) int64 keys → (n, L, 5) raw points, padded: drawing i follows from the weights, keys[i], its class and code.

    net: models' SketchRNN, in eval mode. classes: (n,), z: (n, z), None where it takes none. most: points of a
    drawing, L at most; the last of them ends its stroke. temperature: 1 = as learnt; the smaller, the likelier.
    beginning: (1, K, 5) raw points that every drawing starts with; at least one point follows. All on net's device.
    """
    out = []
    for at in torch.arange(len(keys), device=keys.device).split(BATCH):
        filled = at.repeat(-(-BATCH // len(at)))[:BATCH] if beginning is None else at
        of_class, code = [None if values is None else values[filled] for values in (classes, z)]
        out.append(_batch(net, keys[filled], net.condition(code, of_class), temperature, most, beginning)[: len(at)])
    longest = max((part.shape[1] for part in out), default=0)
    padding = keys.new_tensor([0, 0, 0, 0, 1]).float()
    padded = [torch.cat([part, padding.expand(len(part), longest - part.shape[1], 5)], 1) for part in out]
    return torch.cat(padded) if padded else padding.expand(0, 0, 5)


def _batch(
    net: Any,
    keys: Any,
    condition: Tensor | None,
    temperature: float,
    most: int,
    beginning: Tensor | None,
) -> Tensor:
    n = len(keys)
    rows = net.scale.new_tensor([[[0.0, 0, 1, 0, 0]]]).expand(n, 1, 5)
    points: list[Tensor] = []
    if beginning is not None:
        given = net.normalised(beginning).expand(n, -1, -1)
        rows, points = torch.cat([rows, given], 1), list(given.unbind(1))
    first, state, ended = len(points), None, torch.zeros(n, dtype=torch.bool, device=keys.device)
    while len(points) < most and not bool(ended.all()):
        outputs, state = net.decode(rows, condition, state)
        draws = rng.uniform(rng.fold_each(rng.fold("point", len(points)), keys), 4)  # (n, 4)
        point = _point(net.pen_moves(outputs[:, -1]), draws, temperature, len(points) > first)
        if len(points) + 1 == most:
            point = torch.where(point[:, 4:] > 0, point, torch.cat([point[:, :2], _pen(point[:, 4] * 0 + 1)], 1))
        point = torch.where(ended[:, None], point.new_tensor([0.0, 0, 0, 0, 1]), point)
        ended = ended | (point[:, 4] > 0)
        points.append(point)
        rows = point[:, None]
    made = torch.stack(points, 1)
    return torch.cat([made[..., :2] * net.scale, made[..., 2:]], -1)


def _pen(state: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(state.long(), 3).float()


def _point(predicted: Any, draws: Tensor, temperature: float, may_end: bool) -> Tensor:
    """(n, 5) normalised points from (n, 4) uniform draws: which Gaussian, which pen state, two for the offset."""
    rows = torch.arange(len(draws), device=draws.device)
    pen = predicted.pen / temperature
    if not may_end:
        pen = torch.cat([pen[:, :PEN_ENDS], torch.full_like(pen[:, PEN_ENDS:], -torch.inf)], 1)
    state = _chosen(pen, draws[:, 0])
    of = rows, _chosen(predicted.weights / temperature, draws[:, 1])
    a, b = torch.special.ndtri(draws[:, 2:].double() + 2.0**-25).float().unbind(1)  # inside (0, 1)
    rho, std = predicted.rho[of], predicted.std[of] * temperature**0.5
    moved = predicted.mean[of] + std * torch.stack([a, rho * a + (1 - rho**2).sqrt() * b], 1)
    ends = (state == PEN_ENDS)[:, None]
    return torch.cat([torch.where(ends, torch.zeros_like(moved), moved), _pen(state)], 1)


def _chosen(logits: Tensor, draws: Tensor) -> Tensor:
    """(n, K) and (n,) uniform → (n,) which of K, by inversion."""
    up_to = torch.ones(logits.shape[1], logits.shape[1], dtype=torch.bool, device=logits.device).triu()
    # not cumsum, which has no deterministic kernel on a GPU
    passed = torch.where(up_to, logits.double().softmax(1)[:, :, None], 0.0).sum(1) <= draws[:, None]
    return passed.sum(1).clamp(max=logits.shape[1] - 1)
