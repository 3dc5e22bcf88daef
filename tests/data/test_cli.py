import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sketchlab.data import __main__ as cli
from sketchlab.data.commands import check
from sketchlab.data.dataset import Dataset, Images, Split


@pytest.fixture(autouse=True)
def places(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("SKETCHLAB_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))


def sketch(seed, size=150):
    """A few random lines, as unlike another seed's as two drawings are."""
    image = Image.new("L", (size, size), 255)
    points = np.random.default_rng(seed).integers(10, size - 10, (8, 2))
    ImageDraw.Draw(image).line([tuple(int(v) for v in p) for p in points], fill=60, width=2)
    return image


def tree(root, classes=("ant", "bee (small)"), n=10):
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            sketch(100 * c + i).save(root / name / f"{i:02d}.png")
    return root


def run(capsys, *words):
    code = cli.main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_list_names_every_choice(tmp_path, capsys):
    (tmp_path / "tuberlin" / "png").mkdir(parents=True)
    code, out, _ = run(capsys, "list")
    assert code == 0 and re.search(r"^tuberlin +here", out, re.M) and re.search(r"^cifar10 +-", out, re.M)
    assert re.search(r"^shapes +built in", out, re.M)


def test_every_source_is_complete_and_every_hash_has_its_length():
    for name, source in cli.sources().items():
        assert source.licence and source.citation and source.layout and source.page.startswith("https://"), name
        for file in source.files:
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)
            assert all(url.startswith("http") for url in file.urls) and not Path(file.save_as).is_absolute()


def test_every_choice_knows_its_sources():
    assert cli.choices()["mixed"][1] == ["hymenoptera", "tuberlin"]
    assert cli.choices()["sketchy_photos"][1] == ["sketchy"] and cli.choices()["shapes"][1] == []


def test_check_a_clean_set(tmp_path, capsys):
    tree(tmp_path)
    code, out, _ = run(capsys, "check", "folder")
    assert code == 0 and "2 classes" in out and "0 pairs look the same" in out


def test_check_names_broken_blank_and_doubled_images(tmp_path, capsys):
    tree(tmp_path)
    for i in range(4):  # copies as they come about: smaller, as JPEG, paler; of four at least one changes its split
        sketch(i).resize((75, 75)).save(tmp_path / "ant" / f"copy{i}.jpg", quality=40)
    Image.eval(sketch(105), lambda v: 100 + v // 2).save(tmp_path / "ant" / "other class.png")
    (tmp_path / "ant" / "broken.png").write_bytes((tmp_path / "ant" / "00.png").read_bytes()[:90])
    Image.new("L", (9, 9), 255).save(tmp_path / "ant" / "blank.png")
    code, out, _ = run(capsys, "check", "folder")
    assert code == 1
    assert "ant/broken.png: " in out and re.search(r"^blank: \w+: ant/blank.png", out, re.M)
    pairs = re.findall(r"^  0\.0\d+  \w+: (.+)  =  \w+: (.+?)( DIFFERENT CLASSES)?$", out, re.M)
    found = {frozenset(pair[:2]) for pair in pairs}
    assert found == {frozenset((f"ant/{i:02d}.png", f"ant/copy{i}.jpg")) for i in range(4)} | {
        frozenset(("ant/other class.png", "bee (small)/05.png"))
    }
    assert [pair[2] != "" for pair in pairs].count(True) == 1


def test_near_duplicates_against_all_pairs():
    images = [np.asarray(sketch(i, 64)) for i in range(40)]
    images += [
        np.clip(images[i] * 0.9 + 20 + np.random.default_rng(i).normal(0, 2, (64, 64)), 0, 255) for i in range(5)
    ]
    pixels = torch.from_numpy(np.stack(images).astype(np.uint8))[:, None]
    rows, n = torch.randperm(45, generator=torch.Generator().manual_seed(0)), 30
    splits = {
        name: Split(Images(pixels), part, torch.zeros(len(part), dtype=torch.int64), [str(int(i)) for i in part], part)
        for name, part in (("train", rows[:n]), ("test", rows[n:]))
    }
    found = check.find(Dataset(["a"], splits, lambda raw, keys: raw.float(), 1, ""), distance=0.1)
    likeness = np.corrcoef(pixels.flatten(1).numpy().astype(float))
    want = {frozenset((str(i), str(j))) for i in range(45) for j in range(i) if 1 - likeness[i, j] <= 0.1}
    assert {frozenset((pair.a[1], pair.b[1])) for pair in found.same} == want and len(want) >= 5
    for pair in found.same:
        assert abs(pair.distance - (1 - likeness[int(pair.a[1]), int(pair.b[1])])) < 1e-3
        assert pair.leaks == (pair.a[0] != pair.b[0])
    assert [pair.leaks for pair in found.same] == sorted((pair.leaks for pair in found.same), reverse=True)


def test_too_many_to_compare(tmp_path, capsys, monkeypatch):
    tree(tmp_path)
    monkeypatch.setattr(check, "MOST", 19)
    code, _, err = run(capsys, "check", "folder")
    assert code == 1 and "20 images are too many" in err


def test_blocks_make_no_difference(monkeypatch):
    rough = torch.nn.functional.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(1)))

    def all_pairs():
        return {(int(a), int(b)) for i, j in check._candidates(rough, 0.3) for a, b in zip(i, j, strict=True)}

    whole = all_pairs()
    monkeypatch.setattr(check, "_BLOCK", 7)
    assert all_pairs() == whole == {(i, j) for i in range(50) for j in range(i + 1, 50) if rough[i] @ rough[j] >= 0.3}


