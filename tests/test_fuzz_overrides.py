"""Anything on the command line composes, or is one line."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sketchlab import config
from sketchlab.errors import UserError

KEYS = (
    *("seed", "rerun", "plan", "model", "data", "pipeline", "loop", "runtime", "run.root", "run.track", "run.name"),
    *("loop.lr", "loop.epochs", "loop.batch_size", "loop.optimizer", "data.root", "data.classes", "data.per_class"),
    *("data.group_by", "data.splits.train", "data/splits", "model.fresh", "model.input.size_px", "model.weights"),
    *("runtime.device", "pipeline.loss", "experiment", "hydra.run.dir", "loop.optimizer_options", "model.input", ""),
)
VALUES = (
    *("nan", "inf", "1e5", "null", "true", "~", "[]", "{}", "[1,2]", "[a,[b]]", "{a: 1}", "${seed}", "${x}", "${"),
    *("-1", "0", "1.5", "9" * 400, "folder", "small_cnn", "ü 猫", "'", '"', "\\", "#", "a,b", "range(1,3)", "???"),
    *("glob(*)", "choice(1,2)", "${oc.env:HOME}", "${now:%Y}", "\x1b[31m", "", " ", "=", "@", "a=b", "[1e5,null]"),
    *("(.+)-\\d+", "-"),
)


@pytest.mark.parametrize("n", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_words_compose_or_are_one_line(n):
    prefix = st.sampled_from(("", "", "", "+", "++", "~"))
    key = st.tuples(prefix, st.sampled_from(KEYS) | st.text(max_size=6)).map("".join)
    value = st.sampled_from(VALUES) | st.text(max_size=8) | st.lists(st.sampled_from(VALUES), max_size=3).map(",".join)
    listed = value.map(lambda text: f"[{text}]")
    word = st.tuples(key, st.sampled_from(("=", "=", "=", "")), value | listed).map("".join)

    @settings(max_examples=n, deadline=30_000, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(word, min_size=1, max_size=2))
    def check(words):
        try:
            run = config.from_overrides(words)
        except UserError as error:
            assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f]", str(error)) and len(str(error)) < 3000
            return
        assert run.plain()["seed"] == run.seed

    check()
