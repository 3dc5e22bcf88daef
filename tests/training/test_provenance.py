"""What code made a run: a change of form is none, a change of meaning always is one."""

from __future__ import annotations

import ast
import io
import os
import random
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sketchlab.training import provenance
from tests.test_extra import DATA, write

PACKAGE = provenance.PACKAGE
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if provenance._counts(path) and path.stat().st_size > 200]
N = 150  # changes of each kind
SEED = 1
NET = """
'A network of one\\'s own.'
from dataclasses import dataclass
from torch import nn
from helper import SCALE
from sketchlab.inputs import Input

GIVES = ("logits",)

@dataclass(frozen=True)
class Config:
    input: Input
    'What it takes.'

class Net(nn.Module):
    '''Layers, the last one of another width.'''

    def __init__(self, n_in, n_out, depth=1, *, bias=True):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n_in, n_in if n < depth - 1 else n_out, bias=bias) for n in range(depth))

    def forward(self, x):
        '''(B, ...) to (B, classes)'''
        x = SCALE * x.flatten(1)
        for number, layer in enumerate(self.layers):
            x = layer(x).relu() if number < len(self.layers) - 1 and not self.training else layer(x)
            name = f"{number:>3} of {len(self.layers)!r}"
        if len(name) <= 2 or self.layers is None:
            raise ValueError("no " f"{name}")
        return x + 0.5

def build(config, n_classes):
    return Net(config.input.channels * config.input.size_px**2, n_classes, depth=1)
"""
STEPS = """
from dataclasses import dataclass

def softened(labels: list[int], by: float = 0.1) -> list[float]:
    out = []
    for label in labels:
        out.append(label * (1 - by) + by / 2)
    total = sum(out)
    total -= 1
    return [value / max(total, 1e-9) for value in out if value is not None]

@dataclass(frozen=True)
class Steps:
    first: int = 3
    def at(self, step):
        while step > self.first:
            step -= 1
            if step == 7:
                break
        return step
"""
OWN = {
    "models/mine.py": NET,
    "data/sets/stripes.py": DATA,
    "pipelines/own/steps.py": STEPS,
    "helper.py": "SCALE = 2.0\n",
}


# --- changes of form: source → source, or None where the file has no place for it. What does not parse is left out


def comment(source: str, draw: random.Random) -> str | None:
    ends = [t for t in _tokens(source) if t.type == tokenize.NEWLINE]
    return _insert(source, draw.choice(ends).start, f"  # {draw.random()}") if ends else None


def blank_lines(source: str, draw: random.Random) -> str | None:
    lines = source.splitlines(keepends=True)
    at = draw.choice([node.lineno for node in ast.parse(source).body if not isinstance(node, ast.Expr)] or [1])
    while at > 1 and lines[at - 2].lstrip().startswith(("@", "#")):
        at -= 1
    return "".join([*lines[: at - 1], "\n\n# a line of its own\n\n", *lines[at - 1 :]])


def docstring(source: str, draw: random.Random) -> str | None:
    """Another one, none, or a new one; or a text after a field."""
    tree = ast.parse(source)
    node = draw.choice([n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Module)])
    text = ast.Expr(ast.Constant("Another text."))
    if isinstance(node, ast.ClassDef) and draw.random() < 0.5:
        node.body.append(text)
    elif ast.get_docstring(node) is None:
        node.body.insert(0, text)
    elif len(node.body) > 1 and draw.random() < 0.5:
        del node.body[0]
    else:
        node.body[0] = text
    return ast.unparse(ast.fix_missing_locations(tree))


def reformatted(source: str, draw: random.Random) -> str | None:
    return ast.unparse(ast.parse(source))


def line_ends(source: str, draw: random.Random) -> str | None:
    return source.replace("\n", "\r\n")


def line_breaks(source: str, draw: random.Random) -> str | None:
    places = [t.end for t, depth in _operators(source) if depth and t.string in "([{,"]
    return _insert(source, draw.choice(places), "\n    ") if places else None


def backslashes(source: str, draw: random.Random) -> str | None:
    places = [
        t.end for t, depth in _operators(source) if not depth and t.string in ("=", "+", "-", "*", "<", "==", ".")
    ]
    return _insert(source, draw.choice(places), " \\\n        ") if places else None


