"""Score against cost: what each group takes to train and to use, and which of them nothing cheaper reaches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sketchlab.report import canvas, scores
from sketchlab.report.comparison import leaderboard
from sketchlab.report.comparison.family import Table
from sketchlab.report.comparison.leaderboard import Entry
from sketchlab.report.read import Run, numbers
from sketchlab.report.run import facts

LABELLED = 14  # groups named in a figure; beyond, those of the front alone
MARKERS = "os^D"


def parameters(run: Run) -> float:
    return float((run.env.get("parameters") or {}).get("total") or math.nan)


def macs(run: Run) -> float:
    """Multiply-accumulates of a sample, of the network that answers (a GAN's generator); NaN where not counted."""
    return float(next(iter((run.env.get("macs") or {}).values()), None) or math.nan)


def training_s(run: Run) -> float:
    return math.nan if run.seconds is None else run.seconds


def use_ms(run: Run) -> float:
    """Milliseconds a validation sample, evaluations as they were: data, network and scores."""
    n = scores.count(run, "val")
    if not n or "eval_s" not in run.timing or run.timing.empty:
        return math.nan
    return 1000 * float(np.nanmedian(numbers(run.timing, "eval_s"))) / n


COSTS: dict[str, Callable[[Run], float]] = {
    "parameters": parameters,
    "MACs a sample": macs,
    "training, s": training_s,
    "use, ms a sample": use_ms,
}


def mean_cost(row: Entry, cost: str) -> float:
    """Mean over the finished runs that tell it; NaN where none does."""
    found = [value for run in row.group.runs.values() if math.isfinite(value := COSTS[cost](run)) and value > 0]
    return float(np.mean(found)) if found else math.nan


def front(rows: Sequence[Entry], cost: str) -> list[Entry]:
    """Pareto's front, the cheapest first: groups that no other reaches at the same cost or less."""
    known = [(mean_cost(row, cost), -row.score.order(row.mean), row) for row in rows]
    best, out = math.inf, []
    for _, loss, row in sorted((k for k in known if math.isfinite(k[0])), key=lambda k: k[:2]):
        if loss < best:
            best, out = loss, [*out, row]
    return out


def devices(rows: Sequence[Entry]) -> list[str]:
    """Times compare on one device only: more than one is said."""
    return list(dict.fromkeys(leaderboard.device(row.group) for row in rows))


def table(rows: Sequence[Entry]) -> Table:
    shown = [cost for cost in COSTS if any(math.isfinite(mean_cost(row, cost)) for row in rows)]
    fronts = {cost: {id(row) for row in front(rows, cost)} for cost in shown}
    out: list[list[object]] = []
    for row in rows:
        cells = [f"{_amount(cost, mean_cost(row, cost))}{' *' * (id(row) in fronts[cost])}" for cost in shown]
        out.append([row.group.name, scores.text(row.score, row.mean), leaderboard.interval(row), *cells])
    return ["group", rows[0].key, "95% interval", *shown], out, [rows[0].key, *shown]


def _amount(cost: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return facts.duration(value) if cost == "training, s" else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def draw(path: Path, rows: Sequence[Entry]) -> list[Path]:
    """A figure per cost that is known of two groups: score with its interval against cost, and the front."""
    out = []
    for cost in COSTS:
        known = [row for row in rows if math.isfinite(mean_cost(row, cost))]
        if len(known) < 2 or len({mean_cost(row, cost) for row in known}) < 2:
            continue
        figure = canvas.new(8.5, 3.8)
        axes = figure.subplots()
        best = front(known, cost)
        axes.step([mean_cost(r, cost) for r in best], [r.mean for r in best], where="post", color="#777777", lw=1)
        for place, row in enumerate(known):
            colour, price = canvas.PALETTE[place % len(canvas.PALETTE)], mean_cost(row, cost)
            whole = row.low is not None and row.high is not None
            error = [[row.mean - row.low], [row.high - row.mean]] if whole else None  # type: ignore[operator]
            on = any(row is other for other in best)
            form = MARKERS[place // len(canvas.PALETTE) % len(MARKERS)]
            name = canvas.two_lines(row.group.name, 34) if len(known) <= LABELLED or on else None
            face = colour if on else "white"
            axes.errorbar(price, row.mean, error, fmt=form, mfc=face, color=colour, label=name)
        axes.set_xscale("log")
        lower = scores.direction(rows[0].score)
        title = f"{rows[0].key} against {cost}{f' ({lower})' * bool(lower)}"
        canvas.plain(axes, title, f"{cost}, log scale", rows[0].key)
        figure.legend(loc="outside right upper", fontsize=8, title="filled: on Pareto's front", title_fontsize=8)
        out.append(canvas.write(path.with_name(f"{path.name}-{cost.split(',')[0].split()[0].lower()}.png"), figure))
    return out
