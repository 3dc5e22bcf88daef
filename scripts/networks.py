"""Write the tables of docs/networks.md: networks of conf/model, their parameters, MACs, and the source of weights.

python scripts/networks.py [--check]

Both are counted without weights, on torch's meta device; nothing is fetched. Needs pip install sketchlab[timm].
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
import torchvision

from sketchlab import config
from sketchlab.engine.task import printout
from sketchlab.models import timm_nets

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "networks.md"
CLASSES = 1000
TIMM = ("dinov2_s", "dinov2_b", "clip_b16", "clip_b32", "vit_s", "convnext_t", "resnet50")
TORCHVISION = ("resnet18", "resnet34", "mobilenet_v2", "googlenet", "inception_v3", "alexnet", "vgg16")
OWN = ("small_cnn", "sketchanet", "stroke_transformer", "stroke_lstm", "cnn_lstm", "cnn_strokes", "cnn_bilstm2d")
POINTS = 40  # of the drawing for which MACs of networks on points are counted
LICENCES = {"openai": "MIT (OpenAI/CLIP); timm's copy says apache-2.0"}  # where timm's description is not all


def counted(model: config.Component) -> tuple[int, int | None]:
    """Parameters, and multiply-accumulates of one sample: half of torch's floating-point operations. None for LSTMs,
    which torch does not count, and for networks on frames, which compute those with ink alone."""
    given = model.config.input
    if given.kind == "frames":
        return sum(p.numel() for p in model.build(CLASSES).parameters()), None
    shape = (POINTS, given.channels) if given.kind == "points" else (given.channels, given.size_px, given.size_px)
    with torch.device("meta"):
        net = model.build(CLASSES)
        return sum(p.numel() for p in net.parameters()), printout(model.name, net, (torch.empty(1, *shape),))[1]


def row(name: str) -> list[str]:
    loads = name in TIMM + TORCHVISION
    model = config.model(name, {"weights": "none", "tune": "scratch"} if loads else {})
    n, macs = counted(model)
    given = model.config.input
    sees = {"points": f"{POINTS} points", "frames": f"{given.channels} frames of {given.size_px} px"}
    return [
        f"`{name}`",
        sees.get(given.kind, f"{given.size_px} px"),
        f"{n / 1e6:,.1f}",
        "–" if macs is None else f"{macs / 1e9:,.2f}",
    ]


def of_timm(name: str) -> list[str]:
    arch = config.model(name, {}).config.arch
    known = importlib.import_module("timm").get_pretrained_cfg(arch).to_dict()
    licence = LICENCES.get(known["tag"], known["license"] or "not stated")
    return [*row(name), f"`{known['tag']}`", f"`{arch}`", timm_nets.source(known), licence]


def of_torchvision(name: str) -> list[str]:
    return [*row(name), torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url]


def table(columns: Iterable[str], rows: Iterable[list[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page() -> str:
    counts = ("word", "sees", "parameters, millions", "MACs, billions")
    tables = {
        "timm": table((*counts, "trained on", "file", "source", "licence"), map(of_timm, TIMM)),
        "torchvision": table((*counts, "source"), map(of_torchvision, TORCHVISION)),
        "own": table(counts, map(row, OWN)),
    }
    text = FILE.read_text(encoding="utf-8")
    for name, lines in tables.items():
        head, start, rest = text.partition(f"<!-- {name}: by scripts/networks.py -->\n")
        text = head + start + lines + "\n\n" + rest[rest.index("<!-- end -->") :]
    return text


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.read_text(encoding="utf-8") == page() else f"{FILE} is old: python scripts/networks.py")
    FILE.write_text(page(), encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
