"""Clean shapes: laid where, as large and as turned as the drawing is."""

from __future__ import annotations

import numpy as np
import pytest

from sketchlab.app import clean as cleans
from sketchlab.app.clean import clean
from sketchlab.app.clean_forms import FORMS, Form
from sketchlab.data.sets import shapes


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Clockwise as seen with y downwards."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])


def test_every_built_in_shape_has_a_clean_form_and_no_other_class():
    assert set(FORMS) == set(shapes.CLASSES)
    assert clean("sheep", [np.zeros((2, 2))]) is None


@pytest.mark.parametrize("name", ["square", "house", "fish", "line", "triangle", "circle"])
@pytest.mark.parametrize("degrees", [0, 14, -31])
def test_a_clean_form_is_found_again(name, degrees):
    """A form moved, sized and turned by known amounts comes back with these amounts."""
    form = FORMS[name]()[0]
    size = 60 * np.ptp(np.concatenate(form.strokes), axis=0)
    drawing = [turned(stroke * 60, degrees) + (140, 90) for stroke in form.strokes]
    found = clean(name, drawing)
    assert found is not None and found.distance < 0.02
    assert found.size == pytest.approx(size, rel=0.03, abs=1)
    if form.turn_deg == 0:
        assert found.turn_deg is None
    else:
        off = (found.turn_deg - degrees) % form.turn_deg
        assert min(off, form.turn_deg - off) < 2
    middles = [(np.concatenate(s).min(0) + np.concatenate(s).max(0)) / 2 for s in (found.strokes, drawing)]
    assert np.abs(middles[0] - middles[1]).max() < 3


@pytest.mark.parametrize("name", sorted(FORMS))
def test_it_lies_on_a_drawing_by_hand(name):
    """Nearer than the same form in the drawing's box without turning, or as near; the same each time."""
    drawing = [np.array(stroke, float).T for stroke in shapes.drawing(name, 7)]
    found, again = clean(name, drawing), clean(name, drawing)
    assert found is not None and again is not None
    assert all((a == b).all() for a, b in zip(found.strokes, again.strokes, strict=True))
    ink = np.concatenate(drawing)
    low, reach = ink.min(0), np.ptp(ink, axis=0)
    points = cleans._spread(drawing, 100)

    def plain(form: Form) -> list[np.ndarray]:
        whole = np.concatenate(form.strokes)
        scale = reach / np.maximum(np.ptp(whole, axis=0), 1e-9)
        return [(s - whole.min(0)) * (scale if form.stretch else scale.min()) + low for s in form.strokes]

    distances = [
        float(cleans._chamfer(points, cleans._spread(strokes, 100)))
        for strokes in (found.strokes, *map(plain, FORMS[name]()))
    ]
    assert distances[0] <= min(distances[1:]) + 2
    assert np.concatenate(found.strokes).min() > -60 and np.concatenate(found.strokes).max() < 315


def test_a_drawing_is_moved_and_its_shape_moves_along():
    drawing = [np.array(stroke, float).T for stroke in shapes.drawing("house", 3)]
    here, there = clean("house", drawing), clean("house", [s * 2.5 + (300, -40) for s in drawing])
    assert here is not None and there is not None
    for a, b in zip(here.strokes, there.strokes, strict=True):
        assert np.abs(a * 2.5 + (300, -40) - b).max() < 1e-6


@pytest.mark.parametrize("drawing", [[np.zeros((1, 2))], [np.zeros((2, 2))] * 2000, [np.full((3, 2), 1e8)]])
def test_dots_and_heaps_of_strokes_give_something_finite(drawing):
    for name in ("circle", "line", "square"):
        found = clean(name, drawing)
        assert found is not None and np.isfinite(np.concatenate(found.strokes)).all()


@pytest.mark.parametrize("near", [0, 118, -118])
def test_of_equal_fits_the_expected_turn_wins(near):
    corners = np.array([turned(np.array([[0.0, -80.0]]), degrees)[0] for degrees in (0, 120, 240, 360)])
    found = clean("triangle", [corners], near_deg=near)
    assert found is not None and found.turn_deg == pytest.approx(120 * np.sign(near), abs=3)


def test_chamfer_is_the_double_loop():
    g = np.random.default_rng(0)
    ink, outlines = g.random((7, 2)), g.random((3, 5, 2))
    for k, outline in enumerate(outlines):
        there = np.mean([min(np.hypot(*(a - b)) for b in outline) for a in ink])
        back = np.mean([min(np.hypot(*(a - b)) for a in ink) for b in outline])
        assert cleans._chamfer(ink, outlines)[k] == pytest.approx(there + back)
