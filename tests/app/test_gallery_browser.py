"""The gallery for generators in headless Chromium: new pictures, and a whole eye test by mouse and keys."""

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

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(run_of, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The command with a classifier and two generators: where the page is, and the first generator's folder."""
    run = Path(
        shutil.copytree(run_of("gan_classes"), tmp_path_factory.mktemp("gan") / "dcgan_conditional-shapes" / "run")
    )
    words = [sys.executable, "-m", "sketchlab.app", *map(str, (run_of("images"), run, run_of("gan"))), "--port", "0"]
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
