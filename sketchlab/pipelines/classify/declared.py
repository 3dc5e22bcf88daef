"""The scores of a classifier: predictions.py and pose.py compute them.

Accuracy of training is that of its batches, as they are augmented and while the weights move, like its loss.
"""

from __future__ import annotations

from sketchlab.metrics.declared import Score

TAKES = ("logits",)  # what a model must give
ANSWERS = "classes"  # what a run is asked for afterwards
TITLE = "Classifiers"

SCORES = (
    Score("accuracy", "Accuracy", "larger", 0.0, 1.0, "share", "wilson", "group", chance="1/classes"),
    Score("class_accuracy", "Accuracy, mean over classes", "larger", 0.0, 1.0, "share", chance="1/classes"),
    Score("top5", "Top-5 accuracy", "larger", 0.0, 1.0, "share", "wilson", "group", chance="5/classes"),
    Score("loss", "Cross-entropy", "smaller", 0.0, unit="nats"),
    Score("angle_error_deg", "Mean absolute error of the angle", "smaller", 0.0, 180.0, "degrees", chance="measured"),
    Score("size_error", "Mean absolute error of the size", "smaller", 0.0, chance="measured"),
    Score("pose_loss", "Loss of the head for angle and size", "smaller"),
)
