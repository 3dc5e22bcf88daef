"""Many run folders → groups of runs that differ in nothing but chance, and the settings that tell the groups apart."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sketchlab import semantics
from sketchlab.errors import UserError, listed
from sketchlab.metrics import declared
from sketchlab.report.read import Run, glance
from sketchlab.report.sentences import Sentence, render

CHANCE = ("seed", "data.splits.seed", "data.splits.fold")  # what runs of one group may differ in
# what decides no result: where files lie, how often is saved, who loads
ASIDE = ("rerun", "run.root", "run.keep_last", "run.track", "data.root", "data.source", "loop.save_every_s")
ASIDE += ("runtime.workers", "run.name")
PARTS = 3  # of a group's name, at least; what does not tell it apart is counted after them
STROKES = "Stroke models"  # classifiers whose networks take strokes are compared among themselves


@dataclass(frozen=True)
class Group:
    """Runs of one setting, by what they may differ in."""

    name: str
    kind: str  # the title that its pipeline declares, or STROKES
    values: dict[str, str]  # of the keys that name the groups
    runs: dict[tuple[str, ...], Run]  # finished ones, by seed, split seed, fold and what else --by leaves open
    unfinished: list[Run]
    aside: list[Run] = field(default_factory=list)  # finished, not counted: copies, older ones, other seeds if `fixed`
    fixed: bool = False  # runs of other seeds gave the same answers: its one run stands for all

    @property
    def gives(self) -> str:
        """What its runs are asked for: classes, matches, images …, as their pipeline declares."""
        return next((run.declared.answers for run in (*self.runs.values(), *self.unfinished)), "")

    @property
    def fitted(self) -> bool:
        return bool(self.runs) and all(run.fitted for run in self.runs.values())

    def declared(self, key: str) -> declared.Score:
        """What a score of these runs is; where none declares it, neither better nor worse."""
        tables = [run.declared for run in (*self.runs.values(), *self.unfinished)]
        return next((table for table in tables if table.get(key)), tables[0])[key]


def find(folders: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Run folders at or below each folder, and what was half a run. Raises UserError for a folder without any."""
    found: dict[Path, None] = {}
    notes: list[str] = []
    for folder in folders:
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder} is {'no folder' if folder.exists() else 'not there'}: expected a folder of runs")
        before, halves = len(found), len(notes)
        known = _of_sweep(folder.resolve(), found) or _below(folder.resolve(), found, notes)
        if len(found) == before and not known:
            half = f"; {notes[-1]}" if len(notes) > halves else ""
            raise UserError(
                f"{folder} holds no run: expected config.yaml and status.json in it or in a folder below it, such as "
                f"outputs/<model>-<data>/<id>{half}"
            )
    return list(found), notes


def root(folders: Sequence[Path]) -> Path:
    """Where a page about these folders goes: the one folder that was named, or the root above the first run."""
    paths, _ = find(folders)
    if len(folders) == 1 and folders[0].resolve() != paths[0]:
        return folders[0]
    choices = glance(paths[0]).choices
    named = f"{choices.get('model')}-{choices.get('data')}" == paths[0].parent.name
    return paths[0].parent.parent if named else paths[0].parent


def _of_sweep(folder: Path, found: dict[Path, None]) -> bool:
    """Add the runs that a sweep's folder lists (outputs/sweeps/<when>); False where it is no such folder."""
    records = sorted((folder / "runs").glob("*.json"), key=lambda path: path.stem.zfill(9))
    listed: list[Path] = []
    for path in records:
        try:
            listed += [Path(name)] if (name := json.loads(path.read_text("utf-8")).get("folder")) else []
        except (ValueError, AttributeError):
            raise UserError(f"{path}: not what a sweep wrote of a run; delete it, or the sweep's folder") from None
    for run in listed:
        moved = folder.parent.parent.joinpath(*run.parts[-2:])  # the whole of outputs/ may have been moved
        found |= {place: None for place in (run, moved) if (place / "config.yaml").is_file()}
    return bool(listed)


