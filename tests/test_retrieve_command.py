"""A finished retrieval run on sketches: the nearest photos of a folder, embedded once; bad files stop no other."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import orjson
import pandas as pd
import pytest
import torch
from PIL import Image

from sketchlab import predict, retrieve
from sketchlab.data.sets import shapes
from sketchlab.data.sets.shapes import hand as shape_hand
from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.runs import OpenedRun
from sketchlab.runs.retrieve import gallery, index
from sketchlab.runs.retrieve.retriever import Retriever
from tests import finished

NAMES = ("circle", "square", "line")


@pytest.fixture
def run(tmp_path_factory, tmp_path):
    """A copy of a small retrieval run on three shapes."""
    without = shutil.ignore_patterns("gallery")  # where other tests searched
    return shutil.copytree(finished.trained(tmp_path_factory, "small_siamese"), tmp_path / "run", ignore=without)


@pytest.fixture
def photos(tmp_path):
    """Two photos of each shape in folders of classes, and a file that is none."""
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in (100, 101):
            pixels = shapes.photo(name, i, 48).transpose(1, 2, 0)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


@pytest.fixture
def sketch(tmp_path):
    Image.fromarray(shape_hand.render(shapes.drawing("circle", 100), 64)).save(tmp_path / "sketch.png")
    return tmp_path / "sketch.png"


def ask(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        retrieve.main([str(word) for word in words])
    return int(ended.value.code or 0)


def table(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "matches.csv", keep_default_na=False)


def test_the_runs_own_photos_are_found_as_the_run_found_them(run, tmp_path, capsys):
    """Drawings from a file, against predictions_test.csv; then without the data, from what was kept."""
    known = pd.read_csv(run / "predictions_test.csv")
    lines = []
    for name in known["query"]:
        kind, number = name.split("/")
        lines.append(orjson.dumps({"key_id": name, "drawing": shapes.drawing(kind, int(number))}))
    (tmp_path / "asked.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    assert ask(run, tmp_path / "asked.ndjson", "--out", tmp_path / "out") == 0
    found = table(tmp_path / "out")
    assert list(found["key_id"]) == list(known["query"]) and found["query"][0].endswith("asked.ndjson:1")
    for k in range(1, 11):
        assert list(found[f"match_{k}"]) == list(known[f"match_{k}"])
        assert np.allclose(found[f"distance_{k}"].astype(float), known[f"distance_{k}"], atol=1e-5)
    sheet = Image.open(tmp_path / "out" / "matches.png")
    assert sheet.width > 11 * 96 and sheet.height > len(known) * 96
    said = capsys.readouterr()
    assert f"gallery: {len(known)} photos, test photos of the run, {len(known)} embedded now" in said.err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "build", lambda *_: pytest.fail("the data are not needed"))
        assert ask(run, tmp_path / "asked.ndjson", "--out", tmp_path / "again") == 0
    assert (tmp_path / "again" / "matches.csv").read_bytes() == (tmp_path / "out" / "matches.csv").read_bytes()
    assert "embedded now" not in capsys.readouterr().err


def test_a_gallery_is_embedded_once_and_again_where_files_changed(run, photos, sketch, tmp_path, capsys):
    words = (run, sketch, "--gallery", photos, "--out", tmp_path / "out", "-k", 4)

    def fresh() -> str:
        assert ask(*words) == 0
        return capsys.readouterr().err

    assert "gallery: 6 photos" in (said := fresh()) and "6 embedded now" in said and "1 other files left alone" in said
    first = table(tmp_path / "out")
    assert set(first.columns) >= {"match_4", "distance_4"} and "match_5" not in first
    assert "embedded now" not in fresh()
    shutil.copy(photos / "line" / "100.png", photos / "circle" / "100.png")
    (photos / "square" / "101.png").unlink()
    Image.fromarray(shapes.photo("square", 7, 48).transpose(1, 2, 0)).save(photos / "square" / "7.png")
    assert "gallery: 6 photos" in (said := fresh()) and "2 embedded now" in said
    changed = table(tmp_path / "out")
    assert len(list((run / "gallery").glob("*.f32"))) == 1
    shutil.rmtree(run / "gallery")
    assert "6 embedded now" in fresh()
    assert table(tmp_path / "out").equals(changed) and not changed.equals(first)


def test_matches_are_those_of_a_double_loop(run, photos, sketch):
    retriever = Retriever(OpenedRun(run))
    made = gallery.of_folder(retriever, photos)
    (asked,) = retriever.sketches([retriever.read_sketch(sketch.read_bytes())])
    alone = [
        retriever.photos(torch.tensor(retriever.read_photo((photos / n).read_bytes()))[None])[0] for n in made.names
    ]
    far = [torch.linalg.vector_norm(asked - one).item() for one in alone]
    order = sorted(range(6), key=far.__getitem__)
    found = retriever.matches(retriever.read_sketch(sketch.read_bytes()), made, k=10)
    assert [match.place for match in found] == order and [match.name for match in found] == [
        made.names[i] for i in order
    ]
    assert [match.distance for match in found] == pytest.approx([far[i] for i in order], abs=1e-5)
    picture = made.picture(found[0].place)
    assert picture is not None and max(picture.size) == gallery.THUMB_PX


def test_a_drawing_finds_photos_with_their_pictures(run):
    """What the drawing page asks."""
    retriever = Retriever(OpenedRun(run))
    own = gallery.of_run(retriever)
    found = retriever.matches(shapes.drawing("circle", 0), own, k=3)
    assert len(found) == 3 and own.names[found[0].place] == found[0].name
    kept = gallery.of_run(retriever)
    assert kept.fresh == 0 and torch.equal(kept.embedded, own.embedded)
    for some in (own, kept):
        picture = some.picture(found[0].place)
        assert picture is not None and picture.mode == "RGB"


def test_what_cannot_be_read_is_a_row_and_the_others_are_done(run, photos, sketch, tmp_path, capsys):
    (tmp_path / "cut.png").write_bytes(sketch.read_bytes()[:80])
    (photos / "broken.jpg").write_text("no jpeg")
    assert ask(run, tmp_path / "cut.png", sketch, "--gallery", photos, "--out", tmp_path / "out") == 1
    found, said = table(tmp_path / "out"), capsys.readouterr()
    assert list(found["error"] != "") == [True, False] and found["match_6"][1] and found["match_1"][0] == ""
    assert "broken.jpg  cannot be read: not an image" in said.err and "1 of 7 photos" in said.err
    assert "fewer than -k 10, so all are shown" in said.err and "1 of 2 sketches could not be read" in said.err
    assert ask(run, sketch, "--gallery", photos, "--out", tmp_path / "out") == 1  # told every time, not only once
    assert "broken.jpg" in capsys.readouterr().err


def test_a_photo_that_went_after_it_was_embedded_is_an_empty_cell(run, photos, sketch, tmp_path):
    made = gallery.of_folder(Retriever(OpenedRun(run)), photos)
    (photos / made.names[0]).unlink()
    assert made.picture(0) is None and made.picture(1) is not None


def test_embeddings_of_another_run_are_not_taken(run, photos, sketch, tmp_path, capsys):
    words = (run, sketch, "--gallery", photos, "--out", tmp_path / "out")
    assert ask(*words) == 0
    right = table(tmp_path / "out")
    (kept,) = (run / "gallery").glob("*.json")
    content = json.loads(kept.read_text())
    (run / "gallery" / content["rows"]).write_bytes(bytes(4 * 8 * 6))
    kept.write_text(json.dumps(content | {"weights": "of another run", "digests": {}}))
    capsys.readouterr()
    assert ask(*words) == 0
    assert "the embeddings in it are of another run or of other weights; all are made anew" in capsys.readouterr().err
    assert table(tmp_path / "out").equals(right)
    whole = (run / "gallery" / content["rows"]).read_bytes()
    (run / "gallery" / content["rows"]).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])  # a bit
    assert ask(*words) == 0
    assert "not whole; all are made anew" in capsys.readouterr().err and table(tmp_path / "out").equals(right)
    (run / "gallery" / content["rows"]).write_bytes(b"cut")
    assert ask(*words) == 0
    assert "not whole; all are made anew" in capsys.readouterr().err and table(tmp_path / "out").equals(right)


def test_a_run_folder_that_cannot_be_written_keeps_its_gallery_elsewhere(
    run, photos, sketch, tmp_path, capsys, monkeypatch
):
    (run / "gallery").write_text("in the way")
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    assert ask(run, sketch, "--gallery", photos, "--out", tmp_path / "out") == 0
    assert "cannot write to" in capsys.readouterr().err and list((tmp_path / "cache" / "gallery").rglob("*.f32"))


def test_refused_in_one_line(run, photos, sketch, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no")
    cases = [
        ((run, sketch, "--gallery", tmp_path / "empty"), "empty: no images in this folder"),
        ((run, sketch, "--gallery", tmp_path / "nowhere"), "nowhere: no such folder"),
        ((run, sketch, "--gallery", sketch), "not a folder"),
        (
            (run, sketch, "--gallery", tmp_path / "broken"),
            "none of the 1 images can be read; first a.png: not an image",
        ),
        ((run, sketch, "-k", 0), "-k 0: expected at least 1"),
        ((tmp_path, sketch), "not a run folder"),
        ((run, tmp_path / "empty"), "no images in this folder"),
        ((run, sketch, "--gallery", photos, "--out", sketch), "cannot make this folder"),
    ]
    for words, said in cases:
        assert ask(*words, *([] if "--out" in words else ["--out", tmp_path / "out"])) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("error: ") and said in line
    for state, said in (("running", "still training"), ("failed", "is failed, not finished")):
        other = finished.change_status(run, tmp_path / state, state=state)
        assert ask(other, sketch) == 1 and said in capsys.readouterr().err


def test_data_that_are_not_here_are_asked_for_by_name(run, sketch, tmp_path, capsys, monkeypatch):
    def gone(*_):
        raise UserError("no folder data/sketchy")

    monkeypatch.setattr(shapes, "build", gone)
    assert ask(run, sketch, "--out", tmp_path / "out") == 1
    assert (
        "own photos are not here (no folder data/sketchy); give a folder of photos with --gallery"
        in capsys.readouterr().err
    )


def test_predict_sends_to_retrieve(run, sketch, capsys):
    with pytest.raises(SystemExit) as ended:
        predict.main([str(run), str(sketch)])
    assert ended.value.code == 1 and "python -m sketchlab.retrieve" in capsys.readouterr().err


def test_retrieve_refuses_a_classifier(run, sketch, capsys):
    declared = json.loads((run / "scores.json").read_text())
    (run / "scores.json").write_text(json.dumps(declared | {"answers": "classes"}))
    assert ask(run, sketch) == 1
    assert "which answers with classes; expected matches" in capsys.readouterr().err


# --- the index


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss", reason="the optional extra index is not installed")


def test_an_index_says_what_it_misses(faiss, run, photos, sketch, tmp_path, capsys):
    exact = (run, sketch, "--gallery", photos, "--out", tmp_path / "exact")
    assert ask(*exact) == 0 and ask(*exact[:-1], tmp_path / "index", "--index", "HNSW8") == 0
    said = capsys.readouterr().err
    assert (
        "index HNSW8: finds 1.000 of the exact 6 nearest (6 photos as queries)" in said and "first 1 sketches" in said
    )
    assert table(tmp_path / "index").equals(table(tmp_path / "exact"))
    assert list((run / "gallery").glob("*HNSW8.faiss"))
    assert ask(*exact[:-1], tmp_path / "index", "--index", "IVF4000,PQ3") == 1
    assert "error: --index IVF4000,PQ3: faiss refuses it for 6 embeddings of 8 numbers" in capsys.readouterr().err


def test_recall_of_an_index_against_a_loop(faiss, tmp_path):
    draw = torch.Generator().manual_seed(0)
    rows, queries = torch.randn(900, 16, generator=draw), torch.randn(20, 16, generator=draw)
    made = index.opened("PQ4x4", rows, tmp_path / "rows.f32")
    distances, places = index.nearest(made, queries, rows, 5)
    exact = metrics.nearest(queries, rows, 5)[1]
    hits = [len(set(a.tolist()) & set(b.tolist())) / 5 for a, b in zip(exact, places, strict=True)]
    assert index.recall(made, queries, rows, 5) == pytest.approx(np.mean(hits)) and 0.3 < np.mean(hits) < 1
    for row in range(20):
        known = places[row] >= 0
        far = torch.linalg.vector_norm(rows[places[row][known]] - queries[row], dim=1)
        assert torch.allclose(distances[row][known], far, atol=1e-5) and (far.diff() >= 0).all()


def test_an_index_without_faiss_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(UserError, match=r"pip install 'sketchlab\[index\]'; without --index search is exact"):
        index.opened("HNSW8", torch.zeros(3, 2), os.devnull)  # type: ignore[arg-type]
