"""QuickDraw's files as they are, quirks and all, and Google's recipe from raw to simplified drawings."""

import contextlib
import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.data.strokes import part as stroke_part
from sketchlab.data.strokes.simplify import BadDrawing, convention
from sketchlab.errors import UserError

REAL = pytest.mark.skipif(not os.environ.get("SKETCHLAB_DATA"), reason="SKETCHLAB_DATA is not set")
PLAIN = [[[0, 255, 10], [0, 100, 20]], [[5, 5], [7, 7]]]  # a line and a dot


def record(drawing=PLAIN, **values):
    return {
        "word": "cat",
        "countrycode": "US",
        "recognized": True,
        "key_id": "5201136883597312",
        "drawing": drawing,
    } | values


def write(path, records):
    data = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["cat.ndjson", "cat.ndjson.gz"])
def test_lines_plain_and_gzipped(tmp_path, name):
    path = write(
        tmp_path / name, [record(), "", record(recognized=False, key_id=7), record(recognized=None, timestamp=None)]
    )
    lines = list(ndjson_files.lines(path))
    assert [line.number for line in lines] == [1, 3, 4]
    assert [line.recognized for line in lines] == [True, False, None]
    assert [line.key_id for line in lines] == ["5201136883597312", "7", "5201136883597312"]
    assert all(line.drawing == PLAIN and line.word == "cat" and not line.error for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[1]", 'no object with "drawing"'),
        ('{"word": "cat"}', 'no object with "drawing"'),
        (json.dumps(record(recognized="yes")), "expected true, false or null"),
        ('{"drawing": [[[NaN], [1]]]}', "no JSON"),
    ],
)
def test_bad_lines_say_why(text, said):
    assert said in ndjson_files.parsed(3, text.encode()).error


def test_a_cut_download_and_a_file_that_is_no_ndjson(tmp_path, monkeypatch):
    whole = write(tmp_path / "cat.ndjson.gz", [record()] * 50).read_bytes()
    (tmp_path / "cat.ndjson.gz").write_bytes(whole[:-40])
    with pytest.raises(UserError, match="cat.ndjson.gz: .*cut"):
        list(ndjson_files.lines(tmp_path / "cat.ndjson.gz"))
    monkeypatch.setattr(ndjson_files, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="line 1 is longer"):
        list(ndjson_files.lines(write(tmp_path / "dog.ndjson", [json.dumps([record()] * 3)])))


