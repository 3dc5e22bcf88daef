"""A finished run asked about drawings: drawn as its own data were, a line a row, changed as strokes under stress."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import sketchlab.models
from sketchlab import components, evaluate, open_run, predict, rng
from sketchlab.data.sets import shapes
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.data.strokes import raster, simplify
from sketchlab.data.strokes.prepare import Prepare
from sketchlab.errors import UserError
from sketchlab.runs import reading
from sketchlab.runs.classify import stress_strokes
from tests import every, finished

NAMES = ["circle", "square", "line"]
MODEL = """
from dataclasses import dataclass
import torch
from torch import nn
from sketchlab import inputs
from sketchlab.inputs import Input

GIVES = ("logits",)

@dataclass(frozen=True)
class Config:
    input: Input

class Net(nn.Module):
    def __init__(self, input, n_classes):
        super().__init__()
        self.points = input.kind == "points"
        self.head = nn.Linear(input.channels * (1 if self.points else input.size_px**2), n_classes)

    def forward(self, x):
        if not self.points:
            return self.head(x.flatten(1))
        real = inputs.lengths(x)
        known = torch.arange(x.shape[1], device=x.device) < real[:, None]
        return self.head((x.abs() * known[..., None]).sum(1) / real[:, None])

def build(config, n_classes):
    return Net(config.input, n_classes)
"""
INPUTS = {
    "frames": "{kind: frames, size_px: 16, channels: 4, ink: bright, mean: [0.5], std: [0.5]}",
    "points": "{kind: points, size_px: 1, channels: 5, ink: bright, mean: [0.0], std: [0.1]}",
}
KINDS = ("images", "strokes", "frames", "points")  # strokes: images drawn from data kept as strokes


@pytest.fixture(autouse=True)
def extra(tmp_path_factory, monkeypatch):
    """Two tiny networks of a user's own, as SKETCHLAB_EXTRA would bring them."""
    root = tmp_path_factory.getbasetemp() / "tiny"
    (root / "conf" / "model").mkdir(parents=True, exist_ok=True)
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / "tiny_strokes.py").write_text(MODEL)
    for kind, values in INPUTS.items():
        (root / "conf" / "model" / f"tiny_{kind}.yaml").write_text(f"name: tiny_strokes\ninput: {values}\n")
    monkeypatch.setattr(components, "EXTRA", str(root))
    monkeypatch.setattr(sketchlab.models, "__path__", [*sketchlab.models.__path__, str(root / "models")])


@pytest.fixture
def words(tmp_path_factory):
    """The drawings of shapes as a folder of ndjson files."""
    return finished.drawings(tmp_path_factory)


@pytest.fixture
def trained(tmp_path_factory, words):
    """kind → a finished run."""

    def one(kind: str) -> Path:
        if kind == "images":
            return finished.trained(tmp_path_factory)
        model = "small_cnn" if kind == "strokes" else f"tiny_{kind}"
        data = ["data=strokes", f"data.root={words}", "data/raster=picture"] if kind == "strokes" else []
        more = ["loop.epochs=6", "data.per_class=16", "pipeline.explain=6", *data]
        return finished.run(tmp_path_factory, *every.small(model, *more))

    return one


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(evaluate, "_report", lambda folder: None)


