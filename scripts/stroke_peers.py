"""What people do instead: drawings to frames with PIL and OpenCV, frames kept as JSON, frankenstein's network plainly.

plain PIL draws and pools after every stroke. best PIL and OpenCV draw once, each stroke with the bits of the frames
that show it, the last stroke first, and pool with OR: four pixels side by side are one 32-bit word. JSON holds finished
frames, one file a drawing, read by orjson. Each takes its drawings in the form it reads fastest.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

CANVAS_PX, SIDE_PX, FRAMES, POOL_PX = 256, 64, 8, 4

Drawing = list[list[list[int]]]  # QuickDraw's: [[x…], [y…]] of each stroke


def plain_pil(drawing: Drawing) -> np.ndarray:
    """(8, 64, 64): draw a stroke, pool, keep, and on with the next."""
    image = Image.new("L", (CANVAS_PX, CANVAS_PX))
    pen = ImageDraw.Draw(image)
    out = np.zeros((FRAMES, SIDE_PX, SIDE_PX), np.uint8)
    for k, (xs, ys) in enumerate(drawing[:FRAMES]):
        pen.line(list(zip(xs, ys, strict=True)), fill=255)
        out[k] = np.asarray(image).reshape(SIDE_PX, POOL_PX, SIDE_PX, POOL_PX).max((1, 3))
    return out


def flat_lists(drawing: Drawing) -> list[list[int]]:
    """x, y, x, y … of each of the first eight strokes: PIL's quickest form."""
    return [list(itertools.chain.from_iterable(zip(xs, ys, strict=True))) for xs, ys in drawing[:FRAMES]]


def best_pil(drawings: list[list[list[int]]]) -> np.ndarray:
    """(n, 8, 64, 64): every drawing once, on one canvas after the other."""
    canvases = blank(len(drawings))
    for canvas, strokes in zip(canvases, drawings, strict=True):
        image = Image.new("L", (CANVAS_PX, CANVAS_PX))
        pen = ImageDraw.Draw(image)
        for k in reversed(range(len(strokes))):
            pen.line(strokes[k], fill=shown_from(k))
        canvas[:] = image
    return pooled(canvases, [len(strokes) for strokes in drawings])


def arrays(drawing: Drawing) -> list[np.ndarray]:
    """(n, 1, 2) int32 of each of the first eight strokes: OpenCV's own form."""
    return [np.array([xs, ys], np.int32).T[:, None].copy() for xs, ys in drawing[:FRAMES]]


def opencv(drawings: list[list[np.ndarray]]) -> np.ndarray:
    """(n, 8, 64, 64): every drawing once, straight into its place of the batch."""
    import cv2  # pyright: ignore[reportMissingImports]  # extra: bench

    cv2.setNumThreads(1)
    canvases = blank(len(drawings))
    canvases.fill(0)
    for canvas, strokes in zip(canvases, drawings, strict=True):
        for k in reversed(range(len(strokes))):
            cv2.polylines(canvas, [strokes[k]], False, shown_from(k))
    return pooled(canvases, [len(strokes) for strokes in drawings])


@functools.lru_cache(maxsize=4)
def blank(n: int) -> np.ndarray:
    """(n, 256, 256) uint8, the same array every time: fresh memory would cost more than drawing."""
    return np.empty((n, CANVAS_PX, CANVAS_PX), np.uint8)


def shown_from(k: int) -> int:
    """The bits of the frames that show stroke k: k … 7."""
    return 0xFF << k & 0xFF


def pooled(canvases: np.ndarray, strokes: list[int]) -> np.ndarray:
    """(n, 256, 256) bits of frames → (n, 8, 64, 64) uint8, empty after the last stroke."""
    words = canvases.view(np.uint32).reshape(-1, SIDE_PX, POOL_PX, SIDE_PX)  # a word: four pixels side by side
    cells = words[:, :, 0] | words[:, :, 1] | words[:, :, 2] | words[:, :, 3]
    cells |= cells >> 16
    cells |= cells >> 8
    real = ((1 << np.array(strokes)) - 1).astype(np.uint8)
    bits = cells.astype(np.uint8) & real[:, None, None]
    return np.unpackbits(bits[:, None], axis=1, bitorder="little", count=FRAMES) * np.uint8(255)


def write_json(frames: np.ndarray, labels: Tensor, folder: Path) -> None:
    """A file a drawing: its class, and its frames as nested lists of 0 and 1."""
    for i, (drawing, label) in enumerate(zip(frames, labels.tolist(), strict=True)):
        content = {"label": label, "frames": (drawing // 255).tolist()}
        (folder / f"{i}.json").write_bytes(orjson.dumps(content))


class Bitmaps(Dataset[tuple[Tensor, int]]):
    """(8, 64, 64) uint8, 0 or 255, and the class."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        content = orjson.loads((self.folder / f"{place}.json").read_bytes())
        return torch.from_numpy(np.array(content["frames"], np.uint8) * 255), content["label"]


def loader(folder: Path, n: int, batch: int, workers: int, shuffle: bool) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(
        Bitmaps(folder, n), batch, shuffle=shuffle, num_workers=workers, persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(), drop_last=shuffle,
    )  # fmt: skip


def serve(pipe: Connection, made: Callable[[], nn.Module], folder: Path, n: int, batch: int, workers: int) -> None:
    """An epoch of the plainest good loop whenever it is asked for; workers = −1: all frames lie on the device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    net = twin(made()).to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    batches: Any = loader(folder, n, batch, max(workers, 0), shuffle=True)
    if workers < 0:
        frames, labels = (torch.cat(parts).to(device) for parts in zip(*batches, strict=True))
        batches = Slices(frames, labels, batch)
    while pipe.recv():
        start = time.perf_counter()
        for frames, labels in batches:
            inputs = frames.to(device, non_blocking=True).float().div_(255)  # (B, 8, 64, 64)
            F.cross_entropy(net(inputs), labels.to(device, non_blocking=True)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        pipe.send(time.perf_counter() - start)


class Slices:
    """Batches of tensors that lie on the device, in a new order at every pass."""

    def __init__(self, frames: Tensor, labels: Tensor, batch: int) -> None:
        self.frames, self.labels, self.batch = frames, labels, batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for at in torch.randperm(len(self.labels), device=self.labels.device).split(self.batch):
            yield self.frames[at], self.labels[at]


class Steps(nn.LSTM):
    """(B, T, D) → (B, T, hidden)."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


class Ahead(nn.Module):
    """(B, T, S, S) → (B, 1, T, S, S)."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames.unsqueeze(1)


class Beside(nn.Module):
    """(B, C, T, h, w) → (B, T, C·h·w)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.transpose(1, 2).flatten(2)


def twin(net: Any) -> nn.Sequential:
    """cnn_lstm as frankenstein has it, with the same weights: Conv3d, ReLU and MaxPool3d, LSTM, two linear layers."""
    convs: list[nn.Module] = []
    for conv in net.front.layers:
        plain = nn.Conv3d(conv.in_channels // 3, conv.out_channels, 3, padding=1)
        plain.load_state_dict(
            {"weight": conv.weight.detach().unflatten(1, (3, -1)).transpose(1, 2), "bias": conv.bias.detach()}
        )
        convs += [plain, nn.ReLU(), nn.MaxPool3d((1, 2, 2))]
    steps = Steps(net.lstm.input_size, net.lstm.hidden_size, net.lstm.num_layers, batch_first=True)
    steps.load_state_dict(net.lstm.state_dict())
    return nn.Sequential(
        OrderedDict(ahead=Ahead(), convs=nn.Sequential(*convs), beside=Beside(), lstm=steps, head=net.head)
    )
