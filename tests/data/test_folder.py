import json
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sketchlab.data import splits
from sketchlab.data.__main__ import sources
from sketchlab.data.images import augment
from sketchlab.data.images import tree as images_tree
from sketchlab.data.images import tree as trees
from sketchlab.data.sets import folder, mixed
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from tests import every

FRACTION = splits.Config(
    rule="fraction",
    train=0.6,
    val=0.2,
    test=0.2,
    folds=3,
    fold=0,
    train_at_most=None,
    seed=0,
    test_classes=None,
    val_classes=None,
    published=None,
)
OFFICIAL = replace(FRACTION, rule="official", val=0.2)
NONE = augment.Config(0, 0.0, 0.0, [1.0, 1.0], 0.0, 1.0, 0.0, [0.02, 0.2], {})
GREY = Input("images", 8, 1, "dark", [0.0], [1.0])
COLOUR = Input("images", 8, 3, "bright", [0.0] * 3, [1.0] * 3)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("SKETCHLAB_DATA", raising=False)


def config(root, **changes):
    values = {"source": "", "ink": "dark", "group_by": "", "per_group": None, "classes": None, "per_class": None}
    values |= {
        "root": str(root),
        "folder": ".",
        "on_bad": "error",
        "resize": "pad",
        "splits": FRACTION,
        "augment": NONE,
    }
    return folder.Config(**(values | changes))


def draw(path, shade=200, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 8), shade if mode == "L" else (shade, 0, 0)).save(path)


def tree(root, classes=("ant", "bee"), n=10, above=""):
    for c, name in enumerate(classes):
        for i in range(n):
            draw(root / above / name / f"{i:02d}.png", 10 * i + c)
    return root


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


def all_ids(data):
    return sorted(name for split in data.splits.values() for name in split.ids)


def test_a_tree_of_classes(tmp_path):
    data = folder.build(config(tree(tmp_path / "d")), GREY)
    assert data.classes == ["ant", "bee"] and sizes(data) == {"train": 12, "val": 4, "test": 4}
    assert len(set(all_ids(data))) == 20 and all_ids(data)[0] == "ant/00.png"
    for split in data.splits.values():
        raw = split.gather(torch.arange(len(split)))
        for image, label, name in zip(raw, split.labels, split.ids, strict=True):
            assert data.classes[label] == name.split("/")[0]
            assert (image == 10 * int(name[-6:-4]) + int(label)).all()
    assert data.prepare(raw, None).shape == (4, 1, 8, 8) and data.notes == []


@pytest.mark.parametrize(
    "files_, model, inverted", [("dark", "bright", True), ("bright", "dark", True), ("dark", "dark", False)]
)
def test_ink_is_turned_to_what_the_model_takes(tmp_path, files_, model, inverted):
    draw(tmp_path / "a" / "x.png", 250)
    one = replace(FRACTION, train=1.0, val=0.0, test=0.0)
    data = folder.build(config(tmp_path, ink=files_, splits=one), replace(GREY, ink=model))
    assert data.splits["train"].gather(torch.tensor([0])).unique().tolist() == [5 if inverted else 250]


def test_photos_keep_their_colours_and_are_never_inverted(tmp_path):
    draw(tmp_path / "a" / "x.png", 100, "RGB")
    one = replace(FRACTION, train=1.0, val=0.0, test=0.0)
    data = folder.build(config(tmp_path, ink="none", splits=one), COLOUR)
    assert data.splits["train"].gather(torch.tensor([0]))[0, :, 0, 0].tolist() == [100, 0, 0]
    data = folder.build(config(tmp_path, ink="none", splits=one), replace(GREY, ink="bright"))
    assert data.splits["train"].gather(torch.tensor([0]))[0, :, 0, 0].tolist() == [30]


def test_official_folders(tmp_path):
    for part, n in (("train", 5), ("valid", 3), ("test", 2)):
        tree(tmp_path, n=n, above=part)
    data = folder.build(config(tmp_path, splits=OFFICIAL), GREY)
    assert sizes(data) == {"train": 10, "val": 6, "test": 4}
    assert all(name.startswith("valid/") for name in data.splits["val"].ids)


