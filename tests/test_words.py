"""The package speaks the field's words: no private vocabulary in its names, no nameless documents in its texts."""

import re
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = sorted((ROOT / "sketchlab").rglob("*.py"))
PRIVATE = {"said", "told", "shown", "asked", "apart", "looked", "yardstick", "hopeless"}
AT_MOST = 60
STUDIES = ("chen2019", "das_debnath", "photo_drawing", "mamin", "frankenstein")


def names(path: Path) -> Counter[str]:
    with path.open("rb") as file:
        return Counter(token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME)


def texts() -> list[Path]:
    kept = [
        path for room in ("sketchlab", "conf", "docs", "experiments", "scripts") for path in (ROOT / room).rglob("*")
    ]
    kinds = {".py", ".yaml", ".md", ".js", ".html"}
    found = [path for path in kept if path.suffix in kinds and "results" not in path.parts]
    return [*found, ROOT / "README.md", ROOT / "data" / "README.md", ROOT / "benchmarks" / "README.md"]


def test_few_names_are_private_words():
    found = sum((names(path) for path in PACKAGE), Counter())
    private = {name: found[name] for name in PRIVATE if found[name]}
    assert sum(private.values()) <= AT_MOST, private


def test_no_function_is_called_answers():
    defined = re.compile(r"^\s*def (answers?|said|told|found)\(", re.M)
    named = [path.name for path in PACKAGE if defined.search(path.read_text()) and path.parent.name != "app"]
    assert not named


def test_studies_have_names():
    nameless = re.compile(r"\bdocument 00\d|\bthe (first|second|third|fourth|fifth) document\b", re.I)
    assert not [str(path.relative_to(ROOT)) for path in texts() if nameless.search(path.read_text())]
    introduced = (ROOT / "docs" / "studies.md").read_text()
    assert all(f"| `{name}` |" in introduced for name in STUDIES)
