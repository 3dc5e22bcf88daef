"""The gallery for generators: pictures as `generate` makes them, an eye test that is blind and keeps its answers."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from sketchlab import config, generate
from sketchlab import report as reports
from sketchlab.app import __main__ as app
from sketchlab.app import server
from sketchlab.app.page_generator import PageGenerator
from sketchlab.runs import OpenedRun
from sketchlab.stats import wilson
from tests import finished

HERE = "http://127.0.0.1:8004"


@pytest.fixture
def run(run_of, tmp_path) -> Path:
    """A copy that a test may write answers into."""
    return Path(shutil.copytree(run_of("gan"), tmp_path / "small_dcgan-shapes" / "run"))


def client_of(*runs: Path) -> TestClient:
    generators = [PageGenerator(OpenedRun(path)) for path in runs]
    return TestClient(server.application([], None, "127.0.0.1", generators), base_url=HERE)


@pytest.fixture
def client(run, run_of) -> TestClient:
    return client_of(run, run_of("gan_classes"))


def said(reply, status: int = 400) -> str:
    assert reply.status_code == status, reply.text
    (error,) = reply.json().values()
    assert error and "\n" not in error and len(error) < 300
    return error


def pixels(src: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(src.removeprefix("data:image/png;base64,")))))


# --- new pictures


@pytest.mark.parametrize(
    ("number", "kind", "name"), [(0, "gan", ""), (1, "gan_classes", ""), (1, "gan_classes", "line")]
)
def test_new_pictures_are_those_of_generate(client, run_of, tmp_path, number, kind, name):
    found = client.post("/make", json={"run": number, "class": name, "seed": 7}).json()
    words = [str(run_of(kind)), "-n", "8", "--seed", "7", "--out", str(tmp_path / "out")]
    generate.main([*words, *(["--class", name] if name else [])])
    files = sorted((tmp_path / "out").glob("0*.png"))
    assert found["seed"] == 7 and len(found["images"]) == len(files) == 8
    for one, file in zip(found["images"], files, strict=True):
        assert np.array_equal(pixels(one["src"]), np.asarray(Image.open(file)))
        assert one["class"] == file.stem[6:]
    other = client.post("/make", json={"run": number, "class": name, "seed": 8}).json()
    assert other["images"][0]["src"] != found["images"][0]["src"]


def test_facts(client):
    reply = client.get("/runs").json()
    assert reply["runs"] == [] and [generator["model"] for generator in reply["generators"]] == [
        "small_dcgan",
        "dcgan_conditional",
    ]
    plain, classes = reply["generators"]
    assert plain["classes"] == [] and sorted(classes["classes"]) == ["circle", "line", "square"]
    assert plain["about"][0] == "32 × 32 pixels, trained on shapes" and "KID" in plain["about"][1]
    assert plain["eye"] == {"n": 12, "why": ""}  # six pictures to test with


# --- the eye test


def shown(client: TestClient, test: int, run: int = 0) -> list[str]:
    n = client.get("/runs").json()["generators"][run]["eye"]["n"]
    return [client.post("/eye", json={"run": run, "test": test, "place": i}).json()["src"] for i in range(n)]


def answer(client: TestClient, test: int, place: int, said: str = "real", who: str = "") -> Any:
    return client.post("/eye/answer", json={"run": 0, "test": test, "place": place, "said": said, "who": who})


def kept(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "eye_test.jsonl").read_text().splitlines()]


def test_a_test_shows_the_real_test_data_and_as_many_generated_pictures(client, run):
    """Held against the data and the command line, through what the answers keep."""
    images = shown(client, 5)
    for place in range(12):
        assert answer(client, 5, place).json() == {"answered": place + 1, "n": 12}  # and nothing of the truth
    made = config.from_overrides(["model=small_dcgan", *_words(run)])
    split = made.data.build(made.model.config.input).splits["test"]
    real = {name: image for name, image in zip(split.ids, split.pictures(torch.arange(len(split))), strict=True)}
    lines = kept(run)
    assert [line["truth"] for line in lines].count("real") == 6 and len({line["image"] for line in lines}) == 12
    for line, src in zip(lines, images, strict=True):
        if line["truth"] == "real":
            assert np.array_equal(pixels(src), 255 - real[line["image"]][0].numpy())
        else:
            seed, number = (int(part.split()[1]) for part in line["image"].split(", "))
            (run / "out").mkdir(exist_ok=True)
            generate.main([str(run), "-n", "6", "--seed", str(seed), "--out", str(run / "out")])
            assert np.array_equal(pixels(src), np.asarray(Image.open(run / "out" / f"{number:05d}.png")))


def _words(run: Path) -> list[str]:
    data = OpenedRun(run).config["data"]
    splits = [f"data.splits.{name}={data['splits'][name]}" for name in ("train", "val", "test")]
    return [f"data.classes=[{','.join(data['classes'])}]", f"data.per_class={data['per_class']}", *splits]


def test_order_and_pictures_follow_from_the_tests_number(client, run):
    first, second = shown(client, 1), shown(client, 2)
    assert first == shown(client_of(run), 1) and first != second and len(set(first)) == 12
    generator = PageGenerator(OpenedRun(run))
    assert generator.eye is not None
    orders = [tuple(generator.eye._item(test, place) < 6 for place in range(12)) for test in range(200)]
    assert len(set(orders)) > 150
    assert np.allclose(np.mean(orders, axis=0), 0.5, atol=0.15)  # no place tells anything


def test_a_conditional_run_is_asked_for_the_classes_of_the_real_ones(run_of):
    eye = PageGenerator(OpenedRun(run_of("gan_classes"))).eye
    assert eye is not None
    names, images = eye._of(3)
    half = eye.each
    assert [name.split("/")[0] for name in names[:half]] == [name.split()[-1] for name in names[half:]]
    assert len(images) == 2 * half


def test_the_result_comes_at_the_end_and_is_what_was_said(client, run):
    verdict = {"run": 0, "test": 9}
    assert "0 of 12" in said(client.post("/eye/verdict", json=verdict))
    for place in range(12):
        if place:
            assert f"{place} of 12" in said(client.post("/eye/verdict", json=verdict))
        answer(client, 9, place, "real" if place % 3 else "generated", " Ada ")
    lines, found = kept(run), client.post("/eye/verdict", json=verdict).json()
    fooled = sum(line["truth"] == "generated" and line["said"] == "real" for line in lines)
    missed = sum(line["truth"] == "real" and line["said"] == "generated" for line in lines)
    low, high = wilson(fooled, 6)
    expected = {"wrong": fooled, "n": 6, "share": fooled / 6, "low": low, "high": high}
    assert found["generated"] == pytest.approx(expected) and found["real"]["wrong"] == missed
    assert found["n_all"] == 12 and found["all"] == found["says"]
    assert found["says"][0].startswith(f"Generated pictures called real: {fooled} of 6")
    assert {line["who"] for line in lines} == {"Ada"} and [line["place"] for line in lines] == list(range(12))
    text = reports.write(run).read_text()
    assert found["says"][0] in text and found["says"][1] in text and "12 answers in 1 test, by Ada." in text


def test_every_picture_counts_once_and_in_turn(client, run):
    assert "picture 0" in said(answer(client, 4, 1))
    answer(client, 4, 0)
    assert "picture 1" in said(answer(client, 4, 0, "generated"))
    answer(client, 8, 0)  # another person, meanwhile
    assert answer(client, 4, 1).status_code == 200
    assert [(line["test"], line["place"]) for line in kept(run)] == [(4, 0), (8, 0), (4, 1)]


@pytest.mark.parametrize("broken", ['{"test": 1}\n', "[]\n", '{"test": 4, "pl', "3\n", "\n"])
def test_a_file_that_was_changed_is_not_written_to(client, run, broken):
    (run / "eye_test.jsonl").write_text(broken)
    assert "eye_test.jsonl" in said(answer(client, 4, 0))
    assert (run / "eye_test.jsonl").read_text() == broken


def test_an_answer_that_cannot_be_kept_leaves_the_file_as_it_was(client, run, monkeypatch):
    answer(client, 4, 0)
    before = (run / "eye_test.jsonl").read_bytes(), sorted(run.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert "No space" in said(answer(client, 4, 1))
    assert ((run / "eye_test.jsonl").read_bytes(), sorted(run.iterdir())) == before


# --- requests that are wrong

EYE = {"run": 0, "test": 1, "place": 0}
ANSWER = {**EYE, "said": "real", "who": ""}
MAKE = {"run": 0, "class": "", "seed": 0}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/make", MAKE | {"run": 2}),
        ("/make", MAKE | {"run": -1}),
        ("/make", MAKE | {"seed": -1}),
        ("/make", MAKE | {"seed": 2**31}),
        ("/make", MAKE | {"seed": 1.5}),
        ("/make", MAKE | {"seed": True}),
        ("/make", MAKE | {"class": "line"}),  # trained without classes
        ("/make", MAKE | {"run": 1, "class": "sheep" * 100}),
        ("/make", MAKE | {"n": 10**9}),
        ("/eye", EYE | {"place": 12}),
        ("/eye", EYE | {"place": -1}),
        ("/eye", EYE | {"test": -1}),
        ("/eye", EYE | {"test": 2**31}),
        ("/eye", EYE | {"run": 5}),
        ("/eye/answer", ANSWER | {"said": "Real"}),
        ("/eye/answer", ANSWER | {"said": ""}),
        ("/eye/answer", ANSWER | {"who": "a\nb"}),
        ("/eye/answer", ANSWER | {"who": "x" * 61}),
        ("/eye/answer", ANSWER | {"who": None}),
        ("/eye/answer", ANSWER | {"truth": "real"}),
        ("/eye/answer", EYE),
        ("/eye/verdict", {"run": 0, "test": -1}),
        ("/predict", {"run": 0, "drawing": [[[0, 9], [0, 9]]]}),  # nothing here models
    ],
)
def test_requests_that_are_wrong(client, run, route, body):
    said(client.post(route, json=body))
    assert not (run / "eye_test.jsonl").exists()
    assert client.post("/eye", json=EYE).status_code == 200


def test_another_origin_and_method_are_refused(client):
    assert "origin" in said(client.post("/eye/answer", json=ANSWER, headers={"Origin": "http://evil.example"}), 403)
    assert "GET" in said(client.get("/eye"), 405)


def test_without_the_data_it_makes_pictures_and_says_why_there_is_no_test(run):
    document = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(document | {"fingerprint": "0123456789abcdef"}))
    client = client_of(run)
    eye = client.get("/runs").json()["generators"][0]["eye"]
    assert eye["n"] == 0 and "not those it was trained on" in eye["why"]
    assert "not those it was trained on" in said(client.post("/eye", json=EYE))
    assert client.post("/make", json=MAKE).status_code == 200


def test_the_command_takes_them_apart_and_refuses_unfinished_ones(run, run_of, tmp_path, capsys):
    models, generators, drawers = app.runs([run, run_of("images")])
    assert len(models) == len(generators) == 1 and not drawers and "trained on shapes" in capsys.readouterr().out
    for state, word in (("running", "still training"), ("interrupted", "not finished")):
        other = finished.change_status(run, tmp_path / state, state=state)
        with pytest.raises(SystemExit):
            app.main([str(other), "--port", "0"])
        assert word in capsys.readouterr().err
