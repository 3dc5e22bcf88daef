"""Run folders → tables, plots and one self-contained page. Never imports torch."""

from __future__ import annotations

from pathlib import Path

from sketchlab.report import agg, live, page, tables  # noqa: F401  agg before anything that imports matplotlib
from sketchlab.report.read import read
from sketchlab.report.run import plots, transfer, warnings
from sketchlab.report.run.headline import headline as headline_of
from sketchlab.report.run.sections import sections
from sketchlab.report.sentences import render


def write(folder: Path, next_s: float = 0.0) -> Path:
    """Draw plots/*.png and report.html of one run, whatever state it is in; returns the path of report.html.

    next_s: of a run that trains, in how many seconds at most it is written again; the page reloads then. 0: it is not.
    Raises UserError when the folder is no run.
    """
    run = read(folder)
    drawn = [*plots.draw(run), *run.attempt("plots of a transfer", lambda: list(transfer.plots(run)), [])]
    made = sections(run, drawn)
    headline = run.attempt("the headline", lambda: render(transfer.worst(run) or headline_of(run)), "")
    warning_lines = [*run.attempt("warnings of a transfer", lambda: transfer.warnings(run), []), *warnings.lines(run)]
    choices, status = run.choices, run.status
    title = f"{choices['model']} on {choices['data']}" if {"model", "data"} <= set(choices) else run.name
    seed = (run.config.get("config") or {}).get("seed")
    under = [
        run.name,
        f"seed {seed}" if seed is not None else "",
        str(status.get("ended") or status.get("started") or "").replace("T", " "),
    ]
    text = page.render(
        title=run.attempt("its title", lambda: transfer.title(run), "") or title,
        state=run.state,
        headline=headline,
        under=" · ".join(filter(None, under)),
        warnings=warning_lines,
        sections=made,
        live=live.line(run, next_s) if run.state == "running" else "",
    )
    return tables.put(run.folder / "report.html", text)
