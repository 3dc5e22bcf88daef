"""Sections of an evaluation: a finished run on another data set, and under changes of its images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from sketchlab import stats
from sketchlab.report import canvas, page, scores
from sketchlab.report.canvas import PALETTE, Plot
from sketchlab.report.read import Run
from sketchlab.report.scores import share
from sketchlab.report.sentences import Sentence, render, stored

HOW_WORST = "Of the smallest changes of each kind that were tried it costs the most."
# kind → title, axis
KINDS = {
    "rotation": ("Turned", "degrees, clockwise"),
    "scale": ("Scaled", "magnification"),
    "shift_right": ("Moved right", "share of the side"),
    "shift_down": ("Moved down", "share of the side"),
    "thickness": ("Lines thickened", "pixels on either side, at the network's size"),
    "line_px": ("Lines drawn wider", "width on the raster's canvas, px (data.raster.line_px)"),
    "first_strokes": ("Only the first strokes", "share of the drawing's strokes, in the order drawn"),
    "dropped_strokes": ("Strokes left out", "probability of each stroke to be missing; one always stays"),
}


NEUTRAL = {"rotation": 0.0, "scale": 1.0, "shift_right": 0.0, "shift_down": 0.0, "thickness": 0.0,
           "first_strokes": 1.0, "dropped_strokes": 0.0}  # the level at which nothing changes  # fmt: skip
SAID = {  # a level in words, upwards of neutral and below it
    "rotation": ("turned {0:g}°", "turned −{1:g}°"),
    "scale": ("scaled × {0:g}", "scaled × {0:g}"),
    "shift_right": ("moved right by {1:.0%} of the side", "moved left by {1:.0%} of the side"),
    "shift_down": ("moved down by {1:.0%} of the side", "moved up by {1:.0%} of the side"),
    "thickness": ("lines thickened by {1:g} px", "lines thinned by {1:g} px"),
    "line_px": ("lines drawn {0:g} px wide", "lines drawn {0:g} px wide"),
    "first_strokes": ("only the first {0:.0%} of the strokes", "only the first {0:.0%} of the strokes"),
    "dropped_strokes": ("each stroke left out with p = {0:g}", "each stroke left out with p = {0:g}"),
}


def evaluation_of(run: Run) -> dict[str, Any]:
    """evaluation.json; {} for a run that is no evaluation."""
    path = run.folder / "evaluation.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def title(run: Run) -> str:
    evaluation = evaluation_of(run)
    model = run.choices.get("model", "")
    return f"{model} trained on {evaluation['trained_on']}, asked about {evaluation['data']}" if evaluation else ""


def warnings(run: Run) -> list[str]:
    return [render(stored(line)) for line in evaluation_of(run).get("warnings", [])]


def drop_of(evaluation: dict[str, Any]) -> Sentence | None:
    """How much less (or more) is right there than on the run's own samples, in points; None where it is not known."""
    own, drop = evaluation.get("reference"), evaluation.get("drop")
    if not own or not drop:
        return None
    chance = 1 / len(evaluation["classes"])
    guessing = all(low <= chance <= high for low, high in (_limits(evaluation["accuracy"]), _limits(own)))
    clear = drop["low"] > 0 or drop["high"] < 0
    verdict = "drop at chance" if guessing else "drop clear" if clear else "drop unclear"
    points = {name: 100 * drop[key] for name, key in (("drop", "value"), ("low", "low"), ("high", "high"))}
    return Sentence(
        "drop", evaluation["data"], {**points, "verdict": Sentence(verdict, evaluation["data"], {"chance": chance})}
    )


def transfer(run: Run) -> str:
    """The score there beside the run's own, the drop with its interval, and the same by class."""
    evaluation = evaluation_of(run)
    if not evaluation:
        return ""
    if "scores" in evaluation:
        return _search(evaluation)
    here, own = evaluation["accuracy"], evaluation.get("reference")
    what = "all samples" if evaluation["split"] == "all" else f"split {evaluation['split']}"
    out = page.paragraph(
        f"Run {evaluation['run']}, trained on {evaluation['trained_on']}, on {what} of {evaluation['data']}."
    )
    rows = [(evaluation["data"], evaluation["split"], *_share(here))]
    if own:
        rows.append((evaluation["trained_on"], own["split"], *_share(own)))
    out += page.table(("data", "split", "right", "n", "accuracy", "95% interval"), rows, ("right", "n", "accuracy"))
    if own and (drop := drop_of(evaluation)):
        out += page.paragraph(render(drop))
        by = "the weights evaluated here" if own["split"] == "test" else "the run's last weights"
        facts = {"split": own["split"], "classes": len(evaluation["classes"]), "weights": by}
        out += page.paragraph(render(Sentence("where the drop is of", evaluation["data"], facts)), "soft")
        out += page.details("Class by class", _by_class(run, own["per_class"]))
    return out


