"""From one data set to another: which classes and samples of it a run is asked about."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from sketchlab import config
from sketchlab.data.dataset import Dataset, Split
from sketchlab.errors import UserError, listed
from sketchlab.runs import OpenedRun, reading

_RASTER = re.compile(r"data[./]raster\b")


@dataclass(frozen=True)
class Plan:
    """The data set a run is evaluated on."""

    data: config.Component
    choice: str  # as in data=<choice>
    differs: dict[str, Any]  # from the choice's own YAML
    split: str  # train, val, test or all
    renamed: dict[str, str]  # their class → ours, where the names differ
    classes: list[str]  # ours, those that are asked about
    own: bool  # the run's own data set
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        return {"name": self.data.name, **asdict(self.data.config)}


def compose(run: OpenedRun, overrides: list[str]) -> config.RunConfig:
    """The run's model with another data set, or with its own when there is no data=…; other groups are refused.

    Strokes are drawn as the run's training data were (reading.raster_of), unless the words say how.
    """
    for word in overrides:
        key, equals, _ = word.partition("=")
        name = key.lstrip("+~")
        if not equals or not (name == "data" or name.startswith(("data.", "data/"))):
            raise UserError(f"{word}: evaluate takes data=<choice>, data.<key>=<value> and data/<group>=<choice> only")
    choices = run.document["choices"]
    below = [f"model@{key}={choice}" for key, choice in choices.items() if key.startswith("model.")]  # a backbone
    words = [f"model={choices['model']}", *below, *_words(run.config["model"], "model")]
    if not any(word.startswith("data=") for word in overrides):
        own = _words(run.config["data"], "data")
        groups = [key for word in overrides if (key := word.partition("=")[0].lstrip("+~")).startswith("data/")]
        chosen_anew = tuple(f"++{key.partition('@')[2] or key.replace('/', '.')}." for key in groups)
        words += [f"data={choices['data']}", *(word for word in own if not word.startswith(chosen_anew))]
    chosen = config.from_overrides([*words, *overrides])
    theirs, typed = chosen.data.config, [word.lstrip("+~") for word in overrides]
    if not reading.of_strokes(asdict(theirs), run.input) or any(map(_RASTER.match, typed)):
        return chosen
    look = reading.raster_of(run.config["data"], run.input)
    return replace(chosen, data=replace(chosen.data, config=replace(theirs, raster=look)))


def _words(node: dict[str, Any], group: str) -> list[str]:
    return [f"++{group}.{key}={_word(value)}" for key, value in config.flat(node).items()]


def _word(value: Any) -> str:
    """A value in the grammar of the command line."""
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    if isinstance(value, list):
        return "[" + ",".join(map(_word, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plan(run: OpenedRun, chosen: config.RunConfig, split: str, renames: list[str]) -> Plan:
    """Settle split and classes. Raises UserError naming the classes that do not match."""
    data, choice = chosen.data, chosen.choices["data"]
    own = source(run.config["data"]) == source({"name": data.name, **asdict(data.config)})
    rule, notes = data.config.splits.rule, []
    if split == "auto":
        split = "test" if own or rule == "official" else "all"
    if not own and reading.of_strokes(asdict(data.config), run.input):
        notes.append(f"drawn with {', '.join(f'{key}={value}' for key, value in asdict(data.config.raster).items())}")
    touched = any(key.startswith("data.splits") for key in chosen.differs)
    if split == "all" and not touched and rule != "official" and not hasattr(data.config, "paired"):
        data = whole(data)
    renamed = _renamed(run, renames)
    theirs, given = data.config.classes, data.config.classes is not None and not own
    if theirs is None:
        theirs = _peek(data, run) or [_theirs(name, renamed) for name in run.classes]
    ours = {name: renamed.get(name, name) for name in theirs}
    unknown = [name for name in theirs if ours[name] not in run.classes]
    missing = [name for name in run.classes if name not in ours.values()]
    if missing and not given or len(missing) == len(run.classes) or (given and unknown):
        raise UserError(_mismatch(choice, run, theirs, missing, unknown, given))
    if unknown:
        many = f"{len(unknown)} class{'es' * (len(unknown) > 1)}"
        notes.append(f"left out: {many} of data={choice} that the run does not know: {listed(unknown)}")
    if missing:
        notes.append(
            f"of the run's {len(run.classes)} classes this data set shows {len(run.classes) - len(missing)}; "
            f"without samples: {listed(missing)}"
        )
    known = [name for name in theirs if name not in unknown]
    twice = [name for name in known if [ours[k] for k in known].count(ours[name]) > 1]
    if twice:
        raise UserError(f"--rename: {' and '.join(twice)} would both be the run's class {ours[twice[0]]}")
    data = replace(data, config=replace(data.config, classes=sorted(known, key=lambda k: run.classes.index(ours[k]))))
    differs = {key: value for key, value in chosen.differs.items() if key.startswith("data.")}
    used = {name: ours[name] for name in known if ours[name] != name}
    return Plan(data, choice, differs, split, used, [c for c in run.classes if c not in missing], own, notes)


def source(data: dict[str, Any]) -> dict[str, Any]:
    """What of a data set's settings says which files (or drawings) it has."""
    keys = ("name", "folder", "picture", "train", "val", "test")
    return {key: data.get(key) for key in (*keys, *["root"] * (data.get("folder") == "."))}


