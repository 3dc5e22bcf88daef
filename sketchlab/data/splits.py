"""Who is in train, val and test: decided by a keyed hash of each sample's group, so a new class moves no one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sketchlab import rng
from sketchlab.errors import UserError

RULES = ("fraction", "count", "kfold", "official")
NAMES = ("train", "val", "test")
REST = "rest"  # training samples that data.splits.train_at_most leaves out: in nobody's training, in nobody's test


@dataclass(frozen=True)
class Config:
    rule: str  # fraction: shares of each class; count: groups of each class; kfold; official: the data set's own list
    train: float  # share or count per class (kfold: unused, what is left)
    val: float  # share or count per class (kfold: share of what is not test); 0 = no such split
    test: float  # share or count per class (kfold: unused, one fold)
    folds: int  # kfold: how many
    fold: int  # kfold: which one is the test split, from 0
    train_at_most: int | None  # training samples kept, of all classes together and as equal as can be; null = all
    seed: int  # of the shuffle; apart from the run's seed, so that runs of several seeds share their test images

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"data.splits.rule={self.rule}: expected one of {', '.join(RULES)}")
        if self.train_at_most is not None and self.train_at_most < 1:
            raise UserError(f"data.splits.train_at_most={self.train_at_most}: expected at least 1, or null for all")
        if min(self.train, self.val, self.test) < 0:
            raise UserError("data.splits.train, val and test must not be negative")
        if self.rule == "fraction" and not 0 < self.train + self.val + self.test <= 1 + 1e-9:
            total = self.train + self.val + self.test
            raise UserError(
                f"data.splits: train {self.train} + val {self.val} + test {self.test} = {total:g} of each class; "
                "the shares must add up to at most 1 (or set data.splits.rule=count)"
            )
        if self.rule == "count" and any(x != int(x) for x in (self.train, self.val, self.test)):
            raise UserError("data.splits.rule=count takes whole numbers per class for train, val and test")
        if self.rule == "kfold" and not (self.folds >= 2 and 0 <= self.fold < self.folds):
            raise UserError(
                f"data.splits.fold={self.fold} with folds={self.folds}: expected 0 ≤ fold < folds, folds ≥ 2"
            )


def _places(config: Config, n: int, name: str, n_samples: int) -> dict[str, slice]:
    """n groups of one class in shuffled order → the stretch of each split; n_samples: how many samples they have."""
    grouped = n != n_samples
    items = f"{n} {'object' if grouped else 'item'}{'s' * (n != 1)}" + f" ({n_samples} samples)" * grouped
    if config.rule == "kfold":
        if n < config.folds:
            raise UserError(f"data.splits.folds={config.folds}: class '{name}' has only {items}")
        low, high = n * config.fold // config.folds, n * (config.fold + 1) // config.folds
        rest = n - (high - low)
        n_val = round(config.val * rest)
        return {
            "test": slice(0, high - low),
            "val": slice(high - low, high - low + n_val),
            "train": slice(n - rest + n_val, n),
        }
    if config.rule == "count":
        sizes = [int(config.train), int(config.val), int(config.test)]
        if sum(sizes) > n:
            requested = " + ".join(f"{key} {size}" for key, size in zip(NAMES, sizes, strict=True))
            raise UserError(
                f"data.splits: {requested} = {sum(sizes)} per class asked for, but class '{name}' has {items}"
            )
        edges = np.cumsum([0, *sizes])
    else:
        edges = np.round(np.cumsum([0, config.train, config.val, config.test]) * n).astype(int)
        for key, low, high in zip(NAMES, edges[:-1], edges[1:], strict=True):
            if getattr(config, key) > 0 and low == high:
                raise UserError(
                    f"class '{name}' has {items}: too few for data.splits.{key}="
                    f"{getattr(config, key)}; add items, leave the class out with data.classes, or change data.splits"
                )
    return {key: slice(edges[i], edges[i + 1]) for i, key in enumerate(NAMES)}


def split(config: Config, ids: list[str], labels: np.ndarray, classes: list[str]) -> dict[str, np.ndarray]:
    """Places of each split, in ascending order; splits of size 0 are left out.

    ids: one per sample, or of the group that must stay together (all sketches of one photo carry the photo's id).
    For rule=official the data set gives its own list and does not come here.
    """
    keys = np.array([rng.fold(config.seed, "split", name) for name in ids], dtype=np.int64)
    out: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    for number, name in enumerate(classes):
        members = np.flatnonzero(labels == number)
        for key, chosen in of_class(config, keys[members], name).items():
            out[key].append(members[chosen])
    merged = {name: np.sort(np.concatenate(parts)) for name, parts in out.items() if parts}
    return thinned(config, {name: places for name, places in merged.items() if len(places)}, ids, labels, classes)


def thinned(
    config: Config, places: dict[str, np.ndarray], ids: Sequence[str], labels: np.ndarray, classes: list[str]
) -> dict[str, np.ndarray]:
    """The same splits with data.splits.train_at_most training samples, for learning curves; the others are `rest`.

    Fewer are a part of more, and val and test stay as they are: the points of one curve share their test images. With
    a remainder the first classes have one sample more. ids, labels: of all samples, as in `split`.
    """
    if config.train_at_most is None or "train" not in places:
        return places
    train = places["train"]
    keys = np.array([rng.fold(config.seed, "split", ids[int(i)]) for i in train], dtype=np.int64)
    stays = np.zeros(len(train), dtype=bool)
    for number in range(len(classes)):
        members = np.flatnonzero(labels[train] == number)
        stays[members[kept(config, keys[members], number, classes)]] = True
    if stays.all():
        return places
    return {**places, "train": train[stays], REST: train[~stays]}


def kept(config: Config, keys: np.ndarray, number: int, classes: list[str]) -> np.ndarray:
    """Which of a class's training samples train_at_most keeps, ascending; keys: as of_class takes them, of these."""
    assert config.train_at_most is not None
    most = config.train_at_most // len(classes) + (number < config.train_at_most % len(classes))
    if most > len(keys):
        raise UserError(
            f"data.splits.train_at_most={config.train_at_most} is {most} of class '{classes[number]}', which has "
            f"{len(keys)} in train; expected at most {len(classes) * len(keys)}, or null for all"
        )
    return np.sort(np.argsort(keys, kind="stable")[:most])


def of_class(config: Config, keys: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Places of each split among the samples of one class, ascending; train is whole, `kept` says what stays of it.

    keys: (n,) int64, rng.fold(config.seed, "split", id) of each sample's id, or of the group that must stay together.
    """
    groups, rank = np.unique(keys, return_inverse=True)  # ascending by hash: the shuffled order of the groups
    n = len(groups)
    if config.rule == "kfold":  # one circle for all folds: fold k starts k/folds of the way round
        rank = (rank - n * config.fold // config.folds) % max(n, 1)
    stretches = _places(config, n, name, len(keys))
    return {key: np.flatnonzero((rank >= s.start) & (rank < s.stop)) for key, s in stretches.items()}


def check_disjoint(splits: Mapping[str, Sequence[str]], where: str) -> None:
    """Refuse splits that share a sample, naming the first ones."""
    names = list(splits)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if both := sorted(set(splits[a]) & set(splits[b])):
                raise UserError(
                    f"{where}: splits {a} and {b} overlap in {len(both)} sample{'s' * (len(both) != 1)}, "
                    f"first {both[0]!r}; a score on seen samples means nothing: take them out of one of the two"
                )
