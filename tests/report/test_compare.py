"""Comparing many runs: grouping, the page and its files, and every bad folder."""

import csv
import html
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from sketchlab.errors import UserError
from sketchlab.report import __main__ as command
from sketchlab.report import tables
from sketchlab.report.comparison import groups
from sketchlab.report.comparison.compare import compare, metrics
from tests.report.conftest import KINDS, put, sweep


def words(page):
    page = re.sub(r"<(style|script|svg).*?</\1>", "", page, flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two models of three seeds each, compared once; not to be changed."""
    root = tmp_path_factory.mktemp("two")
    sweep(root / "runs", {"big <b>&": 0.8, "small": 0.45})
    return compare([root / "runs"], out=root / "out")


def found(root):
    paths, notes = groups.find([root])
    return groups.read_all(paths)[0], notes


# --- finding and grouping


def test_runs_are_found_below_any_folder_and_once(tmp_path):
    sweep(tmp_path / "a" / "b", {"x": 0.5}, seeds=[0])
    run = tmp_path / "a" / "b" / "x-shapes" / "0.001_0"
    shutil.copytree(run, run / "evaluations" / "other")  # below a run: no run of its own
    assert groups.find([tmp_path])[0] == groups.find([run])[0] == groups.find([tmp_path, run])[0] == [run]


def test_groups_differ_in_more_than_chance(tmp_path):
    sweep(tmp_path, {"x": 0.5, "y": 0.6}, seeds=[0, 1], lrs=[0.1, 0.01])
    gathered, keys, notes = groups.gather(found(tmp_path)[0])
    assert keys == ["model", "loop.lr"] and not notes
    assert sorted(g.name for g in gathered) == ["x · lr=0.01", "x · lr=0.1", "y · lr=0.01", "y · lr=0.1"]
    assert all(list(g.runs) == [("0", "0", "0"), ("1", "0", "0")] for g in gathered)


def _three(tmp_path, **names):
    """A run as it is, one with two typed changes and one with six, which differ in all of these."""
    many = {"loop": {"lr": 0.5, "clip_norm": 1.0, "accumulate": 2}, "pipeline": {"a": 1, "b": 2, "c": 3}}
    few = {"loop": {"lr": 0.5, "clip_norm": 1.0}}
    plain = {"loop": {"lr": 0.1, "clip_norm": 0.0, "accumulate": 1}, "pipeline": {"a": 0, "b": 0, "c": 0}}
    for name, values in {"plain": plain, "few": few, "many": many}.items():
        typed = [f"{group}.{key}" for group, keys in values.items() for key in keys] if name != "plain" else []
        changed = {g: plain[g] | values.get(g, {}) for g in plain} | {"run": {"name": names.get(name, "")}}
        sweep(tmp_path / name, {"x": 0.5}, seeds=[0], config={"config": changed, "differs": dict.fromkeys(typed, 0)})
    return found(tmp_path)[0]


def test_a_group_is_named_by_what_was_changed(tmp_path):
    gathered, _, _ = groups.gather(_three(tmp_path))
    assert sorted(g.name for g in gathered) == [
        "clip_norm=0.0",
        "clip_norm=1.0 · accumulate=1 · lr=0.5",
        "clip_norm=1.0 · accumulate=2 · lr=0.5 · +3 more",
    ]


def test_a_run_has_the_name_that_it_was_given(tmp_path):
    gathered, _, _ = groups.gather(_three(tmp_path / "a", few="two changes", many="six"))
    assert sorted(g.name for g in gathered) == ["clip_norm=0.0", "six", "two changes"]
    twice, _, _ = groups.gather(_three(tmp_path / "b", few="same", many="same"))
    assert len({g.name for g in twice}) == 3 and "same" not in {g.name for g in twice}


def test_names_from_the_command_line(tmp_path):
    runs = _three(tmp_path)
    gathered, _, _ = groups.gather(runs, called=["one", "two", "three"])
    assert [g.name for g in gathered] == ["one", "two", "three"]
    for wrong in (["one", "two"], ["one", "one", "two"], ["one", "", "two"]):
        with pytest.raises(UserError, match=r"--names .*: expected 3 names, all different, for 1\. .*; 2\. .*; 3\. "):
            groups.gather(runs, called=wrong)


def test_what_follows_from_a_choice_names_no_group():
    rows = [{"model": "a", "model.width": "8", "loop.lr": "1"}, {"model": "b", "loop.lr": "1"}]
    assert groups.differing(rows) == ["model", "model.width"]
    assert groups.naming(rows, groups.differing(rows)) == ["model"]
    rows.append({"model": "a", "model.width": "9", "loop.lr": "1"})
    assert groups.naming(rows, groups.differing(rows)) == ["model", "model.width"]


def test_folds_are_no_setting(tmp_path):
    for fold in range(2):
        changes = {"config": {"config": {"data": {"splits": {"fold": fold}}}}}
        changes |= {"data": {"splits": {"test": {"digest": f"te{fold}"}}}}
        sweep(tmp_path / str(fold), {"x": 0.5}, seeds=[0], **changes)
    gathered, keys, _ = groups.gather(found(tmp_path)[0])
    assert keys == [] and len(gathered) == 1 and len(gathered[0].runs) == 2 and gathered[0].name == "x on shapes"


def test_by_pools_what_it_does_not_name_and_says_so(tmp_path):
    sweep(tmp_path, {"x": 0.5, "y": 0.6}, seeds=[0, 1], lrs=[0.1, 0.01])
    gathered, keys, notes = groups.gather(found(tmp_path)[0], ["model"])
    assert keys == ["model"] and [len(g.runs) for g in gathered] == [4, 4]
    assert len(notes) == 1 and "pools runs that differ in loop.lr" in notes[0]
    with pytest.raises(UserError, match=r"--by los: no run .* differ .*model, loop\.lr"):
        groups.gather(found(tmp_path)[0], ["los"])


def test_the_later_of_two_equal_runs_counts(tmp_path):
    sweep(tmp_path / "a", {"x": 0.5}, seeds=[0])
    sweep(tmp_path / "b", {"x": 0.5}, seeds=[0], status={"ended": "2026-02-01T10:00:00+00:00"})
    (group,), _, notes = groups.gather(found(tmp_path)[0])
    (run,) = group.runs.values()
    assert run.folder.parts[-3] == "b" and "the later one counts" in notes[0]


# --- the page


def test_page_opens_with_the_answer_and_loads_nothing(two):
    page = two.read_text()
    assert not re.search(r'src="(?!data:image/png;base64,)', page) and "<link" not in page
    assert not re.search("https?:", page) and "@import" not in page and not re.search(r"url\((?!#)", page)
    said = words(page)
    assert (
        said.index("big <b>&: test accuracy") < said.index("Answer") < said.index("Classifiers") < said.index("Pairs")
    )
    assert "<b>&</b>" not in page and "big <b>&amp;" not in page
    assert "better than small on these 100 images, 3 runs of each, by" in said
    assert all(f'id="{name}"' in page for name in re.findall(r'href="#([^"]+)"', page))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_curves_can_be_hidden_without_script_and_inspected_with_it(two):
    page = two.read_text()
    for name in ("g0", "g1"):
        figure = "curves-classifiers-val-accuracy"
        assert f'id="{figure}-{name}-mean"' in page and f'id="{figure}-show-{name}"' in page
        assert f'.look:has(#{figure}-show-{name}:not(:checked)) [id^="{figure}-{name}-"]{{display:none}}' in page
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', page)[0])
    assert [line["name"] for line in data["lines"]] == ["big <b>&", "small"]
    assert data["lines"][0]["x"] == list(range(1, 9)) and "n = 3" in data["lines"][0]["text"][0]
    left, top, right, bottom = data["box"]
    assert 0 < left < right < 5.4 * 72 and 0 < top < bottom


PROBE = """<script>addEventListener('DOMContentLoaded', () => {
const svg = document.querySelector('.look svg'), box = svg.getBoundingClientRect(), said = [];
const tip = document.querySelector('.tip'), at = x => ({clientX: box.left + box.width * x, clientY: box.top + 50});
svg.dispatchEvent(new PointerEvent('pointermove', at(0.6))); said.push(tip.innerText);
document.querySelectorAll('.keys input')[1].click(); said.push(tip.innerText);
said.push(...['g0', 'g1'].map(g => getComputedStyle(svg.querySelector(`[id$="${g}-mean"]`)).display));
svg.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'})); said.push(tip.innerText);
svg.dispatchEvent(new PointerEvent('pointerleave')); said.push(String(tip.hidden));
document.body.innerHTML = '<pre>' + JSON.stringify(said).replaceAll('<', '&lt;') + '</pre>'; });</script></html>"""


@pytest.mark.browser
def test_in_a_browser_values_follow_the_pointer_and_groups_hide(two, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    (tmp_path / "probe.html").write_text(two.read_text().replace("</html>", PROBE))
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{tmp_path}/probe.html"]
    page = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout
    hover, hidden, first, second, left, gone = json.loads(html.unescape(re.findall("<pre>(.*?)</pre>", page)[0]))
    assert hover.startswith("epoch ") and "big <b>&" in hover and "small" in hover and "n = 3" in hover
    assert "big" in hidden and "small" not in hidden and (first, second) == ("inline", "none")
    assert int(left.split()[1]) == int(hover.split()[1]) - 1 and gone == "true"


def test_figures_and_tables_lie_beside_the_page(two):
    out = two.parent
    for stem in ("scores-test-accuracy", "curves-classifiers-val-accuracy"):
        assert Image.open(out / "figures" / f"{stem}.png").width > 400
        assert (out / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (out / "figures" / f"{stem}.svg").read_text()
    rows = list(csv.DictReader((out / "tables" / "groups-test-accuracy.csv").open()))
    assert [row["group"] for row in rows] == ["big <b>&", "small"] and rows[0]["runs"] == "3" and rows[0]["n"] == "100"
    assert r"big \ensuremath{<}b\ensuremath{>}\&" in (out / "tables" / "groups-test-accuracy.tex").read_text()
    assert len(list(csv.DictReader((out / "tables" / "runs.csv").open()))) == 6
    assert not list(out.rglob("*.part"))


def test_same_runs_same_bytes(two, tmp_path, monkeypatch):
    runs = shutil.copytree(two.parent.parent / "runs", tmp_path / "runs")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    again = [compare([runs], out=tmp_path / name) for name in ("out", "new")]
    for path in [*tmp_path.joinpath("out").rglob("*.*")]:
        twin = again[1].parent / path.relative_to(tmp_path / "out")
        assert path.read_bytes() == twin.read_bytes(), path.name


def test_every_kind_has_its_own_section_and_score(tmp_path):
    for name, make in KINDS.items():
        make(tmp_path / "runs" / "x-y" / name)
        if name in ("gan", "retrieval", "baseline"):
            path = tmp_path / "runs" / "x-y" / name / "config.yaml"
            config = yaml.safe_load(path.read_text())
            config["choices"]["pipeline"] = {"retrieval": "retrieve"}.get(name, name)
            put(path.parent, path.name, config)
    page = compare([tmp_path / "runs"], out=tmp_path / "out").read_text()
    said = words(page)
    for title in ("Classifiers", "Retrieval", "GANs", "Baselines"):
        assert f"<h2>{title}</h2>" in page
    assert "val recall@1" in said and "val kid" in said and "test accuracy" in said
    assert page.count('class="picture"') >= 2  # matches and samples
    assert "1 interrupted; drawn as curves, but in no mean and in no test" in said


@pytest.mark.slow
def test_report_package_needs_no_torch(two, tmp_path):
    words = [str(two.parent.parent / "runs"), "--out", str(tmp_path)]
    code = f"import sys; from sketchlab.report.__main__ import main; main({words}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(tmp_path / "comparison.html"), "False"]


@pytest.mark.slow
def test_two_hundred_runs_in_seconds(tmp_path):
    sweep(tmp_path / "runs", {f"net{i}": 0.4 + 0.03 * i for i in range(10)}, seeds=range(5), lrs=[0.1, 0.2, 0.3, 0.4])
    started = time.process_time()
    page = compare([tmp_path / "runs"], out=tmp_path / "out")
    assert time.process_time() - started < 6
    said = words(page.read_text())
    assert "40 groups make 780 pairs: each is tested against the best" in said and "The 12 best of 40 groups" in said


# --- published values


def test_published_values_only_where_the_protocol_is_the_same(tmp_path):
    sweep(tmp_path / "runs", {"x": 0.5, "y": 0.6}, seeds=[0])
    rows = [
        {"label": "Here 2020, table 1", "metric": "test/accuracy", "value": 0.7, "protocol": {"data": "shapes"}},
        {"label": "Else 2021", "metric": "test/accuracy", "value": 0.9, "protocol": {"data.splits.rule": "official"}},
    ]
    put(tmp_path, "p.yaml", {"values": rows})
    page = compare([tmp_path / "runs"], out=tmp_path / "out", values=tmp_path / "p.yaml").read_text()
    assert "Here 2020, table 1" in re.findall(r"<svg.*?</svg>", page, flags=re.S)[0]
    assert (
        "Else 2021 (0.9) is not shown: its protocol has data.splits.rule=official, a run here has fraction."
        in words(page)
    )
    for broken, match in (
        ([{**rows[0], "value": "x"}], "number as value"),
        ([{"label": "x"}], "has no metric"),
        (None, "a list"),
    ):
        put(tmp_path, "p.yaml", {"values": broken})
        with pytest.raises(UserError, match=match):
            compare([tmp_path / "runs"], out=tmp_path / "out", values=tmp_path / "p.yaml")


# --- bad input


def test_folders_without_a_run_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, match in ((tmp_path / "empty", "holds no run"), (tmp_path / "gone", "is not there")):
        with pytest.raises(UserError, match=match) as caught:
            compare([folder], out=tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_half_a_run_an_older_schema_and_a_broken_file_are_left_out_and_named(tmp_path):
    sweep(tmp_path / "runs", {"x": 0.5, "y": 0.6})
    home = tmp_path / "runs" / "x-shapes"
    (home / "0.001_0" / "status.json").unlink()
    config = yaml.safe_load((home / "0.001_1" / "config.yaml").read_text())
    put(home / "0.001_1", "config.yaml", {**config, "schema": 0})
    (home / "0.001_2" / "env.json").write_text("{")
    said = words(compare([tmp_path / "runs"], out=tmp_path / "out").read_text())
    assert "half a run: x-shapes/0.001_0 has no status.json" in said
    assert "schema 0, expected 1 to" in said and "env.json is no readable JSON" in said
    assert "3 runs in 1 group" in said


def test_a_hydra_config_is_not_half_a_run(tmp_path):
    sweep(tmp_path, {"x": 0.5}, seeds=[0])
    put(tmp_path / "conf", "config.yaml", {"defaults": []})
    assert found(tmp_path)[1] == []


def test_metrics_cut_in_mid_line_are_read_up_to_there(tmp_path):
    sweep(tmp_path / "runs", {"x": 0.5}, seeds=[0, 1])
    path = tmp_path / "runs" / "x-shapes" / "0.001_0" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4][:20]]))
    said = words(compare([tmp_path / "runs"], out=tmp_path / "out").read_text())
    assert "x-shapes/0.001_0: metrics.jsonl is cut in line 5 of 5: read up to line 4." in said


def test_a_metric_no_run_has_lists_those_that_exist(tmp_path):
    sweep(tmp_path, {"x": 0.5}, seeds=[0])
    runs, _ = found(tmp_path)
    with pytest.raises(
        UserError, match=r"no run has it; did you mean val/accuracy\? there is: test/accuracy, test/loss"
    ):
        metrics(runs, "val/acuracy")
    assert metrics(runs, "val/loss") == {"Classifiers": "val/loss"}
    assert metrics(runs, "accuracy") == {"Classifiers": "test/accuracy"}


def test_runs_that_are_not_finished_count_in_no_mean(tmp_path):
    sweep(tmp_path / "runs", {"x": 0.5, "y": 0.7})
    path = tmp_path / "runs" / "x-shapes" / "0.001_0" / "status.json"
    put(path.parent, path.name, {**json.loads(path.read_text()), "state": "failed"})
    compare([tmp_path / "runs"], out=tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "tables" / "groups-test-accuracy.csv").open()))
    assert [row["runs"] for row in rows] == ["3", "2 + 1 open"]


def test_no_run_has_a_score_yet(tmp_path):
    sweep(tmp_path / "runs", {"x": 0.5}, seeds=[0])
    folder = tmp_path / "runs" / "x-shapes" / "0.001_0"
    put(folder, "status.json", {"state": "running"})
    (folder / "metrics.jsonl").unlink()
    said = words(compare([tmp_path / "runs"], out=tmp_path / "out").read_text())
    assert "No run has finished with a score yet." in said and "1 running" in said


# --- the command


def test_command_says_mistakes_in_one_line(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.slow
def test_one_run_alone_gets_its_own_page(tmp_path, capsys):
    folder = KINDS["baseline"](tmp_path / "x-y" / "one")
    assert command.main([str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")


def test_watch_writes_again_when_a_run_moves_on(tmp_path, capsys, monkeypatch):
    sweep(tmp_path / "runs", {"x": 0.5}, seeds=[0])
    naps = []

    def sleep(seconds):
        naps.append("refresh" in (tmp_path / "out" / "comparison.html").read_text())
        if len(naps) == 2:  # nothing moved in between: not written again
            sweep(tmp_path / "runs", {"x": 0.5}, seeds=[1])
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", sleep)
    assert command.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--watch", "3"]) == 0
    assert naps == [True] * 3 and len(capsys.readouterr().out.splitlines()) == 3
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "refresh" not in page and "2 runs in 1 group" in page


def test_tables_escape_what_each_format_reserves(tmp_path):
    written = tables.write(tmp_path / "t", ["a|b", "n"], [["x_1 & 50%", None]], ["n"])
    texts = {path.suffix: path.read_text() for path in written}
    assert texts[".csv"] == "a|b,n\nx_1 & 50%,–\n"
    assert texts[".md"] == "| a\\|b | n |\n| --- | ---: |\n| x_1 & 50% | – |\n"
    assert "x\\_1 \\& 50\\% & -- \\\\" in texts[".tex"] and "{lr}" in texts[".tex"]
    assert Path(written[0]).name == "t.csv"


def test_names_that_a_spreadsheet_would_compute_are_text_in_tables():
    text = tables.as_csv(["name", "=A1"], [["=1+1", "0.5"], ["@SUM", "-0.5"], ["a=b", "+0.5"]])
    assert text == "name,'=A1\n'=1+1,0.5\n'@SUM,-0.5\na=b,+0.5\n"
