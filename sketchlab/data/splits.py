"""Who is in train, val and test: decided by a keyed hash of each sample's group, so a new class moves no one.

Rule unseen divides classes instead, for retrieval of classes never seen in training: `classes_of`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from sketchlab import rng
from sketchlab.errors import UserError, listed
from sketchlab.schema import added

RULES = ("fraction", "count", "kfold", "official", "unseen")
NAMES = ("train", "val", "test")
REST = "rest"  # training samples that data.splits.train_at_most leaves out: in nobody's training, in nobody's test


@dataclass(frozen=True)
class Config:
    # fraction: shares of each class; count: groups of each class; kfold; official: the data set's own list; unseen:
    # whole classes, so that no class of val or test was trained on
    rule: str
    train: float  # share or count per class (kfold: unused, what is left); unseen: of the classes, as val and test
    val: float  # share or count per class (kfold: share of what is not test); 0 = no such split
    test: float  # share or count per class (kfold: unused, one fold)
    folds: int  # kfold: how many
    fold: int  # kfold: which one is the test split, from 0
    train_at_most: int | None  # training samples kept, of all classes together and as equal as can be; null = all
    seed: int  # of the shuffle; apart from the run's seed, so that runs of several seeds share their test images
    test_classes: Annotated[list[str] | None, added(None)]  # unseen: by name; null = sampled, as test says
    # unseen: by name; null = sampled from the others, as val says (a share: of those that are not in test_classes)
    val_classes: Annotated[list[str] | None, added(None)]
    # unseen: whose list test_classes is: of it only what the data set has counts, which is said; null = your own, of
    # which every class must be there
    published: Annotated[str | None, added(None)]

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
        self._check_unseen()

    def _check_unseen(self) -> None:
        given = {key: getattr(self, key) for key in ("test_classes", "val_classes") if getattr(self, key) is not None}
        if self.rule != "unseen":
            if given:
                raise UserError(f"data.splits.{next(iter(given))}: for data/splits=unseen alone, not rule={self.rule}")
            return
        if self.train_at_most is not None:
            raise UserError("data.splits.train_at_most: not with data/splits=unseen; use data.per_class")
        sizes = self.sizes()
        whole = all(size == int(size) for size in sizes.values())
        if sum(sizes.values()) > 1 + 1e-9 if _in_shares(sizes) else not whole:
            values = ", ".join(f"{key} {size:g}" for key, size in sizes.items())
            raise UserError(
                f"data.splits: {values}: expected shares of the classes that add up to at most 1, or whole numbers of "
                "classes"
            )
        for key, names in given.items():
            plain = [_plain(name) for name in names]
            if not names or len(set(plain)) < len(plain):
                raise UserError(f"data.splits.{key}={names}: expected each class once, at least one")
        if both := [name for name in self.val_classes or [] if _plain(name) in map(_plain, self.test_classes or [])]:
            raise UserError(f"data.splits: {listed(both)} in both test_classes and val_classes; expected one of them")

    def sizes(self) -> dict[str, float]:
        """Rule unseen: test and val where no list names them, and train where none does (else it is what is left)."""
        lists = {"test": self.test_classes, "val": self.val_classes}
        sampled = [key for key, names in lists.items() if names is None]
        return {key: getattr(self, key) for key in (*sampled, *(["train"] if len(sampled) == 2 else []))}


def _in_shares(sizes: Mapping[str, float]) -> bool:
    return all(size < 1 for size in sizes.values())


def _plain(name: str) -> str:
    """A class's name without what data sets write differently: case, spaces, hyphens, underscores."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def classes_of(config: Config, classes: Sequence[str]) -> dict[str, list[str]]:
    """Rule unseen: the classes of train, val and test, each in the order given; without val where it has none.

    Sizes are exact over the classes that are there (a share of them is rounded); which ones, a keyed hash of their
    names says. Raises UserError for names that are not there, and for too few classes.
    """
    named = {key: _named(config, f"{key}_classes", classes) for key in ("test", "val")}
    taken = [name for names in named.values() if names for name in names]
    rest = sorted(set(classes) - set(taken), key=lambda name: rng.fold(config.seed, "unseen", name))
    sizes = config.sizes()
    edges = np.cumsum([0, *sizes.values()]) * (len(rest) if _in_shares(sizes) else 1)
    edges = np.floor(edges + 0.5 + 1e-9).astype(int)
    if "train" not in sizes:
        sizes, edges = {**sizes, "train": 0.0}, np.append(edges, max(len(rest), edges[-1]))
    if edges[-1] > len(rest):
        raise UserError(f"data.splits: {edges[-1]} classes asked for, but there are {len(rest)} ({listed(rest)})")
    found = {key: names for key, names in named.items() if names is not None}
    found |= {key: rest[edges[i] : edges[i + 1]] for i, key in enumerate(sizes)}
    for key in NAMES:
        if not found[key] and (key != "val" or config.val > 0):
            raise UserError(
                f"data.splits.rule=unseen: of {len(classes)} classes ({listed(list(classes))}) none is left for {key}; "
                "name other test_classes or val_classes, take more classes, or set data.splits.val=0"
            )
    return {key: [name for name in classes if name in found[key]] for key in NAMES if found[key]}


def _named(config: Config, key: str, classes: Sequence[str]) -> list[str] | None:
    """The classes that a list names; None where there is no list."""
    names = getattr(config, key)
    if names is None:
        return None
    there = {_plain(name): name for name in classes}
    found = [there[_plain(name)] for name in names if _plain(name) in there]
    missing = [name for name in names if _plain(name) not in there]
    if not found or (missing and not (config.published and key == "test_classes")):
        of = f" ({config.published})" if config.published and key == "test_classes" else ""
        raise UserError(
            f"data.splits.{key}{of}: the data set has no class {listed(missing)}; it has {listed(list(classes))}"
        )
    return found


def notes(config: Config, classes: Sequence[str]) -> list[str]:
    """Rule unseen: what a reader must know of the division; else nothing."""
    if config.rule != "unseen":
        return []
    found = classes_of(config, classes)
    parts = [f"{key} {len(names)} ({listed(names)})" for key, names in found.items()]
    how = (
        "the best epoch is chosen on val, whose classes are in no other split (published code chooses it on test)"
        if "val" in found
        else "no val: the last epoch is tested (published code chooses the best one on test)"
    )
    out = [f"classes never seen: {'; '.join(parts)}; {how}"]
    if config.published and config.test_classes and (n := len(config.test_classes)) > len(found["test"]):
        out.append(
            f"of the {n} test classes of {config.published} the data set has {len(found['test'])}: scores do not "
            "compare with published ones"
        )
    return out


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
    if config.rule == "unseen":
        numbers = {key: [classes.index(name) for name in names] for key, names in classes_of(config, classes).items()}
        return {key: np.flatnonzero(np.isin(labels, which)) for key, which in numbers.items()}
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
    if config.rule == "unseen":
        raise UserError(
            "data.splits.rule=unseen: this data set is divided class by class; expected fraction, count, kfold"
        )
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
