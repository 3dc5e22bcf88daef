"""A search (-m hydra/sweeper=search): Optuna proposes settings, runs give their score, median pruning ends some early.

Nothing is kept but run folders: what is proposed follows from `seed` and the scores so far, so the same search again
proposes the same runs, finds those that are finished and goes on where it was cut. Own code beside Hydra's Optuna
sweeper, which asks for Optuna 2, stops no run early and starts a search anew.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from sketchlab.errors import UserError
from sketchlab.storage.files import read_dict, read_lines, write_json
from sketchlab.sweeps.grid import PRUNING, announced, concluded, pinned, records

AUTO = "auto"  # the direction is what the pipeline declares of the score
BETTER = {"maximize": "larger", "minimize": "smaller"}
AT_LEAST = 3  # finished runs before a run may be pruned
ENOUGH = (
    20  # finished runs from which on importances are given: with 12, three values come in a wrong order 1 in 4 times
)
TIED = 5  # runs with the same highest score that are listed
BEST = "best.json"


class Search(Sweeper):
    """Proposes, launches, learns. Its words are Hydra's: a,b  range(1,9)  interval(0,1)  tag(log,interval(1e-4,1))."""

    def __init__(
        self,
        trials: int,
        at_once: int,
        seed: int,
        direction: str,
        metric: str | None,
        startup: int,
        median_pruning: bool,
    ) -> None:
        self.trials, self.at_once, self.seed, self.startup = trials, at_once, seed, startup
        self.direction, self.metric, self.median_pruning = direction, metric, median_pruning

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def check(self) -> None:
        """Raises UserError for keys that make no sense."""
        if self.direction not in (AUTO, *BETTER):
            raise UserError(f"hydra.sweeper.direction={self.direction}: expected {AUTO}, maximize or minimize")
        if min(self.trials, self.at_once) < 1:
            raise UserError(f"hydra.sweeper.trials={self.trials}, at_once={self.at_once}: expected at least 1")
        if self.metric and self.metric.startswith("test/"):
            raise UserError(f"hydra.sweeper.metric={self.metric}: a search must not see the test set; choose val/…")

    def sweep(self, arguments: list[str]) -> None:
        self.check()
        assert self.hydra_context
        optuna = _optuna()
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        fixed, free = space(parser.parse_overrides(arguments))
        sampler = optuna.samplers.TPESampler(
            seed=self.seed, n_startup_trials=self.startup, constant_liar=self.at_once > 1
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)  # of sign · score: _sign says which
        folder = pinned(self.config)
        jobs: list[Sequence[str]] = []
        try:
            with concluded(folder, jobs), announced(folder, self.launcher):
                while len(study.trials) < self.trials:
                    self._batch(study, fixed, free, folder, jobs)
        finally:  # some runs may have failed
            print(concluded_with(study, folder, self.seed), flush=True)

    def _batch(self, study: Any, fixed: list[str], free: dict[str, Any], folder: Path, jobs: list[Any]) -> None:
        """Propose, run, learn from at most `at_once` runs. Proposals that are alike are run once."""
        assert self.launcher
        trials = [study.ask(free) for _ in range(min(self.at_once, self.trials - len(study.trials)))]
        words = [(*fixed, *(f"{key}={as_text(value)}" for key, value in trial.params.items())) for trial in trials]
        batch, first = list(dict.fromkeys(words)), len(jobs)
        self.validate_batch_is_legal(batch)
        jobs.extend(batch)
        if self.median_pruning:
            write_json(folder / PRUNING, self._pruning(study))
        self.launcher.launch(batch, initial_job_idx=first)
        found = dict(zip(batch, records(folder, jobs)[first:], strict=True))
        for trial, key in zip(trials, words, strict=True):
            self._tell(study, trial, found[key])

    def _tell(self, study: Any, trial: Any, record: dict[str, Any]) -> None:
        states = _optuna().trial.TrialState
        if record["state"] == "stopped":
            for epoch, score in curve(Path(record["folder"]), self._monitored(record)).items():
                trial.report(self._sign(record) * score, epoch)
            study.tell(trial, state=states.PRUNED)
        elif record["state"] == "finished":
            trial.set_user_attr("curve", curve(Path(record["folder"]), self._monitored(record)))
            trial.set_user_attr("folder", record["folder"])
            trial.set_user_attr("score", self._score(record))
            trial.set_user_attr("sign", self._sign(record))
            study.tell(trial, self._sign(record) * self._score(record))
        else:
            study.tell(trial, state=states.FAIL)

    def _monitored(self, record: dict[str, Any]) -> str:
        """The key whose curve is looked at: `metric`, or what the best weights are chosen by."""
        if self.metric:
            return self.metric
        return next((k for k in read_dict(Path(record["folder"], "status.json")).get("best", {}) if k != "epoch"), "")

    def _sign(self, record: dict[str, Any]) -> int:
        """1 where a larger score is better, -1 where a smaller one is: as the run's scores.json declares."""
        from sketchlab.report.read import glance

        key = self._monitored(record)
        score = glance(Path(record["folder"])).declared[key]
        wanted = BETTER.get(self.direction, score.better)
        if wanted == "neither" or (score.sign and wanted != score.better):
            expected = "auto" if score.sign else "maximize or minimize, or another hydra.sweeper.metric"
            raise UserError(
                f"hydra.sweeper.direction={self.direction}: {key} is declared with better={score.better}; "
                f"expected {expected}"
            )
        return 1 if wanted == "larger" else -1

    def _score(self, record: dict[str, Any]) -> float:
        status = read_dict(Path(record["folder"], "status.json"))
        scores = status["metrics"] if self.metric else {k: v for k, v in status["best"].items() if k != "epoch"}
        key = self.metric or next(iter(scores), "")
        if key not in scores:
            exist = ", ".join(k for k in status["metrics"] if not k.startswith("test/"))
            raise UserError(f"hydra.sweeper.metric={self.metric}: {record['folder']} has none; there is {exist}")
        return float(scores[key])

    def _pruning(self, study: Any) -> dict[str, Any]:
        """Epoch → the median, over finished runs, of the best score until then: the rule of Optuna's MedianPruner.

        It is fixed when a run begins, so that it reaches runs on other machines and the same search decides the same.
        """
        done = [t.user_attrs for t in study.trials if t.user_attrs.get("curve")]
        curves = [one["curve"] for one in done]
        if len(curves) < AT_LEAST:
            return {}
        epochs = set.intersection(*(set(c) for c in curves))
        return {
            "better": "larger" if done[0]["sign"] > 0 else "smaller",
            "metric": self.metric,
            "runs": len(curves),
            "median": {str(e): statistics.median(c[e] for c in curves) for e in sorted(epochs)},
        }


