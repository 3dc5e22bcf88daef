"""A table as CSV, Markdown and LaTeX: what a page shows, for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

from sketchlab.storage.files import atomic

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "–": "--",
    "·": r"\textperiodcentered{}",
    "±": r"\ensuremath{\pm}",
    "≈": r"\ensuremath{\approx}",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
}


Bold = Collection[tuple[int, int]]  # (row, column) of cells


def write(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[str], bold: Bold = ()
) -> list[Path]:
    """path.csv, path.md and path.tex (a tabular, for booktabs). numbers: columns set to the right."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    texts = {
        ".csv": as_csv(columns, cells),
        ".md": markdown(columns, cells, numbers, bold),
        ".tex": latex(columns, cells, numbers, bold),
    }
    return [put(path.with_name(path.name + ending), text) for ending, text in texts.items()]


def put(path: Path, text: str) -> Path:
    """A text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A name that begins with = or @ gets ' in front: spreadsheets would compute it, and nothing reads these tables
    back. Files that are read back, or made for programs, have names as they are."""
    out = io.StringIO()
    safe = [[f"'{cell}" if cell[:1] in ("=", "@") else cell for cell in row] for row in (columns, *rows)]
    csv.writer(out, lineterminator="\n").writerows(safe)
    return out.getvalue()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str], bold: Bold = ()) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"

    rule = line(["---:" if name in numbers else "---" for name in columns])
    return line(columns) + rule + "".join(map(line, _marked(rows, bold, "**{}**")))


def _marked(rows: Sequence[Sequence[str]], bold: Bold, form: str) -> list[list[str]]:
    return [[form.format(cell) if (y, x) in bold else cell for x, cell in enumerate(row)] for y, row in enumerate(rows)]


def latex(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str], bold: Bold = ()) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + " \\\\\n"

    def escaped(cells: Sequence[str]) -> list[str]:
        return ["".join(LATEX.get(c, c) for c in cell) for cell in cells]

    letters = "".join("r" if name in numbers else "l" for name in columns)
    body = "".join(map(line, _marked([escaped(row) for row in rows], bold, r"\textbf{{{}}}")))
    head = f"\\begin{{tabular}}{{{letters}}}\n\\toprule\n{line(escaped(columns))}\\midrule\n"
    return f"{head}{body}\\bottomrule\n\\end{{tabular}}\n"
