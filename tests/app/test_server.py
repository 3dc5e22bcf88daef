"""The page's server: what is served is what was trained, and no request brings it down."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import socket
import threading
import time
from pathlib import Path

import ndjson
import numpy as np
import pytest
import torch
import uvicorn
from PIL import Image, ImageDraw
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from sketchlab import config, open_run
from sketchlab.app import __main__ as app
from sketchlab.app import examples, server
from sketchlab.app.page_model import PageModel, PhotoModel, opened
from sketchlab.data.sets import shapes
from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.data.strokes import simplify
from sketchlab.data.strokes.batch import to_drawings
from tests import finished
from tests.app.conftest import NAMES

KINDS = ("images", "frames", "points", "strokes", "baseline")
LINE = [[[0, 200], [0, 200], [0, 9]]]
HERE = "http://127.0.0.1:8004"
SCRIPTS = ("/app.js", "/ask.js", "/finish.js", "/gallery.js", "/sheet.js")


@pytest.fixture(scope="session")
def models(run_of):
    made: dict[str, PageModel] = {}

    def one(kind: str) -> PageModel:
        made[kind] = made.get(kind) or opened(run_of(kind))
        return made[kind]

    return one


def client_of(
    *models: PageModel | PhotoModel, save: Path | None = None, host: str = "127.0.0.1", at: str = HERE
) -> TestClient:
    return TestClient(server.application(list(models), save, host), base_url=at)


@pytest.fixture
def client(models, tmp_path):
    return client_of(models("frames"), models("images"), save=tmp_path)


def said(reply, status: int = 400) -> str:
    """The one line of a refusal."""
    assert reply.status_code == status, reply.text
    (error,) = reply.json().values()
    assert error and "\n" not in error and len(error) < 300
    return error


# --- what is served is what was trained


def seen(model: PageModel, monkeypatch) -> list:
    """What the network or baseline is given, from now on."""
    kept, images = [], model.classifier.images

    def spy(raw):
        kept.append(images(raw))
        return kept[-1]

    monkeypatch.setitem(model.classifier.__dict__, "images", spy)
    return kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawing_of_the_data_gives_the_bits_it_gave_in_training(kind, models, words, monkeypatch):
    """Through the page's own route, as its line stands in the file, raw or simplified."""
    model = models(kind)
    data = config.component("data", model.run.config["data"]).build(model.run.input)
    split, kept, client = data.splits["test"], seen(model, monkeypatch), client_of(model)
    n_raw = 0
    for place, sample in enumerate(split.ids):
        name, key = sample.split("/")
        drawing = line_of(words, name, key) if kind != "images" else shapes.drawing(name, int(key))
        n_raw += len(drawing[0]) == 3
        reply = client.post("/predict", json={"run": 0, "drawing": drawing})
        assert reply.status_code == 200, reply.text
        expected = data.prepare(split.gather(torch.tensor([place])), None)
        assert kept[-1].dtype == expected.dtype and torch.equal(kept[-1], expected), sample
    assert len(kept) == len(split) >= 6 and (n_raw > 0) == (kind != "images")


def line_of(words: Path, name: str, key_id: str) -> list:
    lines = map(json.loads, (words / f"{name}.ndjson").read_text().splitlines())
    return next(line["drawing"] for line in lines if line["key_id"] == key_id)


def test_the_answer_is_the_runs_own(models):
    model = models("frames")
    client = client_of(model)
    drawing = [[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]]
    reply = client.post("/predict", json={"run": 0, "drawing": drawing}).json()
    own = open_run(model.run.path).predict([drawing])
    assert reply["classes"][0]["name"] == own["prediction"][0] and reply["kind"] == "classes"
    for row in reply["classes"]:
        assert row["p"] == pytest.approx(own[f"p_{row['name']}"][0], abs=1e-5)
    assert [row["p"] for row in reply["classes"]] == sorted((row["p"] for row in reply["classes"]), reverse=True)


def test_a_raw_drawing_inside_the_square_is_still_scaled(models, monkeypatch):
    """A small drawing on the page lies within 0…255 by chance; its times say that it is raw."""
    model = models("frames")
    kept, client = seen(model, monkeypatch), client_of(model)
    for side in (20, 250):
        client.post("/predict", json={"run": 0, "drawing": [[[5, 5 + side], [5, 5 + side], [0, 1]]]})
    assert torch.equal(kept[0], kept[1])


