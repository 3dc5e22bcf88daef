"""README and docs: short, whole, current; links lead somewhere, and what is typed composes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sketchlab import config, errors

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), ROOT / "experiments" / "README.md", ROOT / "benchmarks" / "README.md"]
WORDS = ("RUN", "CLASSIFIER", "my_net", "<", "…")  # what stands for something of one's own


def blocks(page: Path) -> list[str]:
    """Lines of fenced blocks, and of code in table cells, that begin a command of sketchlab."""
    text = page.read_text(encoding="utf-8")
    fenced = [line for block in re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", text)
    lines = [line.partition("  #")[0].strip() for line in (*fenced, *inline)]
    return [
        line for line in dict.fromkeys(lines) if re.match(r"(\w+=\S+ )?(pip install \. && )?python -m sketchlab", line)
    ]


def commands(module: str) -> list[pytest.param]:
    out = []
    for page in PAGES:
        for line in blocks(page):
            words = shlex.split(line.partition("&& ")[2] or line)
            if module in words and not any(mark in word for word in words for mark in WORDS) and "=" not in words[0]:
                out.append(pytest.param(words[words.index(module) + 1 :], id=f"{page.name}: {' '.join(words[3:])}"))
    return out


def test_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110 and len(text.split()) <= 1200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("words", commands("sketchlab.run"))
def test_what_is_typed_composes(words, monkeypatch):
    """Sweeps with the first of their values; a search and a launcher are Hydra's own, and need their extras."""
    if any(word.startswith(("hydra/", "--")) for word in words):
        pytest.skip("of Hydra itself")
    if "experiment=mamin/cats_and_dogs" in words or any("scoring_classifier=" in word for word in words):
        pytest.skip("needs a finished run")
    sweep = "-m" in words
    chosen = [word for word in words if word != "-m"]
    if sweep:
        chosen = [re.sub(r"^([\w./@]+=)([^,\[({']+),.*$", r"\1\2", word) for word in chosen]
    config.from_overrides(chosen)


def test_settings_are_current():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "settings.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_messages_point_to_pages_that_a_checkout_and_a_wheel_have(tmp_path, monkeypatch):
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sketchlab").rglob("*.py"))
    names = set(re.findall(r"documentation\(['\"](.+?)['\"]\)", sources))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert len(names) == 3 and all(errors.documentation(name) == ROOT / name for name in names)
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "sketchlab" / "errors.py"))
    for name in names:
        inside = errors.documentation(name).relative_to(tmp_path.resolve()).as_posix()
        folder = next((s for s in included if name == s or name.startswith(f"{s}/")), "")
        assert inside == (name.replace(folder, included[folder], 1) if folder else name)
        assert folder or name.startswith("sketchlab/")


def test_commands_were_found():
    assert len(commands("sketchlab.run")) > 60  # README alone has five
