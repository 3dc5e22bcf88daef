"""The sheet of what the network sees: every tile as it was, its class below it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sketchlab.data import sheet


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 90), st.integers(2, 10), st.integers(1, 3), st.integers(0, 99))
def test_named_tiles_are_the_images_enlarged_and_each_has_its_name(size, columns, rows, seed):
    images = torch.rand(rows * columns, 3, size, size, generator=torch.Generator().manual_seed(seed))
    plain = sheet.grid(images, columns)
    names = [f"class {i} of a long name" if i % 2 else "" for i in range(rows * columns)]
    made = sheet.named(plain, names, columns)
    times = max(1, -(-64 // (size + 2)))
    height = (size + 2) * times
    assert made.shape == (rows * (height + sheet._NAME_PX), plain.shape[1] * times, 3)
    for i in range(rows * columns):
        row, column = divmod(i, columns)
        top, left = row * (height + sheet._NAME_PX), column * height
        tile = made[top : top + height, left : left + height]
        assert (
            tile
            == plain[row * (size + 2) :, column * (size + 2) :][: size + 2, : size + 2]
            .repeat(times, 0)
            .repeat(times, 1)
        ).all()
        below = made[top + height + 1 : top + height + sheet._NAME_PX, left + 2 : left + height - 1]
        assert (below.std() > 0) == bool(names[i])  # written on, and within its own tile
        assert (made[top + height + 1 : top + height + sheet._NAME_PX, left + height - 1] == 245).all()


@pytest.mark.parametrize("n", [2, 5])
def test_fewer_images_than_columns(n):
    plain = sheet.grid(torch.zeros(n, 3, 64, 64), 10)
    assert sheet.named(plain, ["a"] * n, n).shape[1] == np.shape(plain)[1]
