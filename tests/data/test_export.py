"""python -m sketchlab.data export: what is written is what was there, and spares what is a user's. JSON arrays."""

from __future__ import annotations

import gzip
import json
import subprocess

import ndjson
import numpy as np
import pytest
import torch
from PIL import Image

from sketchlab import config
from sketchlab.data import __main__ as cli
from sketchlab.data.commands import export
from sketchlab.data.sets import shapes
from sketchlab.data.strokes import batch, raster, svg
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from tests import every
from tests.data.test_ndjson_simplify import record, write
from tests.data.test_raster import random_drawings

POINTS = Input("points", 256, 3, "dark", [0.0], [1.0])
NAMES = ("circle", "house")
FEW = ("data.classes=[circle,house]", "data.per_class=10")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def run(capsys, *words):
    code = cli.main(list(map(str, words)))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def built(*words):
    return config.from_overrides(["model=stroke_lstm", *map(str, words)]).data.build(POINTS)


def content(data):
    """Split → id → drawing."""
    out = {}
    for name, split in data.splits.items():
        drawings = batch.to_drawings(split.gather(torch.arange(len(split))))
        out[name] = dict(zip(split.ids, drawings, strict=True))
    return out


def test_ndjson_reads_back_the_same_drawings_ids_and_splits(places, capsys):
    code, out, _ = run(capsys, "export", "shapes", "--to", "ndjson", *FEW)
    assert code == 0 and "wrote 20 drawings of 2 classes to shapes-ndjson" in out
    assert sorted(path.name for path in places.rglob("*.ndjson")) == ["circle.ndjson", "house.ndjson"]
    again = content(built("data=strokes", "data.root=shapes-ndjson"))
    assert again == content(built("data=shapes", *FEW)) and sum(map(len, again.values())) == 20
    with open("shapes-ndjson/house.ndjson") as file:
        rows = ndjson.load(file)
    assert {row["word"] for row in rows} == {"house"} and len(rows) == 10
    assert {row["key_id"]: row["drawing"] for row in rows}["00007"] == shapes.drawing("house", 7)


def test_what_is_exported_is_trained_on(places, tmp_path, capsys):
    run(capsys, "export", "shapes", "--to", "ndjson", "--out", "mine", *every.SMALL_DATA[:2])
    words = [word for word in every.small("stroke_lstm", "loop.epochs=1") if word != "data=shapes"]
    words = [word for word in words if "per_class" not in word]
    every.train([*words, "data=strokes", f"data.root={places / 'mine'}"], str(tmp_path / "runs"))
    status = json.loads((every.folder_in(tmp_path / "runs") / "status.json").read_text())
    assert status["state"] == "finished"


def test_marks_of_recognition_are_kept(tmp_path, capsys):
    rows = [
        record(drawing, word="cat", key_id=str(i), recognized=(True, False, None)[i % 3])
        for i, drawing in enumerate(random_drawings(30, 0))
    ]
    (tmp_path / "drawings").mkdir()
    write(tmp_path / "drawings" / "cat.ndjson", rows)
    run(capsys, "export", "strokes", f"data.root={tmp_path / 'drawings'}", "--to", "ndjson", "--out", "out")
    with open("out/cat.ndjson") as file:
        again = {row["key_id"]: row["recognized"] for row in ndjson.load(file)}
    assert again == {str(i): False if i % 3 == 1 else None for i in range(30)}
    recognized = [content(built("data=strokes", f"data.root={root}", "data.recognized_only=true")) for root in
                  (tmp_path / "drawings", "out")]  # fmt: skip
    assert recognized[0] == recognized[1] and sum(map(len, recognized[0].values())) == 20


def test_svg_and_png_are_a_file_a_drawing(places, capsys):
    for to in ("svg", "png"):
        assert run(capsys, "export", "shapes", "--to", to, *FEW)[0] == 0
    for name in NAMES:
        paths = sorted((places / "shapes-svg" / name).iterdir())
        assert [path.name for path in paths] == [f"{i:05d}.svg" for i in range(10)]
        for number, path in enumerate(paths):
            strokes = [stroke.T.tolist() for stroke in svg.strokes(path.read_bytes())]
            assert strokes == shapes.drawing(name, number)
        paths = sorted((places / "shapes-png" / name).iterdir())
        assert [path.name for path in paths] == [f"{i:05d}.png" for i in range(10)]
        expected = raster.pictures(batch.of_drawings([shapes.drawing(name, 4)]), 256)[0, 0].numpy()
        assert np.array_equal(np.asarray(Image.open(paths[4])), expected) and expected.max() == 255
    read = content(built("data=strokes", "data.root=shapes-svg", "data.format=svg"))
    assert read.keys() == content(built("data=shapes", *FEW)).keys() and sum(map(len, read.values())) == 20
    images = config.data("folder", ["data.root=shapes-png"]).build(Input("images", 32, 1, "dark", [0.0], [1.0]))
    assert images.classes == list(NAMES) and sum(map(len, images.splits.values())) == 20


