"""The page of a comparison in use: its headline, its warnings, its links, and runs filtered, sorted and chosen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sketchlab.report.comparison import conclusion, figures, groups, pairs, warned
from sketchlab.report.comparison.compare import compare
from sketchlab.report.comparison.family import Family
from sketchlab.report.comparison.leaderboard import entry
from sketchlab.report.sentences import render
from tests.report.conftest import put, sweep

NAMES = {"big <b>&": 0.8, "middle one of a rather long name": 0.62, "small": 0.45}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three models of three seeds; not to be changed."""
    root = tmp_path_factory.mktemp("three")
    for folder in folders(sweep(root / "runs", NAMES)):
        (folder / "report.html").write_text("a page of its own")
    return compare([root / "runs"], out=root / "out")


def folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob("*/*/config.yaml"))


def families(root: Path, key: str = "test/accuracy") -> tuple[list[Family], list[groups.Group]]:
    runs, _ = groups.read_all(groups.find([root])[0])
    found, _, _ = groups.gather(runs)
    samples = pairs.Samples(key)
    ranked = [group for block in pairs.test_sets(found, key) for group in block]
    rows = [entry(group, samples) for group in ranked]
    return [Family(key, ranked, rows, pairs.compare(found, key, samples), [], None, {})], found


# --- what stands on the page


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.text("abc_1·= ", min_size=1, max_size=90).filter(str.strip), min_size=2, max_size=2, unique=True),
    score=st.sampled_from([0.02, 0.3, 0.5, 0.79, 0.8, 1.0]),
)
def test_a_headline_is_short_whatever_the_groups_are_called(names, score, tmp_path_factory):
    root = tmp_path_factory.mktemp("headline")
    sweep(root, {"a": score, "b": 0.78}, seeds=[0, 1])
    (family,), found = families(root)
    for group, name in zip(found, names, strict=True):
        object.__setattr__(group, "name", name)
    said = render(conclusion.short([family]))
    assert len(said) <= conclusion.LONGEST
    best = max(family.leaderboard, key=lambda row: row.mean)
    assert said.count(f" {best.mean:.3f}".replace("0.", ".")) == 1  # its score is never cut


def test_a_leader_at_chance_is_said_in_the_headline_and_above_it(tmp_path):
    sweep(tmp_path / "runs", {"x": 0.34, "y": 0.31})
    page = compare([tmp_path / "runs"], out=tmp_path / "out").read_text()
    headline = re.findall(r'<p class="headline">(.*?)</p>', page)[0]
    assert "not significantly better than guessing" in headline
    assert page.index("is not significantly better than guessing in x, y") < page.index('class="headline"')


@settings(max_examples=20, deadline=None)
@given(made=st.lists(st.sampled_from("ab"), min_size=3, max_size=3), nothing=st.integers(0, 3))
def test_warnings_are_there_if_and_only_if_their_reason_is(made, nothing, tmp_path_factory):
    """made: the code of each group; nothing: groups whose networks have no trainable parameter."""
    root = tmp_path_factory.mktemp("warned")
    for i, folder in enumerate(folders(sweep(root, {"x": 0.6, "y": 0.7, "z": 0.8}, seeds=[0]))):
        put(folder, "code.json", {"sketchlab/models/x.py": [made[i], made[i]]})
        env = json.loads((folder / "env.json").read_text())
        put(folder, "env.json", env | {"parameters": {"total": 9, "trainable": 0 if i < nothing else 9}})
    kinds = [found.kind for found in warned.find(*families(root))]
    assert kinds.count("code of groups") == (len(set(made)) > 1)
    assert kinds.count("of runs") == (nothing > 0)
    assert "other samples" not in kinds and "pictures of groups" not in kinds


def test_other_test_samples_and_other_pictures_stand_above_the_headline(tmp_path):
    for name, digest, fingerprint in (("x", "1e1e", "one"), ("y", "1e1e", "two"), ("z", "7f7f", "one")):
        data = {"fingerprint": fingerprint, "splits": {"test": {"digest": digest}}}
        sweep(tmp_path / "runs", {name: 0.6}, data=data)
    page = compare([tmp_path / "runs"], out=tmp_path / "out").read_text()
    above = page[: page.index('class="headline"')]
    assert "2 different sets of samples" in above and "not the same pictures or sizes" in above


