"""Any request to the page's server is answered, or refused in one line: never 500, never a traceback, never slow."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from sketchlab.app import server
from sketchlab.app.page_model import opened

PATHS = (
    "/predict",
    "/clean",
    "/read",
    "/ndjson",
    "/save",
    "/make",
    "/eye",
    "/eye/answer",
    "/eye/verdict",
    "/runs",
    "/",
)
KEYS = ("run", "drawing", "class", "label", "line", "seed", "test", "place", "said", "who")
NEEDED = {
    "/predict": ("run", "drawing"),
    "/clean": ("run", "class", "drawing"),
    "/read": ("line",),
    "/ndjson": ("run", "label", "drawing"),
    "/save": ("run", "label", "drawing"),
    "/make": ("run", "class", "seed"),
    "/eye": ("run", "test", "place"),
}


@pytest.fixture(scope="module")
def client(run_of, tmp_path_factory):
    app = server.application([opened(run_of("images"))], tmp_path_factory.mktemp("saved"), "127.0.0.1")
    made = TestClient(app, base_url="http://127.0.0.1:8004", raise_server_exceptions=True)
    for drawing in ([[[0, 9], [0, 9]]], [[[0, 999], [0, 9]]]):  # what is compiled or loaded, once
        assert made.post("/predict", json={"run": 0, "drawing": drawing}).status_code == 200
    return made


@pytest.mark.parametrize("n", [80, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_request_is_answered_or_refused_in_one_line(n, client):
    number = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 255)
    leaf = number | st.none() | st.booleans() | st.text(max_size=5)
    value = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=12,
    )
    axis = st.lists(st.integers(0, 255) | number, min_size=1, max_size=5)
    stroke = axis.flatmap(
        lambda x: st.lists(st.integers(0, 255), min_size=len(x), max_size=len(x)).map(lambda y: [x, y])
    )
    drawing = st.lists(stroke | value, max_size=4)
    line = drawing.map(lambda d: json.dumps({"word": "cat", "drawing": d}))
    likely = {
        "run": st.sampled_from((0, 0, 0, 1, -1)), "drawing": drawing, "line": line | st.text(max_size=20),
        "class": st.sampled_from(("circle", "square", "none")), "label": st.text(max_size=9),
    }  # fmt: skip

    def body_of(path):
        if path not in NEEDED:
            return st.dictionaries(st.sampled_from(KEYS), value, max_size=4)
        whole = st.fixed_dictionaries({key: likely.get(key, st.integers(-2, 2)) for key in NEEDED[path]})
        odd = st.fixed_dictionaries({key: value for key in NEEDED[path]})
        return whole | odd

    asked = st.sampled_from(PATHS).flatmap(
        lambda path: st.tuples(
            st.just(path), body_of(path).map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40)
        )
    )
    kind = st.sampled_from(("application/json", "application/json; charset=utf-8", "text/plain", ""))

    @settings(max_examples=n, deadline=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(
        asked,
        st.sampled_from(("POST", "POST", "POST", "GET", "PUT")),
        kind,
        st.text(st.characters(max_codepoint=127), max_size=9),
    )
    def check(asked, method, kind, tail):
        (path, body), headers = asked, {"content-type": kind} if kind else {}
        for address in (path, path + "/" + "".join(c for c in tail if c.isalnum())):
            reply = client.request(method, address, content=body, headers=headers, follow_redirects=False)
            assert reply.status_code < 500
            if reply.status_code >= 400:
                (why,) = reply.json().values()
                assert why and "\n" not in why and len(why) < 400

    check()


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_host_and_origin_is_answered_or_refused(n, client):
    text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
    near = st.sampled_from(
        ("localhost", "127.0.0.1", "127.0.0.1:8004", "[::1]", "[::1", "127.1", "localhost.", "a@127.0.0.1")
    )
    host = near | text | st.tuples(near, text).map("".join)

    @settings(max_examples=n, deadline=10_000, database=None, suppress_health_check=list(HealthCheck))
    @given(host, st.none() | host.map(lambda name: f"http://{name}"))
    def check(host, origin):
        headers = {"host": host} | ({"origin": origin} if origin else {})
        reply = client.get("/runs", headers=headers)
        assert reply.status_code in (200, 400, 403)
        if reply.status_code == 200:  # an address or name of this machine, and then perhaps a port
            assert host.lower().startswith(("localhost", "127.", "[::1]"))

    check()