def test_facts_of_each_run(client):
    reply = client.get("/runs").json()
    frames, images = reply["runs"]
    assert reply["save"] is True and (frames["model"], frames["data"]) == ("cnn_lstm", "strokes")
    assert (frames["limit"], frames["late"], images["limit"]) == (4, "drop", None)
    assert sorted(frames["classes"]) == NAMES and frames["about"][0] == "3 classes of strokes"
    assert "accuracy on test (n = " in frames["about"][1]


def test_a_retrieval_run_shows_its_nearest_photos(models):
    model = models("photos")
    client = client_of(model)
    reply = client.post("/predict", json={"run": 0, "drawing": LINE}).json()
    assert reply["kind"] == "photos" and len(reply["photos"]) == 10
    own = model.retriever.matches([[[0, 255], [0, 255]]], model.gallery)
    assert [(one["name"], one["distance"]) for one in reply["photos"]] == [(one.name, one.distance) for one in own]
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in reply["photos"])
    assert all(one["class"] == one["name"].split("/")[0] and one["class"] in model.classes for one in reply["photos"])
    facts = client.get("/runs").json()["runs"][0]
    assert "photos" in facts["about"][0] and facts["limit"] is None
    line = client.post("/ndjson", json={"run": 0, "label": "line", "drawing": LINE}).json()["line"]
    assert json.loads(line)["recognized"] is None


# --- picture files and examples


def sent(client: TestClient, content: bytes, route: str = "/picture?run=0"):
    return client.post(route, content=content, headers={"Content-Type": "application/octet-stream"})


def picture(kind: str, side: int = 90) -> bytes:
    image = Image.new("RGB", (side, side + 20), "white")
    ImageDraw.Draw(image).ellipse((10, 15, side - 20, side - 5), outline="black", width=4)
    image.save(file := io.BytesIO(), kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_picture_file_is_read_as_predict_reads_it(models, tmp_path, kind):
    model, content = models("images"), picture(kind)
    (tmp_path / "file").write_bytes(content)
    own = open_run(model.run.path).predict([tmp_path / "file"])
    reply = sent(client_of(model), content).json()
    assert {row["name"]: row["p"] for row in reply["classes"]} == pytest.approx(
        {row["name"]: own[f"p_{row['name']}"][0] for row in reply["classes"]}, abs=2e-6
    )
    assert reply["side_px"] == model.run.input.size_px and reply["src"].startswith("data:image/png;base64,")


def test_a_picture_finds_the_photos_that_retrieve_finds(models):
    model, content = models("photos"), picture("PNG")
    reply = sent(client_of(model), content).json()
    own = model.retriever.matches(model.retriever.read_sketch(content), model.gallery)
    assert [(one["name"], one["distance"]) for one in reply["photos"]] == [(one.name, one.distance) for one in own]


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"%PDF-1.7", b"{}", picture("PNG")[:200], b"\x89PNG\r\n\x1a\n"])
def test_files_that_are_no_pictures(models, content):
    assert "the file cannot be used" in said(sent(client_of(models("images")), content))
    assert "no SVG" in said(sent(client_of(models("images")), content, "/svg"))


def test_models_of_strokes_take_svg_and_no_pictures(models):
    client = client_of(models("frames"))
    assert "a picture has no strokes" in said(sent(client, picture("PNG")))
    text = b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M10 10 L 110 10 L 110 90"/></svg>'
    assert sent(client, text, "/svg").json() == {"drawing": [[[0, 255, 255], [0, 0, 204]]]}
    assert "transform" in said(sent(client, text.replace(b"<path", b'<path transform="scale(1,2"'), "/svg"))


@pytest.mark.parametrize("query", ["", "?run=", "?run=-1", "?run=x", "?run=7", "?run=1e0", f"?run={'9' * 5000}"])
def test_pictures_sent_wrongly(models, query):
    client = client_of(models("images"))
    assert "run" in said(sent(client, picture("PNG"), f"/picture{query}"))
    assert "octet-stream" in said(
        client.post("/picture?run=0", content=b"", headers={"Content-Type": "image/png"}), 415
    )


def test_a_picture_file_that_is_too_large(models, monkeypatch):
    monkeypatch.setattr(server, "MOST_FILE_BYTES", 2**20)
    assert "more than 1 MB" in said(sent(client_of(models("images")), bytes(2**20 + 1)), 413)


