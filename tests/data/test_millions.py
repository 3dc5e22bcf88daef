"""What is done otherwise for millions of drawings gives the same as for hundreds; the script that prepares them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sketchlab import config
from sketchlab.data.commands import show
from sketchlab.data.dataset import fingerprint
from sketchlab.data.sets import strokes
from sketchlab.data.strokes import index as stroke_index
from sketchlab.data.strokes import ndjson as ndjson_files
from sketchlab.data.strokes import store as stroke_store
from sketchlab.inputs import Input
from sketchlab.training.work import digest
from tests.data.test_ndjson_simplify import record, write
from tests.data.test_raster import random_drawings

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_quickdraw.py"
FRAMES = Input("frames", 16, 4, "bright", [0.0], [1.0])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "strokes"


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "drawings"
    home.mkdir()
    for number, word in enumerate(("cat", "dog", "ice cream")):
        drawings = random_drawings(40 + 10 * number, number)
        rows = [record(d, word=word, key_id=str(10**15 + i), recognized=i % 9 > 0) for i, d in enumerate(drawings)]
        write(home / f"{word}.ndjson", rows)
    return home


def made(folder, *words):
    chosen = config.from_overrides(["data=strokes", f"data.root={folder}", *words])
    return strokes.build(chosen.data.config, FRAMES)


@pytest.mark.parametrize(
    "words", [[], ["data.splits.seed=3", "data.per_class=30"], ["data.recognized_only=true"], ["data/splits=kfold"]]
)
def test_splits_in_files_are_those_in_memory(folder, words, monkeypatch, cache):
    small = made(folder, *words)
    assert not list(cache.glob("splits-*"))
    monkeypatch.setattr(stroke_index, "LARGE", 10)
    for _ in range(2):  # written, then found
        large = made(folder, *words)
        assert set(large.splits) == set(small.splits)
        for name, split in small.splits.items():
            other = large.splits[name]
            assert torch.equal(split.rows, other.rows) and torch.equal(split.labels, other.labels)
            assert list(split.ids) == list(other.ids) and torch.equal(split.groups, other.groups)
        assert len(list(cache.glob("splits-*"))) == 1


def test_another_rule_or_another_drawing_has_files_of_its_own(folder, monkeypatch, cache):
    monkeypatch.setattr(stroke_index, "LARGE", 10)
    made(folder)
    made(folder, "data.splits.seed=1")
    assert len(list(cache.glob("splits-*"))) == 2
    with open(folder / "cat.ndjson", "ab") as file:
        file.write((folder / "dog.ndjson").read_bytes().splitlines(keepends=True)[0])
    assert sum(map(len, made(folder).splits.values())) == 151
    assert len(list(cache.glob("splits-*"))) == 3


def test_the_digest_knows_who_is_there_whatever_the_order(folder):
    train = made(folder).splits["train"]
    ids = stroke_store.Ids(train.store, train.rows.numpy())
    turned = stroke_store.Ids(train.store, train.rows.numpy()[::-1].copy())
    fewer = stroke_store.Ids(train.store, train.rows.numpy()[1:])
    assert ids.digest() == turned.digest() != fewer.digest()
    assert digest(ids) == fingerprint(sorted(ids))  # as it is for every other data set


def test_the_page_of_many_is_measured_on_some(folder, monkeypatch):
    chosen = config.from_overrides(["data=strokes", f"data.root={folder}"]).data
    data = chosen.build(Input("images", 16, 3, "dark", [0.0] * 3, [1.0] * 3))
    whole = show.page("x", data, None, None)
    assert "Measured on" not in whole
    monkeypatch.setattr(show, "DRAWN", 12)
    monkeypatch.setattr(show, "ASKED", 15)
    some = show.page("x", data, None, None)
    assert "Measured on 36 of 150." in some and some.count("data:image/png") == 3
    places = show._some(1000, 10, "a")
    assert len(set(places.tolist())) == 10 and torch.equal(places, places.sort().values)
    assert not torch.equal(places, show._some(1000, 10, "b"))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import prepare_quickdraw

    return prepare_quickdraw


@pytest.mark.slow
def test_the_script_makes_prepares_and_finds_again(script, tmp_path, capsys):
    home = tmp_path / "made"
    script.main([str(home), "--synthetic", "700"])
    said = capsys.readouterr().out
    assert "345 files, 700 drawings of" in said and "prepared in" in said
    assert re.search(r"50,000,000 such drawings: [\d.]+ hours", said)
    script.main([str(home)])
    assert "345 of 345 files were prepared before" in capsys.readouterr().out
    lines = list(ndjson_files.lines(home / "made up 000.ndjson"))
    assert [line.key_id for line in lines] == ["0000000000000000", "0000000000000001"]
    assert np.ptp([x for stroke in lines[0].drawing for x in stroke[0]]) > 50


@pytest.mark.long
def test_a_killed_script_goes_on(script, tmp_path, cache, capsys):
    home = tmp_path / "made"
    script.synthesise(home, 60_000)
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(home)], start_new_session=True, stdout=subprocess.PIPE)
    while not finished(cache):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()  # until its last process has closed the pipe: none finishes a file after this
    before = finished(cache)
    script.main([str(home)])
    said = capsys.readouterr().out
    assert f"{len(before)} of 345 files were prepared before" in said and "60,000 drawings" in said
    after = finished(cache)
    assert len(after) == 345 and before.items() <= after.items(), "a finished file was read again"


def finished(cache: Path) -> dict[Path, int]:
    """Folders of prepared files and when they were written; one that is being built begins with a dot."""
    return {index.parent: index.stat().st_mtime_ns for index in cache.glob("[!.]*/index.json")}


@pytest.mark.parametrize(
    ("words", "why"), [(["nowhere"], "no folder"), ([".", "--download", "--synthetic", "5"], "choose one")]
)
def test_mistakes_are_one_line(script, words, why, capsys):
    with pytest.raises(SystemExit) as ended:
        script.main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 1 and why in said and said.count("\n") == 1
