"""What the same configuration gives: a number for each part of the program, raised when its results change.

The numbers are a part of a run's identity, where they are not the 1 that every run had before they were kept: so the
ids of runs that a change does not concern stay. A change is a line of CHANGES, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Change(NamedTuple):
    part: str  # one of PARTS
    number: int  # of the part from this change on
    concerns: dict[str, tuple[str, ...]]  # group (its `name`) or group.key of the configuration → values; {} = all
    description: str  # what is different, in a few words
    unless: Mapping[str, tuple[str, ...]] = {}  # as `concerns`: one that fits is enough to leave a run as it was
    where: Callable[[Mapping[str, Any], int], bool] | None = None  # (loop's settings, training samples) → concerned


def _evaluates_before(updates: int) -> Callable[[Mapping[str, Any], int], bool]:
    def concerns(loop: Mapping[str, Any], n: int) -> bool:
        epochs = min(loop["eval_every"], loop["epochs"])
        return math.ceil(epochs * n / min(loop["batch_size"], n)) < updates

    return concerns


def _batch_exceeds_the_split(loop: Mapping[str, Any], n: int) -> bool:
    return loop["batch_size"] > n


PARTS = ("loop", "metrics", "store")  # how is trained and evaluated; how answers become scores; what samples become
_SHAPES = "built-in shapes follow our QuickDraw recipe: a point every pixel, distances to lines, not to segments"
CHANGES = (
    Change(
        "loop",
        2,
        {"runtime.device": ("cuda",)},
        "on a GPU the learning rate is a number of single precision, and drawings are augmented in memory",
    ),
    Change(
        "loop",
        3,
        {},
        "of epochs with equal scores the best is the one of the lower loss, then the later one; beside a test split "
        "val is of the weights that are tested, not of the last ones",
        unless={"pipeline": ("baseline",)},
    ),
    Change(
        "loop",
        4,
        {"pipeline": ("classify", "retrieve")},
        "evaluations after fewer than 100 steps measure batch-norm statistics; before, they took those of training",
        unless={
            "model": (
                "cnn_bilstm2d",
                "cnn_lstm",
                "cnn_strokes",
                "sketchanet",
                "stroke_lstm",
                "stroke_transformer",
                "vgg16",
            ),
            "model.backbone": ("vgg16",),
            "model.norm": ("none",),
            "model.arch": ("alexnet",),
            "model.tune": ("freeze",),
            "model.backbone.tune": ("freeze",),
        },
        where=_evaluates_before(100),
    ),
    Change(
        "loop",
        5,
        {},
        "a batch is at most the training split; before, it held samples twice, and an epoch could be several",
        unless={"pipeline": ("baseline",)},
        where=_batch_exceeds_the_split,
    ),
    Change(
        "metrics",
        2,
        {"pipeline": ("retrieve",)},
        "scores of a search are expected over ties; before, ties stood in the order of storage, class by class",
    ),
    Change("store", 2, {"data": ("shapes",), "data.picture": ("sketch",)}, _SHAPES),
    Change("store", 3, {"data": ("shapes",), "model.input.kind": ("pairs",)}, _SHAPES),
)


def numbers(config: Mapping[str, Any], n_train: int | None = None) -> dict[str, int]:
    """Part → its number for a run of this configuration, without those that are 1. n_train: samples it trains on;
    without it, or in a folder too old to say how it was trained, no change is counted that depends on them."""
    loop = config.get("loop") or {}
    known = n_train is not None and {"epochs", "eval_every", "batch_size"} <= loop.keys()
    out: dict[str, int] = {}
    for change in CHANGES:
        fits = all(_value(config, key) in values for key, values in change.concerns.items())
        spared = any(_value(config, key) in values for key, values in change.unless.items())
        if fits and not spared and (change.where is None or (known and change.where(loop, n_train or 0))):
            out[change.part] = max(change.number, out.get(change.part, 1))
    return out


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = (value or {}).get(name)
    return value.get("name") if isinstance(value, Mapping) else value


def of_run(document: Mapping[str, Any]) -> dict[str, int]:
    """Part → the number that a run folder's config.yaml holds; 1 where it holds none."""
    kept = (document.get("identity") or {}).get("semantics") or {}
    return {part: int(kept.get(part, 1)) for part in PARTS}


def today(document: Mapping[str, Any], n_train: int | None = None) -> dict[str, int]:
    """Part → the number that the run of a config.yaml would get now, on the device that it had."""
    config, decided = document.get("config") or {}, (document.get("identity") or {}).get("runtime") or {}
    config = {**config, "runtime": {**(config.get("runtime") or {}), **decided}}
    return dict.fromkeys(PARTS, 1) | numbers(config, n_train)


def description(part: str, number: int) -> str:
    """What a number stands for, in words."""
    found = [change.description for change in CHANGES if (change.part, change.number) == (part, number)]
    return found[0] if found else "as before numbers were kept" if number == 1 else "of a newer sketchlab"
