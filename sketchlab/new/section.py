"""A section of a run's page. It gets what the run's folder holds, and gives HTML; "" where it has nothing to say."""

from __future__ import annotations

from sketchlab.report import page
from sketchlab.report.read import Run

TITLE = "Scores that were largest in the middle"


def section(run: Run) -> str:
    """run.metrics: a row per evaluation; run.samples("test_*"): pictures; run.predictions("val"): a table …"""
    table = run.metrics.filter(like="val/")
    if len(table) < 3:
        return ""
    rows = [(key, f"{values.max():.4g}", int(values.argmax()) + 1) for key, values in table.items()]
    return page.table(("score", "largest", "at evaluation"), rows, ("largest", "at evaluation"))