def test_words_of_a_folder(tmp_path):
    for name in (
        "The Eiffel Tower.ndjson.gz",
        "full_simplified_cat.ndjson",
        "full%2Fraw%2Fdog.ndjson",
        ".x.ndjson",
        "a.txt",
    ):
        (tmp_path / name).write_text("")
    assert list(ndjson_files.words(tmp_path)) == ["The Eiffel Tower", "cat", "dog"]
    (tmp_path / "cat.ndjson.gz").write_text("")
    with pytest.raises(UserError, match="two files for 'cat'"):
        ndjson_files.words(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no .ndjson"):
        ndjson_files.words(tmp_path / "empty")


# --- the recipe


def slow_recipe(strokes):
    """Google's four steps in plain Python, one point at a time."""
    xs, ys = [x for s in strokes for x in s[0]], [y for s in strokes for y in s[1]]
    left, top, reach = min(xs), min(ys), max(max(xs) - min(xs), max(ys) - min(ys))
    out = []
    for stroke in strokes:
        points = [
            ((x - left) * 255 / reach, (y - top) * 255 / reach) for x, y in zip(stroke[0], stroke[1], strict=True)
        ]
        fine, walked, target = [points[0]], 0.0, 1.0
        for a, b in zip(points, points[1:], strict=False):
            step = math.dist(a, b)
            while step > 0 and target <= walked + step:
                t = (target - walked) / step
                fine.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
                target += 1
            walked += step
        fine.append(points[-1])

        def rdp(line):
            (ax, ay), (bx, by) = line[0], line[-1]
            length = math.hypot(bx - ax, by - ay)
            gaps = [
                abs((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length if length else math.hypot(x - ax, y - ay)
                for x, y in line
            ]
            worst = max(gaps)
            if worst <= 2:
                return [line[0], line[-1]]
            place = gaps.index(worst)
            return rdp(line[: place + 1])[:-1] + rdp(line[place:])

        kept = rdp(fine)
        out.append([[round(x) for x, _ in kept], [round(y) for _, y in kept]])
    return out


def test_recipe_equals_its_slow_twin():
    g, same = np.random.default_rng(0), 0
    for _ in range(60):
        strokes = []
        for _ in range(g.integers(1, 5)):
            n = int(g.integers(2, 60))
            xy = np.cumsum(g.normal(0, 30, (2, n)), axis=1) + g.normal(0, 200, (2, 1))
            strokes.append([*xy.round(2).tolist(), list(range(n))])
        ours = convention(strokes)
        same += ours == slow_recipe(strokes)
        values = np.concatenate([np.array(stroke) for stroke in ours], axis=1)
        assert values.min() == 0 and 253 <= values.max() <= 255  # simplifying may cut a tip, as in the official files
        assert all(min(stroke[0]) >= 0 and len(stroke[0]) >= 2 for stroke in ours)
    assert same >= 58  # rounding decides where two points are equally far


@pytest.mark.realdata
@REAL
def test_recipe_on_real_pairs():
    """22 words lie in both forms: all but a few drawings come out equal to the last point."""
    home, same, n = Path(os.environ["SKETCHLAB_DATA"], "quickdraw"), 0, 0
    for path in sorted((home / "raw").iterdir()):
        wanted = {line.key_id: line.drawing for line in ndjson_files.lines(home / "simplified" / path.name)}
        for line in ndjson_files.lines(path):
            if line.key_id in wanted:
                n += 1
                ours = convention(line.drawing)
                same += ours == wanted[line.key_id]
                assert len(ours) == len(wanted[line.key_id])
    assert n == 900 and same >= 870


# --- quirks


def test_raw_floats_off_the_canvas_with_times_that_step_back():
    drawing = [[[-1013, 2755.5], [10.0, 10], [900, 3]], [[900.25, 900.25], [1894, 10], [5, 5]]]
    assert convention(drawing) == [[[0, 255], [0, 0]], [[129, 129], [127, 0]]]


def test_simplified_drawings_stay_as_they_are():
    assert convention(PLAIN) == PLAIN
    missing_maximum = [[[0, 252], [3, 250]]]
    assert convention(missing_maximum) == missing_maximum
    assert convention([[[0.0, 3.6], [1, 2.4]]]) == [[[0, 4], [1, 2]]]  # floats in range are rounded


def test_without_times_but_off_the_canvas_counts_as_raw():
    assert convention([[[0, 510], [0, 0]]]) == [[[0, 255], [0, 0]]]
    assert convention([[[-5, 5], [0, 0]]]) == [[[0, 255], [0, 0]]]


def test_dots_are_two_equal_points_and_empty_strokes_draw_nothing():
    assert convention([[[400], [500], [0]]]) == [[[0, 0], [0, 0]]]
    assert convention([[[400, 400], [500, 500], [0, 9]], [[], [], []], [[410, 400], [500, 500], [1, 2]]]) == [
        [[0, 0], [0, 0]],
        [[255, 0], [0, 0]],
    ]


@pytest.mark.parametrize(
    ("drawing", "said"),
    [
        ([], "no strokes"),
        (None, "not a list"),
        ({"a": 1}, "not a list"),
        ([[]], "stroke 0 is not"),
        ([[[1, 2]]], "stroke 0 is not"),
        ([[[1, 2], [3]]], "2 x and 1 y"),
        ([[[1, "2"], [3, 4]]], "no numbers"),
        ([[[1, None], [3, 4]]], "no numbers"),
        ([[[1, [2]], [3, 4]]], "no numbers"),
        ([[[1, True], [3, False]], [["a"], ["b"]]], "no numbers"),
        ([[[1, 1e30], [3, 4]]], "not finite"),
        ([[[1, float("nan")], [3, 4]]], "not finite"),
        ([[[], []]], "no points"),
        ([[list(range(30_000)), list(range(30_000))]], "more than 20,000 points"),
    ],
)
def test_bad_drawings_say_why(drawing, said):
    assert stroke_part.plain(drawing) is None
    with pytest.raises(BadDrawing, match=said):
        convention(drawing)


def test_the_quick_way_agrees_with_the_careful_one():
    assert stroke_part.plain(PLAIN) == ([0, 255, 10, 5, 5], [0, 100, 20, 7, 7], [3, 2])
    for odd in ([[[0, 256], [0, 1]]], [[[0.5, 1], [0, 1]]], [[[0, 1], [0, 1], [0, 1]]], [[[-1], [0]]]):
        assert stroke_part.plain(odd) is None and stroke_part.plain(convention(odd)) is not None


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_byte_order_mark_and_line_ends_of_windows(tmp_path, end):
    line = b'{"word": "\xe7\x8c\xab", "key_id": "1", "drawing": [[[0, 255], [0, 9]]]}'
    path = tmp_path / "cat.ndjson"
    path.write_bytes(b"\xef\xbb\xbf" + end.join([line, line, b""]))
    rows = list(ndjson_files.lines(path))
    assert [(row.error, row.word, row.drawing) for row in rows] == [("", "猫", [[[0, 255], [0, 9]]])] * 2


@pytest.mark.parametrize("n", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_any_line_is_a_drawing_or_an_error(n):
    number = st.integers(-(10**20), 10**20) | st.floats() | st.none() | st.booleans() | st.text(max_size=3)
    value = st.recursive(number, lambda inner: st.lists(inner, max_size=4), max_leaves=20)
    row = st.fixed_dictionaries({}, optional={k: value for k in ("drawing", "key_id", "recognized", "word")})

    @settings(max_examples=n, deadline=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60) | (row | value).map(lambda v: json.dumps(v).encode()))
    def check(raw):
        line = ndjson_files.parsed(1, raw)
        if line.error:
            return
        try:
            drawing = convention(line.drawing)
        except BadDrawing:
            return
        assert all(0 <= v <= 255 for stroke in drawing for axis in stroke[:2] for v in axis)

    check()


def test_an_array_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "cat.json"
    path.write_bytes(b"\xef\xbb\xbf[\r\n[[[0, 255], [0, 9]]]\r\n]\r\n")
    assert [row.drawing for row in ndjson_files.lines(path)] == [[[[0, 255], [0, 9]]]]


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_file_of_drawings_is_rows_or_one_line(n, tmp_path):
    drawing = st.lists(st.lists(st.lists(st.integers(0, 300), max_size=3), max_size=3), max_size=2)
    item = drawing | st.fixed_dictionaries({"drawing": drawing}) | st.none() | st.text(max_size=3) | st.integers()
    array = (st.lists(item, max_size=4) | item).map(lambda v: json.dumps(v).encode())
    packed = (array | st.binary(max_size=40)).map(gzip.compress)
    names = st.sampled_from(("a.json", "a.json.gz", "a.ndjson", "a.ndjson.gz"))

    @settings(max_examples=n, deadline=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(names, array | packed | st.binary(max_size=40), st.integers(0, 60) | st.none(), st.binary(max_size=3))
    def check(name, data, cut, tail):
        (tmp_path / name).write_bytes(data[:cut] + tail)
        try:
            rows = list(ndjson_files.lines(tmp_path / name))
        except UserError as error:
            assert "\n" not in str(error)
            return
        for row in rows:
            with contextlib.suppress(BadDrawing):
                drawn = [] if row.error else convention(row.drawing)
                assert all(0 <= v <= 255 for stroke in drawn for axis in stroke[:2] for v in axis)

    check()
