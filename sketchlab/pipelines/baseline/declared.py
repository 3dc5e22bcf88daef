"""The scores of a baseline: those of a classifier's answers."""

from sketchlab.pipelines.classify.declared import SCORES

__all__ = ["SCORES"]
