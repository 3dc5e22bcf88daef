"""The sections of the page of one run, in the order a reader asks; what the run was made of is in facts.py."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sketchlab import components
from sketchlab.report import page, scores
from sketchlab.report.canvas import Plot
from sketchlab.report.paper import protocols
from sketchlab.report.read import Run
from sketchlab.report.run import bilstm2d, calibration, draw, facts, gradcam, plots, pose, transfer
from sketchlab.report.run import gan as generator
from sketchlab.report.run import retrieve as retrieval
from sketchlab.report.scores import share, text

HOW_TO_READ_CALIBRATION = (
    "Real, noise, one grey image: the score of real images against real ones (mean and standard deviation over random "
    "partings of this split and as many training images), of noise, and of one grey image. Where noise or grey is "
    f"within three standard deviations of real, or better, the score is {scores.BLIND}: it cannot tell a generator "
    "that has learnt from one that has not."
)
SHOWN = 24  # mistakes shown before the reader asks for more
EPOCHS = 6  # sheets of a series of samples


def sections(run: Run, drawn: list[Plot]) -> list[tuple[str, str]]:
    """(title, HTML) of each section; empty HTML where the folder has nothing for it."""
    parts: dict[str, Callable[[], str]] = {
        "Result": lambda: result(run),
        "Transfer": lambda: transfer.transfer(run),
        "Under stress": lambda: transfer.stress(run, drawn),
        "Search": lambda: retrieval.section(run, drawn),
        "Under published definitions": lambda: protocols.section(run),
        "How it is doing": lambda: generator.section(run),
        "Curves": lambda: page.charts(drawn, "curve"),
        "Confusion": lambda: confusion(run, drawn),
        "How sure, how early": lambda: calibration.sure(run, drawn),
        "How turned, how large": lambda: pose.pose(run),
        "Worst mistakes": lambda: mistakes(run),
        "Where it looked": lambda: gradcam.looking(run) + bilstm2d.mixing(run),
        "Drawings": lambda: draw.section(run),
        "Pictures": lambda: samples(run),
        "Not shown": lambda: not_shown(run),
        **_own(run),
        "Data": lambda: facts.data(run, drawn),
        "Network": lambda: facts.network(run),
        "Settings": lambda: facts.settings(run),
        "Time": lambda: facts.time(run, drawn),
        "Environment": lambda: facts.environment(run),
        "Repeat it": lambda: facts.repeat(run),
    }
    # what one comes for, before its tables
    first = ("Pictures", "Curves") if generator.is_generator(run) else ("Drawings", "Under stress")
    order = [*first, *(title for title in parts if title not in first)]
    return [(title, run.attempt(f"“{title}”", parts[title], "")) for title in order]


def _own(run: Run) -> dict[str, Callable[[], str]]:
    """The sections that files of the user's own make (SKETCHLAB_EXTRA/sections)."""
    own = [components.load("section", name) for name in components.implementations("section")]
    return {module.TITLE: functools.partial(module.section, run) for module in own}


