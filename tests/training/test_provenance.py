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
from collections.abc import Callable
from pathlib import Path

import pytest

from sketchlab.training import provenance

PACKAGE = provenance.PACKAGE
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if provenance._counts(path) and path.stat().st_size > 200]
N = 150
OWN = '''
"""A network of one's own."""
import torch
from torch import nn

DEPTH = 2


class Net(nn.Module):
    """Two layers."""

    def __init__(self, width: int = 8, *, bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=bias) for _ in range(DEPTH))

    def forward(self, x):
        """(B, W) → (B, W)"""
        for number, layer in enumerate(self.layers):
            x = layer(x) + 0.5 * x if number < DEPTH - 1 else layer(x)
        name = f"{number:>3} of {DEPTH!r}"
        return x.relu() if not self.training and len(name) > 2 else x - 1
'''


# --- changes of form: source → source, or None where the file has no place for it


def comment(source: str, draw: random.Random) -> str | None:
    ends = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.NEWLINE]
    return _insert(source, draw.choice(ends).start, f"  # {draw.random()}") if ends else None


def blank_lines(source: str, draw: random.Random) -> str | None:
    lines = source.splitlines(keepends=True)
    at = draw.choice([node.lineno for node in ast.parse(source).body if not isinstance(node, ast.Expr)] or [1])
    while at > 1 and lines[at - 2].lstrip().startswith(("@", "#")):
        at -= 1
    return "".join([*lines[: at - 1], "\n\n# a line of its own\n\n", *lines[at - 1 :]])


def docstring(source: str, draw: random.Random) -> str | None:
    """Another one, none, or a new one."""
    tree = ast.parse(source)
    node = draw.choice([n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Module))])
    text = ast.Expr(ast.Constant("Another text."))
    if ast.get_docstring(node) is None:
        node.body.insert(0, text)
    elif len(node.body) > 1 and draw.random() < 0.5:
        del node.body[0]
    else:
        node.body[0] = text
    return ast.unparse(ast.fix_missing_locations(tree))


def reformatted(source: str, draw: random.Random) -> str | None:
    return ast.unparse(ast.parse(source))


def line_breaks(source: str, draw: random.Random) -> str | None:
    places, depth, formatted = [], 0, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        formatted += {"FSTRING_START": 1, "FSTRING_END": -1}.get(tokenize.tok_name[token.type], 0)
        if token.type == tokenize.OP and not formatted:
            depth += (token.string in "([{") - (token.string in ")]}")
            if depth and token.string in "([{,":
                places.append(token.end)
    return _insert(source, draw.choice(places), "\n    ") if places else None


def _constants(source: str, kind: type) -> list[ast.Constant]:
    """Those that stand outside of f-strings and docstrings."""
    tree = ast.parse(source)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.JoinedStr) for n in ast.walk(f)}
    inside |= {id(e.value) for e in ast.walk(tree) if isinstance(e, ast.Expr)}
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is kind and id(n) not in inside]
    return [n for n in found if n.lineno == n.end_lineno and source.splitlines()[n.lineno - 1].isascii()]


def parentheses(source: str, draw: random.Random) -> str | None:
    numbers = [*_constants(source, int), *_constants(source, float)]
    return _replace(source, draw.choice(numbers), "({})") if numbers else None


def quotes(source: str, draw: random.Random) -> str | None:
    texts = _constants(source, str)
    node = draw.choice(texts) if texts else None
    if node is None or "\n" in node.value or "'" in node.value:
        return None
    return _replace(source, node, repr(node.value).replace("{", "{{").replace("}", "}}"))


def split_text(source: str, draw: random.Random) -> str | None:
    texts = [node for node in _constants(source, str) if len(node.value) > 2]
    if not texts:
        return None
    node = draw.choice(texts)
    pieces = f"({node.value[:2]!r} {node.value[2:]!r})"
    return _replace(source, node, pieces.replace("{", "{{").replace("}", "}}"))