def test_official_folders_without_val(tmp_path):
    tree(tmp_path, n=10, above="train")
    tree(tmp_path, n=2, above="test")
    data = folder.build(config(tmp_path, splits=OFFICIAL), GREY)
    assert sizes(data) == {"train": 16, "val": 4, "test": 4} and "4 of 20" in data.notes[0]
    assert all(name.startswith("train/") for name in data.splits["val"].ids)
    none = folder.build(config(tmp_path, splits=replace(OFFICIAL, val=0.0)), GREY)
    assert sizes(none) == {"train": 20, "test": 4}


def test_official_folders_can_be_pooled_and_divided_anew(tmp_path):
    tree(tmp_path, n=4, above="train")
    tree(tmp_path, n=10, above="val")  # 00 to 03 have the names of the training images: one object each
    data = folder.build(config(tmp_path, splits=replace(FRACTION, rule="count", train=6, val=4, test=0)), GREY)
    assert len(all_ids(data)) == 28
    objects = {name: {i.split("/", 1)[1] for i in split.ids} for name, split in data.splits.items()}
    assert not objects["train"] & objects["val"]


def test_a_class_called_train_is_a_class(tmp_path):
    data = folder.build(config(tree(tmp_path, classes=("bus", "test", "train"))), GREY)
    assert data.classes == ["bus", "test", "train"]


def test_class_names_with_spaces_brackets_and_unicode(tmp_path):
    names = ["crab (animal)", "person sitting", "t-shirt", unicodedata.normalize("NFD", "Käfer"), "蚂蚁"]
    data = folder.build(config(tree(tmp_path, names)), GREY)
    assert set(data.classes) == {unicodedata.normalize("NFC", name) for name in names}
    chosen = folder.build(config(tmp_path, classes=["蚂蚁", unicodedata.normalize("NFC", "Käfer")]), GREY)
    assert chosen.classes[0] == "蚂蚁" and len(all_ids(chosen)) == 20


def test_classes_chosen_in_the_order_asked(tmp_path):
    data = folder.build(config(tree(tmp_path, ("a", "b", "c")), classes=["c", "a"]), GREY)
    assert data.classes == ["c", "a"]
    train = data.splits["train"]
    assert all(data.classes[label] == name[0] for label, name in zip(train.labels, train.ids, strict=True))


def test_a_new_class_moves_no_sample(tmp_path):
    before = folder.build(config(tree(tmp_path, ("ant", "cat"))), GREY)
    after = folder.build(config(tree(tmp_path, ("ant", "bee", "cat"))), GREY)
    for name, split in before.splits.items():
        assert set(split.ids) <= set(after.splits[name].ids)


def test_per_class_takes_the_same_images_whatever_else_is_there(tmp_path):
    tree(tmp_path, ("ant", "bee"), 20)
    few = folder.build(config(tmp_path, per_class=5), GREY)
    assert len(all_ids(few)) == 10
    alone = folder.build(config(tmp_path, per_class=5, classes=["ant"]), GREY)
    more = folder.build(config(tmp_path, per_class=8), GREY)
    assert set(all_ids(alone)) <= set(all_ids(few)) <= set(all_ids(more))


def test_objects_stay_together(tmp_path):
    for photo in range(10):
        for k in range(3):
            draw(tmp_path / "ant" / f"n01-{photo}-{k}.png", photo)
    data = folder.build(config(tmp_path, group_by=r"(.+)-\d+"), GREY)
    photos = [{i.rsplit("-", 1)[0] for i in split.ids} for split in data.splits.values()]
    assert sizes(data) == {"train": 18, "val": 6, "test": 6} and len(set.union(*photos)) == sum(map(len, photos))
    groups = data.splits["train"].groups
    assert len(set(groups.tolist())) == 6
    one = folder.build(config(tmp_path, group_by=r"(.+)-\d+", per_group=1), GREY)
    assert sizes(one) == {"train": 6, "val": 2, "test": 2}


def test_what_is_no_image_is_named(tmp_path):
    tree(tmp_path)
    for name in ("ant/note.txt", "ant/moving.gif", "bee/.DS_Store", "bee/._01.png", "bee/Thumbs.db"):
        (tmp_path / name).write_text("x")
    data = folder.build(config(tmp_path), GREY)
    assert len(all_ids(data)) == 20
    assert sorted(note.split(" ")[0] + note[note.index("(.") :][:5] for note in data.notes) == ["1(.gif", "1(.txt"]


