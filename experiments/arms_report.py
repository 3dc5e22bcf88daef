"""Table and figure of an experiment of arms.py, from run folders alone.

Of each arm the mean over seeds with the interval of sketchlab.report; the tests are those of arms_tests.py.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
from arms_tests import Tested, of_claim, test
from arms_types import Experiment, Published

from sketchlab import stats
from sketchlab.errors import UserError
from sketchlab.metrics.declared import of_pipeline
from sketchlab.report import canvas, scores, sentences
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group, distinct, kind
from sketchlab.report.comparison.leaderboard import OF, device, entry, time, trainable
from sketchlab.report.comparison.paired import Test
from sketchlab.report.read import Run, glance
from sketchlab.storage.files import atomic, read_json

ACCURACY = of_pipeline("classify")["accuracy"]


def write(experiment: Experiment, root: Path, folder: Path) -> str:
    """<name>.csv, _pairs.csv, .md and .png into `folder`, from the runs that root/runs.json names; returns the page."""
    groups = collect(experiment, root)
    if not groups:
        raise UserError(f"{root}: no finished run of {experiment.name}; run without --report first")
    rows = [row(experiment, group) for group in groups.values()]
    tested = test(experiment, groups)
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / experiment.name
    for suffix, table in (("", rows), ("_pairs", [pair_row(each) for each in tested])):
        with atomic(Path(f"{stem}{suffix}.csv")) as temporary:
            pd.DataFrame(table).round(5).to_csv(temporary, index=False)
    text = page(experiment, groups, rows, tested)
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


def row(experiment: Experiment, group: Group) -> dict[str, Any]:
    """One arm: each score with its interval, what was published, and what it cost."""
    out: dict[str, Any] = {"arm": group.name, "seeds": len(group.runs)}
    run = next(iter(group.runs.values()))
    for key in experiment.keys:
        row, name = entry(group, pairs.Samples(key)), key.split("/", 1)[1]
        out |= {name: row.mean, f"{name} low": row.low, f"{name} high": row.high, f"{name} sd": row.sd}
        if key == experiment.keys[0]:
            out |= {"interval": OF.get(row.of, ""), "n": row.n, "single": row.single}
            out["chance"] = scores.chance(run, *key.split("/", 1))
    known = [p for p in experiment.published if p.arm == group.name]
    out["published"] = "; ".join(map(reference, known))
    out |= {"trained": trainable(group), "time": time(group), "device": device(group)}
    return out | {"code": ", ".join(sorted({str(r.status.get("code") or "") for r in group.runs.values()}))}


def reference(published: Published) -> str:
    low, high = _wilson(published)
    interval = "" if low is None else f" [{_share(low)}, {_share(high)}], n = {published.n}"
    return f"{_share(published.value)}{interval} ({published.label})"


def _wilson(published: Published) -> tuple[float | None, float | None]:
    if published.n is None:
        return None, None
    return stats.wilson(round(published.value * published.n), published.n)


def _share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else scores.share(value)


def sentence(tested: Tested) -> str:
    t, within = tested.test, f" in {tested.claim.key.partition('/')[2]}" * bool(tested.claim.key)
    names = f"{tested.claim.a} − {tested.claim.b}{within}"
    if t is None or tested.p is None:
        return f"{names}: {'; '.join(tested.notes)}"
    digits = 1 if 100 * max(abs(t.low), abs(t.high)) >= 0.1 else 3  # of a difference that is sure and next to nothing
    points = [f"{round(100 * value, digits) + 0.0:+.{digits}f}" for value in (t.difference, t.low, t.high)]  # no "-0.0"
    gap = f"{points[0]} points, 95% [{points[1]}, {points[2]}]"
    holm = f", corrected for {tested.many}" if tested.many > 1 else ""
    on = "; ".join(filter(None, [runs(t), f"{t.n} samples" if t.n else "", f"{t.groups} objects" if t.groups else ""]))
    notes = f"; {'; '.join(tested.notes)}" if tested.notes else ""
    seen = sentences.render(pairs.seen(ACCURACY, t, tested.many))
    return f"{names}: {gap}, {sentences.p_text(tested.p)}{holm} ({t.method}; {on}; {seen}{notes})"


def runs(test: Test) -> str:
    """How many runs of each arm are behind a test, or how many splits."""
    if test.splits > 1:
        return f"{test.splits} splits"
    each = f"{test.runs[0]} run{'s' * (test.runs[0] > 1)}"
    return f"{each} of each" if test.runs[0] == test.runs[1] else f"{each} against {test.runs[1]}"


def pair_row(tested: Tested) -> dict[str, Any]:
    t, claim = tested.test, tested.claim
    out: dict[str, Any] = {"a": claim.a, "b": claim.b, "key": claim.key, "quote": claim.quote}
    out["verdict"] = of_claim(tested)
    if t is None:
        return out | {"notes": "; ".join(tested.notes)}
    out |= {"difference": t.difference, "low": t.low, "high": t.high, "p": t.p, "p_holm": tested.p}
    return out | {"test": t.method, "runs": runs(t), "n": t.n, "objects": t.groups, "notes": "; ".join(tested.notes)}


def page(experiment: Experiment, groups: dict[str, Group], rows: list[dict], tested: list[Tested]) -> str:
    names = [key.split("/", 1)[1] for key in experiment.keys]
    codes = sorted({code for r in rows for code in r["code"].split(", ")})
    out = [f"# {experiment.title}", ""]
    devices, speak = (sorted({r[key] for r in rows if r[key]}) for key in ("device", "interval"))
    out += [f"Written by `python experiments/{experiment.name}.py`, which tells claim, protocol and deviations; runs "
            f"of code {', '.join(codes)} on {', '.join(devices)}. Means over seeds; the 95% intervals are for "
            f"{' or '.join(speak)}.", ""]  # fmt: skip
    out += [f"| arm | {' | '.join(names)} | seeds | n | published | trained parameters | time |"]
    out += ["|---" * (len(names) + 6) + "|"]
    for r in rows:
        cells = [f"{_share(r[k])} [{_share(r[f'{k} low'])}, {_share(r[f'{k} high'])}]" for k in names]
        cells = [cell.replace(" [–, –]", "") for cell in cells]
        cells += [str(r["seeds"]), str(r["n"]), r["published"] or "–", r["trained"], r["time"]]
        out.append(f"| {r['arm']} | {' | '.join(cells)} |")
    chances = {_share(r["chance"]) for r in rows if r["chance"] is not None}
    out += ["", f"Chance of {names[0]}: {', '.join(sorted(chances))}."] if chances else []
    if tested:
        out += ["", f"## Claims and questions, by {names[0]}", ""]
        for each in tested:
            what = f"“{each.claim.quote}”" if each.claim.quote else f"Is {each.claim.a} better than {each.claim.b}?"
            out.append(f"- {what} **{of_claim(each)}**. {sentence(each)}.")
    seeds = " ".join(f"`{word}`" for word in experiment.of_seed(0))
    out += ["", f"<details><summary>Commands</summary>\n\nEach with {seeds} and so on:\n"]
    out += [f"- {name}: `{command(next(iter(group.runs.values())), experiment)}`" for name, group in groups.items()]
    out += ["", "</details>"]
    missing: dict[str, list[str]] = {}
    for arm in experiment.arms:
        if arm.name not in groups:
            missing.setdefault(arm.needs and f", needs {arm.needs}", []).append(arm.name)
    for needs, left in missing.items():
        out += ["", f"Not run yet{needs}: {'; '.join(left)}."]
    return "\n".join(out) + "\n"


def command(run: Run, experiment: Experiment | None = None) -> str:
    """What trained a run, without folders, and without what differs from seed to seed in the experiment."""
    own = ("run.root=", *(word.partition("=")[0] + "=" for word in (experiment.of_seed(0) if experiment else [])))
    return shlex.join(word for word in shlex.split(str(run.config.get("command") or "")) if not word.startswith(own))


def draw(experiment: Experiment, rows: list[dict], tested: list[Tested]) -> Any:
    """Arms with seeds, intervals and published values; beside them the differences that were tested."""
    drawn = [t for t in tested if t.test is not None]
    name = experiment.keys[0].split("/", 1)[1]
    figure = canvas.new(13.5 if drawn else 8.5, max(2.8, 0.36 * max(len(rows), 1.6 * len(drawn)) + 1.5))
    panels = figure.subplots(1, 2, width_ratios=(1, 0.85)) if drawn else [figure.subplots()]
    _draw_arms(panels[0], experiment, rows, name)
    if drawn:
        _draw_pairs(panels[1], drawn)
    figure.suptitle(experiment.title, fontsize=12)
    return figure


def _draw_arms(axes: Any, experiment: Experiment, rows: list[dict], name: str) -> None:
    blue, orange = canvas.PALETTE[:2]
    for y, r in enumerate(rows):
        axes.plot(r["single"], [y + 0.22] * len(r["single"]), "o", ms=3.5, mfc="none", color="0.5")
        if r[f"{name} low"] is not None:
            axes.hlines(y, r[f"{name} low"], r[f"{name} high"], color=blue, lw=1.6)
        axes.plot(r[name], y, "o", color=blue, ms=6)
        for p in (p for p in experiment.published if p.arm == r["arm"]):
            low, high = _wilson(p)
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
    guess = "dotted: chance" if near else f"chance: {', '.join(map(_share, chances))}" if chances else ""
    canvas.plain(axes, f"{name} by arm (seeds); n = {sizes}", f"{name}      {marks}      {guess}", "")


def _draw_pairs(axes: Any, drawn: list[Tested]) -> None:
    colours = {"better": canvas.PALETTE[2], "worse": canvas.PALETTE[1]}
    for y, each in enumerate(drawn):
        t, colour = each.test, colours.get(each.verdict, "0.45")
        assert t is not None and each.p is not None
        axes.hlines(y, 100 * t.low, 100 * t.high, color=colour, lw=1.6)
        axes.plot(100 * t.difference, y, "o", color=colour)
        within = f", {each.claim.key.partition('/')[2]}" * bool(each.claim.key)
        text = f"{each.claim.a} − {each.claim.b}{within}\n{sentences.p_text(each.p)}: {each.verdict}"
        axes.annotate(text, (0, y), xycoords=("axes fraction", "data"), xytext=(2, 7), textcoords="offset points",
                      fontsize=7.5, va="bottom")  # fmt: skip
    axes.axvline(0, color="0.3", lw=1)
    axes.set_yticks([])
    axes.set_ylim(len(drawn) - 0.5, -0.9)
    canvas.plain(axes, "Differences, a − b, on the same samples", "points, 95% (each alone); p by Holm", "")