@pytest.mark.parametrize("kind", ["images", "frames", "points", "photos"])
def test_examples_are_held_out_and_answered_as_in_the_evaluation(models, kind):
    """A picture or drawing sent back gives the bits that the run's own evaluation saw."""
    model = models(kind)
    client = client_of(model)
    found = client.post("/examples", json={"run": 0}).json()
    data = config.component("data", model.run.config["data"]).build(model.run.input)
    split = data.splits["test"].sketch if kind == "photos" else data.splits["test"]
    expected = [data.classes[label] for label in sorted(set(split.labels.tolist()))]
    assert found["split"] == "test" and [one["class"] for one in found["examples"]] == expected[: examples.MOST]
    for one in found["examples"]:
        place = list(split.ids).index(one["id"])
        own = split.gather(torch.tensor([place]))
        if one["drawing"] is not None:
            assert [one["drawing"]] == to_drawings(own)
            continue
        pixels = model.reader(base64.b64decode(one["src"].partition(",")[2]))
        assert np.array_equal(pixels, own[0].numpy()), one["id"]


def test_examples_of_data_that_are_gone(models, monkeypatch):
    model = models("frames")
    monkeypatch.setitem(model.run.config["data"], "root", "/nowhere/at/all")
    assert "/nowhere/at/all" in said(client_of(model).post("/examples", json={"run": 0}))


# --- whose turn it is


def test_of_questions_that_wait_the_newest_is_answered():
    turns, gate, out = server.Newest(), threading.Event(), {}
    started = threading.Event()

    def first() -> str:
        started.set()
        gate.wait(10)
        return "first"

    def ask(name: str, step) -> None:
        try:
            out[name] = turns.answer(step)
        except HTTPException as error:
            out[name] = error.status_code

    threads = [threading.Thread(target=ask, args=("first", first))]
    threads[0].start()
    assert started.wait(10)
    for name in ("second", "third", "fourth"):
        before = turns._newest
        threads.append(threading.Thread(target=ask, args=(name, lambda name=name: name)))
        threads[-1].start()
        while turns._newest == before:
            time.sleep(0.001)
    for thread in threads[1:3]:
        thread.join(10)  # refused at once, while the first still works
    assert out == {"second": 409, "third": 409}
    gate.set()
    for thread in threads:
        thread.join(10)
    assert out == {"first": "first", "second": 409, "third": 409, "fourth": "fourth"}


def test_a_question_that_fails_gives_its_turn_away():
    turns = server.Newest()
    with pytest.raises(ZeroDivisionError):
        turns.answer(lambda: 1 / 0)
    assert turns.answer(lambda: 1) == 1


def test_two_models_answer_side_by_side(models, monkeypatch):
    slow, quick, gate = models("frames"), models("images"), threading.Event()
    answer, started = slow.answer, threading.Event()

    def waiting(sample):
        started.set()
        assert gate.wait(10)
        return answer(sample)

    monkeypatch.setattr(slow, "answer", waiting)
    client, out = client_of(slow, quick), {}

    def ask(run: int) -> None:
        out[run] = client.post("/predict", json={"run": run, "drawing": LINE}).status_code

    thread = threading.Thread(target=ask, args=(0,))
    thread.start()
    assert started.wait(10)
    ask(1)
    assert out == {1: 200}
    gate.set()
    thread.join(10)
    assert out == {0: 200, 1: 200}


# --- clean shapes, files


def test_a_clean_square_in_place_of_a_drawn_one(client):
    square = [[[40, 160, 163, 41, 38], [52, 50, 171, 169, 55], [0, 1, 2, 3, 4]]]
    found = client.post("/clean", json={"run": 0, "class": "square", "drawing": square}).json()
    (xs, ys) = found["strokes"][0]
    assert abs(np.mean([min(xs), max(xs)]) - 100) < 4 and abs(np.mean([min(ys), max(ys)]) - 110) < 4
    assert abs(found["turn_deg"]) < 4 and found["size"] == pytest.approx((122, 120), abs=6) and found["run"] is None
    circle = client.post("/clean", json={"run": 0, "class": "circle", "drawing": square}).json()
    assert circle["turn_deg"] is None and circle["strokes"]
    none = client.post("/clean", json={"run": 0, "class": "sheep", "drawing": square}).json()
    assert none == {"strokes": None}


