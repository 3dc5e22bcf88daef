"""Curves of scores that are neither good nor bad, one panel per group: what a discriminator says of real and of
generated images, by iteration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from sketchlab.report import canvas, page
from sketchlab.report.comparison import figures
from sketchlab.report.comparison.groups import Group
from sketchlab.report.read import Run
from sketchlab.report.run import curves

MOST = 12  # panels


def wanted(runs: Sequence[Run], metric: str) -> str:
    """The key of a score without a direction that `metric` names (d_real, train/d_real), or ""."""
    if not metric:
        return ""
    keys = sorted({key for run in runs for key in run.final() if "/" in key and not run.declared[key].sign})
    ends = [metric, f"train/{metric}", f"val/{metric}", f"test/{metric}"]
    return next((key for key in ends if key in keys), "")


def draw(path: Path, groups: Sequence[Group], key: str) -> figures.Drawn | None:
    """One panel per group with common axes: the score and those that share its panel on a run's own page. Lines are
    means over the group's runs, bands their range. None where no run has a curve."""
    members = [key]
    for run in (run for group in groups for run in (*group.runs.values(), *group.unfinished)):
        members = next((list(them) for them in curves.families(run).values() if key in them), members)
    visible = [(group, lines) for group in groups if (lines := _lines(group, members))][:MOST]
    if not visible:
        return None
    figure = canvas.new(5.4, 0.7 + 1.25 * len(visible))
    panels = figure.subplots(len(visible), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (group, lines) in zip(panels, visible, strict=True):
        for name, (steps, values) in lines.items():
            place = members.index(name)
            colour, style = canvas.PALETTE[place % len(canvas.PALETTE)], ("-", "--", "-.", ":")[place % 4]
            declared = group.declared(name)
            axes.plot(steps, values.mean(0), style, color=colour, linewidth=1.8, label=declared.title or name)
            if len(values) > 1:
                axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)
        n = max(len(values) for _, values in lines.values())
        canvas.plain(axes, f"{canvas.short(group.name, 60)} ({n} run{'s' * (n > 1)})", "", "")
        if group.declared(key).is_share or all("d_" in name for name in members):
            axes.set_ylim(0, 1)
    panels[-1].set_xlabel("iteration")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7.5, frameon=False, loc="outside lower left")
    title = f"{' and '.join(members)} by iteration, one panel per group"
    return figures.save(path, figure, panels[0], title)


def section(drawn: figures.Drawn, left_out: int) -> str:
    """The figure for the page, with a line on groups that have no panel."""
    caption = f"{drawn.title}; lines are means over runs, bands their range."
    more = f" {left_out} more groups have no panel." if left_out > 0 else ""
    return page.picture(drawn.stem.with_name(f"{drawn.stem.name}.png"), drawn.title, "chart", caption + more)


def _lines(group: Group, members: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """key → (E,) iterations and (runs, E) values, where all runs of the group were measured."""
    out = {}
    for key in members:
        found = [run.curve(key, "step") for run in (*group.runs.values(), *group.unfinished)]
        found = [(x, y) for x, y in found if len(x) > 1]
        if not found:
            continue
        common = np.array(sorted(set.intersection(*(set(x.tolist()) for x, _ in found))))
        out[key] = common, np.stack([y[np.searchsorted(x, common)] for x, y in found])
    return {key: (x, y) for key, (x, y) in out.items() if len(x) > 1}
