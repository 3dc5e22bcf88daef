"""mamin's takeaways with numbers: how often D is trained, its options, more data, one class or many.

Claims: with the discriminator trained every other batch its mean prediction comes closer to .5 for real and generated
images; the best sketches came from gd_ratio=2, half the learning rate for D and JReLU; a discriminator trained ahead
made no difference, a pretrained one had limited success, a gate that raises the learning rate when the losses stand
still helped at times; more data helps; one class at a time helps.

Protocol: mamin's networks and batch of 64, the same number of generator steps for every arm of a question, KID
on the same test drawings, the same features, more seeds where the machine allows it (--seeds). Drawings are
antialiased and centred (data/raster=picture), at 64 px.

Deviations: `sheep` (8,000 drawings, sketch-rnn's set) stands for QuickDraw's cats and dogs in the first two questions;
options are compared on one built-in shape at 32 px, where a run takes a minute; one class against many is asked on the
built-in shapes, some 1,600 training images either way. A pretrained MobileNetV2 stands for ResNet-18 and judges one
image at a time, as does the arm beside it. KID stands for mamin's eye. Labels of real images are .9.

Cost of one core in bf16, for 100 generator steps with their evaluations: 80 s at 64 px (sheep), 5 to 15 s at 32 px.

    python experiments/mamin_gan.py [ratio options data classes] [--seeds 1] [--jobs 1] [--smoke] [--report] [key=value]

One run per arm and seed in outputs/mamin_gan, found again when it is there; tables and figures of the
discriminator's predictions go to --out (default experiments/results), all runs are compared by
`python -m sketchlab.report outputs/mamin_gan`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from arms_report import command
from arms_train import each, existing, options
from matplotlib.figure import Figure

from sketchlab.errors import UserError
from sketchlab.report import canvas
from sketchlab.report.read import read
from sketchlab.storage.files import atomic

SHEEP = ["experiment=mamin/sheep"]
SHAPES = ["data=shapes", "model=small_dcgan"]
ONE_SHAPE = [*SHAPES, "data.classes=[house]", "data.per_class=2000"]
BEST = ["pipeline.gd_ratio=2", "pipeline.lr_d=0.0001", "model.activation_g=jrelu", "model.activation_d=jrelu"]
PRETRAINED = ["model.pack=1", "model.discriminator=mobilenet_v2", "model.weights=imagenet"]
MOST_CURVES = 4
TITLES = {
    "ratio": "Sheep, 64 px: how often the discriminator is trained",
    "options": "One built-in shape, 32 px: mamin's options",
    "data": "Sheep, 64 px: more data",
    "classes": "Built-in shapes, 32 px: one class or all, told or not",
}


@dataclass(frozen=True)
class Arm:
    """One row of a question's table."""

    question: str
    name: str
    words: list[str]


ARMS = [
    Arm("ratio", "default", SHEEP),
    Arm("ratio", "gd_ratio 2", [*SHEEP, "pipeline.gd_ratio=2"]),
    Arm("ratio", "gd_ratio 2, lr_d .0001, jrelu", [*SHEEP, *BEST]),
    Arm("options", "default", ONE_SHAPE),
    Arm("options", "gd_ratio 2", [*ONE_SHAPE, "pipeline.gd_ratio=2"]),
    Arm("options", "gd_ratio 2, per epoch", [*ONE_SHAPE, "pipeline.gd_ratio=2", "pipeline.gd_per=epoch"]),
    Arm("options", "lr_d halved", [*ONE_SHAPE, "pipeline.lr_d=0.0001"]),
    Arm("options", "jrelu", [*ONE_SHAPE, "model.activation_g=jrelu", "model.activation_d=jrelu"]),
    Arm("options", "gd_ratio 2, lr_d halved, jrelu", [*ONE_SHAPE, *BEST]),
    Arm("options", "D 100 batches ahead", [*ONE_SHAPE, "pipeline.d_head_start=100"]),
    Arm("options", "instance norm", [*ONE_SHAPE, "model.norm=instance"]),
    Arm("options", "gate at stuck losses", [*ONE_SHAPE, "pipeline.gate_window=200", "pipeline.gate_flat=0.2"]),
    Arm("options", "D sees one at a time", [*ONE_SHAPE, "model.pack=1"]),
    Arm("options", "D a pretrained MobileNetV2", [*ONE_SHAPE, *PRETRAINED]),
    Arm("data", "7,000 drawings", SHEEP),
    Arm("data", "1,000 drawings", [*SHEEP, "data.splits.train_at_most=1000"]),
    Arm("classes", "one class", ONE_SHAPE),
    Arm("classes", "all 18 classes", [*SHAPES, "data.per_class=112"]),
    Arm("classes", "all 18 classes, told", ["data=shapes", "model=dcgan_conditional", "data.per_class=112"]),
]