def one_line(source: str, draw: random.Random) -> str | None:
    """Two statements with a semicolon between them."""
    lines, pairs = source.splitlines(keepends=True), []
    for body in _bodies(ast.parse(source)):
        for a, b in zip(body, body[1:], strict=False):
            beside = a.end_lineno + 1 == b.lineno and "#" not in lines[a.end_lineno - 1]
            if beside and isinstance(a, ast.Assign | ast.Expr) and isinstance(b, ast.Assign | ast.Return | ast.Expr):
                pairs.append(b.lineno)
    if not pairs:
        return None
    at = draw.choice(pairs)
    lines[at - 2] = lines[at - 2].rstrip() + "; " + lines.pop(at - 1).lstrip()
    return "".join(lines)


def trailing_comma(source: str, draw: random.Random) -> str | None:
    places, lines = [], source.splitlines()
    for node in ast.walk(ast.parse(source)):
        items = [*getattr(node, "args", []), *(k.value for k in node.keywords)] if isinstance(node, ast.Call) else []
        if isinstance(node, ast.List | ast.Set | ast.Dict):
            items = getattr(node, "elts", getattr(node, "values", []))
        if items:
            last = max((item.end_lineno, item.end_col_offset) for item in items)
            if (last[0], last[1] + 1) == (node.end_lineno, node.end_col_offset) and lines[last[0] - 1].isascii():
                places.append(last)
    return _insert(source, draw.choice(places), ",") if places else None


def parentheses(source: str, draw: random.Random) -> str | None:
    nodes = [n for n in _nodes(source, *PLAIN) if isinstance(getattr(n, "ctx", ast.Load()), ast.Load)]
    return _replace(source, draw.choice(nodes), lambda old: f"({old})") if nodes else None


def numbers(source: str, draw: random.Random) -> str | None:
    nodes = [n for n in _nodes(source, ast.Constant) if type(n.value) in (int, float)]
    if not nodes:
        return None
    node = draw.choice(nodes)
    return _replace(source, node, lambda _: hex(node.value) if type(node.value) is int else f"{node.value:.20e}")


def quotes(source: str, draw: random.Random) -> str | None:
    node = _text(source, draw)
    if node is None or "\n" in node.value or "'" in node.value:
        return None
    return _replace(source, node, lambda _: repr(node.value))


def split_text(source: str, draw: random.Random) -> str | None:
    node = _text(source, draw)
    return node and _replace(source, node, lambda _: f"({node.value[:2]!r} {node.value[2:]!r})")


def idle_f(source: str, draw: random.Random) -> str | None:
    node = _text(source, draw)
    return node and _replace(source, node, lambda _: "f" + repr(node.value).replace("{", "{{").replace("}", "}}"))


def split_formatted(source: str, draw: random.Random) -> str | None:
    nodes = _nodes(source, ast.JoinedStr)
    return _replace(source, draw.choice(nodes), lambda old: f"({old} '' f'')") if nodes else None


PLAIN = (ast.Constant, ast.Name, ast.Attribute, ast.Call, ast.BinOp, ast.Compare, ast.BoolOp, ast.Lambda, ast.IfExp)
COSMETIC = (comment, blank_lines, docstring, reformatted, line_ends, line_breaks, backslashes, one_line, trailing_comma)
COSMETIC += (parentheses, numbers, quotes, split_text, idle_f, split_formatted)


def _tokens(source: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(source).readline))


def _operators(source: str) -> list[tuple[tokenize.TokenInfo, int]]:
    """Those outside of f-strings, and how many brackets are open after them."""
    found, depth, formatted = [], 0, 0
    for token in _tokens(source):
        formatted += {"FSTRING_START": 1, "FSTRING_END": -1}.get(tokenize.tok_name[token.type], 0)
        if token.type == tokenize.OP and not formatted:
            depth += (token.string in "([{") - (token.string in ")]}")
            found.append((token, depth))
    return found


def _bodies(tree: ast.AST) -> list[list[Any]]:
    return [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]  # type: ignore


def _nodes(source: str, *kinds: type) -> list[Any]:
    """Those on one line that stand outside of f-strings and are no texts that stand alone."""
    tree = ast.parse(source)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.JoinedStr) for n in ast.walk(f) if n is not f}
    inside |= {id(e.value) for e in ast.walk(tree) if isinstance(e, ast.Expr)}
    found = [n for n in ast.walk(tree) if isinstance(n, kinds) and id(n) not in inside and n.lineno == n.end_lineno]
    return [n for n in found if source.splitlines()[n.lineno - 1].isascii()]


