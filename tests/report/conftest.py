"""Run folders made of plain files, as the engine leaves them: no training, no torch."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from sketchlab import report

NASTY = ["<b>&", "ant", '$x$ "bee"']


def put(folder: Path, name: str, value) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".json"):
        path.write_text(json.dumps(value))
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in value))
    elif name.endswith(".npy"):
        np.save(path, value)
    elif name.endswith(".png"):
        Image.fromarray(value).save(path)
    elif name.endswith(".csv"):
        pd.DataFrame(value).to_csv(path, index=False)
    else:
        path.write_text(yaml.safe_dump(value, sort_keys=False))


def base(folder: Path, classes: list[str], n_val: int, rows: list[dict], pipeline: str = "classify", **status) -> Path:
    """The files that every run has."""
    put(
        folder,
        "config.yaml",
        {
            "schema": 1,
            "command": "python -m sketchlab.run model=small_cnn 'data.root=a b'",
            "choices": {"pipeline": pipeline, "data": "shapes", "model": "small_cnn"},
            "config": {"seed": 3, "loop": {"lr": 0.001, "epochs": len(rows)}},
            "differs": {"loop.lr": 0.001},
        },
    )
    put(
        folder,
        "env.json",
        {
            "python": "3.12.1",
            "packages": {"torch": "2.11"},
            "git": {"commit": "abc", "changed": True},
            "parameters": {"total": 1210, "trainable": 10},
        },
    )
    put(
        folder,
        "status.json",
        {
            "state": "finished",
            "started": "2026-01-01T10:00:00+00:00",
            "ended": "2026-01-01T11:02:00+00:00",
            "message": "",
            **status,
        },
    )
    each = [n_val // max(len(classes), 1)] * len(classes)
    put(
        folder,
        "data.json",
        {
            "classes": classes,
            "rule": {"rule": "fraction", "val": 0.1},
            "notes": ["2 files left out"],
            "splits": {
                "train": {"n": 8 * n_val, "per_class": [8 * n for n in each], "digest": "0f0f"},
                "val": {"n": n_val, "per_class": each, "digest": "1e1e"},
            },
        },
    )
    put(folder, "metrics.jsonl", rows)
    put(
        folder,
        "timing.jsonl",
        [
            {
                "step": row["step"],
                "epoch": row["epoch"],
                "train_s": 4.0,
                "wait_s": 1.0,
                "eval_s": 0.5,
                "save_s": 0.1,
                "samples_per_s": 700.0,
                "memory_mb": 900.0,
            }
            for row in rows
        ],
    )
    put(
        folder,
        "model.csv",
        [
            {
                "layer": "net.features.0",
                "type": "Conv2d(1, 8)",
                "output": "8×64×64",
                "parameters": 1200,
                "trainable": 0,
            },
            {"layer": "net.head", "type": "Linear(8, 1)", "output": "1", "parameters": 10, "trainable": 10},
        ],
    )
    return folder


def write_predictions(folder: Path, split: str, classes: list[str], labels: np.ndarray, predicted: np.ndarray) -> None:
    """predictions, confusion and pictures of mistakes, as a classifier leaves them."""
    shares = np.full((len(labels), len(classes)), 0.1 / max(len(classes) - 1, 1))
    shares[np.arange(len(labels)), predicted] = 0.9 - 0.001 * np.arange(len(labels))
    table = {
        "id": [f"{classes[c]}/{i:03d}" for i, c in enumerate(labels)],
        "label": [classes[c] for c in labels],
        "prediction": [classes[c] for c in predicted],
    }
    put(folder, f"predictions_{split}.csv", {**table, **{f"p_{name}": shares[:, i] for i, name in enumerate(classes)}})
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    put(folder, f"arrays/{split}_confusion.npy", counts)
    if len(places := np.flatnonzero(labels != predicted)[:30]):
        put(folder, f"arrays/{split}_mistake_places.npy", places)
        pixels = np.random.default_rng(0).integers(0, 256, (len(places), 32, 32), dtype=np.uint8)
        put(folder, f"arrays/{split}_mistake_pixels.npy", pixels)


def guesses(classes: int, n: int, right: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(labels, answers): a share `right` of them correct, to the sample."""
    labels = np.arange(n) % classes
    predicted = labels.copy()
    wrong = np.random.default_rng(seed).permutation(n)[: n - round(right * n)]
    other = np.random.default_rng(seed + 1).integers(0, classes - 1, len(wrong))
    predicted[wrong] = (labels[wrong] + 1 + other) % classes
    return labels, predicted


