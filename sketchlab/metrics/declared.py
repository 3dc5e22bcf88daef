"""What a score is, declared once by the pipeline that computes it: title, direction, range, unit, kind of interval.

A pipeline's `SCORES` is written to scores.json of each run folder before training. Whoever judges a score reads that
table (`Table`); nobody guesses from the name.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sketchlab.errors import UserError

FILE = "scores.json"
FEATURES = "@{features}"  # end of a declared name: the network that a score is measured in follows, as in kid@random
ALLOWED = {
    "better": ("larger", "smaller", "neither"),
    "interval": ("none", "wilson", "bootstrap"),
    "resampled": ("none", "sample", "group", "seed"),
    "chance": ("none", "measured", "1/classes", "5/classes"),
}


@dataclass(frozen=True)
class Score:
    """One number that `evaluate` or `train_step` of a pipeline gives.

    name: as given there, without the split; one that ends in "@{features}" stands for every network measured in.
    low, high: the range; None = open. unit: "share" is printed as .843, its differences in points.
    interval, resampled: kind of the 95% interval of a score on one split, and what is drawn again for it.
    chance: what guessing gives: measured (chance_<split>.json), or by the number of classes.
    measured: key of quality_<split>.json that holds n, where that is not the split's own.
    spread_of: the declared name whose spread over draws this is. Raises UserError for a word that is not allowed.
    """

    name: str
    title: str
    better: str  # larger, smaller, neither
    low: float | None = None
    high: float | None = None
    unit: str = ""
    interval: str = "none"
    resampled: str = "none"
    chance: str = "none"
    measured: str = ""
    spread_of: str = ""
    source: str = ""  # paper or function that defines it

    def __post_init__(self) -> None:
        for key, words in ALLOWED.items():
            if (value := getattr(self, key)) not in words:
                raise UserError(f"score {self.name}: {key}={value}: expected one of {', '.join(words)}")

    @property
    def sign(self) -> int:
        """1: larger is better, -1: smaller is better, 0: neither."""
        return {"larger": 1, "smaller": -1, "neither": 0}[self.better]

    @property
    def is_share(self) -> bool:
        return self.unit == "share"

    def order(self, value: float) -> float:
        """A number that is larger for a better value; the lowest one for what is not finite."""
        return self.sign * value if math.isfinite(value) else -math.inf

    def clip(self, value: float) -> float:
        """The nearest value within the range."""
        floor = -math.inf if self.low is None else self.low
        return min(max(value, floor), math.inf if self.high is None else self.high)


class Table:
    """The scores that a pipeline declares."""

    def __init__(self, pipeline: str, scores: Iterable[Score], answers: str = "", title: str = "") -> None:
        """answers: what a run is asked for afterwards: classes, matches, images, translations …; title: of its runs."""
        self.pipeline, self.scores = pipeline, {score.name: score for score in scores}
        self.answers, self.title = answers, title or pipeline

    def get(self, key: str) -> Score | None:
        """Of val/kid@random, kid@random or kid: the score of this very name, else kid@{features}; else None."""
        name = key.split("/", 1)[-1]
        return self.scores.get(name) or self.scores.get(name.partition("@")[0] + FEATURES)

    def __getitem__(self, key: str) -> Score:
        """As get; a score that is not declared is neither better nor worse, and has no range."""
        name = key.split("/", 1)[-1]
        return self.get(key) or Score(name, name, "neither")

    def check(self, keys: Iterable[str]) -> None:
        """Raises UserError for the first key that is not declared."""
        for key in keys:
            if self.get(key) is None:
                raise UserError(
                    f"{key}: pipeline={self.pipeline} gives this score without declaring it; add a Score of this name "
                    f"to SCORES in its task.py (sketchlab/metrics/declared.py). Declared: "
                    + (", ".join(self.scores) or "none")
                )

    def place(self, key: str) -> int:
        """Where a score stands in the table: the order of SCORES is the order of importance."""
        found = self.get(key)
        return list(self.scores).index(found.name) if found else len(self.scores)

    def document(self) -> dict[str, Any]:
        """For scores.json, without what is as it is where nothing is declared."""
        plain = {f.name: f.default for f in dataclasses.fields(Score)}
        rows = [{k: v for k, v in dataclasses.asdict(s).items() if v != plain[k]} for s in self.scores.values()]
        return {"pipeline": self.pipeline, "answers": self.answers, "title": self.title, "scores": rows}


def read(folder: Path, pipeline: str) -> Table:
    """The table of a run folder; in a folder written before there were such tables, that of its pipeline today.

    Raises UserError when scores.json is not readable.
    """
    path = folder / FILE
    if not path.is_file():
        return of_pipeline(pipeline)
    try:
        found = json.loads(path.read_text("utf-8"))
        known = of_pipeline(found["pipeline"])  # of a folder that does not hold these two yet
        more = {key: str(found.get(key) or getattr(known, key)) for key in ("answers", "title")}
        return Table(found["pipeline"], [Score(**row) for row in found["scores"]], **more)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no readable table of scores: {error}; it was changed by hand") from None


def of_pipeline(name: str) -> Table:
    """What sketchlab/pipelines/<name>/declared.py declares; an empty table where there is no such file."""
    module = f"sketchlab.pipelines.{name}.declared"
    try:
        known = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        known = False
    if not known:
        return Table(name, ())
    declared = importlib.import_module(module)
    return Table(name, declared.SCORES, declared.ANSWERS, declared.TITLE)
