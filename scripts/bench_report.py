"""1,000 finished runs on one page of comparison, and the same folders read by a plain loop with pandas.

The folders are copies of one trained run with settings, seeds and predictions of their own; scores follow from these.
Each side is a process of its own, timed from start to end, from folders that lie in the page cache. The plain loop
reads config.yaml, status.json and the test predictions and prints a table of means: no curve, test, figure or page.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from bench import Row, interleaved, python_path

GOAL_S = 10.0
TRAIN = ["model=small_cnn", "data.per_class=60", "loop.epochs=4", "pipeline.explain=0"]
LEFT_OUT = ("checkpoints", "plots", "report.html", "splits.csv")  # large, and not read
PLAIN = """
import json, sys
from pathlib import Path
import pandas as pd, yaml
rows = []
for path in sorted(Path(sys.argv[1]).glob("*/*/config.yaml")):
    config = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    status = json.loads((path.parent / "status.json").read_text())
    table = pd.read_csv(path.parent / "predictions_test.csv")
    assert abs((table["label"] == table["prediction"]).mean() - status["metrics"]["test/accuracy"]) < 1e-6
    rows.append((config["config"]["loop"]["lr"], status["metrics"]["test/accuracy"]))
print(pd.DataFrame(rows, columns=["lr", "accuracy"]).groupby("lr")["accuracy"].agg(["mean", "std", "count"]))
"""


def compare(runs: int = 1000, repeats: int = 3) -> Iterator[Row]:
    """seconds from run folders to a page, by a plain loop to a table of means"""
    environment = {**os.environ, "PYTHONPATH": python_path()}
    with tempfile.TemporaryDirectory() as place:
        trained = train(Path(place) / "trained")
        for name, groups in ((f"{runs} runs in 40 groups", 40), (f"{runs} runs, each a group", runs)):
            root, out = Path(place) / str(groups), Path(place) / f"page{groups}"
            copies(trained, root, groups, runs // groups)
            os.sync()  # else the first pages wait for the disk

            def plain(root: Path = root) -> float:
                return timed([sys.executable, "-c", PLAIN, str(root)], environment)

            def ours(root: Path = root, out: Path = out) -> float:
                words = [sys.executable, "-m", "sketchlab.report", str(root), "--out", str(out)]
                return timed(words, environment)

            sides = interleaved({"pandas, a table of means": plain, "sketchlab, the page": ours}, repeats)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            ours()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            yield Row(
                name,
                sides,
                "page",
                goal=f"1,000 runs in at most {GOAL_S:g} s",
                reached=lambda _, page_s: page_s * 1000 / runs <= GOAL_S,
                notes={
                    "page": f"{(out / 'comparison.html').stat().st_size / 2**20:.1f} MiB",
                    "processor time of a page": f"{spent_s:.1f} s",
                },
            )
            shutil.rmtree(root)


def train(root: Path) -> Path:
    """The run that the folders are copies of."""
    words = [sys.executable, "-m", "sketchlab.run", *TRAIN, f"run.root={root}"]
    timed(words, {**os.environ, "PYTHONPATH": python_path(), "SKETCHLAB_CACHE": str(root / "cache")})
    return next(root.glob("*/*/config.yaml")).parent


def copies(run: Path, root: Path, groups: int, seeds: int) -> None:
    """root/<model>-<data>/<id> of every setting and seed, without checkpoints. Each group has a learning rate."""
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    status = json.loads((run / "status.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    tables = {split: pd.read_csv(run / f"predictions_{split}.csv", dtype={"id": str}) for split in ("val", "test")}
    for group in range(groups):
        for seed in range(seeds):
            random = np.random.default_rng([group, seed])
            folder = root / run.parent.name / f"{group * seeds + seed:012x}"
            shutil.copytree(run, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
            os.link(run / "report.html", folder / "report.html")
            own = {**config["config"], "seed": seed, "loop": {**config["config"]["loop"], "lr": lr(group)}}
            config_text = yaml.dump({**config, "config": own, "differs": {"loop.lr": lr(group)}}, sort_keys=False)
            (folder / "config.yaml").write_text(config_text, "utf-8")
            right = {split: predicted(folder, split, tables[split], group, random) for split in tables}
            rows = [perturbed(line, right, random) for line in lines]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            metrics = status["metrics"] | {f"{split}/accuracy": share for split, share in right.items()}
            best = {"epoch": status["best"]["epoch"], "val/accuracy": right["val"]}
            own_status = {**status, "metrics": metrics, "best": best, "sealed": {"weights": folder.name}}
            (folder / "status.json").write_text(json.dumps(own_status), "utf-8")


def lr(group: int) -> float:
    return float(f"{10 ** (-4 + 3 * ((group * 0.6180339887) % 1)):.4g}")  # all different, in no order


def predicted(folder: Path, split: str, table: pd.DataFrame, group: int, random: np.random.Generator) -> float:
    """Predictions of a network that is right of a share that the group decides; returns that of this run."""
    names = sorted(table["label"].unique())
    hits = random.random(len(table)) < 0.5 + 0.4 * ((group * 0.6180339887) % 1)
    other = random.choice(names, len(table))
    own = table.assign(prediction=np.where(hits, table["label"], other))
    own.to_csv(folder / f"predictions_{split}.csv", index=False)
    return float(np.mean(own["prediction"].to_numpy() == own["label"].to_numpy()))


def perturbed(line: dict[str, float], right: dict[str, float], random: np.random.Generator) -> dict[str, float]:
    lower = {"val": 1 - 0.5 * random.random() ** line["epoch"], "test": 1.0}
    return {**line, **{key: right[s] * lower[s] for s in lower if (key := f"{s}/accuracy") in line}}


def timed(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(command[:4])}: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - start