def space(overrides: Sequence[Any]) -> tuple[list[str], dict[str, Any]]:
    """What stays as it is, and what is searched: key → Optuna's distribution."""
    of = _optuna().distributions
    fixed: list[str] = []
    free: dict[str, Any] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            fixed.append(f"{key}={override.get_value_element_as_str()}")
            continue
        value = override.value()
        if override.is_interval_sweep():
            kind = of.IntDistribution if "int" in value.tags else of.FloatDistribution
            low, high = (int(v) if "int" in value.tags else float(v) for v in (value.start, value.end))
            free[key] = kind(low, high, log="log" in value.tags)
        elif override.is_range_sweep() and all(isinstance(v, int) for v in (value.start, value.stop, value.step)):
            values = list(range(value.start, value.stop, value.step))
            free[key] = of.IntDistribution(min(values), max(values), step=abs(value.step))
        else:
            free[key] = of.CategoricalDistribution(list(override.sweep_string_iterator()))
    if not free:
        raise UserError(
            "a search needs something to vary, e.g. loop.lr='tag(log,interval(1e-4,1e-1))' model.dropout=0,0.2"
        )
    return fixed, free


def as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def curve(folder: Path, key: str) -> dict[int, float]:
    """Epoch → score, of the evaluations that gave it."""
    rows = read_lines(folder / "metrics.jsonl")
    return {row["epoch"]: row[key] for row in rows if key in row and math.isfinite(row[key])}


def concluded_with(study: Any, folder: Path, seed: int) -> str:
    """What a search ends with: how the best score rose, how much each value mattered, and the best run if there is
    one. Each run counts once, however often it was proposed."""
    done = list({t.user_attrs["folder"]: t for t in reversed(study.trials) if t.value is not None}.values())[::-1]
    (folder / BEST).unlink(missing_ok=True)  # of an earlier search into the same folder
    if not done:
        return "no run finished"
    lines = [history(study), importance(done, seed), best(study, done, folder)]
    return "\n".join(filter(None, lines))


def history(study: Any) -> str:
    """The trials that were better than all before them, counted from 0."""
    rises, top = [], -math.inf
    for trial in study.trials:
        if trial.value is not None and trial.value > top:
            top = trial.value
            rises.append(f"{trial.user_attrs['score']:.4g} (trial {trial.number})")
    return f"history, best so far of {len(study.trials)} trials: {', '.join(rises)}"


def importance(done: Sequence[Any], seed: int) -> str:
    """Shares of the variance of the score that each value explains, by fANOVA (Hutter, Hoos and Leyton-Brown 2014);
    "" for one value alone, scores that are all alike, and fewer than ENOUGH runs."""
    optuna = _optuna()
    varied = [key for key in done[0].params if len({t.params.get(key) for t in done}) > 1]
    if len(done) < ENOUGH or len(varied) < 2 or len({t.value for t in done}) < 2:
        return ""
    once = optuna.create_study(direction="maximize")
    once.add_trials(done)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(once, evaluator=evaluator, params=varied)
    shares = ", ".join(f"{key} {share:.2f}" for key, share in found.items())
    return f"importance (fANOVA on {len(done)} finished runs): {shares}"


def best(study: Any, done: Sequence[Any], folder: Path) -> str:
    """The run with the highest score, also as best.json; where several have it, none is called the best."""
    stopped = sum(t.state.name == "PRUNED" for t in study.trials)
    many = f"of {len(done)} finished, {stopped} stopped early"
    top = max(t.value for t in done)
    first = [t for t in done if t.value == top]
    words = [" ".join(f"{key}={as_text(value)}" for key, value in t.params.items()) for t in first]
    score = f"{first[0].user_attrs['score']:.4g}"
    if len(first) > 1:
        more = [f"  and {len(words) - TIED} more"] * (len(words) > TIED)
        alike = [f"  {each}" for each in words[:TIED]]
        return "\n".join([f"no best {many}: {len(first)} runs have {score}, with", *alike, *more])
    kept = {key: value for key, value in first[0].user_attrs.items() if key != "sign"}
    write_json(folder / BEST, {**kept, **first[0].params})
    return f"best {many}: {score} with {words[0]}\n(on validation, chosen from many: see the test score)"


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("hydra/sweeper=search needs Optuna: pip install 'sketchlab[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