def test_links_are_followed_and_those_that_lead_back_end(tmp_path):
    tree(tmp_path / "far", ("ant",), 6)
    tree(tmp_path / "near", ("bee",), 6)
    (tmp_path / "near" / "ant").symlink_to(tmp_path / "far" / "ant")
    (tmp_path / "near" / "bee" / "more").symlink_to(tmp_path / "far" / "ant")
    (tmp_path / "near" / "bee" / "back").symlink_to(tmp_path / "near" / "bee")
    assert len(all_ids(folder.build(config(tmp_path / "near"), GREY))) == 18


def test_names_that_nothing_can_print(tmp_path):
    tree(tmp_path)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/ant/caf\xe9.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(UserError, match="not valid UTF-8"):
        folder.build(config(tmp_path), GREY)


def test_unreadable_files_stop_or_are_left_out_and_named(tmp_path):
    (tree(tmp_path) / "ant" / "03.png").write_text("x")
    with pytest.raises(UserError, match="1 of 20 images"):
        folder.build(config(tmp_path), GREY)
    data = folder.build(config(tmp_path, on_bad="skip"), GREY)
    assert "ant/03.png" not in all_ids(data) and len(all_ids(data)) == 19
    assert "1 of 20" in data.notes[0] and "ant/03.png: not an image" in data.notes[0]


def test_root_from_the_environment(tmp_path, monkeypatch):
    tree(tmp_path / "mine")
    monkeypatch.setenv("SKETCHLAB_DATA", str(tmp_path))
    assert len(all_ids(folder.build(replace(config(""), root=None, folder="mine"), GREY))) == 20


def test_views_are_those_of_the_augmentation(tmp_path):
    tree(tmp_path)
    assert folder.build(config(tmp_path), GREY).views == 1
    assert folder.build(config(tmp_path, augment=replace(NONE, flip=0.5, views=4)), GREY).views == 4


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": ["ant", "bea"]}, "no class 'bea'.*did you mean bee"),
        ({"classes": ["ant", "ant"]}, "names 'ant' twice"),
        ({"classes": []}, "at least one class"),
        ({"per_class": 0}, "data.per_class=0"),
        ({"group_by": "(.+"}, "data.group_by"),
        ({"group_by": ".+"}, "bracket"),
        ({"ink": "black"}, "data.ink=black"),
        ({"splits": OFFICIAL}, "rule=official"),
        ({"splits": replace(FRACTION, rule="count", train=9, val=2, test=0)}, "class 'ant' has 10"),
        ({"splits": replace(FRACTION, rule="kfold", folds=11)}, "class 'ant' has only 10"),
        ({"per_class": 1}, "class 'ant' has 1 item"),
        ({"folder": "nowhere", "source": "tuberlin"}, "no folder .*nowhere.*from data.root.*data fetch tuberlin"),
    ],
)
def test_mistakes_are_one_line(tmp_path, changes, message):
    tree(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        folder.build(config(tmp_path, **changes), GREY)
    assert "\n" not in str(error.value)


def test_empty_roots(tmp_path):
    with pytest.raises(UserError, match="no class folders in"):
        folder.build(config(tmp_path), GREY)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with pytest.raises(UserError, match="no class folders in"):
        folder.build(config(tmp_path), GREY)
    (tmp_path / "ant").mkdir()
    with pytest.raises(UserError, match="class 'ant' has no images"):
        folder.build(config(tmp_path), GREY)


def test_a_flat_folder_is_one_class_named_after_it(tmp_path):
    for i in range(10):
        draw(tmp_path / "my cats" / f"{i:02d}.png", 10 * i)
    (tmp_path / "my cats" / "notes.txt").write_text("no image")
    data = folder.build(config(tmp_path / "my cats"), GREY)
    assert data.classes == ["my cats"] and sizes(data) == {"train": 6, "val": 2, "test": 2}
    assert all_ids(data) == [f"{i:02d}.png" for i in range(10)]
    assert any("no class folders: all images in" in note for note in data.notes)
    assert any("1 file(s) under my cats are no images (.txt)" in note for note in data.notes)
    assert folder.build(config(tmp_path / "my cats", classes=["my cats"], per_class=5), GREY).classes == ["my cats"]
    with pytest.raises(UserError, match="no class 'ant' in .*my cats; of 1: my cats"):
        folder.build(config(tmp_path / "my cats", classes=["ant"]), GREY)
    draw(tmp_path / "my cats" / "ant" / "a.png")  # a class folder: what lies beside it is of no class
    with pytest.raises(UserError, match="class 'ant' has 1 item"):
        folder.build(config(tmp_path / "my cats"), GREY)


def test_one_class_is_enough_for_a_generator_and_not_for_a_classifier(tmp_path):
    for i in range(12):
        draw(tmp_path / "cats" / f"{i:02d}.png", 20 * i)
    where = ["data=folder", f"data.root={tmp_path / 'cats'}"]

    def train(model):
        words = [word for word in every.small(model, "loop.epochs=1") if not word.startswith("data")]
        every.train([*words, *where], str(tmp_path / model))

    train("small_dcgan")
    assert json.loads((every.folder_in(tmp_path / "small_dcgan") / "data.json").read_text())["classes"] == ["cats"]
    for model, pipeline in (("small_cnn", "classify"), ("pixels_logistic", "baseline")):
        refused = f"pipeline={pipeline} needs at least two classes, but data=folder has one, 'cats': expected class"
        with pytest.raises(UserError, match=refused):
            train(model)
        assert not list((tmp_path / model).glob("*/*/config.yaml"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "hymenoptera"}, "`python -m sketchlab.data fetch hymenoptera` puts it there"),
        (
            {"source": "celeba"},
            "it has no direct address: `python -m sketchlab.data fetch celeba` tells where to get it",
        ),
        ({"folder": "photo_drawing"}, "nobody offers it: .* scripts/cut_sheet.py"),
        ({"folder": "mine"}, r"no folder .*mine \(from data.root\); or point data.root"),
    ],
)
def test_what_is_not_there_says_how_to_get_it(tmp_path, changes, expected):
    with pytest.raises(UserError, match=expected):
        folder.build(config(tmp_path, **({"folder": "gone"} | changes)), GREY)


