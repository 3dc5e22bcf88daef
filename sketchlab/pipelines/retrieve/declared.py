"""The scores of a search for photos by sketches: answers.py, mining.py and metrics/retrieval.py compute them."""

from __future__ import annotations

from sketchlab.metrics.declared import Score

TAKES = ("embeddings",)  # what a model must give
ANSWERS = "matches"  # what a run is asked for afterwards
TITLE = "Retrieval"


def _hits(name: str, title: str) -> Score:
    return Score(name, title, "larger", 0.0, 1.0, "share", "wilson", "group", "measured")


def _mean(name: str, title: str, source: str = "") -> Score:
    return Score(name, title, "larger", 0.0, 1.0, "share", "bootstrap", "group", "measured", source=source)


SCORES = (
    _hits("recall@1", "Recall@1: the object drawn is the nearest"),
    _hits("recall@5", "Recall@5: the object drawn is among the 5 nearest"),
    _hits("recall@10", "Recall@10: the object drawn is among the 10 nearest"),
    _mean("class_mAP", "Mean average precision by class"),
    _mean("class_mAP@200", "Mean average precision by class, of the 200 nearest"),
    _mean("class_precision@10", "Precision by class, of the 10 nearest"),
    _hits("class_recall@10", "Recall@10 by class"),
    _mean("roc_area", "Area under the ROC curve of pairs", "Obuchowski 1997"),
    _mean("pair_accuracy", "Accuracy of pairs at the threshold of val"),
    Score("text_class_mAP", "Photos by text: mean average precision by class", "larger", 0.0, 1.0, "share"),
    Score("clip_class_mAP", "Photos by sketch in CLIP as it was: the same", "larger", 0.0, 1.0, "share"),
    Score("loss", "Loss over one matching and one other photo a sketch", "smaller", 0.0),
    Score("distance_match", "Mean distance of matching pairs", "neither", 0.0),
    Score("distance_other", "Mean distance of other pairs", "neither", 0.0),
)
