"""The very photo found by sketch, in classes never seen: what is a head worth that was trained on two other classes?

Claims: none of a study; published work trains on 100 classes and more. Here it is asked of the five classes at hand.

Protocol: five classes of Sketchy, two to train on, one to choose the epoch on, two to test on; all 30 choices are made,
one seed each. Frozen MobileNetV2 and VGG16 (ImageNet, which names dog, elephant and guitar: the networks have seen
them, the heads have not), a fresh last layer of 128 numbers, InfoNCE on the very photo. All sketches of the two test
classes search all their photos. recall@1: the very photo is the nearest; class_mAP: a photo of the sketch's class is
right. Trained and not trained are compared choice by choice, with one seed.

Intervals: choices share classes, so that 30 scores are far fewer than 30 results. The variance of their mean is that
of the corrected resampled t test (Nadeau and Bengio 2003, Inference for the generalization error), (1/30 + 2/2) s²,
2/2 being classes tested over classes trained on: the mean counts as no surer than a single choice. Degrees of freedom
are those of five classes, 4, not of 30 choices. A permutation test over classes is exact, but five classes give it
2⁵ sign changes: it cannot go below p = .0625, so it could say nothing. What is found is of these five classes alone.

Deviations: "not trained" is one epoch at a rate of 1e-30, which moves no weight: a random projection of what the frozen
network gives. Preset: conf/experiment/unseen/sketchy.yaml, with other classes.

Cost: frozen layers once, a minute of a core for MobileNetV2, five for VGG16; then 5 to 15 s of a core a run, half an
hour for all 120. Give each process one thread (OMP_NUM_THREADS=1): the head is small, and threads only wait.

    python experiments/unseen_sketchy.py [--seeds 30] [--arms 'MobileNetV2*'] [--smoke] [--report] [key=value …]
"""

from __future__ import annotations

from itertools import combinations

from arms import main
from arms_types import Arm, Choices, Claim, Execute, Experiment, Extra

from sketchlab.report import scores
from sketchlab.report.read import Run

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse")
CHOICES = [(test, val) for test in combinations(CLASSES, 2) for val in CLASSES if val not in test]  # the rest trains
MOBILENET = ["experiment=unseen/sketchy", "data/splits=unseen"]
VGG16 = [*MOBILENET, "model=siamese_vgg16"]
NOT_TRAINED = ["loop.epochs=1", "loop.lr=1e-30"]
ARMS = [
    Arm("MobileNetV2, trained on two other classes", MOBILENET),
    Arm("MobileNetV2, not trained", [*MOBILENET, *NOT_TRAINED]),
    Arm("VGG16, trained on two other classes", VGG16),
    Arm("VGG16, not trained", [*VGG16, *NOT_TRAINED]),
]
CLAIMS = [
    Claim(f"{network}, trained on two other classes", f"{network}, not trained", key=key,
          ask=f"For these five classes: is {what} found more often after training on two others, with {network}?")
    for key, what in (("", "the very photo"), ("test/class_mAP", "a photo of the class"))
    for network in ("MobileNetV2", "VGG16")
]  # fmt: skip


def of_seed(seed: int) -> list[str]:
    """The seed is the number of the choice."""
    test, val = CHOICES[seed % len(CHOICES)]
    return [f"seed={seed}", f"data.splits.test_classes=[{','.join(test)}]", f"data.splits.val_classes=[{val}]"]


def smoke(arm: Arm, execute: Execute) -> list[str]:
    return ["model=small_siamese", "data=shapes", "data/splits=unseen", "data.splits.test_classes=null",
            "data.splits.val_classes=null", "data.classes=[circle,square,triangle,sun,house]", "data.per_class=12",
            "data.splits.train=2", "data.splits.val=1", "data.splits.test=2", "pipeline.loss=infonce",
            "pipeline.sampler=all", "pipeline.match=instance", "loop.epochs=1", "loop.batch_size=8",
            *(word for word in arm.words if word.startswith("loop.lr"))]  # fmt: skip


def chance(run: Run) -> float:
    return scores.chance(run, "test", "class_mAP") or float("nan")


EXPERIMENT = Experiment(
    name="unseen_sketchy",
    doc=__doc__ or "",
    title="Classes never seen: five classes of Sketchy, two to train on, two to test on",
    data="Five classes of Sketchy, all 30 choices of two to train on, one to choose the epoch on, two to test on. The "
    "frozen layers know ImageNet, which names three of the five. For these classes only: five say nothing of others.",
    change="other classes, and more of them to train on.",
    arms=ARMS,
    pipeline="retrieve",
    claims=CLAIMS,
    published=[],
    keys=["test/recall@1", "test/class_mAP"],
    extra=(Extra("class_mAP by chance", chance),),
    seeds=len(CHOICES),
    of_seed=of_seed,
    common=["runtime.precision=bf16", "runtime.workers=0", "pipeline.sheet_rows=0"],
    smoke=smoke,
    choices=Choices(classes=len(CLASSES), test_per_train=1.0),
)

if __name__ == "__main__":
    main(EXPERIMENT)
