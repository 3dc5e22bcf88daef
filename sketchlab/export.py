"""python -m sketchlab.export RUN --to onnx|safetensors: the network of a run for use elsewhere, checked first."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import logging
import os
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.data.strokes import prepare as stroke_prepare
from sketchlab.data.strokes.batch import Strokes
from sketchlab.errors import UserError, exit_on_error
from sketchlab.inputs import Input
from sketchlab.runs import KINDS, OpenedRun
from sketchlab.storage.files import write_json

FORMATS = ("onnx", "safetensors")
LARGEST = 1e-4  # difference to the run's own network that is still called the same
OPSET = 18  # of ONNX; what torch's exporter writes without conversion
BATCHES = (2, 1, 5)  # sizes of the batches that the check compares; torch traces the network with the first
LENGTHS = (40, 1, 2, 17, 97)  # points of the longest drawing of a batch, each in each of BATCHES; the first likewise
GATES = [0, 3, 1, 2]  # of an LSTM: torch has input, forget, cell, output; ONNX has input, output, forget, cell


def main(words: list[str] | None = None) -> None:
    """Exit code 0 when the exported network answers as the run's, 1 with one line when not."""
    out = argparse.ArgumentParser("python -m sketchlab.export", description=__doc__, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run of a classifier")
    out.add_argument("--to", choices=FORMATS, required=True)
    out.add_argument("--out", type=Path, metavar="DIR", help="where the files go (default RUN/export)")
    arguments = out.parse_args(words)
    exit_on_error(lambda: export(arguments.run, arguments.to, arguments.out))


def export(path: Path, to: str, out: Path | None = None) -> Path:
    """Write model.<to> and model.<to>.json (labels and preprocessing); returns the path of the model.

    Raises UserError when torch cannot export the network, or the exported one fails or gives logits that differ from
    the run's by more than LARGEST, relative to the largest of them (or to 1), on any of random_batches. No file is
    then left.
    """
    run = OpenedRun(path)
    run.check_classifier("export", KINDS)
    net = run.network()
    folder = (out or path / "export").resolve()
    batches = random_batches(run.input)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as building:
            file = Path(building) / f"model.{to}"
            exported = {"onnx": _onnx, "safetensors": _safetensors}[to](net, file, batches[0], run)
            worst = difference(net, exported, batches)
            if not worst <= LARGEST:
                raise UserError(
                    f"{to}: the exported network's answers differ by {worst:.2g} (at most {LARGEST:g}); not kept"
                )
            write_json(Path(building) / f"model.{to}.json", description(run, to, worst))
            for name in (f"model.{to}", f"model.{to}.json"):
                (Path(building) / name).chmod(0o644)  # a temporary one is its owner's alone
                os.replace(Path(building) / name, folder / name)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}; choose another with --out") from None
    size_mb, kind = (folder / f"model.{to}").stat().st_size / 1e6, run.input.kind
    points = f", drawings of {_list(LENGTHS)} points" if kind == "points" else ""
    print(f"largest difference of a logit: {worst:.2g} (at most {LARGEST:g}); batches of {_list(BATCHES)}{points}")
    print(f"{folder / f'model.{to}'} ({size_mb:.1f} MB) and model.{to}.json (labels, preprocessing)")
    return folder / f"model.{to}"


def _list(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(sizes)))


def random_batches(input: Input) -> list[Tensor]:
    """What the check compares: (B, C, S, S), (B, T, S, S) or (B, L, 3 or 5) float32, with B of BATCHES, L of LENGTHS.

    Every pair of the sizes that may move; the same values on every machine.
    """
    draw = rng.generator(0, "export")
    if input.kind == "points":
        return [random_points(input, n, length, draw) for n in BATCHES for length in LENGTHS]
    return [_random_pixels(input, n, draw) for n in BATCHES]


def _random_pixels(input: Input, n: int, draw: np.random.Generator) -> Tensor:
    pixels = torch.from_numpy(draw.random((n, input.channels, input.size_px, input.size_px), dtype=np.float32))
    if input.kind == "frames":  # ink is rare, stays, and ends after some strokes, which networks make use of
        strokes = torch.from_numpy(draw.integers(1, input.channels + 1, n))
        ink = (pixels < 0.05).cummax(1).values & (torch.arange(input.channels) < strokes[:, None])[..., None, None]
        pixels = (ink if input.ink == "bright" else ~ink).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (input.mean, input.std))
    return (pixels - mean) / std


