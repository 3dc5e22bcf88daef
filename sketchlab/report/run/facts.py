"""What a run was made of: data, network, settings, time, environment, the command."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import yaml

from sketchlab import semantics
from sketchlab.report import page, scores
from sketchlab.report.canvas import Plot
from sketchlab.report.read import Run, flat, numbers, text_of
from sketchlab.report.sentences import counted


def data(run: Run, drawn: list[Plot]) -> str:
    out, seen = "", run.folder / "samples" / "data.png"
    if seen.is_file():
        what = "Samples as the network sees them"
        out += f'<div class="scroll sheet">{page.picture(seen, what, caption=f"{what}.")}</div>'
    sizes = {split: n for split in scores.SPLITS if (n := scores.count(run, split)) is not None}
    rows = [(split, n, _each(run, split), run.split(split).get("digest", "–")) for split, n in sizes.items()]
    columns = ("split", "n", "per class", "digest of its ids")
    out += page.table(columns, rows, numbers=columns[1:3]) if rows else ""
    out += page.charts(drawn, "data")
    notes = run.data.get("notes") or []
    out += "".join(page.paragraph(note) for note in ([notes] if isinstance(notes, str) else notes))
    elsewhere = {"classes", "splits", "notes", *scores.SPLITS}
    out += page.pairs(flat({key: value for key, value in run.data.items() if key not in elsewhere}))
    if run.classes:
        out += page.details(counted(len(run.classes), "class").capitalize(), page.paragraph(", ".join(run.classes)))
    return out


def _each(run: Run, split: str) -> str:
    """Samples per class: one number where all classes have as many."""
    counts = scores.per_class(run, split).values()
    if not counts:
        return "–"
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def network(run: Run) -> str:
    parameters = run.env.get("parameters") or {}
    total, out = parameters.get("total"), ""
    if total:
        trains = int(parameters.get("trainable", 0))
        out += page.paragraph(f"{total:,} parameters, of which {trains:,} ({100 * trains / total:.3g}%) really train.")
    if not {"layer", "parameters", "trainable"} <= set(run.model.columns):
        return out
    layers = [str(name) for name in run.model["layer"]]
    sizes = np.stack([np.nan_to_num(numbers(run.model, key)) for key in ("parameters", "trainable")], 1).astype(int)
    out += page.table(("group", "parameters", "trainable"), _groups(layers, sizes), ("parameters", "trainable"))
    listed = int(sizes[:, 0].sum())
    if total and listed != total:
        out += page.paragraph(f"The layers listed hold {listed:,} parameters: some are shared or in no layer.", "soft")
    columns = [key for key in ("layer", "type", "output") if key in run.model]
    named = run.model[columns].astype(str).to_numpy()
    rows = [(*names, f"{p:,}", f"{t:,}") for names, (p, t) in zip(named, sizes, strict=True)]
    printed = page.table((*columns, "parameters", "trainable"), rows, ("parameters", "trainable"))
    return out + page.details(f"All {len(rows)} layers with their output shapes", printed)


def _groups(layers: list[str], sizes: np.ndarray) -> list[tuple[str, str, str]]:
    """Parameters and trainable ones by the first part of the layers' names that tells them apart."""
    parts = [name.split(".") for name in layers]
    depth = 1
    while len({tuple(p[:depth]) for p in parts}) == 1 and max(map(len, parts), default=0) > depth:
        depth += 1
    groups: dict[str, np.ndarray] = {}
    for part, size in zip(parts, sizes, strict=True):
        name = ".".join(part[:depth])
        groups[name] = groups.get(name, np.zeros(2, dtype=int)) + size
    return [(name, f"{size[0]:,}", f"{size[1]:,}") for name, size in groups.items()]


def settings(run: Run) -> str:
    out = page.pairs(run.choices.items())
    differs = run.config.get("differs") or {}
    if differs:
        out += "<h3>Different from the defaults of these choices</h3>"
        out += page.pairs((key, text_of(value)) for key, value in differs.items())
    else:
        out += page.paragraph("Every value is the default of its choice.")
    for part, number in semantics.of_run(run.config).items():
        newest = semantics.today(run.config, run.n_train)[part]
        if number != newest or number > 1:
            today = "" if number == newest else f" Today's number is {newest}: {semantics.description(part, newest)}."
            out += page.paragraph(
                f"Semantics of {part}: {number}, {semantics.description(part, number)}.{today}", "soft"
            )
    full = yaml.safe_dump(run.config.get("config") or {}, sort_keys=False, allow_unicode=True)
    return out + page.details("All settings", f"<pre>{page.escape(full)}</pre>")


def time(run: Run, drawn: list[Plot]) -> str:
    started, ended = str(run.status.get("started") or ""), str(run.status.get("ended") or "")
    rows = [(name, value.replace("T", " ")) for name, value in (("started", started), ("ended", ended)) if value]
    if started and ended:
        took = datetime.datetime.fromisoformat(ended) - datetime.datetime.fromisoformat(started)
        rows.append(("from start to end", duration(took.total_seconds())))
    table = run.timing
    spent = {"train_s": "training", "wait_s": "of which waiting for data", "eval_s": "evaluating", "save_s": "saving"}
    rows += [(name, duration(float(np.nansum(numbers(table, key))))) for key, name in spent.items() if key in table]
    for key, name, unit in (
        ("samples_per_s", "throughput, median", "samples / s"),
        ("memory_mb", "memory, highest", "MB"),
    ):
        values = numbers(table, key) if key in table else np.zeros(0)
        values = values[np.isfinite(values)]
        if len(values):
            rows.append((name, f"{np.median(values) if unit != 'MB' else values.max():.4g} {unit}"))
    return page.pairs(rows) + page.charts(drawn, "time") + profile(run)


def profile(run: Run) -> str:
    """Where the time of a profiled run went."""
    if not (run.folder / "profile.csv").is_file():
        return ""
    parts = pd.read_csv(run.folder / "profile.csv").sort_values("seconds", ascending=False)
    rows = [
        (row["part"], duration(row["seconds"]), f"{row['share']:.1%}", row["calls"] or "–")
        for row in parts.to_dict("records")
    ]
    note = "Measured by runtime.profile=true. loading: what training waited for. trace.json, of a few steps, opens in "
    note += "chrome://tracing or ui.perfetto.dev."
    table = page.table(("part", "time", "share", "calls"), rows, numbers=("time", "share", "calls"))
    return f"<h3>Where the time went</h3>{table}" + page.paragraph(note, "soft")


def duration(seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60:.0f} s" if minutes else f"{seconds:.1f} s"


def environment(run: Run) -> str:
    return page.pairs(flat({key: value for key, value in run.env.items() if key != "parameters"}))


def repeat(run: Run) -> str:
    if not (command := run.config.get("command")):
        return ""
    source = f"This page and its figures are drawn from the files in {run.name}."
    return f"<pre>{page.escape(command)}</pre>" + page.paragraph(source, "soft")
