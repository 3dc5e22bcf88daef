"""A few of the kills of scripts/kills.py, which has 200."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kills.py"


def kill(*words: str) -> str:
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_reruns_killed_while_they_replace_files():
    assert kill("kills=6", "seed=1", "only=rerun, last.pt not kept").startswith(
        "6 kills, 6 of them in mid-run: 6 equal"
    )


@pytest.mark.long
def test_two_hundred():
    assert ": 200 equal" in kill("kills=200")
