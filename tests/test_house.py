"""The rules of the house that a machine can hold: who imports whom, where Hydra stops, how large files grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "sketchlab"
FILES = sorted(ROOT.rglob("*.py"))
LEAVES = {"errors", "rng", "stats", "inputs", "schema", "semantics"}
OURS = {  # package → what of sketchlab it may import, besides the leaves and itself
    "errors": set(),
    "rng": set(),
    "stats": set(),
    "inputs": set(),
    "semantics": set(),
    "stages": set(),
    "engine": {"stages"},
    "data": set(),
    "models": {"stages"},
    "baselines": set(),
    "metrics": set(),
    "pipelines": {"engine", "metrics", "stages"},
    "report": set(),
}
HEAVY = {"torch", "torchvision", "hydra", "omegaconf", "sklearn", "matplotlib", "pandas", "PIL", "yaml", "safetensors"}
HEAVY |= {"numba", "orjson"}
THEIRS = {  # package → which of the heavy libraries it may import
    "errors": set(),
    "rng": {"torch"},
    "stats": set(),
    "inputs": set(),
    "semantics": set(),
    "engine": {"torch", "pandas", "PIL", "yaml"},
    "data": {"torch", "torchvision", "PIL", "pandas", "yaml", "matplotlib", "numba", "orjson"},
    "models": {"torch", "torchvision", "safetensors", "yaml"},
    "metrics": {"torch"},
    "report": {"pandas", "matplotlib", "PIL", "yaml"},
}


def imports(path: Path) -> set[str]:
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            out |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return out


def part(path: Path) -> str:
    if path.name == "__main__.py":  # python -m sketchlab.data: a command, as run.py is
        return "run"
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path):
    here, found = part(path), imports(path)
    ours = {name.split(".")[1] for name in found if name.startswith("sketchlab.")}
    theirs = {name.split(".")[0] for name in found} & HEAVY
    if here in OURS:
        assert ours <= OURS[here] | LEAVES | {here}, f"{path}: may not import {ours - OURS[here] - LEAVES - {here}}"
    if here in THEIRS:
        assert theirs <= THEIRS[here], f"{path}: may not import {theirs - THEIRS[here]}"
    if here not in ("run", "config", "sweep", "search"):
        assert not theirs & {"hydra", "omegaconf"}, f"{path}: Hydra stops at config.py"


def test_every_package_is_in_the_tables():
    packages = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    assert packages <= set(OURS) | {"app", "opened"}  # these two use everything


@pytest.mark.parametrize("module", ["sketchlab", "sketchlab.run", "sketchlab.report", "sketchlab.stats"])
def test_what_must_start_quickly_does_not_load_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_file_is_a_drawer():
    assert not [p for p in FILES if p.stem in ("utils", "helpers", "common", "misc")]


def test_no_defaults_in_configs():
    """Every value stands once, in YAML."""
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
                assert fields or path.parent.name == "engine" and not fields
                assert not [n for n in fields if n.value is not None], f"{path}: a default in Config"