def random_points(input: Input, n: int, length: int, draw: np.random.Generator) -> Tensor:
    """(n, length, 3 or 5) drawings of at most two strokes, the first has all the points, the others 1 to length."""
    sizes = [length, *draw.integers(1, length + 1, n - 1).tolist()]
    strokes = [[size] if size == 1 else [size // 2, size - size // 2] for size in sizes]
    points = draw.integers(0, 256, (sum(sizes), 2))
    lengths = [points for drawing in strokes for points in drawing]
    raw = Strokes(torch.from_numpy(points), torch.tensor(lengths), torch.tensor([len(drawing) for drawing in strokes]))
    return stroke_prepare.points(raw, input)


def difference(net: nn.Module, exported: Callable[[Tensor], Tensor], batches: list[Tensor]) -> float:
    """The largest difference of a logit, relative to the largest logit where that is above 1; nan where one is nan.

    Raises UserError where `exported` gives another number of logits.
    """
    with torch.no_grad():
        ours, theirs = ([logits(batch) for batch in batches] for logits in (net, exported))
    for batch, expected, given in zip(batches, ours, theirs, strict=True):
        if given.shape != expected.shape:
            raise UserError(
                f"for a batch of shape {list(batch.shape)} the exported network gives logits of shape "
                f"{list(given.shape)}, expected {list(expected.shape)}; not kept"
            )
    expected = torch.cat(ours)
    return float((expected - torch.cat(theirs)).abs().max() / expected.abs().max().clamp(min=1))


def _onnx(net: nn.Module, file: Path, example: Tensor, run: OpenedRun) -> Callable[[Tensor], Tensor]:
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]:
        raise UserError(f"--to onnx needs {', '.join(missing)}: pip install 'sketchlab[export]'")
    import onnxruntime

    kind, moving = run.input.kind, {0: torch.export.Dim("batch")}
    if kind == "points":
        moving[1] = torch.export.Dim("points")
    with _refused("torch cannot export this network"), warnings.catch_warnings(), _lstms_of_onnx(net):
        warnings.simplefilter("ignore")  # of the exporter, on itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        # in two steps: in one, torch.onnx fixes a size that it cannot let move, and says nothing
        program = torch.export.export(net, (example,), dynamic_shapes=(moving,), strict=False)
        torch.onnx.export(
            program,
            (example,),
            str(file),
            input_names=[kind],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=(moving,),
            verbose=False,
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it raises it must not print too
    with _refused("onnxruntime cannot read what torch exported"):
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def output(batch: Tensor) -> Tensor:
        with _refused(f"what torch exported fails on {kind} of shape {list(batch.shape)}"):
            return torch.from_numpy(session.run(["logits"], {kind: batch.numpy()})[0])

    return output


@contextlib.contextmanager
def _refused(what: str) -> Iterator[None]:
    """Any error within as one line with its reason: torch and onnxruntime raise of many classes."""
    try:
        yield
    except OSError:  # the disk's, which export() reports
        raise
    except Exception as error:
        raise UserError(f"--to onnx: {what}: {_reason(error)}; not kept, use --to safetensors") from None


def _reason(error: BaseException) -> str:
    """The first cause, in one line."""
    while error.__cause__:
        error = error.__cause__
    return textwrap.shorten(f"{error}" or type(error).__name__, 300, placeholder=" …")


@contextlib.contextmanager
def _lstms_of_onnx(net: nn.Module) -> Iterator[None]:
    """Within, LSTMs of `net` are traced as ONNX's operator: torch's exporter unrolls its own, for one number of steps.

    They give no state of the last step; no network here asks for it.
    """
    weights = {lstm: _onnx_weights(lstm) for lstm in net.modules() if isinstance(lstm, nn.LSTM) and lstm.bias}
    torchs = nn.LSTM.forward

    def forward(self: nn.LSTM, x: Tensor, hx: Any = None) -> Any:
        if self not in weights or hx is not None or x.dim() != 3:
            return torchs(self, x, hx)
        x = x.transpose(0, 1) if self.batch_first else x  # (L, B, C)
        for w, r, b, project in weights[self]:
            y = torch.onnx.ops.symbolic(
                "LSTM",
                (x, w, r, b),
                {"hidden_size": self.hidden_size, "direction": "bidirectional" if self.bidirectional else "forward"},
                dtype=x.dtype,
                shape=(x.shape[0], len(w), x.shape[1], self.hidden_size),
                version=OPSET,
            )
            y = y if project is None else y @ project
            x = y.transpose(1, 2).flatten(2)  # (L, D, B, H or P) → (L, B, D·(H or P)), D directions
        return (x.transpose(0, 1) if self.batch_first else x), None

    nn.LSTM.forward = forward  # type: ignore[method-assign]  # on the class: what inherits from it calls it by this name
    try:
        yield
    finally:
        nn.LSTM.forward = torchs  # type: ignore[method-assign]


def _onnx_weights(lstm: nn.LSTM) -> list[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Per layer W (D, 4·H, C), R (D, 4·H, H) and B (D, 8·H) of ONNX's operator, and what projects (D, H, P) or None.

    ONNX projects nothing: what torch does to the projected h is done by R to the whole h.
    """
    out, n = [], 1 + lstm.bidirectional
    for low in range(0, len(lstm.all_weights), n):
        sides = zip(*lstm.all_weights[low : low + n], strict=True)
        w, r, b, b_hidden, *rest = (torch.stack([p.detach() for p in side]) for side in sides)
        w, r, b, b_hidden = (p.unflatten(1, (4, -1))[:, GATES].flatten(1, 2) for p in (w, r, b, b_hidden))
        project = rest[0].transpose(1, 2) if rest else None
        out.append((w, r if project is None else r @ project.transpose(1, 2), torch.cat([b, b_hidden], dim=1), project))
    return out


def _safetensors(net: nn.Module, file: Path, example: Tensor, run: OpenedRun) -> Callable[[Tensor], Tensor]:
    """All parameters and buffers, the frozen ones too; the check loads them into a network that starts from nothing."""
    from safetensors.torch import load_model, save_model

    save_model(net, str(file), metadata={"model": run.document["choices"]["model"], "format": "pt"})
    model = run.model
    if hasattr(model.config, "tune"):
        alone = {"tune": "scratch"} | ({"train_from": None} if hasattr(model.config, "train_from") else {})
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, **alone))
    fresh = model.build(len(run.classes)).eval()
    load_model(fresh, str(file))
    return fresh


def description(run: OpenedRun, to: str, worst: float) -> dict[str, Any]:
    """model.<to>.json: what a program needs to ask the network as the run was asked."""
    input = run.input
    shape = ["points", input.channels] if input.kind == "points" else [input.channels, input.size_px, input.size_px]
    return {
        "run": f"{run.path.resolve().parent.name}/{run.path.resolve().name}",
        "model": run.document["choices"]["model"],
        "trained_on": run.document["choices"]["data"],
        "format": to,
        "labels": run.classes,
        "input": {"name": input.kind, "shape": ["batch", *shape], "type": "float32"},
        "output": {"name": "logits", "shape": ["batch", len(run.classes)], "then": "softmax gives probabilities"},
        "preprocessing": _of_images(run) if input.kind == "images" else _of_strokes(run),
        "difference": worst,
    }


def _of_images(run: OpenedRun) -> dict[str, Any]:
    input, drawn = run.input, run.ink != "none"
    return {
        "orientation": "apply EXIF; transparency on white",
        "colour": "grey (luma .299 R + .587 G + .114 B)" if drawn or input.channels == 1 else "RGB",
        "resize": run.config["data"].get("resize", "pad"),
        "resize_note": "to a square: pad keeps the aspect and fills with the median of the border; crop takes the "
        "central square; squash keeps no aspect; triangle filter, antialiased",
        "size_px": input.size_px,
        "invert": "to bright lines on black"
        if drawn and input.ink == "bright"
        else "to dark lines on white"
        if drawn
        else "never",
        "trained_ink": run.ink,
        "scale": "divide by 255",
        "channels": f"repeat grey {input.channels} times" if drawn and input.channels > 1 else "as they are",
        "mean": input.mean,
        "std": input.std,
    }


def _of_strokes(run: OpenedRun) -> dict[str, Any]:
    input = run.input
    out: dict[str, Any] = {
        "drawing": "strokes in QuickDraw's simplified convention: top left corner at 0, 0, longer side 255, y "
        "downwards, resampled at 1 px, Ramer-Douglas-Peucker with 2 px",
    }
    if input.kind == "points":
        pen = "0 = goes on, 1 = stroke ends, -1 = padding" if input.channels == 3 else "one of goes on, ends, padding"
        out["points"] = (
            f"rows of dx, dy from the point before (the first: from 0, 0), in units of 255 / {input.size_px}, then the "
            f"state of the pen: {pen}; shorter drawings of a batch are padded with dx = dy = 0"
        )
        return out | {"mean": input.mean, "std": input.std, "normalise": "dx and dy: minus mean, divided by std"}
    out["frames"] = (
        f"frame k shows strokes 0 to k, {input.channels} frames, empty ones after the last stroke; ink is "
        f"{'1 on 0' if input.ink == 'bright' else '0 on 1'}"
    )
    return out | {"raster": run.config["data"].get("raster"), "mean": input.mean, "std": input.std}


if __name__ == "__main__":
    main()
