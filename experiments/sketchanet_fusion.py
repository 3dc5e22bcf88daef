"""Sketch-a-Net's five scales brought together: by their mean answer, and by joint Bayesian on their features.

Claim (Yu et al. 2015, section 4): five networks, each for one scale of the image, are together better than the best
of them, and joint Bayesian fusion of their penultimate features is better than averaging their answers.

Protocol: five runs of model=sketchanet that differ in model.scale_px alone (256, 224, 192, 128, 64), tested on ten
crops. Fusion by score: mean of the probabilities in predictions_test.csv. Fusion by features: those of the five
networks side by side (mean over the crops, reduced by PCA), joint Bayesian fitted to the training images, and of a
test image the class most frequent among its nearest training images.

Deviations: features of plain training images, not of augmented ones; PCA to --dimensions before joint Bayesian, since
5 × 512 features are more than small data sets have images; the number of neighbours is not the paper's but --k.
Whether 6 channels of stroke order are used is the runs' affair (model.input.channels).
Cost: joint Bayesian minutes on TU-Berlin; the five trainings hours on a GPU.

    python experiments/sketchanet_fusion.py RUN RUN RUN RUN RUN
    python experiments/sketchanet_fusion.py data=tuberlin [key=value …]     (trains or finds the five runs first)
    python experiments/sketchanet_fusion.py --smoke                         (a minute, on shapes drawn by code)
    python experiments/sketchanet_fusion.py --report                        (only draws the table again)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from sketchlab import config, stats
from sketchlab.errors import UserError
from sketchlab.metrics import joint_bayesian
from sketchlab.models import sketchanet
from sketchlab.runs import OpenedRun
from sketchlab.training import session
from sketchlab.training.identity import deciding
from sketchlab.training.neighbours import folder_of

ITERATIONS = 20  # of expectation-maximisation
BATCH = 16
SMOKE = ["data=shapes", "data.per_class=60", "data.classes=[circle,square,line,triangle,cloud,house]",
         "model.width=0.1", "model.input.size_px=96", "model.crop_px=81", "model.dropout=0.1", "loop.epochs=8",
         "loop.batch_size=24", "loop.lr=0.001", "runtime.workers=0", "pipeline.explain=4"]  # fmt: skip


def main() -> None:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("words", nargs="*", metavar="RUN | key=value", help="run folders, or what to train with")
    out.add_argument("--dimensions", type=int, default=64, help="of the features after PCA (default 64)")
    out.add_argument("--k", type=int, default=15, help="neighbours that vote (default 15)")
    out.add_argument("--smoke", action="store_true", help="five small twins on shapes")
    out.add_argument("--report", action="store_true", help="only draw the figure of the table that is there")
    out.add_argument("--out", type=Path, default=None, help="folder of the table and figure")
    args = out.parse_intermixed_args()
    results = args.out or (Path("outputs/fusion_smoke") if args.smoke else Path(__file__).parent / "results")
    try:
        if args.report:
            redraw(results)
            return
        folders = [Path(word) for word in args.words if "=" not in word]
        overrides = [*(SMOKE if args.smoke else []), *(word for word in args.words if "=" in word)]
        if folders and overrides:
            raise UserError("give either run folders, or data=… and key=value to train with")
        fuse([OpenedRun(f) for f in folders] if folders else train(overrides), args.dimensions, args.k, results)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def train(overrides: list[str]) -> list[OpenedRun]:
    """-m model.scale_px=256,224,192,128,64, as shares of model.input.size_px where that is another."""
    out = []
    whole = config.from_overrides(["model=sketchanet", "model.scale_px=1", *overrides]).model.config.input.size_px
    for scale_px in sketchanet.SCALES_PX:
        scale = round(scale_px * whole / sketchanet.SCALES_PX[0])
        run = config.from_overrides(["model=sketchanet", f"model.scale_px={scale}", *overrides])
        session.execute(run)
        out.append(OpenedRun(folder_of(run, deciding(run, run.data.build(run.model.config.input)))))
    return out


def fuse(opened: list[OpenedRun], dimensions: int, k: int, folder: Path) -> None:
    """sketchanet_fusion.csv and .png: every scale alone, their mean answer, joint Bayesian alone and together."""
    check(opened)
    names = [f"scale {run.model.config.scale_px}" for run in opened]
    labels, scores = answers(opened)
    features = [features_of(run) for run in opened]  # per run: train, its labels, test
    rows = [row(name, s.argmax(1), labels) for name, s in zip(names, scores, strict=True)]
    rows.append(row("mean of the answers", np.mean(scores, axis=0).argmax(1), labels))
    y = features[0][1]
    n_classes = len(opened[0].classes)
    for name, f in zip(names, features, strict=True):
        rows.append(row(f"joint Bayesian, {name}", bayes(f[0], y, f[2], n_classes, dimensions, k), labels))
    both = [torch.cat([f[i] for f in features], dim=1) for i in (0, 2)]
    rows.append(row("joint Bayesian, all scales", bayes(both[0], y, both[1], n_classes, dimensions, k), labels))
    table: Any = pd.DataFrame(rows).assign(data=opened[0].document["choices"]["data"], classes=n_classes)
    folder.mkdir(parents=True, exist_ok=True)
    table.drop(columns="right").round(4).to_csv(folder / "sketchanet_fusion.csv", index=False)
    print(table.drop(columns=["right", "data", "classes"]).to_string(index=False, float_format="%.3f"))
    best = table[: len(names)]["accuracy"].idxmax()
    for name in ("mean of the answers", "joint Bayesian, all scales"):
        other = table[table["way"] == name].iloc[0]
        test = stats.mcnemar_exact(other["right"], table.loc[best, "right"])
        print(f"{name} against the best scale ({table.loc[best, 'way']}): {test.b} : {test.c} images, p = {test.p:.3f}")
    draw(table, folder / "sketchanet_fusion.png")
    print(folder / "sketchanet_fusion.csv")


def redraw(folder: Path) -> None:
    path = folder / "sketchanet_fusion.csv"
    if not path.is_file():
        raise UserError(f"--report: no {path}; run without it first")
    draw(pd.read_csv(path), path.with_suffix(".png"))
    print(path.with_suffix(".png"))


def check(opened: list[OpenedRun]) -> None:
    """Raises UserError unless these are finished runs of Sketch-a-Net at several scales, on the same images."""
    if len(opened) < 2:
        raise UserError(f"{len(opened)} run(s) given: expected two or more, one of each scale")
    for run in opened:
        run.check_classifier("fusion")
        if not isinstance(run.model.config, sketchanet.Config):
            raise UserError(f"{run.path} is a run of model={run.document['choices']['model']}, not of sketchanet")
        if run.config["data"] != opened[0].config["data"]:
            raise UserError(f"{run.path} and {opened[0].path} were not trained on the same data: their settings differ")
        if not (run.path / "predictions_test.csv").is_file():
            raise UserError(f"{run.path} has no test split: train with one (data.splits.test)")
    scales = [run.model.config.scale_px for run in opened]
    if len(set(scales)) < len(scales):
        raise UserError(f"scales {', '.join(map(str, scales))}: expected runs that differ in model.scale_px")


def answers(opened: list[OpenedRun]) -> tuple[np.ndarray, list[np.ndarray]]:
    """(n,) class numbers, and per run (n, n_classes) probabilities of the test images."""
    tables: list[Any] = [
        pd.read_csv(run.path / "predictions_test.csv", dtype={"id": str, "label": str}) for run in opened
    ]
    for run, table in zip(opened, tables, strict=True):
        if list(table["id"]) != list(tables[0]["id"]):
            raise UserError(f"{run.path} and {opened[0].path} were not tested on the same images")
    classes = opened[0].classes
    numbers = np.array([classes.index(label) for label in tables[0]["label"]])
    return numbers, [table[[f"p_{c}" for c in classes]].to_numpy() for table in tables]


def features_of(run: OpenedRun) -> tuple[Tensor, Tensor, Tensor]:
    """(N, D) of the training images, (N,) their classes, (n, D) of the test images, by the best weights."""
    data = config.component("data", run.config["data"]).build(run.input)
    classifier = run.classifier()
    assert classifier.net is not None
    out = []
    for name in ("train", "test"):
        split, parts = data.splits[name], []
        chunks = torch.arange(len(split)).split(BATCH)
        for places in tqdm(chunks, f"features of {name}, scale {run.model.config.scale_px}", leave=False):
            with torch.no_grad(), classifier.runtime.autocast():
                images = classifier.images(split.gather(places))
                parts.append(sketchanet.features(classifier.net, images).float().cpu())
        out.append(torch.cat(parts))
    return out[0], data.splits["train"].labels, out[1]


def bayes(train: Tensor, labels: Tensor, test: Tensor, n_classes: int, dimensions: int, k: int) -> np.ndarray:
    """(n,) classes of the test features."""
    mean = train.mean(0)
    _, _, axes = torch.linalg.svd((train - mean).double(), full_matrices=False)
    axes = axes[:dimensions].T.float()
    model = joint_bayesian.fit((train - mean) @ axes, labels, ITERATIONS)
    near = min(k, int(labels.bincount().min()))
    return model.scores((test - mean) @ axes, (train - mean) @ axes, labels, n_classes, near).argmax(1).numpy()


def row(name: str, predicted: np.ndarray, labels: np.ndarray) -> dict:
    right = predicted == labels
    low, high = stats.wilson(int(right.sum()), len(right))
    return {"way": name, "accuracy": right.mean(), "low": low, "high": high, "n": len(right), "right": right}


def draw(table: Any, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(9, 0.42 * len(table) + 1.6), constrained_layout=True)
    for i, r in enumerate(table[::-1].itertuples()):
        colour = "#0072b2" if r.way.startswith("scale") else "#d55e00" if "joint" not in r.way else "#009e73"
        ax.errorbar(r.accuracy, i, xerr=[[r.accuracy - r.low], [r.high - r.accuracy]], fmt="o", color=colour, capsize=3)
    ax.set_yticks(range(len(table)), table["way"][::-1])
    ax.grid(axis="x", alpha=0.3)
    of = table.iloc[0]
    ax.set(title=f"Sketch-a-Net, scale by scale and together: {of['data']}, {of['classes']} classes, n = {of['n']}")
    ax.set_xlabel("test accuracy, 95% interval (Wilson)")
    fig.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
