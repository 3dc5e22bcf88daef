"""python -m sketchlab.export RUN --to onnx|safetensors: the network of a run for use elsewhere, checked first."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.data.strokes import prepare as stroke_prepare
from sketchlab.data.strokes.batch import Strokes
from sketchlab.engine.files import write_json
from sketchlab.errors import UserError, said
from sketchlab.inputs import Input
from sketchlab.runs import KINDS, OpenedRun

FORMATS = ("onnx", "safetensors")
LARGEST = 1e-4  # difference to the run's own network that is still called the same
OPSET = 18  # of ONNX; what torch's exporter writes without conversion
SAMPLES = 5  # random ones that the check compares, in batches of 1 and of the rest
POINTS = 40  # of the longest random drawing


def main(words: list[str] | None = None) -> None:
    """Exit code 0 when the exported network answers as the run's, 1 with one line when not."""
    out = argparse.ArgumentParser("python -m sketchlab.export", description=__doc__, allow_abbrev=False)
    out.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run of a classifier")
    out.add_argument("--to", choices=FORMATS, required=True)
    out.add_argument("--out", type=Path, metavar="DIR", help="where the files go (default RUN/export)")
    arguments = out.parse_args(words)
    said(lambda: export(arguments.run, arguments.to, arguments.out))


def export(path: Path, to: str, out: Path | None = None) -> Path:
    """Write model.<to> and model.<to>.json (labels and preprocessing); returns the path of the model.

    Raises UserError when the exported network's logits differ from the run's by more than LARGEST, relative to the
    largest of them (or to 1); nothing is then left.
    """
    run = OpenedRun(path)
    run.check_classifier("export", KINDS)
    net = run.network()
    folder = (out or path / "export").resolve()
    samples = _samples(run.input)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as building:
            file = Path(building) / f"model.{to}"
            answer = {"onnx": _onnx, "safetensors": _safetensors}[to](net, file, samples, run)
            worst = difference(net, answer, samples)
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
    size_mb = (folder / f"model.{to}").stat().st_size / 1e6
    print(f"largest difference of a logit: {worst:.2g} on {len(samples)} random {run.input.kind} (at most {LARGEST:g})")
    print(f"{folder / f'model.{to}'} ({size_mb:.1f} MB) and model.{to}.json (labels, preprocessing)")
    return folder / f"model.{to}"


def _samples(input: Input) -> Tensor:
    """(B, C, S, S), (B, T, S, S) or (B, L, C) float32 as the network takes them, keyed."""
    draw = rng.generator(0, "export")
    if input.kind == "points":
        return _points(input, draw)
    words = torch.from_numpy(draw.random((SAMPLES, input.channels, input.size_px, input.size_px), dtype=np.float32))
    if input.kind == "frames":  # ink is rare, stays, and ends after some strokes, which networks make use of
        strokes = torch.from_numpy(draw.integers(1, input.channels + 1, SAMPLES))
        ink = (words < 0.05).cummax(1).values & (torch.arange(input.channels) < strokes[:, None])[..., None, None]
        words = (ink if input.ink == "bright" else ~ink).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (input.mean, input.std))
    return (words - mean) / std


def _points(input: Input, draw: np.random.Generator) -> Tensor:
    """Random drawings as points, the first the longest."""
    sizes = [POINTS, *draw.integers(2, POINTS, SAMPLES - 1).tolist()]
    points = draw.integers(0, 256, (sum(sizes), 2))
    lengths = [n for size in sizes for n in (size // 2, size - size // 2)]  # two strokes each
    raw = Strokes(torch.from_numpy(points), torch.tensor(lengths), torch.full((SAMPLES,), 2))
    return stroke_prepare.points(raw, input)


def difference(net: nn.Module, answer: Callable[[Tensor], Tensor], samples: Tensor) -> float:
    """The largest difference of a logit, relative to the largest logit where that is above 1; batches of two sizes."""
    with torch.no_grad():
        ours = torch.cat([net(part) for part in (samples[:1], samples[1:])])
        theirs = torch.cat([answer(part) for part in (samples[:1], samples[1:])])
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


def _onnx(net: nn.Module, file: Path, samples: Tensor, run: OpenedRun) -> Callable[[Tensor], Tensor]:
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]:
        raise UserError(f"--to onnx needs {', '.join(missing)}: pip install 'sketchlab[export]'")
    import onnxruntime

    kind, moving = run.input.kind, {0: torch.export.Dim("batch")}
    if kind == "points":
        moving[1] = torch.export.Dim("points")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, on itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            net,
            (samples[:2],),
            str(file),
            input_names=[kind],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=(moving,),
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    if fixed := [dimension for dimension in moving if isinstance(shape[dimension], int)]:
        raise UserError(
            f"--to onnx: torch {torch.__version__} fixes what should move, dimension {fixed[0]} of {kind}, at "
            f"{shape[fixed[0]]}; not kept. torch 2.15 does not; or use --to safetensors"
        )
    return lambda part: torch.from_numpy(session.run(["logits"], {kind: part.numpy()})[0])


def _safetensors(net: nn.Module, file: Path, samples: Tensor, run: OpenedRun) -> Callable[[Tensor], Tensor]:
    """All parameters and buffers, the frozen ones too; the check loads them into a network that starts from nothing."""
    from safetensors.torch import load_model, save_model

    save_model(net, str(file), metadata={"model": run.document["choices"]["model"], "format": "pt"})
    model = run.model
    if hasattr(model.config, "tune"):
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, tune="scratch"))
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
