"""Whatever is damaged in a run folder: one line, or one note on the page; never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import sketchlab
import sketchlab.report
from sketchlab.errors import STRICT, UserError
from sketchlab.metrics.declared import of_pipeline
from sketchlab.report.comparison import compare

FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs_v2"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00\x01" * 8),
    "a list": lambda path: path.write_text("[1, 2]\n"),
    "null": lambda path: path.write_text("null\n"),
    "a number": lambda path: path.write_text("3\n"),
}
SOME = [
    *(("config.yaml", "cut"), ("status.json", "a list"), ("data.json", "null"), ("metrics.jsonl", "binary")),
    *(("predictions_test.csv", "empty"), ("arrays/test_confusion.npy", "cut")),
]
MORE = [
    *(("config.yaml", "binary"), ("config.yaml", "null"), ("status.json", "cut"), ("data.json", "missing")),
    *(("metrics.jsonl", "a list"), ("predictions_test.csv", "cut")),
    *((name, "cut") for name in ("model.csv", "code.json", "scores.json", "env.json")),
]
DAMAGED = [*SOME, *(pytest.param(name, damage, marks=pytest.mark.slow) for name, damage in MORE)]


def finished(name: str) -> Path:
    folders = [path.parent for path in FIXTURES.glob(f"{name}/*/status.json")]
    return next(folder for folder in folders if json.loads((folder / "status.json").read_text())["state"] == "finished")


def copied(root: Path) -> Path:
    """A finished run, with the files that runs of today have beside those of then."""
    folder = Path(shutil.copytree(finished("small_cnn-shapes"), root / "small_cnn-shapes" / "0123456789ab"))
    (folder / "code.json").write_text('{"sketchlab/engine/loop.py": ["a", "b"]}')
    (folder / "scores.json").write_text(json.dumps(of_pipeline("classify").document()))
    return folder


def look(folder: Path) -> None:
    """The page, what opens the run, and a comparison with a whole one."""
    page = sketchlab.report.write(folder)
    assert "Traceback" not in page.read_text()


def open_it(folder: Path) -> None:
    opened = sketchlab.open_run(folder)
    _ = opened.config, opened.status, opened.scores, opened.classes, opened.metrics, opened.model


def one_line(call: Callable[[Path], object], folder: Path) -> None:
    try:
        call(folder)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.fixture(autouse=True)
def as_for_users(monkeypatch):
    monkeypatch.delenv(STRICT)


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_a_page_is_written_or_the_damage_named(name, damage, tmp_path):
    folder = copied(tmp_path)
    DAMAGES[damage](folder / name)
    one_line(look, folder)
    one_line(open_it, folder)


@pytest.mark.parametrize(("name", "damage"), [*SOME[::3], *DAMAGED[len(SOME) :: 3]])
def test_a_comparison_goes_on_without_what_is_damaged(name, damage, tmp_path):
    good = copied(tmp_path)
    bad = Path(shutil.copytree(good, good.with_name("ba9876543210")))
    DAMAGES[damage](bad / name)
    page = compare.compare([good.parent], out=tmp_path / "comparison")
    assert good.name in page.read_text() and "Traceback" not in page.read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    "run", ["small_cnn-shapes", "small_siamese-shapes", "small_dcgan-shapes", "small_cyclegan-shapes"]
)
def test_any_file_any_damage(run, tmp_path):
    whole = finished(run)
    for file in sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file()):
        for damage in DAMAGES.values():
            folder = Path(shutil.copytree(whole, tmp_path / "a" / "0123456789ab"))
            damage(folder / file)
            one_line(look, folder)
            one_line(open_it, folder)
            shutil.rmtree(folder)


def test_what_is_left_out_is_named_on_the_page(tmp_path):
    folder = copied(tmp_path)
    DAMAGES["cut"](folder / "arrays" / "test_confusion.npy")
    text = sketchlab.report.write(folder).read_text()
    assert "Left out: confusion matrices, as a file of it is damaged or missing" in text
    assert text.count("Left out:") <= 3
