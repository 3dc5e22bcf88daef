"""A search proposes the same runs again, learns from what it finds, and gives up runs behind the median."""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sketchlab import config, run
from sketchlab.engine.loop import Interrupted, Watch, median_pruning, watched
from sketchlab.metrics.declared import Score, of_pipeline
from sketchlab.sweeps import grid
from sketchlab.sweeps import search as search_module
from sketchlab.training import session
from tests.sweeps.test_sweep import SMALL, run_score

pytest.importorskip("optuna", reason="the optional extra search is not installed")


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search in this process, without reports."""
    monkeypatch.setattr(grid, "compared", lambda folder, found: "")  # takes seconds
    monkeypatch.setattr(session, "report", lambda folder: run_score(folder.path))
    monkeypatch.chdir(tmp_path)

    def main(*words: str, **keys: object) -> list[dict]:
        options = [f"hydra.sweeper.{key}={value}" for key, value in keys.items()]
        argv = ["sketchlab", "-m", "hydra/sweeper=search", *SMALL, "model=small_cnn", *options, *words]
        monkeypatch.setattr(sys, "argv", argv)
        run.main()
        latest = max((tmp_path / "outputs/sweeps").iterdir())
        return [json.loads(p.read_text()) for p in sorted(latest.glob("runs/*.json"), key=lambda p: int(p.stem))]

    return main


@pytest.fixture
def untrained(monkeypatch):
    """Runs that score by their learning rate, after three epochs, without training."""

    def train(prepared, pruning=None):
        run, folder = prepared.run, prepared.folder
        folder.document("config.yaml", {"schema": 1, "config": run.plain()})
        scores = [epoch / 10 - abs(math.log10(run.loop.lr) + 2) / 10 for epoch in (1, 2, 3)]
        rows = [{"step": e, "epoch": e, "val/accuracy": s} for e, s in enumerate(scores, 1)]
        for n in range(1, 4):
            (folder.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:n]))
            if why := median_pruning(rows[:n], watched("val/accuracy", of_pipeline("classify")), pruning or {}):
                folder.status(state="interrupted", message=why)
                raise Interrupted(why)
        best = {"epoch": 3, "val/accuracy": scores[-1]}
        folder.save("best", {"parts": {}, "epoch": 3})
        folder.status(state="finished", metrics={"val/accuracy": scores[-1]}, best=best)

    monkeypatch.setattr(session, "train", train)


@pytest.mark.usefixtures("untrained")
def test_the_same_search_again_finds_its_runs_and_a_longer_one_goes_on(search, tmp_path, capsys):
    space = ["loop.lr=tag(log, interval(1e-4, 1e-1))", "model.dropout=0,0.2", "model.widths=[4],[8]"]
    first = search(*space, trials=3, startup=2, median_pruning="false")
    assert "best of 3 finished, 0 stopped early" in capsys.readouterr().out
    again = search(*space, trials=4, startup=2, median_pruning="false")
    assert [r["words"] for r in again[:3]] == [r["words"] for r in first] and len(again) == 4
    assert [r["before"] for r in again] == ["found"] * 3 + [""]
    rates = {next(w for w in r["words"] if w.startswith("loop.lr=")) for r in again}
    assert len(rates) == 4 and all(1e-4 <= float(w.partition("=")[2]) <= 1e-1 for w in rates)
    kept = json.loads((max((tmp_path / "outputs/sweeps").iterdir()) / "best.json").read_text())
    assert kept["score"] == max(run_score(Path(r["folder"])) or 0 for r in again)


@pytest.mark.slow
def test_runs_behind_the_median_are_pruned_and_the_same_search_decides_the_same(search, tmp_path):
    words = ["loop.lr=choice(0.003,0.0000001)", "seed=range(0,40)", "loop.epochs=6", "data.per_class=32"]
    keys = {"trials": 12, "startup": 12, "seed": 4}
    first = search(*words, **keys)
    stopped = [r for r in first if r["state"] == "stopped"]
    assert stopped and "given up after epoch" in stopped[0]["message"]
    status = json.loads(Path(stopped[0]["folder"], "status.json").read_text())
    assert status["state"] == "interrupted" and status["message"] == stopped[0]["message"]
    rows = [len(Path(r["folder"], "metrics.jsonl").read_text().splitlines()) for r in stopped]
    assert min(rows) < 6
    again = search(*words, **keys)
    told = [[(r["words"], r["state"], r["message"]) for r in found] for found in (first, again)]
    assert told[0] == told[1]
    assert rows == [len(Path(r["folder"], "metrics.jsonl").read_text().splitlines()) for r in stopped]
    run.execute(config.from_overrides([*stopped[0]["words"]]))  # apart from the search it goes on to its end
    assert json.loads(Path(stopped[0]["folder"], "status.json").read_text())["state"] == "finished"


@pytest.mark.usefixtures("untrained")
def test_pruned_runs_end_early_and_teach_the_search(search, capsys):
    found = search("loop.lr=tag(log,interval(1e-6,1))", trials=9, startup=5)
    states = [r["state"] for r in found]
    assert states[:3] == ["finished"] * 3 and "stopped" in states and len(states) == 9
    assert f"of {states.count('finished')} finished, {states.count('stopped')} stopped early" in capsys.readouterr().out
    rates = [float(r["words"][-1].partition("=")[2]) for r in found]
    assert min(abs(math.log10(rate) + 2) for rate in rates) < 0.6  # the best rate is .01


def test_the_lowest_kid_of_a_search_is_the_best_and_is_not_stopped(search, monkeypatch, tmp_path, capsys):
    """Of generators that score by their learning rate: the best one is proposed last, after three worse ones."""

    def train(prepared, pruning=None):
        run, folder = prepared.run, prepared.folder
        folder.document("config.yaml", {"schema": 1, "config": {**run.plain(), "pipeline": {"name": "gan"}}})
        folder.declare(of_pipeline("gan"))
        kid = 0.3643 + 0.0043 * abs(math.log10(run.loop.lr) + 2)
        rows = [{"step": e, "epoch": e, "val/kid@random": kid + (3 - e) / 100} for e in (1, 2, 3)]
        for n in range(1, 4):
            (folder.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:n]))
            if why := median_pruning(rows[:n], watched("val/kid@random", of_pipeline("gan")), pruning or {}):
                folder.status(state="interrupted", message=why)
                raise Interrupted(why)
        last = rows[-1]["val/kid@random"]
        folder.save("best", {"parts": {}, "epoch": 3})
        folder.status(state="finished", metrics={"val/kid@random": last}, best={"epoch": 3, "val/kid@random": last})

    monkeypatch.setattr(session, "train", train)
    found = search("loop.lr=tag(log,interval(1e-4,1))", trials=9, startup=5)
    finished = [record for record in found if record["state"] == "finished"]
    kids = {record["folder"]: run_score(Path(record["folder"])) for record in finished}
    kept = json.loads((max((tmp_path / "outputs/sweeps").iterdir()) / "best.json").read_text())
    rates = [float(record["words"][-1].partition("=")[2]) for record in found]
    nearest = min(range(len(found)), key=lambda i: abs(math.log10(rates[i]) + 2))
    assert "stopped" in {record["state"] for record in found} and found[nearest]["state"] == "finished"
    assert kept["score"] == min(kids.values()) == kids[kept["folder"]] == kids[found[nearest]["folder"]]
    assert f": {kept['score']:.4g} with" in capsys.readouterr().out


@pytest.mark.usefixtures("untrained")
def test_proposals_that_are_alike_run_once(search):
    found = search("model.dropout=0,0.2", trials=5, at_once=5, startup=5)
    assert len(found) == 2 and {r["state"] for r in found} == {"finished"}


@pytest.mark.parametrize(
    ("rows", "better", "given_up"),
    [
        ([0.2], "larger", True),
        ([0.5], "larger", False),
        ([0.7, 0.2], "larger", False),  # its best counts
        ([0.5, 0.2], "larger", True),
        ([0.2], "smaller", False),
        ([0.9], "smaller", True),
        ([0.1, 0.1, 0.1], "larger", False),  # nothing is known of epoch 3
    ],
)
def test_pruned_is_behind_the_median_of_that_epoch(rows, better, given_up):
    pruning = {"better": better, "metric": None, "runs": 3, "median": {"1": 0.5, "2": 0.6}}
    rows = [{"epoch": i + 1, "val/x": score} for i, score in enumerate(rows)]
    watch = Watch("val/x", Score("x", "x", better), "")
    assert bool(median_pruning(rows, watch, pruning)) == given_up
    for nothing in (([], watch, pruning), (rows, watch, {}), (rows, None, pruning)):
        assert median_pruning(*nothing) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["loop.lr=0.1"], "a search needs something to vary"),
        (["hydra.sweeper.direction=up", "seed=0,1"], "hydra.sweeper.direction=up: expected auto, maximize or minimize"),
        (["hydra.sweeper.stop_hopeless=true", "seed=0,1"], "renamed; write hydra.sweeper.median_pruning"),
        (["hydra.sweeper.trails=5", "seed=0,1"], "did you mean hydra.sweeper.trials?"),
        (["hydra.sweeper.trials=0", "seed=0,1"], "hydra.sweeper.trials=0, at_once=1: expected at least 1"),
        (["hydra.sweeper.metric=test/accuracy", "seed=0,1"], "a search must not see the test set"),
        (["hydra.sweeper.metric=val/acuracy", "hydra.sweeper.trials=1", "seed=0,1"], "has none; there is val/"),
    ],
)
@pytest.mark.usefixtures("untrained")
def test_mistakes(words, said, search, capsys):
    with pytest.raises(SystemExit):
        search(*words)
    assert said in capsys.readouterr().err


def studied(scores: list[float], params: list[dict], pruned: int = 0):
    """A study as a search leaves it: a finished run for each score, then runs that were stopped early."""
    import optuna

    study, of = optuna.create_study(direction="maximize"), optuna.distributions
    free = {"loop.lr": of.FloatDistribution(1e-4, 1, log=True), "model.dropout": of.FloatDistribution(0, 1)}
    for score, values in zip(scores, params, strict=True):
        attributes = {"folder": f"run {sorted(values.items())}", "score": score, "sign": 1, "curve": {}}
        trial = optuna.trial.create_trial(params=values, distributions=free, value=score, user_attrs=attributes)
        study.add_trial(trial)
    for _ in range(pruned):
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED))
    return study


def points(n: int) -> list[dict]:
    random = np.random.default_rng(3)
    return [{"loop.lr": 10 ** random.uniform(-4, 0), "model.dropout": random.uniform()} for _ in range(n)]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_history_names_the_runs_that_were_better_than_all_before(scores):
    study = studied([s / 10 for s in scores], points(len(scores)))
    rises = [i for i, s in enumerate(scores) if all(s > before for before in scores[:i])]
    assert [int(n) for n in re.findall(r"trial (\d+)", search_module.history(study))] == rises


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_ties_have_no_best(scores):
    with tempfile.TemporaryDirectory() as place:
        said = search_module.concluded_with(studied([s / 10 for s in scores], points(len(scores))), Path(place), 0)
        alone = scores.count(max(scores)) == 1
        assert ("\nbest of" in said, "no best of" in said, Path(place, "best.json").exists()) == (
            alone,
            not alone,
            alone,
        )


def test_one_run_proposed_twice_is_no_tie(tmp_path):
    params = points(2)
    said = search_module.concluded_with(studied([0.5, 0.7, 0.7], [*params, params[1]], pruned=2), tmp_path, 0)
    assert "best of 2 finished, 2 stopped early: 0.7" in said


def test_importance_finds_what_mattered_and_is_silent_with_too_few_runs():
    params = points(30)
    scores = [0.8 - 0.1 * (math.log10(p["loop.lr"]) + 2) ** 2 - 0.02 * p["model.dropout"] for p in params]
    done = studied(scores, params).trials
    said = search_module.importance(done, 0)
    shares = dict(re.findall(r"(\S+) (\d\.\d\d)", said))
    assert "on 30 finished runs" in said and float(shares["loop.lr"]) > 0.9 and len(shares) == 2
    assert said == search_module.importance(done, 0)
    assert search_module.importance(done[: search_module.ENOUGH - 1], 0) == ""
    assert search_module.importance(studied([0.5] * 30, params).trials, 0) == ""
