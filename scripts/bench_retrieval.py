"""Scores of a search by class: sketchlab's evaluation beside pytorch-metric-learning's AccuracyCalculator.

Both get the same embeddings and labels and give precision at 1, and mean average precision over the whole ranking and
over the first R, R being the photos of a class: here as many in each, so that it is class_mAP@R. Theirs asks faiss.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from bench import Row, interleaved
from torch import Tensor

from sketchlab.metrics import retrieval as metrics

GOAL, SAME = 2.0, 1e-6
SPREAD = 2.5  # standard deviation within a class, that of class centres being 1


def compare(
    queries: int = 12_500, photos: int = 15_000, classes: int = 125, numbers: int = 128, repeats: int = 3
) -> Iterator[Row]:
    """scores by class, beside pytorch-metric-learning's calculator on the same embeddings; theirs takes some 12 GB"""
    missing = [name for name in ("pytorch_metric_learning", "faiss") if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"error: the comparison needs {' and '.join(missing)}: pip install 'sketchlab[bench]'")
    if photos % classes:
        sys.exit(
            f"error: photos={photos} are not classes={classes} of equal size, as mean average precision at R needs"
        )
    sketch, photo = (embedded(n, classes, numbers, seed) for seed, n in ((1, queries), (2, photos)))
    said: dict[str, dict[str, float]] = {}

    def timed(side: str, scores: Callable[[], dict[str, float]]) -> Callable[[], float]:
        def measure() -> float:
            start = time.perf_counter()
            said[side] = scores()
            return time.perf_counter() - start

        return measure

    sides = {
        "pytorch-metric-learning": timed("theirs", theirs(sketch, photo)),
        "sketchlab": timed("ours", lambda: ours(sketch, photo, photos // classes)),
    }
    seconds = interleaved(sides, repeats)
    difference = max(abs(said["ours"][name] - value) for name, value in said["theirs"].items())
    yield Row(
        "scores",
        seconds,
        "evaluation",
        goal=f"{GOAL:g} times as fast, values within {SAME:g}",
        reached=lambda peer, mine: peer / mine >= GOAL and difference <= SAME,
        notes={
            "search": f"{queries} × {photos} embeddings of {numbers} numbers, {classes} classes",
            "values": {name: round(value, 8) for name, value in said["ours"].items()},
            "largest_difference": f"{difference:.1e}",
            "peer": {name: importlib.metadata.version(name) for name in ("pytorch-metric-learning", "faiss-cpu")},
        },
    )


def embedded(n: int, classes: int, numbers: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, numbers) float32 of length 1 around class centres that all seeds share, and labels (n,)."""
    centres = torch.randn(classes, numbers, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % classes
    noise = torch.randn(n, numbers, generator=torch.Generator().manual_seed(seed))
    return F.normalize(centres[labels] + SPREAD * noise), labels


def ours(sketch: tuple[Tensor, Tensor], photo: tuple[Tensor, Tensor], r: int) -> dict[str, float]:
    names = {
        "precision_at_1": "class_precision@1",
        "mean_average_precision": "class_mAP",
        "mean_average_precision_at_r": f"class_mAP@{r}",
    }
    found = metrics.evaluate(sketch[0], photo[0], classes=(sketch[1], photo[1]), names=list(names.values()))
    return {theirs: found[name].value for theirs, name in names.items()}


def theirs(sketch: tuple[Tensor, Tensor], photo: tuple[Tensor, Tensor]) -> Callable[[], dict[str, float]]:
    from pytorch_metric_learning.utils.accuracy_calculator import (  # pyright: ignore[reportMissingImports]  # extra: bench
        AccuracyCalculator,
    )

    names = ("precision_at_1", "mean_average_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=names, device=torch.device("cpu"))
    return lambda: calculator.get_accuracy(sketch[0], sketch[1], photo[0], photo[1])