def _below(folder: Path, found: dict[Path, None], notes: list[str]) -> bool:
    """Add the runs below a folder; True when there was one, known before or not."""
    any_run = False
    for where, folders, files in os.walk(folder):
        path, has = Path(where), {"config.yaml", "status.json"} & set(files)
        if len(has) == 2:
            found[path] = None
            any_run = True
            folders.clear()  # evaluations of this run lie below it: they are no runs of their own
        elif has and (
            "status.json" in has or {"data.json", "metrics.jsonl", "env.json", "checkpoints"} & {*files, *folders}
        ):
            missing = ({"config.yaml", "status.json"} - has).pop()
            name = f"{path.parent.name}/{path.name}"
            notes.append(render(Sentence("half a run", name, {"missing": missing})))
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return any_run


def read_all(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs that can be read, and a line for each that cannot."""
    runs, notes = [], []
    for path in paths:
        try:
            runs.append(glance(path))
        except UserError as error:
            notes.append(render(Sentence("left out", str(error))))
    return runs, notes


def kind(run: Run) -> str:
    takes = ((run.config.get("config") or {}).get("model") or {}).get("input") or {}
    strokes = run.declared.answers == "classes" and takes.get("kind") in ("frames", "points")
    return STROKES if strokes else run.declared.title


def differing(table: Sequence[dict[str, str]]) -> list[str]:
    """Keys whose values are not the same in all rows, choices first, without those that chance may take."""
    keys = dict.fromkeys(key for row in table for key in row)
    out = [key for key in keys if key not in (*CHANCE, *ASIDE) and len({row.get(key) for row in table}) > 1]
    return sorted(out, key=lambda key: ("." in key, {"model": 0, "data": 1}.get(key, 2), key))


def naming(table: Sequence[dict[str, str]], keys: Iterable[str]) -> list[str]:
    """As few keys as tell apart all rows that `keys` tell apart; of two that say the same the earlier one.

    A model's own settings follow from model=…, so they do not name a group unless they differ within that model.
    """
    chosen: list[str] = []
    parts = [()] * len(table)
    for key in keys:
        finer = [(*part, row.get(key)) for part, row in zip(parts, table, strict=True)]
        if len(set(finer)) > len(set(parts)):
            chosen, parts = [*chosen, key], finer
    return chosen


def gather(
    runs: Sequence[Run], by: Sequence[str] = (), called: Sequence[str] = ()
) -> tuple[list[Group], list[str], list[str]]:
    """(groups, the keys that name them, what a reader must know). by: choices or dotted keys instead of what differs.
    called: the names of the groups, in their order.

    Raises UserError for a key of `by` that no run has, and for other than one name for each group.
    """
    table = [run.settings for run in runs]
    changed = [set(run.config.get("differs") or {}) for run in runs]
    often = Counter(key for typed in changed for key in typed)
    varies = naming(table, sorted(differing(table), key=lambda key: -often[key] if "." in key else -math.inf))
    if unknown := [key for key in by if not any(key in row for row in table)]:
        there = ", ".join(differing(table)) or "none"
        raise UserError(f"--by {unknown[0]}: no run has this setting; settings that differ between these runs: {there}")
    keys = list(by) or varies
    open_keys = [key for key in (*CHANCE, *(varies if by else ())) if key not in keys]
    names = _names(table, keys, changed if not by else [set()] * len(runs))
    places = [(kind(run), *(row.get(key, "–") for key in keys)) for run, row in zip(runs, table, strict=True)]
    names = _called(called, places, names) if called else names
    groups: dict[tuple, Group] = {}
    notes: list[str] = []
    for run, row, name, place in zip(runs, table, names, places, strict=True):
        values = dict(zip(keys, place[1:], strict=True))
        group = groups.setdefault(place, Group(name, place[0], values, {}, []))
        if run.state == "finished":
            _add(group, tuple(row.get(key, "–") for key in open_keys), run, notes)
        else:
            group.unfinished.append(run)
    notes += _measured(groups.values())
    notes += _mixed(groups.values(), [key for key in open_keys if key not in CHANCE], by)
    notes += map(render, _code(groups.values()))
    return [distinct(group, notes) for group in groups.values()], keys, notes


def _code(groups: Iterable[Group]) -> Iterator[Sentence]:
    """Groups whose runs were made by different code: files that two of them have, with other meanings."""
    for group in groups:
        meanings: dict[str, set[str]] = {}
        for run in group.runs.values():
            for name, (meaning, _) in run.code.items():
                meanings.setdefault(name, set()).add(meaning)
        if files := [name for name, found in meanings.items() if len(found) > 1]:
            yield Sentence("code of a group", group.name, {"files": listed(files, 4)})


def _add(group: Group, unit: tuple[str, ...], run: Run, notes: list[str]) -> None:
    """Of two runs that differ in nothing, the later one counts."""
    other = group.runs.get(unit)
    if other is not None:
        older, run = sorted((other, run), key=lambda r: str(r.status.get("ended") or ""))
        group.aside.append(older)
        notes.append(render(Sentence("same settings", group.name, {"older": older.name, "later": run.name})))
    group.runs[unit] = run


def _measured(groups: Iterable[Group]) -> list[str]:
    """Runs of one kind that give different results under the same settings, because some are not of today: said,
    whatever the groups are."""
    old: set[tuple[str, str]] = set()
    seen: dict[tuple[str, str], dict[int, list[str]]] = {}
    for group in groups:
        for run in (*group.runs.values(), *group.unfinished):
            today = semantics.today(run.config, run.n_train)
            for part, number in semantics.of_run(run.config).items():
                old |= {(group.kind, part)} if number != today[part] else set()
                names = seen.setdefault((group.kind, part), {}).setdefault(number, [])
                names += [group.name] * (group.name not in names)
    out = []
    for (of, part), found in seen.items():
        if len(found) > 1 and (of, part) in old:
            each = "; ".join(
                f"{part} {number} ({semantics.description(part, number)}): {listed(found[number], 4)}"
                for number in sorted(found)
            )
            out.append(render(Sentence("two kinds of results", of, {"each": each})))
    return out


def distinct(group: Group, notes: list[str]) -> Group:
    """The group with each network once, and once in all where the seed changes no answer; both are told in notes.

    A copy: all final scores and predictions alike to the last digit, and the same weights where both folders have them.
    """
    kept: dict[tuple[str, ...], Run] = {}
    for unit, run in group.runs.items():
        if run.fitted:  # equal ones say that the seed changes nothing
            continue
        first = next((other for other in kept.values() if _copies(run, other)), None)
        if first is None:
            kept[unit] = run
        else:
            group.aside.append(run)
            notes.append(render(Sentence("copy", group.name, {"run": run.name, "first": first.name})))
    kept = kept or group.runs
    runs = list(kept.values())
    if len(runs) > 1 and all(_same_predictions(runs[0], run) for run in runs[1:]):
        notes.append(render(Sentence("seed changes nothing", group.name, {"n": len(group.runs)})))
        group.aside.extend(runs[1:])
        return replace(group, runs=dict([next(iter(kept.items()))]), fixed=True)
    return replace(group, runs=kept)


def _copies(run: Run, other: Run) -> bool:
    if not run.final() or run.final() != other.final() or run.predicted() != other.predicted():
        return False
    if run.data.get("splits") != other.data.get("splits"):
        return False
    if any(_digest(run, f"predictions_{s}.csv") != _digest(other, f"predictions_{s}.csv") for s in run.predicted()):
        return False
    weights = [(each.status.get("sealed") or {}).get("weights") for each in (run, other)]
    if None in weights:  # folders of before: by the files, which hold the id too
        weights = [
            _digest(each, "checkpoints/best.pt") or _digest(each, "checkpoints/last.pt") for each in (run, other)
        ]
    return None in weights or weights[0] == weights[1]


def _digest(run: Run, name: str) -> str | None:
    path = run.folder / name
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same_predictions(run: Run, other: Run) -> bool:
    """Whether two runs say the same of every sample of every split; probabilities and distances may differ."""
    if run.data.get("splits") != other.data.get("splits"):
        return False
    splits = run.predicted()
    scored = [key for key in run.final() if key.split("/", 1)[0] in splits and run.declared[key].interval == "wilson"]
    if not splits or splits != other.predicted():
        return False
    if any(not math.isclose(run.final()[key], other.final().get(key, math.nan), abs_tol=1e-9) for key in scored):
        return False
    return all(run.predicted_classes(split).equals(other.predicted_classes(split)) for split in splits)


def _mixed(groups: Iterable[Group], keys: list[str], by: Sequence[str]) -> list[str]:
    """--by may pool runs of different settings: said, for each key once."""
    out = []
    for key in keys:
        found = [g.name for g in groups if len({r.settings.get(key) for r in g.runs.values()}) > 1]
        if found:
            out.append(
                f"--by {','.join(by)} pools runs that differ in {key}, in {listed(found, 4)}: means and "
                "intervals are about that mixture, not of seeds alone."
            )
    return out


def _called(called: Sequence[str], places: Sequence[tuple], names: Sequence[str]) -> list[str]:
    """For each row the name that its group is given. places: which group each row is in; names: as they would be."""
    groups = dict(zip(places, names, strict=True))
    if len(called) != len(groups) or len(set(called)) < len(called) or not all(called):
        there = "; ".join(f"{number}. {name}" for number, name in enumerate(groups.values(), 1))
        raise UserError(f"--names {','.join(called)}: expected {len(groups)} names, all different, for {there}")
    given = dict(zip(groups, called, strict=True))
    return [given[place] for place in places]


def _names(table: Sequence[dict[str, str]], keys: Sequence[str], changed: Sequence[set[str]]) -> list[str]:
    """small_cnn · shapes · lr=0.01: choices by their value alone, dotted keys by their last word.

    First what tells a group apart, then what else was changed in its runs (`changed`, of each row); or run.name, where
    all runs of the group have the same and no other group has it.
    """
    others = [key for key in differing(table) if key not in keys]
    last = [key.rpartition(".")[2] for key in (*keys, *others)]
    words = {key: w if last.count(w) == 1 else key for key, w in zip((*keys, *others), last, strict=True)}

    def name(row: dict[str, str], typed: set[str]) -> str:
        told, like = [], list(table)
        for key in keys:
            if len({other.get(key) for other in like}) > 1 and key in row:  # it tells this group from one like it
                told.append(key)
            like = [other for other in like if other.get(key) == row.get(key)]
        more = [key for key in others if key in typed and key in row]
        n = max(len(told), PARTS) - len(told)
        visible = [*told, *(more if len(more) <= n + 1 else more[:n])]
        parts = [row[key] if key in ("model", "data") else f"{words[key]}={row[key]}" for key in visible]
        hidden = len(told) + len(more) - len(visible)
        parts += [f"+{hidden} more"] if hidden else []
        return " · ".join(parts) or " on ".join(filter(None, map(row.get, ("model", "data")))) or "all runs"

    values = [tuple(row.get(key) for key in keys) for row in table]
    rows: dict[tuple, list[int]] = {}
    for place, value in enumerate(values):
        rows.setdefault(value, []).append(place)
    given = {value: {table[place].get("run.name", "") for place in places} for value, places in rows.items()}
    taken = Counter(next(iter(names)) for names in given.values() if len(names) == 1)
    known = {}
    for value, places in rows.items():
        (own, *rest) = given[value]
        typed = set.intersection(*(changed[place] for place in places))
        known[value] = own if own and not rest and taken[own] == 1 else name(table[places[-1]], typed)
    return [known[value] for value in values]