def whole(data: config.Component) -> config.Component:
    """Everything in one split: a small class need not be enough for three."""
    rule = replace(data.config.splits, rule="fraction", train=1.0, val=0.0, test=0.0)
    return replace(data, config=replace(data.config, splits=rule))


def _renamed(run: OpenedRun, renames: list[str]) -> dict[str, str]:
    out = {}
    for word in renames:
        theirs, equals, ours = word.partition("=")
        if not equals or ours not in run.classes:
            there = config.hint(ours, run.classes)
            raise UserError(f"--rename {word}: expected THEIRS=OURS with a class of the run on the right; {there}")
        out[theirs] = ours
    return out


def _theirs(name: str, renamed: dict[str, str]) -> str:
    return next((theirs for theirs, ours in renamed.items() if ours == name), name)


def _peek(data: config.Component, run: OpenedRun) -> list[str] | None:
    """The classes a data set has, by name or from one sample of each; None where it cannot be taken apart like that."""
    if hasattr(sys.modules[data.module], "class_names"):
        return data.constant("class_names")(data.config)
    everything = whole(data)
    try:
        return replace(everything, config=replace(everything.config, per_class=1)).build(run.input).classes
    except UserError:  # the full build meets it again, or gets along with more samples
        return None


def _mismatch(
    choice: str, run: OpenedRun, theirs: list[str], missing: list[str], unknown: list[str], given: bool
) -> str:
    if given and unknown:
        return f"data.classes: the run does not know {listed(unknown)}; it knows {listed(run.classes)} (or --rename)"
    alike = {m: [k for k in unknown if _same_name(k, m)] for m in missing}
    found = [k for each in alike.values() for k in each]
    close = [(each[0], m) for m, each in alike.items() if len(each) == 1 == found.count(each[0])]
    hint = "".join(f" --rename '{theirs}={ours}'" for theirs, ours in close)
    known = [name for name in theirs if name not in unknown]
    out = f"data={choice} has no class {listed(missing)} of the run's classes; it has {listed(theirs)}."
    out += f" Did you mean{hint} ?" if hint else " Match names by --rename THEIRS=OURS."
    return out + (f" To ask about the others alone: data.classes=[{','.join(known)}]" if known else "")


def _same_name(one: str, other: str) -> bool:
    """Whether two names of classes differ in case, in spaces, hyphens and underscores, or in the plural alone."""
    a, b = (re.sub(r"[\s_-]+", "", name.casefold()) for name in (one, other))
    return a == b or a in _plurals(b) or b in _plurals(a)


def _plurals(name: str) -> set[str]:
    out = {f"{name}es"} if re.search(r"(s|x|z|ch|sh|o)$", name) else {f"{name}s"}
    if name.endswith("o"):
        out.add(f"{name}s")
    if re.search(r"[^aeiou]y$", name):
        out.add(f"{name[:-1]}ies")
    if match := re.search(r"fe?$", name):
        out.add(f"{name[: match.start()]}ves")
    return out


def samples(run: OpenedRun, data: Dataset, plan: Plan) -> tuple[Split, str]:
    """The samples asked about, labelled with the run's class numbers, and the name of what they are."""
    used = plan.split
    if used == "test" and used not in data.splits:
        used = "val" if "val" in data.splits else "all"
    if used != "all" and used not in data.splits:
        raise UserError(f"--split {used}: data={plan.choice} has no such split; it has {', '.join(data.splits)}, all")
    parts = list(data.splits.values()) if used == "all" else [data.splits[used]]
    if any(part.store is not parts[0].store for part in parts):
        raise UserError(f"data={plan.choice} has sides of different kinds: choose --split {' or '.join(data.splits)}")
    rows = torch.cat([part.rows for part in parts])
    order = rows.argsort(stable=True)
    ids = [name for part in parts for name in part.ids]
    numbers = torch.tensor([run.classes.index(plan.renamed.get(name, name)) for name in data.classes])
    labels = numbers[torch.cat([part.labels for part in parts])]
    groups = torch.cat([part.groups for part in parts])
    return Split(parts[0].store, rows[order], labels[order], [ids[i] for i in order.tolist()], groups[order]), used
