"""What is kept is whole, or made again: the same numbers after any damage, one line, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sketchlab import config
from sketchlab.data.__main__ import main
from sketchlab.data.strokes import index as stroke_index
from sketchlab.engine import features
from sketchlab.errors import UserError
from sketchlab.storage import cache
from tests import every

SHAPES = ["data=shapes", "data.per_class=200", "data.classes=[circle,square,line]"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(cache.LIMIT, raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """The same 3 × 8 drawings as PNG files and as ndjson."""
    from PIL import Image

    from sketchlab.data.sets.shapes import drawings
    from sketchlab.data.sets.shapes.hand import render

    root = tmp_path_factory.mktemp("sources")
    (root / "strokes").mkdir()
    for name in ("circle", "square", "line"):
        (root / "images" / name).mkdir(parents=True)
        drawn = drawings(name, list(range(8)))
        for number, strokes in enumerate(drawn):
            Image.fromarray(render(strokes, 32)).save(root / "images" / name / f"{number}.png")
        lines = [json.dumps({"word": name, "key_id": str(n), "drawing": d}) for n, d in enumerate(drawn)]
        (root / "strokes" / f"{name}.ndjson").write_text("\n".join(lines) + "\n")
    return root


def train_split(*words: str):
    """Of all samples."""
    made = config.from_overrides([*words, "data.splits.train=1", "data.splits.val=0", "data.splits.test=0"])
    return made.data.build(made.model.config.input).splits["train"]


def image_split(sources: Path):
    return train_split("data=folder", f"data.root={sources / 'images'}", "data.folder=.")


def images(sources: Path) -> torch.Tensor:
    split = image_split(sources)
    return split.gather(torch.arange(len(split)))


def strokes(sources: Path) -> torch.Tensor:
    words = ["model=stroke_lstm", "data=quickdraw", f"data.root={sources}", "data.folder=strokes"]
    split = train_split(*words, "data.classes=null", "data.per_class=null")
    return split.gather(torch.arange(len(split))).points


def frozen(sources: Path) -> torch.Tensor:
    from sketchlab.engine.runtime import Runtime
    from sketchlab.layers.chain import flatten

    made = config.from_overrides(every.small("small_cnn", "model.norm=none", "data.per_class=40"))
    data, runtime = made.data.build(made.model.config.input), Runtime(made.runtime)
    runtime.seed(1)
    net = made.model.build(len(data.classes))
    for stage in flatten(net)[:4]:
        stage.requires_grad_(False)
    return made.pipeline.build(net, data, made.loop, runtime, 1).logits("val")


def shapes(sources: Path) -> torch.Tensor:
    split = train_split("model=small_siamese", *SHAPES)
    at = torch.arange(len(split))
    return torch.cat([split.sketch.gather(at).flatten(), split.photo.gather(at).flatten()])


def shapes_as_strokes(sources: Path) -> torch.Tensor:
    split = train_split("model=stroke_lstm", *SHAPES)
    return split.gather(torch.arange(len(split))).points


KINDS = {
    "images": (images, "images"),
    "strokes": (strokes, "strokes"),
    "splits": (strokes, "strokes"),
    "features": (frozen, "features"),
    "shapes": (shapes, "shapes"),
    "shapes as strokes": (shapes_as_strokes, "shapes"),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def change_index(path: Path) -> None:
    """A count or a name in it, as valid JSON."""
    index = json.loads(path.read_text())
    content = index["content"]
    key = next(iter(content))
    content[key] = content[key] + 1 if isinstance(content[key], int) else content[key] + content[key]
    path.write_text(json.dumps(index))


def drop_digests(path: Path) -> None:
    """As it was kept before there were digests."""
    path.write_text(json.dumps(json.loads(path.read_text())["content"]))


FILE_DAMAGES = {
    "a flipped bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "a folder": into_folder,
}
INDEX_DAMAGES = {
    "index missing": Path.unlink,
    "index empty": lambda path: path.write_text(""),
    "index cut": lambda path: path.write_text(path.read_text()[:-5]),
    "index a list": lambda path: path.write_text("[]"),
    "index of wrong types": lambda path: path.write_text('{"content": 3, "files": [], "what": "", "digest": ""}'),
    "index changed": change_index,
    "index of before": drop_digests,
    "index binary": lambda path: path.write_bytes(b"\xff\x00\xfe"),
}


DAMAGES = [*FILE_DAMAGES, *INDEX_DAMAGES]


@pytest.mark.parametrize("damage", [*DAMAGES[::4], *every.slow(*(d for d in DAMAGES if d not in DAMAGES[::4]))])
@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_is_made_good_in_a_line(kind, damage, sources, home, monkeypatch, capsys):
    make, place = KINDS[kind]
    monkeypatch.setattr(features, "KEEP_FROM_S", 0.0)
    if kind == "splits":
        monkeypatch.setattr(stroke_index, "LARGE", 1)
    good = make(sources)
    folder = sorted((home / place).glob("splits-*" if kind == "splits" else "[0-9a-f]*"))[0]
    capsys.readouterr()
    assert torch.equal(make(sources), good) and capsys.readouterr().err == ""
    if damage in INDEX_DAMAGES:
        INDEX_DAMAGES[damage](folder / cache.INDEX)
    else:
        FILE_DAMAGES[damage]([path for path in cache._files(folder) if path.stat().st_size][-1])
    assert torch.equal(make(sources), good)
    err = capsys.readouterr().err
    assert err.count("it is made again") == 1 and "Traceback" not in err and str(folder) in err
    assert torch.equal(make(sources), good) and capsys.readouterr().err == "", "and then it is whole"


def test_a_bit_that_flips_below_the_file_system_is_found_by_verify(sources, home, capsys):
    good = images(sources)
    (folder,) = (home / "images").glob("[0-9a-f]*")
    path = folder / "pixels.u8"
    flip(path)
    looks = json.loads((folder / cache.CHECKED).read_text()) | {path.name: cache._look(path)}
    (folder / cache.CHECKED).write_text(json.dumps(looks))  # as if size, times and inode had stayed
    assert not torch.equal(images(sources), good), "opening does not read it all"
    assert main(["cache", "verify"]) == 1
    assert f"removed {folder}: pixels.u8 is not what was written" in capsys.readouterr().out
    assert torch.equal(images(sources), good) and main(["cache", "verify"]) == 0


def test_what_another_process_has_mapped_stays_readable(sources, home):
    split = image_split(sources)
    mapped = split.gather(torch.arange(len(split))).clone()
    cache.prune(0.0)
    assert not list((home / "images").glob("[0-9a-f]*"))
    assert torch.equal(split.gather(torch.arange(len(split))), mapped)


def test_a_cache_that_is_read_only_is_used(sources, home):
    good = images(sources)
    (folder,) = (home / "images").glob("[0-9a-f]*")
    (folder / cache.CHECKED).unlink()
    for path in (folder, home / "images"):
        path.chmod(0o555)
    try:
        assert torch.equal(images(sources), good)
    finally:
        for path in (home / "images", folder):
            path.chmod(0o755)


def entry(home: Path, name: str, n_bytes: int, age_s: float) -> Path:
    folder = home / "images" / name
    cache.put(folder, f"of {name}", lambda new: {"n": (new / "a").write_bytes(b"x" * n_bytes)})
    (folder / cache.USED).touch()
    os.utime(folder / cache.USED, (time.time() - age_s,) * 2)
    return folder


def test_prune_takes_what_was_used_longest_ago(home, capsys):
    old, middle, new = (entry(home, name, 10_000_000, age) for name, age in (("a", 1e6), ("b", 1e5), ("c", 10.0)))
    assert main(["cache", "prune", "--gb", "0.025"]) == 0
    assert "would be removed" in capsys.readouterr().out and old.exists()
    assert main(["cache", "prune", "--gb", "0.025", "--yes"]) == 0
    assert not old.exists() and middle.exists() and new.exists()
    assert main(["cache", "prune", "--days", "1", "--yes"]) == 0
    assert not middle.exists() and new.exists()
    capsys.readouterr()
    assert main(["cache", "list"]) == 0
    assert "of c" in (out := capsys.readouterr().out) and "1 entries, 0.01 GB" in out
    assert main(["cache", "prune"]) == 1 and "give --gb or --days" in capsys.readouterr().err


def test_the_limit_makes_room_but_not_from_what_may_be_in_use(home, monkeypatch, capsys):
    monkeypatch.setenv(cache.LIMIT, "0.025")
    old, recent = entry(home, "a", 10_000_000, 1e6), entry(home, "b", 10_000_000, 10.0)
    cache.put(home / "images" / "c", "", lambda new: {"n": (new / "a").write_bytes(b"x" * 10**7)}, 10**7)
    assert not old.exists() and recent.exists()
    assert f"{cache.LIMIT}: removed {old} (10 MB, of a)" in capsys.readouterr().err
    with pytest.raises(UserError, match="needs 0.0 GB for x, but SKETCHLAB_CACHE_GB allows 0.0 GB"):
        cache.put(home / "images" / "d", "x", lambda new: {}, 30_000_000)
    for text in ("much", "-1", "0", "nan"):
        monkeypatch.setenv(cache.LIMIT, text)
        with pytest.raises(UserError, match="expected a number of GB"):
            cache.limit_bytes()


def test_shapes_are_the_same_without_the_cache_and_those_of_other_code_are_drawn_anew(sources, home, monkeypatch):
    from sketchlab.data.sets import shapes as module

    kept = shapes(sources), shapes_as_strokes(sources)
    n = len(list((home / "shapes").glob("[0-9a-f]*")))
    with monkeypatch.context() as without:
        without.setattr(module, "KEEP_FROM", 10**9)
        assert torch.equal(kept[0], shapes(sources)) and torch.equal(kept[1], shapes_as_strokes(sources))
    monkeypatch.setattr(module, "_code", lambda: "another")
    shapes(sources)
    assert len(list((home / "shapes").glob("[0-9a-f]*"))) == n + 2


def test_many_makers_at_once_make_it_once(home):
    code = """
