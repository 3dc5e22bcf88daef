"""A table as CSV, Markdown and LaTeX: what a page shows, for a paper."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

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


def write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[str]) -> list[Path]:
    """path.csv, path.md and path.tex (a tabular, for booktabs). numbers: columns set to the right."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    texts = {
        ".csv": as_csv(columns, cells),
        ".md": markdown(columns, cells, numbers),
        ".tex": latex(columns, cells, numbers),
    }
    return [put(path.with_name(path.name + ending), text) for ending, text in texts.items()]


def put(path: Path, text: str) -> Path:
    """A text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """For spreadsheets, which would run a class named "=…"; no command reads these files back, so it may be escaped."""
    out = io.StringIO()
    plain = [[f"'{cell}" if cell.startswith(("=", "@")) else cell for cell in row] for row in (columns, *rows)]
    csv.writer(out, lineterminator="\n").writerows(plain)
    return out.getvalue()


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"

    rule = line(["---:" if name in numbers else "---" for name in columns])
    return line(columns) + rule + "".join(map(line, rows))


def latex(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(LATEX.get(c, c) for c in cell) for cell in cells) + " \\\\\n"

    letters = "".join("r" if name in numbers else "l" for name in columns)
    body = "".join(map(line, rows))
    return (
        f"\\begin{{tabular}}{{{letters}}}\n\\toprule\n{line(columns)}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"
    )
