"""TU-Berlin's SVG files: transforms, commands and curves, and nothing read wrongly."""

import os
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    ("body", "message"),
    [
        ("<text>a</text>", "<text>"),
        ("<use href='#a'/>", "<use> of '#a': no such element"),
        ("<use href='other.svg#a'/>", "<use> of 'other.svg#a'"),
        ("<use/>", "<use> of ''"),
        ("<use id='a' href='#a'/>", "in itself"),
        ("<g id='a'><use href='#a'/></g>", "in itself"),
        ("<symbol id='a'><use href='#b'/></symbol><g id='b'><use href='#a'/></g>", "in itself"),
        ("<defs><text id='a'>a</text></defs><use href='#a'/>", "<text>"),
        ("<path id='a' d='M0 0L1 1'/><use href='#a' x='1e308'/>", "beyond"),
        ("<path id='a' d='M0 0L1 1'/><use href='#a' x='wide'/>", "x='wide' on <use>"),
        ("<path id='a' d='M0 0L1 1'/><use href='#a' clip-path='url(#b)'/>", "clip-path on <use>"),
        ("<image/>", "<image>"),
        ("<g clip-path='url(#a)'><path d='M0 0L1 1'/></g>", "clip-path on <g>"),
        ("<path style='mask:url(#a)' d='M0 0L1 1'/>", "mask on <path>"),
        ("<style>.a {display: none}</style><path class='a' d='M0 0L1 1'/>", "<style>"),
        ("<path style='transform: scale(2)' d='M0 0L1 1'/>", "transform inside style"),
        ('<path d="L1 1"/>', "begins with L"),
        ('<path d="M1"/>', "with 1 numbers"),
        ('<path d="M1 1 x2 2"/>', "command x"),
        ('<path d="M1 1 %"/>', "cannot be read"),
        ('<path d="1 1"/>', "cannot be read"),
        ('<path d="M0 0 Z 1 1"/>', "cannot be read"),
        ('<path d="M0 0 L1,,1"/>', "cannot be read"),
        ('<path d="M0 0 L1 1,"/>', "comma"),
        ('<path d="M0 0 A1 1 0 2 0 3 3"/>', "cannot be read"),
        ('<path d="Mnan 0 L1 1"/>', "with 0 numbers"),
        ('<path d="M1e999 0 L1 1"/>', "not finite"),
        ('<path d="M0 0 l1e308 0"/>', "beyond 1e\\+09"),
        ('<path transform="scale(1,2" d="M0 0L1 1"/>', "transform 'scale.1,2' cannot"),
        ('<path transform="scale(1,2) junk" d="M0 0L1 1"/>', "transform ' junk' cannot"),
        ('<path transform="translate(1px,2px)" d="M0 0L1 1"/>', "translate '1px,2px' cannot"),
        ('<path transform="translate(nan)" d="M0 0L1 1"/>', "translate 'nan' cannot"),
        ('<path transform="translate(1,)" d="M0 0L1 1"/>', "ends with a comma"),
        ('<path transform="translate(1e308)" d="M0 0L1 1"/>', "beyond"),
        ('<path transform="rotate(1 2)" d="M0 0L1 1"/>', "rotate"),
        ('<path transform="turn(1)" d="M0 0L1 1"/>', "turn"),
        ('<circle r="2em"/>', "r='2em' on <circle>"),
        ('<rect width="nan" height="1"/>', "width='nan' on <rect>"),
        ('<polyline points="1 2 3"/>', "3 numbers, expected pairs"),
        ('<svg viewBox="0 0 0 1"><path d="M0 0L1 1"/></svg>', "viewBox"),
        ("", "no paths"),
        ("<path", "no SVG"),
    ],
)
def test_what_is_not_read_is_refused(body, message):
    with pytest.raises(BadDrawing, match=message):
        svg.strokes(wrapped(body))