def ask(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        predict.main([str(word) for word in words])
    return int(ended.value.code or 0)


def evaluated(*words) -> Path:
    return evaluate.evaluate(evaluate.parser().parse_intermixed_args([str(word) for word in words]))


def number_of(sample: str) -> tuple[str, int]:
    name, rest = sample.split("/")
    return name, int(rest.removeprefix(name))


# --- predict


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_gets_the_runs_own_answer(kind, trained, words, tmp_path, capsys):
    own = pd.read_csv(trained(kind) / "predictions_test.csv")
    capsys.readouterr()
    files = [words / f"{name}.ndjson" for name in NAMES]
    assert ask(trained(kind), *files, "--out", tmp_path / "out.csv") == 0
    table = pd.read_csv(tmp_path / "out.csv").set_index("image")
    assert len(table) == 48 and len(capsys.readouterr().out.splitlines()) == 48
    for row in own.to_dict("records"):
        name, number = number_of(row["id"])
        ours = table.loc[f"{words / name}.ndjson:{number + 1}"]
        assert ours["key_id"] == f"{name}{number:05d}" and ours["prediction"] == row["prediction"]
        for shape in NAMES:
            assert ours[f"p_{shape}"] == pytest.approx(row[f"p_{shape}"], abs=1e-5)


@pytest.mark.parametrize("kind", [pytest.param("strokes", marks=pytest.mark.slow), "points"])
def test_raw_drawings_are_brought_to_the_convention(kind, trained, tmp_path):
    drawing = shapes.drawing("square", 3)
    raw = [[[3.5 * x - 400 for x in xs], [3.5 * y + 90 for y in ys], list(range(len(xs)))] for xs, ys in drawing]
    with gzip.open(tmp_path / "raw.ndjson.GZ", "wt") as file:
        file.write(json.dumps({"drawing": raw, "recognized": None}) + "\n")
    assert ask(trained(kind), tmp_path / "raw.ndjson.GZ", "--out", tmp_path / "out.csv") == 0
    opened = open_run(trained(kind))
    said = opened.predict([simplify.convention(raw), raw, drawing])
    columns = [f"p_{name}" for name in NAMES]
    assert np.array_equal(said[columns].iloc[0], said[columns].iloc[1])
    assert np.allclose(pd.read_csv(tmp_path / "out.csv")[columns], said[columns].iloc[1], atol=1e-5)
    assert list(said["image"]) == ["0", "1", "2"]


def test_broken_lines_are_rows_and_the_others_are_done(trained, words, tmp_path, capsys):
    good = (words / "line.ndjson").read_text().splitlines()[0]
    bad = ["{", '{"drawing": []}', '{"drawing": [[[1, 2], [3]]], "key_id": "7"}', '{"word": "cat"}']
    (tmp_path / "mixed.ndjson").write_text("\n".join([bad[0], good, "", *bad[1:], good]))
    (tmp_path / "empty.ndjson").write_text("")
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress((good + "\n").encode() * 999)[:-12])
    os.mkfifo(tmp_path / "pipe.ndjson")
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(tmp_path / "a.png")
    run = trained("strokes")
    capsys.readouterr()
    names = [tmp_path / name for name in ("mixed.ndjson", "empty.ndjson", "a.png", "pipe.ndjson", "gone.ndjson")]
    assert ask(run, *names, tmp_path / "cut.ndjson.gz", "--out", tmp_path / "out.csv") == 1
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, dtype=str)
    rows = {os.path.relpath(row["image"], tmp_path): row for row in table.to_dict("records")}
    for name, why in {
        "mixed.ndjson:1": "no JSON",
        "mixed.ndjson:2": "",
        "mixed.ndjson:4": "no strokes",
        "mixed.ndjson:5": "stroke 0 has 2 x and 1 y",
        "mixed.ndjson:6": 'no object with "drawing"',
        "mixed.ndjson:7": "",
        "empty.ndjson": "no drawings in this file",
        "a.png": "",
        "pipe.ndjson": "not a file",
        "gone.ndjson": "No such file",
        "cut.ndjson.gz": "download that was cut",
    }.items():
        assert why in rows[name]["error"] and (rows[name]["prediction"] == "") == bool(why), name
    assert rows["mixed.ndjson:5"]["key_id"] == "7" and rows["cut.ndjson.gz:1"]["prediction"]
    assert rows["mixed.ndjson:2"]["p_line"] == rows["mixed.ndjson:7"]["p_line"]
    assert capsys.readouterr().err == f"8 of {len(table)} rows could not be read\n"


def test_a_file_is_read_as_its_rows_are_asked_for(trained, words, monkeypatch):
    """An endless file gives its first answers."""
    line = (words / "line.ndjson").read_bytes().splitlines()[0]
    endless = (reading.ndjson_files.parsed(i, line) for i in itertools.count(1))
    monkeypatch.setattr(reading.ndjson_files, "lines", lambda path: endless)
    monkeypatch.setattr(predict, "BATCH", 4)
    run = open_run(trained("points"))
    found = list(itertools.islice(predict.predictions(run, [str(words / "line.ndjson")], None), 6))
    assert [row.name[-1] for row, _ in found] == list("123456") and next(endless).number == 9


