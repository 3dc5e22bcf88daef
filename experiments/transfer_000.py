"""The first document: can a photo network be taught sketches with less than a hundred of them?

Claims: frozen VGG16 recognises photos (about .95) but stays near chance on sketches, trained on photos or sketches;
fine-tuning all layers does not help; larger first filters and overlapping pools, after Sketch-a-Net, do (best
epoch .81); 64/10 instead of 43/31 sketches a class makes the validation curve steadier.

Protocol: conf/experiment/000_*.yaml, two classes, 25 epochs of the PyTorch tutorial's SGD (lr .001, momentum .9,
batches of 8), three seeds. The last epoch on val is the score; the best epoch is shown beside what the best of 25
epochs of pure chance would be. n is small: 62 validation images cannot tell .70 from .81.

Deviations: no random crops and mirror images (data/augment=crop brings them back); head=pool, because the fully
connected layers of VGG16 are not at hand everywhere (model.head=vgg with torchvision's own file is the document's net,
8,194 parameters in the last layer); ant and butterfly stand in for ant and bee, and Sketchy's dogs and elephants for
photos to sketches, unless --bee says that the whole of TU-Berlin is there. The document's text swaps the tutorial's
flag: what trained is counted here.

Cost on two cores in bf16: a frozen arm seconds to a minute, others 6 minutes a run (photos 17), 5 hours in all. The
runs are those of

    python -m sketchlab.run -m experiment=000_photos,000_sketches,000_mixed model=vgg16,vgg16_sketchanet \\
        model.tune=freeze,finetune,scratch seed=0,1,2 run.root=outputs/transfer_000 runtime.precision=bf16

and those already there are found again:

    python experiments/transfer_000.py [--arms '*/freeze'] [--smoke] [--report] [--bee] [loop.epochs=… key=value]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sketchlab import config, stats
from sketchlab import run as runs
from sketchlab.engine.files import atomic, read_json
from sketchlab.errors import UserError
from sketchlab.opened import OpenedRun

LAST = 5  # epochs whose spread tells how steady a curve is
TUNES = ("freeze", "finetune", "scratch")


@dataclass(frozen=True)
class Arm:
    """One row: conf/experiment/000_<task>, a network, and what of it trains."""

    task: str
    network: str
    tune: str

    @property
    def name(self) -> str:
        return f"{self.task}/{self.network}/{self.tune}"


ARMS = [
    *(Arm(task, "vgg16", tune) for task in ("photos", "sketches", "mixed") for tune in TUNES),
    *(Arm("sketches", "vgg16_sketchanet", tune) for tune in TUNES),
    *(Arm("sketches_64", net, tune) for net in ("vgg16", "vgg16_sketchanet") for tune in TUNES[:2]),
    *(Arm("photos", "vgg16_sketchanet", tune) for tune in TUNES[:2]),  # does it still know photos?
    *(Arm(task, "vgg16", "freeze") for task in ("sketchy_photos", "sketchy_sketches")),  # both ends of mixed
]


def main() -> None:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("overrides", nargs="*", metavar="key=value", help="added to every run")
    out.add_argument("--arms", nargs="+", default=["*"], metavar="PATTERN", help="rows, as 'sketches/*/freeze'")
    out.add_argument("--seeds", type=int, default=None, help="how many (default 3; 2 with --smoke)")
    out.add_argument("--precision", default="bf16", choices=["auto", "bf16", "fp32"])
    out.add_argument("--bee", action="store_true", help="ant and bee, as published; needs all of TU-Berlin")
    out.add_argument("--smoke", action="store_true", help="every arm in a minute: small twins on shapes drawn by code")
    out.add_argument("--report", action="store_true", help="train nothing, write from the runs that are there")
    out.add_argument("--root", type=Path, default=None, help="run folders (default outputs/transfer_000)")
    out.add_argument("--out", type=Path, default=None, help="table and figure (default experiments/results)")
    args = out.parse_intermixed_args()
    args.seeds = args.seeds or (2 if args.smoke else 3)
    root = (args.root or Path("outputs", "transfer_000_smoke" if args.smoke else "transfer_000")).resolve()
    chosen = [arm for arm in ARMS if any(fnmatch(arm.name, pattern) for pattern in args.arms)]
    try:
        if not chosen:
            raise UserError(f"--arms {' '.join(args.arms)}: no such row; there is {', '.join(a.name for a in ARMS)}")
        if not args.report:
            train(chosen, args, root)
        write(root, args.out or (root if args.smoke else Path(__file__).parent / "results"))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def train(chosen: list[Arm], args: argparse.Namespace, root: Path) -> None:
    """Every chosen arm and seed, one after another; root/runs.json says which folder is whose."""
    common = [f"runtime.precision={args.precision}", f"run.root={root}", *args.overrides]
    base = _smoke_base(common) if args.smoke else None
    for arm in chosen:
        for seed in range(args.seeds):
            words = smoke(arm, base) if base else words_of(arm, args.bee)
            print(f"--- {arm.name}, seed {seed}", flush=True)
            folder = execute([*words, f"seed={seed}", *common])
            index = read_json(root / "runs.json") if (root / "runs.json").is_file() else {}
            index.setdefault(arm.name, {})[str(seed)] = str(folder.relative_to(root))
            with atomic(root / "runs.json") as temporary:
                temporary.write_text(json.dumps(index, indent=1))


def execute(words: list[str]) -> Path:
    run = config.from_overrides(words)
    runs.execute(run)
    return runs.folder_of(run, runs.deciding(run, run.data.build(run.model.config.input)))


def words_of(arm: Arm, bee: bool) -> list[str]:
    words = [f"experiment=000_{arm.task}", f"model={arm.network}", f"model.tune={arm.tune}"]
    if bee and arm.task == "mixed":  # val: the sketches that the sketch arms are validated on
        return [*words, "data=mixed", "data/splits=count"]
    return [*words, "data.classes=[ant,bee]"] if bee and arm.task.startswith("sketches") else words


_SMALL = ["data=shapes", "data.per_class=24", "data/splits=count", "data.splits.train=12", "data.splits.val=8",
          "data.splits.test=0", "model.head=pool", "model.width=0.05", "model.input.size_px=32", "loop.epochs=4",
          "loop.batch_size=8", "pipeline.explain=4", "runtime.workers=0"]  # fmt: skip


def _smoke_base(common: list[str]) -> str:
    """What stands for ImageNet: the twin trained on two other shapes."""
    words = ["model=vgg16", *_SMALL, "data.classes=[line,triangle]", "model.weights=none", "model.tune=scratch"]
    return str(execute([*words, *common]))


def smoke(arm: Arm, base: str) -> list[str]:
    """The same arm on circles and squares; photos to sketches have no twin there, photos stand in."""
    picture = "sketch" if "sketches" in arm.task else "photo"
    more = ["data.splits.train=14", "data.splits.val=4"] if arm.task.endswith("64") else []
    more += ["data.per_class=23"] if arm.task.startswith("sketchy") else ["data.per_class=22"] * (arm.task == "mixed")
    tune = ["model.weights=none"] if arm.tune == "scratch" else [f"model.weights={base}", "model.fresh=[classifier]"]
    words = [f"model={arm.network}", *_SMALL, f"data.picture={picture}", "data.classes=[circle,square]"]
    return [*words, *more, f"model.tune={arm.tune}", *tune]


def collect(root: Path) -> dict[str, list[OpenedRun]]:
    """Finished runs of each arm, in the order of ARMS, by seed."""
    if not (root / "runs.json").is_file():
        raise UserError(f"{root}: no runs.json; run without --report first")
    index, out = read_json(root / "runs.json"), {}
    for arm in ARMS:
        found = [OpenedRun(root / folder) for _, folder in sorted(index.get(arm.name, {}).items())]
        out[arm.name] = [run for run in found if run.status.get("state") == "finished"]
    return {name: found for name, found in out.items() if found}


def right(run: OpenedRun) -> Any:
    """Of each validation image whether the last epoch's answer was right."""
    table: Any = pd.read_csv(run.path / "predictions_val.csv", dtype=str, keep_default_na=False).set_index("id")
    return (table["label"] == table["prediction"]).sort_index()


