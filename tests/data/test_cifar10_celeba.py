from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sketchlab.data import splits
from sketchlab.data.images import augment
from sketchlab.data.sets import celeba, cifar10
from sketchlab.errors import UserError
from sketchlab.inputs import Input

OFFICIAL = splits.Config(
    rule="official",
    train=0.8,
    val=0.1,
    test=0.1,
    folds=3,
    fold=0,
    train_at_most=None,
    seed=0,
    test_classes=None,
    val_classes=None,
    published=None,
)
NONE = augment.Config(0, 0.0, 0.0, [1.0, 1.0], 0.0, 1.0, 0.0, [0.02, 0.2], {})
INPUT = Input("images", 32, 3, "bright", [0.0] * 3, [1.0] * 3)
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def cifar(tmp_path):
    """40 images a batch; image i of batch b has label i % 10, red i, green 100 + b, and one white pixel."""
    folder = tmp_path / cifar10.FOLDER
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    for b, name in enumerate(cifar10.BATCHES):
        records = np.zeros((40, 3073), np.uint8)
        records[:, 0] = np.arange(40) % 10
        records[:, 1:1025] = np.arange(40)[:, None]
        records[:, 1025:2049] = 100 + b
        records[:, 1 + 5] = 255  # red, row 0, column 5
        records.tofile(folder / f"{name}.bin")
    return tmp_path


def config(root, **changes):
    values = {"root": str(root), "classes": None, "per_class": None}
    return cifar10.Config(**(values | {"splits": OFFICIAL, "augment": NONE} | changes))


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


def test_cifar10_reads_records_as_published(cifar):
    data = cifar10.build(config(cifar), INPUT)
    assert data.classes == NAMES and sizes(data) == {"train": 180, "val": 20, "test": 40}
    assert all(i.startswith("test_batch/") for i in data.splits["test"].ids)
    for split in data.splits.values():
        raw = split.gather(torch.arange(len(split)))
        for image, label, name in zip(raw, split.labels, split.ids, strict=True):
            batch, _, i = name.partition("/")
            assert int(i) % 10 == label and image[0, 9, 9] == int(i)
            assert image[1, 0, 0] == 100 + list(cifar10.BATCHES).index(batch)
            assert image[0, 0, 5] == 255 and image[2].max() == 0
    assert data.prepare(raw, None).shape == (40, 3, 32, 32)
    assert cifar10.build(config(cifar), replace(INPUT, size_px=64)).prepare(raw, None).shape == (40, 3, 64, 64)


def test_cifar10_classes_and_caps(cifar):
    data = cifar10.build(config(cifar, classes=["truck", "cat"]), INPUT)
    assert data.classes == ["truck", "cat"] and sizes(data) == {"train": 36, "val": 4, "test": 8}
    assert (data.splits["test"].gather(torch.arange(8))[:, 0, 9, 9] % 10 == 9).tolist() == (
        data.splits["test"].labels == 0
    ).tolist()
    few = cifar10.build(config(cifar, per_class=2, splits=replace(OFFICIAL, val=0.0)), INPUT)
    assert sizes(few) == {"train": 20, "test": 20}


def test_cifar10_by_fraction(cifar):
    assert sizes(cifar10.build(config(cifar, splits=replace(OFFICIAL, rule="fraction")), INPUT))["train"] == 190


def test_cifar10_refuses_what_is_damaged(cifar):
    with pytest.raises(UserError, match="did you mean truck"):
        cifar10.build(config(cifar, classes=["truk"]), INPUT)
    path = cifar / cifar10.FOLDER / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match="data_batch_3.bin.*multiple of 3073"):
        cifar10.build(config(cifar), INPUT)
    path.unlink()
    with pytest.raises(UserError, match="data_batch_3.bin: No such file.*fetch cifar10"):
        cifar10.build(config(cifar), INPUT)
    with pytest.raises(UserError, match="no folder.*fetch cifar10"):
        cifar10.build(config(cifar / "other"), INPUT)


@pytest.fixture
def faces(tmp_path):
    folder = tmp_path / celeba.FOLDER
    folder.mkdir(parents=True)
    for i in range(1, 11):
        Image.new("RGB", (178, 218), (i, 2 * i, 3 * i)).save(folder / f"{i:06d}.jpg", quality=95)
    lines = [f"{i:06d}.jpg {0 if i < 7 else 1 if i < 9 else 2}" for i in range(1, 11)]
    (tmp_path / celeba.LIST).write_text("\n".join(lines) + "\n")
    return tmp_path


def face_config(root, **changes):
    values = {"root": str(root), "classes": None, "per_class": None, "on_bad": "error", "resize": "crop"}
    return celeba.Config(**(values | {"splits": OFFICIAL, "augment": NONE} | changes))


def test_celeba_by_the_official_list(faces):
    data = celeba.build(face_config(faces), INPUT)
    assert data.classes == ["face"] and sizes(data) == {"train": 6, "val": 2, "test": 2}
    assert data.splits["val"].ids == ["000007.jpg", "000008.jpg"]
    assert data.splits["val"].gather(torch.tensor([0])).shape == (1, 3, 32, 32)
    assert sizes(celeba.build(face_config(faces, per_class=1), INPUT)) == {"train": 1, "val": 1, "test": 1}


def test_celeba_without_the_list(faces):
    (faces / celeba.LIST).unlink()
    with pytest.raises(UserError, match="list_eval_partition.txt.*data/splits=fraction"):
        celeba.build(face_config(faces), INPUT)
    assert sizes(celeba.build(face_config(faces, splits=replace(OFFICIAL, rule="fraction")), INPUT))["train"] == 8


def test_celeba_refuses_other_lists_and_classes(faces):
    with pytest.raises(UserError, match="no class 'woman'"):
        celeba.build(face_config(faces, classes=["woman"]), INPUT)
    (faces / celeba.LIST).write_text("000001.jpg 0\n")
    with pytest.raises(UserError, match="does not list 9"):
        celeba.build(face_config(faces), INPUT)
    (faces / celeba.LIST).write_text("000001.jpg train\n")
    with pytest.raises(UserError, match="expected lines as"):
        celeba.build(face_config(faces), INPUT)