def test_a_folder_holds_drawings_too(trained, words, tmp_path, capsys):
    shutil.copy(words / "circle.ndjson", tmp_path)
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "z.png")
    runs_of = {kind: trained(kind) for kind in ("strokes", "frames", "points")}
    capsys.readouterr()
    assert ask(runs_of["strokes"], tmp_path) == 0
    assert len(capsys.readouterr().out.splitlines()) == 17
    for kind in ("frames", "points"):
        assert ask(runs_of[kind], tmp_path) == 1
        said = capsys.readouterr()
        line = next(row for row in said.out.splitlines() if "z.png" in row)
        assert f"a picture has no strokes, but this run's network takes {kind}: give .ndjson or .svg" in line
        assert "1 of 17 rows could not be read" in said.err


def test_drawings_from_python(trained):
    drawing = shapes.drawing("circle", 1)
    run = open_run(trained("frames"))
    columns = [f"p_{name}" for name in NAMES]
    plain = run.predict([drawing])[columns]
    as_arrays = [tuple((np.array(xs), tuple(ys)) for xs, ys in drawing)]
    assert np.array_equal(plain, run.predict(as_arrays)[columns])
    with pytest.raises(UserError, match="cannot read 1: no strokes"):
        run.predict([drawing, []])
    with pytest.raises(UserError, match=r"stroke 0 is not \[\[x…\], \[y…\]\]"):
        run.predict(drawing)  # one drawing instead of a list of them
    with pytest.raises(UserError, match="a picture has no strokes"):
        run.predict(np.full((1, 9, 9), 255, np.uint8))


def test_a_run_of_picture_files_sees_the_picture_of_a_drawing(trained, tmp_path):
    """Drawn, or drawn, saved as a picture and read: the same answer; photos' networks see it dark on white."""
    drawing = shapes.drawing("square", 2)
    look = raster.Config(4, 1, antialias=True, late="last", align="centre", margin=0.1)
    ink = raster.picture(stroke_batch.of_drawings([drawing]), look, 64)[0, 0].numpy()
    Image.fromarray(255 - ink).save(tmp_path / "drawn.png")
    columns = [f"p_{name}" for name in NAMES]
    for ink_of_data in ("dark", "bright", "none"):
        run = tmp_path / ink_of_data
        shutil.copytree(trained("images"), run)
        document = yaml.safe_load((run / "config.yaml").read_text())
        document["config"]["data"] = {"name": "folder", "ink": ink_of_data, "resize": "pad"}
        (run / "config.yaml").write_text(yaml.safe_dump(document))
        opened = open_run(run)
        picture = opened.predict([tmp_path / "drawn.png"], ink="none" if ink_of_data == "none" else "dark")
        assert np.allclose(opened.predict([drawing])[columns], picture[columns], atol=1e-6)
    turned = opened.predict([drawing], ink="dark")[columns]
    assert not np.allclose(turned, picture[columns])


# --- evaluate


