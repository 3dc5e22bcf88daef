"""The scores of a baseline: those of a classifier's answers."""

from sketchlab.pipelines.classify.declared import SCORES

__all__ = ["ANSWERS", "SCORES", "TAKES", "TITLE"]
TAKES = ("estimator",)  # what a model must give
ANSWERS = "classes"  # what a run is asked for afterwards
TITLE = "Baselines"