@pytest.mark.slow
def test_only_its_own_earlier_export_is_replaced(places, capsys):
    ask = ("export", "shapes", "--to", "ndjson", "--out", "out")
    (places / "out").mkdir()  # empty: fine
    assert run(capsys, *ask, *FEW)[0] == 0
    assert run(capsys, *ask, FEW[0], "data.per_class=12")[0] == 0  # an earlier export, untouched
    assert len((places / "out" / "house.ndjson").read_text().splitlines()) == 12
    assert [path.name for path in places.iterdir()] == ["out"]  # nothing temporary stays
    for spoil in (
        lambda: (places / "out" / "notes.txt").write_text("mine"),
        lambda: (places / "out" / "house.ndjson").open("a").write("{}\n"),
        lambda: (places / "out" / "house.ndjson").unlink(),
        lambda: (places / "out" / export.MARK).unlink(),
    ):
        spoil()
        before = sorted(path.name for path in (places / "out").iterdir())
        code, _, err = run(capsys, *ask, *FEW)
        assert code == 1 and "not empty, and not an earlier export of shapes to ndjson" in err and err.count("\n") == 1
        assert sorted(path.name for path in (places / "out").iterdir()) == before
        for path in (places / "out").iterdir():
            path.unlink()
        assert run(capsys, *ask, *FEW)[0] == 0
    assert run(capsys, "export", "shapes", "--to", "svg", "--out", "out", *FEW)[0] == 1


def test_what_fails_half_way_leaves_the_earlier_export(places, capsys, monkeypatch):
    ask = ("export", "shapes", "--to", "svg", *FEW)
    assert run(capsys, *ask)[0] == 0
    before = {path: path.read_bytes() for path in (places / "shapes-svg").rglob("*.svg")}

    killed = subprocess.Popen(["true"])
    killed.wait()
    (places / f".shapes-svg.{killed.pid}.tmp" / "house").mkdir(parents=True)  # what a killed export left

    def full(drawing):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "svg", full)
    code, _, err = run(capsys, *ask)
    assert code == 1 and "cannot write it: No space left on device" in err
    assert {path: path.read_bytes() for path in (places / "shapes-svg").rglob("*.svg")} == before
    assert [path.name for path in places.iterdir()] == ["shapes-svg"]


def test_refused_in_one_line(places, tmp_path, capsys):
    (tmp_path / "drawings").mkdir()
    write(
        tmp_path / "drawings" / "cat.ndjson",
        [record(d, key_id=f"a/{i // 2}") for i, d in enumerate(random_drawings(40, 0))],
    )
    (places / "file").write_text("")
    root = f"data.root={tmp_path / 'drawings'}"
    for words, expected in (
        (("folder", "--to", "svg"), "folder gives images: only sets of strokes can be exported"),
        (("shape", "--to", "svg"), "shape: no such data set"),
        (("shapes", "--to", "svg", "--out", "file", *FEW), "expected a folder, this is a file"),
        (("strokes", "--to", "svg", root), "two drawings of cat are called a/"),
    ):
        code, _, err = run(capsys, "export", *words)
        assert code == 1 and expected in err and err.count("\n") == 1
    assert run(capsys, "export", "strokes", root, "--to", "ndjson", "--out", "cats")[0] == 0
    with pytest.raises(SystemExit):
        cli.main(["export", "shapes", "--to", "svg", "--nonsense"])


# --- one JSON file per word, an array of drawings


@pytest.fixture
def arrays(tmp_path):
    """Two words: bare arrays of strokes, and objects in a packed file."""
    drawings = random_drawings(40, 3)
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / "cat.json").write_text(json.dumps(drawings[:20], indent=1))
    packed = [{"drawing": drawing, "key_id": f"d{i}"} for i, drawing in enumerate(drawings[20:])]
    with gzip.open(tmp_path / "arrays" / "dog.json.gz", "wt") as file:
        json.dump(packed, file)
    return tmp_path / "arrays", drawings


def test_json_arrays_are_read_as_ndjson_is(arrays, tmp_path):
    folder, drawings = arrays
    (tmp_path / "lines").mkdir()
    write(tmp_path / "lines" / "cat.ndjson", [record(d, key_id="") for d in drawings[:20]])
    write(tmp_path / "lines" / "dog.ndjson", [record(d, key_id=f"d{i}") for i, d in enumerate(drawings[20:])])
    read = content(built("data=strokes", f"data.root={folder}", "data.format=json"))
    assert read == content(built("data=strokes", f"data.root={tmp_path / 'lines'}"))
    assert sum(map(len, read.values())) == 40


def test_json_that_is_no_array_of_drawings_says_where(arrays):
    folder, drawings = arrays
    words = ("data=strokes", f"data.root={folder}", "data.format=json")
    (folder / "cat.json").write_text(json.dumps([*drawings[:3], 7, {"strokes": []}, [[[1]]]]))
    with pytest.raises(UserError) as refused:
        built(*words)
    lines = [line.strip() for line in str(refused.value).splitlines()]
    assert lines[0].startswith("3 of 26 drawings")
    assert lines[1:] == [
        'cat: drawing 4: no object with "drawing"',
        'cat: drawing 5: no object with "drawing"',
        "cat: drawing 6: stroke 0 is not [[x…], [y…]] or [[x…], [y…], [t…]]",
    ]
    for text, expected in (
        ('{"a": 1}', "cat.json: expected an array of drawings, got dict"),
        (
            '{"drawing": []}\n{"drawing": []}\n',
            r"cat.json: no JSON: .*with a drawing in each line is called .ndjson",
        ),
    ):
        (folder / "cat.json").write_text(text)
        with pytest.raises(UserError, match=expected):
            built(*words)
    with pytest.raises(UserError, match=r"no \.ndjson or \.ndjson\.gz files in"):
        built("data=strokes", f"data.root={folder}")
