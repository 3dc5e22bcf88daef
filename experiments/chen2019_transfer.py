"""chen2019: can a photo network be taught sketches with less than a hundred of them?

Claims: frozen VGG16 recognises photos (about .95) but stays near chance on sketches, trained on photos or sketches;
fine-tuning all layers does not help; larger first filters and overlapping pools, after Sketch-a-Net, do (best
epoch .81); 64/10 instead of 43/31 sketches a class makes the validation curve steadier.

Protocol: conf/experiment/chen2019/*.yaml, two classes, sketches 43/31 or 64/10 a class, photos as PyTorch's tutorial
has them (244/153), 25 epochs of its SGD (lr .001, momentum .9, batches of 8), three seeds. The last epoch on val is the
score; the best epoch is shown beside what the best of 25 epochs of pure chance would be. n is small: 62 validation
images cannot tell .70 from .81. Frozen rows with the modified stem are called "3×3 pools": their 15×15 filters start as
the 3×3 ones within zeros, so that only the pools differ.

Deviations: no random crops and mirror images; head=pool, because the fully connected layers of VGG16 are not at hand
everywhere; ant and butterfly stand in for ant and bee, and Sketchy's dogs and elephants (43 photos a class) for photos
to sketches. Rows "as published" run the presets themselves: the whole of TU-Berlin and torchvision's own weights must
be there. chen2019's text swaps the tutorial's flag: what trained is counted here, and its .58 stands beside no row.

Cost: all 60 runs in 3 min 47 s on an H200, eight at a time (--jobs 8) beside another experiment. On two cores in bf16 a
frozen arm takes seconds to a minute, others 6 minutes a run (photos 17), 5 hours in all.

    python experiments/chen2019_transfer.py [--arms '*frozen'] [--jobs 8] [--smoke] [--report] [--find] [key=value …]
"""

from __future__ import annotations

import numpy as np
from arms import main
from arms_types import Arm, Claim, Execute, Experiment, Extra

from sketchlab import stats
from sketchlab.report.read import Run

LAST = 5  # epochs whose spread tells how steady a curve is
STEADY, BEST, CHANCE = f"sd of the last {LAST} epochs", "best epoch", "best epoch of pure chance"
TUNES = {"frozen": "freeze", "fine-tuned": "finetune", "from scratch": "scratch"}
NETS = {"": "vgg16", "15×15 and 3×3 pools, ": "vgg16_sketchanet"}
WHOLE = "the whole of TU-Berlin and VGG16's own weights"
ROWS = [  # (task, words before the network, network, what trains)
    *(("photos_trial", "photos", "", tune) for tune in TUNES),
    *(("sketches_trial", "sketches", net, tune) for net in NETS for tune in TUNES),
    *(("sketchy_mixed", "photos → sketches", "", tune) for tune in TUNES),
    *(("sketches_64_trial", "sketches 64/10", net, tune) for net in NETS for tune in list(TUNES)[:2]),
    *(("photos_trial", "photos", list(NETS)[1], tune) for tune in list(TUNES)[:2]),  # does it still know photos?
    *((f"sketchy_{kind}", f"Sketchy's {kind}", "", "frozen") for kind in ("photos", "sketches")),  # ends of mixed
]


def called(words: str, net: str, tune: str) -> str:
    return f"{words}, {'3×3 pools, ' if net and tune == 'frozen' else net}{tune}"


def words_of(task: str, net: str, tune: str) -> list[str]:
    return [f"experiment=chen2019/{task}", f"model={NETS[net]}", f"model.tune={TUNES[tune]}"]


ARMS = [Arm(called(words, net, tune), words_of(task, net, tune)) for task, words, net, tune in ROWS]
ARMS += [
    Arm(f"as published: {called(words, net, tune)}", words_of(task.removesuffix("_trial"), net, tune), WHOLE)
    for task, words, net, tune in [(task.replace("sketchy_", ""), *more) for task, *more in ROWS[:16]]
]
STEM, SKETCHES = list(NETS)[1], ("sketches", "sketches 64/10")
SAID = {  # (a, b) → the claim of chen2019 and what it expects
    ("sketches, fine-tuned", "sketches, frozen"): ("finetuning the whole model did not seem to do much", "no better"),
    ("photos → sketches, fine-tuned", "photos → sketches, frozen"): (
        "finetuning the whole model did not seem to do much",
        "no better",
    ),
    (called("sketches", STEM, "fine-tuned"), "sketches, fine-tuned"): (
        "optimizing according to some of the Sketch-a-Net optimizations did seem to help the VGG16 model",
        "better",
    ),
}
ASKED = {
    (called("sketches", STEM, "from scratch"), "sketches, from scratch"): "From scratch, does the modified stem help?",
    ("photos, from scratch", "photos, frozen"): "On photos, is training from scratch as good as a frozen network?",
    ("sketches, from scratch", "sketches, frozen"): "And on sketches?",
    ("photos, fine-tuned", "photos, frozen"): "On photos, does fine-tuning help?",
    (called("photos", STEM, "fine-tuned"), "photos, fine-tuned"): "Does the modified network still know photos?",
}


