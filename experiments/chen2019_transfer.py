"""chen2019: can a photo network be taught sketches with less than a hundred of them?

Claims: frozen VGG16 recognises photos (about .95) but stays near chance on sketches, trained on photos or sketches;
fine-tuning all layers does not help; larger first filters and overlapping pools, after Sketch-a-Net, do (best
epoch .81); 64/10 instead of 43/31 sketches a class makes the validation curve steadier.

Protocol: conf/experiment/chen2019/*.yaml, two classes, sketches 43/31 or 64/10 a class, photos as PyTorch's tutorial
has them (244/153), 25 epochs of its SGD (lr .001, momentum .9, batches of 8), three seeds. The last epoch on val is the
score; the best epoch is shown beside what the best of 25 epochs of pure chance would be. n is small: 62 validation
images cannot tell .70 from .81.

Deviations: no random crops and mirror images; head=pool, because the fully connected layers of VGG16 are not at hand
everywhere; ant and butterfly stand in for ant and bee, and Sketchy's dogs and elephants for photos to sketches. With
--bee the presets as published run instead: the whole of TU-Berlin and torchvision's own weights must be there.
chen2019's text swaps the tutorial's flag: what trained is counted here.

Cost: all 60 runs in 3 min 47 s on an H200, eight at a time (--jobs 8) beside another experiment. On two cores in bf16 a
frozen arm takes seconds to a minute, others 6 minutes a run (photos 17), 5 hours in all. The runs are those of

    python -m sketchlab.run -m experiment=chen2019/photos_trial,chen2019/sketches_trial,chen2019/sketchy_mixed \\
        model=vgg16,vgg16_sketchanet model.tune=freeze,finetune,scratch seed=0,1,2 \\
        run.root=outputs/chen2019_transfer runtime.precision=bf16

and those already there are found again:

    python experiments/chen2019_transfer.py [--arms '*/freeze'] [--jobs 8] [--smoke] [--report] [--bee] [key=value …]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import arms_train
from arms_train import execute
from chen2019_transfer_report import TUNES, write

from sketchlab.errors import UserError

STAND_INS = {"mixed": "sketchy_mixed", **{task: f"{task}_trial" for task in ("photos", "sketches", "sketches_64")}}


@dataclass(frozen=True)
class Arm:
    """One row: conf/experiment/chen2019/<task> or its stand-in, a network, and what of it trains."""

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
    arms_train.options(out)
    out.add_argument("--bee", action="store_true", help="as published; needs all of TU-Berlin and VGG16's own weights")
    out.add_argument("--smoke", action="store_true", help="every arm in a minute: small twins on shapes drawn by code")
    out.add_argument("--report", action="store_true", help="train nothing, write from the runs that are there")
    out.add_argument("--root", type=Path, default=None, help="run folders (default outputs/chen2019_transfer)")
    out.add_argument("--out", type=Path, default=None, help="table and figure (default experiments/results)")
    args = out.parse_intermixed_args()
    args.seeds = args.seeds or (2 if args.smoke else 3)
    root = (args.root or Path("outputs", "chen2019_transfer_smoke" if args.smoke else "chen2019_transfer")).resolve()
    chosen = [arm for arm in ARMS if any(fnmatch(arm.name, pattern) for pattern in args.arms)]
    try:
        if not chosen:
            raise UserError(f"--arms {' '.join(args.arms)}: no such row; there is {', '.join(a.name for a in ARMS)}")
        failed = [] if args.report else train(chosen, args, root)
        write([arm.name for arm in ARMS], root, args.out or (root if args.smoke else Path(__file__).parent / "results"))
        if failed:
            raise UserError(f"{len(failed)} runs failed: {'; '.join(failed)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def train(chosen: list[Arm], args: argparse.Namespace, root: Path) -> list[str]:
    """Every chosen arm and seed. Returns what failed, in words."""
    common = [f"runtime.precision={args.precision}", f"run.root={root}", *args.overrides]
    base = _smoke_base(common) if args.smoke else None
    todo = []
    for arm in chosen:
        for seed in range(args.seeds):
            words = smoke(arm, base) if base else words_of(arm, args.bee)
            todo.append((arm.name, seed, [*words, f"seed={seed}", *common]))
    return arms_train.train(todo, root, args.jobs, args.pages)


def words_of(arm: Arm, bee: bool) -> list[str]:
    task = arm.task if bee else STAND_INS.get(arm.task, arm.task)
    return [f"experiment=chen2019/{task}", f"model={arm.network}", f"model.tune={arm.tune}"]


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


if __name__ == "__main__":
    main()