@pytest.mark.parametrize("raw", [b"<html/>", b'<?xml version="1.0" encoding="klingon"?><svg/>', b"", b"\x00\xff"])
def test_other_files_are_no_svg(raw):
    with pytest.raises(BadDrawing, match="no SVG"):
        svg.strokes(raw)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_of_xml(encoding):
    name = "utf-8" if encoding == "utf-8-sig" else encoding
    text = f'<?xml version="1.0" encoding="{name}"?>\r\n{HEAD}<title>\xe9</title><path d="M1 1L2 2"/></svg>'
    assert svg.strokes(text.encode(encoding))[0].tolist() == [[1, 1], [2, 2]]


def test_time_and_depth_are_bounded():
    begun = time.monotonic()
    deep = "<g>" * 3000 + '<path d="M0 0L1 1"/>' + "</g>" * 3000
    assert len(svg.strokes(wrapped(deep))) == 1
    for text in ("a" * 100_000, "scale(1 " * 15_000, " " * 100_000 + "a", "(" * 100_000, "1," * 50_000):
        with pytest.raises(BadDrawing):
            svg.strokes(wrapped(f'<path transform="{text}" d="M0 0L1 1"/>'))
    with pytest.raises(BadDrawing, match="too many points"):
        svg.strokes(wrapped(f'<path d="M0 0{"C0 9999 9999 0 0 0" * 3000}"/>'))
    assert time.monotonic() - begun < 20


def one(body):
    (stroke,) = svg.strokes(wrapped(body))
    return stroke


def test_basic_shapes():
    assert one('<line x1="1" y1="2" x2="3" y2="4"/>').tolist() == [[1, 2], [3, 4]]
    assert one('<polyline points="1,2 3,4 5-6"/>').tolist() == [[1, 2], [3, 4], [5, -6]]
    assert one('<polygon points="1,2 3,4 5,6"/>').tolist() == [[1, 2], [3, 4], [5, 6], [1, 2]]
    assert one('<rect x="1" y="2" width="10" height="20"/>').tolist() == [[1, 2], [11, 2], [11, 22], [1, 22], [1, 2]]
    circle = one('<circle cx="100" cy="50" r="40"/>')
    assert np.allclose(np.hypot(*(circle - [100, 50]).T), 40) and len(circle) > 60
    ellipse = one('<ellipse cx="1" cy="2" rx="40" ry="20"/>')
    assert np.allclose((((ellipse - [1, 2]) / [40, 20]) ** 2).sum(1), 1)
    rounded = one('<rect width="100" height="60" rx="10"/>')
    assert rounded.min() == 0 and rounded.max(0).tolist() == [100, 60]
    assert np.hypot(*(rounded - [0, 0]).T).min() > 10 * (np.sqrt(2) - 1) - 0.1  # the corner is cut


def test_arcs_and_quadratic_curves():
    (half,) = svg.path("M0 0A50 50 0 0 1 100 0")
    assert np.allclose(np.hypot(*(half - [50, 0]).T), 50) and half[:, 1].min() < -49.9  # sweep 1: y downwards, so above
    (other,) = svg.path("M0 0a50,50 0 00100,0")  # flags without blanks
    assert np.allclose(other[:, 1], -half[:, 1])
    (grown,) = svg.path("M0 0A1 1 0 0 1 100 0")  # radii too small
    assert np.allclose(grown, half)
    (large,) = svg.path("M0 0A50 50 0 1 1 50 50")
    assert np.allclose(np.hypot(*(large - [50, 0]).T), 50) and len(large) > 100
    assert svg.path("M0 0A0 5 0 0 1 9 9")[0].tolist() == [[0, 0], [9, 9]]
    t = np.linspace(0, 1, len(svg.path("M0 0Q100 100 200 0")[0]))[:, None]
    expected = 2 * (1 - t) * t * np.array([100, 100]) + t**2 * np.array([200, 0])
    assert np.allclose(svg.path("M0 0Q100 100 200 0")[0], expected)
    assert np.allclose(svg.path("M0 0Q50 100 100 0T200 0")[0], svg.path("M0 0Q50 100 100 0Q150-100 200 0")[0])
    assert np.allclose(svg.path("M0 0C0 9 9 9 9 0S18-9 18 0")[0], svg.path("M0 0C0 9 9 9 9 0C9-9 18-9 18 0")[0])