def _insert(source: str, place: tuple[int, int], text: str) -> str:
    lines = source.splitlines(keepends=True)
    row, column = place
    lines[row - 1] = lines[row - 1][:column] + text + lines[row - 1][column:]
    return "".join(lines)


def _replace(source: str, node: ast.Constant, form: str) -> str:
    lines = source.splitlines(keepends=True)
    line = lines[node.lineno - 1]
    old = line[node.col_offset : node.end_col_offset]
    lines[node.lineno - 1] = line[: node.col_offset] + form.format(old) + line[node.end_col_offset :]
    return "".join(lines)


COSMETIC = (comment, blank_lines, docstring, reformatted, line_breaks, parentheses, quotes, split_text)

# --- changes of meaning: of a tree, in place; False where it has no place for it

FLIPPED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
FLIPPED |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
OTHER = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd}


def _pick(tree: ast.AST, draw: random.Random, fits: Callable[[ast.AST], bool]) -> ast.AST | None:
    texts = {id(e.value) for e in ast.walk(tree) if isinstance(e, ast.Expr)}
    found = [node for node in ast.walk(tree) if fits(node) and id(node) not in texts]
    return draw.choice(found) if found else None


def number(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, ast.Constant) and type(n.value) in (int, float))
    if node is not None:
        node.value += 1  # type: ignore[attr-defined]
    return node is not None


def text(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, ast.Constant) and type(n.value) is str)
    if node is not None:
        node.value += "x"  # type: ignore[attr-defined]
    return node is not None


def truth(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, ast.Constant) and type(n.value) is bool)
    if node is not None:
        node.value = not node.value  # type: ignore[attr-defined]
    return node is not None


def comparison(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, ast.Compare))
    if node is not None:
        node.ops[0] = FLIPPED[type(node.ops[0])]()  # type: ignore[attr-defined]
    return node is not None


def operator(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, ast.BinOp) and type(n.op) in OTHER)
    if node is not None:
        node.op = OTHER[type(node.op)]()  # type: ignore[attr-defined]
    return node is not None


def condition(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, (ast.If, ast.IfExp)))
    if node is not None:
        node.test = ast.UnaryOp(ast.Not(), node.test)  # type: ignore[attr-defined]
    return node is not None


def statement(tree: ast.AST, draw: random.Random) -> bool:
    """One that is gone."""
    node = _pick(tree, draw, lambda n: isinstance(n, (ast.FunctionDef, ast.For, ast.If, ast.With)) and len(n.body) > 1)
    if node is not None:
        at = draw.randrange(1, len(node.body))  # type: ignore[attr-defined]
        node.body[at] = ast.Pass()  # type: ignore[attr-defined]
    return node is not None


def arguments(tree: ast.AST, draw: random.Random) -> bool:
    """Two of a call in the other order."""
    node = _pick(tree, draw, lambda n: isinstance(n, ast.Call) and len({ast.dump(a) for a in n.args[:2]}) == 2)
    if node is not None:
        node.args[:2] = node.args[1::-1]  # type: ignore[attr-defined]
    return node is not None


def name(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, ast.Attribute))
    if node is not None:
        node.attr += "_"  # type: ignore[attr-defined]
    return node is not None


def decorator(tree: ast.AST, draw: random.Random) -> bool:
    node = _pick(tree, draw, lambda n: isinstance(n, (ast.FunctionDef, ast.ClassDef)) and bool(n.decorator_list))
    if node is not None:
        del node.decorator_list[0]  # type: ignore[attr-defined]
    return node is not None


SEMANTIC = (number, text, truth, comparison, operator, condition, statement, arguments, name, decorator)


