"""What people saw: how often they took generated pictures for real ones, one at a time and blind (eye_test.jsonl)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sketchlab import stats
from sketchlab.report.read import Run

SIDES = {"generated": "real", "real": "generated"}  # what a picture was → what it is wrongly called


class Share(NamedTuple):
    """Wrong answers, `wrong` of n, with Wilson's 95 % interval."""

    wrong: int
    n: int
    share: float
    low: float
    high: float


def shares(answers: Sequence[dict[str, Any]]) -> dict[str, Share]:
    """generated → how many of the generated pictures were called real; real → how many real ones were called generated.

    Without a kind of which no picture was shown. Each answer counts once, whoever gave it.
    """
    out = {}
    for truth, wrong in SIDES.items():
        verdicts = [answer["said"] for answer in answers if answer["truth"] == truth]
        if verdicts:
            k = verdicts.count(wrong)
            out[truth] = Share(k, len(verdicts), k / len(verdicts), *stats.wilson(k, len(verdicts)))
    return out


def in_words(answers: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A sentence for each kind of picture, the share fooled first."""
    for truth, (wrong, n, share, low, high) in shares(answers).items():
        found = f"{wrong} of {n} = {share:.0%} (95% Wilson interval {low:.0%} to {high:.0%})"
        yield f"{truth.capitalize()} pictures called {SIDES[truth]}: {found}."


def lines(run: Run) -> Iterator[str]:
    """What the report says; nothing while nobody was asked."""
    answers = run.eye_test
    if not answers:
        return
    tests, people = ({answer.get(key) for answer in answers} - {None, ""} for key in ("test", "who"))
    by = f", by {', '.join(sorted(map(str, people)))}" if people else ""
    yield f"Eye test, one picture at a time, blind: {len(answers)} answers in {_many(len(tests), 'test')}{by}."
    yield from in_words(answers)
    yield (
        "Where generated pictures are called real as often as real ones are, people cannot tell them from real ones. "
        "The interval is for other pictures; it knows nothing of other people."
    )


def _many(n: int, name: str) -> str:
    return f"{n} {name}" if n == 1 else f"{n} {name}s"
