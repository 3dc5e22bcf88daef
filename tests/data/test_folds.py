"""Folds tile the data: every sample is tested once, whatever the data set and the number of folds."""

from __future__ import annotations

import numpy as np
import pytest

from sketchlab import config
from sketchlab.data import splits
from tests.every import small


def rule(folds, fold, val=0.25):
    return splits.Config(
        rule="kfold",
        train=0,
        val=val,
        test=0,
        folds=folds,
        fold=fold,
        train_at_most=None,
        seed=3,
        test_classes=None,
        val_classes=None,
        published=None,
    )


@pytest.mark.parametrize("seed", range(12))
def test_folds_tile_random_data_and_keep_groups_together(seed):
    draw = np.random.default_rng(seed)
    n_classes, folds = int(draw.integers(1, 5)), int(draw.integers(2, 7))
    groups = np.concatenate([np.arange(draw.integers(folds, 4 * folds)) + 1000 * c for c in range(n_classes)])
    repeats = draw.integers(1, 5, len(groups))  # sketches of a photo
    ids = [f"object {group}" for group in np.repeat(groups, repeats)]
    labels = np.repeat(groups // 1000, repeats)
    classes = [f"class {c}" for c in range(n_classes)]
    found = [splits.split(rule(folds, fold, 0.3 * (seed % 2)), ids, labels, classes) for fold in range(folds)]
    tested = np.concatenate([fold["test"] for fold in found])
    assert sorted(tested) == list(range(len(ids)))
    for fold in found:
        assert sorted(np.concatenate(list(fold.values()))) == list(range(len(ids)))
        names = [{ids[i] for i in places} for places in fold.values()]
        assert sum(map(len, names)) == len(set().union(*names))
        for number in range(n_classes):
            size = len({ids[i] for i in fold["test"] if labels[i] == number})
            assert size in (np.sum(groups // 1000 == number) // folds, -(-np.sum(groups // 1000 == number) // folds))


@pytest.mark.parametrize("model", ["small_cnn", "cnn_strokes", "small_siamese"])
@pytest.mark.parametrize("folds", [2, 3])
def test_folds_tile_a_data_set(model, folds):
    tested, whole = [], set()
    for fold in range(folds):
        words = ["data.splits.rule=kfold", f"data.splits.folds={folds}", f"data.splits.fold={fold}"]
        run = config.from_overrides(small(model, *words, "data.splits.val=0.2"))
        parts = run.data.build(run.model.config.input).splits
        ids = {name: list(getattr(part, "sketch", part).ids) for name, part in parts.items()}
        assert set(ids) == {"train", "val", "test"} and all(ids.values())
        splits.check_disjoint(ids, "folds")
        tested += ids["test"]
        whole |= {name for part in ids.values() for name in part}
    assert len(tested) == len(set(tested)) and set(tested) == whole
