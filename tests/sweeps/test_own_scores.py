"""Two pipelines of a user's own whose scores have misleading names: the better run is called better everywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import sketchlab.pipelines
from sketchlab import components, config, run
from sketchlab.errors import UserError
from sketchlab.metrics.declared import FILE
from sketchlab.report import scores
from sketchlab.report.comparison import groups, pairs
from sketchlab.report.read import read
from sketchlab.storage.files import read_json, read_lines
from sketchlab.sweeps import grid
from sketchlab.training import session
from tests.sweeps.test_sweep import SMALL, run_score

TASK = """
from sketchlab.metrics.declared import Score
from sketchlab.pipelines.classify import task
from sketchlab.pipelines.classify.task import Config

TAKES, ANSWERS, TITLE = ("logits",), "classes", "{name}"
SCORES = (Score("{name}", "What the learning rate is", "{better}"), {others})

class Own(task.Classify):
    monitor = "val/{name}"

    def evaluate(self, split):
        return super().evaluate(split) | {{"{name}": self.loop.lr}}

def build(*given):
    return Own(*given)
"""
BETTER = {"confidence_error": "smaller", "roadmap": "larger"}
RATES = ("0.001", "0.01", "0.1")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder that SKETCHLAB_EXTRA would name."""
    root = tmp_path / "extra"
    write(root, "undeclared", "larger", "")
    for name, better in BETTER.items():
        write(root, name, better, "*task.SCORES")
    monkeypatch.setattr(components, "EXTRA", str(root))
    monkeypatch.setattr(sketchlab.pipelines, "__path__", [*sketchlab.pipelines.__path__, str(root / "pipelines")])
    monkeypatch.setattr(grid, "compared", lambda folder, found: "")  # takes seconds
    monkeypatch.setattr(session, "report", lambda folder: run_score(folder.path))
    monkeypatch.chdir(tmp_path)
    for name in ("undeclared", *BETTER):
        for module in [m for m in sys.modules if m.startswith(f"sketchlab.pipelines.{name}")]:
            monkeypatch.delitem(sys.modules, module)
    return tmp_path


def write(root: Path, name: str, better: str, others: str) -> None:
    folder, conf = root / "pipelines" / name, root / "conf" / "pipeline"
    folder.mkdir(parents=True)
    conf.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("")
    (folder / "task.py").write_text(TASK.format(name=name, better=better, others=others))
    classify = (config.conf_dir() / "pipeline" / "classify.yaml").read_text()
    (conf / f"{name}.yaml").write_text(classify.replace("name: classify", f"name: {name}"))


def start(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["sketchlab", "-m", "model=small_cnn", *SMALL, "loop.epochs=1", *words])
    run.main()


@pytest.mark.slow
@pytest.mark.parametrize("name", BETTER)
def test_the_better_run_is_called_better(name, own, monkeypatch, capsys):
    pytest.importorskip("optuna", reason="the optional extra search is not installed")
    search = ["hydra/sweeper=search", "hydra.sweeper.trials=4", "hydra.sweeper.startup=4"]
    start(monkeypatch, f"pipeline={name}", f"loop.lr=choice({','.join(RATES)})", *search)
    out = capsys.readouterr().out
    latest = max((own / "outputs" / "sweeps").iterdir())
    records = [read_json(path) for path in sorted(latest.glob("runs/*.json"))]
    rates = {record["folder"]: float(record["words"][-1].partition("=")[2]) for record in records}
    best = min(rates.values()) if BETTER[name] == "smaller" else max(rates.values())
    assert len(set(rates.values())) > 1, "a choice between runs"
    kept = read_json(latest / "best.json")
    assert kept["score"] == best and f": {best:.4g} with loop.lr={best:g}" in out

    for folder, rate in rates.items():
        rows = read_lines(Path(folder, "metrics.jsonl"))
        found = read(Path(folder))
        found.declared.check(key for row in rows for key in row if "/" in key)
        assert json.loads(Path(folder, FILE).read_text())["pipeline"] == name
        assert scores.primary_key(found) == f"test/{name}" and not scores.primary(found).declared.is_share
        record = next(record for record in records if record["folder"] == folder)
        assert grid.scores(record) == f"val/{name} {rate:.4g}  test/{name} {rate:.4g}"
    made, _, _ = groups.gather(groups.read_all(groups.find([own / "outputs"])[0])[0])
    ranked = [pairs.mean(group, f"test/{name}") for group in pairs.rank(made, f"test/{name}")]
    assert ranked == sorted(set(rates.values()), reverse=BETTER[name] == "larger")


def test_a_direction_that_is_not_the_declared_one_is_refused(own, monkeypatch, capsys):
    pytest.importorskip("optuna", reason="the optional extra search is not installed")
    words = ["hydra/sweeper=search", "hydra.sweeper.trials=1", "hydra.sweeper.direction=maximize", "loop.lr=0.1,0.2"]
    with pytest.raises(SystemExit):
        start(monkeypatch, "pipeline=confidence_error", *words)
    said = (
        "error: hydra.sweeper.direction=maximize: val/confidence_error is declared with better=smaller; expected auto"
    )
    assert said in capsys.readouterr().err


def test_a_score_that_is_not_declared_ends_the_run_at_its_first_evaluation(own):
    words = ["pipeline=undeclared", "model=small_cnn", *SMALL, "loop.epochs=3"]
    with pytest.raises(UserError) as error:
        session.execute(config.from_overrides(words))
    said = str(error.value)
    assert said.startswith("train/loss: pipeline=undeclared gives this score without declaring it") and "\n" not in said
    assert "SCORES in its task.py" in said and said.endswith("Declared: undeclared")
    (folder,) = (path.parent for path in own.glob("outputs/*/*/status.json"))
    assert read_json(folder / "status.json")["state"] == "failed" and not read_lines(folder / "metrics.jsonl")
