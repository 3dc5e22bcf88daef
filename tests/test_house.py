"""The rules of the house that a machine can hold: who imports whom, where Hydra stops, how large folders grow."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sketchlab import components, config
from tests import house

ROOT = Path(__file__).parent.parent / "sketchlab"
FILES = sorted(ROOT.rglob("*.py"))
LEAVES = {"errors", "rng", "stats", "inputs", "schema", "semantics", "components"}
OURS = {  # package → what of sketchlab it may import, besides the leaves and itself
    "errors": set(),
    "rng": set(),
    "stats": set(),
    "inputs": set(),
    "semantics": set(),
    "storage": set(),
    "layers": set(),
    "weights": set(),
    "engine": {"layers", "metrics", "storage"},
    "data": {"storage"},
    "models": {"layers", "weights"},
    "baselines": set(),
    "metrics": set(),
    "pipelines": {"engine", "metrics", "layers", "storage"},
    "report": {"metrics", "storage"},
}
HEAVY = {"torch", "torchvision", "hydra", "omegaconf", "sklearn", "matplotlib", "pandas", "PIL", "yaml", "safetensors"}
HEAVY |= {"numba", "orjson", "ndjson"}
THEIRS = {  # package → which of the heavy libraries it may import
    "errors": set(),
    "rng": {"torch"},
    "stats": set(),
    "inputs": set(),
    "semantics": set(),
    "storage": set(),
    "engine": {"torch", "pandas", "PIL", "yaml"},
    "data": {"torch", "torchvision", "PIL", "pandas", "yaml", "matplotlib", "numba", "orjson", "ndjson"},
    "layers": {"torch"},
    "weights": {"torch", "torchvision", "safetensors", "yaml"},
    "models": {"torch", "torchvision"},
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
    if here in ("engine", "report"):  # what scores are, not how they are computed
        found_metrics = {name for name in found if name.startswith("sketchlab.metrics.")}
        assert {name.split(".")[2] for name in found_metrics} <= {"declared"}, path
    if here in THEIRS:
        assert theirs <= THEIRS[here], f"{path}: may not import {theirs - THEIRS[here]}"
    if here not in ("run", "config", "sweeps"):
        assert not theirs & {"hydra", "omegaconf"}, f"{path}: Hydra stops at config.py"


def test_every_package_is_in_the_tables():
    packages = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    assert packages <= set(OURS) | {
        "app",
        "runs",
        "sweeps",
        "training",
        "new",
        "components",
        "diff",
        "pack",
    }


@pytest.mark.parametrize(
    "module", ["sketchlab", "sketchlab.__main__", "sketchlab.run", "sketchlab.report", "sketchlab.stats"]
)
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


@pytest.mark.parametrize(("folder", "package"), [("sketchlab", "sketchlab"), ("experiments", ""), ("scripts", "")])
def test_imports_make_no_circle(folder, package):
    assert house.circles(house.graph(house.ROOT / folder, package)) == []


def test_no_import_runs_upwards():
    imports = house.graph(ROOT, "sketchlab")
    assert house.upwards(imports) == []
    assert {house.room(name) for name in imports} == set(house.ORDER), "a name in ORDER that no file has"


def test_no_folder_is_large_and_no_family():
    large = {folder: n for folder, n in house.sizes(ROOT).items() if n > house.MOST_FILES}
    assert set(large) <= set(house.COMPONENTS)
    assert {of: n for of, n in house.families(ROOT).items() if n > house.MOST_RELATIVES} == {}


def test_what_counts_finds_what_is_wrong(tmp_path):
    """low ↔ low.other is a circle, low → high runs upwards; a folder of two files, three of them one family."""
    for name, text in {
        "low/__init__.py": "def f():\n    from p.low import other\n",
        "low/other.py": "import p.low\nimport p.high_a\n",
        "high_a.py": "from p.low.other import x\nfrom p import high_b\n",
        "high_b.py": "from p import high_b, low\nimport os\n",
        "high_c.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    imports = house.graph(tmp_path, "p")
    assert imports["p.high_a"] == {"p.low.other", "p.high_b"} and imports["p.high_b"] == {"p.low"}
    assert house.circles(imports) == [["p.high_a", "p.high_b", "p.low", "p.low.other"]]
    assert house.circles({**imports, "p.low": set()}) == [["p.high_a", "p.low.other"]]
    order = ("low", "high_a", "high_b", "high_c")
    assert house.upwards(imports, order) == [("p.high_a", "p.high_b"), ("p.low.other", "p.high_a")]
    with pytest.raises(ValueError, match="p.high_c stands in no room"):
        house.room("p.high_c", order[:3])
    assert house.sizes(tmp_path) == {".": 3, "low": 2}
    assert house.families(tmp_path) == {(".", "high"): 3, ("low", "other"): 1}


@pytest.mark.parametrize("group", config.GROUPS)
def test_a_folder_of_components_holds_components_only(group):
    """So that "there is: …" lists what a user can choose: every name is one that conf/ uses."""
    constant = {"data": "GIVES", "model": "GIVES", "pipeline": "TAKES"}.get(group)
    found = components.implementations(group)
    for name, module in found.items():
        component = importlib.import_module(module)
        assert component.Config and callable(component.build), name
        assert constant is None or getattr(component, constant), name
    values = [yaml.safe_load(path.read_text()) for path in (config.conf_dir() / group).glob("*.yaml")]
    assert set(found) == {each["name"] for each in values if "name" in each}
    listed = pytest.raises(config.UserError, config.component, group, {"name": "none"}).value.args[0]
    assert "; there is: " + ", ".join(found) in listed and listed.endswith("conf/")


def test_pipelines_hold_folders_of_one_name():
    names = set(components.implementations("pipeline"))
    assert {p.name for p in (ROOT / "pipelines").iterdir() if p.name != "__pycache__"} == names | {"__init__.py"}
    assert {p.name for p in (ROOT / "runs").iterdir() if p.is_dir() and p.name != "__pycache__"} <= names
