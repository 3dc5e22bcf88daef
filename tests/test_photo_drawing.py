"""The experiment of photo_drawing, its two quickest arms on shapes: runs, tables, sentences, figure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
import photo_drawing  # noqa: E402


@pytest.mark.slow
def test_two_arms_and_only_redrawn(tmp_path):
    smoke = ["--smoke", "--root", str(tmp_path)]
    photo_drawing.main([*smoke, "--arms", "naive*", "HOG*", "--splits", "2"])
    table, curves = (pd.read_csv(tmp_path / f"photo_drawing{part}.csv") for part in ("", "_curves"))
    assert sorted(table["arm"]) == ["HOG and linear SVM", "naive Bayes on pixels"]
    assert (table["splits"] == 2).all() and table["wall_s"].gt(0).all() and table["low"].lt(table["accuracy"]).all()
    assert curves["n_train"].tolist() == [5, 10, 20] * 2 and (curves["n_test"] == 16).all()
    (pair,) = pd.read_csv(tmp_path / "photo_drawing_pairs.csv").to_dict("records")
    right = (table["accuracy"] * 16).round().tolist()
    assert pair["a alone right"] - pair["b alone right"] == right[0] - right[1]

    page, index = tmp_path / "photo_drawing.md", json.loads((tmp_path / "runs.json").read_text())
    first = page.read_text()
    assert pair["sentence"] in first and "inception_v3, googlenet, resnet18" in first
    assert (tmp_path / index["HOG and linear SVM"]["main"]["folder"] / "report.html").is_file()
    page.unlink()
    photo_drawing.main([*smoke, "--report"])
    assert page.read_text() == first


@pytest.mark.parametrize(
    ("words", "said"), [(["--report"], "no runs.json"), (["--arms", "nothing"], "no such arm; there is mobilenet_v2")]
)
def test_mistakes_in_one_line(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as stop:
        photo_drawing.main(["--smoke", "--root", str(tmp_path), *words])
    err = capsys.readouterr().err
    assert stop.value.code == 1 and said in err and err.count("\n") == 1