def _text(source: str, draw: random.Random) -> Any:
    texts = [n for n in _nodes(source, ast.Constant) if type(n.value) is str]
    return draw.choice(texts) if texts else None


def _insert(source: str, place: tuple[int, int], text: str) -> str:
    lines = source.splitlines(keepends=True)
    row, column = place
    lines[row - 1] = lines[row - 1][:column] + text + lines[row - 1][column:]
    return "".join(lines)


def _replace(source: str, node: Any, form: Callable[[str], str]) -> str:
    lines = source.splitlines(keepends=True)
    line = lines[node.lineno - 1]
    old = line[node.col_offset : node.end_col_offset]
    lines[node.lineno - 1] = line[: node.col_offset] + form(old) + line[node.end_col_offset :]
    return "".join(lines)


# --- changes of meaning: which nodes have a place for it, and the change, in place. Each makes another program

FLIPPED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
FLIPPED |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
OTHER = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd}
SIMPLE = (ast.Assign, ast.AugAssign, ast.Return, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)
Fits, Change = Callable[[Any], Any], Callable[[Any], Any]


def _a(*kinds: type) -> Fits:
    return lambda node: isinstance(node, kinds)


def _of(*kinds: type) -> Fits:
    return lambda node: isinstance(node, ast.Constant) and type(node.value) in kinds


def _operated(node: Any) -> bool:
    return isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OTHER


def _defaults(node: Any) -> Any:
    return isinstance(node, ast.arguments) and node.defaults


def _deleted(node: Any) -> list[int]:
    """Places of statements in its body that do something."""
    body = node.body if isinstance(getattr(node, "body", None), list) and len(node.body) > 1 else []
    return [
        n for n, s in enumerate(body) if isinstance(s, SIMPLE) or (isinstance(s, ast.Expr) and _a(ast.Call)(s.value))
    ]


def _ordered(node: Any) -> list[int]:
    """Places of statements that use what the one before them stores."""
    found, body = [], node.body if isinstance(getattr(node, "body", None), list) else []
    for place, (one, two) in enumerate(zip(body, body[1:], strict=False), 1):
        stored = {n.id for n in ast.walk(one) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        used = {n.id for n in ast.walk(two) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        if isinstance(one, ast.Assign) and stored & used:
            found.append(place)
    return found


def _swap(items: list[Any], at: int) -> None:
    items[at - 1], items[at] = items[at], items[at - 1]


SEMANTIC: dict[str, tuple[Fits, Change]] = {
    "int": (_of(int), lambda n: setattr(n, "value", n.value + 1)),
    "float": (_of(float), lambda n: setattr(n, "value", 2 * n.value + 1)),
    "text": (_of(str), lambda n: setattr(n, "value", n.value + " ")),
    "truth": (_of(bool), lambda n: setattr(n, "value", not n.value)),
    "None": (_of(type(None)), lambda n: setattr(n, "value", 0)),
    "comparison": (_a(ast.Compare), lambda n: n.ops.__setitem__(0, FLIPPED[type(n.ops[0])]())),
    "operator": (_operated, lambda n: setattr(n, "op", OTHER[type(n.op)]())),
    "and, or": (_a(ast.BoolOp), lambda n: setattr(n, "op", ast.Or() if _a(ast.And)(n.op) else ast.And())),
    "sign, not": (_a(ast.UnaryOp), lambda n: setattr(n, "op", ast.Invert())),
    "condition": (_a(ast.If, ast.IfExp, ast.While), lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))),
    "other branch": (lambda n: _a(ast.If)(n) and n.orelse, lambda n: n.orelse.clear()),
    "filter": (lambda n: _a(ast.comprehension)(n) and n.ifs, lambda n: n.ifs.pop()),
    "break": (lambda n: _a(ast.If)(n) and _a(ast.Break)(n.body[-1]), lambda n: n.body.__setitem__(-1, ast.Continue())),
    "deleted": (_deleted, lambda n: n.body.pop(_deleted(n)[-1])),
    "order": (_ordered, lambda n: _swap(n.body, _ordered(n)[-1])),
    "returned": (lambda n: _a(ast.Return)(n) and n.value, lambda n: setattr(n, "value", None)),
    "arguments": (lambda n: _a(ast.Call)(n) and len({*map(ast.dump, n.args[:2])}) == 2, lambda n: _swap(n.args, 1)),
    "argument": (lambda n: _a(ast.Call)(n) and n.args, lambda n: n.args.pop()),
    "keyword": (lambda n: _a(ast.keyword)(n) and n.arg, lambda n: setattr(n, "arg", f"{n.arg}_")),
    "keywords": (lambda n: _a(ast.Call)(n) and n.keywords, lambda n: n.keywords.pop()),
    "default": (_defaults, lambda n: n.defaults.__setitem__(-1, ast.Constant("another"))),
    "no default": (_defaults, lambda n: n.defaults.pop(0)),
    "parameter": (_a(ast.arg), lambda n: setattr(n, "arg", f"{n.arg}_")),
    "attribute": (_a(ast.Attribute), lambda n: setattr(n, "attr", f"{n.attr}_")),
    "name": (_a(ast.Name), lambda n: setattr(n, "id", f"{n.id}_")),
    "import": (_a(ast.alias), lambda n: setattr(n, "name", f"{n.name}_")),
    "decorator": (lambda n: getattr(n, "decorator_list", []), lambda n: n.decorator_list.pop()),
    "base": (lambda n: _a(ast.ClassDef)(n) and n.bases, lambda n: n.bases.pop()),
    "annotation": (_a(ast.AnnAssign), lambda n: setattr(n, "annotation", ast.Name("complex", ast.Load()))),
    "conversion": (_a(ast.FormattedValue), lambda n: setattr(n, "conversion", 97 if n.conversion != 97 else -1)),
    "exception": (lambda n: _a(ast.ExceptHandler)(n) and n.type, lambda n: setattr(n, "type", ast.Name("Other"))),
}


