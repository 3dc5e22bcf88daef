"""open_run: every pipeline from Python gives the numbers of its command; what a run cannot do is one line."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import sketchlab
from sketchlab import generate, predict, retrieve, translate
from sketchlab.data.sets import shapes
from sketchlab.data.sets.shapes import hand as shape_hand
from sketchlab.errors import UserError
from tests import finished

NAMES = ("circle", "square", "line")
METHODS = {
    "small_cnn": "predict(images)",
    "pixels_logistic": "predict(images)",
    "small_siamese": "embed(images) and search(sketches, photos)",
    "small_dcgan": "generate(n, classes)",
    "small_cyclegan": "translate(images)",
}


@pytest.fixture
def run_of(tmp_path_factory):
    """Model → its run on three shapes."""
    return lambda model: sketchlab.open_run(finished.trained(tmp_path_factory, model))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, list[Path]]:
    """Three pictures of sketches, three photos, and the same three drawings as strokes in one file."""
    root = tmp_path_factory.mktemp("files")
    out: dict[str, list[Path]] = {"sketch": [], "photo": [], "drawings": [root / "all.ndjson"]}
    drawings = [shapes.drawing(name, 100) for name in NAMES]
    out["drawings"][0].write_text("".join(json.dumps({"drawing": drawing}) + "\n" for drawing in drawings))
    for name, drawing in zip(NAMES, drawings, strict=True):
        for kind, pixels in (
            ("sketch", shape_hand.render(drawing, 40)),
            ("photo", shapes.photo(name, 100, 40).transpose(1, 2, 0)),
        ):
            path = root / kind / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
            out[kind].append(path)
    return out


def read(paths) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def ask(module, *words) -> None:
    with pytest.raises(SystemExit) as ended:
        module.main([str(word) for word in words])
        raise SystemExit(0)
    assert not ended.value.code


@pytest.mark.parametrize("model", ["small_cnn", "pixels_logistic"])
@pytest.mark.parametrize("kind", ["sketch", "drawings"])
def test_predict_is_the_command(run_of, files, tmp_path, model, kind):
    run = run_of(model)
    ask(predict, run.path, *files[kind], "--out", tmp_path / "out.csv")
    drawn = [shapes.drawing(name, 100) for name in NAMES]
    found = run.predict(drawn if kind == "drawings" else files[kind])
    table, columns = pd.read_csv(tmp_path / "out.csv"), [f"p_{name}" for name in NAMES]
    assert list(found["prediction"]) == list(table["prediction"])
    np.testing.assert_allclose(found[columns], table[columns], atol=1e-6)


@pytest.mark.parametrize("own", [True, False])
def test_search_is_the_command(run_of, files, tmp_path, own):
    run, photos = run_of("small_siamese"), files["photo"][0].parent
    ask(retrieve, run.path, *files["sketch"], "-k", 2, "--out", tmp_path, *([] if own else ["--gallery", photos]))
    table = pd.read_csv(tmp_path / "matches.csv").drop(columns=["key_id", "error"])
    found = run.search(files["sketch"], None if own else photos, k=2)
    assert list(found) == list(table) == ["query", "match_1", "match_2", "distance_1", "distance_2"]
    assert found.filter(like="match").equals(table.filter(like="match"))
    np.testing.assert_allclose(found.filter(like="dist"), table.filter(like="dist"), atol=1e-5)


def test_search_among_arrays_and_drawings_is_of_the_embeddings(run_of, files):
    run, photos = run_of("small_siamese"), read(files["photo"])
    drawings = [shapes.drawing(name, 100) for name in NAMES]
    found = run.search(drawings, photos, k=9)
    sketches, gallery = run.embed(drawings), run.embed(photos, kind="photo")
    far = np.linalg.norm(sketches[:, None] - gallery[None], axis=2)
    assert sketches.shape == gallery.shape == (3, 8) and sketches.dtype == np.float32
    np.testing.assert_allclose(found.filter(like="dist"), np.sort(far, axis=1), atol=1e-5)
    assert found["match_1"].tolist() == [str(place) for place in far.argmin(1)]
    by_name = run.search(drawings, files["photo"], k=9)
    assert by_name["match_1"].tolist() == [str(files["photo"][place]) for place in far.argmin(1)]


def test_photos_that_cannot_be_read_are_warned_of(run_of, files, tmp_path):
    (tmp_path / "a.png").write_bytes(files["photo"][0].read_bytes())
    (tmp_path / "b.png").write_text("no image")
    with pytest.warns(UserWarning, match="1 photos of .* cannot be read and are not searched; first b.png"):
        found = run_of("small_siamese").search(files["sketch"], tmp_path)
    assert set(found["match_1"]) == {"a.png"}


def test_generate_is_the_command(run_of, tmp_path):
    told, plain = run_of("dcgan_conditional"), run_of("small_dcgan")
    ask(generate, told.path, "-n", 4, "--class", "line", "--seed", 3, "--out", tmp_path / "line")
    ask(generate, told.path, "-n", 4, "--weights", "last", "--out", tmp_path / "all")
    ask(generate, plain.path, "-n", 4, "--out", tmp_path / "plain")
    written = {name: read(sorted((tmp_path / name).glob("0*.png"))) for name in ("line", "all", "plain")}
    assert np.array_equal(told.generate(4, "line", seed=3), written["line"])
    assert np.array_equal(told.generate(4, weights="last"), written["all"])
    assert np.array_equal(plain.generate(4), written["plain"])
    two = told.generate(4, ["line", "circle"])
    assert np.array_equal(two[::2], told.generate(4, "line")[::2])
    assert np.array_equal(two[1::2], told.generate(4, "circle")[1::2])


@pytest.mark.parametrize(("kind", "to"), [("photo", "sketch"), ("sketch", "photo")])
def test_translate_is_the_command(run_of, files, tmp_path, kind, to):
    run = run_of("small_cyclegan")
    ask(translate, run.path, *files[kind], "--to", to, "--out", tmp_path)
    written = read([tmp_path / f"{name}_{to}.png" for name in NAMES])
    assert np.array_equal(run.translate(files[kind], to), written)
    assert np.array_equal(run.translate(read(files[kind]), to=to), written)
    assert np.array_equal(run.translate(files["photo"]), run.translate(files["photo"], "sketch"))


@pytest.mark.parametrize("model", METHODS)
def test_what_a_run_cannot_do_says_what_it_can(run_of, model):
    run = run_of(model)
    for method, words in {
        "predict": ([],),
        "embed": ([],),
        "search": ([],),
        "generate": (4,),
        "translate": ([],),
    }.items():
        if method in METHODS[model]:
            continue
        with pytest.raises(UserError) as refused:
            getattr(run, method)(*words)
        line = str(refused.value)
        assert line.startswith(f"{method}: {run.path} is a run of pipeline=")
        assert line.endswith(f"; it can {METHODS[model]}") and "\n" not in line


def test_mistakes_in_one_line(run_of, files, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    drawing = [shapes.drawing("line", 1)]
    siamese, cycle, gan = run_of("small_siamese"), run_of("small_cyclegan"), run_of("dcgan_conditional")
    for ask_it, expected in (
        (lambda: run_of("small_cnn").predict([tmp_path / "bad.png"]), r"predict: cannot read .*bad\.png: not an image"),
        (lambda: run_of("small_cnn").predict([]), "predict: no images given"),
        (lambda: siamese.embed(np.zeros((2, 3))), r"embed: got float64 \(2, 3\), expected uint8"),
        (lambda: siamese.embed(files["photo"], kind="drawing"), "embed: kind=drawing: expected sketch or photo"),
        (lambda: siamese.embed(drawing, kind="photo"), "embed: drawing 0 is strokes; expected pictures"),
        (lambda: siamese.search(files["sketch"], tmp_path / "gone"), "search: cannot read .*gone: .*No such file"),
        (lambda: siamese.search(files["sketch"], k=0), "search: k=0: expected at least 1"),
        (lambda: cycle.translate(files["photo"], to="cat"), "translate: to=cat: expected sketch or photo"),
        (lambda: cycle.translate(drawing, to="photo"), "translate: drawing 0 is strokes; expected pictures"),
        (lambda: gan.generate(0), "-n 0: expected at least 1"),
        (lambda: gan.generate(2, ["line", "cat"]), "class cat: no such class; .* knows circle, square, line"),
        (lambda: gan.generate(2, weights="first"), "no checkpoints/first.pt: there is best and last"),
    ):
        with pytest.raises(UserError, match=expected):
            ask_it()


@pytest.mark.parametrize("model", [*METHODS, "dcgan_conditional"])
def test_a_notebook_shows_scores_a_curve_and_pictures_in_short(run_of, model):
    run = run_of(model)
    html = run._repr_html_()
    final = run.status["metrics"]
    assert run.path.name in html and "(finished)" in html and len(html) < 300_000
    assert html.count("<tr") > 1 and any(f">{key.split('/')[1]}<" in html for key in final)
    evaluated_often = model in ("small_cnn", "small_siamese", "small_dcgan", "dcgan_conditional")
    has_sheet = model in ("small_siamese", "small_dcgan", "dcgan_conditional", "small_cyclegan")
    assert html.count(f' of {run.path.parent.name}/{run.path.name}"') == evaluated_often  # the curve
    assert html.count('src="data:image/png;base64,') == 1 + evaluated_often + has_sheet


def test_version_is_the_one_installed():
    assert sketchlab.__version__ == importlib.metadata.version("sketchlab")
