"""What an experiment of arms.py is made of: its rows, what is claimed of them, and what others published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sketchlab.report.read import Run

Execute = Callable[[list[str]], Path]  # words of python -m sketchlab.run → the folder of the finished run


@dataclass(frozen=True)
class Arm:
    """One row."""

    name: str
    words: list[str]  # what python -m sketchlab.run gets, besides seed and root
    needs: str = ""  # what not every machine has: without it only --arms brings this row


@dataclass(frozen=True)
class Claim:
    """Is a better than b?"""

    a: str
    b: str
    quote: str = ""  # of the study; "" = it asks, or leaves it open
    expects: str = "better"  # or "no better", where the study claims that
    key: str = ""  # a score or the name of an Extra; "" = the experiment's first score
    ask: str = ""  # the question in plain words; claims with neither this nor a quote stand in the table of tests alone


@dataclass(frozen=True)
class Extra:
    """A number of a run that is no score of its pipeline; the table has its mean over seeds."""

    name: str
    of: Callable[[Run], float]
    better: str = "neither"  # or larger, smaller


@dataclass(frozen=True)
class Published:
    arm: str
    label: str  # what was measured, by whom
    value: float
    n: int | None  # samples; None where it is not said


@dataclass(frozen=True)
class Choices:
    """Of few classes some are trained on and others tested on, by turns: of_seed goes through all choices."""

    classes: int
    test_per_train: float  # classes tested over classes trained on


@dataclass(frozen=True)
class Experiment:
    name: str  # of the files in results/
    doc: str  # the docstring: claim, protocol, deviations, cost
    title: str
    arms: list[Arm]
    claims: list[Claim]
    published: list[Published]
    keys: list[str]  # scores of the table, such as test/accuracy; the first is tested and drawn
    seeds: int  # or splits: what of_seed varies
    of_seed: Callable[[int], list[str]]  # what differs from seed to seed
    common: list[str]  # words of all arms
    smoke: Callable[[Arm, Execute], list[str]]  # the words of a small twin on shapes; may train what it starts from
    data: str  # which images, how many: the first words of the page
    change: str  # what other data, budget or protocol could change the answers
    pipeline: str = "classify"
    extra: tuple[Extra, ...] = ()
    choices: Choices | None = None  # where seeds are choices that share classes: arms_tests.over_choices
