"""Write docs/settings.md: every key, its type and its meaning, from the comments of the Configs. Values stand in conf/.

python scripts/settings.py [--check]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "settings.md"
HEAD = """# Settings

Written by `python scripts/settings.py` from the comments of the Configs. The values of a run are printed by
`python -m sketchlab.run --cfg job model=… data=…`, and stand in [conf/](../conf), one file per choice. A heading names
the file that reads the keys; `name:` in a YAML file says which one that is.
"""
SECTIONS = (  # title, prefix of the keys, files
    ("A run", "run", ("sketchlab/config.py",)),
    ("Training", "loop", ("sketchlab/engine/settings.py",)),
    ("The machine", "runtime", ("sketchlab/engine/runtime.py",)),
    ("What a network sees", "model.input", ("sketchlab/inputs.py",)),
    ("Splits", "data.splits", ("sketchlab/data/splits.py",)),
    ("Augmentation of images", "data.augment", ("sketchlab/data/images/augment.py",)),
    ("Augmentation of strokes", "data.augment", ("sketchlab/data/strokes/augment.py",)),
    ("Strokes to frames", "data.raster", ("sketchlab/data/strokes/raster.py",)),
    ("Data", "data", ("sketchlab/data/sets/*.py", "sketchlab/data/sets/*/__init__.py")),
    ("Models", "model", ("sketchlab/models/*.py", "sketchlab/baselines/*.py")),
    ("Pipelines", "pipeline", ("sketchlab/pipelines/*/task.py",)),
)
NESTED = {  # a Config within a Config → the section that has its keys
    "splits.Config": "see Splits",
    "augment.Config": "see Augmentation of images",
    "stroke_augment.Config": "see Augmentation of strokes",
    "raster.Config": "see Strokes to frames",
    "Input": "see What a network sees",
}
CLASSES = ("Config", "RunOptions", "Input", "Side")


def fields(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(class, field, type, comment) of every Config in a file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef) or node.name not in CLASSES:
            continue
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                yield node.name, field.target.id, kind(field.annotation), comment(lines, field)


def kind(annotation: ast.expr) -> str:
    """float of Annotated[float, added(0.0)] and of Machine[float]."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("Annotated", "Machine", "Shown"):
        inner = annotation.slice
        return kind(inner.elts[0] if isinstance(inner, ast.Tuple) else inner)
    return ast.unparse(annotation)


def comment(lines: list[str], field: ast.AnnAssign) -> str:
    """What stands behind a field and in the lines of comment below it, or else in the line above."""
    last = (field.end_lineno or field.lineno) - 1
    own = lines[last].partition("  # ")[2] or " ".join(
        line.partition("  # ")[2] for line in lines[field.lineno - 1 : last] if "  # " in line
    )
    below = []
    for line in lines[last + 1 :]:
        if not line.strip().startswith("# "):
            break
        below.append(line.strip()[2:])
    if not own:  # then it stands above
        return lines[field.lineno - 2].strip().removeprefix("# ") if "# " in lines[field.lineno - 2][:8] else ""
    following = lines[last + 1 + len(below)] if last + 1 + len(below) < len(lines) else ""
    return " ".join([own, *below]) if "  # " in following or ": " not in following else own


def page() -> str:
    out = [HEAD]
    for title, prefix, patterns in SECTIONS:
        out.append(f"## {title}\n")
        for path in sorted(found for pattern in patterns for found in ROOT.glob(pattern)):
            rows = list(fields(path))
            if not rows:
                continue
            name = path.parent.name if path.stem in ("__init__", "task") else path.stem
            several = len(patterns) > 1 or "*" in patterns[0]
            out += [f"### {name}\n"] if several else []
            out += ["| key | type | meaning |", "|---|---|---|"]
            for cls, field, of, meaning in rows:
                key = f"{prefix}.{'…' if cls == 'Side' else ''}{'.' if cls == 'Side' else ''}{field}"
                cells = (f"`{key}`", f"`{of}`", meaning or NESTED[of])
                out.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            out.append("")
    return "\n".join(out).rstrip() + "\n"


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FILE.read_text(encoding="utf-8") == page() else f"{FILE} is old: python scripts/settings.py")
    FILE.write_text(page(), encoding="utf-8")
    print(f"wrote {FILE}")


if __name__ == "__main__":
    main()
