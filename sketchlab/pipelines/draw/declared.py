"""The scores of a network that draws: likelihood.py and rendered.py compute them."""

from __future__ import annotations

from sketchlab.metrics.declared import Score
from sketchlab.pipelines.gan.declared import against_real, classified, inception

TAKES = ("pen moves",)  # what a model must give
ANSWERS = "drawings"  # what a run is asked for afterwards
TITLE = "Networks that draw"

PAPER = "Ha and Eck 2017"
SCORES = (
    Score("nats_per_point", "Negative log-likelihood a point, on the canvas 0…255", "smaller", unit="nats"),
    Score("reconstruction", "Reconstruction loss over all N_max points", "smaller", unit="nats", source=PAPER),
    Score("kl", "KL divergence of the code from a standard normal, a number of it", "smaller", 0.0, source=PAPER),
    classified("class_accuracy", "larger", "Share classified as the requested class"),
    *against_real(),
    Score("novelty", "Distance to the nearest training drawing, 1 = that of real drawings", "neither", 0.0),
    classified("class_accuracy_real", "neither", "Share of real drawings that the scoring classifier gets right"),
    *inception("inception_score", "larger", "Inception score"),
    *inception("inception_score_real", "neither", "Inception score of real images"),
    Score("loss", "Loss: reconstruction and KL divergence", "smaller", unit="nats", source=PAPER),
)
