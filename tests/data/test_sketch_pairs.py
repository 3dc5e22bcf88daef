"""data=pairs and data=sketchy: which sketch is of which photo, splits by photo or by sketch, and mistakes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sketchlab import config as border
from sketchlab.data import splits
from sketchlab.data.__main__ import main as command
from sketchlab.data.images import augment
from sketchlab.data.sets import pairs
from sketchlab.errors import UserError
from sketchlab.inputs import Input

FRACTION = splits.Config("fraction", 0.6, 0.2, 0.2, 3, 0, None, 0)
NONE = augment.Config(0, 0.0, 0.0, [1.0, 1.0], 0.0, 1.0, 0.0, [0.02, 0.2], {})
REAL = Path(os.environ.get("SKETCHLAB_DATA", "/nowhere"))
GREY = Input("pairs", 8, 1, "bright", [0.0], [1.0])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("SKETCHLAB_DATA", raising=False)


def draw(path: Path, shade: int, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((8, 8) if mode == "L" else (8, 8, 3), 255 if mode == "L" else shade, np.uint8)
    pixels[shade % 8, 2:6] = shade % 200
    Image.fromarray(pixels).save(path)


def tree(root: Path, classes=("cat", "hot-air_balloon"), photos: int = 10, sketches: int = 3) -> Path:
    """Photo n0_3.jpg of a class, and n0_3-1.png … of it."""
    for c, name in enumerate(classes):
        for i in range(photos):
            draw(root / "photos" / name / f"n{c}_{i}.jpg", 20 * i + c, "RGB")
            for k in range(sketches):
                draw(root / "sketches" / name / f"n{c}_{i}-{k + 1}.png", 7 * i + k + c)
    return root


def config(root: Path, **changes) -> pairs.Config:
    values: dict[str, Any] = {
        "root": str(root),
        "sketches": "sketches",
        "photos": "photos",
        "source": "",
        "photo_of": r"(.+)-\d+",
    }
    values |= {"test_list": "", "split_by": "photo", "ink": "dark", "resize": "pad", "classes": None}
    values |= {"per_class": None, "per_photo": None, "on_bad": "error", "splits": FRACTION, "augment": NONE}
    return pairs.Config(**(values | changes))


def build(root: Path, **changes):
    return pairs.build(config(root, **changes), GREY)


def photo_of(sketch: str) -> str:
    return sketch.rpartition("-")[0]


def test_all_sketches_of_a_photo_are_in_its_split(tmp_path):
    data = build(tree(tmp_path))
    assert data.classes == ["cat", "hot-air_balloon"] and data.notes == []
    assert {name: (len(s.sketch), len(s.photo)) for name, s in data.splits.items()} == {
        "train": (36, 12),
        "val": (12, 4),
        "test": (12, 4),
    }
    for split in data.splits.values():
        by_group = dict(zip(split.photo.groups.tolist(), split.photo.ids, strict=True))
        assert len(by_group) == len(split.photo)
        for sketch, group in zip(split.sketch.ids, split.sketch.groups.tolist(), strict=True):
            assert by_group[group] == photo_of(sketch) + ".jpg"


def test_pixels_belong_to_their_names_and_ink_is_turned(tmp_path):
    data = build(tree(tmp_path))
    test = data.splits["test"]
    shown = test.photo.gather(torch.arange(len(test.photo)))
    for name, pixels in zip(test.photo.ids, shown, strict=True):
        c, i = (int(x) for x in Path(name).stem[1:].split("_"))
        assert abs(int(pixels.float().median()) - (20 * i + c)) <= 3
    drawn = data.prepare(test.sketch.gather(torch.arange(3)), None)
    assert drawn.shape == (3, 1, 8, 8) and drawn.median() == 0  # dark on white became bright on black


def test_document_001s_division_by_sketch_leaks_and_says_so(tmp_path):
    data = build(tree(tmp_path), split_by="sketch", splits=replace(FRACTION, train=0.8, val=0.2, test=0.0))
    train, val = data.splits["train"], data.splits["val"]
    assert len(train.sketch) == 48 and len(val.sketch) == 12 and not set(train.sketch.ids) & set(val.sketch.ids)
    known = set(train.photo.ids) & set(val.photo.ids)
    assert {photo_of(name) + ".jpg" for name in val.sketch.ids} == set(val.photo.ids)
    assert known and data.notes[0].startswith(f"LEAK: {len(known)} of the {len(val.photo.ids)} val photos are training")


def test_the_official_list_is_the_test_split(tmp_path):
    root = tree(tmp_path)
    (root / "list.txt").write_text("cat/n0_3.jpg\nhot-air_balloon/n1_0.jpg\nzebra/n9_1.jpg\n")
    data = build(root, test_list="list.txt", splits=replace(FRACTION, rule="official"))
    assert set(data.splits["test"].photo.ids) == {"cat/n0_3.jpg", "hot-air_balloon/n1_0.jpg"}
    assert len(data.splits["test"].sketch) == 6 and len(data.splits["val"].photo) == 4
    assert any("val" in note and "train samples serve" in note for note in data.notes)
    with pytest.raises(UserError, match=r"needs the list of test photos .*no\.txt .*choose data/splits=fraction"):
        build(root, test_list="no.txt", splits=replace(FRACTION, rule="official"))
    (root / "list.txt").write_text("zebra/1.jpg\n")
    with pytest.raises(UserError, match="none of its 1 lines names one of the 20 photos, first zebra/1.jpg; expected"):
        build(root, test_list="list.txt", splits=replace(FRACTION, rule="official"))


def test_fewer_of_each(tmp_path):
    data = build(tree(tmp_path), per_class=5, per_photo=2)
    assert sum(len(s.photo) for s in data.splits.values()) == 10
    assert sum(len(s.sketch) for s in data.splits.values()) == 20 and data.notes == []


def test_only_classes_are_known(tmp_path):
    root = tree(tmp_path)
    draw(root / "sketches" / "cat" / "mine.png", 3)
    data = build(root, photo_of="")
    split = data.splits["train"]
    assert not split.objects and not set(split.sketch.groups.tolist()) & set(split.photo.groups.tolist())
    assert "only the classes of sketches and photos are known" in data.notes[-1]
    assert sum(len(s.sketch) for s in data.splits.values()) == 61


# --- mistakes: said, never dropped in silence


def test_a_sketch_without_its_photo(tmp_path):
    root = tree(tmp_path)
    (root / "photos" / "cat" / "n0_4.jpg").unlink()
    with pytest.raises(UserError) as error:
        build(root)
    first, *names = str(error.value).splitlines()
    assert "3 of 60 sketches under" in first and "have no photo of that name in" in first and "on_bad=skip" in first
    assert names == [f"  cat/n0_4-{k}.png" for k in (1, 2, 3)]
    data = build(root, on_bad="skip")
    assert sum(len(s.sketch) for s in data.splits.values()) == 57
    assert "3 of 60 sketches" in data.notes[0] and "cat/n0_4-1.png, cat/n0_4-2.png, cat/n0_4-3.png" in data.notes[0]


def test_a_name_without_the_last_hyphen(tmp_path):
    root = tree(tmp_path)
    (root / "sketches" / "cat" / "n0_4-1.png").rename(root / "sketches" / "cat" / "n0_4_1.png")
    with pytest.raises(UserError, match=r"1 of 60 .* names that data\.photo_of=\(\.\+\)-\\d\+ does not match"):
        build(root)
    assert "cat/n0_4_1.png" in build(root, on_bad="skip").notes[0]


def test_a_photo_without_a_sketch_stays_and_is_told(tmp_path):
    root = tree(tmp_path)
    for k in (1, 2, 3):
        (root / "sketches" / "cat" / f"n0_4-{k}.png").unlink()
    data = build(root)
    assert data.notes == ["1 of 20 photos have no sketch; they stay: cat/n0_4.jpg"]
    assert sum(len(s.photo) for s in data.splits.values()) == 20


def test_an_unreadable_photo_takes_its_sketches_along(tmp_path):
    root = tree(tmp_path)
    (root / "photos" / "cat" / "n0_4.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="1 of 20 images under .* cannot be read"):
        build(root)
    notes = build(root, on_bad="skip").notes
    assert "3 sketches left out, their photo is unreadable: cat/n0_4-1.png, cat/n0_4-2.png, cat/n0_4-3.png" in notes


def test_a_class_with_one_item_and_classes_of_one_side(tmp_path):
    root = tree(tmp_path)
    draw(root / "photos" / "zebra" / "z.jpg", 3, "RGB")
    assert "left out, only in data.photos: zebra" in build(root).notes[0]
    draw(root / "sketches" / "zebra" / "z-1.png", 3)
    with pytest.raises(UserError, match="class 'zebra' has 1 item: too few for data.splits"):
        build(root)
    with pytest.raises(UserError, match="no class 'dog' in .*photos|no class 'dog' in .*sketches"):
        build(root, classes=["cat", "dog"])


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"split_by": "class"}, "data.split_by=class: expected photo or sketch"),
        ({"photo_of": "(.+"}, "data.photo_of='(.+': "),
        ({"photo_of": ".+"}, "data.photo_of='.+': expected a bracket"),
        ({"photo_of": "", "split_by": "sketch"}, "need data.photo_of"),
        ({"splits": replace(FRACTION, rule="official"), "split_by": "sketch"}, "official lists photos"),
        ({"splits": replace(FRACTION, rule="official")}, "has no official list"),
        ({"splits": replace(FRACTION, train_at_most=4)}, "pairs cannot leave training samples out"),
        ({"photos": "pictures"}, "no folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, said):
    with pytest.raises(UserError) as error:
        build(tree(tmp_path), **changes)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_namesakes_and_no_common_class(tmp_path):
    root = tree(tmp_path / "a")
    draw(root / "photos" / "cat" / "n0_1.png", 3, "RGB")
    with pytest.raises(UserError, match="1 photos have a namesake, first cat/n0_1.jpg and cat/n0_1.png"):
        build(root)
    other = tmp_path / "b"
    draw(other / "photos" / "cat" / "a.jpg", 3, "RGB")
    draw(other / "sketches" / "dog" / "a-1.png", 3)
    with pytest.raises(UserError, match="no class folder is on both sides: sketches has dog; photos has cat"):
        build(other)


def test_show_counts_photos_and_sketches_by_class_and_check_looks_across_splits(tmp_path, monkeypatch, capsys):
    root = tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert command(["show", "pairs", f"data.root={root}"]) == 0
    page = (tmp_path / "outputs" / "data" / "pairs.html").read_text()
    assert "photo 20, sketch 60" in page and "<td>cat<td class=n>10<td class=n>30" in page
    command(["check", "pairs", f"data.root={root}"])
    assert "train photo 16, train sketch 48" in capsys.readouterr().out


@pytest.mark.realdata
def test_sketchy_as_it_is_downloaded():
    if not (REAL / "sketchy").is_dir():
        pytest.skip("SKETCHLAB_DATA has no sketchy")
    run = border.from_overrides(["model=small_siamese", "data=sketchy", f"data.root={REAL}"])
    data = run.data.build(run.model.config.input)
    assert data.notes == [] and {i for s in data.splits.values() for i in s.sketch.ids if i.count("-") > 1} == set()
    assert not set(data.splits["train"].photo.ids) & set(data.splits["test"].photo.ids)
