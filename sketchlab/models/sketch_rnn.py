"""SketchRNN: an encoder of a drawing's points, a latent code, a decoder that draws point after point; or the decoder
alone, given the class or not (Ha and Eck 2017, "A Neural Representation of Sketch Drawings", arXiv 1704.03477).

Points are rows (Δx, Δy, p1, p2, p3) as `inputs.Input` says (the paper's section 3.1). Deviations from the paper:
the decoder is an LSTM with layer normalisation (Ba et al. 2016), not a HyperLSTM; each standard deviation has a floor
of FLOOR raw units, since stored coordinates are whole numbers, whose density would have no bound; |ρ| stays below
MOST_RHO; the class, where it is given, is an embedding beside the code; the first point's offset is from the corner of
the canvas, so that a drawing's place is learnt too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import inputs
from sketchlab.errors import UserError
from sketchlab.inputs import Input

GIVES = ("pen moves",)
FLOOR = 0.25  # smallest standard deviation, in units of the canvas 0…255
MOST_RHO = 0.995

State = tuple[Tensor, Tensor]  # (B, hidden) twice: what an LSTM says, and its cells


@dataclass(frozen=True)
class Config:
    input: Input  # points with 5 channels
    encoder: int  # units of the bidirectional LSTM in each direction; 0 = no encoder: the decoder alone
    decoder: int  # units of the LSTM that draws
    z: int  # numbers of the latent code; not used without an encoder
    mixtures: int  # Gaussians that a pen move is drawn from
    labels: bool  # the decoder is given the class
    embedding: int  # numbers that stand for a class
    layer_norm: bool  # of the LSTMs' gates and cells; false, without recurrent dropout: torch's own LSTM, faster
    recurrent_dropout: float  # probability that what a cell would take up is left out (Semeniuta et al. 2016)

    def __post_init__(self) -> None:
        if self.input.kind != "points" or self.input.channels != 5:
            raise UserError(
                f"model.input.kind={self.input.kind}, channels={self.input.channels}: this network takes points with 5"
            )
        for key, least in (("encoder", 0), ("decoder", 1), ("z", 1), ("mixtures", 1), ("embedding", 1)):
            if getattr(self, key) < least:
                raise UserError(f"model.{key}={getattr(self, key)}: expected at least {least}")
        if not 0 <= self.recurrent_dropout < 1:
            raise UserError(f"model.recurrent_dropout={self.recurrent_dropout}: expected a probability below 1")


def build(config: Config, n_classes: int) -> SketchRNN:
    return SketchRNN(config, n_classes if config.labels else 0)


class PenMoves(NamedTuple):
    """The distribution of the next point, in normalised units: M Gaussians and three pen states."""

    weights: Tensor  # (…, M) logits
    mean: Tensor  # (…, M, 2)
    std: Tensor  # (…, M, 2)
    rho: Tensor  # (…, M)
    pen: Tensor  # (…, 3) logits: goes on, stroke ends, drawing has ended

    def log_density(self, moves: Tensor) -> Tensor:
        """(…, 2) normalised Δx, Δy → (…) log of the mixture's density (the paper's equation 9)."""
        x, y = ((moves[..., None, :] - self.mean) / self.std).unbind(-1)  # (…, M)
        free = 1 - self.rho**2
        exponent = -(x * x + y * y - 2 * self.rho * x * y) / (2 * free)
        log_norm = self.std.log().sum(-1) + 0.5 * free.log() + 1.8378770664093453  # log 2π
        return torch.logsumexp(F.log_softmax(self.weights, -1) + exponent - log_norm, -1)


class SketchRNN(nn.Module):
    """scale: raw units (0…255) that a normalised move of 1 is; set from the training data.

    n_classes: 0 = the decoder is given none; class number n_classes stands for an unknown class.
    """

    scale: Tensor  # ()

    def __init__(self, config: Config, n_classes: int) -> None:
        super().__init__()
        self.n_classes, self.z, self.mixtures = n_classes, config.z if config.encoder else 0, config.mixtures
        how = config.layer_norm, config.recurrent_dropout
        if config.encoder:
            self.onward, self.backward_ = recurrent(5, config.encoder, *how), recurrent(5, config.encoder, *how)
            self.code = nn.Linear(2 * config.encoder, 2 * config.z)
        if n_classes:
            self.classes = nn.Embedding(n_classes + 1, config.embedding)
        n_given = self.z + (config.embedding if n_classes else 0)
        if n_given:
            self.first = nn.Linear(n_given, 2 * config.decoder)
        self.decoder = recurrent(5 + n_given, config.decoder, *how)
        self.moves = nn.Linear(config.decoder, 6 * config.mixtures + 3)
        self.register_buffer("scale", torch.ones(()))

    def normalised(self, points: Tensor) -> Tensor:
        """(B, L, 5) raw → the same with Δx, Δy in normalised units."""
        return torch.cat([points[..., :2] / self.scale, points[..., 2:]], -1)

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, 5) normalised → (B, z) mean and log variance of the code (equation 2)."""
        n = inputs.lengths(rows)[:, None]  # (B, 1)
        place = torch.arange(rows.shape[1], device=rows.device)[None]
        turned = torch.where(place < n, n - 1 - place, place)[..., None].expand_as(rows)
        last = (n - 1).clamp(min=0)[..., None]  # of padding nothing is read
        both = [
            lstm(x, None)[0].gather(1, last.expand(-1, 1, lstm.hidden))[:, 0]
            for lstm, x in ((self.onward, rows), (self.backward_, rows.gather(1, turned)))
        ]
        mean, log_variance = self.code(torch.cat(both, 1)).float().chunk(2, 1)
        return mean, log_variance

    def condition(self, z: Tensor | None, classes: Tensor | None) -> Tensor | None:
        """(B, z) and (B,) → (B, …) what the decoder is given in every step, None where that is nothing."""
        parts = [*([] if z is None else [z]), *([] if classes is None else [self.classes(classes)])]
        return torch.cat(parts, 1) if parts else None

    def decode(self, rows: Tensor, condition: Tensor | None, state: State | None) -> tuple[Tensor, State]:
        """(B, L, 5) normalised points → (B, L, 6 M + 3) of the point after each (`pen_moves` reads it), and the state.

        state: None at the start of a drawing (equation 5).
        """
        if condition is not None:
            rows = torch.cat([rows, condition[:, None].expand(-1, rows.shape[1], -1)], -1)
            if state is None:
                hidden, cells = torch.tanh(self.first(condition)).chunk(2, 1)
                state = hidden.contiguous(), cells.contiguous()
        hidden, after = self.decoder(rows, state)
        return self.moves(hidden), after

    def pen_moves(self, outputs: Tensor) -> PenMoves:
        outputs = outputs.float()
        weights, mean, std, rho, pen = outputs.split([self.mixtures, *[2 * self.mixtures] * 2, self.mixtures, 3], -1)
        of_two = (*outputs.shape[:-1], self.mixtures, 2)
        std = std.reshape(of_two).exp() + FLOOR / self.scale
        return PenMoves(weights, mean.reshape(of_two), std, MOST_RHO * torch.tanh(rho), pen)

    def forward(self, points: Tensor, classes: Tensor | None = None, noise: Tensor | None = None) -> tuple[Tensor, ...]:
        """(B, L, 5) raw points, (B,) classes, (B, z) standard normal noise → (B, L + 1, 6 M + 3) outputs of which row i
        is of point i, the last of what follows; with an encoder also (B, z) mean and log variance of the code."""
        rows, code, z = self.normalised(points), (), None
        if self.z:
            assert noise is not None
            code = mean, log_variance = self.encode(rows)
            z = mean + (log_variance / 2).exp() * noise
        begin = F.pad(rows.new_ones(len(rows), 1, 1), (2, 2))  # (B, 1, 5): the pen is on the paper
        outputs, _ = self.decode(torch.cat([begin, rows], 1), self.condition(z, classes), None)
        return outputs, *code