def test_transforms_that_turn():
    turned = '<path transform="rotate(90)" d="M1 0L2 0"/>'
    assert np.allclose(one(turned), [[0, 1], [0, 2]])
    assert np.allclose(one('<path transform="rotate(180 1 1)" d="M0 0L2 0"/>'), [[2, 2], [0, 2]])
    assert np.allclose(one('<path transform="skewX(45)" d="M0 1L2 0"/>'), [[1, 1], [2, 0]])


def test_units_and_view_boxes():
    assert np.allclose(one('<line x1="1in" y1="25.4mm" x2="72pt" y2="50%"/>'), [[96, 96], [96, 400]])
    inner = '<svg x="10" y="20" width="100" height="50" viewBox="0 0 10 10"><path d="M0 0L10 10"/></svg>'
    assert np.allclose(one(inner), [[35, 20], [85, 70]])
    stretched = inner.replace("viewBox", 'preserveAspectRatio="none" viewBox')
    assert np.allclose(one(stretched), [[10, 20], [110, 70]])
    tiny = '<svg viewBox="0 0 1 1"><circle cx=".5" cy=".5" r=".4"/></svg>'
    assert len(svg.strokes(tiny.encode())[0]) > 24  # curves stay round in small units
    curve = '<svg viewBox="0 0 1 1"><path d="M0 0C0 1 1 1 1 0"/></svg>'
    assert len(svg.strokes(curve.encode())[0]) > 24


@pytest.mark.parametrize(
    "hidden",
    [
        '<defs><text/><path d="M0 0L9 9"/></defs>',
        '<clipPath id="a"><rect width="9" height="9"/></clipPath>',
        "<symbol><use/></symbol>",
        '<symbol id="a"><path d="M0 0L9 9"/></symbol><use href="#a" display="none"/>',
        '<linearGradient id="a"/><use href="#a"/>',
        '<g display="none"><image/><path d="M0 0L9 9"/></g>',
        '<g style="display: none"><path d="M0 0L9 9"/></g>',
        '<g visibility="hidden"><path d="M0 0L9 9"/></g>',
        '<g opacity="0.0"><path d="M0 0L9 9"/></g>',
        '<rect width="100%" height="100%" fill="#FFF"/>',
        '<g fill="none"><path d="M0 0L9 9"/></g>',
        '<editor:view xmlns:editor="urn:e"><path d="M0 0L9 9"/></editor:view>',
    ],
)
def test_hidden_and_defined_parts_are_not_drawn(hidden):
    assert one(hidden + '<path d="M1 1L2 2"/>').tolist() == [[1, 1], [2, 2]]


def test_a_visible_part_of_a_hidden_group_is_drawn():
    assert len(one('<g visibility="hidden"><path visibility="visible" d="M1 1L2 2"/></g>')) == 2


P = '<path id="p" d="M1 2L3 4"/>'
EXPANDED = [  # with <use>, and what it stands for (SVG 1.1, section 5.6)
    (f'<defs>{P}</defs><use href="#p"/>', P),
    (f'{P}<use xlink:href="#p" x="10" y="5"/>', f'{P}<g transform="translate(10,5)">{P}</g>'),
    (f'{P}<use href="#p" x="10" transform="scale(2)"/>', f'{P}<g transform="scale(2) translate(10,0)">{P}</g>'),
    (f'<defs><g id="g" transform="rotate(30)">{P}{P}</g></defs><g transform="scale(3)"><use href="#g"/></g>',
     f'<g transform="scale(3) rotate(30)">{P}{P}</g>'),
    (f'<symbol id="s" viewBox="0 0 10 10">{P}</symbol><use href="#s" x="5" width="100" height="50"/>',
     f'<svg x="5" width="100" height="50" viewBox="0 0 10 10">{P}</svg>'),
    (f'<symbol id="s">{P}</symbol><use href="#s"/>', P),
    (f'<defs><svg id="s" width="4" height="4" viewBox="0 0 2 2">{P}</svg></defs><use href="#s" width="8" height="8"/>',
     f'<svg width="8" height="8" viewBox="0 0 2 2">{P}</svg>'),
    (f'<defs>{P}<g id="a"><use href="#p" x="1"/></g><g id="b"><use href="#a" x="2"/><use href="#a" y="3"/></g></defs>'
     '<use href="#b"/>', f'<g transform="translate(3,0)">{P}</g><g transform="translate(1,3)">{P}</g>'),
    ('<rect id="r" width="4" height="3" fill="inherit"/><use href="#r" fill="none"/>', '<rect width="4" height="3"/>'),
    ('<defs><rect id="r" width="50%" height="10%"/></defs><use href="#r"/>', '<rect width="50%" height="10%"/>'),
    (f'{P}<path id="p" d="M9 9L8 8"/><use href="#p"/>', f'{P}<path d="M9 9L8 8"/>{P}'),  # the first of an id
]  # fmt: skip


