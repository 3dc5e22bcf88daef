"""A finished search on other data, on other classes, or among photos of seen classes too: what evaluate does of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch

from sketchlab import config, stats
from sketchlab.data.dataset import Dataset, Pairs, Split
from sketchlab.errors import UserError
from sketchlab.metrics.retrieval import Score
from sketchlab.report import scores as reported
from sketchlab.report.examples import Examples, examples
from sketchlab.report.read import Run, read
from sketchlab.report.sentences import Sentence
from sketchlab.runs import BATCH, OpenedRun, transfer
from sketchlab.runs.retrieve.retriever import Retriever
from sketchlab.runs.transfer import Plan
from sketchlab.storage.files import read_dict


def plan(run: OpenedRun, chosen: config.RunConfig, words: list[str], split: str, generalised: bool) -> Plan:
    """Settle data and split; classes need no counterpart in the run: a search knows none. Raises UserError.

    words: what was typed; other classes than those of a division by classes are taken whole, and so are other data.
    """
    data, choice = chosen.data, chosen.choices["data"]
    own = transfer.source(run.config["data"]) == transfer.source({"name": data.name, **asdict(data.config)})
    rule = data.config.splits.rule
    typed = {word.partition("=")[0].lstrip("+~") for word in words}
    if split == "auto" and rule == "unseen" and "data.classes" in typed:
        split = "all"
    elif split == "auto":
        split = "test" if own or generalised or rule in ("official", "unseen") else "all"
    if generalised and split == "all":
        raise UserError(
            "--generalised: the sketches of one split search the photos of all; expected --split test or val"
        )
    if (
        split == "all"
        and rule != "official"
        and not any(key.startswith(("data.splits", "data/splits")) for key in typed)
    ):
        data = transfer.whole(data)
    differs = {key: value for key, value in chosen.differs.items() if key.startswith("data.")}
    return Plan(data, choice, differs, split, {}, [], own, [])


def pair(data: Dataset, plan: Plan, generalised: bool) -> tuple[Pairs, str]:
    """Sketches of the split with the photos they search, and the name of the split. Raises UserError."""
    used, parts = plan.split, data.splits
    if used == "test" and used not in parts:
        used = "val" if "val" in parts else "all"
    if used != "all" and used not in parts:
        raise UserError(f"--split {used}: data={plan.choice} has no such split; it has {', '.join(parts)}, all")
    asked = list(parts.values()) if used == "all" else [parts[used]]
    searched = list(parts.values()) if generalised else asked
    if generalised and len(_classes(data, [part.photo for part in searched])) == len(
        _classes(data, [part.photo for part in asked])
    ):
        raise UserError(
            f"--generalised: the photos of {used} are of all classes already; it needs data/splits=unseen, where other "
            "splits have other classes"
        )
    objects = all(part.objects for part in asked)
    return Pairs(_joined([part.sketch for part in asked]), _joined([part.photo for part in searched]), objects), used


def _joined(parts: list[Split]) -> Split:
    if len(parts) == 1:
        return parts[0]
    rows, labels, groups = (torch.cat([getattr(part, key) for part in parts]) for key in ("rows", "labels", "groups"))
    _, first = np.unique(rows.numpy(), return_index=True)  # a photo may be in two splits: data.split_by=sketch
    ids = [name for part in parts for name in part.ids]
    return Split(parts[0].store, rows[first], labels[first], [ids[i] for i in first], groups[first])


def _classes(data: Dataset, parts: list[Split]) -> list[str]:
    there = torch.cat([part.labels for part in parts]).unique().tolist()
    return [name for number, name in enumerate(data.classes) if number in there]


def result(
    run: OpenedRun, plan: Plan, data: Dataset, pair: Pairs, used: str, found: dict[str, Score], generalised: bool
) -> dict[str, Any]:
    """evaluation.json: each score with its interval by object and its chance, the run's own, and the drop."""
    trained_on = read_dict(run.path / "data.json", "classes")
    numbers = trained_on["splits"]["train"]["per_class"]
    seen = {name for name, n in zip(trained_on["classes"], numbers, strict=True) if n}
    asked, gallery = _classes(data, [pair.sketch]), _classes(data, [pair.photo])
    n, groups = len(pair.sketch), pair.sketch.groups.numpy()
    groups = groups if len(np.unique(groups)) < n else None
    out: dict[str, Any] = {
        "run": f"{run.path.resolve().parent.name}/{run.path.resolve().name}",
        "trained_on": run.document["choices"]["data"],
        "data": plan.choice,
        "split": used,
        "generalised": generalised,
        "classes": asked,
        "trained_classes": [name for name in asked if name in seen],
        "gallery": {"n": len(pair.photo), "classes": gallery, "trained": [name for name in gallery if name in seen]},
        "n": n,
        "objects": n if groups is None else len(np.unique(groups)),
        "scores": {},
        "notes": plan.notes,
        "warnings": [asdict(one) for one in _trained(run, plan, pair)],
    }
    own, split = read(run.path), next((name for name in ("test", "val") if name in trained_on["splits"]), "")
    for name, score in found.items():
        values = score.per_query.numpy()
        low, high = stats.share(values, groups)
        row: dict[str, Any] = {"value": score.value, "low": low, "high": high, "chance": score.chance}
        if (key := f"{split}/{name}") in own.final():
            same_gallery = plan.own and not generalised
            row |= _drop(own, key, pair, data.classes, values, groups, stats.Interval(low, high), same_gallery)
        out["scores"][name] = row
    return out