def result(run: Run) -> str:
    found = scores.scores(run)
    if not found:
        return page.paragraph("The run has written no score yet.")
    columns = ["split", "score", "value", "95% interval", "n", "chance"]
    numbers, rows = columns[2:], []
    for s in found:
        spread = scores.interval_text(s).removeprefix("95% ")
        value, guess = text(s.declared, s.value), text(s.declared, s.chance)
        rows.append([s.split, s.metric, value, spread or "–", s.n or "–", guess])
    protocols = [run.document("protocol", s.split).get(s.metric, "") for s in found]
    if any(protocols):
        columns.append("protocol")
        rows = [[*row, protocol] for row, protocol in zip(rows, protocols, strict=True)]
    calibrated = [scores.calibration_text(run, s.split, s.metric) for s in found]
    if any(calibrated):
        columns.append("real, noise, one grey image")
        rows = [[*row, note or "–"] for row, note in zip(rows, calibrated, strict=True)]
    out = page.table(columns, rows, numbers=numbers, first=True)
    out += page.paragraph(HOW_TO_READ_CALIBRATION, "soft") if any(calibrated) else ""
    if (chosen := scores.best(run)) is not None:
        key, epoch, value, epochs = chosen
        (split, metric), score = key.split("/", 1), run.declared[key]
        line = (
            f"Best epoch on {split}: {metric} {text(score, value)} at epoch {epoch:g}. That figure is optimistic: the "
            f"best of {epochs} epochs, chosen on the very samples it is measured on."
        )
        if run.tested and scores.monitor(run):
            line += " The scores of val and test are by its weights; no test sample had a say in choosing it."
            line += f" {split} {metric}, last epoch: {text(score, run.last(key))}."
        out += page.paragraph(line, "soft")
        if (moved := scores.stability(run, key)) is not None:
            out += page.paragraph(_stability(run, key, moved), "soft")
    for split in scores.SPLITS:
        if measured := run.document("quality", split):
            what = f"What the {split} scores were measured on"
            out += page.details(what, page.pairs(facts.flat(measured)))
    if any(s.method for s in found):
        out += page.paragraph(
            "Intervals say how far the score would move on other samples of the same kind; they know nothing of "
            "other seeds or other training sets.",
            "soft",
        )
    return out


def _stability(run: Run, key: str, moved: dict[str, float]) -> str:
    score = run.declared[key]
    line = (
        f"Stability: over the last {moved['epochs']:g} evaluations {key} had mean {text(score, moved['mean'])}, "
        f"standard deviation {text(score, moved['std'])}, from {text(score, moved['low'])} to "
        f"{text(score, moved['high'])}."
    )
    split, n = key.split("/", 1)[0], scores.sample_size(run, key)
    if score.interval == "wilson" and n:
        error = math.sqrt(moved["mean"] * (1 - moved["mean"]) / scores.effective_n(run, split))
        line += f" The standard error of one such score on n = {n} is {text(score, error)}."
    return line


def confusion(run: Run, drawn: list[Plot]) -> str:
    parts = {}
    for name, counts in run.arrays("*_confusion").items():
        split = name.removesuffix("_confusion")
        body, pairs = page.charts(drawn, "confusion", split), scores.confused(run, split).to_numpy().tolist()
        if pairs:
            most = page.table(("is", "taken for", "times", "of"), pairs, numbers=("times", "of"))
            body += most if len(counts) > plots.NUMBERED else page.details("Pairs most often confused", most)
        parts[split] = body + page.charts(drawn, "classes", split) + _classes(run, split)
    return _by_split(run, parts)


def _by_split(run: Run, parts: dict[str, str], titles: dict[str, str] | None = None) -> str:
    """The split of the result in the open, the others folded away."""
    result = scores.primary(run)
    first = result.split if result and result.split in parts else next(iter(parts), "")
    named = {split: (titles or {}).get(split, scores.where(split).capitalize()) for split in parts}
    out = f"<h3>{page.escape(named[first])}</h3>{parts[first]}" if first else ""
    return out + "".join(page.details(named[split], body) for split, body in parts.items() if split != first)


def _classes(run: Run, split: str) -> str:
    found = scores.recalls(run, split)
    assert found is not None
    rows = []
    for r in found.to_dict("records"):
        spread = f"[{share(r['low'], 2)}, {share(r['high'], 2)}]" if r["n"] else "–"
        taken = f"{r['taken_for']} ({r['times']})" if r["taken_for"] else "–"
        right = share(r["accuracy"]) if r["n"] else "–"
        precision = share(r["hits"] / r["predicted"]) if r["predicted"] else "–"
        rows.append((r["class"], r["n"], right, spread, precision, taken))
    columns = ("class", "n", "recognised", "95% interval", "precision", "most often taken for")
    return page.details(f"Table of all {len(rows)} classes", page.table(columns, rows, numbers=columns[1:5]))


