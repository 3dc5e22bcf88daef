"""What a finished run's answers on another data set say: the score beside its own, and what must be known about it."""

from __future__ import annotations

import os
import re
from typing import Any

import pandas as pd
from torch import Tensor

from sketchlab import stats
from sketchlab.data.dataset import Split
from sketchlab.report.examples import groups_of
from sketchlab.report.read import glance
from sketchlab.runs import OpenedRun
from sketchlab.runs.transfer import Plan, listed


def told(run: OpenedRun, plan: Plan, samples: Split, logits: Tensor, used: str) -> dict[str, Any]:
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
        "warnings": [*_few_classes(run, plan), *_seen(run, plan, samples)],
    }
    if not plan.own and (reference := _reference(run, plan.classes)):
        own = stats.Interval(reference["low"], reference["high"])
        gap = stats.square_and_add(reference["k"] / reference["n"], own, hits / n, stats.Interval(low, high))
        out |= {"reference": reference, "drop": {"value": gap.difference, "low": gap.low, "high": gap.high}}
    return out


def _few_classes(run: OpenedRun, plan: Plan) -> list[str]:
    asked, known = len(plan.classes), len(run.classes)
    if asked == known:
        return []
    said = f"{asked} of the run's {known} classes were asked about ({listed(plan.classes)}): "
    if asked == 1:
        return [said + "a network that always says so would score 1, so this tells nothing of telling classes apart."]
    return [said + "its own score beside it is on these classes alone."]


def _reference(run: OpenedRun, classes: list[str]) -> dict[str, Any] | None:
    """The run's own score on the same classes: test by the best weights, else val by the last ones."""
    kept = glance(run.path)
    for split in ("test", "val"):
        path = run.path / f"predictions_{split}.csv"
        if path.is_file():
            table = pd.read_csv(path, usecols=["id", "label", "prediction"], dtype=str, keep_default_na=False)
            groups, asked = groups_of(kept, split, table["id"].tolist()), table["label"].isin(classes).to_numpy()
            labels, said = (table.loc[asked, name].tolist() for name in ("label", "prediction"))
            right = [a for a, b in zip(labels, said, strict=True) if a == b]
            if labels:
                each = {name: [right.count(name), labels.count(name)] for name in dict.fromkeys(labels)}
                hits = [float(a == b) for a, b in zip(labels, said, strict=True)]
                low, high = stats.share(hits, None if groups is None else groups[asked])
                out = {"split": split, "k": len(right), "n": len(labels), "low": low, "high": high}
                return {**out, "per_class": each}
    return None


def _seen(run: OpenedRun, plan: Plan, samples: Split) -> list[str]:
    """Whether the network was trained on these samples, or on others of the same objects, by their names."""
    path = run.path / "splits.csv"
    if not path.is_file():
        return ["The run kept no list of its samples: it may have been trained on some of these."] * plan.own
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    trained = set(table.loc[table["split"] == "train", "id"])
    n = len(samples)
    if plan.own:
        seen = sum(name in trained for name in samples.ids)
        said = f"{seen} of these {n} samples are training samples of the run: the score says nothing about new ones."
        return [said] * (seen > 0)
    theirs, ours = plan.plain(), run.config["data"]
    objects = {_object(name, ours) for name in trained}
    same = sum(_object(name, theirs, plan.renamed) in objects for name in samples.ids)
    return [
        f"{same} of these {n} samples carry the name of an object that the run was trained on (the same object in "
        "another picture, if the two data sets name their objects alike)."
    ] * (same > 0)


def _object(name: str, data: dict[str, Any], renamed: dict[str, str] | None = None) -> str:
    """class/object of a sample's id, as the data set groups them."""
    folders, stem = os.path.split(os.path.splitext(name)[0])
    group = data.get("group_by") or (data.get("train") or {}).get("group_by") or ""
    match = re.fullmatch(group, stem) if group else None
    home = os.path.basename(folders)
    return f"{(renamed or {}).get(home, home)}/{match[1] if match else stem}"


def lines(told: dict[str, Any]) -> list[str]:
    """The result in words."""
    here, own, drop = told["accuracy"], told.get("reference"), told.get("drop")
    out = [
        f"{told['data']} ({told['split']}): accuracy {here['value']:.3f} "
        f"(n = {here['n']}, 95% [{here['low']:.3f}, {here['high']:.3f}])"
    ]
    if own and drop:
        out.append(
            f"the run's own {own['split']}: {own['k'] / own['n']:.3f} (n = {own['n']}); drop {drop['value']:.3f}, "
            f"95% Newcombe [{drop['low']:.3f}, {drop['high']:.3f}]"
        )
    return [*out, *told["notes"], *(f"warning: {line}" for line in told["warnings"])]