@pytest.mark.slow
def test_a_run_with_a_second_head_is_quoted(models):
    model, strokes = models("pose"), [[[100, 300], [50, 54], [0, 1]]]
    degrees, size = model.pose(simplify.convention(strokes))
    told = client_of(model).post("/clean", json={"run": 0, "class": "line", "drawing": strokes}).json()
    assert told["run"] == pytest.approx({"turn_deg": degrees, "size": size * 200}) and abs(told["turn_deg"]) < 3
    plain = client_of(models("frames")).post("/clean", json={"run": 0, "class": "line", "drawing": strokes}).json()
    assert models("frames").pose(LINE) is None and plain["run"] is None


def test_a_saved_line_is_read_back_as_it_was(client):
    drawing = [[[300, 310.5, 390], [0, 50, 60], [0, 5, 9]], [[305, 305], [20, 20], [12, 13]]]
    line = client.post("/ndjson", json={"run": 0, "label": "line", "drawing": drawing}).json()["line"]
    values = json.loads(line)
    assert line.endswith("\n") and values["word"] == "line" and isinstance(values["recognized"], bool)
    assert values["key_id"].isdigit() and len(values["key_id"]) == 16
    flat = [value for stroke in values["drawing"] for axis in stroke for value in axis]
    assert all(type(value) is int for value in flat) and min(flat) == 0 and max(flat) == 255
    again = client.post("/read", json={"line": line}).json()
    assert again == {"word": "line", "drawing": values["drawing"]}


def test_a_raw_line_fits_the_sheet_and_stays_raw(client):
    raw = {"word": "sun", "drawing": [[[-1013, 2755.5], [10, 20], [7, 3]], [[5], [5], [9]]]}
    found = client.post("/read", json={"line": json.dumps(raw)}).json()
    assert found["word"] == "sun" and all(len(stroke) == 3 for stroke in found["drawing"])
    assert found["drawing"][0][0] == [0, 255]


@pytest.mark.parametrize("line", ["", "{", "[]", '{"drawing": 3}', '{"drawing": [[[1], [1, 2]]]}', '{"drawing": []}'])
def test_a_line_that_is_no_drawing(client, line):
    assert "not a drawing" in said(client.post("/read", json={"line": line}))


def test_labelled_drawings_are_what_a_run_trains_on(models, tmp_path):
    client = client_of(models("frames"), save=tmp_path)
    for i in range(8):
        for name, drawing in (("ice cream", [[[0, 9 + i], [0, 30], [0, 1]]]), ("line", [[[0, 99], [0, i], [0, 1]]])):
            reply = client.post("/save", json={"run": 0, "label": name, "drawing": drawing})
            assert reply.json() == {"label": name, "n": i + 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ice cream.ndjson", "line.ndjson"]
    run = config.from_overrides(["model=cnn_lstm", "data=strokes", f"data.root={tmp_path}", "runtime.device=cpu"])
    data = run.data.build(run.model.config.input)
    assert data.classes == ["ice cream", "line"] and sum(map(len, data.splits.values())) == 16


def test_a_label_that_begins_with_an_equals_sign_stays_as_it_is(client, tmp_path):
    """The file is read back by data=strokes: a class escaped for spreadsheets would be another class there."""
    assert client.post("/save", json={"run": 0, "label": "=1+1", "drawing": LINE}).json() == {"label": "=1+1", "n": 1}
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["word"] == "=1+1" and list(ndjson_files.words(tmp_path)) == ["=1+1"]


def test_saving_twice_is_refused_and_a_cut_line_is_ended(client, tmp_path):
    body = {"run": 0, "label": "line", "drawing": LINE}
    (tmp_path / "line.ndjson").write_text('{"word": "line", "drawing": [[[0, 1], [0, 1]]]}')  # no end
    assert client.post("/save", json=body).json()["n"] == 2
    assert "already" in said(client.post("/save", json=body))
    with open(tmp_path / "line.ndjson") as file:
        assert [row["word"] for row in ndjson.load(file)] == ["line", "line"]
    (tmp_path / "sun.ndjson.gz").write_bytes(b"")
    assert "sun.ndjson.gz" in said(client.post("/save", json=body | {"label": "sun"}))


def test_a_save_that_fails_leaves_the_file_as_it_was(client, tmp_path, monkeypatch):
    body = {"run": 0, "label": "line", "drawing": LINE}
    client.post("/save", json=body)
    before = (tmp_path / "line.ndjson").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert "No space" in said(client.post("/save", json=body | {"drawing": [[[0, 1], [7, 0], [0, 1]]]}))
    assert (tmp_path / "line.ndjson").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "label", ["", " ", "..", "../up", "a/b", "a\\b", ".hidden", "a\0b", "a\nb", "x" * 101, "full_raw_a"]
)
def test_labels_that_are_no_file_names(client, tmp_path, label):
    before = {*tmp_path.parent.rglob("*")}
    for route in ("/save", "/ndjson"):
        assert "label" in said(client.post(route, json={"run": 0, "label": label, "drawing": LINE}))
    assert {*tmp_path.parent.rglob("*")} == before


