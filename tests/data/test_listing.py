"""One rule for the files of a folder, in every command that reads one."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sketchlab import config, predict
from sketchlab.data import listing
from sketchlab.data.images import tree
from sketchlab.data.sets import strokes
from sketchlab.data.strokes import ndjson, svg
from sketchlab.errors import UserError
from sketchlab.runs.retrieve import gallery
from sketchlab.training import prepare


@pytest.fixture
def folder(tmp_path):
    """A folder with one file of each kind, one linked, one in capitals, and what systems leave."""
    outside, home = tmp_path / "outside", tmp_path / "home"
    for suffix in ("png", "SVG", "ndjson"):
        for path in (outside / f"linked.{suffix}", home / f"own.{suffix}", home / f"._own.{suffix}"):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
        for name in ("@eaDir", "__MACOSX", ".hidden"):
            (home / name).mkdir(exist_ok=True)
            (home / name / f"own.{suffix}").write_bytes(b"x")
    (home / "Thumbs.db").write_bytes(b"x")
    os.symlink(outside, home / "link")
    os.symlink(home, home / "back")  # a circle
    return home


def test_all_commands_see_the_same_files(folder):
    assert gallery._inside(folder)[0] == ["link/linked.png", "own.png"]
    assert tree._files(folder.parent, "home") == [f"home/{name}" for name in listing.files(folder)]
    assert svg.files(folder) == ["link/linked.SVG", "own.SVG"]
    assert list(ndjson.words(folder)) == ["own"]
    everything = [f"{name}.{kind}" for name in ("link/linked", "own") for kind in ("SVG", "ndjson", "png")]
    assert predict.inside(str(folder)) == [str(folder / name) for name in everything]


def test_drawings_in_folders_of_splits_are_refused(tmp_path):
    for part in ("Train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        (tmp_path / part / "cat" / "1.SVG").write_bytes(b"x")
    run = config.from_overrides(["data=strokes", "data.format=svg", "data.folder=.", f"data.root={tmp_path}"])
    with pytest.raises(UserError, match=f"folders of splits .Train, test.*data.folder={tmp_path}/Train"):
        strokes.class_names(run.data.config)
    assert strokes.class_names(replace(run.data.config, folder="Train")) == ["cat"]


@pytest.mark.realdata
def test_all_names_of_tu_berlin_stay_classes(tmp_path):
    """`train` is one of them."""
    lines = Path(os.environ["SKETCHLAB_DATA"], "tuberlin/filelist.txt").read_text("utf-8").splitlines()
    names = sorted({line.split("/")[0] for line in lines})
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"x")
    assert len(names) == 250 and "train" in names and tree.find(tmp_path, None).classes == names


def test_one_class_is_no_task_for_a_classifier(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "data/wrapper" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 0 if name == "cat" else 255).save(tmp_path / "data/wrapper" / name / "1.png")
    one = [
        f"data.root={tmp_path}/data",
        "data.folder=.",
        "data.splits.train=1",
        "data.splits.val=0",
        "data.splits.test=0",
    ]
    run = config.from_overrides(["data=folder", "model=small_cnn", f"run.root={tmp_path / 'runs'}", *one])
    with pytest.raises(UserError, match="two classes, but .* has one, 'wrapper'.*cat, dog.*data.folder="):
        prepare.prepare(run)
