"""3×3×3 convolutions over space and strokes: the front of frankenstein's networks.

The mathematics is that of (Conv3d 3³ padding 1, ReLU, MaxPool3d 1×2×2) for each width; tests hold it against those
layers. Three things are done otherwise, for speed and for the same bits every time:

- A filter over three frames is three filters over one frame, their maps added. So everything is 2-D and channels last,
  and pooling has a deterministic backward pass on CUDA, which MaxPool3d has not.
- Pooling comes before the ReLU, on a quarter of the values; the two commute.
- Frames after a drawing's last stroke are empty. Layer k sees k frames back, so from k frames after the last stroke on
  its maps are those of a drawing without strokes, which is put through once per batch. On a CPU only the others are
  computed, about half of them at three strokes a drawing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab.errors import UserError
from sketchlab.inputs import Input


def check(input: Input, channels: list[int]) -> None:
    """Refuse an input or widths that the front cannot take."""
    if input.kind != "frames":
        raise UserError(f"model.input.kind={input.kind}: this network takes frames")
    if not channels or min(channels) < 1:
        raise UserError(f"model.channels={channels}: expected one number of channels or more, each at least 1")
    if input.size_px % 2 ** len(channels):
        raise UserError(
            f"model.input.size_px={input.size_px}: each of the {len(channels)} model.channels halves it; "
            f"expected a multiple of {2 ** len(channels)}"
        )


def map_px(input: Input, channels: list[int]) -> int:
    """Side of the last map."""
    return input.size_px // 2 ** len(channels)


class FrameFront(nn.Module):
    """(B, T, S, S) frames → (B, T, C, h, h), h = S / 2^layers."""

    def __init__(self, input: Input, channels: list[int]) -> None:
        super().__init__()
        paper = 0.0 if input.ink == "bright" else 1.0
        self.empty = float((torch.tensor(paper) - torch.tensor(input.mean[0])) / torch.tensor(input.std[0]))
        self.layers = nn.ModuleList(FrameConv(into, out) for into, out in zip([1, *channels], channels, strict=False))

    def forward(self, frames: Tensor) -> Tensor:
        batch, n_frames = frames.shape[:2]
        if frames.device.type != "cpu":  # nothing is looked up: the frames beside are moved copies
            x = frames.flatten(0, 1).unsqueeze(1)
            for layer in self.layers:
                x = layer(x, n_frames)
            return x.unflatten(0, (batch, n_frames))
        own = self._own(frames)
        if own:
            frames = torch.cat([frames, torch.full_like(frames[:1], self.empty)])
        x = frames.flatten(0, 1).unsqueeze(1)  # (frames, 1, S, S)
        place = torch.arange(x.shape[0], device=frames.device).view(-1, n_frames)
        for i, layer in enumerate(self.layers):
            beside = F.pad(place, (1, 1), value=-1).unfold(1, 3, 1)  # (B, T, 3)
            x = layer(x, beside[own[i]] if own else beside.flatten(0, 1))
            place = _places(own[i]) if own else place
        if own:
            x = x.index_select(0, place[:batch].flatten())
        return x.unflatten(0, (batch, n_frames))

    def _own(self, frames: Tensor) -> list[Tensor]:
        """Per layer, (B + 1, T) which frames are computed, those of the drawing without strokes last; [] = all of B."""
        batch, n_frames = frames.shape[:2]
        if torch.compiler.is_compiling():
            return []
        place = torch.arange(n_frames)
        used = ((frames != self.empty).flatten(2).any(2) * (place + 1)).amax(1)  # (B,) up to the last frame with ink
        used = torch.cat([used, used.new_tensor([n_frames])])
        own = [place < used[:, None] + k for k in range(1, len(self.layers) + 1)]
        return own if own[-1].sum() < batch * n_frames else []

    def extra_repr(self) -> str:
        return f"empty={self.empty:g}"


class FrameConv(nn.Conv2d):
    """A 3×3×3 convolution, 2×2 pooling in space, ReLU; the filter is kept as (O, 3·C, 3, 3), time before channels.

    Its start is that of a Conv3d, whose fan-in is the same.
    """

    def __init__(self, into: int, out: int) -> None:
        super().__init__(3 * into, out, 3, padding=1)

    def forward(self, x: Tensor, neighbours: Tensor | int) -> Tensor:  # type: ignore[override]
        """(N, C, h, w) maps and (M, 3), which of them stand before, at and after each wanted one, −1 = zeros →
        (M, O, h/2, w/2). Or maps of drawings with so many frames each, all of them wanted."""
        assert self.bias is not None
        if isinstance(neighbours, int):
            return self._of_all(x, neighbours)
        there = (neighbours >= 0)[..., None, None, None].to(x.dtype)  # (M, 3, 1, 1, 1)
        rows = neighbours.clamp(min=0)
        if x.shape[1] < self.out_channels:  # whichever is smaller is laid side by side: what goes in …
            beside = x.index_select(0, rows.flatten()).unflatten(0, rows.shape) * there  # (M, 3, C, h, w)
            maps = F.conv2d(
                beside.flatten(1, 2).contiguous(memory_format=torch.channels_last), self.weight, self.bias, padding=1
            )
        else:  # … or what comes out
            weight = self.weight.unflatten(1, (3, -1)).transpose(0, 1).flatten(0, 1)  # (3·O, C, 3, 3)
            weight = weight.contiguous(memory_format=torch.channels_last)
            thirds = F.conv2d(x, weight, padding=1).permute(0, 2, 3, 1).chunk(3, dim=3)  # 3 of (N, h, w, O)
            now = thirds[1].index_select(0, rows[:, 1])
            past, coming = (thirds[k].index_select(0, rows[:, k]) * there[:, k] for k in (0, 2))
            maps = (past + now + coming + self.bias.to(now.dtype)).permute(0, 3, 1, 2)
        return F.relu(F.max_pool2d(maps, 2))

    def _of_all(self, x: Tensor, n_frames: int) -> Tensor:
        assert self.bias is not None
        if x.shape[1] < self.out_channels:
            beside = torch.cat([_moved(x, n_frames, 1), x, _moved(x, n_frames, -1)], dim=1)  # (N, 3·C, h, w)
            return F.relu(F.max_pool2d(F.conv2d(beside, self.weight, self.bias, padding=1), 2))
        weight = self.weight.unflatten(1, (3, -1)).transpose(0, 1).flatten(0, 1)  # (3·O, C, 3, 3)
        weight = weight.contiguous(memory_format=torch.channels_last)
        past, now, coming = F.conv2d(x, weight, padding=1).chunk(3, dim=1)  # (N, O, h, w) each
        maps = _moved(past, n_frames, 1) + now + _moved(coming, n_frames, -1) + self.bias.to(now.dtype)[:, None, None]
        return F.relu(F.max_pool2d(maps, 2))

    def extra_repr(self) -> str:
        return f"{self.in_channels // 3}, {self.out_channels}, 3×3×3"


def _moved(maps: Tensor, n_frames: int, by: int) -> Tensor:
    """(B·T, C, h, w) → the same, each map in the place of the frame `by` later; zeros where none comes from."""
    frames = maps.unflatten(0, (-1, n_frames))
    nothing = torch.zeros_like(frames[:, :1])
    parts = [nothing, frames[:, :-1]] if by > 0 else [frames[:, 1:], nothing]
    return torch.cat(parts, dim=1).flatten(0, 1)


def _places(computed: Tensor) -> Tensor:
    """(B, T) which maps are computed → (B, T) where each stands; those that are not: as in the last drawing."""
    starts = computed.sum(1).cumsum(0) - computed.sum(1)
    place = torch.arange(computed.shape[1], device=computed.device)
    return torch.where(computed, starts[:, None], starts[-1]) + place


class Places(nn.Module):
    """(B, T, C, h, w) → (B, h, w, T·C): the channels of all frames side by side."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(1, 2).permute(0, 2, 3, 1)


def head(features: int, hidden: int, dropout: float, n_classes: int) -> nn.Sequential:
    """(B, …) → (B, n_classes) logits: everything side by side, one hidden layer."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_classes)
    )
