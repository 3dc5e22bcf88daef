"""What a drawing is worth to a network: log-likelihoods of its points, with exact masks.

The paper's reconstruction loss (equation 9): L_s over a drawing's own N_s points and L_p, the pen's cross-entropy, over
all N_max, both divided by N_max. Here a drawing that has ended stays so with probability 1, as samples do: of the
N_max − N_s rows of padding the first has a loss, the others have none (the paper learns them too). So a batch is as
long as its longest drawing, and no loss depends on the batch that a drawing stands in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab import inputs


class Terms(NamedTuple):
    """(B,) float32 sums over each drawing's rows, in nats, moves in normalised units."""

    moves: Tensor  # −log density of the offsets of its points: N_max · L_s
    pen: Tensor  # −log probability of the pen states of its points
    end: Tensor  # of the end, in the row after them
    n: Tensor  # int64, points


def terms(net: Any, outputs: Tensor, points: Tensor) -> Terms:
    """net: models' SketchRNN. outputs: (B, L + 1, …) that it gave for points (B, L, 5) raw."""
    predicted, n = net.pen_moves(outputs), inputs.lengths(points)
    end = F.pad(points.new_ones(len(points), 1, 1), (4, 0))  # (B, 1, 5); a list of numbers would make a GPU wait
    targets = torch.cat([net.normalised(points), end], 1)  # (B, L + 1, 5)
    place = torch.arange(targets.shape[1], device=points.device)[None]
    real, at_end = place < n[:, None], place == n[:, None]
    moves = -predicted.log_density(targets[..., :2])
    pen = -(F.log_softmax(predicted.pen, -1) * targets[..., 2:]).sum(-1)
    zero = moves.new_zeros(())
    return Terms(
        torch.where(real, moves, zero).sum(1),
        torch.where(real, pen, zero).sum(1),
        torch.where(at_end, pen, zero).sum(1),
        n,
    )


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B, z) twice → (B,) L_KL, a number of the code (equation 10)."""
    return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).mean(1)