def test_sets_without_a_direct_address_are_known():
    without = {name for name, source in sources().items() if not all(file.urls for file in source.files)}
    assert without == set(trees.NO_ADDRESS) and set(trees.YOURS) <= set(every.choices("data"))


def test_six_channels_are_for_strokes(tmp_path):
    with pytest.raises(UserError, match="channels=6"):
        folder.build(config(tree(tmp_path)), Input("images", 8, 6, "dark", [0.0] * 6, [1.0] * 6))


# Two folders


def side(where, ink="dark", **changes):
    return mixed.Side(
        **(
            {"folder": where, "source": "", "ink": ink, "group_by": "", "per_group": None, "aliases": None}
            | {"splits": None}
            | changes
        )
    )


def two(root, **changes):
    values = {"root": str(root), "test": None, "paired": False, "classes": None, "per_class": None, "on_bad": "error"}
    values |= {"train": side("photos", "none", aliases={"ant": "ants", "bee": "bees"}), "val": side("sketches")}
    return mixed.Config(**(values | {"resize": "pad", "splits": FRACTION, "augment": NONE} | changes))


def photos_and_sketches(root):
    tree(root / "photos", ("ants", "bees", "cats"))
    tree(root / "sketches", ("ant", "bee", "dog"))
    return root


def test_train_on_one_and_validate_on_the_other(tmp_path):
    data = mixed.build(two(photos_and_sketches(tmp_path)), replace(GREY, ink="bright"))
    assert data.classes == ["ant", "bee"] and sizes(data) == {"train": 12, "val": 4, "test": 4}
    assert all(i.startswith("photos/ants/") or i.startswith("photos/bees/") for i in data.splits["train"].ids)
    assert all(i.startswith("sketches/") for name in ("val", "test") for i in data.splits[name].ids)
    train, val = data.splits["train"], data.splits["val"]
    assert train.gather(torch.tensor([0])).max() < 128 < val.gather(torch.tensor([0])).min()  # only sketches are turned
    assert "val is from sketches" in data.notes


