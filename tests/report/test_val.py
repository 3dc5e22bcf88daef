"""One meaning of val, and of n: sweep table, page and comparison print the same number for the same run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sketchlab import report
from sketchlab.report import scores
from sketchlab.report.comparison import groups, leaderboard, pairs
from sketchlab.report.comparison.compare import compare
from sketchlab.report.comparison.pairs import Samples
from sketchlab.report.read import read
from sketchlab.report.run import curves
from sketchlab.report.run.headline import headline
from sketchlab.report.sentences import render
from sketchlab.sweeps import grid
from tests.report.conftest import base, gan, put

LAST, BEST, TEST = 0.056, 0.167, 0.222  # of 18 samples: 1, 3 and 4


def run_of(folder: Path, tested: bool, kept_last: bool) -> Path:
    """A classifier that was best after its second of three epochs. kept_last: status.json as before val was one."""
    values = [0.111, BEST, LAST]
    rows = [{"step": e, "epoch": e, "val/loss": 1.0 / e, "val/accuracy": v} for e, v in enumerate(values, 1)]
    at = rows[-1] if kept_last or not tested else rows[1]
    final = {key: value for key, value in at.items() if "/" in key}
    if tested:
        final |= {"test/accuracy": TEST}
        rows.append({"step": 3, "epoch": 3, "test/accuracy": TEST})
    base(folder, ["ant", "bee"], 18, rows, metrics=final, best={"epoch": 2, "val/accuracy": BEST})
    data = json.loads((folder / "data.json").read_text())
    data["splits"] |= {"test": data["splits"]["val"]} if tested else {}
    put(folder, "data.json", data)
    return folder


def table(folder: Path) -> str:
    return grid.scores({"state": "finished", "folder": str(folder)})


def words(page: Path) -> str:
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page.read_text(), flags=re.S).split())


@pytest.mark.parametrize("kept_last", [False, True])
def test_beside_a_test_split_val_is_of_the_weights_that_are_tested(tmp_path, kept_last):
    folder = run_of(tmp_path / "small_cnn-shapes" / "a", True, kept_last)
    run = read(folder)
    assert run.final() == {"val/loss": 0.5, "val/accuracy": BEST, "test/accuracy": TEST}
    assert table(folder) == "val/accuracy .167  test/accuracy .222"
    page = words(report.write(folder))
    assert "val accuracy .167" in page and "accuracy, last epoch: .056" in page
    assert page.count(".056") == 1, "the last epoch appears under its own name alone"
    (group,), *_ = groups.gather([run])
    assert pairs.mean(group, "val/accuracy") == BEST
    compared = words(compare([folder], out=tmp_path / "out", metric="val/accuracy"))
    assert "all runs: validation accuracy .167" in compared.replace("small_cnn on shapes", "all runs")
    assert "the weights that are tested" in compared and "the last epoch" not in compared


def test_without_a_test_split_val_is_of_the_last_epoch(tmp_path):
    folder = run_of(tmp_path / "small_cnn-shapes" / "a", False, True)
    assert read(folder).final()["val/accuracy"] == LAST
    assert table(folder) == "val/accuracy .056  val/accuracy, best epoch .167"
    page = words(report.write(folder))
    assert "Validation accuracy .056" in page and "Best epoch on val: accuracy .167 at epoch 2" in page
    assert "That figure is optimistic" in page
    assert "the last epoch" in words(compare([folder], out=tmp_path / "out"))


def test_n_is_what_the_score_was_measured_on(tmp_path):
    folder = gan(tmp_path / "small_dcgan-shapes" / "a")
    put(folder, "quality_val.json", {"kid": {"features": "random", "n_real": 32}})
    run = read(folder)
    assert run.split("val")["n"] == 500
    found = scores.score(run, "val/kid", 0.03)
    (group,), *_ = groups.gather([run])
    row = leaderboard.entry(group, Samples("val/kid"))
    axes = Figure().subplots()
    curves.panel(run, axes, "kid", ["val/kid"])
    labels = [text.get_text() for text in axes.legend().get_texts()]
    assert found.n == scores.sample_size(run, "val/kid") == 32 and row.n == "32" and "val (n = 32)" in labels
    assert "n = 32" in words(report.write(folder)) and "n = 500" not in render(headline(run))


def test_the_smaller_error_ranks_above_and_a_name_alone_says_nothing(tmp_path):
    """CycleGAN's cycle_photo is an error; a score called confidence is declared better when larger."""
    for name, (cycle, confidence) in {"good": (0.05, 0.9), "poor": (0.3, 0.2)}.items():
        folder = tmp_path / f"{name}-shapes" / "a"
        final = {"val/cycle_photo": cycle, "val/confidence": confidence}
        rows = [{"step": 1, "epoch": 1, **final}]
        base(folder, ["cat"], 50, rows, "translate", metrics=final, best={})
        config = (folder / "config.yaml").read_text().replace("model: small_cnn", f"model: {name}")
        (folder / "config.yaml").write_text(config)
        listed = [("cycle_photo", "smaller"), ("confidence", "larger")]
        scored = [{"name": key, "title": key, "better": better} for key, better in listed]
        put(folder, "scores.json", {"pipeline": "translate", "scores": scored})
    made, *_ = groups.gather(groups.read_all(groups.find([tmp_path])[0])[0])
    for key in ("val/cycle_photo", "val/confidence"):
        assert [group.name for group in pairs.rank(made, key)] == ["good", "poor"], key
    assert np.isclose(pairs.mean(pairs.rank(made, "val/cycle_photo")[0], "val/cycle_photo"), 0.05)
