"""What only explains a result (Grad-CAM, maps, sheets): where it cannot be made the run goes on and says why."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

from sketchlab.engine.rundir import RunDir
from sketchlab.errors import UserError

STRICT = "SKETCHLAB_STRICT"  # set by the tests: then such an error is raised

Parts = dict[str, Callable[[], dict[str, Any]]]  # what it is, in words → its results, as RunDir.keep takes them


def keep(folder: RunDir, split: str, parts: Parts) -> None:
    """Each part to its files; explain_<split>.json: part → why it is missing, for the page.

    A part raises UserError where there is nothing to show. Any other error is a mistake, of sketchlab's or of a network
    of one's own: the part is missing, and the traceback stands in train.log.
    """
    missing: dict[str, str] = {}
    for name, part in parts.items():
        try:
            folder.keep(split, part())
        except UserError as error:
            missing[name] = str(error)
            folder.say(f"{split}: no {name}: {error}")
        except Exception as error:  # a run that has its scores is finished, whatever fails here
            if os.environ.get(STRICT):
                raise
            missing[name] = f"{type(error).__name__}: {error} (its traceback stands in train.log)"
            folder.say(f"{split}: no {name}, by an error:\n{traceback.format_exc()}")
    folder.document(f"explain_{split}.json", missing)
