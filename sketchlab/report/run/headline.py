"""The result of a run in one line."""

from __future__ import annotations

from sketchlab.report import scores
from sketchlab.report.read import Run
from sketchlab.report.sentences import Sentence, Value


def headline(run: Run) -> Sentence:
    """The first score: its value, n, interval and chance, and of which epoch's weights it is."""
    result = scores.primary(run)
    if result is None:
        return Sentence("no result", run.name)
    n = Sentence("of n", result.key, {"n": result.n}) if result.n else None
    interval = Sentence("with interval", scores.interval_text(result)) if scores.interval_text(result) else None
    brackets = {"n": n, "comma": ", " if n and interval else "", "interval": interval}
    facts = {
        "where": scores.SPLITS.get(result.split, result.split).capitalize(),
        "metric": result.metric,
        "value": Value(result.declared, result.value),
        "of": Sentence("in brackets", result.key, brackets) if n or interval else None,
        "chance": None,
        "known": None,
        "epoch": _epoch(run, result),
    }
    if result.chance is not None:
        facts["chance"] = Sentence("and chance", result.key, {"chance": Value(result.declared, result.chance)})
    elif words := scores.direction(result.declared):
        facts["chance"] = Sentence("and that", words)
    if known := scores.calibration_text(run, result.split, result.metric):
        facts["known"] = Sentence("and that", known)
    return Sentence("result", result.key, facts)


def _epoch(run: Run, result: scores.Score) -> Sentence | None:
    chosen = scores.best(run)
    if result.split == "test" and chosen is not None and scores.monitor(run):
        return Sentence("weights of", result.key, {"epoch": chosen[1]})
    if result.split != "test" and (epoch := scores.last_epoch(run)) is not None and len(run.metrics) > 1:
        return Sentence("after", result.key, {"epoch": epoch})
    return None
