"""Scores are declared once, and nobody guesses from a name."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest

from sketchlab.errors import UserError
from sketchlab.metrics import retrieval
from sketchlab.metrics.declared import FILE, Score, Table, of_pipeline, read
from tests.house import PACKAGE

FIXTURES = Path(__file__).parent.parent / "fixtures" / "runs_v2"
PIPELINES = ("classify", "baseline", "retrieve", "gan", "translate")


@pytest.mark.parametrize("folder", sorted(FIXTURES.glob("*/*")), ids=lambda p: p.parent.name)
def test_a_folder_without_a_table_gets_its_pipelines(folder):
    assert not (folder / FILE).exists()
    from sketchlab.report.read import read as read_run

    run = read_run(folder)
    keys = [key for key in run.metrics.columns if "/" in key]
    run.declared.check(keys)
    assert run.declared.pipeline == run.pipeline and (keys or folder.name == "6e50331d9576")


@pytest.mark.parametrize("name", PIPELINES)
def test_a_table_is_read_as_it_was_written(name, tmp_path):
    table = of_pipeline(name)
    (tmp_path / FILE).write_text(json.dumps(table.document()))
    again = read(tmp_path, "another")
    assert again.pipeline == name and again.scores == table.scores and table.scores
    for score in table.scores.values():
        assert score.title and (score.low is None or score.high is None or score.low < score.high)
        assert not score.spread_of or score.spread_of in table.scores


def test_every_score_of_a_search_is_declared():
    of_pipeline("retrieve").check([f"val/{name}" for name in retrieval.NAMES])


def test_a_name_means_what_its_declaration_says():
    gan, table = of_pipeline("gan"), of_pipeline("translate")
    assert gan["val/kid@random"].better == gan["kid@inception"].better == gan["val/kid"].better == "smaller"
    assert gan["test/recall@random"].better == "larger" and gan["val/kid_std@random"].sign == 0
    assert table["val/cycle_photo"].better == "smaller" and table["val/kid@alexnet"].measured == "kid_sketch"
    assert of_pipeline("retrieve")["val/recall@10"].name == "recall@10"
    assert of_pipeline("nowhere").get("val/confidence") is None
    assert of_pipeline("nowhere")["val/confidence"] == Score("confidence", "confidence", "neither")


def test_better_is_larger_in_order_and_values_stay_in_range():
    kid, share = of_pipeline("gan")["kid@random"], of_pipeline("classify")["accuracy"]
    assert kid.order(0.3643) > kid.order(0.3686) > kid.order(math.nan) == -math.inf
    assert share.order(0.9) > share.order(0.1)
    assert (share.clip(1.2), share.clip(-0.1), share.clip(0.4), kid.clip(-0.1)) == (1.0, 0.0, 0.4, -0.1)


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match="better=higher: expected one of larger, smaller, neither"):
        Score("x", "X", "higher")
    with pytest.raises(UserError, match="val/nll: pipeline=own gives this score without declaring it.* Declared: x$"):
        Table("own", [Score("x", "X", "larger")]).check(["val/x", "val/nll"])
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UserError, match="scores.json is no readable table of scores"):
        read(tmp_path, "classify")


WORDS = ("loss", "kid", "fid", "error", "distance", "rank", "accuracy", "recall", "precision", "area", "top5", "nll")


def guesses(tree: ast.AST) -> list[int]:
    """Lines that look for a metric's word in a string, or for each of a list of words."""
    out = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            left, right = node.left, node.comparators[0]
            literal = isinstance(left, ast.Constant) and left.value in WORDS
            named = isinstance(right, ast.Name) and right.id in ("metric", "name", "key", "score", "family", "stem")
            listed = isinstance(left, ast.Name) and left.id == "word"
            lowered = isinstance(right, ast.Call) and getattr(right.func, "attr", "") == "lower"
            out += [node.lineno] * ((literal and named) or ((listed or literal) and (named or lowered)))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("startswith", "endswith", "find", "count"):
            given = [sub.value for arg in node.args for sub in ast.walk(arg) if isinstance(sub, ast.Constant)]
            words = [str(value).strip("/@_") for value in given]
            out += [node.lineno] * any(word in WORDS for word in words)
    return out


def test_nobody_looks_into_the_name_of_a_metric():
    source = 'any(word in key for word in LESS)\n"fid" in name\nkey.startswith("kid")\n"loss" in row\nk == "val/loss"'
    assert sorted(guesses(ast.parse(source))) == [1, 2, 3], "the search finds what it is for"
    allowed = {"report/read.py"}  # columns of predictions_<split>.csv
    found = {str(p.relative_to(PACKAGE)): guesses(ast.parse(p.read_text())) for p in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines and name not in allowed} == {}
