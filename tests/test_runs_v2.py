"""Run folders of schema 2, made before the package was laid out in rooms: each opens, reports and is found again.

tests/fixtures/runs_v2 holds a finished run of every pipeline, and an interrupted one (without pictures and locks).
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import sketchlab
import sketchlab.report
from sketchlab import config, run, semantics
from sketchlab.training.prepare import prepare

FIXTURES = Path(__file__).parent / "fixtures" / "runs_v2"
FOLDERS = sorted(path.parent for path in FIXTURES.glob("*/*/config.yaml"))
STATES = {folder: json.loads((folder / "status.json").read_text())["state"] for folder in FOLDERS}
FINISHED = [folder for folder in FOLDERS if STATES[folder] == "finished"]
(INTERRUPTED,) = [folder for folder in FOLDERS if STATES[folder] == "interrupted"]


def copied(folder: Path, root: Path) -> Path:
    shutil.copytree(folder, root / folder.parent.name / folder.name)
    return root / folder.parent.name / folder.name


def overrides(folder: Path, root: Path) -> list[str]:
    """The words of the run's own command, with another place for its folder."""
    words = shlex.split(yaml.safe_load((folder / "config.yaml").read_text())["command"])
    assert words[:3] == ["python", "-m", "sketchlab.run"] and words[-1] == "run.root=runs"
    return [*words[3:-1], f"run.root={root}"]


def named(folder: Path) -> str:
    return folder.parent.name


def test_there_is_one_of_every_pipeline():
    names = {yaml.safe_load((folder / "config.yaml").read_text())["config"]["pipeline"]["name"] for folder in FINISHED}
    assert names == {"classify", "retrieve", "gan", "translate", "baseline"}


@pytest.mark.parametrize("folder", FINISHED, ids=named)
def test_opens(folder):
    opened = sketchlab.open_run(folder)
    assert opened.classes == ["circle", "square"] and opened.status["state"] == "finished"
    assert opened.model.config.input.size_px == opened.config["model"]["input"]["size_px"]
    last = opened.metrics.iloc[-1]
    final = {key: value for key, value in opened.status["metrics"].items() if key.startswith("test/")}
    assert final and all(last[key] == value for key, value in final.items())
    if opened.config["pipeline"]["name"] in ("classify", "baseline"):
        answers = opened.predict(np.zeros((1, 16, 16), dtype=np.uint8))
        assert len(answers) == 1 and answers["prediction"][0] in opened.classes


@pytest.mark.slow
def test_what_gives_other_results_today_is_trained_anew_and_the_old_scores_stay(tmp_path):
    (folder,) = [folder for folder in FINISHED if named(folder) == "small_siamese-shapes"]
    copy = copied(folder, tmp_path)
    run.execute(config.from_overrides(overrides(folder, tmp_path)))
    (other,) = [path.parent for path in tmp_path.glob("*/*/config.yaml") if path.parent != copy]
    assert yaml.safe_load((other / "config.yaml").read_text())["identity"]["semantics"]["metrics"] == 2
    assert (copy / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()
    assert "Today&#x27;s number is 2" in sketchlab.report.write(copy).read_text()


@pytest.mark.parametrize(
    "folder",
    [pytest.param(f, marks=[pytest.mark.slow] * (named(f) != "small_siamese-shapes"), id=named(f)) for f in FINISHED],
)
def test_is_found_by_its_command_and_reports(folder, tmp_path, capsys, monkeypatch):
    """As long as the same configuration gives the same; where it gives other results since, there is another id."""
    monkeypatch.setattr(semantics, "CHANGES", ())
    copy = copied(folder, tmp_path)
    run.execute(config.from_overrides(overrides(folder, tmp_path)))
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("found: this run is finished") for line in said)
    assert said[-2].startswith("next: python -m sketchlab.") and said[-1] == f"report: {copy / 'report.html'}"
    assert [path.parent for path in tmp_path.glob("*/*/config.yaml")] == [copy], "the same id, so the same folder"
    assert folder.name in (copy / "report.html").read_text()
    assert (copy / "metrics.jsonl").read_text() == (folder / "metrics.jsonl").read_text()


@pytest.mark.parametrize("folder", FINISHED, ids=named)
def test_a_change_of_results_is_another_run_and_the_kept_one_stays(folder, tmp_path, monkeypatch):
    """All of these see built-in shapes, which are drawn anew; the other changes concern no baseline."""
    copied(folder, tmp_path)
    made = config.from_overrides(overrides(folder, tmp_path))
    assert semantics.numbers(made.plain()) and prepare(made).folder.path.name != folder.name
    others = tuple(change for change in semantics.CHANGES if change.part != "store")
    monkeypatch.setattr(semantics, "CHANGES", others)
    assert (prepare(made).folder.path.name == folder.name) == (made.pipeline.name == "baseline")


def test_the_interrupted_one_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(semantics, "CHANGES", ())
    copy = copied(INTERRUPTED, tmp_path)
    run.execute(config.from_overrides(overrides(INTERRUPTED, tmp_path)), reported=False)
    assert "resumed at step 5 of 18" in capsys.readouterr().out
    status = json.loads((copy / "status.json").read_text())
    assert status["state"] == "finished" and 0 <= status["metrics"]["test/accuracy"] <= 1
    assert [path.parent for path in tmp_path.glob("*/*/config.yaml")] == [copy]
