"""frankenstein: does a network that sees a drawing stroke by stroke know it better than one that does not?

Claims: an LSTM over the frames "can look for patterns across the 8 or fewer strokes … in a way that the CNN can not do
on its own" (its part "Our Neural Network"), which is why CNN + LSTM is built; scale and rotation of training drawings
are its first wish ("Extensions"). Its text prints no accuracy of either network, so nothing is published beside ours.

Protocol: experiment=frankenstein/words, eight QuickDraw words of some 1,150 drawings each, 80/10/10, the same for all
arms and seeds; frankenstein's networks and frames, Adam, batches of 32; three seeds; the weights of the best epoch on
val are tested once. cnn_bilstm2d has Sequencer's mixing by rows and columns (frankenstein's motivating paper) in place
of the LSTM; stroke_lstm reads points instead of frames. Each with mild stroke augmentation (turned by up to 10°,
stretched, scaled, shifted) and without.

Deviations: eight words and hundreds of drawings instead of 18 words of 10,000; 6 epochs at a rate that falls from .002
instead of 40 at .001; frames divided by .25, because ink is rare. `python -m sketchlab.run
experiment=frankenstein/cnn_lstm` is frankenstein's own training; its two networks stand below and need a GPU
and the 18 words.

Cost of one core in bf16: 4 to 6 minutes a run (measured beside another), 27 runs in two hours.

    python experiments/frankenstein_strokes.py [--arms '*aug*'] [--seeds 3] [--smoke] [--report] [--find] [key=value]
"""

from __future__ import annotations

from arms import main
from arms_types import Arm, Claim, Execute, Experiment

WORDS = ["experiment=frankenstein/words"]
PLAIN = ["data/stroke_augment@data.augment=none"]
WHOLE = ["experiment=frankenstein/cnn_lstm"]
NEEDS = "a GPU and QuickDraw's 18 words"
NETS = {
    "CNN + LSTM": ["model=cnn_lstm", "model.input.std=[0.25]"],
    "CNN": ["model=cnn_strokes", "model.input.std=[0.25]"],
    "CNN + BiLSTM2D": ["model=cnn_bilstm2d", "model.input.std=[0.25]"],
    "LSTM on points": ["model=stroke_lstm"],
}
ARMS = [
    *(Arm(f"{name}, augmented", [*WORDS, *words]) for name, words in NETS.items()),
    Arm("CNN + BiLSTM2D, augmented, 12 epochs", [*WORDS, *NETS["CNN + BiLSTM2D"], "loop.epochs=12"]),
    *(Arm(f"{name}, plain", [*WORDS, *words, *PLAIN]) for name, words in NETS.items()),
    Arm("CNN + LSTM, as published", [*WHOLE, "model=cnn_lstm"], NEEDS),
    Arm("CNN, as published", [*WHOLE, "model=cnn_strokes"], NEEDS),
]
BETTER = "the LSTM layer can look for patterns … in a way that the CNN can not do on its own"
CLAIMS = [
    Claim("CNN + LSTM, augmented", "CNN, augmented", BETTER),
    Claim("CNN + LSTM, plain", "CNN, plain", BETTER),
    Claim("CNN + LSTM, augmented", "CNN + LSTM, plain", ask="Does augmentation help CNN + LSTM?"),
    Claim("CNN, augmented", "CNN, plain", ask="Does it help the CNN?"),
    Claim("CNN + BiLSTM2D, augmented", "CNN + LSTM, augmented", ask="Is BiLSTM2D better than the LSTM?"),
    Claim("CNN + BiLSTM2D, augmented", "CNN, augmented", ask="Is BiLSTM2D better than the plain CNN?"),
    Claim("LSTM on points, augmented", "CNN + LSTM, augmented", ask="Is an LSTM on points better than one on frames?"),
    Claim("CNN + BiLSTM2D, augmented, 12 epochs", "CNN + BiLSTM2D, augmented", ask="Do twelve epochs help BiLSTM2D?"),
    Claim("CNN + LSTM, as published", "CNN, as published", BETTER),
]
_FRAMES = ["model.channels=[4,4,4]", "model.head=16"]
_TWINS = {
    "CNN + LSTM": [*_FRAMES, "model.hidden=16", "model.layers=1"],
    "CNN": _FRAMES,
    "CNN + BiLSTM2D": [*_FRAMES, "model.hidden=4", "model.blocks=1"],
    "LSTM on points": ["model.channels=[8,8,8]", "model.hidden=16", "model.layers=1", "model.dropout=0.0"],
}


def smoke(arm: Arm, execute: Execute) -> list[str]:
    longer = arm.name.endswith(", 12 epochs")
    name, _, rest = arm.name.removesuffix(", 12 epochs").partition(", ")
    words = [*NETS[name][:1], *_TWINS[name], "data=shapes", "data.classes=[circle,square,triangle]"]
    words += [f"loop.epochs={3 if longer else 2}"]
    words += [f"data.per_class={24 if 'published' in rest else 20}", "pipeline.explain=0"]
    return [*words, f"data/stroke_augment={'mild' if rest == 'augmented' else 'none'}"]


EXPERIMENT = Experiment(
    name="frankenstein_strokes",
    doc=__doc__ or "",
    title="Drawings stroke by stroke: CNN + LSTM against CNN, eight QuickDraw words",
    data="Eight QuickDraw words of some 1,150 drawings, 80% to train on, 920 to test on, the same for all seeds.",
    change="the 18 words of 10,000 drawings and 40 epochs of frankenstein's own training.",
    arms=ARMS,
    claims=CLAIMS,
    published=[],
    keys=["test/accuracy"],
    seeds=3,
    of_seed=lambda seed: [f"seed={seed}"],
    common=["runtime.precision=bf16", "runtime.workers=0"],
    smoke=smoke,
)

if __name__ == "__main__":
    main(EXPERIMENT)