@pytest.mark.parametrize("kind", KINDS)
def test_own_test_split_gives_the_runs_own_answers(kind, trained, tmp_path, quick):
    own = trained(kind)
    folder = evaluated(own, "--out", tmp_path)
    ours, theirs = (pd.read_csv(x / "predictions_test.csv").set_index("id").sort_index() for x in (own, folder))
    assert list(ours.index) == list(theirs.index)
    assert np.allclose(ours.filter(like="p_"), theirs.filter(like="p_"), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_other_drawings_are_drawn_as_the_run_was_trained(kind, trained, words, tmp_path, quick):
    """The same drawings under data=strokes get the answers that predict gives them."""
    (tmp_path / "w").mkdir()
    for path in words.iterdir():
        (tmp_path / "w" / path.name).write_text(path.read_text())
    folder = evaluated(trained(kind), "data=strokes", f"data.root={tmp_path / 'w'}", "--out", tmp_path)
    table = pd.read_csv(folder / "predictions_test.csv").set_index("id")
    assert len(table) == 48
    said = open_run(trained(kind)).predict([shapes.drawing("line", i) for i in range(16)])
    ours = table.loc[[f"line/line{i:05d}" for i in range(16)]]
    loose = 0.35 if kind == "images" else 1e-4  # the pen of shapes there, the rasteriser's nearest here
    assert np.allclose(said.filter(like="p_"), ours.filter(like="p_"), atol=loose)
    told = json.loads((folder / "evaluation.json").read_text())
    assert told["split"] == "all" and "drop" in told and "drawn with pool_px=4" in told["notes"][0]
    look = yaml.safe_load((folder / "config.yaml").read_text())["config"]["data"]["raster"]
    assert look["line_px"] == {"images": 5, "strokes": 6, "frames": 1, "points": 1}[kind]
    assert ("Grad-CAM" in json.loads((folder / "explain_test.json").read_text())) == (kind in ("frames", "points"))
    assert (folder / "arrays" / "test_cam.npy").exists() == (kind in ("images", "strokes"))


def test_a_raster_that_was_asked_for_is_used(trained, words, tmp_path, quick):
    (tmp_path / "w").mkdir()
    shutil.copy(words / "line.ndjson", tmp_path / "w")
    there = ["data=strokes", f"data.root={tmp_path / 'w'}", "data.classes=[line]"]
    asked = [trained("strokes"), *there, "--out", tmp_path]
    lines = {}
    for word in ("data.raster.line_px=9", "data/raster=frames", "data.on_bad=error"):
        folder = evaluated(*asked, word)
        lines[word] = yaml.safe_load((folder / "config.yaml").read_text())["config"]["data"]["raster"]["line_px"]
    assert list(lines.values()) == [9, 1, 6]


def test_classes_on_disk_are_known_without_reading_them(trained, words, tmp_path, capsys):
    (tmp_path / "w").mkdir()
    shutil.copy(words / "line.ndjson", tmp_path / "w" / "lines.ndjson")
    shutil.copy(words / "line.ndjson", tmp_path / "w" / "sun.ndjson")
    with pytest.raises(SystemExit):
        evaluate.main([str(trained("strokes")), "data=strokes", f"data.root={tmp_path / 'w'}"])
    line = capsys.readouterr().err
    assert "no class circle, square, line" in line and "it has lines, sun" in line and line.count("\n") == 1


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("strokes", "frames")), "points"]
)
def test_stress_and_page(kind, trained, words, tmp_path):
    folder = evaluated(trained(kind), "--stress", "--stress-images", 5, "--out", tmp_path)
    table = pd.read_csv(folder / "stress.csv")
    kinds = {"rotation", "scale", "shift_right", "shift_down", "first_strokes", "dropped_strokes"}
    assert set(table["kind"]) == kinds | ({"line_px"} if kind != "points" else set()) and (table["n"] == 5).all()
    neutral = {"rotation": 0, "scale": 1, "shift_right": 0, "shift_down": 0, "first_strokes": 1, "dropped_strokes": 0}
    neutral |= {} if kind == "points" else {"line_px": 6 if kind == "strokes" else 1}
    same = [table[(table["kind"] == k) & (table["level"] == v)]["k"].item() for k, v in neutral.items()]
    assert len(set(same)) == 1
    page = (folder / "report.html").read_text()
    assert "Under stress" in page and (kind != "strokes" or "Where it looked" in page)
    log = (folder / "train.log").read_text()
    assert ("Grad-CAM shows places in" in log) == (kind != "strokes")


# --- Grad-CAM


@pytest.mark.parametrize(
    ("kind", "why"),
    [("frames", "shows places in a map; this network has none"), ("points", "this network takes points, so there is")],
)
def test_no_grad_cam_is_said_not_raised(kind, why, trained):
    said = json.loads((trained(kind) / "explain_test.json").read_text())
    assert why in said["Grad-CAM"] and len(said) == 1
    assert not (trained(kind) / "arrays" / "test_cam.npy").exists()


