"""The two tables of an experiment of arms.py: a row an arm, a row a claim. Page and figure are made of them alone."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arms_tests import Tested, all_runs, of_claim, over_choices, score_of
from arms_types import Arm, Experiment, Published

from sketchlab import stats
from sketchlab.errors import UserError
from sketchlab.report import scores
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group
from sketchlab.report.comparison.leaderboard import OF, device, entry, time, trainable
from sketchlab.report.read import Run

Row = dict[str, Any]
PAIR = ("a", "b", "key", "quote", "verdict", "difference", "low", "high", "p", "p_holm", "test", "runs", "n", "objects",
        "seen", "notes")  # fmt: skip


def short(key: str) -> str:
    """accuracy of test/accuracy: the name of its columns."""
    return key.partition("/")[2] or key


def row(experiment: Experiment, group: Group) -> Row:
    """One arm: each score with its interval, what was published, what it cost, and its command."""
    out: Row = {"arm": group.name, "seeds": len(group.runs)}
    run = next(iter(group.runs.values()))
    for key in experiment.keys:
        found, name = entry(group, pairs.Samples(key)), short(key)
        low, high, of = found.low, found.high, OF.get(found.of, "")
        if experiment.choices and len(found.single) > 1:
            limits = stats.interval(over_choices(found.single, experiment.choices))
            low, high, of = *map(found.score.clip, limits), "choices of these classes (corrected resampled t)"
        out |= {name: found.mean, f"{name} low": low, f"{name} high": high, f"{name} sd": found.sd}
        if key == experiment.keys[0]:
            out |= {"interval": of, "n": found.n, "single": json.dumps(found.single)}
            guesses = [scores.chance(each, *key.split("/", 1)) for each in group.runs.values()]
            known = [guess for guess in guesses if guess is not None]
            out["chance"] = float(np.mean(known)) if known else None
    for extra in experiment.extra:
        out[extra.name] = float(np.mean([extra.of(each) for each in all_runs(group)]))
    out["published"] = "; ".join(reference(p) for p in experiment.published if p.arm == group.name)
    out |= {"trained": trainable(group), "time": time(group), "device": device(group)}
    out["code"] = ", ".join(sorted({str(r.status.get("code") or "") for r in group.runs.values()}))
    return out | {"command": command(run, experiment)}


def reference(published: Published) -> str:
    low, high = wilson(published)
    interval = "" if low is None else f" [{share(low)}, {share(high)}], n = {published.n}"
    return f"{share(published.value)}{interval} ({published.label})"


def wilson(published: Published) -> tuple[float | None, float | None]:
    if published.n is None:
        return None, None
    return stats.wilson(round(published.value * published.n), published.n)


def share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else scores.share(value)


def pair_row(experiment: Experiment, tested: Tested) -> Row:
    t, claim = tested.test, tested.claim
    out: Row = dict.fromkeys(PAIR) | {"a": claim.a, "b": claim.b, "key": claim.key, "quote": claim.quote}
    out |= {"verdict": of_claim(claim, tested.verdict), "notes": "; ".join(tested.notes)}
    out |= {"difference": tested.difference, "runs": of_each(*tested.sizes)}
    if t is None:
        return out
    out |= {"difference": t.difference, "low": t.low, "high": t.high, "p": t.p, "p_holm": tested.p, "test": t.method}
    seen = pairs.visible(score_of(experiment, claim), t, tested.many)
    runs = f"{t.splits} splits" if t.splits > 1 else of_each(*t.runs)
    return out | {"runs": runs, "n": t.n, "objects": t.groups, "seen": seen}


def of_each(a: int, b: int) -> str:
    """How many runs of each arm are behind a test."""
    each = f"{a} run{'s' * (a > 1)}"
    return f"{each} of each" if a == b else f"{each} against {b}"


def command(run: Run, experiment: Experiment | None = None) -> str:
    """What trained a run, without folders, and without what differs from seed to seed in the experiment."""
    own = ("run.root=", *(word.partition("=")[0] + "=" for word in (experiment.of_seed(0) if experiment else [])))
    return shlex.join(word for word in shlex.split(str(run.config.get("command") or "")) if not word.startswith(own))


def declared_command(experiment: Experiment, arm: Arm) -> str:
    return shlex.join(["python", "-m", "sketchlab.run", *arm.words, *experiment.common])


def load(path: Path) -> list[Row]:
    """Rows of a csv, None where a cell is empty. Raises UserError where there is no such file."""
    if not path.is_file():
        raise UserError(f"{path} is not there: expected the kept table; run without --page to make it")
    table: Any = pd.read_csv(path)
    return [{k: None if v != v else v for k, v in row.items()} for row in table.to_dict("records")]