def _drop(
    run: Run,
    key: str,
    pair: Pairs,
    classes: list[str],
    values: np.ndarray,
    groups: Any,
    here: stats.Interval,
    same: bool,
) -> dict[str, Any]:
    """The run's own score, and how much lower this one is: sketch by sketch where they are the same, else of two sets
    of sketches (square-and-add of their intervals, Newcombe 1998). {} where the run's interval is not known, and where
    this is the run's own search again (same: of the same data, in the same gallery if the sketches are the same)."""
    split, metric = key.split("/")
    own = reported.score(run, key, run.final()[key])
    if own.low is None or own.high is None:
        return {}
    reference = {"split": split, "value": own.value, "low": own.low, "high": own.high, "chance": own.chance}
    reference |= {"n": own.n}
    kept = examples(run, key)
    names = [f"{i}\n{classes[label]}" for i, label in zip(pair.sketch.ids, pair.sketch.labels.tolist(), strict=True)]
    if isinstance(kept, Examples) and sorted(kept.ids) == sorted(names):
        if same:
            return {}
        before = dict(zip(kept.ids, kept.values, strict=True))
        own_values = np.array([before[name] for name in names])
        low, high = stats.interval(stats.estimate_difference(own_values[None], values[None], groups))
        drop = {"value": own.value - float(values.mean()), "low": float(low), "high": float(high), "paired": True}
    else:
        gap = stats.square_and_add(own.value, stats.Interval(own.low, own.high), float(values.mean()), here)
        drop = {"value": gap.difference, "low": gap.low, "high": gap.high, "paired": False}
    return {"reference": reference, "drop": drop}


def _trained(run: OpenedRun, plan: Plan, pair: Pairs) -> list[Sentence]:
    """Whether sketches that were asked about, or photos of theirs, were trained on, by the run's list of samples."""
    path = run.path / "splits.csv"
    if not plan.own or not path.is_file():
        return []
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    known = set(table.loc[table["split"] == "train", "id"])
    seen = sum(name in known for name in pair.sketch.ids)
    return [Sentence("trained on", plan.choice, {"n": len(pair.sketch), "seen": seen})] * (seen > 0)


def lines(evaluation: dict[str, Any]) -> list[str]:
    """The result in words."""
    gallery, asked, n = evaluation["gallery"], evaluation["classes"], evaluation["n"]
    of = "" if evaluation["objects"] == n else f" of {evaluation['objects']:,} objects"
    out = [
        f"{evaluation['data']}, split {evaluation['split']}: {n:,} sketches{of} of {len(asked)} classes "
        f"({len(evaluation['trained_classes'])} trained on) search {gallery['n']:,} photos of "
        f"{len(gallery['classes'])} classes ({len(gallery['trained'])} trained on)"
    ]
    for name, row in evaluation["scores"].items():
        line = f"{name} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}], chance {row['chance']:.3f}"
        if drop := row.get("drop"):
            how = "the same sketches" if drop["paired"] else "other sketches, other photos"
            points = (100 * drop[key] for key in ("value", "low", "high"))
            line += "; drop {:.1f} points [{:.1f}, {:.1f}] ".format(*points)
            line += f"from the run's {row['reference']['value']:.3f} ({how}), by object"
        out.append(line)
    return out + evaluation["notes"]


def embed(retriever: Retriever, pair: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, D) and (G, D) float32 on the CPU: of the sketches, and of the photos they search."""
    sides = ((retriever.of_sketches, pair.sketch), (retriever.photos, pair.photo))
    batches = [[of(side.gather(at)) for at in torch.arange(len(side)).split(BATCH)] for of, side in sides]
    sketches, photos = map(torch.cat, batches)
    return sketches, photos
