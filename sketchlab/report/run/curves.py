"""Curves over epochs: a panel per family of metrics, with sampling bands and chance lines; and where the time went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sketchlab import stats
from sketchlab.report import canvas, look, scores
from sketchlab.report.canvas import PALETTE, SPLIT_COLOUR, Plot
from sketchlab.report.read import Run, numbers
from sketchlab.report.run import gan as generator

SIZE = (5.2, 3.4)  # inches; small enough to be read on a phone
LEVEL = {"linestyle": ":", "linewidth": 1.6}  # of chance lines


def families(run: Run) -> dict[str, list[str]]:
    """Metric keys by the panel they share: loss, accuracy, then recall@1 with recall@10, d_real with d_fake."""
    keys = [key for key in run.metrics.columns if "/" in key and len(run.curve(key, "step")[1]) > 1]
    keys = [key for key in keys if not generator.hidden(run, key) and not _same(run, key)]
    names = sorted({key.split("/", 1)[1] for key in keys})
    stems = {name: name.partition("@")[0] if "@" in name else name.rpartition("_")[0] or name for name in names}
    shared = {name: stem for name, stem in stems.items() if stem in names or list(stems.values()).count(stem) > 1}
    out: dict[str, list[str]] = {}
    for family in ("d", "loss", "accuracy"):  # d: what a discriminator says of real and of generated images
        out[family] = []
    for name in names:
        out.setdefault(shared.get(name, name), []).extend(sorted(k for k in keys if k.split("/", 1)[1] == name))
    return {family: members for family, members in out.items() if members}


def _same(run: Run, key: str) -> bool:
    """Whether it is another score, number for number: the mean over classes where each has as many samples."""
    split, name = key.split("/", 1)
    counts = scores.per_class(run, split).values()
    return name == "class_accuracy" and len(set(counts)) == 1 and f"{split}/accuracy" in run.metrics


def _axis(table: pd.DataFrame) -> str:
    """epoch, unless several evaluations share one."""
    return "epoch" if "epoch" in table and len(set(numbers(table, "epoch"))) == len(table) else "step"


def curves(run: Run) -> Iterator[Plot]:
    """curve_<family>.png for each family of metrics that was measured more than once."""
    x = _axis(run.metrics)
    for family, members in families(run).items():
        figure = canvas.new(SIZE[0], SIZE[1] + 0.17 * (len(members) // 2 + 1))  # room for the legend
        axes = figure.subplots()
        lines = panel(run, axes, family, members)
        canvas.legend(figure)
        name = "".join(c if c.isalnum() else "_" for c in family)
        plot = canvas.save(run, figure, f"curve_{name}", "curve", "", f"{family} by {x}")
        less = all(run.declared[key].better == "smaller" for key in members)
        yield replace(plot, look={**look.frame(axes), "less": less, "axis": x, "lines": lines})


def panel(run: Run, axes: Axes, family: str, members: list[str]) -> list[dict[str, Any]]:
    """One family: colour tells the metric (or the split, when there is one metric), a dashed line is training.
    Returns what the page's script is told of its lines."""
    told = []
    x = _axis(run.metrics)
    names = sorted({key.split("/", 1)[1] for key in members}, key=_natural)
    colours: dict[str, str] = dict(zip(names, PALETTE * len(names), strict=False)) if len(names) > 1 else {}
    for key in sorted(members, key=_natural):
        split, metric = key.split("/", 1)
        colour = colours.get(metric, SPLIT_COLOUR.get(split, PALETTE[3]))
        places, values = run.curve(key, x)
        n = scores.sample_size(run, key) if split != "train" else scores.count(run, split)
        label = " ".join(filter(None, [split, metric if colours else "", f"(n = {n})" if n else ""]))
        marker = "o" if len(places) <= 30 else ""
        style = "--" if split == "train" else "-"
        line: dict[str, Any] = {"color": colour, "label": label, "gid": f"line{len(told)}"}
        axes.plot(places, values, style, marker=marker, markersize=3, linewidth=1.6, **line)
        texts = [scores.text(run.declared[key], value) for value in values]
        swatch = look.swatch(colour, (3.7, 1.6) if style == "--" else ())
        name = " ".join(filter(None, [split, metric if colours else ""]))
        told.append(
            {"name": name, "swatch": swatch, "x": look.finite(places), "mean": look.finite(values), "text": texts}
        )
        if run.declared[key].interval == "wilson" and split != "train" and n and not colours:
            low, high = stats.wilson_band(values.clip(0, 1), scores.effective_n(run, split))
            band = {
                "color": colour,
                "alpha": 0.18,
                "linewidth": 0,
                "label": f"95% Wilson interval of {split}",
                "gid": f"{split}-band",
            }
            axes.fill_between(places, low, high, **band)
    _levels(run, axes, family, members, colours)
    generator.mark(run, axes, family, members, x)
    _scale(run, axes, family, members)
    unit = " (nats)" if family == "loss" and _cross_entropy(run) else ""
    title = family[0].upper() + family[1:]
    if generator.is_generator(run):
        title, family = generator.title(family), generator.axis(family)
    elif len(names) == 1 and run.declared[names[0]].title:
        title = run.declared[names[0]].title
    canvas.plain(axes, title, x, family + unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return told


def _natural(name: str) -> tuple:
    """recall@5 before recall@10."""
    stem, _, number = name.partition("@")
    return stem, int(number) if number.isdigit() else 0


def _cross_entropy(run: Run) -> bool:
    """A loss in nats is a cross-entropy, which guessing brings to ln C."""
    return len(run.classes) > 1 and run.declared["loss"].unit == "nats"


def _levels(run: Run, axes: Axes, family: str, members: list[str], colours: dict[str, str]) -> None:
    """Dotted lines where guessing would be."""
    levels: dict[str, float] = {}
    for key in members:
        split, metric = key.split("/", 1)
        if (level := scores.chance(run, split, metric)) is not None:
            levels[metric] = level
    for metric in sorted(levels, key=_natural):
        label = f"chance{f' of {metric}' if colours else ''} ({scores.text(run.declared[metric], levels[metric])})"
        axes.axhline(levels[metric], color=colours.get(metric, "0.35"), label=label, **LEVEL)
    if not colours and family == "loss" and _cross_entropy(run):
        level = float(np.log(len(run.classes)))
        axes.axhline(level, color="0.35", label=f"guessing: ln {len(run.classes)} = {level:.2f}", **LEVEL)


def _scale(run: Run, axes: Axes, family: str, members: list[str]) -> None:
    """Shares from 0, to 1 unless all are small; a loss that falls over decades on a logarithmic axis."""
    values = np.concatenate([run.curve(key, "step")[1] for key in members])
    if all(run.declared[key].is_share for key in members):
        top = max(values.max(), *(scores.chance(run, *key.split("/", 1)) or 0.0 for key in members), 0.01)
        axes.set_ylim(0, 1.02 if top > 0.4 else 1.6 * top)
    elif family == "loss" and (values > 0).all() and values.max() > 50 * values.min():
        axes.set_yscale("log")


def timeline(run: Run) -> Iterator[Plot]:
    """time_spent.png, time_throughput.png, time_memory.png, per evaluation."""
    table, x = run.timing, _axis(run.timing)
    if len(table) < 2 or x not in table:
        return
    spent = {"train_s": "training", "wait_s": "of which waiting for data", "eval_s": "evaluating", "save_s": "saving"}
    panels = {
        "spent": ("Seconds per evaluation period", "s", spent),
        "throughput": ("Throughput", "samples / s", {"samples_per_s": ""}),
        "memory": ("Memory", "MB", {"memory_mb": ""}),
    }
    for name, (title, unit, lines) in panels.items():
        known = {key: label for key, label in lines.items() if key in table and np.isfinite(numbers(table, key)).any()}
        if not known:
            continue
        figure = canvas.new(*SIZE)
        axes = figure.subplots()
        for colour, (key, label) in zip(PALETTE, known.items(), strict=False):
            axes.plot(numbers(table, x), numbers(table, key), color=colour, marker="o", markersize=3, label=label)
        if len(known) > 1:
            canvas.legend(figure, 3)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        canvas.plain(axes, title, x, unit)
        yield canvas.save(run, figure, f"time_{name}", "time", "", title)
