"""A finished run ends with its result in a line, a command that uses it, and the report."""

import re

import pytest

from sketchlab import config
from sketchlab.training import session
from tests import every


@pytest.mark.parametrize(
    ("model", "use"),
    [
        ("small_cnn", "sketchlab.app"),
        pytest.param("small_siamese", "sketchlab.retrieve", marks=pytest.mark.slow),
        pytest.param("small_dcgan", "sketchlab.generate", marks=pytest.mark.slow),
    ],
)
def test_the_last_lines(model, use, tmp_path, capsys):
    words = every.small(model, f"run.root={tmp_path}")
    session.execute(config.from_overrides(words))
    first = capsys.readouterr().out.splitlines()[-3:]
    session.execute(config.from_overrides(words))  # found: the same lines
    assert capsys.readouterr().out.splitlines()[-3:] == first
    score, then, report = first
    assert re.fullmatch(
        r"test \S+ -?[\d.]+( \[-?[\d.]+, -?[\d.]+\])?( \(n = [\d,]+\))?(, weights of epoch \d)?", score
    ), score
    assert then.startswith(f"next: python -m {use} {tmp_path}") and report.startswith("report: ")
