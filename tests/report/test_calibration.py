"""How sure and how early: bins against counting by hand, and what the page says."""

import numpy as np
import pandas as pd
import pytest

from sketchlab import stats
from sketchlab.report.read import read
from sketchlab.report.run import calibration, plots


@pytest.fixture
def folder(run_folder):
    """A run whose test predictions state 200 probabilities, and how early it knew."""
    path = run_folder("classifier")
    draw = np.random.default_rng(0)
    said = np.concatenate([draw.uniform(0.34, 1, 196), [0.4, 0.5, 0.5, 1.0]])
    rest = (1 - said) / 2
    label = np.where(draw.random(200) < said, "a", "b")
    rows = {"id": range(200), "label": label, "prediction": "a", "p_a": said, "p_b": rest, "p_c": rest}
    pd.DataFrame(rows).to_csv(path / "predictions_test.csv", index=False)
    k = np.array([20, 60, 90, 120, 150, 160, 170, 170])
    spread = np.array([stats.wilson(int(i), 200) for i in k])
    early = {"strokes": range(1, 9), "n": 200, "finished": k + 30, "accuracy": k / 200, "low": spread[:, 0],
             "high": spread[:, 1], "confidence": 0.5, "sure": k / 400, "sure_right": [np.nan, *[0.9] * 7],
             "sure_low": 0.8, "sure_high": 1.0}  # fmt: skip
    pd.DataFrame(early).to_csv(path / "early_test.csv", index=False)
    return path


def test_bins_are_counted_by_hand(folder):
    run = read(folder)
    found, table = run.predictions("test"), calibration.bins(run, "test")
    total = 0.0
    for row in table.to_dict("records"):
        inside = found[(found["p_a"] > row["from"]) & (found["p_a"] <= row["to"])]
        right = int((inside["label"] == "a").sum())
        assert (row["n"], row["right"]) == (len(inside), right)
        assert (row["low"], row["high"]) == stats.wilson(right, len(inside))
        total += abs(right - inside["p_a"].sum())
    assert table["n"].sum() == 200 and calibration.gap(table) == pytest.approx(total / 200)


@pytest.mark.slow
def test_the_page_shows_both(folder):
    run = read(folder)
    drawn = plots.draw(run)
    names = {plot.path.stem for plot in drawn if plot.kind in ("calibration", "early")}
    assert names == {"val_calibration", "test_calibration", "test_early"}
    page = calibration.sure(run, drawn)
    assert page.count("<svg") == 2 and "Expected calibration error" in page
    assert "Answers after every stroke" in page and "nan" not in page


def test_a_run_without_probabilities_has_no_section(run_folder):
    run = read(run_folder("gan"))
    assert calibration.sure(run, []) == "" and not list(calibration.plots(run))


def test_bands_of_drawings_that_show_the_same_objects_are_wider(folder, monkeypatch):
    """As if there were as many drawings as independent ones; with each its own object they stay as written."""
    alone = calibration.early(read(folder), "test")
    written = pd.read_csv(folder / "early_test.csv")
    assert alone.equals(written)
    monkeypatch.setattr(calibration.scores, "effective_n", lambda *_: 50.0)
    grouped = calibration.early(read(folder), "test")
    low, high = stats.wilson_band(written["accuracy"].to_numpy(), 50.0)
    assert np.allclose(grouped["low"], low) and np.allclose(grouped["high"], high)
    assert (grouped["high"] - grouped["low"] > written["high"] - written["low"]).all()
