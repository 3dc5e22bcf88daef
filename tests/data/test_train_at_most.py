"""Learning curves: fewer training samples, a part of more, and the same test samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sketchlab import config
from sketchlab.data import splits
from sketchlab.errors import UserError

CLASSES = ["a", "b", "c"]
LABELS = np.repeat(np.arange(3), 20)
IDS = [f"{i}" for i in range(60)]
FULL = splits.Config(
    "count", 10, 2, 5, folds=3, fold=0, train_at_most=None, seed=0, test_classes=None, val_classes=None, published=None
)


def places(most: int | None, seed: int = 0) -> dict[str, np.ndarray]:
    return splits.split(replace(FULL, train_at_most=most, seed=seed), IDS, LABELS, CLASSES)


def test_fewer_are_a_part_of_more_and_the_test_stays():
    full = places(None)
    curve = {most: places(most) for most in (3, 7, 16, 29)}
    before: set[int] = set()
    for most, found in curve.items():
        train = set(found["train"].tolist())
        counts = np.bincount(LABELS[found["train"]], minlength=3)
        assert len(train) == most and counts.max() - counts.min() <= 1 and sorted(counts, reverse=True) == list(counts)
        assert before <= train
        assert sorted([*found["train"], *found["rest"]]) == full["train"].tolist()
        assert all(np.array_equal(found[name], full[name]) for name in ("val", "test"))
        before = train
    assert places(30).keys() == full.keys()
    assert places(7, seed=1)["train"].tolist() != curve[7]["train"].tolist()


@pytest.mark.parametrize("most", [31, 1000])
def test_more_than_there_are(most):
    with pytest.raises(UserError, match="train_at_most=.* has 10 in train; expected at most 30"):
        places(most)


def test_pairs_cannot_leave_any_out_and_nought_is_refused():
    with pytest.raises(UserError, match="pairs cannot leave"):
        config.from_overrides(["model=small_siamese", "data=pairs", "data.splits.train_at_most=3"])
    with pytest.raises(UserError, match="at least 1"):
        replace(FULL, train_at_most=0)


@pytest.mark.parametrize("official", [False, True])
def test_of_files(tmp_path, official):
    for part in ("train", "test") if official else ("",):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(8):
                Image.new("L", (9, 9), i * 20).save(tmp_path / part / name / f"{part}{i}.png")
    words = ["data=folder", f"data.root={tmp_path}", "data.splits.train_at_most=5", "data.splits.val=0"]
    words += ["data/splits=official"] if official else []
    run = config.from_overrides(words)
    data = run.data.build(run.model.config.input)
    assert data.splits["train"].labels.tolist() == [0, 0, 0, 1, 1]
    assert len(data.splits["rest"]) == (11 if official else 7)
    assert "left out (data.splits.train_at_most)" in data.notes[-1]


def test_a_single_sample_may_be_kept_and_none_is_refused():
    assert len(places(1)["train"]) == 1
    with pytest.raises(UserError, match="data.splits.train_at_most=0: expected at least 1, or null for all"):
        places(0)


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (1, 0, 0), (0.1, 0, 0), (0, 0, 1)])
def test_shares_that_add_up_to_at_most_one(shares):
    splits.Config(
        "fraction",
        *shares,
        folds=3,
        fold=0,
        train_at_most=None,
        seed=0,
        test_classes=None,
        val_classes=None,
        published=None,
    )


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.3), (0.5, 0.6, 0), (1.1, 0, 0), (0, 0, 0)])
def test_shares_that_do_not_are_refused(shares):
    with pytest.raises(UserError, match="the shares must add up to at most 1"):
        splits.Config(
            "fraction",
            *shares,
            folds=3,
            fold=0,
            train_at_most=None,
            seed=0,
            test_classes=None,
            val_classes=None,
            published=None,
        )
