"""photo_drawing: with 200 training images, is transfer learning worth it, and how sure can one be?

Claims: a network pretrained on ImageNet, all of it fine-tuned on 200 photos and drawings, is right on .93 ± .026 of 100
test images; the same network from random weights is much worse; a random forest on frozen features
reaches .86 ± .035; transfer learning is significantly better than this and than naive Bayes on raw pixels.

Protocol: data=photo_drawing, 200 images to train on and 100 to test on, the same 100 for every arm of a split;
conf/experiment/photo_drawing/*.yaml. --seeds is the number of splits. Rows "25 images" and so on: fewer of the 200
training images, as many steps, the same test images.

Deviations: MobileNetV2 and VGG16 instead of the vendor's own Inception; the images are others; splits hold as many
photos as drawings.
Cost: all arms with their learning curves 8 min 46 s for one split on two free cores; a frozen arm half a minute, the
fine-tuned one 2 minutes, from scratch 5 minutes of a core a split.

    python experiments/photo_drawing.py [--seeds 20] [--arms '*frozen'] [--smoke] [--report] [--find] [key=value …]
"""

from __future__ import annotations

import math
from itertools import combinations

from arms import main
from arms_types import Arm, Claim, Execute, Experiment, Published

TUNED, SCRATCH, FOREST = "mobilenet_v2 fine-tuned", "mobilenet_v2 from scratch", "random forest on features"
BAYES = "naive Bayes on pixels"
_BASELINE = ["data=photo_drawing", "pipeline.mistakes=100"]
ROWS = {  # name → (what to run; epochs and batch size, where there are some); photo_drawing's own four first
    TUNED: (["experiment=photo_drawing/finetuned"], (10, 20)),
    SCRATCH: (["experiment=photo_drawing/scratch"], (20, 20)),
    BAYES: (["model=pixels_naive_bayes", *_BASELINE], None),
    FOREST: (["model=features_random_forest", *_BASELINE], None),
    "mobilenet_v2 frozen": (["experiment=photo_drawing/frozen"], (100, 50)),
    "vgg16 frozen": (["experiment=photo_drawing/frozen", "model=vgg16"], (100, 50)),
    "logistic on features": (["model=features_logistic", *_BASELINE], None),
    "HOG and linear SVM": (["model=hog_svm", *_BASELINE], None),
}
ALL, SIZES = 200, (25, 50, 100)  # training images
NETWORKS = ("inception_v3", "googlenet", "resnet18", "vgg16")


def fewer(size: int, loop: tuple[int, int] | None) -> list[str]:
    """A point of the learning curve: fewer images, as many steps."""
    if loop is None:
        return [f"data.splits.train_at_most={size}"]
    epochs, batch = loop
    at_once = min(batch, size)
    epochs = max(1, round(epochs * math.ceil(ALL / batch) / math.ceil(size / at_once)))
    more = [f"data.splits.train_at_most={size}", f"loop.epochs={epochs}", f"loop.batch_size={at_once}"]
    return [*more, f"loop.eval_every={epochs}", "pipeline.explain=0"]


ARMS = [
    *(Arm(name, words) for name, (words, _) in ROWS.items()),
    *(
        Arm(f"{name}, {size} images", [*words, *fewer(size, loop)])
        for name, (words, loop) in ROWS.items()
        for size in SIZES
    ),
    *(Arm(f"{net} fine-tuned", [*ROWS[TUNED][0], f"model={net}"], f"ImageNet weights of {net}") for net in NETWORKS),
]
SIGNIFICANT = "significantly better results compared to training the net from scratch or using other … methods"
QUOTES = {
    (TUNED, SCRATCH): "without transfer learning the net model performs much worse than before",
    **dict.fromkeys([(TUNED, BAYES), (TUNED, FOREST)], SIGNIFICANT),
}
ASKED = {(TUNED, "mobilenet_v2 frozen"): "Does fine-tuning beat a frozen network?"}
PAIRS = list(combinations(ROWS, 2))  # of the rows with all training images
CLAIMS = [Claim(a, b, QUOTES.get((a, b), ""), ask=ASKED.get((a, b), "")) for a, b in PAIRS]
_SMALL = ["data=shapes", "data.picture=photo", "data/splits=count", "data.splits.val=0", "data.splits.test=8",
          "runtime.workers=0"]  # fmt: skip
_TWINS = {"mobilenet_v2": ["input.size_px=32"], "vgg16": ["input.size_px=32", "width=0.1", "head=pool"]}


def smoke(arm: Arm, execute: Execute) -> list[str]:
    """Twins trained on two other shapes, on circles and squares; of the networks that need weights the main one."""
    name, _, size = arm.name.partition(", ")
    sizes = {"": 10, "100 images": 8, "50 images": 5, "25 images": 3}
    per_class = 21 + NETWORKS.index(name.partition(" ")[0]) if arm.needs else 20
    small = [*_SMALL, f"data.per_class={per_class}", f"data.splits.train={sizes[size]}", "data.classes=[circle,square]"]
    if name not in ROWS or name.partition(" ")[0] in _TWINS:
        net, _, rest = ("mobilenet_v2 fine-tuned" if arm.needs else name).partition(" ")
        tune = {"frozen": "freeze", "fine-tuned": "finetune"}.get(rest, "scratch")
        words = [f"model={net}", *small, *(f"model.{word}" for word in _TWINS[net]), f"model.tune={tune}"]
        start = ["model.weights=none", "model.fresh=[]"]
        if tune != "scratch":
            start = [f"model.weights={_base(net, execute)}", "model.fresh=[classifier]"]
        return [*words, "loop.epochs=3", *start]
    words = [ROWS[name][0][0], *small]
    if "features" in name:
        words += [f"model.backbone.{word}" for word in _TWINS["mobilenet_v2"]]
        words += [f"model.backbone.weights={_base('mobilenet_v2', execute)}", "model.backbone.fresh=[classifier]"]
    return words


def _base(net: str, execute: Execute) -> str:
    words = [f"model={net}", *_SMALL, "data.per_class=20", "data.splits.train=10", "data.classes=[line,triangle]"]
    words += [*(f"model.{word}" for word in _TWINS[net]), "model.weights=none", "model.tune=scratch", "loop.epochs=3"]
    return str(execute(words))


EXPERIMENT = Experiment(
    name="photo_drawing",
    doc=__doc__ or "",
    title="Photo or drawing: what 200 training images are enough for",
    data="150 photos and 150 drawings, 200 to train on and 100 to test on. photo_drawing's own figures are of another "
    "network and other images.",
    change="other photos and drawings; more splits of the fine-tuned network and of the one from scratch.",
    arms=ARMS,
    claims=CLAIMS,
    published=[
        Published(TUNED, "photo_drawing: its vendor's Inception, its own images", 0.93, 100),
        Published(FOREST, "photo_drawing: its vendor's Inception, its own images", 0.86, 100),
    ],
    keys=["test/accuracy"],
    seeds=3,
    of_seed=lambda seed: [f"data.splits.seed={seed}"],
    common=[],
    smoke=smoke,
)

if __name__ == "__main__":
    main(EXPERIMENT)
