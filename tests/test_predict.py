"""A finished run on files: every file a row, in order; what cannot be read says why and stops no other."""

from __future__ import annotations

import io
import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sketchlab import open_run, predict
from sketchlab.errors import UserError
from tests import every, finished
from tests.finished import change_status


@pytest.fixture
def trained(tmp_path_factory):
    return finished.trained(tmp_path_factory)


@pytest.fixture
def images(tmp_path):
    """Odd ones, all readable: grey, colour, transparent, palette, 16 bits, 1×1, long; and what lies beside them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    colour = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(colour).save(folder / "b colour.PNG")
    Image.fromarray(colour[..., 0]).save(folder / "inner" / "grey.jpg")
    Image.fromarray(np.dstack([colour, colour[..., :1]])).save(folder / "rgba.png")
    Image.fromarray(colour).convert("P").save(folder / "palette.png")
    Image.fromarray(colour[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(colour[:1, :1]).save(folder / "a one.png")
    Image.fromarray(np.tile(colour, (1, 30, 1))).save(folder / "long.png")
    (folder / "notes.txt").write_text("not an image")
    (folder / ".hidden.png").write_text("never meant")
    return folder


def run(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        predict.main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_folder_recursive_and_sorted_with_every_probability(trained, images, tmp_path, capsys):
    assert run(trained, images, "--out", tmp_path / "out.csv", "-k", 2) == 0
    said = capsys.readouterr()
    table = pd.read_csv(tmp_path / "out.csv")
    names = [os.path.relpath(name, images) for name in table["image"]]
    assert names == ["a one.png", "b colour.PNG", "deep.png", "inner/grey.jpg", "long.png", "palette.png", "rgba.png"]
    shares = table[["p_circle", "p_square", "p_line"]]
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert list(table["prediction"]) == [name.removeprefix("p_") for name in shares.idxmax(axis=1)]
    rows = said.out.splitlines()
    assert len(rows) == 7 and rows[1].count(" 0.") == 2 and table["prediction"][1] in rows[1]
    assert "1 other files left alone" in said.err


def test_order_given_and_names_from_standard_input(trained, images, tmp_path, capsys, monkeypatch):
    names = [images / "rgba.png", images / "a one.png", images / "rgba.png"]
    read = io.TextIOWrapper(io.BytesIO(os.fsencode(f"{names[2]}\r\n\n")))
    monkeypatch.setattr(sys, "stdin", read)
    assert run(trained, names[0], names[1], "-", "--out", tmp_path / "out.csv") == 0
    assert list(pd.read_csv(tmp_path / "out.csv")["image"]) == [str(name) for name in names]


def test_bad_files_are_rows_with_a_reason_and_the_others_are_done(trained, images, tmp_path, capsys):
    (images / "empty.png").write_bytes(b"")
    (images / "cut.png").write_bytes((images / "b colour.PNG").read_bytes()[:300])
    (images / "text.png").write_text("hello")
    os.mkfifo(tmp_path / "pipe.png")
    frames = [Image.new("L", (9, 9), shade) for shade in (0, 255)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "cat.ndjson").write_text("{}")
    more = [tmp_path / name for name in ("pipe.png", "moving.gif", "cat.ndjson", "gone.png")]
    assert run(trained, images, *more, "--out", tmp_path / "out.csv") == 1
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False).set_index("image")
    why = {os.path.basename(name): said for name, said in table["error"].items() if said}
    assert set(why) == {"empty.png", "cut.png", "text.png", "pipe.png", "moving.gif", "cat.ndjson:1", "gone.png"}
    for name, word in (("empty", "empty file"), ("text", "not an image"), ("pipe", "not a file"), ("gone", "No such")):
        assert word in why[f"{name}.png"]
    assert "animated" in why["moving.gif"] and "no object" in why["cat.ndjson:1"]
    assert (table["prediction"] != "").sum() == 7
    assert "7 of 14 rows could not be read" in capsys.readouterr().err


def test_many_files_in_batches_are_the_same_as_one_by_one(trained, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (7, 30, 30), dtype=np.uint8)
    names = [tmp_path / f"{i}.png" for i in range(7)]
    for name, square in zip(names, pixels, strict=True):
        Image.fromarray(square).save(name)
    opened = open_run(trained)
    whole = opened.predict(names)
    monkeypatch.setattr("sketchlab.runs.notebook.BATCH", 2)
    parts, arrays = opened.predict(names), opened.predict(pixels)
    for other in (parts, arrays):
        assert np.allclose(whole.filter(like="p_"), other.filter(like="p_"), atol=1e-6)
    assert np.array_equal(parts.filter(like="p_"), arrays.filter(like="p_"))  # a file and its pixels: the same bits


def test_predictions_are_those_of_the_run(trained, tmp_path):
    """The run's own test samples, written to files, get the probabilities that the run wrote down."""
    from sketchlab.data.sets import shapes
    from sketchlab.data.sets.shapes import hand as shape_hand

    table = pd.read_csv(trained / "predictions_test.csv").head(4)
    for i, name in enumerate(table["id"]):
        kind, number = name.split("/")
        Image.fromarray(shape_hand.render(shapes.drawing(kind, int(number)), 64)).save(tmp_path / f"{i}.png")
    said = open_run(trained).predict([tmp_path / f"{i}.png" for i in range(4)])
    columns = ["p_circle", "p_square", "p_line"]
    assert np.allclose(said[columns], table[columns], atol=1e-5)