def test_counts_and_whole_sides(tmp_path):
    photos_and_sketches(tmp_path)
    counts = mixed.build(two(tmp_path, splits=replace(FRACTION, rule="count", train=4, val=3, test=0)), GREY)
    assert sizes(counts) == {"train": 8, "val": 6}
    assert sizes(mixed.build(two(tmp_path, splits=OFFICIAL), GREY)) == {"train": 20, "val": 20}


def test_each_side_may_have_splits_of_its_own(tmp_path):
    """chen2019's mixed in small: the official train part of one side, a number per class of the other."""
    tree(tmp_path / "photos" / "train", ("ants", "bees"))
    tree(tmp_path / "photos" / "val", ("ants", "bees"))
    tree(tmp_path / "sketches", ("ant", "bee", "dog"))
    own = {
        "train": side("photos", "none", aliases={"ant": "ants", "bee": "bees"}, splits=replace(OFFICIAL, val=0.0)),
        "val": side("sketches", splits=replace(FRACTION, rule="count", train=4, val=3, test=0)),
    }
    data = mixed.build(two(tmp_path, **own), GREY)
    assert sizes(data) == {"train": 20, "val": 6}
    assert all(name.startswith("photos/train/") for name in data.splits["train"].ids)
    # the same sketches as where sketches are divided alone
    alone = folder.build(config(tmp_path / "sketches", classes=["ant", "bee"], splits=own["val"].splits), GREY)
    assert {name.removeprefix("sketches/") for name in data.splits["val"].ids} == set(alone.splits["val"].ids)


def test_paired_sides_have_one_rule(tmp_path):
    with pytest.raises(UserError, match=r"data\.val\.splits with data\.paired=true"):
        two(tmp_path, paired=True, val=side("sketches", splits=FRACTION))


def test_the_same_folder_on_both_sides_shares_no_sample(tmp_path):
    photos_and_sketches(tmp_path)
    both = {"train": side("sketches"), "val": side("sketches")}
    data = mixed.build(two(tmp_path, **both), GREY)
    assert len(set(all_ids(data))) == len(all_ids(data)) == 30
    with pytest.raises(UserError, match="overlap in 30 samples"):
        mixed.build(two(tmp_path, splits=OFFICIAL, **both), GREY)


def test_paired_sides_share_no_object(tmp_path):
    for i in range(12):
        draw(tmp_path / "photos" / "ant" / f"p{i}.png", i)
        for k in range(2):
            draw(tmp_path / "sketches" / "ant" / f"p{i + 2}-{k}.png", i)  # p0, p1 have no sketch; p12, p13 no photo
    pair = {"train": side("photos", "none"), "val": side("sketches", group_by=r"(.+)-\d+"), "paired": True}
    data = mixed.build(two(tmp_path, **pair), GREY)
    shown = {name: {Path(i).stem.split("-")[0] for i in split.ids} for name, split in data.splits.items()}
    assert shown["train"] | shown["val"] | shown["test"] == {f"p{i}" for i in range(2, 12)}
    assert sum(map(len, shown.values())) == 10
    assert set(data.splits["train"].groups.tolist()).isdisjoint(data.splits["val"].groups.tolist())
    assert any("train: 2 images without a partner" in note for note in data.notes)
    with pytest.raises(UserError, match="paired=true with data.splits.rule=official"):
        mixed.build(two(tmp_path, splits=OFFICIAL, **pair), GREY)


def test_no_class_in_common(tmp_path):
    photos_and_sketches(tmp_path)
    with pytest.raises(UserError, match="no class on every side: train has ants, bees, cats; val has ant, bee, dog"):
        mixed.build(two(tmp_path, train=side("photos", "none")), GREY)


# Real data

REAL = Path(os.environ.get("SKETCHLAB_DATA", "/nowhere"))


