"""The page in headless Chromium, by real mouse events: drawn, judged, replaced, undone, saved, opened."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sketchlab import config
from sketchlab.training import session
from tests import every

pytestmark = pytest.mark.browser
CLASSES = ["circle", "line", "square", "triangle"]
TRAINED = [
    *("model=cnn_lstm", "data=shapes", f"data.classes=[{','.join(CLASSES)}]", "data.per_class=120", "loop.epochs=5"),
    *("model.input.size_px=32", "model.channels=[16,8]", "model.hidden=64", "model.layers=1", "model.head=64"),
    *("data/stroke_augment=mild", "model.input.std=[0.25]", "loop.lr=0.002", "runtime.device=cpu"),
    *("runtime.workers=0", "pipeline.explain=0"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Shapes, stroke by stroke: some 10 s on two cores."""
    root = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "report", lambda folder: None)
        session.execute(config.from_overrides([*TRAINED, f"run.root={root}"]))
    return every.folder_in(root)


@pytest.fixture(scope="module")
def served(run, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The command itself: where the page is, and the folder it saves to."""
    folder = tmp_path_factory.mktemp("labelled")
    words = [sys.executable, "-m", "sketchlab.app", str(run), str(run), "--port", "0", "--save", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    try:
        address = next(found[0] for line in process.stdout if (found := re.findall(r"http://\S+", line)))
        yield address, folder
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def page(chromium, served) -> Iterator[Any]:
    """A fresh page; whatever it asks of another server, or says is wrong, fails the test."""
    context = chromium.new_context(viewport={"width": 1100, "height": 800}, accept_downloads=True)
    page, asked, wrong = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    refused = "Failed to load resource: the server responded with a status of 40"  # 400, 409: said on the page
    page.goto(served[0])
    page.wait_for_selector("#runs input")
    yield page
    context.close()
    assert asked and all(url.startswith((served[0], "data:", "blob:")) for url in asked), asked
    assert not [text for text in wrong if not text.startswith(refused)]


def draw(page: Any, strokes: list[list[tuple[float, float]]]) -> None:
    """By mouse; points are shares of the sheet's side."""
    box = page.locator("#sheet").bounding_box()
    for stroke in strokes:
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*at[0])
        page.mouse.down()
        for x, y in at[1:]:
            page.mouse.move(x, y, steps=4)
        page.mouse.up()


SQUARE = [[(0.3, 0.3), (0.71, 0.31), (0.7, 0.7), (0.29, 0.69), (0.3, 0.3)]]
CIRCLE = [[(0.5 + 0.22 * math.cos(t / 5), 0.45 + 0.22 * math.sin(t / 5)) for t in range(32)]]


def top(page: Any, wanted: str) -> None:
    """Waits until the answer is `wanted`."""
    page.wait_for_function("word => document.getElementById('top').textContent.startsWith(word + ',')", arg=wanted)


@pytest.mark.parametrize(("wanted", "strokes"), [("square", SQUARE), ("circle", CIRCLE)])
def test_what_is_drawn_is_recognised(page, wanted, strokes):
    draw(page, strokes)
    top(page, wanted)
    assert page.locator("#bars li").count() == len(CLASSES)
    assert page.locator("#bars li .name").first.inner_text() == wanted
    assert "7 strokes left" in page.locator("#left").inner_text()
    shown = page.locator("#bars li .p").all_inner_texts()
    page.locator("#runs input").nth(1).check()  # the same drawing, judged anew
    top(page, wanted)
    assert page.locator("#bars li .p").all_inner_texts() == shown


def test_the_answer_follows_every_stroke_and_undo_goes_back(page):
    draw(page, SQUARE)
    top(page, "square")
    answers = [page.locator("#bars").inner_text()]
    draw(page, [[(0.1, 0.9), (0.9, 0.1)], [(0.1, 0.1), (0.5, 0.95)]])
    page.wait_for_function("before => document.getElementById('bars').innerText !== before", arg=answers[0])
    assert "5 strokes left" in page.locator("#left").inner_text()
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    page.wait_for_function("before => document.getElementById('bars').innerText === before", arg=answers[0])
    page.keyboard.press("c")
    assert page.locator("#ink path").count() == 0 and page.locator("#bars li").count() == 0
    page.locator("#undo").click()
    top(page, "square")


def test_strokes_past_the_limit_are_pale_and_nothing_breaks(page):
    draw(page, [[(0.1 + 0.08 * i, 0.2), (0.1 + 0.08 * i, 0.8)] for i in range(10)])
    page.wait_for_function("() => document.getElementById('left').textContent.startsWith('no strokes left')")
    assert page.locator("#ink path.late").count() == 2 and page.locator("#ink path").count() == 10


