"""The sections of the page of one run, in the order a reader asks; what the run was made of is in facts.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from sketchlab import stats
from sketchlab.report import facts, page, plots, scores
from sketchlab.report.canvas import Plot
from sketchlab.report.read import Run
from sketchlab.report.scores import text

SHOWN = 24  # mistakes shown before the reader asks for more
EPOCHS = 6  # sheets of a series of samples


def sections(run: Run, drawn: list[Plot]) -> list[tuple[str, str]]:
    """(title, HTML) of each section; empty HTML where the folder has nothing for it."""
    return [
        ("Result", result(run)),
        ("Curves", page.charts(drawn, "curve")),
        ("Confusion", confusion(run, drawn)),
        ("Worst mistakes", mistakes(run)),
        ("Pictures", samples(run)),
        ("Queries", queries(run)),
        ("Data", facts.data(run, drawn)),
        ("Network", facts.network(run)),
        ("Settings", facts.settings(run)),
        ("Time", facts.time(run, drawn)),
        ("Environment", facts.environment(run)),
        ("Repeat it", facts.repeat(run)),
    ]


def result(run: Run) -> str:
    found = scores.scores(run)
    if not found:
        return page.paragraph("The run has written no score yet.")
    columns = ("split", "score", "value", "n", "95% interval", "chance")
    rows = []
    for s in found:
        spread = scores.interval_text(s).removeprefix("95% ")
        rows.append((s.split, s.metric, text(s.metric, s.value), s.n or "–", spread or "–", text(s.metric, s.chance)))
    out = page.table(columns, rows, numbers=("value", "n", "chance"), first=True)
    if (chosen := scores.best(run)) is not None:
        key, epoch, value, epochs = chosen
        split, metric = key.split("/", 1)
        line = (
            f"Best epoch on {split}: {metric} {text(metric, value)} at epoch {epoch:g}. That figure is optimistic: the "
            f"best of {epochs} epochs, chosen on the very samples it is measured on."
        )
        if found[0].split == "test" and scores.monitor(run):
            line += " The test scores are by the weights of that epoch; no test sample had a say in choosing it."
        out += page.paragraph(line, "soft")
        if (moved := scores.stability(run, key)) is not None:
            out += page.paragraph(_stability(run, key, moved), "soft")
    if any(s.method for s in found):
        out += page.paragraph(
            "Intervals say how far the score would move on other samples of the same kind; they know nothing of "
            "other seeds or other training sets.",
            "soft",
        )
    return out


def _stability(run: Run, key: str, moved: dict[str, float]) -> str:
    split, metric = key.split("/", 1)
    line = (
        f"Stability: over the last {moved['epochs']:g} evaluations {key} had mean {text(metric, moved['mean'])}, "
        f"standard deviation {text(metric, moved['std'])}, from {text(metric, moved['low'])} to "
        f"{text(metric, moved['high'])}."
    )
    n = scores.count(run, split)
    if metric == "accuracy" and n:
        error = stats.binomial_se(round(moved["mean"] * n), n)
        line += f" The standard error of one such score on n = {n} is {text(metric, error)}."
    return line


def confusion(run: Run, drawn: list[Plot]) -> str:
    out = ""
    for name in run.arrays("*_confusion"):
        split = name.removesuffix("_confusion")
        out += f"<h3>{page.escape(scores.SPLITS.get(split, split).capitalize())}</h3>"
        out += page.charts(drawn, "confusion", split)
        pairs = scores.confused(run, split)
        if len(pairs):
            most = page.table(("is", "taken for", "times", "of"), pairs.to_numpy().tolist(), numbers=("times", "of"))
            out += most if len(run.classes) > plots.NUMBERED else page.details("Pairs most often confused", most)
        out += page.charts(drawn, "classes", split) + _classes(run, split)
    return out


def _classes(run: Run, split: str) -> str:
    found = scores.recalls(run, split)
    assert found is not None
    rows = []
    for r in found.to_dict("records"):
        spread = f"[{text('accuracy', r['low'], 2)}, {text('accuracy', r['high'], 2)}]" if r["n"] else "–"
        taken = f"{r['taken_for']} ({r['times']})" if r["taken_for"] else "–"
        share = text("accuracy", r["accuracy"]) if r["n"] else "–"
        precision = text("accuracy", r["hits"] / r["predicted"]) if r["predicted"] else "–"
        rows.append((r["class"], r["n"], share, spread, precision, taken))
    columns = ("class", "n", "recognised", "95% Wilson", "precision", "most often taken for")
    return page.details(f"Table of all {len(rows)} classes", page.table(columns, rows, numbers=columns[1:5]))


def mistakes(run: Run) -> str:
    out = ""
    for split in run.predicted():
        wrong = scores.mistakes(run, split)
        if wrong is None:
            continue
        n = len(run.predictions(split))
        where = scores.SPLITS.get(split, split)
        out += f"<h3>{page.escape(where.capitalize())}: {len(wrong)} of {n} wrong</h3>"
        figures = [
            page.pixels(image, f"{row['label']} taken for {row['prediction']}", _said(row))
            for row, image in plots.pictures(run, split)
        ]
        if figures:
            out += page.paragraph(
                "The surest mistakes first; the number is the probability given to the wrong class.", "soft"
            )
            out += page.cards(figures[:SHOWN]) + page.details(
                f"{len(figures) - SHOWN} more", page.cards(figures[SHOWN:])
            )
        elif len(wrong):
            rows = [
                (r["id"], r["label"], r["prediction"], _probability(r["wrong"]), _probability(r["right"]))
                for r in wrong.head(SHOWN).to_dict("records")
            ]
            out += page.table(("sample", "is", "said", "surely", "truth got"), rows, numbers=("surely", "truth got"))
    return out


def _probability(value: float) -> str:
    return "–" if np.isnan(value) else text("accuracy", value, 2)


def _said(row: dict[str, Any]) -> str:
    sure = "" if np.isnan(row["wrong"]) else f" {_probability(row['wrong'])}"
    return (
        f"<b>{page.escape(row['label'])}</b>, said {page.escape(row['prediction'])}{sure}<br>{page.escape(row['id'])}"
    )


def samples(run: Run) -> str:
    """Sheets the pipeline drew: retrieval_<split>.png each, samples_<epoch>.png as a series from first to last."""
    series: dict[str, list] = {}
    for path in run.samples("*"):
        if path.stem != "data":
            series.setdefault(path.stem.rpartition("_")[0] if path.stem[-1].isdigit() else path.stem, []).append(path)
    out = ""
    for name, paths in sorted(series.items()):
        places = np.unique(np.linspace(len(paths) - 1, 0, min(EPOCHS, len(paths))).round().astype(int))[::-1]
        chosen = [paths[i] for i in places]
        titles = [path.stem.replace("_", " ") for path in chosen]
        out += page.picture(chosen[0], titles[0], caption=titles[0])
        out += page.cards(
            [page.picture(p, t, caption=t) for p, t in zip(chosen[1:], titles[1:], strict=True)], wide=True
        )
        if len(paths) > len(chosen):
            out += page.paragraph(f"{len(chosen)} of {len(paths)} sheets of {name}; all are in samples/.", "soft")
    return out


def queries(run: Run) -> str:
    """Retrieval: the nearest matches of the queries that are furthest from anything, by distance to the first match."""
    out = ""
    for split in run.predicted():
        found = run.predictions(split)
        if "match_1" not in found:
            continue
        columns = [c for c in ("query", "label", "match_1", "distance_1", "match_2", "match_3") if c in found]
        far = found.sort_values("distance_1", ascending=False, kind="stable") if "distance_1" in found else found
        rows = [
            [f"{v:.3g}" if isinstance(v, float) else v for v in row]
            for row in far[columns].head(12).itertuples(index=False)
        ]
        out += page.details(
            f"The {len(rows)} queries of {split} furthest from their nearest match (of {len(found)})",
            page.table([c.replace("_", " ") for c in columns], rows, numbers=("distance 1",)),
        )
    return out