def main() -> None:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument(
        "words", nargs="*", metavar="QUESTION or key=value", help="ratio, options, data, classes; default: all"
    )
    out.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    options(out)
    out.add_argument("--epochs", type=int, default=20, help="of 6,400 or more images, 64 a step (default 20)")
    out.add_argument("--smoke", action="store_true", help="every arm in seconds: tiny networks, shapes drawn by code")
    out.add_argument("--report", action="store_true", help="train nothing, write from the runs that are there")
    out.add_argument("--list", action="store_true", help="show the commands, run nothing")
    out.add_argument("--root", type=Path, help="run folders (default outputs/mamin_gan)")
    out.add_argument("--out", type=Path, help="tables and figures (default experiments/results; --smoke: the root)")
    args = out.parse_intermixed_args()
    args.root = args.root or Path("outputs", "mamin_gan" + "_smoke" * args.smoke)
    args.out = args.out or (args.root if args.smoke else Path(__file__).parent / "results")
    overrides = [word for word in args.words if "=" in word]
    questions = [word for word in args.words if "=" not in word] or sorted({arm.question for arm in ARMS})
    if unknown := [q for q in questions if q not in {arm.question for arm in ARMS}]:
        sys.exit(f"error: no question {unknown[0]}; there is: {', '.join(sorted({a.question for a in ARMS}))}")
    arms = [arm for arm in ARMS if arm.question in questions]
    if args.list:
        for arm in arms:
            for seed in range(args.seeds):
                print("python -m sketchlab.run", *words_of(arm, args, overrides, seed))
        return
    try:
        rows, failed = measured(arms, args, overrides)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    if not rows:
        sys.exit(f"error: {args.root}: no finished run of {', '.join(questions)}; run without --report first")
    write(rows, args)
    if failed and not args.report:
        sys.exit(f"error: {len(failed)} runs failed: {', '.join(failed)}")


def words_of(arm: Arm, args: argparse.Namespace, overrides: list[str], seed: int) -> list[str]:
    """An epoch is the training split as often as 6,400 images take: the same steps for every arm of a question."""
    epochs = 2 if args.smoke else args.epochs
    words = [*arm.words, f"loop.epochs={epochs}", f"seed={seed}", f"run.root={args.root}"]
    if args.smoke:
        words = [w for w in words if not w.startswith(("experiment=", "data.per_class", "data.splits.train_at_most"))]
        words = words if any(w.startswith("model=") for w in words) else ["model=small_dcgan", *words]
        words += ["data.per_class=20", "model.width=4", "pipeline.epoch_images=64"]
        words += ["pipeline.eval_images=16", "pipeline.features=random", "loop.batch_size=16"]
        words += ["model.weights=none"] if "model.pack=1" in words else ["model.pack=2"]
    return [*words, *overrides]


def measured(arms: list[Arm], args: argparse.Namespace, overrides: list[str]) -> tuple[list[dict], list[str]]:
    """A row for each arm and seed, with --report for those whose run is there; and the names of those without."""
    todo = [(arm, seed, words_of(arm, args, overrides, seed)) for arm in arms for seed in range(args.seeds)]
    if args.report:
        folders = [existing(words) or "no finished run" for _, _, words in todo]
    else:
        named = [(f"{arm.question}: {arm.name}, seed {seed}", words) for arm, seed, words in todo]
        folders = list(each(named, args.root, args.jobs, args.pages))
    rows, failed = [], []
    for (arm, seed, _), folder in zip(todo, folders, strict=True):
        if isinstance(folder, Path):
            rows.append(row(arm, seed, folder))
        else:
            failed.append(f"{arm.name}, seed {seed}")
            print(f"left out: {failed[-1]}: {folder}", file=sys.stderr)
    return rows, failed