def test_show_writes_one_page_with_everything_inside(tmp_path, capsys):
    tree(tmp_path, classes=("ant", "<b>&"))
    (tmp_path / "ant" / "note.txt").write_text("x")
    code, out, _ = run(capsys, "show", "folder", "--out", "page.html")
    page = Path("page.html").read_text()
    assert code == 0 and out == "page.html\n" and os.listdir() == ["page.html"]
    assert "20 images in 2 classes; train 16, val 2, test 2" in page and "150 px" in page and "note" not in page[:200]
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page
    assert page.count("data:image/png;base64,") == 2 and "no images (.txt)" in page
    assert not re.search(r'src="(?!data:)', page)
    run(capsys, "show", "folder", "--out", "again.html")
    assert Path("again.html").read_text() == page


def test_show_what_is_built_in(capsys):
    code, _, err = run(capsys, "show", "shapes", "data.per_class=20", "data.classes=[circle,square]")
    assert code == 0, err
    assert "circle" in Path("outputs/data/shapes.html").read_text()


@pytest.mark.parametrize(
    "words, message",
    [
        (["check", "tuberlin"], "error: no folder .*tuberlin/png.*fetch tuberlin"),
        (["check", "tuberlinn"], "did you mean tuberlin"),
        (["show", "folder", "data.clases=[ant]"], "data.clases: no such key; did you mean data.classes"),
        (["fetch", "tuberlinn"], "did you mean tuberlin"),
        (["fetch", "shapes"], "needs no download"),
        (["fetch", "celeba"], "no direct address; by hand: get it from https://mmlab"),
    ],
)
def test_mistakes_are_one_line(capsys, words, message):
    code, _, err = run(capsys, *words)
    assert code == 1 and re.search(message, err) and err.count("\n") == 1


REAL = Path(os.environ.get("SKETCHLAB_DATA", "/nowhere"))


@pytest.mark.realdata
@pytest.mark.parametrize("name, images", [("hymenoptera", 397), ("tuberlin", None), ("sketchy_photos", None)])
def test_real_data_is_sound(name, images, capsys, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_DATA", str(REAL))
    if not all((REAL / file.gives).exists() for s in cli.choices()[name][1] for file in cli.sources()[s].files):
        pytest.skip(f"SKETCHLAB_DATA has no {name}")
    code, out, _ = run(capsys, "check", name)
    assert code == 0 and "0 pairs look the same" in out
    if images:
        assert (
            sum(int(n.replace(",", "")) for n in re.findall(r"(?:train|val|test) ([\d,]+)", out.splitlines()[0]))
            == images
        )


def test_quickdraw_is_fetched_by_words_and_counted_by_them(tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(cli.download, "fetch", lambda source, root: asked.append(source))
    assert cli.main(["fetch", "quickdraw", "data.classes=[cat,hot dog]", "--root", str(tmp_path)]) == 0
    (source,) = asked
    assert [Path(file.gives).name for file in source.files] == ["cat.ndjson", "hot dog.ndjson"]
    assert source.files[1].urls[0].endswith("/simplified/hot%20dog.ndjson")
    for words in (["quickdraw", "data.classes=cat"], ["tuberlin", "data.classes=[cat]"], ["quickdraw", "seed=1"]):
        assert cli.main(["fetch", *words]) == 1 and capsys.readouterr().err.count("\n") == 1
    monkeypatch.setenv("SKETCHLAB_DATA", str(tmp_path))
    (tmp_path / "quickdraw" / "simplified").mkdir(parents=True)
    (tmp_path / "quickdraw" / "simplified" / "circle.ndjson.gz").write_bytes(b"")
    assert cli.main(["fetch", "photo_drawing"]) == 1 and "scripts/cut_sheet.py" in capsys.readouterr().err
    (tmp_path / "photo_drawing").mkdir()
    assert cli.main(["list"]) == 0
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[2:] if line}
    assert lines["quickdraw"].startswith("1 of 18") and lines["photo_drawing"].startswith("here")
    assert lines["shapes"].startswith("built in")
    assert lines["pairs"].startswith("yours") and lines["strokes"].startswith("yours")


def copies(n):
    """n copies of one sketch and one other, the last copies in test."""
    pixels = torch.from_numpy(np.stack([np.asarray(sketch(i > 0, 64)) for i in [0] + [1] * n]).astype(np.uint8))[
        :, None
    ]
    rows = torch.arange(n + 1)
    splits = {
        name: Split(Images(pixels), part, torch.zeros(len(part), dtype=torch.int64), [str(int(i)) for i in part], part)
        for name, part in (("train", rows[:-2]), ("test", rows[-2:]))
    }
    return Dataset(["a"], splits, lambda raw, keys: raw.float(), 1, "")


def test_equal_images_are_compared_with_the_first_of_them_alone():
    found = check.find(copies(400))
    assert len(found.same) == 399 and sum(pair.leaks for pair in found.same) == 2
    assert check.warnings(copies(400)) == [
        "2 pairs of images in different splits look the same, the first train: 1 = test: 399"
    ]


def test_blank_and_very_unequal_classes_are_named():
    pixels = torch.full((25, 1, 64, 64), 255, dtype=torch.uint8)
    pixels[:24] = torch.from_numpy(np.stack([np.asarray(sketch(i, 64)) for i in range(24)]))[:, None]
    labels, rows = torch.tensor([0] * 24 + [1]), torch.arange(25)
    split = Split(Images(pixels), rows, labels, [str(i) for i in range(25)], rows)
    blank, unequal = sorted(check.warnings(Dataset(["a", "b"], {"train": split}, lambda raw, keys: raw, 1, "")))
    assert "class 'b' is blank: all 1 images" in blank
    assert unequal == "very unequal classes: 'a' has 24 images, 'b' 1"