@pytest.fixture
def copies(tmp_path, monkeypatch) -> dict[str, list[str]]:
    """A copy of the package's files that count, a folder of one's own, and what code.json would hold of them."""
    package, own = tmp_path / "sketchlab", tmp_path / "mine"
    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.setenv("SKETCHLAB_EXTRA", str(own))
    texts = {package / file.relative_to(PACKAGE): file.read_text() for file in FILES}
    texts |= {own / name: text for name, text in OWN.items()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {provenance._name(path): record(path) for path in texts}


def record(path: Path) -> list[str]:
    return [provenance.meaning.__wrapped__(path), provenance.contents.__wrapped__(path)]


def noticed(recorded: dict[str, list[str]], name: str, source: str) -> bool:
    """Whether a new process that finds the run notices this source in the file."""
    path = provenance._path(name)
    before = path.read_bytes()
    path.write_bytes(source.encode())
    provenance.meaning.cache_clear()
    provenance.contents.cache_clear()
    found = provenance.changed(recorded if name.startswith(provenance.EXTRA) else {name: recorded[name]})
    path.write_bytes(before)
    assert found in ([], [name])
    return bool(found)


def drawn(recorded: dict[str, list[str]], draw: random.Random) -> Iterator[tuple[str, str]]:
    """Files and what they hold, without end: every third one of one's own."""
    own = [name for name in recorded if name.startswith(provenance.EXTRA)]
    while True:
        name = draw.choice(own if draw.random() < 1 / 3 else list(recorded))
        yield name, provenance._path(name).read_text()


def parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


@pytest.mark.slow
def test_no_change_of_form_is_noticed(copies):
    """Of files drawn by a seed, over the package and a folder of one's own: no false alarm."""
    draw, done = random.Random(SEED), 0
    for name, source in drawn(copies, draw):
        change = COSMETIC[done % len(COSMETIC)]
        other = change(source, draw)
        if other and other != source and parses(other):
            assert not noticed(copies, name, other), f"{name}: {change.__name__}"
            done += 1
        if done == N:
            break


@pytest.mark.slow
def test_every_change_of_meaning_is_noticed(copies):
    draw, done, kinds = random.Random(SEED), 0, list(SEMANTIC)
    for name, source in drawn(copies, draw):
        kind, tree = kinds[done % len(kinds)], ast.parse(source)
        idle = {id(e.value) for e in ast.walk(tree) if isinstance(e, ast.Expr) and isinstance(e.value, ast.Constant)}
        fits, change = SEMANTIC[kind]
        if nodes := [node for node in ast.walk(tree) if id(node) not in idle and fits(node)]:
            change(draw.choice(nodes))
            assert noticed(copies, name, ast.unparse(ast.fix_missing_locations(tree))), f"{name}: {kind}"
            done += 1
        if done == N:
            break


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", "'''A text.'''"),
        ("class A: pass", "class A:\n    'B'"),
        ("x: int\n", "x: int\n'What it is.'"),
        ("x = 'ab'", "x = f'a' 'b'"),
        ("x = f'{a}bc'", "x = f'{a}b' 'c'"),
        ("x = 1000", "x = 1_000"),
        ("x = u'a'", "x = r'a'"),
        ("x = 1, 2", "x = (1, 2)"),
        ("if a: b", "if (a):\n\tb"),
    ],
)
def test_the_same_in_another_form(one, other, tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_EXTRA", str(tmp_path))
    (path := provenance._path("$SKETCHLAB_EXTRA/new.py")).write_text(one)
    assert not noticed({"$SKETCHLAB_EXTRA/new.py": record(path)}, "$SKETCHLAB_EXTRA/new.py", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = True"),
        ("x = 1", "x = 1.0"),
        ("x = 'a'", "x = b'a'"),
        ("x = 0.0", "x = -0.0"),
        ("x = (1)", "x = (1,)"),
        ("f(x)", "f(*x)"),
        ("f(*x)", "f(**x)"),
        ("x = f'{a}'", "x = '{a}'"),
        ("x = f'{a:1}'", "x = f'{a:2}'"),
        ("def f(*, a=None): x", "def f(a=None): x"),
        ("def f(a, /): x", "def f(a): x"),
        ("def f(*, a, b=1): x", "def f(*, a=1, b): x"),
        ("x[1:]", "x[:1]"),
        ("from . import a", "from .. import a"),
        ("if a: b\nelse: c", "if a: b\nc"),
        ("def f():\n global a", "def f():\n nonlocal a"),
        ("x = 1", "x = ("),
    ],
)
def test_another_meaning_in_nearly_the_same_form(one, other, tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_EXTRA", str(tmp_path))
    (path := provenance._path("$SKETCHLAB_EXTRA/new.py")).write_text(one)
    assert noticed({"$SKETCHLAB_EXTRA/new.py": record(path)}, "$SKETCHLAB_EXTRA/new.py", other)


def test_code_that_warns_is_too_deep_or_no_python(tmp_path, recwarn):
    path = tmp_path / "odd.py"
    for source in ("x = '\\d'", "x = " + " + ".join(["1"] * 5000), "x = (", "x = '\0'"):
        path.write_text(source)
        assert len(record(path)[0]) == 16
    assert not recwarn.list


# Letters that not every Python can print, and what versions write differently into trees
ODD = """
FACE = "\U0001fae8 é" "\\ud800" f"{1:>{2}} {'a'!r:5} {{}} \U0001fae8" f"" "b"
def f(a, /, b: "int" = 1_0, *c, d=..., **e) -> None:
    match a:
        case {"x": [1, *_], **rest} | (-1.5j as rest) if b: return lambda *x, y=0: (yield)
        case None | True: pass
    try: del a, (b)
    except* (OSError, ValueError) as error: raise error from None
    async def g(): return [x async for x in a if x], {**e, 1: 2}, a[1:, ..., None], b"\\xff", 1e400
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_other_pythons_find_the_same(version, tmp_path):
    python = shutil.which(f"python{version}")
    if python is None or sys.version.startswith(version):
        pytest.skip(f"no other Python {version} here")
    if subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"python{version} does not start")
    code = "\n".join(
        [
            "import ast, hashlib, sys, types",
            "for name in ('sketchlab.errors', 'sketchlab.storage.files'):",
            "    sys.modules[name] = types.ModuleType(name)",
            "sys.modules['sketchlab.errors'].UserError = ValueError",
            "sys.modules['sketchlab.storage.files'].read_dict = None",
            "import importlib.util, pathlib",
            f"spec = importlib.util.spec_from_file_location('p', {provenance.__file__!r})",
            "p = importlib.util.module_from_spec(spec); spec.loader.exec_module(p)",
            "print(*(p.meaning(pathlib.Path(path)) for path in sys.argv[1:]), sep='\\n')",
        ]
    )
    (odd := tmp_path / "odd.py").write_text(ODD)
    done = subprocess.run([python, "-c", code, *map(str, [*FILES, odd])], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [provenance.meaning(path) for path in [*FILES, odd]]


def test_what_counts(tmp_path, monkeypatch):
    counted = provenance.imported()
    assert "sketchlab/training/provenance.py" in counted and "sketchlab/engine/lock.py" not in counted
    assert not any(name.startswith(("sketchlab/report/", "sketchlab/runs/", "sketchlab/app/")) for name in counted)
    assert not any(
        "site-packages" in name or "tests/" in name or name.endswith("/json/__init__.py") for name in counted
    )
    assert provenance.changed(counted) == []
    assert provenance.changed({**counted, "sketchlab/gone.py": ["a", "b"]}) == ["sketchlab/gone.py"]
    monkeypatch.setenv("SKETCHLAB_EXTRA", str(tmp_path))
    (tmp_path / "mine.py").write_text("A = 1\n")
    assert provenance._name(tmp_path / "mine.py") == "$SKETCHLAB_EXTRA/mine.py"
    assert provenance._path("$SKETCHLAB_EXTRA/mine.py") == tmp_path / "mine.py"


TASK = """
from sketchlab.pipelines.classify import task
from sketchlab.pipelines.classify.task import SCORES, TAKES, Config

def build(*args):
    from sketchlab.pipelines.own import steps
    return task.build(*args)
"""
SCRIPT = """
import os, sys
from pathlib import Path
import pandas, sklearn, torch
from sketchlab import config, run
from sketchlab.pipelines.classify import task
from sketchlab.training import environment, launch, track, work
from tests import every

torch.set_num_threads(1)
own, root = Path(sys.argv[1]), Path(sys.argv[2])
words = ["model=mine", "data=stripes", "pipeline=own", *every.SMALL_RUN, f"run.root={root}"]

def start(what, *more):
    "In a process of its own, which imports what is one's own anew."
    print(f"# {what}", flush=True)
    if not (pid := os.fork()):
        try:
            run.execute(config.from_overrides([*words, *more]), reported=False)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)