def test_every_run_and_every_file_is_linked(three):
    page = three.read_text()
    links = [unquote(link) for link in re.findall(r'href="([^"#]+)"', page)]
    assert all((three.parent / link).exists() for link in links)
    own = {(three.parent / link).resolve() for link in links}
    assert {path.resolve() for path in (three.parent.parent / "runs").rglob("report.html")} <= own
    beside = {path.resolve() for folder in ("figures", "tables") for path in (three.parent / folder).iterdir()}
    assert len(beside) == 15 and beside <= own


def test_runs_that_are_not_counted_are_listed(tmp_path):
    sweep(tmp_path / "a", {"x": 0.5}, seeds=[0])
    sweep(tmp_path / "b", {"x": 0.5}, seeds=[0], status={"ended": "2026-02-01T10:00:00+00:00"})
    page = compare([tmp_path], out=tmp_path / "out").read_text()
    data = json.loads(re.findall(r'id="chooser">.*?<script type="application/json">(.*?)</script>', page, re.S)[0])
    assert [run["value"] is None for run in data["runs"]] == [False, True]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["."], "comparison"),
        (["x-shapes"], "x-shapes/comparison"),
        (["x-shapes/0.001_0"], "comparison"),
        (["x-shapes", "y-shapes"], "comparison"),
        (["sweeps/now"], "sweeps/now/comparison"),
    ],
)
def test_a_page_goes_below_the_root_of_its_runs(given, expected, tmp_path):
    root = sweep(tmp_path / "outputs", {"x": 0.5, "y": 0.6}, seeds=[0])
    put(root, "sweeps/now/runs/0.json", {"folder": str(root / "x-shapes" / "0.001_0")})
    assert groups.root([root / name for name in given]) / "comparison" == root / expected


# --- curves


@given(st.lists(st.floats(0, 100), min_size=1, max_size=15))
def test_labels_keep_their_order_and_their_distance(wanted):
    placed = np.array(figures.spread(wanted, 10.0, 0.0, 100.0))
    order = np.argsort(wanted, kind="stable")
    gaps = np.diff(placed[order])
    assert placed.min() >= -1e-9 and placed.max() <= 100 + 1e-9
    assert (gaps >= min(10.0, 100 / max(len(wanted) - 1, 1)) - 1e-6).all()


@given(st.lists(st.text("ab", min_size=1, max_size=60), min_size=1, max_size=8, unique=True))
def test_shortened_names_stay_different(names):
    assert len(set(figures.distinct(names))) == len(names)


def test_each_line_has_its_own_look_and_its_name(tmp_path):
    sweep(tmp_path / "runs", {f"net{i:02}": 0.4 + 0.03 * i for i in range(12)}, seeds=[0])
    runs, _ = groups.read_all(groups.find([tmp_path / "runs"])[0])
    found, _, _ = groups.gather(runs)
    levels = [(group, 0.3 + 0.1 * i) for i, group in enumerate(found[:3])]
    drawn = figures.curves(tmp_path / "f" / "curves", found, "val/accuracy", levels, [])
    assert drawn is not None and len(drawn.lines) == 12 + 3 + 1
    assert len({(look.colour, look.dashes) for look in drawn.lines}) == len(drawn.lines)
    svg = drawn.stem.with_name("curves.svg").read_text()
    assert all(f'id="{look.gid}-label"' in svg for look in drawn.lines) and 'id="legend' not in svg


# --- in a browser


@pytest.fixture
def opened(browser, three):
    def open_(page_file: Path = three, width: int = 1400):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.mistakes = []
        page.on("pageerror", lambda error: page.mistakes.append(str(error)))
        page.on("request", lambda request: page.mistakes.append(request.url) if request.url[:4] == "http" else None)
        page.goto(page_file.as_uri())
        return page

    return open_