def classifier(
    folder: Path, classes=NASTY, n: int = 300, right: float = 0.8, epochs: int = 12, test: bool = True
) -> Path:
    curve = [round(n * right * (1 - 0.6 ** (i + 1))) / n for i in range(epochs - 1)] + [round(n * right) / n]
    rows = [
        {"step": 10 * i, "epoch": i, "train/loss": 1.1 / i, "val/loss": 1.0 / i + 0.2, "val/accuracy": value}
        for i, value in enumerate(curve, 1)
    ]
    final = {"train/loss": rows[-1]["train/loss"], "val/loss": rows[-1]["val/loss"], "val/accuracy": curve[-1]}
    if test:  # the engine writes the test scores in a line of their own, with the step of the last evaluation
        final |= {"test/loss": 0.5, "test/accuracy": round(n * right) / n}
        rows.append({"step": 10 * epochs, "epoch": epochs, "test/loss": 0.5, "test/accuracy": final["test/accuracy"]})
    top = int(np.argmax(curve))
    base(folder, classes, n, rows, metrics=final, best={"epoch": top + 1, "val/accuracy": curve[top]})
    for split in ("val", "test") if test else ("val",):
        write_predictions(folder, split, classes, *guesses(len(classes), n, right))
    put(folder, "samples/data.png", np.full((40, 80), 128, dtype=np.uint8))
    if test:
        data = json.loads((folder / "data.json").read_text())
        data["splits"]["test"] = data["splits"]["val"]
        put(folder, "data.json", data)
    return folder


def collapsed(folder: Path) -> Path:
    """25 epochs on 62 images of two classes that never get beyond guessing: best .58."""
    generator = np.random.default_rng(5)
    curve = np.clip(generator.binomial(62, 0.5, 25), 0, 36) / 62
    curve[7], curve[-1] = 36 / 62, 31 / 62
    rows = [
        {"step": i, "epoch": i, "train/loss": 0.70, "val/loss": 0.694, "val/accuracy": value}
        for i, value in enumerate(curve.tolist(), 1)
    ]
    base(
        folder,
        ["ant", "bee"],
        62,
        rows,
        metrics={k: v for k, v in rows[-1].items() if "/" in k},
        best={"epoch": 8, "val/accuracy": 36 / 62},
    )
    labels = np.arange(62) % 2
    write_predictions(folder, "val", ["ant", "bee"], labels, np.zeros(62, dtype=int))
    return folder


def retrieval(folder: Path) -> Path:
    n = 200
    rows = [
        {
            "step": i,
            "epoch": i,
            "train/loss": 1 / i,
            "val/recall@1": 0.05 * i,
            "val/recall@10": 0.1 * i,
            "val/class_mAP": 0.06 * i,
            "val/mean_distance_matching": 1.0 / i,
            "val/mean_distance_other": 2.0,
        }
        for i in range(1, 9)
    ]
    base(
        folder,
        ["cup", "car"],
        n,
        rows,
        "retrieve",
        metrics={k: v for k, v in rows[-1].items() if "/" in k},
        best={"epoch": 8, "val/recall@1": 0.4},
    )
    put(folder, "chance_val.json", {"recall@1": 0.005, "recall@10": 0.05, "class_mAP": 0.5})
    hits = np.arange(n) < 80
    put(folder, "arrays/val_per_query_recall@1.npy", hits)
    put(folder, "arrays/val_per_query_class_mAP.npy", np.linspace(0.2, 0.76, n))
    put(
        folder,
        "predictions_val.csv",
        {
            "query": [f"cup/{i}" for i in range(n)],
            "label": ["cup"] * n,
            **{f"match_{k}": [f"cup/photo{i + k}" for i in range(n)] for k in range(1, 11)},
            **{f"distance_{k}": np.linspace(0, 1, n) + k for k in range(1, 11)},
        },
    )
    put(folder, "samples/val_retrieval.png", np.full((60, 200, 3), 200, dtype=np.uint8))
    return folder


def gan(folder: Path) -> Path:
    rows = [
        {
            "step": i,
            "epoch": i,
            "train/loss_g": 1 + 0.5 * i,
            "train/loss_d": 0.4 / i,
            "val/kid": 0.3 / i,
            "val/d_real": 1 - 0.2 / i,
            "val/d_fake": 0.2 / i,
        }
        for i in range(1, 11)
    ]
    base(folder, ["cat"], 500, rows, "gan", metrics={k: v for k, v in rows[-1].items() if "/" in k})
    put(folder, "quality_val.json", {"kid": {"features": "random", "n_real": 400}, "ms_ssim": {"scales": 2}})
    for epoch in range(1, 11):
        put(folder, f"samples/val_samples_{epoch}.png", np.full((64, 96), 20 * epoch, dtype=np.uint8))
    return folder


def baseline(folder: Path) -> Path:
    rows = [{"step": 1, "epoch": 1, "val/accuracy": 0.86, "test/accuracy": 0.86}]
    base(folder, ["photo", "sketch"], 100, rows, metrics={"val/accuracy": 0.86, "test/accuracy": 0.86}, best={})
    for split in ("val", "test"):
        write_predictions(folder, split, ["photo", "sketch"], *guesses(2, 100, 0.86))
    (folder / "model.csv").unlink()
    put(folder, "env.json", {"python": "3.12.1", "parameters": {"total": 0, "trainable": 0}})
    return folder


