"""photo_drawing: with 200 training images, is transfer learning worth it, and how sure can one be?

Claims: a network pretrained on ImageNet, all of it fine-tuned on 200 photos and drawings, is right on .93 ± .026 of 100
test images; the same network from random weights is much worse; naive Bayes on raw pixels is worse still; a random
forest on frozen features reaches .86 ± .035, "slightly" less than fine-tuning.

Protocol: data=photo_drawing, 200 images to train on and 100 to test on, the same 100 for every arm; conf/experiment/
photo_drawing/*.yaml. A pair of arms is compared by the exact McNemar test on these 100, Holm-corrected for all pairs.
Another 100 of the 300 images give other figures: the means over --splits splits stand beside them. Learning curves: 25,
50, 100 of the 200 training images, with as many steps and the same test images.

Deviations: MobileNetV2 and VGG16 instead of the vendor's own Inception; the images are others; splits hold as many
photos as drawings.
Cost: all arms with their learning curves 8 min 46 s on two free cores, frozen splits half a minute more each.

    python experiments/photo_drawing.py [--splits 20] [--tuned-splits 3] [--arms '*frozen*'] [--networks resnet18 …]
                                           [--no-curves] [--smoke] [--report] [key=value …]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import photo_drawing_report as report
from tqdm import tqdm

from sketchlab import config
from sketchlab.errors import UserError
from sketchlab.storage.files import atomic, read_json
from sketchlab.training import session
from sketchlab.training.identity import deciding
from sketchlab.training.neighbours import folder_of

SIZES = (25, 50, 100)  # training images of the learning curves, besides all
_BASELINE = ["data=photo_drawing", "pipeline.mistakes=100"]
ARMS = {  # name → what to run; photo_drawing's own four first
    "mobilenet_v2 fine-tuned": ["experiment=photo_drawing/finetuned"],
    "mobilenet_v2 from scratch": ["experiment=photo_drawing/scratch"],
    "naive Bayes on pixels": ["model=pixels_naive_bayes", *_BASELINE],
    "random forest on features": ["model=features_random_forest", *_BASELINE],
    "mobilenet_v2 frozen": ["experiment=photo_drawing/frozen"],
    "vgg16 frozen": ["experiment=photo_drawing/frozen", "model=vgg16"],
    "logistic on features": ["model=features_logistic", *_BASELINE],
    "HOG and linear SVM": ["model=hog_svm", *_BASELINE],
}
LISTED = ("inception_v3", "googlenet", "resnet18", "vgg16")  # --networks, where their weights can be had


def main(words: list[str] | None = None) -> None:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("overrides", nargs="*", metavar="key=value", help="added to every run")
    out.add_argument(
        "--splits", type=int, default=1, help="splits of each arm that trains in seconds (20: half an hour)"
    )
    out.add_argument("--tuned-splits", type=int, default=1, help="splits of the fine-tuned arm; 2 minutes each")
    out.add_argument("--arms", nargs="+", default=["*"], metavar="PATTERN")
    out.add_argument("--networks", nargs="+", default=[], choices=LISTED, help="more networks, fine-tuned")
    out.add_argument("--no-curves", action="store_true", help="no learning curves")
    out.add_argument("--smoke", action="store_true", help="all of it in a minute: small twins on shapes drawn by code")
    out.add_argument("--report", action="store_true", help="train nothing, write from the runs that are there")
    out.add_argument("--root", type=Path, help="run folders (default outputs/photo_drawing)")
    out.add_argument("--out", type=Path, help="tables and figure (default experiments/results; --smoke: the root)")
    args = out.parse_intermixed_args(words)
    root = (args.root or Path("outputs", "photo_drawing" + "_smoke" * args.smoke)).resolve()
    try:
        if not args.report:
            train(args, root)
        if not (root / "runs.json").is_file():
            raise UserError(f"{root}: no runs.json; run without --report first")
        results = args.out or (root if args.smoke else Path(__file__).parent / "results")
        print(report.write(read_json(root / "runs.json"), root, results, LISTED))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def train(args: argparse.Namespace, root: Path) -> None:
    """Every arm, then its curve, then its other splits; what is there already is found."""
    arms = {
        **ARMS,
        **{f"{net} fine-tuned": [*ARMS["mobilenet_v2 fine-tuned"], f"model={net}"] for net in args.networks},
    }
    chosen = {name: words for name, words in arms.items() if any(fnmatch(name, p) for p in args.arms)}
    if not chosen:
        raise UserError(f"--arms {' '.join(args.arms)}: no such arm; there is {', '.join(arms)}")
    networks = [name for name in chosen if "pixels" not in name and "HOG" not in name]
    bases = smoke_bases(root) if args.smoke and networks else {}
    splits = {name: _splits(name, args) for name in chosen}
    for name, words in chosen.items():
        print(f"--- {name}", flush=True)
        one = [*(smoke(name, bases) if args.smoke else words), f"run.root={root}", *args.overrides]
        with cache(root / "cache" / name.replace(" ", "_")):  # of its own: the time of an arm is that of all it needs
            note(root, name, "main", *execute(one, reported=True))
            total = sum(_n(one, "train"))
            sizes = [] if args.no_curves else [n for n in ((5, 10) if args.smoke else SIZES) if n < total]
            for size in tqdm(sizes, desc="curve", unit="run"):
                note(root, name, f"n={size}", *execute([*one, *_fewer(one, size, total)]))
            for seed in tqdm(range(1, splits[name]), desc="splits", unit="run"):
                note(root, name, f"split={seed}", *execute([*one, f"data.splits.seed={seed}", *_quick(name)]))


def _splits(name: str, args: argparse.Namespace) -> int:
    return 1 if name.endswith("scratch") else args.tuned_splits if name.endswith("fine-tuned") else args.splits


def _quick(name: str) -> list[str]:
    """Of a frozen network's other splits only the accuracy is wanted."""
    return ["pipeline.explain=0"] if name.endswith("frozen") else []