def curve(run: OpenedRun) -> np.ndarray:
    rows: Any = run.metrics
    return rows["val/accuracy"].dropna().to_numpy()


def row(name: str, found: list[OpenedRun]) -> dict:
    """A line of the table: scores over seeds, steadiness, and what chance would show."""
    final = [float(right(run).mean()) for run in found]
    n, curves = len(right(found[0])), [curve(run) for run in found]
    low, high = stats.wilson(round(float(np.mean(final)) * n), n)
    task, network, tune = name.split("/")
    return {
        "task": task,
        "network": network,
        "tune": tune,
        "trained parameters": read_json(found[0].path / "env.json")["parameters"]["trainable"],
        "seeds": len(found),
        "n_val": n,
        "val": np.mean(final),
        "low": low,
        "high": high,
        "seed_min": min(final),
        "seed_max": max(final),
        f"sd_last_{LAST}": np.mean([c[-LAST:].std(ddof=1) if len(c) > 1 else np.nan for c in curves]),
        "best_epoch": np.mean([c.max() for c in curves]),
        "best_of_chance": stats.best_of_chance(n, 1 / len(found[0].classes), max(map(len, curves))).mean,
    }


def compare(arms: dict[str, list[OpenedRun]]) -> list[dict]:
    """Pairs that differ in one thing and share their validation images: difference, interval, verdict."""
    out = []
    for a in arms:
        for b in arms:
            (task, net_a, tune_a), (task_b, net_b, tune_b) = a.split("/"), b.split("/")
            one = (net_a, tune_a) != (net_b, tune_b) and (net_a == net_b or tune_a == tune_b)
            order = (net_a, TUNES.index(tune_a)) > (net_b, TUNES.index(tune_b))
            seeds = min(len(arms[a]), len(arms[b]))
            if task != task_b or not one or not order or seeds < 2:
                continue
            first, second = (np.array([right(r) for r in arms[name][:seeds]], dtype=float) for name in (a, b))
            gap = stats.bootstrap_paired(first, second)
            sure = "better" if gap.low > 0 else "worse" if gap.high < 0 else "not told apart"
            out.append({"a": a, "b": f"{net_b}/{tune_b}", **gap._asdict(), "a is": sure})
    return out