def mistakes(run: Run) -> str:
    parts, titles = {}, {}
    for split in run.predicted():
        if (wrong := scores.mistakes(run, split)) is None:
            continue
        titles[split] = (
            f"{scores.SPLITS.get(split, split).capitalize()}: {len(wrong)} of {len(run.predictions(split))} wrong"
        )
        parts[split] = _mistakes(run, split, wrong)
    return _by_split(run, parts, titles)


def _mistakes(run: Run, split: str, wrong: pd.DataFrame) -> str:
    """Cards where the run kept pictures, a table where it did not."""
    figures = [
        page.pixels(image, f"{row['label']} taken for {row['prediction']}", _said(row))
        for row, image in plots.pictures(run, split)
    ]
    if figures:
        out = page.paragraph(
            "The most confident mistakes first; the number is the probability of the wrong class.", "soft"
        )
        return (
            out
            + page.cards(figures[:SHOWN])
            + page.details(f"{len(figures) - SHOWN} more", page.cards(figures[SHOWN:]))
        )
    rows = [
        (row["id"], row["label"], row["prediction"], _probability(row["wrong"]), _probability(row["right"]))
        for row in wrong.head(SHOWN).to_dict("records")
    ]
    columns = ("sample", "is", "said", "probability", "of the truth")
    return page.table(columns, rows, numbers=columns[3:]) if rows else page.paragraph("No mistake.")


def _probability(value: float) -> str:
    return "–" if np.isnan(value) else share(value, 2)


def _said(row: dict[str, Any]) -> str:
    sure = "" if np.isnan(row["wrong"]) else f" {_probability(row['wrong'])}"
    said = f"<b>{page.escape(row['label'])}</b>, said {page.escape(row['prediction'])}{sure}"
    return said + page.identifier(row["id"])


def samples(run: Run) -> str:
    """Sheets the pipeline drew, <split>_samples_<epoch>.png as a series, last first; matches are shown in Search."""
    series: dict[str, list] = {}
    for path in run.samples("*"):
        if path.stem != "data" and not path.stem.endswith("_retrieval"):
            series.setdefault(path.stem.rpartition("_")[0] if path.stem[-1].isdigit() else path.stem, []).append(path)
    newest, folded, explaining = [], "", []
    for name, paths in sorted(series.items()):
        places = np.unique(np.linspace(len(paths) - 1, 0, min(EPOCHS, len(paths))).round().astype(int))[::-1]
        cards = [page.picture(paths[i], _title(paths[i].stem), caption=_title(paths[i].stem)) for i in places]
        if not name.endswith(("_samples", "_translated")):
            explaining.append(cards[0])
            continue
        newest.append(cards[0])
        some = f"{len(cards)} of {len(paths)} sheets of {name.replace('_', ' ')}; all are in samples/."
        left_out = page.paragraph(some, "soft") if len(paths) > len(cards) else ""
        earlier = page.cards(cards[1:], wide=True) + left_out if len(cards) > 1 else ""
        folded += page.details(f"Earlier epochs: {name.replace('_', ' ')}", earlier)
    folded += page.details("What explains them", page.cards(explaining, wide=True))
    return page.cards(newest, wide=True) + folded


def not_shown(run: Run) -> str:
    """What explains a result and could not be made, and why (RunDir.explain)."""
    rows = [(split, name, why) for split in scores.SPLITS for name, why in run.document("explain", split).items()]
    return page.table(("split", "what", "why it is missing"), rows, numbers=()) if rows else ""


def _title(stem: str) -> str:
    """val_samples_7 → val samples, epoch 7."""
    name, _, last = stem.rpartition("_")
    title = f"{name}, epoch {int(last)}".replace("_", " ") if last.isdigit() else stem.replace("_", " ")
    return ": ".join(filter(None, [title, generator.how_to_read(stem)]))