def interrupted(folder: Path) -> Path:
    """Killed while it wrote the ninth line of metrics.jsonl."""
    classifier(folder, test=False)
    lines = (folder / "metrics.jsonl").read_text().splitlines()[:9]
    (folder / "metrics.jsonl").write_text("\n".join([*lines[:8], lines[8][:40]]))
    put(folder, "status.json", {"state": "interrupted", "started": "2026-01-01T10:00:00+00:00"})
    return folder


KINDS = {f.__name__: f for f in (classifier, collapsed, retrieval, gan, baseline, interrupted)}


@pytest.fixture
def browser(chromium):
    return chromium


@pytest.fixture
def run_folder(tmp_path):
    """run_folder(kind, **options) → a run folder of that kind."""
    return lambda kind, **options: KINDS[kind](tmp_path / "small_cnn-shapes" / kind, **options)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A good classifier's folder, reported once; not to be changed."""
    folder = classifier(tmp_path_factory.mktemp("drawn") / "small_cnn-shapes" / "one")
    report.write(folder)
    return folder


def sweep(root: Path, models: dict[str, float], seeds=range(3), lrs=(0.001,), n: int = 100, **changes) -> Path:
    """root/<model>-shapes/<lr>_<seed>: classifiers on the same n test images, right on a share of them. Returns root.

    changes: files to write differently, name without ending → update of its content (data={"fingerprint": "x"}).
    """
    labels = np.arange(n) % 4
    for place, (model, right) in enumerate(models.items()):
        for lr in lrs:
            for seed in seeds:
                luck = np.random.default_rng([place, seed, round(1e6 * lr)])
                difficulty = np.random.default_rng(7).random(n)
                hit = 0.7 * difficulty + 0.3 * luck.random(n) < right
                _swept(root / f"{model}-shapes" / f"{lr}_{seed}", model, lr, seed, labels, hit, luck, changes)
    return root


def _swept(folder: Path, model: str, lr: float, seed: int, labels, hit, luck, changes) -> None:
    names = ["ant", "bee", "cat", "dog"]
    score, n = float(hit.mean()), len(labels)
    curve = (0.25 + (score - 0.25) * (1 - 0.7 ** np.arange(1, 9)) + luck.normal(0, 0.01, 8)).clip(0, 1)
    rows = [
        {"step": 10 * e, "epoch": e, "train/loss": 1.4 / e, "val/loss": 1.4 / e, "val/accuracy": v}
        for e, v in enumerate(curve.tolist(), 1)
    ]
    final = {"val/loss": 0.2, "val/accuracy": rows[-1]["val/accuracy"], "test/loss": 0.3, "test/accuracy": score}
    split = {"n": n, "per_class": [n // 4] * 4}
    files = {
        "config": {
            "schema": 1,
            "command": f"python -m sketchlab.run model={model} seed={seed} loop.lr={lr}",
            "choices": {"pipeline": "classify", "data": "shapes", "model": model},
            "config": {
                "seed": seed,
                "run": {"root": "x"},
                "loop": {"lr": lr, "epochs": 8},
                "data": {"name": "shapes", "splits": {"rule": "fraction", "seed": 0, "fold": 0}},
                "model": {"name": model, f"{model}_width": 8},
                "pipeline": {"name": "classify"},
            },
        },
        "status": {
            "state": "finished",
            "started": "2026-01-01T10:00:00+00:00",
            "ended": "2026-01-01T10:01:00+00:00",
            "metrics": final,
            "best": {"epoch": 8, "val/accuracy": final["val/accuracy"]},
        },
        "env": {
            "device": "cpu",
            "device_name": "a cpu",
            "precision": "fp32",
            "parameters": {"total": 9, "trainable": 9},
        },
        "data": {
            "classes": names,
            "fingerprint": "f00d",
            "splits": {"val": {**split, "digest": "va"}, "test": {**split, "digest": "te"}},
        },
    }
    for name, update in changes.items():
        files[name] = _updated(files[name], update)
    for name, content in files.items():
        put(folder, f"{name}.{'yaml' if name == 'config' else 'json'}", content)
    put(folder, "metrics.jsonl", [*rows, {"step": 80, "epoch": 8, **{k: v for k, v in final.items() if "test" in k}}])
    put(folder, "timing.jsonl", [{"step": 10 * e, "epoch": e, "train_s": 5.0, "eval_s": 0.5} for e in range(1, 9)])
    predicted = np.where(hit, labels, (labels + 1) % 4)
    lines = [
        f"{names[t]}/{i:04d},{names[t]},{names[s]},0.1,0.2,0.3,0.4"
        for i, (t, s) in enumerate(zip(labels, predicted, strict=True))
    ]
    (folder / "predictions_test.csv").write_text("\n".join(["id,label,prediction,p_ant,p_bee,p_cat,p_dog", *lines, ""]))


def _updated(content: dict, update: dict) -> dict:
    return {
        **content,
        **{k: _updated(content[k], v) if isinstance(content.get(k), dict) else v for k, v in update.items()},
    }