def test_a_clean_shape_takes_the_drawings_place_and_undo_brings_it_back(page):
    draw(page, CIRCLE)
    top(page, "circle")
    page.locator("#sure").fill("100")
    page.wait_for_function("() => document.getElementById('offer').textContent.startsWith('No offer')")
    assert not page.locator("#replace").is_visible()
    page.locator("#sure").fill("10")
    page.locator("#replace").wait_for()
    words = page.locator("#offer").inner_text()  # a circle has no turn to speak of
    assert re.fullmatch(r"The dashed circle is 4\d% of the sheet wide and 4\d% high\.", words), words
    assert page.locator("#ghost path").count() == 1
    drawn, ghost = (page.locator(f"#{name} path").get_attribute("d") for name in ("ink", "ghost"))
    page.locator("#replace").click()
    page.wait_for_function("() => document.getElementById('offer').textContent.startsWith('This is the clean shape')")
    assert page.locator("#ink path").get_attribute("d") == ghost != drawn
    page.locator("#undo").click()
    assert page.locator("#ink path").get_attribute("d") == drawn


def test_above_a_confidence_that_one_sets_every_stroke_is_replaced_and_undo_goes_back(page, tmp_path):
    is_clean = "() => document.getElementById('offer').textContent.startsWith('This is the clean shape')"
    assert page.locator("#auto-level").inner_text() == "off"
    draw(page, SQUARE)
    page.locator("#replace").wait_for()  # offered, as before
    assert page.locator("#ink path").count() == 1 and not page.evaluate(is_clean)
    page.locator("#auto").fill("50")
    assert page.locator("#auto-level").inner_text() == "50%"
    assert not page.evaluate(is_clean)  # what is drawn already stays
    page.keyboard.press("c")
    page.locator("#sure").fill("100")  # the two levels are apart
    draw(page, CIRCLE)
    top(page, "circle")
    page.wait_for_function(is_clean)
    replaced = page.locator("#ink path").get_attribute("d")
    page.keyboard.press("u")
    page.wait_for_function("() => document.getElementById('offer').textContent.startsWith('No offer')")
    drawn = page.locator("#ink path").get_attribute("d")
    assert drawn != replaced and page.locator("#ink path").count() == 1  # undone, and left alone
    page.keyboard.press("c")
    draw(page, SQUARE)
    page.wait_for_function(is_clean)
    page.locator("#undo").click()  # the button goes back as the key does
    page.wait_for_function("() => document.getElementById('offer').textContent.startsWith('No offer')")
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "drawing.ndjson")
    page.locator("#file").set_input_files(tmp_path / "drawing.ndjson")
    top(page, "square")
    page.wait_for_function("() => document.getElementById('offer').textContent.startsWith('No offer')")
    page.reload()  # the setting is remembered
    page.wait_for_selector("#runs input")
    page.wait_for_function("() => document.getElementById('auto-level').textContent === '50%'")
    page.locator("#auto").fill("101")
    draw(page, SQUARE)
    page.locator("#replace").wait_for()
    assert page.locator("#auto-level").inner_text() == "off" and not page.evaluate(is_clean)


def test_saved_opened_and_kept(page, served, tmp_path):
    draw(page, SQUARE)
    top(page, "square")
    answer = page.locator("#bars").inner_text()
    page.locator("#label").fill("square")
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "square.ndjson")
    line = json.loads((tmp_path / "square.ndjson").read_text())
    assert line["word"] == "square" and line["recognized"] is True
    page.locator("#keep").click()
    page.wait_for_function("() => document.getElementById('kept').textContent.startsWith('Added')")
    assert json.loads((served[1] / "square.ndjson").read_text())["drawing"] == line["drawing"]
    page.locator("#clear").click()
    (tmp_path / "two.ndjson").write_text(2 * (tmp_path / "square.ndjson").read_text())
    page.locator("#file").set_input_files(tmp_path / "two.ndjson")
    top(page, "square")
    assert page.locator("#bars").inner_text() == answer  # the same bits in, the same answer out
    assert page.locator("#place").inner_text() == "drawing 1 of 2"
    (tmp_path / "bad.ndjson").write_text("{")
    page.locator("#file").set_input_files(tmp_path / "bad.ndjson")
    page.wait_for_function("() => document.getElementById('message').textContent.startsWith('not a drawing')")


def test_all_controls_are_reached_by_keyboard(page):
    draw(page, SQUARE)
    top(page, "square")
    page.locator("#sure").fill("0")
    page.locator("#replace").wait_for()
    page.locator("#runs input").first.focus()
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id || document.activeElement.innerText"))
    summaries = ["Examples to try", "Keys"]
    right = ["sure", "auto", "replace", "label", "download"]  # without a label nothing is added to the folder
    assert reached == ["sheet", "undo", "clear", "open", *summaries, *right]


