"""How sure a classifier was, and how early: calibration from its predictions, and its answers after every stroke."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sketchlab import stats
from sketchlab.report import canvas, examples, page, scores
from sketchlab.report.canvas import PALETTE, Plot
from sketchlab.report.read import Run
from sketchlab.report.scores import share

BINS = 10  # of stated probability, of equal width


def plots(run: Run) -> Iterator[Plot]:
    """<split>_calibration.png for every split with probabilities, <split>_early.png where strokes were counted."""
    for split in run.predicted():
        if len(table := bins(run, split)):
            yield _calibration(run, split, table)
        if len(table := early(run, split)):
            yield _early(run, split, table)


def bins(run: Run, split: str) -> pd.DataFrame:
    """How often a stated probability is right, per bin that has answers: from, to, n, right, said, share, low, high.

    Bins are (0, 1/M], (1/M, 2/M], … as in Guo et al. 2017; empty where a run kept no probabilities.
    """
    found = run.predictions(split)
    columns = [c for c in found if c.startswith("p_")]
    if len(columns) < 2 or not {"label", "prediction"} <= set(found) or not len(found):
        return pd.DataFrame()
    confidence = found[columns].max(axis=1).to_numpy(dtype=float)
    right = (found["label"] == found["prediction"]).to_numpy()
    groups = examples.groups_of(run, split, found["id"].tolist()) if "id" in found else None
    edges = np.arange(1, BINS) / BINS
    place = np.searchsorted(edges, confidence, side="left")
    rows = []
    for i in np.unique(place):
        inside = place == i
        n, k = int(inside.sum()), int(right[inside].sum())
        low, high = stats.share(right[inside], None if groups is None else groups[inside])
        rows.append((i / BINS, (i + 1) / BINS, n, k, confidence[inside].mean(), k / n, low, high))
    return pd.DataFrame(rows, columns=["from", "to", "n", "right", "said", "share", "low", "high"])


def gap(table: pd.DataFrame) -> float:
    """The expected calibration error of bins(): the mean distance of share from said, weighted by n."""
    distance = (table["share"] - table["said"]).abs()
    return float(np.average(distance, weights=table["n"]))


def early(run: Run, split: str) -> pd.DataFrame:
    """early_<split>.csv as pipelines/classify/early.py writes it; empty where there is none. Where several drawings
    show one object, its bands are of as many independent drawings as they are worth."""
    path = run.folder / f"early_{split}.csv"
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    if len(table) and (worth := scores.effective_n(run, split)) < table["n"].iloc[0]:
        table["low"], table["high"] = stats.wilson_band(table["accuracy"].to_numpy(), worth)
    return table


def _calibration(run: Run, split: str, table: pd.DataFrame) -> Plot:
    figure = canvas.new(5.2, 4.8)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="0.35", linestyle=":", linewidth=1.2, label="as often as stated")
    spread = [table["share"] - table["low"], table["high"] - table["share"]]
    axes.errorbar(table["said"], table["share"], spread, color=PALETTE[0], marker="o", markersize=5, linewidth=1.2,
                  capsize=2, label="right, 95% Wilson")  # fmt: skip
    axes.set_ylim(-0.02, 1.02)
    title = f"Stated probability and how often it is right, {scores.SPLITS.get(split, split)} (n = {table['n'].sum()})"
    canvas.plain(axes, title, "", "share that is right")
    axes.title.set_fontsize(10)
    bars = counts.bar(table["from"] + 0.5 / BINS, table["n"], width=0.8 / BINS, color=PALETTE[4])
    counts.bar_label(bars, fontsize=7)
    counts.margins(y=0.25)
    canvas.plain(counts, "", "stated probability of the predicted class", "answers")
    counts.set_xlim(0, 1)
    canvas.legend(figure)
    return canvas.save(run, figure, f"{split}_calibration", "calibration", split, title)


def _early(run: Run, split: str, table: pd.DataFrame) -> Plot:
    figure = canvas.new(5.8, 4.1)
    axes = figure.subplots()
    strokes, n = table["strokes"], int(table["n"].iloc[0])
    axes.fill_between(strokes, table["low"], table["high"], color=PALETTE[0], alpha=0.18, linewidth=0)
    axes.plot(strokes, table["accuracy"], color=PALETTE[0], marker="o", markersize=4, label="right (95% Wilson)")
    axes.plot(strokes, table["sure"], color=PALETTE[1], marker="s", markersize=4, label="sure: stated p ≥ .9")
    axes.plot(strokes, table["sure_right"], color=PALETTE[2], marker="^", markersize=4, label="right, of the sure ones")
    axes.plot(strokes, table["finished"] / n, color="0.35", linestyle=":", linewidth=1.4, label="drawing is finished")
    axes.set_ylim(0, 1.02)
    title = f"Answers after every stroke, {scores.SPLITS.get(split, split)} (n = {n} drawings at every stroke)"
    canvas.plain(axes, title, "strokes seen", "share of drawings")
    axes.title.set_fontsize(10)
    canvas.legend(figure)
    return canvas.save(run, figure, f"{split}_early", "early", split, title)


def sure(run: Run, drawn: list[Plot]) -> str:
    """The section of the page; "" where a run has neither."""
    result = scores.primary(run)
    splits = [s for s in run.predicted() if len(bins(run, s)) or len(early(run, s))]
    split = result.split if result and result.split in splits else (splits or [""])[0]
    if not split:
        return ""
    out = ""
    if len(table := bins(run, split)):
        out += page.paragraph(
            f"Expected calibration error {share(gap(table))} over {BINS} bins: on average, a stated "
            "probability is so far from how often it is right. Points below the dotted line: it promises more than it "
            "keeps.",
            "soft",
        )
        out += page.charts(drawn, "calibration", split) + page.details("Table", _bins_table(table))
    if len(table := early(run, split)):
        out += page.paragraph(
            "The same drawings, cut after their first strokes. A drawing that has fewer counts with its last answer.",
            "soft",
        )
        out += page.charts(drawn, "early", split) + page.details("Table", _early_table(table))
    return out


def _bins_table(table: pd.DataFrame) -> str:
    rows = [
        (f"{r['from']:.1f} – {r['to']:.1f}", r["n"], r["right"], *_shares(r["said"], r["share"]), _spread(r))
        for r in table.to_dict("records")
    ]
    columns = ("stated", "n", "right", "mean stated", "share right", "95% Wilson")
    return page.table(columns, rows, columns[1:5])


def _early_table(table: pd.DataFrame) -> str:
    rows = [
        (r["strokes"], r["finished"], *_shares(r["accuracy"]), _spread(r), *_shares(r["confidence"], r["sure"]),
         *_shares(r["sure_right"]))
        for r in table.to_dict("records")
    ]  # fmt: skip
    columns = ("strokes", "finished", "accuracy", "95% Wilson", "mean stated", "sure (≥ .9)", "right of the sure")
    return page.table(columns, rows, (*columns[:3], *columns[4:]))


def _shares(*values: float) -> tuple[str, ...]:
    return tuple("–" if np.isnan(value) else share(value) for value in values)


def _spread(row: dict) -> str:
    return f"[{share(row['low'], 2)}, {share(row['high'], 2)}]"
