"""Finish it: what is proposed is what the run draws, on the drawing's own canvas; chosen, taken and undone by mouse."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from sketchlab import open_run
from sketchlab.app import __main__ as app
from sketchlab.app import server
from sketchlab.errors import UserError

HERE = "http://127.0.0.1:8004"
BEGUN = [[[60, 120, 180], [60, 60, 150]]]


@pytest.fixture(scope="module")
def served(run_of) -> Any:
    models, generators, drawers = app.runs([run_of("images"), run_of("drawer")])
    assert not generators
    return server.application(models, None, "127.0.0.1", generators, drawers)


def ask(served: Any, **changes: Any) -> Any:
    body = {"run": 0, "drawing": BEGUN, "class": "circle", "seed": 5} | changes
    return TestClient(served, base_url=HERE).post("/finish", json=body)


def test_proposals_are_what_the_run_draws(served, run_of):
    found = ask(served).json()
    assert found["class"] == "circle" and found["proposals"] == open_run(run_of("drawer")).complete(
        BEGUN, 3, "circle", 5
    )
    assert ask(served).json()["proposals"] == found["proposals"] != ask(served, seed=6).json()["proposals"]


def test_an_unknown_class_is_left_open(served, run_of):
    found = ask(served, **{"class": "unicorn"}).json()
    assert found["class"] == "" and found["proposals"] == open_run(run_of("drawer")).complete(BEGUN, 3, None, 5)


def test_a_drawing_beyond_the_square_keeps_its_place(served):
    """Its endings come back in its own units, within the sheet."""
    found = ask(served, drawing=[[[-30, 280], [-30, 100], [0, 9]]]).json()["proposals"]
    values = [v for ending in found for stroke in ending for axis in stroke for v in axis]
    assert all(-32 <= v <= 287 for v in values) and len(found) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"run": 1}, "run 1"), ({"seed": -1}, "seed -1"), ({"drawing": []}, "no strokes"), ({"drawing": [3]}, "stroke 0")],
)
def test_mistakes_are_one_line(served, changes, says):
    reply = ask(served, **changes)
    assert reply.status_code == 400 and says in reply.json()["error"]


def test_somebody_has_to_judge(run_of):
    with pytest.raises(UserError, match="no run judges"):
        app.runs([run_of("drawer")])


@pytest.fixture
def page(chromium, served) -> Iterator[Any]:
    listener = app.listen("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(served, log_level="warning", ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    context = chromium.new_context(viewport={"width": 1100, "height": 900}, reduced_motion="reduce")
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    page.wait_for_selector("#runs input")
    yield page
    context.close()
    running.should_exit = True
    thread.join(timeout=10)
    assert not wrong


def strokes(page: Any, where: str) -> int:
    return page.locator(f"#{where} path").count()


@pytest.mark.browser
def test_chosen_taken_and_undone(page):
    box = page.locator("#sheet").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 160, steps=8)
    page.mouse.up()
    page.wait_for_selector("#bars li")
    page.evaluate("document.getElementById('sure').value = 100")
    page.locator("#finish-from").fill("0")
    assert "drawn as" in page.locator("#finish-note").text_content()
    page.locator("#finish-from").fill("100")
    assert "left open: none" in page.locator("#finish-note").text_content()
    names = page.locator("#finish-class option").all_text_contents()
    assert names[:2] == ["as recognised", "left open"] and len(names) > 2
    page.select_option("#finish-class", names[-1])
    assert page.locator("#finish-note").text_content() == f"It is drawn as {names[-1]}."
    assert page.locator("#finish-confident").is_hidden()
    with page.expect_request(lambda request: "/finish" in request.url) as sent:
        page.click("#finish")
    assert sent.value.post_data_json["class"] == names[-1]
    page.wait_for_selector("#proposals button >> nth=2")
    page.select_option("#finish-class", "left open")
    assert page.locator("#finish-note").text_content() == "The class is left open."
    assert not page.locator("#proposals button").count()
    page.click("#finish")
    page.wait_for_selector("#proposals button >> nth=2")
    proposed = [page.locator(f"#proposals button >> nth={i}").locator(".added").count() for i in range(3)]
    assert min(proposed) >= 1 and strokes(page, "ghost") == proposed[0]
    assert page.locator("#ghost").get_attribute("class") == "added"
    page.locator("#proposals button").nth(2).click()
    assert strokes(page, "ghost") == proposed[2] and strokes(page, "ink") == 1
    page.click("#take")
    assert strokes(page, "ink") == 1 + proposed[2] and not page.locator("#proposals button").count()
    page.click("#undo")
    assert strokes(page, "ink") == 1