def recurrent(width: int, hidden: int, layer_norm: bool, dropout: float) -> Plain | Normed:
    return Normed(width, hidden, layer_norm, dropout) if layer_norm or dropout else Plain(width, hidden)


class Plain(nn.LSTM):
    """(B, L, width) and a state → (B, L, hidden) and the state after it."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden, batch_first=True)
        self.hidden = hidden

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:  # type: ignore[override]
        given = None if state is None else (state[0][None], state[1][None])
        out, (hidden, cells) = nn.LSTM.forward(self, x, given)
        return out, (hidden[0], cells[0])


class Normed(nn.Module):
    """The same with layer normalisation of each gate and of the cells, and with recurrent dropout."""

    def __init__(self, width: int, hidden: int, layer_norm: bool, dropout: float) -> None:
        super().__init__()
        self.hidden, self.layer_norm, self.dropout = hidden, layer_norm, dropout
        self.inputs, self.recurrent = nn.Linear(width, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        nn.init.orthogonal_(self.recurrent.weight)
        if layer_norm:
            self.gain, self.bias = nn.Parameter(torch.ones(4, hidden)), nn.Parameter(torch.zeros(4, hidden))
            self.cells = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        zeros = x.new_zeros(len(x), self.hidden)
        hidden, cells = (zeros, zeros) if state is None else state
        states = []
        for given in self.inputs(x).unbind(1):  # (B, 4 · hidden)
            gates = (given + self.recurrent(hidden)).unflatten(1, (4, self.hidden))
            if self.layer_norm:
                gates = F.layer_norm(gates, (self.hidden,)) * self.gain + self.bias
            enter, keep, new, leave = gates.unbind(1)
            taken = F.dropout(torch.tanh(new), self.dropout, self.training)
            cells = torch.sigmoid(keep + 1) * cells + torch.sigmoid(enter) * taken  # + 1: remembers from the start
            hidden = torch.sigmoid(leave) * torch.tanh(self.cells(cells) if self.layer_norm else cells)
            states.append(hidden)
        return torch.stack(states, 1), (hidden, cells)
