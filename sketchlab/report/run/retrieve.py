"""Retrieval on the page: queries with their nearest photos, distances of pairs, the map of embeddings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke

from sketchlab.report import canvas, page, scores
from sketchlab.report.canvas import PALETTE, Plot
from sketchlab.report.read import Run

MATCH, OTHER = PALETTE[0], PALETTE[1]
DOMAINS = {"sketch": (PALETTE[0], "^"), "photo": (PALETTE[1], "o")}
THUMB_IN, APART_IN = 0.36, 0.42  # side of a thumbnail on the map, and the least distance between two
NAMED = 30  # classes up to which their names stand on the map
FURTHEST = 12
MAP_IN, NAME_IN = 8.0, (0.12, 0.22)  # side of the map; width of a letter of a class name, height of its line
HOW_TO_READ_MATCHES = (
    "each row is a sketch and its ten nearest photos, the nearest first. A thick green frame: of the sketch's class; "
    "with a green square in the corner: the very object that was drawn. Above the bar the best queries, below the worst"
)
HOW_TO_READ_MAP = (
    "t-SNE (van der Maaten and Hinton 2008) of the embeddings: what lies close together is close in the embedding; how "
    "far apart two groups lie, and how large they are, says nothing. Class names stand at the middle of their samples"
)


# --- figures


def plots(run: Run) -> Iterator[Plot]:
    for split in run.predicted():
        if (pairs := run.array(f"{split}_pair_distances")) is not None:
            yield _histogram(run, split, np.asarray(pairs, dtype=float))
        if len(table := run.map(split)):
            yield _map(run, split, table)


def _histogram(run: Run, split: str, pairs: np.ndarray) -> Plot:
    """pairs (2, n): of every sketch the distance to a photo that matches and to one that does not."""
    how = run.document("pairs", split)
    title = f"Distances of pairs, {scores.SPLITS.get(split, split)}"
    figure = canvas.new(6.4, 3.9)
    axes = figure.subplots()
    bins = np.linspace(0, max(float(pairs.max()), 1e-9), 41).tolist()
    kinds = (f"matching by {how.get('match', 'class')}", "not matching")
    for values, kind, colour, line in zip(pairs, kinds, (MATCH, OTHER), ("-", "--"), strict=True):
        label = f"{kind} (n = {len(values)}, mean {values.mean():.3g})"
        axes.hist(values, bins, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(values, bins, histtype="step", color=colour, linestyle=line, linewidth=1.6, label=label)
    if (at := how.get("threshold")) is not None:
        label = f"threshold {at:.3g}, best on {how.get('chosen_on')}"
        axes.axvline(at, color="0.25", linestyle=":", linewidth=1.6, label=label)
    canvas.plain(axes, title, "Euclidean distance of the embeddings", "pairs")
    canvas.legend(figure, 1)
    return canvas.save(run, figure, f"{split}_distances", "distances", split, title)


def _map(run: Run, split: str, table: pd.DataFrame) -> Plot:
    counts = table["domain"].value_counts()
    counted = ", ".join(f"{counts.get(domain, 0)} {domain}{'e' * (domain == 'sketch')}s" for domain in DOMAINS)
    title = f"Map of the embeddings, {scores.SPLITS.get(split, split)}: {counted}"
    figure = canvas.new(9.0, 9.0)
    axes = figure.subplots()
    places = table[["x", "y"]].to_numpy(dtype=float)
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.maximum(high - low, 1e-9)
    axes.set_xlim(low[0] - 0.05 * span[0], high[0] + 0.05 * span[0])
    axes.set_ylim(low[1] - 0.05 * span[1], high[1] + 0.05 * span[1])
    for domain, (colour, marker) in DOMAINS.items():
        here = places[(table["domain"] == domain).to_numpy()]
        axes.scatter(*here.T, s=16, c=colour, marker=marker, alpha=0.6, linewidths=0, label=domain)
    pixels = run.array(f"{split}_map_pixels")
    if pixels is not None and len(pixels) == len(table):
        _thumbnails(axes, table, (places - low) / span * MAP_IN, np.asarray(pixels))
    _names(axes, table)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, loc="left", fontsize=11)
    legend = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "frameon": False, "borderaxespad": 0.2}
    axes.legend(fontsize=10, markerscale=1.6, **legend)  # above the map, where it hides nothing
    return canvas.save(run, figure, f"{split}_map", "map", split, title)


def _thumbnails(axes: Axes, table: pd.DataFrame, at_in: np.ndarray, pixels: np.ndarray) -> None:
    """Pictures where there is room, the two domains in turn. at_in (n, 2) inches, pixels (n, 3, S, S) uint8."""
    domains = table["domain"].to_numpy()
    turn = np.zeros(len(table), dtype=int)
    for domain in DOMAINS:
        turn[domains == domain] = np.arange((domains == domain).sum())
    kept: list[int] = []
    for i in np.argsort(turn, kind="stable"):
        if not kept or np.abs(at_in[kept] - at_in[i]).max(axis=1).min() >= APART_IN:
            kept.append(int(i))
    zoom = THUMB_IN * 72 / pixels.shape[-1]
    for i in kept:
        image = OffsetImage(pixels[i].transpose(1, 2, 0), zoom=zoom, interpolation="antialiased")
        edge = {"edgecolor": DOMAINS[domains[i]][0], "linewidth": 1.6}
        where = (float(table["x"].iloc[i]), float(table["y"].iloc[i]))
        axes.add_artist(AnnotationBbox(image, where, pad=0.06, bboxprops=edge))


def _names(axes: Axes, table: pd.DataFrame) -> None:
    """Class names at the median of their samples, moved down where one would cover another."""
    groups = table.groupby("label", sort=True)[["x", "y"]].median()
    if len(groups) > NAMED:
        return
    inch = np.array([np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())]) / MAP_IN
    taken: list[tuple[float, float, float]] = []  # middle and half the width, inches
    places = groups.to_numpy() / inch
    for i in np.argsort(-places[:, 1], kind="stable"):
        name = canvas.short(str(groups.index[i]), 18)
        (x, y), half = places[i], len(name) * NAME_IN[0] / 2
        while any(abs(x - u) < half + w and abs(y - v) < NAME_IN[1] for u, v, w in taken):
            y -= NAME_IN[1] / 4
        taken.append((x, y, half))
        text = axes.text(x * inch[0], y * inch[1], name, ha="center", va="center", fontsize=11, weight="bold")
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        text.set_parse_math(False)
        text.set_zorder(10)


# --- the section


def section(run: Run, drawn: list[Plot]) -> str:
    """Sheets, distances, map and the queries furthest from everything; "" for a run that searched nothing."""
    splits = [split for split in run.predicted() if "match_1" in run.predictions(split)]
    result = scores.primary(run)
    first = result.split if result and result.split in splits else next(iter(splits), "")
    out = ""
    for split in [first] * bool(first) + [name for name in splits if name != first]:
        name = scores.SPLITS.get(split, split)
        body = "".join(
            page.picture(path, f"{split} retrieval", caption=f"{split} retrieval: {HOW_TO_READ_MATCHES}")
            for path in run.samples(f"{split}_retrieval")
        )
        body += _by_text(run.by_text(split)) + page.charts(drawn, "distances", split)
        for plot in drawn:
            if plot.kind == "map" and plot.split == split:
                body += page.chart(plot, HOW_TO_READ_MAP)
        body += _furthest(run.predictions(split), split)
        out += f"<h3>{page.escape(name.capitalize())}</h3>{body}" if split == first else page.details(name, body)
    return out


def _by_text(table: pd.DataFrame) -> str:
    """Average precision of photos by text beside that by sketch, class by class; "" where text was not asked."""
    if not len(table):
        return ""
    kinds = {"text": "by text", "sketch_before": "by sketch, CLIP as it was", "sketch": "by sketch, trained"}
    values = table[[*kinds]].apply(pd.to_numeric, errors="coerce")
    rows = [
        [name, str(n), *(scores.share(v) for v in own)]
        for name, n, own in zip(table["class"], table["photos"], values.to_numpy(), strict=True)
    ]
    rows.append(["mean over classes", str(table["photos"].sum()), *(scores.share(v) for v in values.mean())])
    how = (
        "Photos of a class found by its name in prompts, and by its sketches: average precision by class over the "
        "whole ranking, of sketches the mean over those of the class. Text has one query a class, and no interval. By "
        "text, and by sketch in CLIP as it was, nothing was trained here."
    )
    header = ["class", "photos", *kinds.values()]
    return page.paragraph(how) + page.table(header, rows, numbers=tuple(header[1:]))


def _furthest(found: pd.DataFrame, split: str) -> str:
    columns = [c for c in ("query", "label", "match_1", "distance_1", "match_2", "match_3") if c in found]
    far = found.sort_values("distance_1", ascending=False, kind="stable") if "distance_1" in found else found
    rows = [
        [f"{v:.3g}" if isinstance(v, float) else v for v in row]
        for row in far[columns].head(FURTHEST).itertuples(index=False)
    ]
    return page.details(
        f"The {len(rows)} queries of {split} furthest from their nearest match (of {len(found)})",
        page.table([c.replace("_", " ") for c in columns], rows, numbers=("distance 1",)),
    )
