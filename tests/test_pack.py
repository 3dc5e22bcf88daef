"""A run as one file: what comes out is what went in, opening runs no code, and what was changed is refused."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import sketchlab
from sketchlab.errors import UserError
from sketchlab.pack import __main__ as command
from sketchlab.report import __main__ as report
from sketchlab.storage import packed, sources
from tests import finished


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished.trained(tmp_path_factory)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(run, tmp_path, capsys):
    return command.pack(run, tmp_path / "one.sketchlab.zip")


def names(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_comes_out_is_what_went_in_and_the_same_run_makes_the_same_bytes(run, file, tmp_path):
    before, after = names(run), names(packed.unpacked(file))
    assert set(before) - set(after) <= {"lock", "train.log", "checkpoints/last.pt"} and "report.html" not in after
    assert all(before[name] == content for name, content in after.items())
    again = command.pack(run, tmp_path / "two.sketchlab.zip")
    assert file.read_bytes() == again.read_bytes()


def test_it_answers_as_the_folder_does(run, file):
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=np.uint8)
    ours, theirs = (sketchlab.open_run(place).predict(images) for place in (file, run))
    assert ours.equals(theirs) and sketchlab.open_run(file).metrics.equals(sketchlab.open_run(run).metrics)


def test_report_reads_the_file(file, capsys):
    assert report.main([str(file)]) == 0
    page = capsys.readouterr().out.splitlines()[-1]
    assert page.endswith("report.html") and "<html" in Path(page).read_text()


def test_the_run_keeps_the_text_of_its_model_and_data(run):
    code = json.loads((run / "code.json").read_text())
    kept = {name: sources.read(run, name) for name in code if sources.read(run, name)}
    assert "sketchlab/models/small_cnn.py" in kept and "sketchlab/data/sets/shapes/__init__.py" in kept
    assert not any(name.startswith("sketchlab/engine") for name in kept)
    assert "class Config" in kept["sketchlab/models/small_cnn.py"]


def rewritten(file, out, change):
    """The archive with other content: change(name, bytes) → what is written; None leaves the file out."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            if (content := change(name, old.read(name))) is not None:
                new.writestr(name, content)
    return out


def listing(change):
    def rewrite(name, content):
        return json.dumps(change(json.loads(content))) if name == packed.LIST else content

    return rewrite


BAD = {
    "a file changed": (lambda n, c: c + b"x" if n == "status.json" else c, "status.json is not what"),
    "a file of the same size changed": (lambda n, c: c[::-1] if n == "data.json" else c, "data.json is not what"),
    "a file gone": (lambda n, c: None if n == "config.yaml" else c, "other files"),
    "no list": (lambda n, c: None if n == packed.LIST else c, "not a packed run"),
    "a list that is none": (listing(lambda _: [1, 2]), "not a packed run"),
    "a list of nothing": (listing(lambda _: {}), "other files"),
    "larger than it says": (listing(lambda x: {n: [1, s] for n, (_, s) in x.items()}), "is not what"),
    "larger than may be": (listing(lambda x: {n: [2**50, s] for n, (_, s) in x.items()}), "more than 64 GiB"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_was_changed_is_one_line_and_leaves_nothing(file, tmp_path, what):
    change, words = BAD[what]
    bad = rewritten(file, tmp_path / "bad.zip", change)
    with pytest.raises(UserError, match=words):
        packed.unpacked(bad)
    assert not list((tmp_path / "cache").rglob("config.yaml"))


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"])
def test_nothing_is_written_outside(file, tmp_path, name):
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr(packed.LIST, json.dumps({name: [1, "0"]}))
        archive.writestr(name, b"x")
    with pytest.raises(UserError, match="outside"):
        packed.unpacked(bad)
    assert not (tmp_path / "out.txt").exists() and not (tmp_path.parent / "out.txt").exists()


def test_random_damage_is_refused_or_without_effect(run, file, tmp_path):
    whole, content = names(packed.unpacked(file)), bytearray(file.read_bytes())
    generator = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(content)
        for place in generator.integers(0, len(damaged), 3):
            damaged[place] ^= int(generator.integers(1, 256))
        bad = tmp_path / "bad.zip"
        bad.write_bytes(damaged)
        try:
            found = names(packed.unpacked(bad)) if packed.is_packed(bad) else whole
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert found == whole


def test_a_run_that_is_not_finished_is_refused(run, tmp_path):
    copy = finished.change_status(run, tmp_path / "cut", state="interrupted")
    with pytest.raises(UserError, match="is interrupted, not finished"):
        command.pack(copy, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


OWN = '''
"""A model that leaves a mark when it is imported."""
from pathlib import Path
import os
from sketchlab.models.small_cnn import GIVES, Config, build
Path(os.environ["MARK"]).write_text("ran")
'''


@pytest.mark.slow
def test_code_of_ones_own_runs_only_where_it_is_trusted(tmp_path):
    mine, mark = tmp_path / "mine", tmp_path / "mark"
    (mine / "models").mkdir(parents=True)
    (mine / "models" / "marked.py").write_text(OWN)
    (mine / "conf" / "model").mkdir(parents=True)
    text = (sketchlab.config.conf_dir() / "model" / "small_cnn.yaml").read_text()  # type: ignore[attr-defined]
    (mine / "conf" / "model" / "marked.yaml").write_text(text.replace("name: small_cnn", "name: marked"))
    env = {**os.environ, "MARK": str(mark), "OMP_NUM_THREADS": "1"}
    words = ["model=marked", "data.per_class=8", "data.classes=[circle,square]", "loop.epochs=1", "runtime.workers=0"]
    train = [sys.executable, "-m", "sketchlab.run", *words, f"run.root={tmp_path / 'out'}"]
    subprocess.run(train, env={**env, "SKETCHLAB_EXTRA": str(mine)}, check=True, capture_output=True)
    (folder,) = (tmp_path / "out").glob("*/*/config.yaml")
    file = command.pack(folder.parent, tmp_path / "own.zip")
    mark.unlink()

    def opened(trust):
        code = f"import sketchlab; run = sketchlab.open_run({str(file)!r}, trust={trust}); print(len(run.metrics)); "
        code += "print(sum(p.numel() for p in run.network().parameters()))"
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    plain = opened(False)
    assert plain.returncode and not mark.exists() and plain.stdout.strip() == "2"
    assert "marked.py" in plain.stderr and "trust=True" in plain.stderr
    trusted = opened(True)
    assert trusted.returncode == 0 and mark.exists() and int(trusted.stdout.split()[1]) > 1000, trusted.stderr