@pytest.mark.parametrize(("used", "expanded"), EXPANDED)
def test_use_is_what_it_stands_for(used, expanded):
    head = HEAD.replace(">", ' xmlns:xlink="http://www.w3.org/1999/xlink">')
    found, want = (svg.strokes(f"{head}{body}</svg>".encode()) for body in (used, expanded))
    assert len(found) == len(want) and all(np.allclose(*pair) for pair in zip(found, want, strict=True))


def test_the_order_of_strokes_is_that_of_what_is_used():
    body = '<defs><path id="a" d="M0 0L1 1"/></defs><use id="2" href="#a"/><use id="1" href="#a" x="50"/>'
    assert [stroke[0, 0] for stroke in svg.strokes(wrapped(body))] == [50, 0]


@pytest.mark.parametrize(
    "body",
    [
        P + "".join(f'<g id="g{i}">{f"""<use href="#{f"g{i - 1}" if i else "p"}"/>""" * 10}</g>' for i in range(9)),
        P + "".join(f'<g id="g{i}"><use href="#{f"g{i - 1}" if i else "p"}"/></g>' for i in range(60)),
        P + '<use href="#p"/>' * 12_000,
        f'<path id="q" d="M0 0{" " * 2**20}"/>' + '<use href="#q"/>' * 9000,
        f'<symbol id="s">{P * 10_000}</symbol>' + '<use href="#s"/>' * 5000,
    ],
    ids=["laughs", "chain", "many", "long", "wide"],
)
def test_use_is_bounded(body):
    start = time.monotonic()
    with pytest.raises(BadDrawing, match="<use>"):
        svg.strokes(wrapped(body))
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("n", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_any_bytes_are_strokes_or_refused(n):
    words = "M L H V C S Q T A Z m a z 0 1 -2.5 1e9 1e308 nan , % ( ) translate( scale(1,2) ² ٣ #a #b"
    word = st.sampled_from(words.split())
    data = st.lists(word, max_size=30).map(" ".join)
    keys = "d transform points viewBox width r rx x1 style id fill display clip-path href href x y"
    tags = "path rect circle ellipse line polygon g svg defs use style text"
    attribute = st.sampled_from(keys.split())
    tag = st.sampled_from(tags.split())
    node = st.tuples(
        tag, st.lists(st.tuples(attribute, data | st.text(max_size=9)), max_size=4, unique_by=lambda a: a[0])
    )
    flat = st.lists(node, max_size=6).map(
        lambda nodes: "".join(f"<{name} {' '.join(f'{k}={quoteattr(v)}' for k, v in a)}/>" for name, a in nodes)
    )
    named = st.tuples(flat, flat, st.sampled_from(("g", "symbol", "defs", "svg")), st.sampled_from(("#a", "#b")))
    body = flat | named.map(lambda p: f'<{p[2]} id="a"><g id="b">{p[0]}</g></{p[2]}>{p[1]}<use href="{p[3]}"/>')

    @settings(max_examples=n, deadline=10_000, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=200) | body.map(lambda text: wrapped(text.encode("utf-8", "replace").decode())))
    def read(raw):
        try:
            strokes = svg.strokes(raw)
            simple = simplify.simplify(strokes)
        except BadDrawing:
            return
        assert all(np.isfinite(stroke).all() for stroke in strokes)
        assert all(0 <= value <= 255 for stroke in simple for axis in stroke for value in axis)

    read()


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