def change(what, name, old, new):
    text = (own / name).read_text()
    assert old in text
    (own / name).write_text(text.replace(old, new))
    start(what)
    (own / name).write_text(text)

start("new")
start("same")
change("comment", "models/mine.py", "    def forward", "    # what it does\\n    def forward")
change("form", "models/mine.py", '"no " f"{name}"', "(f'no {name}')")
change("helper", "helper.py", "2.0", "3.0")
change("pipeline", "pipelines/own/steps.py", "1e-9", "1e-8")
change("data", "data/sets/stripes.py", 'GIVES = ("images",)', 'GIVES = ("images", "images")')
change("forward", "models/mine.py", "x + 0.5", "x + 0.25")
net = own / "models/mine.py"
net.write_text(net.read_text().replace("x + 0.5", "x + 0.25"))
start("rerun", "rerun=true")
start("after")
(own / "pipelines/own/steps.py").unlink()
start("gone")
"""


@pytest.mark.slow
def test_a_finished_run_is_found_with_what_changed_in_ones_own_code(tmp_path):
    own = tmp_path / "mine"
    conf = Path(PACKAGE).parent / "conf" / "pipeline" / "classify.yaml"
    write(own)  # the data set, and its YAML
    for name, text in {
        **OWN,
        "pipelines/own/__init__.py": "",
        "pipelines/own/task.py": TASK,
        "conf/pipeline/own.yaml": conf.read_text().replace("name: classify", "name: own"),
        "conf/model/mine.yaml": (own / "conf/model/two_layers.yaml")
        .read_text()
        .replace("two_layers\nhidden: 32", "mine"),
    }.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    path = os.pathsep.join([str(PACKAGE.parent), str(own)])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(own), str(tmp_path / "runs")],
        env={**os.environ, "SKETCHLAB_EXTRA": str(own), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    parts = {part.partition("\n")[0]: part for part in done.stdout.split("# ")[1:]}
    said = {what: part.splitlines()[-1] for what, part in parts.items()}
    assert "new: no finished run of mine-stripes" in parts["new"]
    for same in ("same", "comment", "form", "after"):
        assert said[same] == "found: this run is finished", same
    for other, name in {
        "helper": "helper.py",
        "pipeline": "pipelines/own/steps.py",
        "data": "data/sets/stripes.py",
        "forward": "models/mine.py",
        "gone": "pipelines/own/steps.py",
    }.items():
        line = f"made by other code ($SKETCHLAB_EXTRA/{name} changed since): rerun=true trains it again"
        assert said[other] == f"found: this run is finished, {line}", other
    assert "found" not in parts["rerun"] and "epoch   2/2" in parts["rerun"]
