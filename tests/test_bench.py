"""The benchmark script: what it lists, what it writes. No time is asserted here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "bench.py"), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def script(monkeypatch):
    """scripts/bench.py and bench_transfer.py as modules."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench
    import bench_transfer

    return bench, bench_transfer


def test_lists_every_file_with_its_parameters(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--list"])
    script[0].main()
    said = capsys.readouterr().out
    assert {path.stem.removeprefix("bench_") for path in SCRIPTS.glob("bench_*.py")} == {
        line.partition(":")[0] for line in said.splitlines() if not line.startswith(" ")
    }
    assert "steps=" in said


@pytest.mark.long
def test_engine_writes_a_row_whose_sides_trained_the_same_weights(tmp_path):
    said = bench("engine", "steps=9", "block=3", "--out", str(tmp_path))
    assert said.returncode == 0, said.stderr
    (file,) = tmp_path.glob("*.json")
    content = json.loads(file.read_text())
    assert content["machine"]["name"] == file.stem
    row = content["comparisons"]["engine"]["step"]
    assert [side["n"] for side in row["sides"].values()] == [2, 2]  # three blocks, the first is warm-up
    assert all(side["median_s"] > 0 for side in row["sides"].values())
    assert row["parameters"]["steps"] == 9 and row["estimated"] is False
    assert row["notes"]["same_weights_at_the_end"] is True


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nothing"], "no comparison nothing"),
        (["engine", "stops=1"], "no parameter stops"),
        (["engine", "--out", "OUT", "steps=a"], "expected int"),
    ],
)
def test_a_wrong_word_is_one_line(words, why, script, tmp_path, monkeypatch):
    out = [] if "--out" in words else ["--out", "OUT"]
    monkeypatch.setattr(sys, "argv", ["bench.py", *(w.replace("OUT", str(tmp_path)) for w in [*words, *out])])
    with pytest.raises(SystemExit) as ended:
        script[0].main()
    assert why in str(ended.value) and "\n" not in str(ended.value)
    assert not list(tmp_path.iterdir())


def test_merging_keeps_the_other_rows(script, tmp_path):
    path = tmp_path / "box.json"
    for name, row, value in (("a", "x", 1), ("a", "y", 2), ("b", "x", 3), ("a", "x", 4)):
        script[0].store(path, {"name": "box"}, name, {row: {"value": value}})
    assert json.loads(path.read_text())["comparisons"] == {
        "a": {"x": {"value": 4}, "y": {"value": 2}},
        "b": {"x": {"value": 3}},
    }


def test_sides_take_turns_and_warm_up(script):
    order = []
    seconds = script[0].interleaved({s: lambda s=s: order.append(s) or len(order) for s in "ab"}, repeats=2, warmup=1)
    assert order == list("ababab") and seconds == {"a": [3, 5], "b": [4, 6]}


def test_a_row_says_what_follows_from_its_medians(script):
    sides = {"bare": [4.0, 2.0, 6.0], "sketchlab": [1.0, 2.0, 3.0]}
    record = script[0].Row("r", sides, "step", "2 times", lambda bare, ours: bare >= 2 * ours).record()
    assert record["times_faster"] == 2 and record["difference_s"] == -3 and record["reached"] is True


def test_fewer_epochs_are_called_an_estimate(script):
    transfer = script[1]
    said = [{"start_s": 5.0, "epoch_s": e, "total_s": 99.0} for e in (40.0, 50.0, 42.0)]
    assert transfer.whole_s(said) == 5 + 25 * 42
    assert transfer.estimate([said], 0) == "the tutorial's 25 epochs from 3"
    assert transfer.whole_s(said[:1] * 25) == 99 and transfer.estimate([said[:1] * 25], 0) == ""
