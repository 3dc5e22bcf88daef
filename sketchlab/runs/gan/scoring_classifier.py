"""A finished classifier run that says what generated images show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.runs import OpenedRun

_BATCH = 64


def scoring_classifier(folder: str, classes: list[str], generated: Input) -> Callable[[Tensor], Tensor]:
    """(n, C, S, S) in [0, 1], in the ink of `shown` → (n, K) probabilities: of `classes` in their order, then of what
    else the run knows. The images are brought to the run's size, channels and ink.

    Raises UserError when it is no finished classifier of images, or does not know every class.
    """
    run = OpenedRun(Path(folder))
    run.check_classifier("pipeline.scoring_classifier")
    if missing := [name for name in classes if name not in run.classes]:
        raise UserError(
            f"pipeline.scoring_classifier={folder}: it does not know {', '.join(missing[:5])}; "
            f"it knows {', '.join(run.classes)}. "
            "Train one on the same classes"
        )
    classifier = run.classifier()
    invert = run.ink != "none" and run.input.ink != generated.ink
    order = [run.classes.index(name) for name in classes]
    order += [i for i in range(len(run.classes)) if i not in order]

    def ask(images: Tensor) -> Tensor:
        pixels = ((1 - images if invert else images) * 255).round().to(torch.uint8)
        parts = [classifier.logits(part).double().softmax(1) for part in pixels.split(_BATCH)]
        return torch.cat(parts)[:, order]

    return ask
