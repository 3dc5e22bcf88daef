"""Every key of conf/ is read by the code that owns it: a key that changes nothing is none."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from sketchlab import config, schema
from sketchlab.data.commands import fetch
from sketchlab.errors import UserError
from sketchlab.training import identity
from tests import every

PACKAGE = Path(config.__file__).parent
# Keys that config.py reads, because they are Configs of other files: a whole choice of conf/model
COMPOSED = {"backbone"}


class Reads(ast.NodeVisitor):
    """attributes: names read as `x.name`, but for checks of the value (__post_init__) of a Config;
    of: the last two words of x → these names; takers: modules whose functions are handed a Config."""

    def __init__(self, path: Path) -> None:
        self.attributes: set[str] = set()
        self.of: dict[str, set[str]] = defaultdict(set)
        self.takers: set[str] = set()
        self.modules: dict[str, str] = {}
        self.visit(ast.parse(path.read_text()))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name != "__post_init__":
            self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def read(self, of: ast.expr, name: str) -> None:
        self.attributes.add(name)
        words = ast.unparse(of).split(".")
        self.of[words[-1]].add(name)
        self.of[".".join(words[-2:])].add(name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read(node.value, node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func)
        plain = [given for given in node.args if isinstance(given, ast.Name | ast.Attribute)]
        if any(ast.unparse(given) in ("config", "self.config") for given in plain):
            self.takers |= {self.modules[name] for name in (called.partition(".")[0],) if name in self.modules}
        if called == "getattr" and isinstance(node.args[1], ast.Constant):
            self.read(node.args[0], str(node.args[1].value))
        self.generic_visit(node)


@functools.cache
def reads(path: Path) -> Reads:
    return Reads(path)


@functools.cache
def everywhere(of: str) -> frozenset[str]:
    """What any file reads of what is called so."""
    return frozenset(name for path in PACKAGE.rglob("*.py") for name in reads(path).of.get(of, ()))


def own(module: str) -> list[Path]:
    """The files of a component: its module, or all of its folder."""
    file = Path(str(importlib.import_module(module).__file__))
    return sorted(file.parent.glob("*.py")) if file.stem in ("task", "__init__") else [file]


def taker(name: str) -> Path | None:
    """The file of a module, or of the module that a function is of."""
    for module in (name, name.rpartition(".")[0]):
        path = PACKAGE.parent.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if module.startswith("sketchlab.") and file.is_file():
                return file
    return None


def dead(kind: type, called: str) -> Iterator[str]:
    """The fields of a Config, and of those within, that no code reads: neither its own file, nor one that is handed
    the Config, nor any that reads `….<called>.<field>`."""
    files = own(kind.__module__)
    takers = {file for path in files for name in reads(path).takers if (file := taker(name))}
    found = (
        {name for path in (*files, *takers) for name in reads(path).attributes}
        | everywhere(called)
        | everywhere(f"{called}.config")
        | COMPOSED
    )
    for field in schema.fields(kind):
        if field.name not in found:
            yield f"{kind.__module__}: {field.name}"
        if field.nested:
            yield from dead(field.nested, field.name)


def configs() -> set[tuple[type, str]]:
    """Every Config that a choice of conf/ fills, and what the code calls it."""
    found: set[tuple[type, str]] = {(fetch.Source, "source"), (fetch.File, "file")}
    for model in every.modules():
        run = every.composed(model)
        found |= {(type(getattr(run, group).config), f"{group}.config") for group in config.GROUPS}
        found |= {(type(part), name) for name in ("loop", "runtime", "run") if (part := getattr(run, name))}
    return found | {(type(config.data(name, []).config), "data.config") for name in every.choices("data")}


def test_every_key_is_read():
    found = configs()
    assert len(found) > 25 and sum(len(dataclasses.fields(kind)) for kind, _ in found) > 200
    assert sorted({key for kind, called in found for key in dead(kind, called)}) == []


def test_a_key_that_is_only_checked_is_dead(tmp_path, monkeypatch):
    (tmp_path / "dead_keys.py").write_text(
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Config:\n"
        "    never_read: int\n    used: int\n"
        "    def __post_init__(self):\n        assert self.never_read\ndef build(config): return config.used\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert list(dead(importlib.import_module("dead_keys").Config, "data.config")) == ["dead_keys: never_read"]


@pytest.mark.parametrize("word", ["data.root=/x", "data.on_bad=skip"])
def test_a_key_that_went_is_one_line_that_says_why(word):
    key = word.partition("=")[0]
    why = schema.REMOVED[("data", key.removeprefix("data."))]["shapes"]
    with pytest.raises(UserError, match=rf"^{key}: no such key; data=shapes has none \({why}\)") as e:
        config.from_overrides(["data=shapes", word])
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match=rf"^{key}: no such key; data=shapes has none \({why}\)"):
        config.component("data", {"name": "shapes", key.removeprefix("data."): None})


@pytest.mark.parametrize("name", ["shapes", "cifar10"])
def test_older_folders_load_and_keep_their_ids(name, tmp_path):
    gone = {key: None for (_, key), names in schema.REMOVED.items() if name in names}
    run = config.from_overrides([f"data={name}", "model.input.channels=1"])
    older = {"data": {**run.plain()["data"], **gone}, "loop": {}}
    document = schema.upgraded({"schema": schema.SCHEMA, "config": older}, tmp_path)
    assert gone and document["config"]["data"] == run.plain()["data"] and gone.keys() <= older["data"].keys()
    assert config.component("data", document["config"]["data"]) == run.data
    whole = {**run.plain(), "samples": "x"}
    assert identity.reduced(run, {**whole, "data": older["data"]}) == identity.reduced(run, whole)
    other = {"data": {"name": "folder", "root": "/x", "on_bad": "skip"}}
    assert schema.current(other) == other


def test_a_baseline_has_no_loop_and_says_so_of_keys_that_are_typed():
    plain, typed = (config.from_overrides(["model=pixels_naive_bayes", *more]) for more in ([], ["loop.lr=7"]))
    assert plain.loop is None and "loop" not in plain.plain() and "loop" not in plain.choices and not plain.notes()
    assert typed.notes() == ["loop.lr: without effect, pipeline=baseline is fitted in one go"]
    older = {**plain.plain(), "samples": "x", "loop": {"epochs": 1, "lr": 0.1}}
    assert "loop" not in identity.reduced(plain, older)
    with pytest.raises(UserError, match="loop.lrr: no such key"):
        config.from_overrides(["model=pixels_naive_bayes", "loop.lrr=7"])
