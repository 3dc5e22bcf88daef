"""Document 003's takeaways with numbers: gd_ratio, JReLU with a slower discriminator, more data, one class or many.

Claims: trained every other batch, the discriminator's mean prediction comes closer to .5; the best sketches came from
gd_ratio=2, lr_d=.0001 and JReLU; more data helps; one class at a time helps.

Protocol: the document's networks and batch of 64, the same number of generator steps for every arm of a question, KID
on the same test drawings, the same features, more seeds where the machine allows it (--seeds). Drawings are
antialiased and centred (data/raster=picture), at 64 px.

Deviations: `sheep` (8,000 drawings, sketch-rnn's set) stands for QuickDraw's cats and dogs in the first two questions;
one class against many is asked on the built-in shapes, some 1,600 training images either way. KID stands for the
document's eye. Labels of real images are .9.

    python experiments/gan_003.py [ratio data classes] [--seeds 1] [--smoke] [--list] [key=value …]

One run per arm and seed in outputs/gan_003, found again when it is there; the table and the curve of the
discriminator's predictions go to --out (default experiments/results), the comparison is made by
`python -m sketchlab.report outputs/gan_003`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd

from sketchlab import config
from sketchlab import run as runs
from sketchlab.engine.files import atomic
from sketchlab.errors import UserError
from sketchlab.report import canvas
from sketchlab.report.read import read

matplotlib.use("Agg")
HERE = Path(__file__).resolve().parent
SHEEP = ["experiment=003_sheep"]
SHAPES = ["data=shapes", "model=small_dcgan"]
BEST = ["pipeline.gd_ratio=2", "pipeline.lr_d=0.0001", "model.activation_g=jrelu", "model.activation_d=jrelu"]


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
    Arm("data", "7,000 drawings", SHEEP),
    Arm("data", "1,000 drawings", [*SHEEP, "data.splits.train_at_most=1000"]),
    Arm("classes", "one class", [*SHAPES, "data.classes=[house]", "data.per_class=2000"]),
    Arm("classes", "all 18 classes", [*SHAPES, "data.per_class=112"]),
    Arm("classes", "all 18 classes, told", ["data=shapes", "model=dcgan_conditional", "data.per_class=112"]),
]


def main() -> None:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("words", nargs="*", metavar="QUESTION or key=value", help="ratio, data, classes; default: all")
    out.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    out.add_argument("--epochs", type=int, default=30, help="of 6,400 images, 100 steps each (default 30)")
    out.add_argument("--smoke", action="store_true", help="every arm in seconds: tiny networks, shapes drawn by code")
    out.add_argument("--list", action="store_true", help="show the commands, run nothing")
    out.add_argument("--root", type=Path, default=Path("outputs/gan_003"), help="run folders")
    out.add_argument("--out", type=Path, default=HERE / "results", help="table and figure")
    args = out.parse_intermixed_args()
    overrides = [word for word in args.words if "=" in word]
    questions = [word for word in args.words if "=" not in word] or sorted({arm.question for arm in ARMS})
    if unknown := [q for q in questions if q not in {arm.question for arm in ARMS}]:
        sys.exit(f"error: no question {unknown[0]}; there is: {', '.join(sorted({a.question for a in ARMS}))}")
    arms = [arm for arm in ARMS if arm.question in questions]
    try:
        rows = [row for arm in arms for row in measured(arm, args, overrides)]
    except UserError as error:
        sys.exit(f"error: {error}")
    if not args.list:
        write(rows, args)


def words_of(arm: Arm, args: argparse.Namespace, overrides: list[str], seed: int) -> list[str]:
    """An epoch is 6,400 images whatever the number of training images: the same steps for every arm."""
    epochs = 2 if args.smoke else args.epochs
    words = [*arm.words, f"loop.epochs={epochs}", f"seed={seed}", f"run.root={args.root}"]
    if args.smoke:
        words = [w for w in words if not w.startswith(("experiment=", "data.per_class", "data.splits.train_at_most"))]
        words = words if any(w.startswith("model=") for w in words) else ["model=small_dcgan", *words]
        words += ["data.per_class=20", "model.width=4", "pipeline.epoch_images=64"]
        words += ["pipeline.eval_images=16", "pipeline.features=random", "model.pack=2", "loop.batch_size=16"]
    return [*words, *overrides]


def measured(arm: Arm, args: argparse.Namespace, overrides: list[str]) -> list[dict]:
    rows = []
    for seed in range(args.seeds):
        words = words_of(arm, args, overrides, seed)
        if args.list:
            print("python -m sketchlab.run", *words)
            continue
        run = config.from_overrides(words)
        data = run.data.build(run.model.config.input)
        folder = runs.folder_of(run, runs.deciding(run, data))
        runs.execute(run)
        done = read(folder)
        found = {key.removeprefix("test/"): v for key, v in done.final().items() if key.startswith("test/")}
        rows.append(
            {
                "question": arm.question,
                "arm": arm.name,
                "seed": seed,
                "n_train": len(data.splits["train"]),
                "steps": int(done.curve("train/d_real", "step")[0][-1]),
                "d_real": float(done.curve("train/d_real")[1][-1]),
                "d_fake": float(done.curve("train/d_fake")[1][-1]),
                **found,
                "run": f"{folder.parent.name}/{folder.name}",
            }
        )
    return rows


def write(rows: list[dict], args: argparse.Namespace) -> None:
    """gan_003.csv, and for each question a figure of D's predictions and KID over steps."""
    args.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    with atomic(args.out / "gan_003.csv") as temporary:
        table.to_csv(temporary, index=False)
    print(table.drop(columns="run").to_string(index=False, float_format=lambda v: f"{v:.4g}"))
    for question in table["question"].unique():
        figure = canvas.new(9, 3.6)
        left, right = figure.subplots(1, 2)
        for i, row in enumerate(r for r in rows if r["question"] == question and not r["seed"]):
            run, colour = read((args.root / row["run"]).resolve()), canvas.PALETTE[i]
            for key, style in (("train/d_real", "-"), ("train/d_fake", "--")):
                left.plot(*run.curve(key, "step"), style, color=colour, label=row["arm"] if style == "-" else None)
            kid = next(key for key in run.metrics.columns if key.startswith("val/kid@"))
            right.plot(*run.curve(kid, "step"), color=colour, label=row["arm"])
        left.axhline(0.5, color="0.35", linestyle=":")
        canvas.plain(left, "D's mean prediction: real (line), generated (dashes)", "step", "")
        canvas.plain(right, f"KID ({kid.partition('@')[2]} features)", "step", "")
        right.legend(fontsize=8, frameon=False)
        with atomic(args.out / f"gan_003_{question}.png") as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


if __name__ == "__main__":
    main()
