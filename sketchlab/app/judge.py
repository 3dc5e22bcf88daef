"""A finished run as the page asks it: what it is, and what it says about a drawing."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from sketchlab.engine.files import read_json
from sketchlab.errors import UserError
from sketchlab.opened import KINDS, OpenedRun, reading
from sketchlab.opened.classifier import Classifier

SHOWN = 6  # classes in an answer, the likeliest first
_FIRST = [[[0, 255], [0, 255]]]  # a line: the first question compiles, allocates, and shows that the run can answer


class Judge:
    """A classifier: networks that take images, frames or points, and baselines. Raises UserError for any other run."""

    def __init__(self, path: Path) -> None:
        self.run = OpenedRun(path)
        self.run.check_classifier("app", KINDS)
        self.classes = self.run.classes
        self.classifier: Classifier = self.run.classifier()
        if self.classifier.strokes is None:
            channels = ", ".join(map(str, reading.CHANNELS))
            raise UserError(
                f"app: the network of {path} takes images of {self.run.input.channels} channels; "
                f"drawings give {channels}"
            )
        self.probabilities(_FIRST)

    def probabilities(self, drawing: reading.Drawing) -> np.ndarray:
        """(n_classes,) of a drawing in the convention of data/simplify.py."""
        (said,) = self.classifier.answers([drawing])
        return said  # never a reason: drawings in the convention can be drawn

    def answer(self, drawing: reading.Drawing) -> dict[str, Any]:
        """The likeliest classes, strokes it has and sees, and how long that took."""
        start = perf_counter()
        p = self.probabilities(drawing)
        best = np.argsort(-p, kind="stable")[:SHOWN]
        return {
            "kind": "classes",
            "classes": [{"name": self.classes[i], "p": round(float(p[i]), 6)} for i in best],
            "strokes": len(drawing),
            "ms": round((perf_counter() - start) * 1000, 1),
        }

    def facts(self) -> dict[str, Any]:
        """What the page shows of the run before anything is drawn."""
        choices, input = self.run.document.get("choices", {}), self.run.input
        frames = input.kind == "frames"
        return {
            "model": choices.get("model", self.run.config["model"]["name"]),
            "data": choices.get("data", self.run.config["data"]["name"]),
            "id": self.run.path.resolve().name,
            "takes": input.kind,
            "classes": self.classes,
            "limit": input.channels if frames else None,
            "late": reading.raster_of(self.run.config["data"], input).late if frames else None,
            "score": self._score(),
        }

    def _score(self) -> dict[str, Any] | None:
        """Accuracy on the split kept for it, with its n; None when the folder does not say."""
        metrics = self.run.status.get("metrics") or {}
        for split in ("test", "val"):
            if f"{split}/accuracy" in metrics:
                n = read_json(self.run.path / "data.json")["splits"][split]["n"]
                return {"split": split, "accuracy": metrics[f"{split}/accuracy"], "n": n}
        return None