def write(root: Path, folder: Path) -> None:
    """transfer_000.csv, .md and .png into folder."""
    arms = collect(root)
    folder.mkdir(parents=True, exist_ok=True)
    table: Any = pd.DataFrame([row(name, found) for name, found in arms.items()])
    table.round(4).to_csv(folder / "transfer_000.csv", index=False)
    steady = f"sd_last_{LAST}"
    lines = ["# Transfer from photos to sketches, arm by arm", ""]
    lines += [
        f"val: accuracy after the last epoch, mean over seeds, Wilson's 95% for n_val images; sd: of the last {LAST} "
    ]
    lines[-1] += "epochs of a curve; chance: what the best epoch would be on average if nothing were learnt."
    lines += [
        "",
        "| task | network | trains | parameters | val | seeds | n_val | sd | best epoch (optimistic) | chance |",
    ]
    lines += ["|---" * 10 + "|"]
    for r in table.to_dict("records"):
        val = f"{r['val']:.3f} [{r['low']:.3f}, {r['high']:.3f}]"
        seeds = f"{r['seeds']}: {r['seed_min']:.3f} – {r['seed_max']:.3f}"
        lines.append(
            f"| {r['task']} | {r['network']} | {r['tune']} | {r['trained parameters']:,} | {val} | {seeds} "
            f"| {r['n_val']} | {r[steady]:.3f} | {r['best_epoch']:.3f} | {r['best_of_chance']:.3f} |"
        )
    pairs = compare(arms)
    if pairs:
        lines += [
            "",
            "Differences on the same images, bootstrap over images and seeds (95% each, however many there are):",
            "",
        ]
        lines += ["| task | a | b | a − b | a is |", "|---" * 5 + "|"]
    for p in pairs:
        task, _, a = p["a"].partition("/")
        gap = f"{p['difference']:+.3f} [{p['low']:+.3f}, {p['high']:+.3f}]"
        lines.append(f"| {task} | {a} | {p['b']} | {gap} | {p['a is']} |")
    missing = [arm.name for arm in ARMS if arm.name not in arms]
    lines += ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    (folder / "transfer_000.md").write_text("\n".join(lines) + "\n")
    draw(table, arms, folder / "transfer_000.png")
    print((folder / "transfer_000.md").read_text())
    print(folder / "transfer_000.md")


def draw(table: Any, arms: dict[str, list[OpenedRun]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {"freeze": "#0072b2", "finetune": "#d55e00", "scratch": "#999999"}
    height = max(4.5, 0.38 * len(table) + 1.5)
    fig, (left, right_) = plt.subplots(1, 2, figsize=(14, height), constrained_layout=True)
    for i, r in enumerate(table[::-1].to_dict("records")):
        mark = "s" if r["network"].endswith("sketchanet") else "o"
        left.errorbar(r["val"], i, xerr=[[r["val"] - r["low"]], [r["high"] - r["val"]]], fmt=mark, capsize=3,
                      color=colours[r["tune"]])  # fmt: skip
        left.plot([r["best_of_chance"]] * 2, [i - 0.3, i + 0.3], color="k", lw=1)
    left.set_yticks(
        range(len(table)), [f"{r.task}, {r.network}, {r.tune} (n={r.n_val})" for r in table[::-1].itertuples()]
    )
    left.axvline(0.5, color="k", lw=0.8, ls=":")
    left.set(title="Accuracy on val after the last epoch\nbars: 95% (Wilson); ticks: best epoch of pure chance")
    left.set_xlabel("accuracy")
    for name, found in arms.items():
        task, network, tune = name.split("/")
        if task != "sketches":
            continue
        curves = [curve(run) for run in found]
        many = np.array([c[: min(map(len, curves))] for c in curves])
        epochs = np.arange(1, many.shape[1] + 1)
        style = "--" if network.endswith("sketchanet") else "-"
        right_.plot(epochs, many.mean(0), style, color=colours[tune], label=f"{network}, {tune} ({len(found)} seeds)")
        right_.fill_between(epochs, many.min(0), many.max(0), color=colours[tune], alpha=0.12)
    right_.set(title="Sketches to sketches, epoch by epoch\nlines: mean of seeds; bands: their range", ylim=(0.3, 1.02))
    right_.set(xlabel="epoch", ylabel="accuracy on val")
    if right_.lines:
        right_.legend(fontsize=8, loc="lower right")
    fig.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