def _pairs() -> list[tuple[str, str]]:
    """Rows of one task that differ in one thing."""
    found, order = [], list(TUNES)
    for task_a, words_a, net_a, tune_a in ROWS:
        for task_b, words_b, net_b, tune_b in ROWS:
            one = (net_a, tune_a) != (net_b, tune_b) and (net_a == net_b or tune_a == tune_b)
            later = (len(net_a), order.index(tune_a)) > (len(net_b), order.index(tune_b))
            if task_a == task_b and one and later:
                found.append((called(words_a, net_a, tune_a), called(words_b, net_b, tune_b)))
    return found


CLAIMS = [Claim(a, b, *SAID.get((a, b), ()), ask=ASKED.get((a, b), "")) for a, b in _pairs()]
CLAIMS += [
    Claim(called(SKETCHES[1], net, "fine-tuned"), called(SKETCHES[0], net, "fine-tuned"), key=STEADY,
          ask=f"Do 64/10 sketches make the {'modified network’s ' * bool(net)}curve steadier?")
    for net in NETS
]  # fmt: skip
CLAIMS.append(
    Claim("sketches, fine-tuned", called("sketches", STEM, "fine-tuned"), key=STEADY,
          quote="modifying the neural network after Sketch-a-Net led to a higher variance in validation accuracy")
)  # fmt: skip


def curve(run: Run) -> np.ndarray:
    return run.curve("val/accuracy")[1]


def steadiness(run: Run) -> float:
    return float(curve(run)[-LAST:].std(ddof=1))


def best_of_chance(run: Run) -> float:
    return stats.best_of_chance(int(run.split("val")["n"]), 1 / len(run.classes), len(curve(run))).mean


_SMALL = ["data=shapes", "data.per_class=24", "data/splits=count", "data.splits.train=12", "data.splits.val=8",
          "data.splits.test=0", "model.head=pool", "model.width=0.05", "model.input.size_px=32", "loop.epochs=4",
          "loop.batch_size=8", "pipeline.explain=4", "runtime.workers=0"]  # fmt: skip


def smoke(arm: Arm, execute: Execute) -> list[str]:
    """The same arm on circles and squares, from a twin trained on two other shapes; photos stand in for photos to
    sketches."""
    base = execute(["model=vgg16", *_SMALL, "data.classes=[line,triangle]", "model.weights=none", "model.tune=scratch"])
    task, net, tune = (word.partition("=")[2] for word in arm.words)
    more = ["data.splits.train=14", "data.splits.val=4"] if "_64" in task else []
    sizes = {"chen2019/sketchy_photos": 23, "chen2019/sketchy_sketches": 23, "chen2019/sketchy_mixed": 22}
    more += [f"data.per_class={sizes[task]}"] if task in sizes else []
    more += ["data.per_class=25"] if arm.needs else []
    start = ["model.weights=none"] if tune == "scratch" else [f"model.weights={base}", "model.fresh=[classifier]"]
    words = [f"model={net}", *_SMALL, f"data.picture={'sketch' if 'sketches' in task else 'photo'}"]
    return [*words, "data.classes=[circle,square]", *more, f"model.tune={tune}", *start]


EXPERIMENT = Experiment(
    name="chen2019_transfer",
    doc=__doc__ or "",
    title="Transfer from photos to sketches, arm by arm",
    data="Photos are the tutorial's ants and bees, 244 to train on and 153 for val. Sketches are TU-Berlin's ant and "
    "butterfly, 43 to train on and 31 for val a class; 64 and 10 in rows 64/10. Photos → sketches are Sketchy's dog "
    "and elephant with 43 photos a class, and 31 sketches a class for val. Accuracy is the last epoch's on val.",
    change="ant and bee as published, fully connected layers of VGG16, crops and mirror images; more classes and a "
    "test of its own (chen2019_stem has ten classes, twelve seeds).",
    arms=ARMS,
    claims=CLAIMS,
    published=[],
    keys=["val/accuracy"],
    extra=(
        Extra(STEADY, steadiness, "smaller"),
        Extra(BEST, lambda run: float(curve(run).max())),
        Extra(CHANCE, best_of_chance),
    ),
    seeds=3,
    of_seed=lambda seed: [f"seed={seed}"],
    common=["runtime.precision=bf16"],
    smoke=smoke,
)

if __name__ == "__main__":
    main(EXPERIMENT)
