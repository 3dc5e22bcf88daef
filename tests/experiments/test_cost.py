"""What the table of frankenstein_cost counts: multiplications, and how much of a receptive field is a cross."""

import sys
from pathlib import Path

import pytest
import torch

from sketchlab import config

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import frankenstein_cost as cost  # noqa: E402

FRONT = 8 * sum(27 * a * b * side**2 for a, b, side in ((1, 32, 64), (32, 16, 32), (16, 8, 16)))
HEAD = 64 * 64 * 256 + 256 * 18


def macs(model):
    return cost.macs(config.from_overrides([f"model={model}"]).model.build(18), 8, 64)


def test_a_block_of_bilstm2d_costs_what_its_matrices_say():
    width, hidden, places = 64, 16, 64
    lstm = 4 * 4 * hidden * (width + hidden)  # four directions, four gates
    block = places * (lstm + 4 * hidden * width + 2 * 3 * width**2)
    assert macs("cnn_bilstm2d") - macs("cnn_strokes") == 2 * block


def test_a_block_of_vit_costs_what_its_matrices_say():
    width, places = 64, 64
    block = places * (4 * width**2 + 2 * places * width + 2 * 4 * width**2)
    assert macs("frames_vit") - macs("cnn_strokes") == 2 * block


def test_the_cnn_costs_what_its_filters_say():
    assert macs("cnn_strokes") == pytest.approx(FRONT + HEAD, rel=0.02)


def distances():
    at = torch.arange(64) - 35.5  # the middle of the central place of 8 × 8
    return at, (at[:, None] ** 2 + at[None, :] ** 2).sqrt()


@pytest.mark.parametrize("spread_px", [12.0, 20.0, 1e6])
def test_a_field_that_is_even_in_all_directions_has_no_cross(spread_px):
    _, distance = distances()
    assert cost.cross_of(torch.exp(-((distance / spread_px) ** 2))) == pytest.approx(1, abs=0.06)


def test_a_full_cross_is_several_times_an_even_ring_and_turned_by_45_degrees_it_is_none():
    at, _ = distances()
    near = at.abs() < 4
    assert cost.cross_of((near[:, None] | near[None, :]).float()) == pytest.approx(3.7, abs=0.05)
    diagonal = ((at[:, None] - at[None, :]).abs() < 4) | ((at[:, None] + at[None, :]).abs() < 4)
    assert cost.cross_of(diagonal.float()) < 0.1


def test_what_lies_around_the_centre_does_not_count():
    _, distance = distances()
    field = torch.exp(-((distance / 12) ** 2))
    blob = field.clone()
    blob[24:48, 24:48] += 1000
    assert cost.cross_of(blob) == pytest.approx(cost.cross_of(field))
