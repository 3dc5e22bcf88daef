"""The page's server: what is served is what was trained, and no request brings it down."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import ndjson
import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from sketchlab import config, open_run
from sketchlab.app import __main__ as app
from sketchlab.app import server
from sketchlab.app.page_model import PageModel, PhotoModel, opened
from sketchlab.data.sets import shapes
from sketchlab.data.strokes import simplify
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
    facts = client.get("/runs").json()["runs"][0]
    assert "photos" in facts["about"][0] and facts["limit"] is None
    line = client.post("/ndjson", json={"run": 0, "label": "line", "drawing": LINE}).json()["line"]
    assert json.loads(line)["recognized"] is None


# --- clean shapes, files


def test_a_clean_square_in_place_of_a_drawn_one(client):
    square = [[[40, 160, 163, 41, 38], [52, 50, 171, 169, 55], [0, 1, 2, 3, 4]]]
    found = client.post("/clean", json={"run": 0, "class": "square", "drawing": square}).json()
    (xs, ys) = found["strokes"][0]
    assert abs(np.mean([min(xs), max(xs)]) - 100) < 4 and abs(np.mean([min(ys), max(ys)]) - 110) < 4
    assert abs(found["turn_deg"]) < 4 and "turned by" in found["says"]
    circle = client.post("/clean", json={"run": 0, "class": "circle", "drawing": square}).json()
    assert circle["turn_deg"] is None and "no orientation" in circle["says"]
    none = client.post("/clean", json={"run": 0, "class": "sheep", "drawing": square}).json()
    assert none["strokes"] is None and "sheep" in none["says"]


def test_a_run_with_a_second_head_is_quoted(models):
    model, strokes = models("pose"), [[[100, 300], [50, 54], [0, 1]]]
    degrees, size = model.pose(simplify.convention(strokes))
    told = client_of(model).post("/clean", json={"run": 0, "class": "line", "drawing": strokes}).json()
    expected = f"(the run itself says turned by {round(degrees)}°, {size * 200:.0f} on the longer side)"
    assert expected in told["says"] and abs(told["turn_deg"]) < 3
    plain = client_of(models("frames")).post("/clean", json={"run": 0, "class": "line", "drawing": strokes}).json()
    assert models("frames").pose(LINE) is None and "itself" not in plain["says"]


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
    "host", ["evil.example", "evil.example:8004", "127.0.0.1.evil.example", "10.0.0.7", "", "[::1", "localhost.evil"]
)
def test_a_name_pointed_here_is_refused(client, host):
    assert "Host" in said(client.get("/", headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["localhost:8004", "127.0.0.1", "[::1]:8004", "LOCALHOST"])
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
