"""The numbers of the house: circles of imports, imports that run upwards, large folders, families of files.

python -m tests.house
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sketchlab"
# Rooms from the lowest to the highest: a file imports from its own room and from lower ones.
ORDER = (
    *("errors", "rng", "stats", "components", "schema", "inputs", "semantics"),
    *("storage", "layers", "weights", "metrics", "engine"),
    *("data", "data.sets", "data.commands"),
    *("models", "baselines", "pipelines", "config"),
    *("report", "runs", "training", "sweeps"),
    "",  # sketchlab/__init__.py
    *("run", "predict", "evaluate", "generate", "export", "retrieve", "translate"),
    *("data.__main__", "report.__main__", "diff", "pack", "app", "new", "__main__"),
)
COMPONENTS = ("models", "baselines", "data/sets")  # a file per choice, however many there are
MOST_FILES, MOST_RELATIVES = 16, 3


def modules(folder: Path, package: str) -> dict[str, Path]:
    """Name → file of every module below `folder`, whose own name is `package` ("" for a folder of scripts)."""
    out = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        out[".".join(part for part in (package, *parts) if part not in ("", "__init__"))] = path
    return out


def graph(folder: Path, package: str) -> dict[str, set[str]]:
    """Module → the modules of the same folder that it imports, wherever in the file."""
    known = modules(folder, package)
    out: dict[str, set[str]] = {}
    for name, path in known.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                both = [(f"{node.module}.{alias.name}", node.module) for alias in node.names]
                names |= {one if one in known else other for one, other in both}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        out[name] = (names & set(known)) - {name}
    return out


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another by imports (strongly connected components of two and more)."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = imports[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    reach = {name: reached(name) for name in imports}
    groups = {tuple(sorted(o for o in reach[name] if name in reach[o])) for name in imports if name in reach[name]}
    return sorted(map(list, groups))


def room(module: str, order: tuple[str, ...] = ORDER) -> str:
    """The longest name in `order` that the module is or stands below. ValueError for a module of no room."""
    inner = module.partition(".")[2]
    if inner in order:
        return inner
    parts = inner.split(".")
    for n in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:n]) in order:
            return ".".join(parts[:n])
    raise ValueError(f"{module} stands in no room of ORDER")


def upwards(imports: dict[str, set[str]], order: tuple[str, ...] = ORDER) -> list[tuple[str, str]]:
    """(module, what it imports) where the second stands in a higher room."""
    rank = {name: i for i, name in enumerate(order)}
    return [
        (name, other)
        for name in sorted(imports)
        for other in sorted(imports[name])
        if rank[room(other, order)] > rank[room(name, order)]
    ]


def sizes(folder: Path) -> dict[str, int]:
    """Folder → how many Python files stand in it, those below it not counted."""
    return dict(Counter(p.parent.relative_to(folder).as_posix() for p in folder.rglob("*.py")))


def families(folder: Path) -> dict[tuple[str, str], int]:
    """(folder, what stands before the first _ of a name) → how many files share it."""
    files = [p for p in folder.rglob("*.py") if not p.name.startswith("__")]
    return dict(Counter((p.parent.relative_to(folder).as_posix(), p.stem.partition("_")[0]) for p in files))


def main() -> None:
    imports = graph(PACKAGE, "sketchlab")
    print(f"{len(imports)} files, {sum(len(p.read_text().splitlines()) for p in PACKAGE.rglob('*.py')):,} lines")
    for name, package in (("sketchlab", "sketchlab"), ("experiments", ""), ("scripts", "")):
        found = circles(graph(ROOT / name, package))
        print(f"circles of imports in {name}: {len(found)}", *(" ".join(each) for each in found), sep="\n  ")
    found = upwards(imports)
    print(f"imports that run upwards: {len(found)}", *(f"{a} → {b}" for a, b in found), sep="\n  ")
    of = {folder: n for folder, n in sizes(PACKAGE).items() if folder not in COMPONENTS}
    large = sorted(of, key=lambda folder: -of[folder])[:3]
    print("largest folders:", ", ".join(f"{folder} {of[folder]}" for folder in large), f"(at most {MOST_FILES})")
    of = families(PACKAGE)
    large = sorted(of, key=lambda family: -of[family])[:3]
    print("largest families:", ", ".join(f"{'/'.join(f)} {of[f]}" for f in large), f"(at most {MOST_RELATIVES})")


if __name__ == "__main__":
    main()
