"""python -m sketchlab.generate and .translate on small finished runs: same words, same bytes; mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sketchlab import generate, open_run, report, translate
from sketchlab.data.sets.shapes import photo
from sketchlab.data.strokes import svg
from sketchlab.errors import UserError
from sketchlab.runs import OpenedRun
from sketchlab.runs.gan import generator
from tests import every, finished


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """One run of each kind, a few steps long; the conditional one is asked about by a classifier."""
    classifier = finished.trained(tmp_path_factory)
    more = [f"pipeline.scoring_classifier={classifier}", "pipeline.ema=0.5", "loop.epochs=1", "loop.lr=0.02"]
    return {
        "dcgan_conditional": finished.run(tmp_path_factory, *every.small("dcgan_conditional", *more)),
        "small_dcgan": finished.trained(tmp_path_factory, "small_dcgan"),
        "small_cyclegan": finished.trained(tmp_path_factory, "small_cyclegan"),
        "classifier": classifier,
        "sketch_rnn_small": finished.run(
            tmp_path_factory, *every.small("sketch_rnn_small", "loop.epochs=1", "loop.lr=0.02", "data/raster=picture")
        ),
    }


def main(module, *words) -> int:
    with pytest.raises(SystemExit) as stopped:
        module.main([str(word) for word in words])
        raise SystemExit(0)
    return int(stopped.value.code or 0)


def test_images_follow_from_seed_and_number(folders, tmp_path):
    run = folders["small_dcgan"]
    for name, words in {"a": ["-n", 5], "b": ["-n", 5], "c": ["-n", 2], "d": ["-n", 5, "--seed", 1]}.items():
        assert main(generate, run, *words, "--out", tmp_path / name) == 0
    files = {name: sorted((tmp_path / name).glob("0*.png")) for name in "abcd"}
    read = {name: [path.read_bytes() for path in found] for name, found in files.items()}
    assert len(read["a"]) == 5 and read["a"] == read["b"] and read["c"] == read["a"][:2] and read["d"] != read["a"]
    assert (tmp_path / "a" / "sheet.png").exists()
    assert Image.open(files["a"][0]).size == (32, 32)


def test_pictures_are_dark_on_white_as_the_data_is(folders):
    run = OpenedRun(folders["small_dcgan"])
    net = generator.generator(run)
    pixels = generator.images(run, net, 3, 0, None)
    made = net(generator.noise(generator.rng.fold("generate", 0), torch.arange(3), net.z))
    expected = ((1 - net.pixels(made).detach()).clamp(0, 1) * 255).round().numpy()[:, 0]
    np.testing.assert_allclose(pixels, expected, atol=1)


def test_a_class_is_told(folders, tmp_path, capsys):
    run = folders["dcgan_conditional"]
    assert main(generate, run, "-n", 4, "--class", "square", "--out", tmp_path / "s") == 0
    assert main(generate, run, "-n", 4, "--out", tmp_path / "all", "--weights", "last") == 0
    assert [p.name for p in sorted((tmp_path / "all").glob("0*"))] == [
        "00000_circle.png", "00001_square.png", "00002_line.png", "00003_circle.png"]  # fmt: skip
    assert len(list((tmp_path / "s").glob("0*_square.png"))) == 4
    assert main(generate, run, "--class", "cat") == 1
    assert "class cat: no such class" in capsys.readouterr().err
    assert main(generate, folders["small_dcgan"], "--class", "square") == 1
    assert "was trained without classes" in capsys.readouterr().err


def test_moving_average_is_what_samples_come_from(folders):
    run = OpenedRun(folders["dcgan_conditional"])
    parts = torch.load(run.path / "checkpoints" / "best.pt", weights_only=True)["parts"]
    net = generator.generator(run)
    assert torch.equal(net.layers[0].weight, parts["G_ema"]["layers.0.weight"])
    assert not torch.equal(parts["G"]["layers.0.weight"], parts["G_ema"]["layers.0.weight"])


def test_classifier_scored_the_conditional_run(folders):
    rows = [json.loads(line) for line in (folders["dcgan_conditional"] / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= rows[0]["val/class_accuracy"] <= 1 <= rows[0]["val/inception_score"] <= 3
    assert (folders["dcgan_conditional"] / "arrays" / "test_asked_confusion.npy").exists()
    identity = OpenedRun(folders["dcgan_conditional"]).document["identity"]["pipeline"]
    assert identity["scoring_classifier"] == folders["classifier"].name and identity["features"] == "random"


def test_classifier_that_does_not_know_a_class(folders, tmp_path):
    words = every.small(
        "dcgan_conditional", f"pipeline.scoring_classifier={folders['classifier']}", "data.classes=[circle,sun]"
    )
    with pytest.raises(UserError, match="it does not know sun; it knows circle, square, line"):
        every.train(words, str(tmp_path))
    with pytest.raises(UserError, match="pipeline=gan, which answers with images; expected classes"):
        every.train(
            every.small("dcgan_conditional", f"pipeline.scoring_classifier={folders['small_dcgan']}"), str(tmp_path)
        )


def test_photos_become_sketches_and_back(folders, tmp_path, capsys):
    run = folders["small_cyclegan"]
    given = tmp_path / "given"
    given.mkdir()
    for i in range(2):
        Image.fromarray(photo("circle", i, 50).transpose(1, 2, 0)).save(given / f"p{i}.png")
    (given / "broken.png").write_bytes(b"no image")
    assert main(translate, run, given, "--to", "sketch", "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "broken.png  cannot be read" in said.err and "p1_sketch.png" in said.out
    made = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in made] == ["p0_sketch.png", "p1_sketch.png"] and Image.open(made[0]).size == (32, 32)
    assert main(translate, run, made[0], "--to", "photo", "--out", tmp_path / "back") == 0
    assert [p.name for p in (tmp_path / "back").iterdir()] == ["p0_sketch_photo.png"]
    nets = [generator.translator(OpenedRun(run), to) for to in ("sketch", "photo")]
    x = torch.zeros(1, 3, 32, 32)
    assert not torch.equal(nets[0](x), nets[1](x))


def test_mistakes_in_one_line(folders, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    for name in ("x.png", "a/x.png"):
        Image.new("L", (9, 9)).save(tmp_path / name)
    for module, words, said in (
        (
            generate,
            [folders["classifier"]],
            "is a run of pipeline=classify, which answers with classes; expected images",
        ),
        (generate, [folders["small_cyclegan"]], "which answers with translations; expected images"),
        (generate, [tmp_path], "not a run folder"),
        (generate, [folders["small_dcgan"], "-n", 0], "-n 0: expected at least 1"),
        (generate, [folders["small_dcgan"], "--out", tmp_path / "x.png"], "this is a file"),
        (
            translate,
            [folders["small_dcgan"], tmp_path / "x.png", "--to", "photo"],
            "which answers with images; expected translations",
        ),
        (translate, [folders["small_cyclegan"], tmp_path / "x.png", tmp_path / "a" / "x.png", "--to", "photo"], "both"),
    ):
        assert main(module, *words) == 1
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    (folders["small_dcgan"] / "checkpoints" / "last.pt").rename(tmp_path / "last.pt")
    assert main(generate, folders["small_dcgan"], "--weights", "last") == 1
    assert "no checkpoints/last.pt: there is best" in capsys.readouterr().err


def test_drawings_follow_from_seed_and_number(folders, tmp_path):
    run = folders["sketch_rnn_small"]
    more = {"a": ["-n", 6], "b": ["-n", 6], "c": ["-n", 2], "d": ["-n", 6, "--temperature", 2]}
    for name, words in more.items():
        assert main(generate, run, *words, "--out", tmp_path / name) == 0
    files = {name: sorted((tmp_path / name).glob("0*.svg")) for name in "abcd"}
    read = {name: [path.read_bytes() for path in found] for name, found in files.items()}
    assert len(read["a"]) == 6 and read["a"] == read["b"] and read["c"] == read["a"][:2] and read["d"] != read["a"]
    assert [path.stem for path in files["a"][:3]] == ["00000_circle", "00001_square", "00002_line"]
    lines = [json.loads(line) for line in (tmp_path / "a" / "drawings.ndjson").read_text().splitlines()]
    again = open_run(run).generate(6)
    assert [line["drawing"] for line in lines] == again and lines[1]["word"] == "square"
    corners = [[min(min(stroke[axis]) for stroke in one) for axis in (0, 1)] for one in again]
    assert corners == [[0, 0]] * 6
    for one, path in zip(again, files["a"], strict=True):  # an SVG holds the drawing's own coordinates
        assert [s.tolist() for s in svg.strokes(path.read_bytes())] == [
            list(map(list, zip(*s, strict=True))) for s in one
        ]


def test_endings_stay_on_the_canvas_of_the_beginning(folders, tmp_path):
    run, begun = folders["sketch_rnn_small"], [[[100, 140, 90], [60, 70, 200]]]
    (tmp_path / "begun.ndjson").write_text(json.dumps({"word": "house", "drawing": begun}) + "\n")
    words = ["--complete", tmp_path / "begun.ndjson", "-n", 3, "--class", "square", "--out", tmp_path / "out"]
    assert main(generate, run, *words) == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "drawings.ndjson").read_text().splitlines()]
    assert len(lines) == 3 and all(line["drawing"][:1] == begun and len(line["drawing"]) > 1 for line in lines)
    assert all(0 <= v <= 255 for line in lines for stroke in line["drawing"] for axis in stroke for v in axis)
    assert [line["drawing"][1:] for line in lines] == open_run(run).complete(begun, 3, "square")
    assert (tmp_path / "out" / "00000_square.svg").read_text().count('stroke="#c2410c"') == len(lines[0]["drawing"]) - 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--class", "cat"], "class cat: no such class"),
        (["--temperature", 0], "--temperature 0"),
        (["-n", 0], "-n 0"),
        (["--complete", "missing.ndjson"], "missing.ndjson: No such file"),
    ],
)
def test_mistakes_about_drawings_are_one_line(folders, words, says, capsys):
    assert main(generate, folders["sketch_rnn_small"], *words) == 1
    assert says in capsys.readouterr().err


def test_only_drawings_are_finished(folders, capsys):
    assert main(generate, folders["small_dcgan"], "--complete", "x.ndjson") == 1
    assert "expected drawings" in capsys.readouterr().err
    with pytest.raises(UserError, match="leaves the canvas"):
        open_run(folders["sketch_rnn_small"]).complete([[[0, 300], [0, 1]]])


def test_the_page_shows_drawings(folders):
    page = (report.write(folders["sketch_rnn_small"])).read_text()
    assert page.count("<svg viewBox") == 6 + 5 * 6 + 5 * 6 and "@keyframes drawn0_0" in page
