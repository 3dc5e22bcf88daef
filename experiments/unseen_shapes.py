"""Photos of shapes never seen, found by sketch: is a small network better than guessing, and than it was before
training?

Claims: none of a study; a check of the protocol that needs no download and takes minutes.

Protocol: data=shapes, two sketches of each of 200 objects a class; nine classes to train on, three to choose the
epoch on, six to test on, divided by a keyed hash of their names (experiment=unseen/shapes). 2,400 sketches search the
1,200 photos of the six classes. class_mAP: a photo is right when it is of the sketch's class; its chance is exact.
Sketches of one object count as one in intervals and tests. Three seeds of the network, the same classes.

Deviations: "not trained" is one epoch at a rate of 1e-30, which moves no weight; its batch norm is measured on
training samples, as the trained network's is.

Cost: half a minute of a core a run, so three minutes of two cores for all six.

    python experiments/unseen_shapes.py [--seeds 3] [--smoke] [--report] [key=value …]
"""

from __future__ import annotations

from arms import main
from arms_types import Arm, Claim, Execute, Experiment

ARMS = [
    Arm("trained on nine other classes", ["experiment=unseen/shapes"]),
    Arm("not trained", ["experiment=unseen/shapes", "loop.epochs=1", "loop.lr=1e-30"]),
]


def smoke(arm: Arm, execute: Execute) -> list[str]:
    return [*arm.words[:1], *(word for word in arm.words if word.startswith("loop.lr")), "data.per_class=12",
            "loop.epochs=1", "loop.batch_size=16", "pipeline.sheet_rows=0"]  # fmt: skip


EXPERIMENT = Experiment(
    name="unseen_shapes",
    doc=__doc__ or "",
    title="Classes never seen: six of 18 shapes drawn by code",
    data="Shapes drawn by code: 2,400 sketches of 1,200 objects of six classes search the photos of these objects; the "
    "network was trained on nine other classes and its epoch chosen on three more.",
    change="other classes; real drawings.",
    arms=ARMS,
    pipeline="retrieve",
    claims=[Claim(*(arm.name for arm in ARMS), ask="Does training on other classes help to find photos of these?")],
    published=[],
    keys=["test/class_mAP", "test/recall@1"],
    seeds=3,
    of_seed=lambda seed: [f"seed={seed}"],
    common=["runtime.workers=0"],
    smoke=smoke,
)

if __name__ == "__main__":
    main(EXPERIMENT)
