"""--metric train/d_real: what mamin's main figure shows, a panel per group."""

import shutil

import numpy as np
import pytest

from sketchlab.errors import UserError
from sketchlab.report.comparison import groups, stacked
from sketchlab.report.comparison.compare import compare
from sketchlab.report.read import glance
from tests.report.conftest import KINDS, put


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in gd_ratio, with curves of their own."""
    out = []
    for place, ratio in enumerate((1, 2)):
        folder = KINDS["gan"](tmp_path / "runs" / "small_dcgan-shapes" / f"r{ratio}")
        rows = [
            {"step": 10 * e, "epoch": e, "train/d_real": 0.5 + 0.04 * e, "train/d_fake": 0.5 - 0.04 * e - 0.01 * place}
            | {"train/loss_g": 1.0, "val/kid@inception": 1 / e}
            for e in range(1, 7)
        ]
        put(folder, "metrics.jsonl", rows)
        config = {"config": {"seed": 0, "pipeline": {"name": "gan", "gd_ratio": ratio}, "model": {"name": "dcgan"}}}
        put(
            folder,
            "config.yaml",
            {"schema": 3, "choices": {"pipeline": "gan", "model": "dcgan", "data": "shapes"}} | config,
        )
        out.append(folder)
    return out


def test_the_page_opens_with_a_panel_for_each_group(runs, tmp_path):
    page = compare([tmp_path / "runs"], metric="train/d_real", out=tmp_path / "out").read_text()
    title = "train/d_fake and train/d_real by iteration, one panel per group"
    assert page.index(title) < page.index("Answer</h2>")
    assert {path.suffix for path in (tmp_path / "out" / "figures").glob("curves-train-d-real.*")} == {
        ".png", ".svg", ".pdf"}  # fmt: skip


def test_lines_are_the_runs_values_by_iteration(runs, tmp_path):
    gathered, _, _ = groups.gather([glance(folder) for folder in runs])
    steps, values = stacked._lines(gathered[0], ["train/d_fake"])["train/d_fake"]
    assert steps.tolist() == [10, 20, 30, 40, 50, 60] and values.shape == (1, 6)
    assert np.allclose(values[0], [0.46, 0.42, 0.38, 0.34, 0.3, 0.26])


@pytest.mark.parametrize("name", ["d_real", "train/d_real"])
def test_short_and_long_names(runs, name):
    assert stacked.wanted([glance(folder) for folder in runs], name) == "train/d_real"


def test_what_no_run_has_is_an_error(runs, tmp_path):
    with pytest.raises(UserError, match="--metric train/d_reel: no run has it; did you mean train/d_real"):
        compare([tmp_path / "runs"], metric="train/d_reel", out=tmp_path / "out")


def test_an_unfinished_run_has_its_panel(runs, tmp_path):
    status = runs[1] / "status.json"
    status.write_text(status.read_text().replace('"finished"', '"running"'))
    page = compare([tmp_path / "runs"], metric="d_real", out=tmp_path / "out").read_text()
    assert "one panel per group" in page
    shutil.rmtree(runs[1])