def test_without_a_folder_nothing_is_kept(models):
    reply = client_of(models("frames")).post("/save", json={"run": 0, "label": "line", "drawing": LINE})
    assert "--save" in said(reply)


# --- requests that are wrong

BAD_DRAWINGS = [
    [],
    [[]],
    [[1, 2]],
    [[[1], [1, 2]]],
    [[[], []]],
    [[["a"], ["b"]]],
    [[[True], [False]]],
    [[[None], [1]]],
    [[[[1]], [[1]]]],
    [[[1e9], [0]]],
    [[[-1e300, 2], [0, 1]]],
    [{"x": [1], "y": [1]}],
    ["stroke"],
    [[[0] * 30_000, [0] * 30_000]],
    [[[0], [0]]] * 3000,
]


@pytest.mark.parametrize("drawing", BAD_DRAWINGS, ids=lambda d: str(d)[:20])
def test_drawings_that_are_none(client, drawing):
    for route, more in (
        ("/predict", {"run": 0}),
        ("/clean", {"run": 0, "class": "line"}),
        ("/save", {"run": 0, "label": "line"}),
    ):
        said(client.post(route, json={**more, "drawing": drawing}))
    assert client.post("/predict", json={"run": 0, "drawing": LINE}).status_code == 200


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"run": 0}',
    b'{"run": 0, "drawing": [[[0, NaN], [0, 1]]]}',
    b'{"run": 0, "drawing": [[[0, Infinity], [0, 1]]]}',
    b'{"run": 0, "drawing": [[[0, 1e999], [0, 1]]]}',
    b'{"run": 0, "drawing": "line"}',
    b'{"run": "0", "drawing": [[[0], [0]]]}',
    b'{"run": true, "drawing": [[[0], [0]]]}',
    b'{"run": 0.0, "drawing": [[[0], [0]]]}',
    b'{"run": -1, "drawing": [[[0], [0]]]}',
    b'{"run": 7, "drawing": [[[0], [0]]]}',
    b'{"run": 0, "drawing": [[[0], [0]]], "width": -100}',
    b'{"run": 0, "drawing": ' + b"[" * 100_000,
    b'{"run": 0, "drawing": [[["\xff"], [0]]]}',
    b'{"run": 0, "drawing": [[[' + b"9" * 5000 + b"], [0]]]}",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda b: str(b)[:40])
def test_bodies_that_are_wrong(client, body):
    said(client.post("/predict", content=body, headers={"Content-Type": "application/json"}))
    assert client.post("/predict", json={"run": 0, "drawing": LINE}).status_code == 200


def test_a_million_points_are_too_many(client):
    many = list(range(1_000_000))
    assert "20,000 points" in said(client.post("/predict", json={"run": 0, "drawing": [[many, many]]}), 413)
    assert client.post("/predict", json={"run": 0, "drawing": LINE}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/server.py", "/static/app.js", "/x\\y"]
)
def test_paths_that_climb_or_are_not_there(client, path):
    assert "nothing at" in said(client.get(path), 404)