def _fewer(words: list[str], size: int, total: int) -> list[str]:
    """A point of the curve: fewer images, as many steps."""
    run = config.from_overrides(words)
    if run.choices["pipeline"] == "baseline":
        return [f"data.splits.train_at_most={size}"]
    batch = min(run.loop.batch_size, size)
    steps = run.loop.epochs * -(-total // run.loop.batch_size)
    epochs = max(1, round(steps / -(-size // batch)))
    more = [f"data.splits.train_at_most={size}", f"loop.epochs={epochs}", f"loop.batch_size={batch}"]
    return [*more, f"loop.eval_every={epochs}", "pipeline.explain=0"]


def _n(words: list[str], split: str) -> list[int]:
    run = config.from_overrides(words)
    return run.data.build(run.model.config.input).splits[split].labels.bincount().tolist()


def execute(words: list[str], reported: bool = False) -> tuple[Path, dict[str, Any] | None]:
    """Run folder, and what the run took here; None when it was there already."""
    run = config.from_overrides(words)
    wall, cpu, load = time.perf_counter(), time.process_time(), os.getloadavg()[0]
    with contextlib.nullcontext() if reported else contextlib.redirect_stdout(io.StringIO()) as said:
        session.execute(run, reported)
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "load": load}
    folder = folder_of(run, deciding(run, run.data.build(run.model.config.input)))
    found = said is not None and "found:" in said.getvalue()
    return folder, None if found else took


def note(root: Path, name: str, what: str, folder: Path, took: dict[str, Any] | None) -> None:
    """root/runs.json: arm → what → folder and cost, read by the report."""
    path = root / "runs.json"
    index = read_json(path) if path.is_file() else {}
    before = index.setdefault(name, {}).get(what, {})
    here = str(folder.relative_to(root))
    kept = before.get("took") if before.get("folder") == here else None
    index[name][what] = {"folder": here, "took": kept or took}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(index, indent=1), encoding="utf-8")


@contextlib.contextmanager
def cache(folder: Path) -> Any:
    before = os.environ.get("SKETCHLAB_CACHE")
    os.environ["SKETCHLAB_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("SKETCHLAB_CACHE")
        os.environ |= {} if before is None else {"SKETCHLAB_CACHE": before}


_SMALL = ["data=shapes", "data.picture=photo", "data.per_class=20", "data/splits=count", "data.splits.train=10",
          "data.splits.val=0", "data.splits.test=8", "runtime.workers=0"]  # fmt: skip
_TWINS = {"mobilenet_v2": ["input.size_px=32"], "vgg16": ["input.size_px=32", "width=0.1", "head=pool"]}


def smoke_bases(root: Path) -> dict[str, str]:
    """What stands for ImageNet: the twins trained on two other shapes."""
    out = {}
    for net, twin in _TWINS.items():
        words = [f"model={net}", *_SMALL, *(f"model.{word}" for word in twin), "model.weights=none"]
        words += ["model.tune=scratch", "data.classes=[line,triangle]", "loop.epochs=3", "pipeline.explain=0"]
        out[net] = str(execute([*words, f"run.root={root}"])[0])
    return out


def smoke(name: str, bases: dict[str, str]) -> list[str]:
    small = [*_SMALL, "data.classes=[circle,square]"]
    net, _, rest = name.partition(" ")
    if net in _TWINS:
        tune = {"frozen": "freeze", "fine-tuned": "finetune"}.get(rest, "scratch")
        words = [f"model={net}", *(f"model.{word}" for word in _TWINS[net]), f"model.tune={tune}", "loop.epochs=3"]
        words += ["model.weights=none"] if tune == "scratch" else [f"model.weights={bases[net]}"]
        return [*small, *words, "model.fresh=[classifier]" if tune != "scratch" else "model.fresh=[]"]
    words = [ARMS[name][0], *small]
    if "features" in name:
        words += [f"model.backbone.{word}" for word in _TWINS["mobilenet_v2"]]
        words += [f"model.backbone.weights={bases['mobilenet_v2']}", "model.backbone.fresh=[classifier]"]
    return words


if __name__ == "__main__":
    main()