def row(arm: Arm, seed: int, folder: Path) -> dict:
    done = read(folder)
    found = {key.removeprefix("test/"): v for key, v in done.final().items() if key.startswith("test/")}
    return {
        "question": arm.question,
        "arm": arm.name,
        "seed": seed,
        "n_train": len(pd.read_csv(folder / "splits.csv").query("split == 'train'")),
        "steps": int(done.curve("train/d_real", "step")[0][-1]),
        "d_real": float(done.curve("train/d_real")[1][-1]),
        "d_fake": float(done.curve("train/d_fake")[1][-1]),
        **found,
        "code": done.status.get("code"),
        "device": str(done.env.get("device_name")),
        "run": f"{folder.parent.name}/{folder.name}",
        "command": command(done),
    }


def write(rows: list[dict], args: argparse.Namespace) -> None:
    """mamin_gan_<question>.csv and a figure: curves, or where arms are many the values at the end."""
    args.out.mkdir(parents=True, exist_ok=True)
    for question in dict.fromkeys(row["question"] for row in rows):
        of_question = [row for row in rows if row["question"] == question]
        table = pd.DataFrame(of_question)
        with atomic(args.out / f"mamin_gan_{question}.csv") as temporary:
            table.to_csv(temporary, index=False)
        print(table.drop(columns=["run", "command"]).to_string(index=False, float_format=lambda v: f"{v:.4g}"))
        few = len({row["arm"] for row in of_question}) <= MOST_CURVES
        figure = curves(of_question, args.root) if few else ends(of_question)
        figure.suptitle(TITLES[question], fontsize=11)
        with atomic(args.out / f"mamin_gan_{question}.png") as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def curves(rows: list[dict], root: Path) -> Figure:
    """D's mean predictions and KID over steps, of the first seed of every arm."""
    figure = canvas.new(9, 3.8)
    left, right = figure.subplots(1, 2)
    for colour, row in zip(canvas.PALETTE, (row for row in rows if row["seed"] == 0), strict=False):
        run = read((root / row["run"]).resolve())
        for key, style in (("train/d_real", "-"), ("train/d_fake", "--")):
            left.plot(*run.curve(key, "step"), style, color=colour)
        kid = next(key for key in run.metrics.columns if key.startswith("val/kid@"))
        right.plot(*run.curve(kid, "step"), color=colour, label=f"{row['arm']} ({row['n_train']:,} images)")
    left.axhline(0.5, color="0.35", linestyle=":")
    left.set_ylim(0, 1)
    canvas.plain(left, "D's mean prediction: real (line), generated (dashes)", "generator steps", "")
    canvas.plain(right, f"KID on val ({kid.partition('@')[2]} features), lower is better", "generator steps", "")
    right.legend(fontsize=8, frameon=False)
    return figure


def ends(rows: list[dict]) -> Figure:
    """Of every arm and seed: D's mean predictions in the last epoch, KID on test."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    places = [arms.index(row["arm"]) for row in rows]
    seeds = sorted({places.count(place) for place in places})
    figure = canvas.new(9, 0.34 * len(arms) + 1.6)
    left, right = figure.subplots(1, 2, sharey=True)
    left.plot([row["d_real"] for row in rows], places, "o", color=canvas.PALETTE[0], label="real")
    left.plot([row["d_fake"] for row in rows], places, "D", color=canvas.PALETTE[1], mfc="none", label="generated")
    left.axvline(0.5, color="0.35", linestyle=":")
    left.set_xlim(0, 1)
    left.set_yticks(range(len(arms)), arms, fontsize=9)
    left.invert_yaxis()
    figure.legend(fontsize=8, frameon=False, ncols=2, loc="outside lower left")
    key = next(key for key in rows[0] if key.startswith("kid@"))
    kids = [row[key] for row in rows]
    right.plot(kids, places, "o", color=canvas.PALETTE[0])
    if max(kids) > 10 * min(kids):
        right.set_xscale("symlog", linthresh=1e-4)  # unbiased estimates may be below 0
    canvas.plain(
        left,
        "D's mean prediction at the end",
        f"one mark a seed ({' to '.join(str(n) for n in dict.fromkeys([seeds[0], seeds[-1]]))})",
        "",
    )
    canvas.plain(right, f"KID on test ({key.partition('@')[2]} features)", "lower is better", "")
    return figure


if __name__ == "__main__":
    main()
