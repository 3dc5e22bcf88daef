"""A contact sheet cut apart and laid together again is the sheet."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
import cut_sheet  # noqa: E402


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "sheet.png")
    return tmp_path / "sheet.png"


@pytest.mark.parametrize("words", [["--tile", "20"], ["--grid", "3x4"], ["--tile", "20x20"]])
def test_tiles_laid_together_are_the_sheet(sheet, tmp_path, words):
    cut_sheet.main([str(sheet), str(tmp_path / "out"), *words])
    tiles = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in tiles[:2]] == ["sheet_0_0.png", "sheet_0_1.png"] and len(tiles) == 12
    rows = [np.concatenate([np.asarray(Image.open(p)) for p in tiles[4 * r : 4 * r + 4]], 1) for r in range(3)]
    assert (np.concatenate(rows) == np.asarray(Image.open(sheet))).all()


def test_rest_is_cut_off_only_when_asked(sheet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cut_sheet.main([str(sheet), str(tmp_path / "out"), "--tile", "50"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "10 rows and 30 columns of pixels are left over; --allow-rest" in said
    assert not (tmp_path / "out").exists()
    cut_sheet.main([str(sheet), str(tmp_path / "out"), "--tile", "50", "--allow-rest"])
    (tile,) = (tmp_path / "out").iterdir()
    assert (np.asarray(Image.open(tile)) == np.asarray(Image.open(sheet))[:50, :50]).all()


def test_empty_tiles_are_counted(sheet, tmp_path, capsys):
    pixels = np.asarray(Image.open(sheet)).copy()
    pixels[40:, 40:] = 255
    Image.fromarray(pixels).save(sheet)
    cut_sheet.main([str(sheet), str(tmp_path / "out"), "--tile", "20"])
    assert len(list((tmp_path / "out").iterdir())) == 10 and "10 tiles" in (said := capsys.readouterr().out)
    assert "2 of one colour left out" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tile", "0"], "--tile 0: expected"),
        (["--grid", "3"], "--grid 3: expected ROWSxCOLUMNS"),
        (["--tile", "100"], "smaller than one tile"),
        (["--grid", "7x4"], "does not divide into 7 rows and 4 columns"),
    ],
)
def test_mistakes_in_one_line(sheet, tmp_path, capsys, words, said):
    with pytest.raises(SystemExit):
        cut_sheet.main([str(sheet), str(tmp_path / "out"), *words])
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_no_image_and_tiles_already_there(sheet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cut_sheet.main([str(tmp_path / "none.png"), str(tmp_path / "out"), "--tile", "20"])
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(SystemExit):
        cut_sheet.main([str(tmp_path / "text.png"), str(tmp_path / "out"), "--tile", "20"])
    cut_sheet.main([str(sheet), str(tmp_path / "out"), "--tile", "20"])
    with pytest.raises(SystemExit):
        cut_sheet.main([str(sheet), str(tmp_path / "out"), "--tile", "20"])
    assert [line[:6] for line in capsys.readouterr().err.splitlines()] == ["error:"] * 3
