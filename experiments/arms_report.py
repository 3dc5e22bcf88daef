"""Page and figure of an experiment of arms.py, from its two tables alone (arms_table.py): no sentence without its row.

Of each arm the mean over seeds with the interval of sketchlab.report; the tests are those of arms_tests.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import arms_kept
import pandas as pd
from arms_table import PAIR, Row, load, pair_row, row, share, short, wilson
from arms_tests import CHOICES, NOT_KEPT, SPREAD, score_of, test
from arms_types import Claim, Experiment

from sketchlab.errors import UserError
from sketchlab.metrics.declared import Score, of_pipeline
from sketchlab.report import canvas, sentences
from sketchlab.report.comparison.groups import Group, distinct, kind
from sketchlab.report.read import glance
from sketchlab.storage.files import atomic, read_json


def write(experiment: Experiment, root: Path, folder: Path) -> str:
    """<name>.csv, _pairs.csv, .md and .png into `folder`, from the runs that root/runs.json names; returns the page.

    Rows that stand in `folder` already, of arms without runs below root, stay: arms_kept.py.
    """
    groups = collect(experiment, root)
    if not groups:
        raise UserError(f"{root}: no finished run of {experiment.name}; run without --report first")
    rows = [row(experiment, group) for group in groups.values()]
    tested = [pair_row(experiment, each) for each in test(experiment, groups)]
    if (folder / f"{experiment.name}.csv").is_file():
        rows, tested = arms_kept.joined(experiment, rows, tested, folder)
    save(experiment, rows, tested, folder)
    return pages(experiment, folder)


def save(experiment: Experiment, rows: list[Row], tested: list[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, table in (("", pd.DataFrame(rows)), ("_pairs", pd.DataFrame(tested, columns=list(PAIR)))):
        with atomic(folder / f"{experiment.name}{suffix}.csv") as temporary:
            table.round(5).to_csv(temporary, index=False)


def pages(experiment: Experiment, folder: Path) -> str:
    """.md and .png again, from the tables in `folder`. Returns the page and where it lies."""
    stem = folder / experiment.name
    rows, tested = (load(Path(f"{stem}{suffix}.csv")) for suffix in ("", "_pairs"))
    text = page(experiment, rows, tested)
    with atomic(Path(f"{stem}.md")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with atomic(Path(f"{stem}.png")) as temporary:
        draw(experiment, rows, tested).savefig(temporary, format="png", metadata={"Software": None})
    return f"{text}\n{stem}.md"


def collect(experiment: Experiment, root: Path) -> dict[str, Group]:
    """Arms with finished runs, in the order of the experiment."""
    index, out, notes = read_json(root / "runs.json"), {}, []
    for arm in experiment.arms:
        found = {seed: glance(root / folder) for seed, folder in sorted(index.get(arm.name, {}).items())}
        found = {(seed,): run for seed, run in found.items() if run.state == "finished"}
        if found:
            group = Group(arm.name, kind(next(iter(found.values()))), {}, found, [])
            out[arm.name] = distinct(group, notes)
    for note in notes:
        print(note)
    return out


def claim_of(experiment: Experiment, tested: Row) -> Claim:
    """The claim that a row of the table of tests is about."""
    for claim in experiment.claims:
        if [claim.a, claim.b, claim.key] == [tested["a"], tested["b"], tested["key"] or ""]:
            return claim
    raise UserError(f"{experiment.name}_pairs.csv: no claim of {tested['a']} and {tested['b']}; it was changed by hand")


def gap_text(score: Score, tested: Row) -> str:
    """+2.2 points [+1.3, +2.9], p = .009."""
    values = [tested[key] for key in ("difference", "low", "high")]
    if values[0] is None:
        return ""
    if score.is_share:
        # three digits for a difference that is sure and next to nothing
        digits = 3 if values[1] is not None and 0 < 100 * max(map(abs, values[1:])) < 0.1 else 1
        words = ["–" if v is None else f"{round(100 * v, digits) + 0.0:+.{digits}f}" for v in values]  # no "-0.0"
        unit = " points"
    else:
        words, unit = ["–" if v is None else f"{v:+.3f}" for v in values], ""
    interval = "" if values[1] is None else f" [{words[1]}, {words[2]}]"
    p = "" if tested["p_holm"] is None else f", {sentences.p_text(tested['p_holm'])}"
    alone = f" ({sentences.p_text(tested['p'])} alone)" if "not once corrected" in tested["verdict"] else ""
    return f"{words[0]}{unit}{interval}{p}{alone}"


def seen_text(score: Score, tested: Row) -> str:
    return "" if tested["seen"] is None else sentences.amount(score, tested["seen"])


def answer(experiment: Experiment, tested: Row) -> str:
    """One line: question, verdict, number, and what would change it."""
    claim = claim_of(experiment, tested)
    score = score_of(experiment, claim)
    what = claim.ask or f"“{claim.quote}”"
    found = gap_text(score, tested)
    return f"- {what} **{tested['verdict']}**{': ' * bool(found)}{found}. {change(score, tested)}"


def change(score: Score, tested: Row) -> str:
    """What would change a verdict, by what it rests on."""
    verdict, seen = tested["verdict"], seen_text(score, tested)
    if NOT_KEPT in verdict:
        return "The same runs again would tell: what the test needs was not kept."
    if tested["test"] == CHOICES:
        return "More classes would tell more; more seeds of these would not."
    if tested["test"] == SPREAD:
        return "Two more seeds of the one run would tell more."
    if "network" in verdict:
        return "One run of each says nothing of the settings: more seeds or splits would."
    if "few" in verdict:
        return "More seeds would tell."
    if "no evidence" in verdict:
        return (
            f"A difference of {seen} would have been seen; a smaller one needs more runs or samples."
            if seen
            else ("More runs or samples would tell more.")
        )
    return "More seeds and samples of the same kind would hardly change it."


def tests_table(experiment: Experiment, rows: list[Row], tested: list[Row]) -> list[str]:
    sizes = {r["arm"]: r["n"] for r in rows}
    out = ["| a | b | score | a − b [95%], p by Holm | verdict | test | runs | n | would have seen |", "|---" * 9 + "|"]
    for each in tested:
        score, key = score_of(experiment, claim_of(experiment, each)), each["key"] or experiment.keys[0]
        n = str(sizes[each["a"]]) if each["n"] is None else f"{each['n']:.0f}"
        n += f" of {each['objects']:.0f} objects" if each["objects"] is not None else ""
        test = "; ".join(filter(None, [each["test"], each["notes"]])) or "–"
        cells = [each["a"], each["b"], short(key), gap_text(score, each) or "–", each["verdict"], test]
        out.append(f"| {' | '.join([*cells, each['runs'] or '–', n, seen_text(score, each) or '–'])} |")
    return out


def cell(score: Score, values: Row, name: str) -> str:
    def text(value: float | None) -> str:
        return share(value) if score.is_share or value is None else f"{value:.3g}"

    if values.get(name) is None:
        return "–"
    low, high = values.get(f"{name} low"), values.get(f"{name} high")
    return text(values[name]) + ("" if low is None else f" [{text(low)}, {text(high)}]")


def arms_table(experiment: Experiment, rows: list[Row]) -> list[str]:
    table, names = of_pipeline(experiment.pipeline), [extra.name for extra in experiment.extra]
    heads = ["arm", *map(short, experiment.keys), *names, "seeds", "n", "published", "trained parameters", "time"]
    out = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for r in rows:
        cells = [cell(table[key], r, short(key)) for key in experiment.keys]
        cells += [cell(Score(name, name, "neither"), r, name) for name in names]
        single = json.loads(r["single"])
        spread = [cell(table[experiment.keys[0]], {"v": v}, "v") for v in (min(single), max(single))]
        seeds = f"{r['seeds']}: {' – '.join(spread)}" if len(single) == r["seeds"] > 1 else str(r["seeds"])
        cells += [seeds, str(r["n"]), r["published"] or "–", r["trained"] or "–", r["time"]]
        out.append(f"| {r['arm']} | {' | '.join(cells)} |")
    return out


def page(experiment: Experiment, rows: list[Row], tested: list[Row]) -> str:
    codes = sorted({code for r in rows for code in str(r["code"] or "").split(", ") if code})
    about = sorted({r["interval"] for r in rows if r["interval"]})
    devices = sorted({device for r in rows for device in str(r["device"] or "").split(", ") if device})
    many = sum(each["p"] is not None for each in tested)
    out = [f"# {experiment.title}", "", experiment.data, ""]
    asked = [each for each in tested if claim_of(experiment, each).ask or each["quote"]]
    if asked:
        out += ["## Short answers", "", *(answer(experiment, each) for each in asked), ""]
    out += [f"What else could change them: {experiment.change}", "", "## Arms", "", *arms_table(experiment, rows)]
    chances = {share(r["chance"]) for r in rows if r["chance"] is not None}
    guess = f" Chance of {short(experiment.keys[0])}: {', '.join(sorted(chances))}." if chances else ""
    of = f"; 95% intervals for {' or '.join(about)}" if about else ""
    out += ["", f"Means over seeds{of}.{guess} Code {', '.join(codes) or 'not kept'} on {', '.join(devices)}."]
    if tested:
        corrected = f", p corrected for {many} tests (Holm)" if many > 1 else ""
        out += ["", "## Tests", "", f"a − b with its 95% interval alone{corrected}.", ""]
        out += tests_table(experiment, rows, tested)
    seeds = " ".join(f"`{word}`" for word in experiment.of_seed(0))
    out += ["", f"<details><summary>Commands</summary>\n\nAll: `python experiments/{experiment.name}.py`, whose first "
            f"lines have claim, protocol and deviations. One by one, each with {seeds} and so on:\n"]  # fmt: skip
    out += [f"- {r['arm']}: `{r['command']}`" for r in rows]
    out += ["", "</details>"]
    there, missing = {r["arm"] for r in rows}, {}
    for arm in experiment.arms:
        if arm.name not in there:
            missing.setdefault(arm.needs and f", needs {arm.needs}", []).append(arm.name)
    for needs, left in missing.items():
        out += ["", f"Not run yet{needs}: {'; '.join(left)}."]
    return "\n".join(out) + "\n"


def draw(experiment: Experiment, rows: list[Row], tested: list[Row]) -> Any:
    """Arms with seeds, intervals and published values; beside them the differences that were tested."""
    first = of_pipeline(experiment.pipeline)[experiment.keys[0]]
    drawn = [t for t in tested if t["low"] is not None and score_of(experiment, claim_of(experiment, t)) == first]
    name = short(experiment.keys[0])
    figure = canvas.new(13.5 if drawn else 8.5, max(2.8, 0.36 * max(len(rows), 1.6 * len(drawn)) + 1.5))
    panels = figure.subplots(1, 2, width_ratios=(1, 0.85)) if drawn else [figure.subplots()]
    _draw_arms(panels[0], experiment, rows, name)
    if drawn:
        _draw_pairs(panels[1], drawn, 100 if first.is_share else 1)
    figure.suptitle(experiment.title, fontsize=12)
    return figure


def _draw_arms(axes: Any, experiment: Experiment, rows: list[Row], name: str) -> None:
    blue, orange = canvas.PALETTE[:2]
    for y, r in enumerate(rows):
        single = json.loads(r["single"])
        axes.plot(single, [y + 0.22] * len(single), "o", ms=3.5, mfc="none", color="0.5")
        if r[f"{name} low"] is not None:
            axes.hlines(y, r[f"{name} low"], r[f"{name} high"], color=blue, lw=1.6)
        axes.plot(r[name], y, "o", color=blue, ms=6)
        for p in (p for p in experiment.published if p.arm == r["arm"]):
            low, high = wilson(p)
            if low is not None:
                axes.hlines(y - 0.24, low, high, color=orange, lw=1.2)
            axes.plot(p.value, y - 0.24, "D", color=orange, ms=5, mfc="white")
    chances = sorted({r["chance"] for r in rows if r["chance"] is not None})
    low, high = axes.get_xlim()
    near = [chance for chance in chances if chance > low - (high - low)]  # a line far away would squeeze all the rest
    for chance in near:
        axes.axvline(chance, color="0.3", lw=1, ls=":")
    sizes = ", ".join(dict.fromkeys(str(r["n"]) for r in rows))
    axes.set_yticks(range(len(rows)), [f"{r['arm']} ({r['seeds']})" for r in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    marks = "● mean, 95%   ○ seeds" + (
        "   ◇ published, by its own protocol" if any(r["published"] for r in rows) else ""
    )
    guess = "dotted: chance" if near else f"chance: {', '.join(map(share, chances))}" if chances else ""
    canvas.plain(axes, f"{name} by arm (seeds); n = {sizes}", f"{name}      {marks}      {guess}", "")


def _draw_pairs(axes: Any, drawn: list[Row], factor: float) -> None:
    colours = {"better": canvas.PALETTE[2], "worse": canvas.PALETTE[1]}
    for y, each in enumerate(drawn):
        colour = next((colour for word, colour in colours.items() if each["verdict"].startswith(word)), "0.45")
        axes.hlines(y, factor * each["low"], factor * each["high"], color=colour, lw=1.6)
        axes.plot(factor * each["difference"], y, "o", color=colour)
        p = "" if each["p_holm"] is None else f"{sentences.p_text(each['p_holm'])}: "
        text = f"{each['a']} − {each['b']}\n{p}{each['verdict']}"
        axes.annotate(text, (0, y), xycoords=("axes fraction", "data"), xytext=(2, 7), textcoords="offset points",
                      fontsize=7.5, va="bottom")  # fmt: skip
    axes.axvline(0, color="0.3", lw=1)
    axes.set_yticks([])
    axes.set_ylim(len(drawn) - 0.5, -0.9)
    unit = "points, " if factor == 100 else ""
    canvas.plain(axes, "Differences, a − b", f"{unit}95% (each alone); p by Holm", "")
