"""python -m sketchlab: what commands there are, and each of them by its name."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

from sketchlab.__main__ import COMMANDS, main


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_alone_it_lists_every_command(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sketchlab", *words])
    main()
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert f"python -m sketchlab.{name} " in out
        found = importlib.util.find_spec(f"sketchlab.{name}")
        assert found, name
        if found.submodule_search_locations:
            assert importlib.util.find_spec(f"sketchlab.{name}.__main__"), name


def test_none_is_missing():
    package = Path(importlib.util.find_spec("sketchlab").submodule_search_locations[0])  # type: ignore
    files = {path.stem for path in package.glob("*.py") if 'if __name__ == "__main__":' in path.read_text()}
    folders = {path.parent.name for path in package.glob("*/__main__.py")}
    assert files - {"__main__"} | folders == set(COMMANDS)


def test_the_script_is_this_list():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"sketchlab": "sketchlab.__main__:main"}


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("words", [["run", "model=vgg61"], ["model=vgg61"]])
def test_words_go_to_their_command_and_without_one_to_run(words, command):
    done = command(*words, module="sketchlab.__main__")
    assert done.returncode == 1 and done.stderr.startswith("error: model=vgg61: no such choice"), done.stderr


def test_help_of_a_command(command):
    done = command("predict", "--help", module="sketchlab.__main__")
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m sketchlab.predict"), done.stderr