VISIBLE = "() => [...document.querySelectorAll('#chooser .all tbody tr')].filter(row => row.offsetHeight).length"
MARKS = "() => [...document.querySelectorAll('.headline, .verdict')].map(e => getComputedStyle(e, '::before').content)"


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_runs_are_filtered_and_chosen_and_no_verdict_is_left_unmarked(opened, width):
    page = opened(width=width)
    assert page.evaluate(VISIBLE) == 9 and set(page.evaluate(MARKS)) == {"none"}
    page.fill("#chooser input[type=search]", "SMALL 0.001_")
    assert page.evaluate(VISIBLE) == 3 and set(page.evaluate(MARKS)) == {"none"}  # to filter is not to choose
    page.click("text=Choose these 3")
    assert set(page.evaluate(MARKS)) == {'"about all 9 runs"'} and page.is_visible("#bar")
    row = page.inner_text("#chosen tbody tr").replace("\n", " ")
    assert row.startswith("small") and "test/accuracy" in row and re.search(r"\b3\b", row)
    boxes = page.evaluate("() => [...document.querySelectorAll('.keys input[data-group]')].map(box => box.checked)")
    assert boxes == [False, False, True]
    page.reload()  # as a page does that watches a sweep
    assert set(page.evaluate(MARKS)) == {'"about all 9 runs"'}
    page.click("#bar button")
    assert page.evaluate(VISIBLE) == 9 and set(page.evaluate(MARKS)) == {"none"} and not page.is_visible("#bar")
    page.uncheck("#chooser tbody tr:first-child input")
    assert "8 of 9 runs chosen" in page.inner_text("#bar") and not page.mistakes


@pytest.mark.browser
def test_means_of_chosen_runs_are_right(opened, three):
    page = opened()
    data = (
        json.loads(page.inner_text("#chooser script"))["runs"]
        if False
        else page.evaluate("() => JSON.parse(document.querySelector('#chooser script').textContent).runs")
    )
    page.uncheck("#chooser tbody tr:first-child input")
    first = [run["value"] for run in data if run["group"] == data[0]["group"]][1:]
    shown = page.inner_text("#chosen tbody tr:first-child td:nth-child(4)")
    assert float(shown) == pytest.approx(np.mean(first), abs=5e-4) and not page.mistakes


@pytest.mark.browser
def test_tables_are_sorted_by_number_and_back(opened):
    page = opened()
    column = "() => [...document.querySelectorAll('#chooser .all tbody tr td:nth-child(7)')].map(c => +c.textContent)"
    head = page.locator("#chooser .all th:nth-child(7) button")
    head.click()
    up = page.evaluate(column)
    head.click()
    down = page.evaluate(column)
    assert up == sorted(up) and down == sorted(down, reverse=True) and len(set(up)) > 3
    assert page.locator("#chooser .all th:nth-child(7)").get_attribute("aria-sort") == "descending"
    page.fill("#chooser input[type=search]", "small")  # rows are still those of their runs
    page.click("text=Choose these 3")
    checked = "() => [...document.querySelectorAll('#chooser .all tbody input:checked')].map(b => b.ariaLabel)"
    assert all("small" in label for label in page.evaluate(checked)) and not page.mistakes


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_no_table_is_cut_and_the_headline_has_two_lines(opened, width):
    page = opened(width=width)
    page.evaluate("() => document.querySelectorAll('details').forEach(each => each.open = true)")
    wide = "() => [...document.querySelectorAll('.scroll, body')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    lines = "e => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)"
    assert page.evaluate(wide) == 0 and page.locator(".headline").evaluate(lines) < 2.1


@pytest.mark.browser
def test_a_page_of_many_runs_stays_usable(opened, tmp_path):
    sweep(tmp_path / "runs", {f"net{i}": 0.4 + 0.01 * i for i in range(40)}, seeds=range(5))
    page = opened(compare([tmp_path / "runs"], out=tmp_path / "out"))
    spent = """() => { const start = performance.now(), box = document.querySelector('#chooser input[type=search]');
      box.value = 'net1'; box.dispatchEvent(new Event('input'));
      document.querySelector('#chooser .controls button').click();
      document.querySelector('#chooser .all th:nth-child(7) button').click(); document.body.offsetHeight;
      return performance.now() - start; }"""
    assert page.evaluate(spent) < 2000 and page.evaluate(VISIBLE) == 11 * 5 and not page.mistakes