def test_grad_cam_of_drawn_images_shows_what_the_network_saw(trained, words):
    run = trained("strokes")
    places = np.load(run / "arrays" / "test_cam_places.npy")
    pixels = np.load(run / "arrays" / "test_cam_pixels.npy")
    name, number = number_of(pd.read_csv(run / "predictions_test.csv")["id"][int(places[0])])
    opened = open_run(run)
    look = reading.raster_of(opened.config["data"], opened.input)
    drawn = raster.picture(stroke_batch.of_drawings([shapes.drawing(name, number)]), look, 64)[0, 0]
    assert look.line_px == 6 and np.array_equal(pixels[0], drawn)


# --- changes of strokes


CORNER = [[[0, 255], [0, 0]], [[255, 255], [0, 60]], [[0, 0], [0, 30]], [[10, 20], [5, 5]]]


def changed(kind, level, align="corner", drawings=(CORNER,)):
    raw = stroke_batch.of_drawings(list(drawings))
    keys = rng.fold_each(rng.fold(0, "test"), torch.arange(len(raw)))
    return stress_strokes.change(raw, kind, level, keys, align)


def test_changes_of_points_by_hand():
    points = changed("rotation", 90).points  # clockwise: from the right to below, then back into the top left corner
    assert torch.allclose(points[1], torch.tensor([60.0, 255]), atol=1e-3)
    assert torch.allclose(points.amin(0), torch.zeros(2), atol=1e-3) and points.max() == pytest.approx(255, abs=1e-3)
    assert torch.allclose(changed("rotation", 180).points, changed("rotation", -180).points, atol=1e-3)
    assert torch.allclose(changed("shift_right", 0.1).points[0], torch.tensor([25.5, 0]), atol=1e-4)
    assert torch.allclose(changed("shift_down", -0.2).points[1], torch.tensor([255, -51.0]), atol=1e-4)
    assert torch.allclose(changed("scale", 0.6).points[0], torch.tensor([51.0, 51.0]), atol=1e-4)
    centred = changed("shift_right", 0.0, "centre").points
    assert torch.allclose((centred.amin(0) + centred.amax(0)) / 2, torch.full((2,), 127.5), atol=1e-4)


def test_missing_strokes():
    for share, n in ((0.2, 1), (0.5, 2), (0.6, 3), (0.75, 3), (1.0, 4)):
        left = changed("first_strokes", share)
        assert stroke_batch.to_drawings(left)[0] == CORNER[:n], share
    many = [CORNER] * 200
    kept = [changed("dropped_strokes", share, drawings=many) for share in (0.1, 0.25, 0.75)]
    shares = [1 - int(part.counts.sum()) / 800 for part in kept]
    assert np.allclose(shares, [0.1, 0.25, 0.75 - 0.75**4 / 4], atol=0.05)  # one always stays
    assert all(part.counts.min() >= 1 for part in kept)
    for less, more in itertools.pairwise(kept):
        for a, b in zip(stroke_batch.to_drawings(less), stroke_batch.to_drawings(more), strict=True):
            assert all(stroke in a for stroke in b)  # what went does not come back


def test_a_wider_line_is_drawn_with_that_pen(trained):
    classifier = open_run(trained("strokes")).classifier("dark")
    prepare = classifier.strokes
    assert isinstance(prepare, Prepare) and prepare.raster.line_px == 6
    kind = stress_strokes.of_strokes(classifier)["line_px"]
    assert kind.levels == (2, 3, 6, 12, 18, 24, 36) and kind.neutral == 6
    raw = stroke_batch.of_drawings([CORNER, shapes.drawing("circle", 0)])
    wide = raster.Config(4, 18, antialias=True, late="last", align="centre", margin=0.06)
    with torch.no_grad():
        expected = classifier.net(Prepare(prepare.input, wide, None)(raw))
    assert torch.allclose(kind.logits(raw, 18, torch.zeros(2)), expected, atol=1e-6)
