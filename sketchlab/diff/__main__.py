"""python -m sketchlab.diff RUN_A RUN_B: settings, code, data, versions and scores of two runs, side by side."""

from __future__ import annotations

import argparse
import difflib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sketchlab.errors import exit_on_error
from sketchlab.report import scores
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group, kind
from sketchlab.report.read import Run, glance
from sketchlab.report.run.facts import flat
from sketchlab.storage import packed

Rows = list[tuple[str, str, str]]  # what, of A, of B
LINES = 40  # of the difference of one source file
DATA = ("fingerprint", "rule", "notes")


def main(words: list[str] | None = None) -> None:
    """Exit code 0, or 1 with one line on standard error."""
    out = argparse.ArgumentParser("python -m sketchlab.diff", description=__doc__, allow_abbrev=False)
    out.add_argument("a", type=Path, metavar="RUN_A", help="a run folder, or a file of python -m sketchlab.pack")
    out.add_argument("b", type=Path, metavar="RUN_B")
    arguments = out.parse_args(words)
    exit_on_error(lambda: print("\n".join(lines(arguments.a, arguments.b))))


def lines(first: Path, second: Path) -> Iterator[str]:
    """What differs, by chapter. UserError where one of the two is no run."""
    a, b = (glance(packed.unpacked(path) if packed.is_packed(path) else path) for path in (first, second))
    yield from _table("runs", [("folder", str(first), str(second)), ("state", a.state, b.state)])
    yield from _table("settings", _differing(a.settings, b.settings))
    yield from _table("data", _differing(_data(a), _data(b)))
    yield from _table("versions and machine", _differing(_environment(a), _environment(b)))
    yield from _code(a, b)
    yield from _scores(a, b)


def _differing(a: dict[str, str], b: dict[str, str]) -> Rows:
    return [(key, a.get(key, "–"), b.get(key, "–")) for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]


def _table(title: str, rows: Rows, head: tuple[str, str, str] = ("", "A", "B")) -> Iterator[str]:
    yield title.upper()
    if not rows:
        yield "  the same"
    else:
        widths = [max(len(row[column]) for row in (head, *rows)) for column in (0, 1)]
        for row in (head, *rows):
            yield f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}".rstrip()
    yield ""


def _data(run: Run) -> dict[str, str]:
    found = {key: str(run.data[key]) for key in DATA if key in run.data}
    splits = {f"{name}.{key}": str(value) for name in scores.SPLITS for key, value in run.split(name).items()
              if key in ("n", "groups", "digest")}  # fmt: skip
    return {"classes": f"{len(run.classes)}: {', '.join(run.classes[:6])}", **splits, **found}


def _environment(run: Run) -> dict[str, str]:
    aside = ("code", "git")
    return dict(flat({key: value for key, value in run.env.items() if key not in aside}))


def _code(a: Run, b: Run) -> Iterator[str]:
    """Files whose meaning differs; where both runs kept their text, how."""
    rows = [
        (name, _meaning(a, name), _meaning(b, name))
        for name in dict.fromkeys([*a.code, *b.code])
        if _meaning(a, name) != _meaning(b, name)
    ]
    yield from _table("code", rows)
    for name, *_ in rows:
        ours, theirs = (run.source(name) for run in (a, b))
        if ours is not None and theirs is not None:
            shown = list(difflib.unified_diff(ours.splitlines(), theirs.splitlines(), "A", "B", n=1, lineterm=""))
            yield f"  {name}"
            yield from (f"    {line}" for line in shown[:LINES])
            yield from [f"    … {len(shown) - LINES} more lines"] if len(shown) > LINES else []
            yield ""


def _meaning(run: Run, name: str) -> str:
    return str(run.code[name][0]) if name in run.code else "–"


def _scores(a: Run, b: Run) -> Iterator[str]:
    ours, theirs = a.final(), b.final()
    rows: list[tuple[str, str, str]] = []
    for key in dict.fromkeys([*ours, *theirs]):
        rows.append((key, _value(a, key, ours.get(key, math.nan)), _value(b, key, theirs.get(key, math.nan))))
    yield from _table("scores", rows)
    key = scores.primary_key(a)
    if key and kind(a) == kind(b) and key in theirs:
        groups = [Group(name, kind(run), {}, {(): run}, []) for name, run in (("A", a), ("B", b))]
        found = pairs.compare(groups, key)
        yield from (pair.sentence for pair in found)


def _value(run: Run, key: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if "/" not in key:
        return f"{value:.4g}"
    score: Any = scores.score(run, key, value)
    interval = scores.interval_text(score)
    return f"{scores.text(score.declared, value)}{f' {interval}' if interval else ''}"


if __name__ == "__main__":
    main(sys.argv[1:])
