"""Two runs side by side: what differs is listed, what is equal is called so."""

import json
import shutil

import pytest

from sketchlab.diff import __main__ as diff
from sketchlab.errors import UserError
from sketchlab.storage import packed
from tests.report.conftest import classifier, put, sweep


def chapters(a, b):
    out, name = {}, ""
    for line in diff.lines(a, b):
        if line.isupper() and line == line.strip():
            name = line
        elif line:
            out.setdefault(name, []).append(line)
    return out


def test_only_what_differs_is_listed(tmp_path):
    sweep(tmp_path, {"x": 0.8, "y": 0.5}, seeds=[0])
    a, b = (tmp_path / f"{name}-shapes" / "0.001_0" for name in "xy")
    found = chapters(a, b)
    rows = {line.split()[0]: line.split()[1:] for line in found["SETTINGS"][1:]}
    assert rows["model"] == ["x", "y"] and rows["model.x_width"] == ["8", "–"] and "seed" not in rows
    assert found["DATA"] == ["  the same"] and found["VERSIONS AND MACHINE"] == ["  the same"]
    row = next(line for line in found["SCORES"] if "test/accuracy" in line)
    assert ".940 95% Wilson [.88, .97]" in row and ".540 95% Wilson [.44, .63]" in row
    assert "McNemar" not in row and any("p <" in line or "p =" in line for line in found["SCORES"])


def test_a_run_and_itself_differ_in_nothing(tmp_path):
    run = classifier(tmp_path / "m-d" / "1")
    found = chapters(run, run)
    assert all(found[name] == ["  the same"] for name in ("SETTINGS", "DATA", "VERSIONS AND MACHINE", "CODE"))


def test_versions_data_and_sources(tmp_path):
    a = classifier(tmp_path / "m-d" / "1")
    shutil.copytree(a, b := tmp_path / "m-d" / "2")
    env = json.loads((b / "env.json").read_text())
    put(b, "env.json", {**env, "python": "3.13.0", "packages": {"torch": "2.14"}})
    data = json.loads((b / "data.json").read_text())
    data["splits"]["train"]["digest"] = "ffff"
    put(b, "data.json", data)
    for folder, digest, body in ((a, "aa", "x = 1\ny = 2\n"), (b, "bb", "x = 1\ny = 3\n")):
        put(folder, "code.json", {"$SKETCHLAB_EXTRA/models/net.py": [digest, digest], "sketchlab/rng.py": ["1", "1"]})
        (folder / "source" / "extra" / "models").mkdir(parents=True)
        (folder / "source" / "extra" / "models" / "net.py").write_text(body)
    found = chapters(a, b)
    versions = {line.split()[0]: line.split()[1:] for line in found["VERSIONS AND MACHINE"][1:]}
    assert versions == {"python": ["3.12.1", "3.13.0"], "packages.torch": ["2.11", "2.14"]}
    assert [line.split() for line in found["DATA"][1:]] == [["train.digest", "0f0f", "ffff"]]
    code = "\n".join(found["CODE"])
    assert "-y = 2" in code and "+y = 3" in code and "rng.py" not in code


def test_a_packed_run_and_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    run = classifier(tmp_path / "m-d" / "1")
    packed.pack(run, tmp_path / "one.zip")
    assert chapters(tmp_path / "one.zip", run)["SETTINGS"] == ["  the same"]


def test_what_is_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="expected a run folder"):
        list(diff.lines(tmp_path / "none", tmp_path))
