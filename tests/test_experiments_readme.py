"""experiments/README.md: what it names exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.test_presets import PRESETS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "experiments" / "README.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if re.match(r"\| (?!item|-)", line)]
OWN = ("_trial", "chen2019/sketchy_mixed", "chen2019/sketchy_photos", "chen2019/sketchy_sketches",
       "chen2019/tuberlin_frozen", "mamin/sheep")  # fmt: skip


def presets(text: str) -> set[str]:
    return {name for names in re.findall(r"experiment=(\S+?)[` ]", text) for name in names.split(",")} - {"STUDY/ARM"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_row_has_a_command_and_a_test_that_exist_or_the_reason_why_not(row):
    _, command, test = row
    assert presets(command) <= set(PRESETS)
    assert all((ROOT / script).is_file() for script in re.findall(r"python (\S+\.py)", command))
    assert all(importlib.util.find_spec(name) for name in re.findall(r"python -m (\S+)", command))
    if not test.startswith("no: "):
        path, name = test.strip("`").split("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_every_published_arm_has_a_row():
    assert {name for name in PRESETS if not name.endswith(OWN)} <= presets(TEXT)
