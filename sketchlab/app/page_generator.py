"""A finished run of a GAN as the page asks it: new pictures, and the eye test when its test data are there."""

from __future__ import annotations

import math
from typing import Any

from sketchlab.app.eye_test import EyeTest
from sketchlab.app.page_model import choice, named, png
from sketchlab.errors import UserError
from sketchlab.metrics.declared import FEATURES
from sketchlab.runs import OpenedRun
from sketchlab.runs.gan import generator

KID = "kid" + FEATURES
SHOWN = 8  # new pictures at a time
MOST_SEED = 2**31 - 1


def makes(run: OpenedRun) -> bool:
    return run.scores.answers == "images"


class PageGenerator:
    """Raises UserError for a run that is not finished or kept no generator. Without test data it still makes pictures:
    `why` then says, in a line, why there is no eye test."""

    def __init__(self, run: OpenedRun) -> None:
        state = run.status.get("state", "unknown")
        if state != "finished":
            what = "still training (or was cut)" if state == "running" else f"{state}, not finished"
            raise UserError(f"app: {run.path} is {what}: start its command again first")
        self.run, self.net = run, generator.generator(run)
        self.classes = run.classes if self.net.n_classes else []
        self.eye: EyeTest | None = None
        self.why = ""
        try:
            self.eye = EyeTest(run, self.net)
        except UserError as error:
            self.why = str(error)

    def make(self, name: str, seed: int) -> dict[str, Any]:
        """Eight pictures, those of `generate -n 8 --seed`; name: of this class, "" = of each in turn."""
        if not 0 <= seed <= MOST_SEED:
            raise UserError(f"seed {seed}: expected 0 to {MOST_SEED}")
        if name and name not in self.classes:
            there = ", ".join(self.classes) or "none: it was trained without classes"
            raise UserError(f"class {name[:40]!r}: this run knows {there}")
        classes = generator.class_numbers(self.run, self.net, SHOWN, [name] if name else [])
        pixels = generator.images(self.run, self.net, SHOWN, seed, classes)
        names = [""] * SHOWN if classes is None else [self.classes[int(c)] for c in classes]
        images = [{"src": png(image), "class": name} for image, name in zip(pixels, names, strict=True)]
        return {"seed": seed, "images": images}

    def facts(self) -> dict[str, Any]:
        size = self.run.input.size_px
        about = [f"{size} × {size} pixels, trained on {choice(self.run, 'data')}", *self._kid()]
        eye = {"n": self.eye.n if self.eye else 0, "why": self.why}
        return {**named(self.run), "classes": self.classes, "about": about, "eye": eye}

    def _kid(self) -> list[str]:
        metrics = self.run.status.get("metrics") or {}
        found = [
            (key, value) for key, value in metrics.items() if self.run.scores[key].name == KID and value is not None
        ]
        found = sorted((key, value) for key, value in found if math.isfinite(value))  # test before val
        return [f"KID {value:.3g} on {key.replace('/kid@', ', ')} features" for key, value in found[:1]]
