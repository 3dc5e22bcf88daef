"""TU-Berlin's SVG files: transforms, commands and curves, and nothing read wrongly."""

import os
from pathlib import Path

import numpy as np
import pytest

from sketchlab.data.strokes import simplify, svg
from sketchlab.data.strokes.simplify import BadDrawing

HEAD = '<svg viewBox="0 0 800 800" xmlns="http://www.w3.org/2000/svg">'


def wrapped(body):
    return f'<?xml version="1.0"?>{HEAD}{body}</svg>'.encode()


def test_nested_transforms_apply_from_the_inside_out():
    body = (
        '<g transform="translate(100,50)"><g transform="scale(2) translate(-1,3)"><path id="0" d="M 1 2 L4,5"/></g></g>'
    )
    (stroke,) = svg.strokes(wrapped(body))
    assert np.allclose(stroke, [[100 + 2 * 0, 50 + 2 * 5], [100 + 2 * 3, 50 + 2 * 8]])
    assert np.allclose(svg.transform("matrix(1,2,3,4,5,6)") @ [1, 1, 1], [9, 12, 1])
    assert np.allclose(svg.transform("scale(2 3)") @ [1, 1, 1], [2, 3, 1])


def test_commands():
    (stroke,) = svg.path("M10 20 L30-5 h5 v2 l-1 -1 H0 V0 Z")
    assert stroke.tolist() == [[10, 20], [30, -5], [35, -5], [35, -3], [34, -4], [0, -4], [0, 0], [10, 20]]
    assert [len(part) for part in svg.path("M0 0 1 1 2 2 m5 5 1 0")] == [3, 2]
    assert svg.path("m1 1 m2 2 l1e1 -.5")[1].tolist() == [[3, 3], [13, 2.5]]


def test_curves_follow_the_polynomial():
    control = np.array([[0, 0], [0, 100], [200, -50], [100, 60]])
    (stroke,) = svg.path("M0 0 C0 100 200-50 100 60")
    n = len(stroke) - 1
    for k, point in enumerate(stroke):
        left = control.astype(float)  # de Casteljau
        while len(left) > 1:
            left = left[:-1] + (left[1:] - left[:-1]) * k / n
        assert np.allclose(point, left[0])
    assert n > 50
    (relative,) = svg.path("M10 10 c0 100 200-50 100 60")
    assert np.allclose(relative, stroke + 10)


def test_ids_give_the_order_of_strokes():
    body = '<path id="10" d="M3 3L4 4"/><path id="2" d="M1 1L2 2"/>'
    assert [stroke[0, 0] for stroke in svg.strokes(wrapped(body))] == [1, 3]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<rect width='3'/>", "<rect>"),
        ('<path d="M0 0 A1 1 0 0 0 2 2"/>', "command A"),
        ('<path d="M0 0 Q1 1 2 2"/>', "command Q"),
        ('<path d="L1 1"/>', "begins with L"),
        ('<path d="M1"/>', "with 1 numbers"),
        ('<path d="M1 1 x2 2"/>', "command x"),
        ('<path d="M1 1 %"/>', "cannot be read"),
        ('<path d="1 1"/>', "cannot be read"),
        ('<path d="M0 0 Z 1 1"/>', "cannot be read"),
        ('<path transform="rotate(3)" d="M0 0L1 1"/>', "rotate"),
        ('<path d="M1e999 0 L1 1"/>', "not finite"),
        ("", "no paths"),
        ("<path", "no SVG"),
    ],
)
def test_what_is_not_read_is_refused(body, said):
    with pytest.raises(BadDrawing, match=said):
        svg.strokes(wrapped(body))


@pytest.mark.realdata
@pytest.mark.skipif(not os.environ.get("SKETCHLAB_DATA"), reason="SKETCHLAB_DATA is not set")
def test_real_drawings_fill_the_published_square():
    """In the 800×800 of every file the longer side of a drawing runs from 87.5 to 712.5, save what curves overshoot."""
    found = sorted(Path(os.environ["SKETCHLAB_DATA"], "tuberlin/svg").glob("*/*.svg"))
    assert len(found) >= 12
    for path in found:
        strokes = svg.strokes(path.read_bytes())
        everything = np.concatenate(strokes)
        low, high = everything.min(axis=0), everything.max(axis=0)
        assert 80 < low.min() < 88 and 712 < high.max() < 725, path
        assert np.allclose((low + high) / 2, 400, atol=6), path
        simple = simplify.simplify(strokes)
        assert len(simple) == len(strokes) and max(x for s in simple for x in s[0] + s[1]) in (253, 254, 255)
