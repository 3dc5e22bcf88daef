"""A finished run of pipeline=draw as the page asks it: three ways to finish the drawing on the sheet."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from sketchlab.app.page_model import choice, named
from sketchlab.data.strokes import simplify
from sketchlab.errors import UserError
from sketchlab.runs import OpenedRun
from sketchlab.runs.draw.drawer import Drawer

PROPOSALS = 3
MOST_SEED = 2**31 - 1
_MARGIN = 32  # of the sheet around the square 0…255 (static/sheet.js)


def draws(run: OpenedRun) -> bool:
    return run.scores.answers == "drawings"


class PageDrawer:
    """Raises UserError for a run that is not finished."""

    def __init__(self, run: OpenedRun) -> None:
        state = run.status.get("state", "unknown")
        if state != "finished":
            what = "still training (or was cut)" if state == "running" else f"{state}, not finished"
            raise UserError(f"app: {run.path} is {what}: start its command again first")
        self.run, self.drawer = run, Drawer(run)
        self.finish([[[100, 150], [100, 150]]], "", 0)  # the first question compiles and allocates

    def finish(self, drawing: Any, name: str, seed: int) -> dict[str, Any]:
        """Strokes that may follow, three times, in the drawing's own units. name: its class; "" = left open.

        The drawing stays where it is on the sheet; one that leaves the square 0…255 is read with the sheet's margin.
        """
        start = perf_counter()
        if not 0 <= seed <= MOST_SEED:
            raise UserError(f"seed {seed}: expected 0 to {MOST_SEED}")
        strokes = simplify.checked(drawing)
        whole = np.concatenate(strokes)
        inside = whole.min() >= 0 and whole.max() <= simplify.SIDE
        low = 0.0 if inside else min(-float(_MARGIN), float(whole.min()))
        zoom = 1.0 if inside else simplify.SIDE / (max(simplify.SIDE + _MARGIN, float(whole.max())) - low)
        begun = [simplify.thinned((stroke - low) * zoom).T.tolist() for stroke in strokes]
        known = name if name in self.drawer.knows else ""
        found = self.drawer.endings(begun, PROPOSALS, seed, None, known or None)
        proposals = [
            [[[round(v / zoom + low, 2) for v in axis] for axis in stroke] for stroke in ending] for ending in found
        ]
        return {"proposals": proposals, "class": known, "ms": round((perf_counter() - start) * 1000, 1)}

    def facts(self) -> dict[str, Any]:
        return {**named(self.run), "classes": self.drawer.knows, "about": [f"trained on {choice(self.run, 'data')}"]}
