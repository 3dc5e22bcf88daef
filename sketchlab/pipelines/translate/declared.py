"""The scores of a translator: task.py and pipelines/gan/scores.py compute them."""

from __future__ import annotations

from sketchlab.metrics.declared import FEATURES, Score
from sketchlab.pipelines.gan.declared import KID, TRAINING, against_real

TAKES = ("translators",)  # what a model must give
ANSWERS = "translations"  # what a run is asked for afterwards
TITLE = "Translators"

_CYCLE = "Zhu, Park, Isola, Efros 2017"

SCORES = (
    Score(f"kid{FEATURES}", "KID, mean of sketches and photos", "smaller", measured="kid_sketch", source=KID),
    *against_real("sketch"),
    *against_real("photo"),
    Score("cycle_sketch", "Cycle reconstruction of a sketch, mean absolute error", "smaller", 0.0, 1.0, source=_CYCLE),
    Score("cycle_photo", "Cycle reconstruction of a photo, mean absolute error", "smaller", 0.0, 1.0, source=_CYCLE),
    *TRAINING,
    Score("part_fool", "Part of the generators' loss: the discriminators' answers", "neither"),
    Score("part_cycle", "Part of the generators' loss: cycle reconstruction", "neither"),
    Score("part_identity", "Part of the generators' loss: images of the wanted kind left alone", "neither"),
)
