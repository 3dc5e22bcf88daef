"""Pictures of receptive fields and hidden states: the square against a plain search, and what the page holds."""

import numpy as np
import pandas as pd
from PIL import Image

from sketchlab.report.read import read
from sketchlab.report.run import bilstm2d


def test_the_square_holds_its_share():
    draw = np.random.default_rng(0)
    for _ in range(20):
        field = draw.random((8, 8)) ** 4
        for share in (0.3, 0.5, 0.9):
            sides = [side for side in range(1, 18, 2) if _inside(field, side // 2) >= share * field.sum() - 1e-12]
            assert bilstm2d.square(field, share, 4.0) == min(8, sides[0])


def _inside(field: np.ndarray, reach: int) -> float:
    """Around place 4, 4, the centre of a map of 8."""
    low = max(0, 4 - reach)
    return field[low : 5 + reach, low : 5 + reach].sum()


def test_the_page_shows_both(run_folder):
    folder = run_folder("classifier")
    n = len(pd.read_csv(folder / "predictions_test.csv"))
    erf = np.zeros((2, 16, 16), np.float32)
    erf[:, 8, 8] = 1
    for name, value in {
        "erf": erf,
        "erf_images": np.array([20]),
        "hidden": np.random.default_rng(0).random((2, 2, 4, 4, 4)).astype(np.float32),
        "hidden_places": np.array([0, n - 1]),
        "hidden_pixels": np.zeros((2, 16, 16), np.uint8),
    }.items():
        np.save(folder / "arrays" / f"test_{name}.npy", value)
    page = bilstm2d.mixing(read(folder))
    assert page.count("<img") == 4 and "mean of 20 drawings of test" in page and "square of 4 px" in page
    kept = {path.name for path in (folder / "plots").iterdir()}
    assert kept == {f"{what}_{i}.png" for what in ("receptive_field", "hidden_states") for i in (0, 1)}
    assert Image.open(folder / "plots" / "receptive_field_1.png").size == (160, 160)


def test_a_run_without_them_has_none(run_folder):
    assert bilstm2d.mixing(read(run_folder("classifier"))) == ""