def test_a_square_drawn_with_keys_is_recognised(page):
    page.locator("#runs input").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    for arrow in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        for _ in range(8):
            page.keyboard.press(arrow)
    assert page.locator("#message").inner_text() == "Pen down" and not page.locator("#bars li").count()
    page.keyboard.press("Space")
    top(page, "square")
    assert page.locator("#ink path").count() == 1
    words = page.locator("#spoken").inner_text()
    assert words.startswith("square, ") and page.locator("#spoken").get_attribute("role") == "status"
    for key in ("Space", "Shift+ArrowRight", "Space", "u"):  # a second stroke, and back
        page.keyboard.press(key)
    top(page, "square")
    assert page.locator("#ink path").count() == 1


DROP = """([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg"><rect x="9" y="9" width="80" height="80" fill="none" stroke="red"/></svg>'
)
NDJSON = json.dumps({"word": "square", "drawing": [[[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]]}).encode()


def message(page: Any, part: str) -> None:
    page.wait_for_function("part => document.getElementById('message').textContent.includes(part)", arg=part)


@pytest.mark.parametrize(
    ("name", "content"), [("a.SVG", SVG), ("a.ndjson", NDJSON + b"\n"), ("a.ndjson.gz", gzip.compress(NDJSON))]
)
def test_dropped_drawings_are_judged(page, name, content):
    page.evaluate(DROP, [name, list(content)])
    top(page, "square")
    assert page.locator("#ink path").count() == 1


def test_what_a_model_of_strokes_cannot_take_is_one_line_and_the_drawing_stays(page):
    draw(page, SQUARE)
    top(page, "square")
    answer = page.locator("#bars").inner_text()
    for name, part in (("a.png", "a picture has no strokes"), ("a.svg", "no SVG"), ("a.ndjson", "not a drawing")):
        page.evaluate(DROP, [name, list(b"no such file")])
        message(page, part)
        assert page.locator("#ink path").count() == 1 and page.locator("#bars").inner_text() == answer
    page.evaluate(DROP, ["a.gz", []])
    message(page, "a picture has no strokes")


def test_examples_are_tried_by_keyboard(page):
    page.locator("#examples summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#tries button').length === 4")
    names = page.locator("#tries button").all_inner_texts()
    assert [name.strip() for name in names] == CLASSES
    assert "test data" in page.locator("#examples-note").inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    top(page, "circle")
    assert page.locator("#ink path").count() > 0 and page.locator("#label").input_value() == ""


def test_a_slow_answer_shows_work_and_an_overtaken_one_is_never_shown(page):
    """The first answer is held back; the second comes at once; the first, if it came after all, changes nothing."""
    held = []
    page.route("**/predict", lambda route: held.append(route) if not held else route.continue_())
    draw(page, CIRCLE)
    page.wait_for_function("() => document.getElementById('work').textContent === 'Working…'")
    assert page.locator("#answer").get_attribute("aria-busy") == "true" and not page.locator("#bars li").count()
    page.keyboard.press("c")
    draw(page, SQUARE)
    top(page, "square")
    assert page.locator("#work").inner_text() == "" and page.locator("#answer").get_attribute("aria-busy") == "false"
    assert held[0].request.failure  # the page gave it up
    assert page.locator("#message").inner_text() == ""


def test_a_question_whose_place_was_taken_is_asked_again(page):
    n = 0

    def once(route):
        nonlocal n
        n += 1
        route.fulfill(status=409, json={"error": "a newer question"}) if n == 1 else route.continue_()

    page.route("**/predict", once)
    draw(page, SQUARE)
    top(page, "square")
    assert n == 2 and page.locator("#message").inner_text() == ""


def test_the_message_of_add_to_folder_stands_beside_its_button(page):
    draw(page, CIRCLE)
    page.locator("#label").fill(".hidden")
    page.locator("#keep").click()
    page.wait_for_function("() => document.getElementById('kept').textContent.startsWith('label')")
    box, words = page.locator("#keep").bounding_box(), page.locator("#kept").bounding_box()
    assert abs(words["y"] - box["y"]) < 60 and page.locator("#message").inner_text() == ""


@pytest.mark.parametrize("width", [320, 390, 1100])
def test_nothing_runs_off_the_side(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    draw(page, SQUARE)
    top(page, "square")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


def test_a_touch_draws_and_does_not_scroll(chromium, served):
    context = chromium.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(served[0])
    page.wait_for_selector("#runs input")
    box = page.locator("#sheet").bounding_box()
    page.touchscreen.tap(box["x"] + 100, box["y"] + 100)
    page.wait_for_function("() => document.querySelectorAll('#ink path').length === 1")
    top_is_shown = "() => document.getElementById('top').textContent.trim() !== ''"
    page.wait_for_function(top_is_shown)
    assert page.locator("#sheet").evaluate("sheet => getComputedStyle(sheet).touchAction") == "none"
    context.close()