def _search(evaluation: dict[str, Any]) -> str:
    """Of a search: every score there beside the run's own, with the chance of each, and the drop by object."""
    gallery, rows = evaluation["gallery"], []
    for name, row in evaluation["scores"].items():
        own, drop = row.get("reference"), row.get("drop")
        points = [f"{100 * drop[key]:+.1f}" for key in ("value", "low", "high")] if drop else []
        rows.append(
            (
                name,
                *_with_chance(row),
                *(_with_chance(own) if own else ("–", "–")),
                f"{points[0]} [{points[1]}, {points[2]}]" if drop else "–",
            )
        )
    paired = [row["drop"]["paired"] for row in evaluation["scores"].values() if "drop" in row]
    how = " The drop is of the same sketches." * all(paired) if any(paired) else " The sketches and photos are others."
    out = page.paragraph(
        f"Run {evaluation['run']}, trained on {evaluation['trained_on']}: {evaluation['n']:,} sketches of split "
        f"{evaluation['split']} of {evaluation['data']} ({len(evaluation['classes'])} classes, "
        f"{len(evaluation['trained_classes'])} of them trained on) search {gallery['n']:,} photos of "
        f"{len(gallery['classes'])} classes ({len(gallery['trained'])} trained on). Intervals are by object."
        + how
        * bool(paired)
    )
    columns = ("score", "here", "chance here", "own", "chance of own", "drop in points")
    return out + page.table(columns, rows, columns[1:])


def _with_chance(row: dict[str, Any]) -> tuple[str, str]:
    return f"{share(row['value'])} [{share(row['low'], 2)}, {share(row['high'], 2)}]", share(row["chance"])


def _share(found: dict[str, Any]) -> tuple[str, ...]:
    """k of n with the interval that was written with it, else (evaluations of before) Wilson's."""
    k, n = int(found["k"]), int(found["n"])
    low, high = _limits(found)
    return str(k), str(n), share(k / n), f"[{share(low, 2)}, {share(high, 2)}]"


def _limits(found: dict[str, Any]) -> tuple[float, float]:
    low, high = (found["low"], found["high"]) if "low" in found else stats.wilson(found["k"], found["n"])
    return low, high


def _by_class(run: Run, own: dict[str, list[Any]]) -> str:
    matrix = run.array("test_confusion")
    if matrix is None:
        return ""
    recalls = scores.recalls(run, "test")
    assert recalls is not None
    limits = {row["class"]: stats.Interval(row["low"], row["high"]) for row in recalls.to_dict("records")}
    rows = []
    for i, name in enumerate(run.classes):
        n, k = int(matrix[i].sum()), int(matrix[i, i])
        if n and name in own:
            before = stats.Interval(*own[name][2:]) if own[name][2:] else stats.wilson(*own[name])
            gap = stats.square_and_add(own[name][0] / own[name][1], before, k / n, limits[name])
            spread = f"[{100 * gap.low:+.0f}, {100 * gap.high:+.0f}]"
            rows.append(
                (
                    name,
                    n,
                    share(k / n),
                    share(own[name][0] / own[name][1]),
                    own[name][1],
                    f"{100 * gap.difference:+.0f}",
                    spread,
                )
            )
    rows.sort(key=lambda row: -float(row[5]))
    columns = ("class", "n here", "here", "own", "n own", "drop in points", "95% Newcombe")
    return page.table(columns, rows, columns[1:6])


def _banded(found: dict[Any, Any], worth: float) -> dict[str, Any]:
    low, high = stats.wilson_band([found["k"] / found["n"]], found["n"] * worth)
    return {**found, "low": float(low[0]), "high": float(high[0])}


def plots(run: Run) -> Iterator[Plot]:
    """stress_<kind>.png: accuracy against each change, with Wilson bands."""
    table = _stress(run)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for kind, rows in table.groupby("kind", sort=False):
            yield _curve(run, str(kind), rows.sort_values("level"))