def test_wrong_methods_and_types(client):
    assert "GET" in said(client.get("/predict"), 405)
    assert "POST" in said(client.post("/runs", json={}), 405)
    assert "DELETE" in said(client.delete("/"), 405)
    assert "application/json" in said(client.post("/predict", data={"run": "0"}), 415)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9", "http://127.0.0.1:8004.evil.example"]
)
def test_another_origin_is_refused(client, origin):
    body = {"run": 0, "drawing": LINE}
    assert "origin" in said(client.post("/predict", json=body, headers={"Origin": origin}), 403)
    assert "origin" in said(client.get("/runs", headers={"Origin": origin}), 403)
    assert client.post("/predict", json=body, headers={"Origin": HERE}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8004",
            "127.0.0.1.evil.example",
            "10.0.0.7",
            "",
            "[::1",
            "localhost.evil.example",
        ),
        *(
            "[::1]evil.example",
            "[::1]:8004.evil.example",
            "localhost:8004.evil.example",
            "localhost:evil",
            "localhost:",
        ),
        *("::1", "[localhost]", "[127.0.0.1]", "evil@localhost", "localhost,evil.example", "127.0.0.1:", "127.0.0.1 x"),
    ],
)
def test_a_name_pointed_here_is_refused(client, host):
    assert "Host" in said(client.get("/", headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["localhost:8004", "127.0.0.1", "[::1]:8000", "[::1]", "LOCALHOST:8000"])
def test_this_machines_own_names(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_opened_to_others_by_address_or_own_name_only(models):
    client = client_of(models("frames"), host="0.0.0.0")
    for host in ("10.0.0.7:8004", socket.gethostname(), "localhost"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    assert "Host" in said(client.get("/", headers={"Host": "evil.example"}), 403)
    named = client_of(models("frames"), host="drawing.example")
    assert named.get("/", headers={"Host": "drawing.example:8004"}).status_code == 200


def test_the_page_needs_nothing_from_elsewhere(client):
    reply = client.get("/")
    assert reply.status_code == 200 and "default-src 'none'" in reply.headers["content-security-policy"]
    assert {path for path, *_ in server.static()} == {"/", "/style.css", *SCRIPTS}
    for path, content, kind in server.static():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "//cdn" not in text, path
        assert client.get(path).headers["content-type"].startswith(kind)


CUT = {
    "in its headers": b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Ty",
    "in its body": b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 5000\r\n\r\n{"run": 0, "dra',
    "in a file": b"POST /picture?run=0 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Length: 50000\r\n\r\n\x89PNG",
    "before the answer": b"GET /runs HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("request_", CUT.values(), ids=CUT)
def test_a_client_that_leaves_is_no_traceback(models, request_, caplog):
    """Through uvicorn itself, as the command starts it."""
    app_, listener = server.application([models("frames")], None, "127.0.0.1"), app.listen("127.0.0.1", 0)
    served = uvicorn.Server(uvicorn.Config(app_, log_level="warning", access_log=False, ws="none"))
    thread = threading.Thread(target=lambda: asyncio.run(served.serve(sockets=[listener])))
    logging.getLogger("uvicorn").propagate = logging.getLogger("uvicorn.error").propagate = True
    thread.start()
    try:
        for _ in range(3):
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(request_)
                time.sleep(0.05)
        with socket.create_connection(listener.getsockname()) as client:  # it still answers
            client.sendall(CUT["before the answer"])
            assert client.recv(12) == b"HTTP/1.1 200"
    finally:
        served.should_exit = True
        thread.join(10)
    assert not thread.is_alive() and not [record for record in caplog.records if record.levelno >= logging.ERROR]


# --- the command


def refused(capsys, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        app.main([str(word) for word in words])
    error = capsys.readouterr().err
    assert ended.value.code == 1 and error.startswith("error: ") and error.count("\n") == 1
    return error


def test_runs_that_cannot_answer_are_refused_at_the_start(run_of, tmp_path, capsys):
    run = run_of("frames")
    assert "no such folder" in refused(capsys, tmp_path / "none", "--port", "0")
    for state, word in (("running", "still training"), ("interrupted", "not finished")):
        assert word in refused(capsys, finished.change_status(run, tmp_path / state, state=state), "--port", "0")
    other = finished.change_status(run, tmp_path / "translate")
    declared = json.loads((other / "scores.json").read_text())
    (other / "scores.json").write_text(json.dumps(declared | {"answers": "translations"}))
    assert "answers with translations; expected classes" in refused(capsys, other, "--port", "0")


def test_ports_and_folders_that_cannot_be_had(run_of, tmp_path, capsys):
    run = run_of("frames")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: Address already in use" in refused(capsys, run, "--port", port)
    assert "--port 70000" in refused(capsys, run, "--port", 70000)
    assert "--host no.such.name.invalid" in refused(capsys, run, "--host", "no.such.name.invalid")
    (tmp_path / "file").write_text("")
    assert "--save" in refused(capsys, run, "--port", 0, "--save", tmp_path / "file")