def test_ink_is_turned_as_the_network_takes_it(trained):
    dark = np.full((1, 64, 64), 255, np.uint8)
    dark[0, 20:40, 30:33] = 0
    opened = open_run(trained)
    columns = ["p_circle", "p_square", "p_line"]
    assert np.array_equal(opened.predict(dark)[columns], opened.predict(255 - dark, ink="bright")[columns])
    assert not np.array_equal(opened.predict(dark)[columns], opened.predict(255 - dark)[columns])


def test_refused_in_one_line(trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    cases = [
        ([tmp_path / "nowhere", "x.png"], "no such folder"),
        ([tmp_path, "x.png"], "not a run folder (it has no config.yaml)"),
        ([trained, tmp_path / "empty"], "no images in this folder"),
        ([trained, "-"], "standard input held no file name"),
        ([trained, "x.png", "-k", "0"], "-k 0: expected at least 1"),
        ([trained, "x.png", "--out", tmp_path / "no" / "x.csv"], "expected a file name in a folder that exists"),
    ]
    for words, said in cases:
        assert run(*words) == 1
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1 and said in line
    assert run(trained, "x.png", "--nonsense") == 2 and "--nonsense" in capsys.readouterr().err


def test_run_still_training_interrupted_or_of_a_gan(trained, tmp_path, capsys):
    for state, said in (("running", "still training"), ("interrupted", "is interrupted, not finished")):
        other = change_status(trained, tmp_path / state, state=state)
        assert run(other, "x.png") == 1 and said in capsys.readouterr().err
    gan = change_status(trained, tmp_path / "gan", state="finished")
    declared = json.loads((gan / "scores.json").read_text())
    (gan / "scores.json").write_text(json.dumps(declared | {"answers": "images"}))
    assert run(gan, "x.png") == 1 and "answers with images; expected classes" in capsys.readouterr().err
    (gan / "config.yaml").write_text("[")
    assert run(gan, "x.png") == 1 and "no readable YAML" in capsys.readouterr().err


def test_baseline_answers_too(tmp_path, monkeypatch):
    from sketchlab import config
    from sketchlab.training import session

    monkeypatch.setattr(session, "report", lambda folder: None)
    session.execute(config.from_overrides([*every.small("pixels_logistic"), f"run.root={tmp_path}"]))
    folder = every.folder_in(tmp_path)
    white = np.full((2, 32, 32), 255, np.uint8)
    table = open_run(folder).predict(white)
    assert np.allclose(table.filter(like="p_").sum(axis=1), 1)
    with pytest.raises(UserError, match="no single network"):
        open_run(folder).network()


def test_an_svg_file_is_the_drawing_that_it_holds(trained, tmp_path, capsys):
    strokes = [[[0, 120, 255], [0, 200, 10]], [[30, 60], [90, 90]]]
    paths = [" ".join(f"{x},{y}" for x, y in zip(*stroke, strict=True)) for stroke in strokes]
    shapes = "".join(f'<polyline points="{points}" fill="none" stroke="black"/>' for points in paths)
    (tmp_path / "one.SVG").write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{shapes}</svg>')
    (tmp_path / "two.ndjson").write_text(json.dumps({"drawing": strokes}))
    (tmp_path / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><image href="x.png"/></svg>')
    assert run(trained, tmp_path, "--out", tmp_path / "out.csv") == 1
    table = (
        pd.read_csv(tmp_path / "out.csv").assign(image=lambda t: t["image"].map(os.path.basename)).set_index("image")
    )
    shares = [name for name in table if name.startswith("p_")]
    assert np.array_equal(table.loc["one.SVG", shares], table.loc["two.ndjson:1", shares])
    assert "only paths and basic shapes are read" in table.loc["picture.svg", "error"]