@pytest.mark.realdata
@pytest.mark.parametrize("size_px", [224, 64])
def test_no_tu_berlin_sketch_goes_blank(size_px):
    if not (REAL / "tuberlin/png").is_dir():
        pytest.skip("SKETCHLAB_DATA has no tuberlin/png")
    data = folder.build(config(REAL, folder="tuberlin/png"), Input("images", size_px, 1, "bright", [0.0], [1.0]))
    assert len(all_ids(data)) == 80 * len(data.classes)
    for split in data.splits.values():
        ink = split.gather(torch.arange(len(split))).flatten(1)
        assert ink.max(1).values.min() >= 32  # the palest line, antialiased to 64 px from 150, is seen
        drawn = (ink >= 16).sum(1)
        assert drawn.min() > size_px  # as many pixels as a line across has
        assert np.median((ink.float().mean(1) / 255).numpy()) < 0.15  # bright on black, not the reverse


def test_a_split_in_any_usual_spelling_is_a_split(tmp_path):
    for number, (train, val, test) in enumerate(
        [("Train", "Valid", "Test"), ("TRAINING", "validation", "testing"), ("train_set", "dev", "test-set")]
    ):
        root = tmp_path / str(number)
        for part, n in ((train, 3), (val, 2), (test, 1)):
            tree(root, n=n, above=part)
        (root / "docs").mkdir()
        data = folder.build(config(root, splits=OFFICIAL), GREY)
        assert data.classes == ["ant", "bee"] and sizes(data) == {"train": 6, "val": 4, "test": 2}
        assert "the folder docs holds no images" in data.notes[0]


def test_a_class_that_is_named_like_a_split(tmp_path):
    data = folder.build(config(tree(tmp_path, ("ant", "train", "Test"))), GREY)
    assert data.classes == ["Test", "ant", "train"] and sizes(data) == {"train": 18, "val": 6, "test": 6}


def test_splits_alone_without_train(tmp_path):
    data = folder.build(config(tree(tmp_path, above="test")), GREY)
    assert data.classes == ["ant", "bee"]


@pytest.mark.parametrize("beside", ["cat/x.png", "test/x.png", "Train/x.png", "cat/deep/x.png"])
def test_splits_beside_classes_are_refused_with_both_readings(tmp_path, beside):
    tree(tmp_path, above="Train")
    draw(tmp_path / beside)
    with pytest.raises(UserError, match="is 'Train' a split or a class.*ant, bee.*data.folder="):
        folder.build(config(tmp_path), GREY)


def test_two_folders_of_one_split_are_refused(tmp_path):
    tree(tree(tmp_path, above="val"), above="validation")
    with pytest.raises(UserError, match="val and validation are both named like the split val"):
        folder.build(config(tmp_path), GREY)


def test_one_class_names_the_folders_inside(tmp_path):
    data = folder.build(config(tree(tmp_path, above="wrapper")), GREY)
    assert (
        data.classes == ["wrapper"] and f"if these are the classes, data.folder={tmp_path / 'wrapper'}" in data.notes[0]
    )


SYSTEM = ("._00.png", ".DS_Store", "Thumbs.db", "@eaDir/00.png", "__MACOSX/00.png", "desktop.ini", "#recycle/a.png")


def test_system_files_are_no_images_and_no_classes(tmp_path):
    tree(tmp_path, n=5)
    for where in (tmp_path, tmp_path / "ant"):
        for name in SYSTEM:
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_bytes(b"no image")
    data = folder.build(config(tmp_path), GREY)
    assert data.classes == ["ant", "bee"] and len(all_ids(data)) == 10 and data.notes == []


def test_objects_of_decomposed_names_are_those_of_composed_ones(tmp_path):
    for form, name in (("NFC", "été-1"), ("NFD", "été-2")):
        draw(tmp_path / "ant" / f"{unicodedata.normalize(form, name)}.png")
    found = images_tree.find(tmp_path, None, group_by=r"(.+)-\d+")
    assert set(found.objects) == {"ant/été"}
    alias = unicodedata.normalize("NFD", "été")
    draw(tmp_path / alias / "x.png")
    assert "summer" in images_tree.find(tmp_path, None, aliases={"summer": alias}).classes


def test_objects_that_are_too_few_are_called_objects(tmp_path):
    for cat in range(2):
        for shot in range(20):
            draw(tmp_path / "Balinese" / f"{cat}-{shot}.png", shot)
    with pytest.raises(UserError, match=r"class 'Balinese' has 2 objects \(40 samples\): too few"):
        folder.build(config(tmp_path, group_by=r"(.+)-\d+"), GREY)
