"""What a finished run's answers on another data set say: the score beside its own, and what must be known about it."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from sketchlab import stats
from sketchlab.data.dataset import Split
from sketchlab.errors import listed
from sketchlab.report.examples import groups_of
from sketchlab.report.read import glance
from sketchlab.report.run.transfer import drop_of
from sketchlab.report.sentences import Sentence, render, stored
from sketchlab.runs import OpenedRun
from sketchlab.runs.transfer import Plan


def result(run: OpenedRun, plan: Plan, samples: Split, logits: Tensor, used: str) -> dict[str, Any]:
    """evaluation.json: what was compared with what, the drop with its interval, and what must be known about it."""
    right = (logits.argmax(1) == samples.labels).double().numpy()
    hits, n = int(right.sum()), len(samples)
    groups = samples.groups.numpy() if len(samples.groups.unique()) < n else None
    low, high = stats.share(right, groups)
    out: dict[str, Any] = {
        "run": f"{run.path.resolve().parent.name}/{run.path.resolve().name}",
        "trained_on": run.document["choices"]["data"],
        "data": plan.choice,
        "split": used,
        "classes": plan.classes,
        "renamed": plan.renamed,
        "accuracy": {"k": hits, "n": n, "value": hits / n, "low": low, "high": high},
        "notes": plan.notes,
        "warnings": [asdict(one) for one in (*_few_classes(run, plan), *_seen(run, plan, samples))],
    }
    if not plan.own and (reference := _reference(run, plan.classes)):
        own = stats.Interval(reference["low"], reference["high"])
        gap = stats.square_and_add(reference["k"] / reference["n"], own, hits / n, stats.Interval(low, high))
        out |= {"reference": reference, "drop": {"value": gap.difference, "low": gap.low, "high": gap.high}}
    return out


def _few_classes(run: OpenedRun, plan: Plan) -> list[Sentence]:
    facts = {"asked": len(plan.classes), "known": len(run.classes), "classes": listed(plan.classes)}
    if facts["asked"] == facts["known"]:
        return []
    return [Sentence("one class asked" if facts["asked"] == 1 else "few classes", plan.choice, facts)]


def _reference(run: OpenedRun, classes: list[str]) -> dict[str, Any] | None:
    """The run's own score on the same classes: test by the best weights, else val by the last ones."""
    kept = glance(run.path)
    for split in ("test", "val"):
        path = run.path / f"predictions_{split}.csv"
        if path.is_file():
            table = pd.read_csv(path, usecols=["id", "label", "prediction"], dtype=str, keep_default_na=False)
            groups, chosen = groups_of(kept, split, table["id"].tolist()), table["label"].isin(classes).to_numpy()
            labels, predicted = (table.loc[chosen, name].tolist() for name in ("label", "prediction"))
            right = [a for a, b in zip(labels, predicted, strict=True) if a == b]
            if labels:
                hits = np.array([a == b for a, b in zip(labels, predicted, strict=True)], dtype=float)
                objects = None if groups is None else groups[chosen]
                low, high = stats.share(hits, objects)
                each = {}
                for name in dict.fromkeys(labels):
                    at = np.array(labels) == name
                    limits = stats.share(hits[at], None if objects is None else objects[at])
                    each[name] = [right.count(name), labels.count(name), *limits]
                out = {"split": split, "k": len(right), "n": len(labels), "low": low, "high": high}
                return {**out, "per_class": each}
    return None


def _seen(run: OpenedRun, plan: Plan, samples: Split) -> list[Sentence]:
    """Whether the network was trained on these samples, or on others of the same objects, by their names."""
    path = run.path / "splits.csv"
    if not path.is_file():
        return [Sentence("no list of samples", plan.choice)] * plan.own
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    trained = set(table.loc[table["split"] == "train", "id"])
    if plan.own:
        kind, seen = "trained on", sum(name in trained for name in samples.ids)
    else:
        theirs, ours = plan.plain(), run.config["data"]
        objects = {_object(name, ours) for name in trained}
        kind, seen = "objects seen", sum(_object(name, theirs, plan.renamed) in objects for name in samples.ids)
    return [Sentence(kind, plan.choice, {"n": len(samples), "seen": seen})] * (seen > 0)


def _object(name: str, data: dict[str, Any], renamed: dict[str, str] | None = None) -> str:
    """class/object of a sample's id, as the data set groups them."""
    folders, stem = os.path.split(os.path.splitext(name)[0])
    group = data.get("group_by") or (data.get("train") or {}).get("group_by") or ""
    match = re.fullmatch(group, stem) if group else None
    home = os.path.basename(folders)
    return f"{(renamed or {}).get(home, home)}/{match[1] if match else stem}"


def lines(evaluation: dict[str, Any]) -> list[str]:
    """The result in words."""
    here, own = evaluation["accuracy"], evaluation.get("reference")
    values = {key: f"{here[key]:.3f}" for key in ("value", "low", "high")}
    out = [render(Sentence("transfer", evaluation["data"], {**values, "split": evaluation["split"], "n": here["n"]}))]
    if own and (drop := drop_of(evaluation)):
        facts = {"value": f"{own['k'] / own['n']:.3f}", "n": own["n"]}
        out += [render(Sentence("own score", own["split"], facts)), render(drop)]
    return [*out, *evaluation["notes"], *(f"warning: {render(stored(line))}" for line in evaluation["warnings"])]
