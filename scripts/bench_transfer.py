"""Transfer learning on ants and bees: 25 epochs on a frozen VGG16, the tutorial's way beside sketchlab's.

The tutorial's way, after the description of PyTorch's "Finetuning Torchvision Models": ImageFolder and DataLoader,
every image decoded and run through the whole network in every epoch, training part and validation part alike; SGD at
0.001 with momentum 0.9, batch 8; only the new last layer trains; the best weights on the validation part are kept. The
work is made the same on both sides: no augmentation (the tutorial crops and mirrors at random), the central square at
224 px, dropout and one linear layer on the mean of the last map. Run as `python scripts/bench_transfer.py --epochs 1`,
this file is that tutorial alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EPOCHS = 25
BATCH, LR, MOMENTUM = 8, 0.001, 0.9
GOALS = {"fp32": 15.0, "bf16": 25.0}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def compare(epochs: int = 1, repeats: int = 1, per_class: int = 0, precisions: str = "fp32,bf16") -> Iterator[Any]:
    """25 epochs on a frozen VGG16, from command to report; epochs=25 runs the tutorial's way in full, not estimated"""
    from bench import Row

    if not 1 <= epochs <= EPOCHS:
        sys.exit(f"error: epochs={epochs}: expected 1 to {EPOCHS}")
    tutorial: list[list[dict[str, float]]] = []
    ours: dict[str, list[dict[str, Any]]] = {precision: [] for precision in precisions.split(",")}

    def rows() -> Iterator[Any]:
        for precision, runs in ours.items():
            if runs and tutorial[-1]:
                how = estimate(tutorial, per_class)
                yield Row(
                    precision,
                    {"tutorial": [whole_s(said) for said in tutorial], "sketchlab": [run["total_s"] for run in runs]},
                    f"run of {EPOCHS} epochs",
                    goal=f"{GOALS[precision]:g} times as fast",
                    reached=lambda peer, mine, goal=GOALS[precision]: peer >= goal * mine,
                    estimated=how,
                    notes={"tutorial": tutorial[-1][-1], "sketchlab": runs[-1]},
                )

    for _ in range(repeats):
        for precision, runs in ours.items():
            runs.append(sketchlab_run(precision, per_class))
        tutorial.append([])
        for said in tutorial_epochs(epochs, per_class):
            tutorial[-1].append(said)
            yield from rows()  # what is known so far is kept, whatever happens to the rest


def estimate(tutorial: list[list[dict[str, float]]], per_class: int) -> str:
    """How the tutorial's time was come by; empty when it was measured in full."""
    least = min(map(len, tutorial))
    how = f"the tutorial's {EPOCHS} epochs from {least}" if least < EPOCHS else ""
    if per_class:
        how += f"{', ' if how else ''}only {per_class} images of each class and part"
    return how


def whole_s(epochs: list[dict[str, float]]) -> float:
    """Seconds of all 25 epochs: measured, or the start and the median epoch times 25."""
    if len(epochs) == EPOCHS:
        return epochs[-1]["total_s"]
    return epochs[0]["start_s"] + EPOCHS * statistics.median(e["epoch_s"] for e in epochs)