def _worth(run: Run) -> float:
    """Of how many independent samples each sample is worth, where several show the same object."""
    n = scores.count(run, "test") or 0
    return scores.effective_n(run, "test") / n if n else 1.0


def _stress(run: Run) -> pd.DataFrame:
    path = run.folder / "stress.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["kind", "level", "k", "n"])


def _curve(run: Run, kind: str, rows: pd.DataFrame) -> Plot:
    name, axis = KINDS.get(kind, (kind, ""))
    level, k, n = (rows[key].to_numpy() for key in ("level", "k", "n"))
    band = np.stack([stats.wilson_band([a / b], b * _worth(run)) for a, b in zip(k, n, strict=True)])[..., 0]
    figure = canvas.new(5.2, 3.4)
    axes = figure.subplots()
    axes.fill_between(level, band[:, 0], band[:, 1], color=PALETTE[0], alpha=0.18, linewidth=0, label="95% Wilson")
    axes.plot(level, k / n, color=PALETTE[0], marker="o", markersize=4)
    if run.classes:
        chance = 1 / len(run.classes)
        axes.axhline(chance, color="0.35", linestyle=":", linewidth=1.2, label=f"chance (1/{len(run.classes)})")
    axes.set_ylim(0, 1.02)
    if kind == "rotation":
        axes.set_xticks(range(-180, 181, 60))
    heading = f"{name}: accuracy (n = {n[0]} samples at every level)"
    canvas.plain(axes, heading, axis, "accuracy")
    canvas.legend(figure)
    return canvas.save(run, figure, f"stress_{kind}", "stress", "", heading)


def worst(run: Run) -> Sentence | None:
    """Of the smallest changes of each kind the one that costs most: turned 30°, .53 of the images are right."""
    table = _stress(run)
    near = []
    for kind, rows in table.groupby("kind", sort=False):
        level, right = rows["level"].to_numpy(dtype=float), (rows["k"] / rows["n"]).to_numpy()
        neutral = _neutral(run, str(kind))
        if neutral is None or neutral not in level:
            continue
        unchanged = float(right[level == neutral][0])
        for side in (level[level < neutral], level[level > neutral]):
            if len(side):
                at = side[np.abs(side - neutral).argmin()]
                near.append((float(right[level == at][0]) - unchanged, str(kind), at, neutral, unchanged))
    if not near:
        return None
    _, kind, at, neutral, unchanged = min(near)
    row = table[(table["kind"] == kind) & (table["level"] == at)].iloc[0].to_dict()
    k, n, value, interval = _share(_banded(row, _worth(run)))
    words = SAID[kind][int(at < neutral)].format(at, abs(at))
    facts = {"value": value, "n": n, "interval": interval, "unchanged": share(unchanged)}
    return Sentence("worst under stress", words[0].upper() + words[1:], facts)


def _neutral(run: Run, kind: str) -> float | None:
    if kind == "line_px":
        data = (run.config.get("config") or {}).get("data") or {}
        return (data.get("raster") or {}).get("line_px")
    return NEUTRAL.get(kind)


def stress(run: Run, drawn: list[Plot]) -> str:
    table = _stress(run)
    if not len(table):
        return ""
    drawn_again = "first_strokes" in list(table["kind"])  # drawings kept as strokes
    how = (
        "the points of the same drawings, which are then drawn again; a turned drawing fills its old place, one with "
        "missing strokes stays where it was."
        if drawn_again
        else "the same images, at the network's own size; what comes in from outside is the background."
    )
    found = worst(run)
    out = page.paragraph(render(found) + " " + HOW_WORST) if found else ""
    out += page.paragraph(
        f"Every level changes {how} "
        "The bands are of one level each: between levels, on the same samples, differences are surer.",
        "soft",
    )
    if "thickness" in list(table["kind"]):
        out += page.paragraph(
            "Thicker and thinner lines are made by a maximum or minimum filter, not drawn again: lines closer together "
            "than that merge, thinner ones vanish.",
            "soft",
        )
    worth = _worth(run)
    rows = [
        (KINDS.get(r["kind"], (r["kind"], ""))[0], f"{r['level']:g}", *_share(_banded(r, worth)))
        for r in table.to_dict("records")
    ]
    columns = ("change", "level", "right", "n", "accuracy", "95% interval")
    return out + page.charts(drawn, "stress") + page.details("Table", page.table(columns, rows, columns[1:5]))
