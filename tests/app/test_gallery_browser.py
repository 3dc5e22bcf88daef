"""In headless Chromium: new pictures, a whole eye test by mouse and keys, picture files, names for readers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sketchlab import open_run
from tests.app.test_browser import DROP
from tests.app.test_server import picture

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(run_of, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The command with a classifier and two generators: where the page is, and the first generator's folder."""
    run = Path(
        shutil.copytree(run_of("gan_classes"), tmp_path_factory.mktemp("gan") / "dcgan_conditional-shapes" / "run")
    )
    runs = map(str, (run_of("images"), run_of("photos"), run, run_of("gan")))
    words = [sys.executable, "-m", "sketchlab.app", *runs, "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    try:
        yield next(found[0] for line in process.stdout if (found := re.findall(r"http://\S+", line))), run
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def page(chromium, served) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1100, "height": 800})
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(served[0])
    page.wait_for_selector("#runs input")
    page.locator("#views input").nth(1).check()
    page.wait_for_function("() => document.querySelectorAll('#made img').length === 8")
    yield page
    context.close()
    assert not wrong


def test_another_eight_of_a_class_and_the_other_run(page):
    before = page.locator("#made img").first.get_attribute("src")
    page.keyboard.press("n")
    page.wait_for_function("src => document.querySelector('#made img').src !== src", arg=before)
    page.locator("#class").select_option("line")
    page.wait_for_function(
        "() => new Set([...document.querySelectorAll('#made figcaption')].map(c => c.textContent)).size === 1"
    )
    assert page.locator("#made figcaption").first.inner_text() == "line"
    page.locator("#generators input").nth(1).check()
    page.wait_for_function("() => !document.querySelector('#made figcaption')")
    assert not page.locator("#kind").is_visible() and not page.locator("#draw").is_visible()
    page.locator("#views input").first.check()
    assert page.locator("#sheet").is_visible() and not page.locator("#gallery").is_visible()


def test_an_eye_test_from_start_to_end(page, served):
    page.locator("#who").fill("Grace")
    page.locator("#start").click()
    n = 12
    for i in range(n):
        page.wait_for_function(
            "text => document.getElementById('turn').textContent === text", arg=f"Picture {i + 1} of {n}"
        )
        assert not page.locator("#new").is_visible() and not page.locator("#verdict").is_visible()
        page.wait_for_timeout(30)  # the answer before has been taken
        if i % 3 == 0:
            page.locator("#real").click()
        else:
            page.keyboard.press("g" if i % 3 == 1 else "r")
    page.locator("#verdict").wait_for()
    said = page.locator("#verdict p").all_inner_texts()
    lines = [json.loads(line) for line in (served[1] / "eye_test.jsonl").read_text().splitlines()]
    assert [line["said"] for line in lines] == ["real", "generated", "real"] * 4
    assert {line["who"] for line in lines} == {"Grace"}
    fooled = sum(line["truth"] == "generated" and line["said"] == "real" for line in lines)
    assert said[0].startswith(f"Generated pictures called real: {fooled} of 6") and "interval" in said[0]
    assert page.locator("#new").is_visible() and page.evaluate("() => document.activeElement.id") == "start"
    page.keyboard.press("Enter")
    page.locator("#test").wait_for()
    page.locator("#stop").click()
    assert page.locator("#said").inner_text() == f"Stopped after 0 of {n}: these answers are kept."


@pytest.mark.parametrize("width", [320, 390, 1100])
def test_nothing_runs_off_the_side(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    fits = "() => document.documentElement.scrollWidth <= window.innerWidth"
    assert page.evaluate(fits)
    page.locator("#start").click()
    page.locator("#test").wait_for()
    assert page.evaluate(fits)
    box = page.locator("#generated").bounding_box()
    assert box["y"] + box["height"] <= 800  # both answers are seen beside the picture


def test_all_controls_are_reached_by_keyboard(page):
    page.locator("#generators input").first.focus()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id"))
    assert reached == ["another", "class", "who", "start"]
    page.keyboard.press("Enter")
    page.locator("#test").wait_for()
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id"))
    assert reached == ["real", "generated", "stop"]


def test_a_dropped_picture_is_judged_as_predict_does_and_undone(page, run_of, tmp_path):
    page.locator("#views input").first.check()
    page.evaluate(DROP, ["ring.png", list(picture("PNG"))])
    (tmp_path / "ring.png").write_bytes(picture("PNG"))
    wanted = open_run(run_of("images")).predict([tmp_path / "ring.png"])["prediction"][0]
    page.wait_for_function("word => document.getElementById('top').textContent.startsWith(word + ',')", arg=wanted)
    assert page.locator("#sheet").get_attribute("aria-label") == "Sheet with a picture: ring.png"
    assert page.locator("#picture").get_attribute("href").startswith("data:image/png")
    assert page.locator("#download").is_disabled() and not page.locator("#empty").is_visible()
    page.locator("#runs input").nth(1).check()  # the same picture, asked of the retrieval run
    page.wait_for_function("() => document.querySelectorAll('#photos img').length === 10")
    page.keyboard.press("u")
    page.wait_for_function("() => document.getElementById('top').textContent === 'What is it?'")
    assert page.locator("#picture").get_attribute("href") is None and page.locator("#empty").is_visible()


def test_examples_of_pictures_and_the_class_and_distance_of_photos(page):
    page.locator("#views input").first.check()
    page.locator("#runs input").nth(1).check()
    page.locator("#examples summary").click()
    page.locator("#tries button").first.click()
    page.wait_for_function("() => document.querySelectorAll('#photos figcaption').length === 10")
    captions = page.locator("#photos figcaption").all_inner_texts()
    found = [re.fullmatch(r"(circle|line|square)\s+distance (\d\.?\d*(?:e-\d+)?)", text) for text in captions]
    assert all(found), captions
    distances = [float(one[2]) for one in found if one]
    assert distances == sorted(distances)
    assert "without a unit: 0 is the same" in page.locator("#facts").inner_text()
    name, far = found[0].groups()
    assert page.locator("#spoken").inner_text() == f"Nearest photo: {name}, distance {far}"


@pytest.mark.parametrize("view", ["draw", "gallery", "test"])
def test_all_that_takes_the_focus_has_a_name_for_screen_readers(page, view):
    """As Chromium's accessibility tree has it."""
    if view == "draw":
        page.locator("#views input").first.check()
        page.locator("#examples summary").click()
        page.locator("#tries button").first.wait_for()
    if view == "test":
        page.locator("#start").click()
        page.locator("#test").wait_for()
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    nodes = [node for node in nodes if not node["ignored"]]

    def takes_focus(node: dict) -> bool:
        return any(one["name"] == "focusable" and one["value"]["value"] for one in node.get("properties", []))

    focusable = [node for node in nodes if takes_focus(node) and node["role"]["value"] != "RootWebArea"]
    assert len(focusable) >= {"draw": 12, "gallery": 5, "test": 4}[view]
    assert not [node for node in focusable if not node.get("name", {}).get("value", "").strip()]
    pictures = [node for node in nodes if node["role"]["value"] == "image"]
    assert not [node for node in pictures if not node.get("name", {}).get("value", "").strip()]
    assert sum(node["role"]["value"] == "main" for node in nodes) == 1