def digest(path: Path) -> str:
    provenance.meaning.cache_clear()
    provenance.contents.cache_clear()
    return provenance.meaning(path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[Path]:
    own = tmp_path_factory.mktemp("own") / "net.py"
    own.write_text(OWN)
    return [*FILES, *[own] * (len(FILES) // 4)]


def test_no_change_of_form_is_noticed(sources, tmp_path):
    """Of files drawn by a seed, over the package and a file of one's own: no false alarm."""
    draw, done, path = random.Random(1), 0, tmp_path / "changed.py"
    while done < N:
        source, change = draw.choice(sources), COSMETIC[done % len(COSMETIC)]
        changed = change(source.read_text(), draw)
        if changed is None or changed == source.read_text():
            continue
        path.write_text(changed)
        assert digest(path) == digest(source), f"{source}: {change.__name__}"
        done += 1


def test_every_change_of_meaning_is_noticed(sources, tmp_path):
    draw, done, path = random.Random(2), 0, tmp_path / "changed.py"
    while done < N:
        source, change = draw.choice(sources), SEMANTIC[done % len(SEMANTIC)]
        tree = ast.parse(source.read_text())
        if not change(tree, draw):
            continue
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
        assert digest(path) != digest(source), f"{source}: {change.__name__}"
        done += 1


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
    done = subprocess.run([python, "-c", code, *map(str, FILES)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [provenance.meaning(path) for path in FILES]


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


SCRIPT = """
import sys
from pathlib import Path
from sketchlab import config, run
from sketchlab.training import provenance
from tests import every

own, root = Path(sys.argv[1]), sys.argv[2]
words = every.small("small_cnn", f"run.root={root}")
words[0] = "model=mine"
net, helper = own / "models" / "mine.py", own / "helper.py"

def again(what, *more):
    for function in (provenance.meaning, provenance.contents):
        function.cache_clear()  # as a new process
    print(f"# {what}", flush=True)
    run.execute(config.from_overrides([*words, *more]), reported=False)

again("new")
again("same")
net.write_text(net.read_text().replace("def forward", "# a comment\\n    def forward"))
again("comment")
helper.write_text("SCALE = 3.0\\n")
again("helper")
helper.write_text("SCALE = 2.0\\n")
net.write_text(net.read_text().replace("SCALE * x", "x * SCALE"))
again("forward")
again("rerun", "rerun=true")
again("after")
helper.unlink()
again("gone")
"""
NET = """
from dataclasses import dataclass
from torch import nn
from sketchlab.inputs import Input
from helper import SCALE

FITS = ("classify",)

@dataclass(frozen=True)
class Config:
    input: Input

class Net(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.layer = nn.Linear(n_in, n_out)

    def forward(self, x):
        return self.layer(SCALE * x.flatten(1))

def build(config, n_classes):
    return Net(config.input.channels * config.input.size_px**2, n_classes)
"""


def test_a_finished_run_is_found_with_what_changed_in_ones_own_code(tmp_path):
    own = tmp_path / "mine"
    (own / "models").mkdir(parents=True)
    (own / "conf" / "model").mkdir(parents=True)
    (own / "models" / "mine.py").write_text(NET)
    (own / "helper.py").write_text("SCALE = 2.0\n")
    source = (Path(PACKAGE).parent / "conf" / "model" / "small_cnn.yaml").read_text()
    start = source.index("input:")
    end = source.index("\nwidths")
    (own / "conf" / "model" / "mine.yaml").write_text(f"name: mine\n{source[start:end]}\n")
    path = [str(Path(PACKAGE).parent), str(own)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(own), str(tmp_path / "runs")],
        env={**os.environ, "SKETCHLAB_EXTRA": str(own), "PYTHONPATH": ":".join(path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    parts = {part.partition("\n")[0]: part.partition("\n")[2] for part in done.stdout.split("# ")[1:]}
    assert "new: no finished run of mine-shapes" in parts["new"]
    for same in ("same", "comment", "after"):
        assert parts[same].splitlines()[-1] == "found: this run is finished", parts[same]
    other = "found: this run is finished, made by other code ({} changed since): rerun=true trains it again"
    assert parts["helper"].splitlines()[-1] == other.format("$SKETCHLAB_EXTRA/helper.py")
    assert parts["forward"].splitlines()[-1] == other.format("$SKETCHLAB_EXTRA/models/mine.py")
    assert "found" not in parts["rerun"] and "epoch" in parts["rerun"]
    assert parts["gone"].splitlines()[-1] == other.format("$SKETCHLAB_EXTRA/helper.py")