def sketchlab_run(precision: str, per_class: int) -> dict[str, Any]:
    """The one command, in a fresh folder with an empty cache: its seconds, where they went, its scores."""
    from bench import python_path

    words = ["model=vgg16", "data=hymenoptera", f"loop.epochs={EPOCHS}", f"loop.batch_size={BATCH}"]
    words += ["loop.optimizer=sgd", f"loop.lr={LR}", f"loop.momentum={MOMENTUM}", "loop.weight_decay=0"]
    words += ["loop.schedule=constant", "loop.warmup_epochs=0", f"runtime.precision={precision}"]
    words += [f"data.per_class={per_class}"] if per_class else []
    with tempfile.TemporaryDirectory() as root:
        environment = {**os.environ, "SKETCHLAB_CACHE": f"{root}/cache", "PYTHONPATH": python_path()}
        start, began = time.perf_counter(), time.time()
        subprocess.run(
            [sys.executable, "-m", "sketchlab.run", *words, "run.root=outputs"],
            cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        total_s = time.perf_counter() - start
        (folder,) = Path(root).glob("outputs/*/*/")
        status = json.loads((folder / "status.json").read_text("utf-8"))
        times = [json.loads(line) for line in (folder / "timing.jsonl").read_text("utf-8").splitlines()]
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
        made_s = {name: (folder / name).stat().st_mtime - began for name in ("data.json", "env.json", "report.html")}
        loop_s = sum(t["train_s"] + t["eval_s"] + t["save_s"] for t in times)
    return {
        "total_s": round(total_s, 2),
        "imports_and_images_s": round(made_s["data.json"], 2),
        "network_and_training_features_s": round(made_s["env.json"] - made_s["data.json"], 2),
        "epochs_and_validation_features_s": round(loop_s, 2),
        "rest_and_report_s": round(total_s - made_s["env.json"] - loop_s, 2),
        "val_accuracy": rows[-1]["val/accuracy"],
        "best_val_accuracy": status["best"]["val/accuracy"],
    }


def tutorial_epochs(epochs: int, per_class: int) -> Iterator[dict[str, float]]:
    """The tutorial's way in a process of its own, an epoch at a time; times count from its command."""
    from bench import python_path

    start = time.perf_counter()
    words = [sys.executable, __file__, "--epochs", str(epochs), "--per-class", str(per_class)]
    environment = {**os.environ, "PYTHONPATH": python_path()}
    last = None
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            now = time.perf_counter() - start
            last = said | {"start_s": now - said["spent_s"], "total_s": now}
            yield {key: round(value, 4) for key, value in last.items()}
    if process.returncode or last is None:
        sys.exit(f"error: the tutorial's way ended with exit code {process.returncode}")


def tutorial(epochs: int, per_class: int) -> None:
    """One JSON line per epoch: its seconds, the seconds since the first began, accuracies."""
    import torch
    from torch import nn

    import sketchlab

    net = sketchlab.load_model("vgg16", head="pool")  # torchvision's VGG16 with its ImageNet weights
    loaders = {part: loader(part, per_class) for part in ("train", "val")}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = net.to(device)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=LR, momentum=MOMENTUM)
    loss_of, best, best_weights = nn.CrossEntropyLoss(), 0.0, copy.deepcopy(net.state_dict())
    began = time.perf_counter()
    for _ in range(epochs):
        start, accuracy = time.perf_counter(), {}
        for part, batches in loaders.items():
            net.train(part == "train")
            right, n = 0, 0
            for images, labels in batches:
                images, labels = images.to(device), labels.to(device)  # (B, 3, 224, 224), (B,)
                optimizer.zero_grad()
                with torch.set_grad_enabled(part == "train"):
                    logits = net(images)  # (B, 2)
                    loss = loss_of(logits, labels)
                    if part == "train":
                        loss.backward()
                        optimizer.step()
                right, n = right + int((logits.argmax(1) == labels).sum()), n + len(labels)
            accuracy[part] = right / n
        if accuracy["val"] > best:
            best, best_weights = accuracy["val"], copy.deepcopy(net.state_dict())
        now = time.perf_counter()
        scores = {"val_accuracy": accuracy["val"], "best_val_accuracy": best}
        print(json.dumps({"epoch_s": now - start, "spent_s": now - began, **scores}), flush=True)
    net.load_state_dict(best_weights)


def loader(part: str, per_class: int) -> Any:
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets, transforms

    cpus = os.cpu_count() or 1
    root = Path(os.environ.get("SKETCHLAB_DATA", "data")) / "hymenoptera_data" / part
    steps = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    whole = datasets.ImageFolder(str(root), transforms.Compose(steps))
    chosen: list[int] = []
    for label in range(len(whole.classes)):
        places = [i for i, target in enumerate(whole.targets) if target == label]
        chosen += places[: per_class or None]
    return DataLoader(Subset(whole, chosen), batch_size=BATCH, shuffle=True, num_workers=min(4, cpus))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--per-class", type=int, default=0, help="at most so many images of each class; 0 = all")
    options = parser.parse_args()
    tutorial(options.epochs, options.per_class)
