"""data/splits=unseen: whole classes in train, val and test; published lists, lists of one's own, keyed shares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from sketchlab import config as border
from sketchlab.data import splits
from sketchlab.data.sets import shapes
from sketchlab.errors import UserError
from sketchlab.training import prepare

CONF = border.conf_dir() / "data" / "splits"
FRACTION = yaml.safe_load((CONF / "fraction.yaml").read_text())
UNSEEN = splits.Config(**FRACTION | {"rule": "unseen", "train": 0.5, "val": 0.17, "test": 0.33})
CLASSES = [f"class {i}" for i in range(18)]
LISTS = {"sketchy_25": 25, "sketchy_21": 21, "tuberlin_30": 30, "quickdraw_30": 30}


def sizes(config, classes=CLASSES):
    return {key: len(names) for key, names in splits.classes_of(config, classes).items()}


def divided(rule, *words):
    run = border.from_overrides(["model=small_siamese", "data.per_class=6", f"data/splits={rule}", *words])
    return run.data.build(run.model.config.input)


def test_every_class_is_in_one_split_with_all_its_samples():
    data = divided("unseen")
    found = {name: set(pair.sketch.labels.tolist()) for name, pair in data.splits.items()}
    assert {name: len(labels) for name, labels in found.items()} == {"train": 9, "val": 3, "test": 6}
    assert sorted(label for labels in found.values() for label in labels) == list(range(18))
    for name, pair in data.splits.items():
        assert set(pair.photo.labels.tolist()) == found[name] and len(pair) == 6 * len(found[name])


@pytest.mark.parametrize("n", range(5, 60))
def test_shares_are_exact_over_the_classes_that_are_there(n):
    """By the edges of the shares, each rounded half up."""
    test, both, everything = (int(share * n + 0.5) for share in (0.33, 0.50, 1.0))
    found = sizes(UNSEEN, CLASSES[:1] + [f"word {i}" for i in range(n - 1)])
    assert found == {"train": everything - both, "val": both - test, "test": test}


def test_numbers_of_classes_and_what_they_leave():
    assert sizes(replace(UNSEEN, train=4.0, val=1.0, test=2.0)) == {"train": 4, "val": 1, "test": 2}
    assert sizes(replace(UNSEEN, val=0.0, test=0.5)) == {"train": 9, "test": 9}
    with pytest.raises(UserError, match="19 classes asked for, but there are 18"):
        splits.classes_of(replace(UNSEEN, train=10.0, val=3.0, test=6.0), CLASSES)


def test_the_seed_says_which_classes_and_their_order_does_not():
    first, again = (splits.classes_of(UNSEEN, names) for names in (CLASSES, CLASSES[::-1]))
    assert {key: set(names) for key, names in first.items()} == {key: set(names) for key, names in again.items()}
    others = [splits.classes_of(replace(UNSEEN, seed=seed), CLASSES)["test"] for seed in range(5)]
    assert len(set(map(tuple, others))) > 1


def test_lists_of_ones_own():
    named = replace(UNSEEN, test_classes=["class 3", "Class_5"], val_classes=["class-1"])
    found = splits.classes_of(named, CLASSES)
    assert (found["test"], found["val"], len(found["train"])) == (["class 3", "class 5"], ["class 1"], 15)
    half = splits.classes_of(replace(UNSEEN, test_classes=CLASSES[:8], val=0.5, train=0.1), CLASSES)
    assert (half["test"], len(half["val"]), len(half["train"])) == (CLASSES[:8], 5, 5)


def test_beside_a_list_only_what_is_sampled_must_add_up():
    """train and test are then unused: a number for val beside their shares is a number of classes."""
    two = replace(UNSEEN, test_classes=CLASSES[:8], val=2.0)
    assert sizes(two) == {"train": 8, "val": 2, "test": 8}
    assert sizes(replace(two, val=1.0)) == {"train": 9, "val": 1, "test": 8}
    assert sizes(replace(two, val=0.9)) == {"train": 1, "val": 9, "test": 8}
    with pytest.raises(UserError, match=r"data.splits: val 1.5: expected shares"):
        replace(two, val=1.5)


@pytest.mark.parametrize("data", ["sketchy", "pairs", "shapes"])
def test_shares_of_photos_are_not_those_of_classes(data):
    """data=sketchy has shares of its own for the rule fraction alone."""
    more = ["data.sketches=a", "data.photos=b"] if data == "pairs" else []
    found = border.from_overrides(
        ["model=small_siamese", f"data={data}", "data/splits=unseen", *more]
    ).data.config.splits
    assert (found.train, found.val, found.test) == (0.5, 0.17, 0.33)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_classes": ["class 1", "sun"]}, "test_classes: the data set has no class sun; it has class 0"),
        ({"val_classes": ["sun"]}, "val_classes: the data set has no class sun"),
        ({"test_classes": CLASSES}, "none is left for train"),
        ({"test_classes": CLASSES[1:]}, "none is left for val"),
        ({"test": 0.0, "train": 0.8}, "none is left for test"),
        ({"test_classes": ["sun"], "published": "A list"}, r"test_classes \(A list\): the data set has no class sun"),
    ],
)
def test_what_does_not_fit_the_data_is_one_line(changes, words):
    with pytest.raises(UserError, match=words) as refused:
        splits.classes_of(replace(UNSEEN, **changes), CLASSES)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_classes": ["a", "b"], "val_classes": ["B"]}, "B in both test_classes and val_classes"),
        ({"test_classes": ["a", "A"]}, "expected each class once"),
        ({"test_classes": []}, "at least one"),
        ({"train_at_most": 10}, "train_at_most: not with data/splits=unseen"),
        ({"train": 3.5, "val": 1.0}, "whole numbers of classes"),
        ({"rule": "fraction", "test_classes": ["a"]}, "test_classes: for data/splits=unseen alone"),
    ],
)
def test_what_does_not_fit_together_is_one_line(changes, words):
    with pytest.raises(UserError, match=words):
        replace(UNSEEN, **changes)


@pytest.mark.parametrize(("name", "n"), LISTS.items())
def test_published_lists_have_the_published_size(name, n):
    given = yaml.safe_load((CONF / f"unseen_{name}.yaml").read_text())
    assert len(given["test_classes"]) == n == len({splits._plain(name) for name in given["test_classes"]})
    assert str(n) in given["published"]


def test_a_part_of_a_published_list_works_and_says_so():
    given = yaml.safe_load((CONF / "unseen_sketchy_25.yaml").read_text())
    lists = {"test_classes": given["test_classes"], "published": given["published"], "val": 0.1}
    there = [*CLASSES, "horse", "teddy bear"]
    found = splits.classes_of(replace(UNSEEN, **lists), there)
    assert found["test"] == ["horse", "teddy bear"] and len(found["val"]) == 2 and len(found["train"]) == 16
    notes = splits.notes(replace(UNSEEN, **lists), there)
    assert "chosen on val" in notes[0] and "published code chooses it on test" in notes[0]
    assert notes[1].startswith("of the 25 test classes of Sketchy 25 of 125") and "has 2:" in notes[1]


def test_a_classifier_is_refused_before_data_is_read(monkeypatch):
    run = border.from_overrides(["data/splits=unseen"])
    monkeypatch.setattr(shapes, "build", None)
    with pytest.raises(UserError, match="a classifier cannot score classes it never saw"):
        prepare.prepare(run)


def test_a_data_set_that_is_divided_class_by_class_refuses():
    with pytest.raises(UserError, match="divided class by class"):
        splits.of_class(UNSEEN, np.arange(3), "cat")


def test_keys_that_joined_leave_ids_as_they_were():
    from sketchlab import schema

    new = {"test_classes", "val_classes", "published"}
    assert not new & schema.deciding(splits.Config, FRACTION).keys()
    assert schema.deciding(splits.Config, FRACTION | {"test_classes": ["a"]})["test_classes"] == ["a"]
