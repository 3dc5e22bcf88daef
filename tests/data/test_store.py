import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from sketchlab.data.images import store
from sketchlab.errors import UserError
from sketchlab.storage import cache as kept


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(6):
        Image.new("L", (8, 8), 40 * i).save(folder / f"{i}.png")
    return folder


NAMES = [f"{i}.png" for i in range(6)]


def build(root, names=NAMES, size_px=8, channels=1, resize="pad", on_bad="error"):
    return store.images(root, names, size_px, channels, resize, on_bad)


def folders(cache):
    return sorted(p.name for p in (cache / "images").iterdir() if p.is_dir())


def forbid_building(monkeypatch):
    monkeypatch.setattr(store, "_write", lambda *a: pytest.fail("built again"))


def test_pixels_in_order(root):
    built = build(root)
    assert built.pixels.shape == (6, 1, 8, 8) and built.pixels.dtype == torch.uint8
    assert built.pixels[:, 0, 3, 3].tolist() == [0, 40, 80, 120, 160, 200]
    assert built.kept.tolist() == list(range(6)) and built.broken == []


def test_second_time_it_is_only_loaded(root, monkeypatch):
    first = build(root)
    forbid_building(monkeypatch)
    again = build(root)
    assert torch.equal(first.pixels, again.pixels) and first.fingerprint == again.fingerprint


def test_memory_mapped_and_never_written_back(root):
    build(root).pixels.zero_()
    assert build(root).pixels[5, 0, 0, 0] == 200


@pytest.mark.parametrize("change", ["content", "touched", "name", "size", "channels", "resize"])
def test_rebuilt_when_anything_changes(root, cache, change):
    first = build(root)
    if change == "content":
        before = (root / "2.png").stat()
        Image.new("L", (8, 8), 81).save(root / "2.png")
        assert (root / "2.png").stat().st_size == before.st_size  # only the time tells
    if change == "touched":
        os.utime(root / "2.png", (1, 1))
    if change == "name":
        (root / "2.png").rename(root / "x.png")
    names = [n.replace("2.png", "x.png") for n in NAMES] if change == "name" else NAMES
    options = {"size": {"size_px": 9}, "channels": {"channels": 3}, "resize": {"resize": "crop"}}.get(change, {})
    second = build(root, names, **options)
    assert len(folders(cache)) == 2
    assert (first.fingerprint == second.fingerprint) == (change not in ("content", "name"))


def test_fingerprint_is_that_of_the_content_wherever_it_lies(root, tmp_path):
    first = build(root)
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    for name in NAMES:
        os.utime(moved / name, (5, 5))
    assert build(moved).fingerprint == first.fingerprint


def test_broken_files_are_listed_or_left_out(root):
    (root / "1.png").write_text("no image")
    (root / "4.png").write_bytes((root / "4.png").read_bytes()[:50])
    with pytest.raises(UserError) as error:
        build(root)
    head, *lines = str(error.value).splitlines()
    assert "2 of 6" in head and "data.on_bad=skip" in head
    assert lines[0].startswith("  1.png: not an image") and lines[1].startswith("  4.png: ")
    left = build(root, on_bad="skip")
    assert left.kept.tolist() == [0, 2, 3, 5] and left.pixels[:, 0, 0, 0].tolist() == [0, 80, 120, 200]
    assert len(left.broken) == 2
    Image.new("L", (8, 8), 40).save(root / "1.png")
    Image.new("L", (8, 8), 160).save(root / "4.png")
    assert len(build(root).kept) == 6


def test_a_long_list_is_cut(root):
    for i in range(30):
        (root / f"bad{i:02d}.png").write_text("x")
    with pytest.raises(UserError, match="and 10 more"):
        build(root, [*NAMES, *(f"bad{i:02d}.png" for i in range(30))])


def test_nothing_readable(root):
    (root / "1.png").write_text("x")
    with pytest.raises(UserError, match="none of the 1 images"):
        build(root, ["1.png"], on_bad="skip")


def test_a_file_that_is_gone_counts_as_broken(root):
    with pytest.raises(UserError, match=r"(?s)1 of 7.*7\.png: No such file"):
        build(root, [*NAMES, "7.png"])


def test_a_failing_disk_is_not_remembered_as_broken_files(root, cache, monkeypatch):
    monkeypatch.setattr(store.Path, "read_bytes", lambda self: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(UserError, match="Input/output error"):
        build(root, on_bad="skip")
    monkeypatch.undo()
    assert folders(cache) == [] and len(build(root).kept) == 6


def test_an_interrupted_build_leaves_nothing(root, cache, monkeypatch):
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return np.zeros((1, 8, 8), np.uint8)

    monkeypatch.setattr(store.decode, "decode", stop)
    with pytest.raises(KeyboardInterrupt):
        build(root)
    assert folders(cache) == []


def test_what_a_killed_builder_left_is_cleared(root, cache):
    left = cache / "images" / ".building-dead"
    left.mkdir(parents=True)
    (left / "pixels.u8").write_bytes(b"half")
    build(root)
    assert len(folders(cache)) == 1


def test_no_room(root, monkeypatch):
    usage = kept.shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="SKETCHLAB_CACHE"):
        build(root)


def test_a_cache_that_cannot_be_written(root, cache):
    cache.write_text("a file stands where the folder should be")
    with pytest.raises(UserError, match="SKETCHLAB_CACHE"):
        build(root)


@pytest.mark.parametrize("key, value", [("on_bad", "ignore"), ("resize", "stretch")])
def test_unknown_words(root, key, value):
    with pytest.raises(UserError, match=f"data.{key}={value}"):
        build(root, **{key: value})


@pytest.mark.slow
def test_processes_that_build_at_once(root, cache):
    code = (
        "import sys, pathlib; from sketchlab.data.images import store; names = [f'{i}.png' for i in range(6)]\n"
        "built = store.images(pathlib.Path(sys.argv[1]), names, 32, 1, 'pad', 'error')\n"
        "print(built.fingerprint, int(built.pixels.sum()))"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = {job.communicate()[0] for job in jobs}
    assert all(job.returncode == 0 for job in jobs) and len(said) == 1
    assert len(folders(cache)) == 1
    assert json.loads((cache / "images" / folders(cache)[0] / "index.json").read_text())["content"]["kept"] == list(
        range(6)
    )


def test_no_locks_on_this_file_system(root, cache, monkeypatch):
    """Two builders then race; the slower one takes what the faster one put there."""
    import fcntl

    monkeypatch.setattr(fcntl, "flock", lambda *a: (_ for _ in ()).throw(OSError(37, "No locks available")))
    inner = kept.put
    monkeypatch.setattr(kept, "put", lambda *a: (inner(*a), inner(*a))[1])
    assert len(build(root).kept) == 6 and len(folders(cache)) == 1


def test_many_images_show_progress_on_stderr(root, capsys, monkeypatch):
    picture = io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    for i in range(200):
        (root / f"n{i:03d}.png").write_bytes(picture.getvalue())
    bar = store.tqdm
    monkeypatch.setattr(
        store, "tqdm", lambda *words, **keys: bar(*words, **keys | {"delay": 0, "mininterval": 0, "disable": False})
    )
    build(root, [f"n{i:03d}.png" for i in range(200)])
    said = capsys.readouterr()
    assert "200/200" in said.err and said.out == ""