import sys, time
from pathlib import Path
from sketchlab.storage import cache
def build(folder):
    (folder / "a").write_text("x" * 100)
    with open(sys.argv[2], "a") as file:
        file.write("made ")
    time.sleep(0.2)
    return {"n": 1}
assert cache.entry(Path(sys.argv[1]), "x", build) == {"n": 1}
"""
    made = home.parent / "made"
    words = [sys.executable, "-c", code, str(home / "images" / "one"), str(made)]
    processes = [subprocess.Popen(words) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert made.read_text() == "made "


def test_a_maker_that_was_killed_leaves_nothing(home):
    left = home / "images" / ".building-x"
    left.mkdir(parents=True)
    cache.entry(home / "images" / "one", "x", lambda new: {"n": (new / "a").write_bytes(b"x")})
    assert not left.exists()


def test_makers_of_other_entries_do_not_wait_and_their_folders_stay(home):
    one, two = home / "features" / "one", home / "features" / "two"
    with cache.alone(one):
        begun = cache.building_place(one)
        cache.entry(two, "x", lambda new: {"n": (new / "a").write_bytes(b"x")})
        assert begun.is_dir() and cache.get(two) == {"n": 1}
    cache.entry(home / "features" / "three", "x", lambda new: {})
    assert not begun.exists()  # nobody makes it any more


@pytest.mark.slow
def test_list_into_head():
    """Whoever reads no more ends it without a word."""
    words = f"{sys.executable} -m sketchlab.data list | head -1"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("data sets below") and done.stderr == ""
