"""Curves to look into (hover, zoom, log scale), figures in the page's colours, and a page while its run trains."""

from __future__ import annotations

import datetime
import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from sketchlab import report
from sketchlab.report import canvas, look, page
from sketchlab.report.comparison.compare import compare
from sketchlab.report.read import read
from sketchlab.report.run import curves, plots, transfer
from tests.report.conftest import classifier, put, sweep

PAPER = {"light": "#ffffff", "dark": "#14171b"}


def luminance(colour: str) -> float:
    """Of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- colours


def test_lines_stand_out_on_a_dark_page_and_from_each_other():
    assert len(look.DARK) == len(canvas.PALETTE)
    assert all(contrast(colour, PAPER["dark"]) >= 4.5 for colour in look.DARK)
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])  # Machado 2009
    seen = [deuteranopia @ [int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in look.DARK]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(seen, 2)) > 0.1


@given(st.integers(0, 255))
def test_a_grey_becomes_as_much_ink(value):
    mixed = look.coloured(f"#{value:02x}{value:02x}{value:02x}")
    found = re.fullmatch(r"color-mix\(in srgb, var\(--ink\) (\d+)%, var\(--paper\)\)", mixed)
    assert found and abs(int(found[1]) / 100 - (1 - value / 255)) < 0.006


def test_the_palette_is_named_and_other_colours_stay():
    assert look.coloured("#0072b2").startswith("var(--c0") and look.coloured("#E69F00").startswith("var(--c5")
    assert look.coloured("#123456") == "#123456"


# --- figures


def test_no_legend_lies_over_axes(run_folder, monkeypatch):
    """Of every figure of every kind of run: the boxes of its legends and of its axes have nothing in common."""
    seen, save = [], canvas.save

    def kept(run, figure: Figure, *rest):
        made = save(run, figure, *rest)
        for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
            if legend is not None:
                box = legend.get_window_extent()
                seen.append(rest[0])
                assert not any(axes.bbox.overlaps(box) for axes in figure.axes), rest[0]
        return made

    monkeypatch.setattr(canvas, "save", kept)
    for kind in ("classifier", "retrieval", "gan"):
        plots.draw(read(run_folder(kind)))
    folder = run_folder("baseline")
    put(folder, "stress.csv", stressed({("rotation", -30): 60, ("rotation", 0): 86, ("rotation", 30): 70}))
    list(transfer.plots(read(folder)))
    assert {"curve_loss", "curve_accuracy", "time_spent", "test_classes", "stress_rotation"} <= set(seen)


def test_the_mean_over_classes_is_drawn_where_it_is_another_number(tmp_path):
    folder = classifier(tmp_path / "small_cnn-shapes" / "a")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    put(folder, "metrics.jsonl", [row | {"val/class_accuracy": 0.5, "train/accuracy": 0.6} for row in rows])
    assert curves.families(read(folder))["accuracy"] == ["train/accuracy", "val/accuracy"]
    assert "class_accuracy" not in curves.families(read(folder))
    data = json.loads((folder / "data.json").read_text())
    data["splits"]["val"]["per_class"] = [200, 60, 40]
    put(folder, "data.json", data)
    assert curves.families(read(folder))["class_accuracy"] == ["val/class_accuracy"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40))
def test_an_id_breaks_at_a_slash_alone(name):
    made = page.identifier(name)
    assert made.count("<wbr>") == name.count("/") and f">{page.escape(name).replace('/', '/<wbr>')}</span>" in made


# --- stress


def stressed(right: dict[tuple[str, float], int], n: int = 100) -> list[dict]:
    return [{"kind": kind, "level": level, "k": k, "n": n} for (kind, level), k in right.items()]


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({("rotation", -30): 60, ("rotation", 0): 92, ("rotation", 30): 53, ("rotation", 60): 10}, "Turned 30°: .530"),
        ({("rotation", -30): 50, ("rotation", 0): 92, ("rotation", 30): 53}, "Turned −30°: .500"),
        (
            {("scale", 0.8): 90, ("scale", 1): 92, ("shift_right", -0.1): 40, ("shift_right", 0): 92},
            "Moved left by 10% of the side: .400",
        ),
        ({("first_strokes", 0.5): 30, ("first_strokes", 1): 92}, "Only the first 50% of the strokes: .300"),
    ],
)
def test_the_page_of_a_stress_test_begins_with_its_worst_finding(run_folder, right, said):
    folder = run_folder("baseline")
    put(folder, "stress.csv", stressed(right))
    text = report.write(folder).read_text()
    headline = re.findall(r'<p class="headline">(.*?)</p>', text)[0]
    assert headline.startswith(said + " right (95% [") and headline.endswith("n = 100); unchanged .920.")
    assert text.index('<section id="under-stress">') < text.index('<section id="result">')


def test_every_kind_of_stress_has_words():
    assert set(transfer.KINDS) == set(transfer.SAID) == {*transfer.NEUTRAL, "line_px"}


# --- in a browser


@pytest.fixture
def opened(browser):
    def open_(file, scheme="light", width=1400):
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.mistakes = []
        tab.on("pageerror", lambda error: tab.mistakes.append(str(error)))
        tab.goto(file.as_uri())
        return tab

    return open_


def box_of(tab, curve):
    """The axes of a curve on the screen: left, top, right, bottom, px."""
    return tab.evaluate(
        """name => { const svg = document.querySelector(`svg[aria-label^="${name}"]`), look = svg.closest('.look');
        svg.scrollIntoView({block: 'center'});
        const data = JSON.parse(look.querySelector('script').textContent), at = svg.getBoundingClientRect();
        const scale = at.width / svg.viewBox.baseVal.width;
        return data.box.map((v, i) => (i % 2 ? at.top : at.left) + v * scale); }""",
        curve,
    )


def places(tab, curve, gid="line0"):
    """(E, 2) of a line, in points of the figure."""
    drawn = tab.locator(f'svg[aria-label^="{curve}"] g[id$="-{gid}"] > path').get_attribute("d")
    return np.array([float(v) for v in re.findall(r"-?[\d.]+", drawn)]).reshape(-1, 2)


@pytest.mark.browser
def test_values_under_the_pointer(opened, drawn):
    tab = opened(drawn / "report.html")
    left, top, right, bottom = box_of(tab, "accuracy")
    run = read(drawn)
    for epoch in (2, 7, 12):
        low, high = json.loads(tab.locator('.look:has(svg[aria-label^="accuracy"]) script').text_content())["range"]
        tab.mouse.move(left + (epoch - low) / (high - low) * (right - left), (top + bottom) / 2)
        tip = tab.locator('.look:has(svg[aria-label^="accuracy"]) .tip').text_content()
        value = dict(zip(*run.curve("val/accuracy"), strict=True))[epoch]
        assert tip == f"epoch {epoch}val" + f"{value:.3f}"[1:]
    assert not tab.mistakes


@pytest.mark.browser
def test_a_drag_zooms_and_a_double_click_goes_back(opened, drawn):
    tab = opened(drawn / "report.html")
    left, top, right, bottom = box_of(tab, "accuracy")
    data = json.loads(tab.locator('.look:has(svg[aria-label^="accuracy"]) script').text_content())
    before = places(tab, "accuracy")
    a, b = left + 0.25 * (right - left), left + 0.5 * (right - left)
    tab.mouse.move(a, top + 40)
    tab.mouse.down()
    tab.mouse.move(b, top + 42)
    tab.mouse.up()
    after = places(tab, "accuracy")
    x0, x1 = data["box"][0], data["box"][2]
    expected = x0 + ((before[:, 0] - x0) / (x1 - x0) - 0.25) / 0.25 * (x1 - x0)
    assert np.abs(after[:, 0] - expected).max() < 3 and np.abs(after[:, 1] - before[:, 1]).max() < 0.1
    low, high = data["range"]
    ticks = [
        float(v) for v in tab.locator('svg[aria-label^="accuracy"] .ticks text[text-anchor=middle]').all_text_contents()
    ]
    assert ticks and all(low + 0.24 * (high - low) <= v <= low + 0.51 * (high - low) for v in ticks)
    tab.mouse.dblclick((a + b) / 2, top + 40)
    assert np.abs(places(tab, "accuracy") - before).max() < 0.02
    assert tab.locator('svg[aria-label^="accuracy"] .ticks text').count() == 0 and not tab.mistakes


@pytest.mark.browser
def test_a_log_scale_has_equal_ratios_equally_far(opened, drawn):
    tab = opened(drawn / "report.html")
    tools = tab.locator('.look:has(svg[aria-label^="loss"])')
    tools.locator("[data-do=log]").check()
    values = read(drawn).curve("train/loss")[1]
    at = places(tab, "loss")[:, 1]
    steps, ratios = np.diff(at), np.diff(np.log(values))
    assert np.abs(steps / ratios - steps[0] / ratios[0]).max() < 0.02 * abs(steps[0] / ratios[0]) + 0.5
    tools.locator("[data-do=log]").uncheck()
    linear = np.diff(places(tab, "loss")[:, 1]) / np.diff(values)
    assert np.abs(linear - linear[0]).max() < 0.02 * abs(linear[0]) and not tab.mistakes


@pytest.mark.browser
def test_buttons_and_keys(opened, drawn):
    tab = opened(drawn / "report.html", width=390)
    tools, svg = tab.locator('.look:has(svg[aria-label^="accuracy"])'), tab.locator('svg[aria-label^="accuracy"]')
    before = np.ptp(places(tab, "accuracy")[:, 0])
    tools.locator("[data-do=in]").click()
    assert np.ptp(places(tab, "accuracy")[:, 0]) == pytest.approx(2 * before, rel=0.01)
    tools.locator("[data-do=out]").click()
    assert np.ptp(places(tab, "accuracy")[:, 0]) == pytest.approx(before, rel=0.01)
    svg.focus()
    tab.keyboard.press("ArrowRight")
    assert tools.locator(".tip").text_content().startswith("epoch 1val")
    tab.keyboard.press("+")
    assert tools.locator("[data-do=home]").is_enabled()
    tab.keyboard.press("0")
    assert tools.locator("[data-do=home]").is_disabled() and not tab.mistakes


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_follow_dark_mode(opened, drawn, scheme):
    """Text of figures can be read on either paper; the lines have the colours of the mode."""
    tab = opened(drawn / "report.html", scheme)
    fills = tab.locator(".still svg.chart text, .look svg.chart text").evaluate_all(
        "all => all.map(one => getComputedStyle(one).fill)"
    )
    assert len(fills) > 20
    for fill in set(fills):
        parts = [float(v) for v in re.findall(r"[\d.]+", fill)][:3]
        parts = [255 * v for v in parts] if "srgb" in fill else parts
        assert contrast("#" + "".join(f"{round(v):02x}" for v in parts), PAPER[scheme]) > 4.5, fill
    stroke = tab.locator('svg[aria-label^="accuracy"] g[id$="-line0"] > path').evaluate(
        "one => getComputedStyle(one).stroke"
    )
    colour = (canvas.PALETTE if scheme == "light" else look.DARK)[0]
    assert stroke == f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.browser
def test_a_comparison_has_the_same(opened, tmp_path):
    sweep(tmp_path / "runs", {"big": 0.8, "small": 0.5})
    tab = opened(compare([tmp_path / "runs"], out=tmp_path / "out"))
    tools = tab.locator(".look").first
    before = tools.locator('g[id$="-mean"] > path').first.get_attribute("d")
    tools.locator("[data-do=in]").click()
    assert tools.locator('g[id$="-mean"] > path').first.get_attribute("d") != before
    tools.locator("[data-do=home]").click()
    numbers = [
        [float(v) for v in re.findall(r"-?[\d.]+", d)]
        for d in (before, tools.locator('g[id$="-mean"] > path').first.get_attribute("d"))
    ]
    assert np.abs(np.subtract(*numbers)).max() < 0.02 and not tab.mistakes


# --- while it trains


@pytest.fixture
def training(tmp_path):
    folder = classifier(tmp_path / "small_cnn-shapes" / "a", epochs=5, test=False)
    put(folder, "status.json", {"state": "running", "started": "2026-01-01T10:00:00+00:00"})
    put(folder, "progress.json", {"step": 1200, "steps": 4000, "seconds_left": 754})
    return folder


def due(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(re.findall(r'data-next="([^"]+)"', text)[0])


def test_while_it_trains_the_page_says_how_far_it_is(training):
    text = report.write(training, next_s=90).read_text()
    written = datetime.datetime.now().astimezone()
    assert "Step 1,200 of 4,000, about 12 min 34 s left, written at " in text and ", next by " in text
    assert 80 <= (due(text) - written).total_seconds() <= 91
    text = report.write(training).read_text()  # nobody promises another one
    assert "Step 1,200 of 4,000" in text and "data-next" not in text and "reload" not in text
    put(training, "status.json", {"state": "interrupted"})
    assert 'class="live"' not in report.write(training, next_s=90).read_text()


@pytest.mark.browser
def test_the_page_reloads_until_it_is_not_written_again(opened, training):
    file = report.write(training, next_s=60)
    text = file.read_text()

    def write(step: str, in_s: float) -> None:
        when = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=in_s)
        file.write_text(text.replace(due(text).isoformat(), when.isoformat()).replace("Step 1,200", f"Step {step}"))

    write("1,200", 4)
    tab = opened(file)
    assert tab.locator(".live .late").is_hidden()
    write("2,500", 8)
    tab.wait_for_function("document.querySelector('.live').textContent.includes('Step 2,500')", timeout=20_000)
    tab.locator(".live .late").wait_for(state="visible", timeout=30_000)  # killed: nobody writes it again
    loads = []
    tab.on("load", lambda _: loads.append(1))
    tab.wait_for_timeout(2500)
    assert not loads and not tab.mistakes
