"""Folders of drawings → stores, splits and batches: complete, keyed, resumable, and the same however they are read."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sketchlab import config, inputs
from sketchlab.data import splits
from sketchlab.data.dataset import resident
from sketchlab.data.sets import strokes
from sketchlab.data.strokes import augment as stroke_augment
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.data.strokes import part as stroke_part
from sketchlab.data.strokes import raster
from sketchlab.data.strokes import store as stroke_store
from sketchlab.data.strokes.prepare import Prepare, of_points
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from tests.data.test_ndjson_simplify import REAL, record, write
from tests.data.test_raster import random_drawings

FRAMES = Input("frames", 64, 8, "bright", [0.0], [1.0])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "strokes"


@pytest.fixture
def folder(tmp_path):
    """Three words of 40, 50, 60 drawings; every tenth not recognised, every seventh unmarked."""
    home = tmp_path / "drawings"
    home.mkdir()
    for number, (word, suffix) in enumerate((("cat", ".gz"), ("dog", ""), ("ice cream", ".gz"))):
        drawings = random_drawings(40 + 10 * number, number)
        marks = [False if i % 10 == 0 else None if i % 7 == 0 else True for i in range(len(drawings))]
        rows = [
            record(d, word=word, key_id=str(10**15 + i), recognized=m)
            for i, (d, m) in enumerate(zip(drawings, marks, strict=True))
        ]
        write(home / f"{word}.ndjson{suffix}", rows)
    return home


def made(folder, input=FRAMES, *words):
    run = config.from_overrides(["data=strokes", f"data.root={folder}", *words])
    return strokes.build(run.data.config, input)


def test_fewer_to_train_on_are_a_part_of_all_and_the_test_stays(folder):
    full, some = made(folder), made(folder, FRAMES, "data.splits.train_at_most=20")
    assert [len(some.splits[name]) for name in ("train", "val", "test")] == [
        20,
        *(len(full.splits[n]) for n in ("val", "test")),
    ]
    assert np.bincount(some.splits["train"].labels).tolist() == [7, 7, 6]
    assert set(some.splits["train"].ids) < set(full.splits["train"].ids)
    assert all(list(some.splits[n].ids) == list(full.splits[n].ids) for n in ("val", "test"))
    assert "training drawings beyond 20 in all are left out (data.splits.train_at_most)" in some.notes
    with pytest.raises(UserError, match="class 'cat', which has 32 in train"):
        made(folder, FRAMES, "data.splits.train_at_most=119")


def all_of(data):
    """id → (label, drawing) over all splits."""
    out = {}
    for split in data.splits.values():
        drawings = stroke_batch.to_drawings(split.gather(torch.arange(len(split))))
        out |= {i: (data.classes[label], d) for i, label, d in zip(split.ids, split.labels, drawings, strict=True)}
    return out


def test_every_drawing_comes_back_under_its_id(folder):
    data = made(folder)
    assert data.classes == ["cat", "dog", "ice cream"] and sum(map(len, data.splits.values())) == 150
    found = all_of(data)
    for number, word in enumerate(data.classes):
        for i, drawing in enumerate(random_drawings(40 + 10 * number, number)):
            assert found[f"{word}/{10**15 + i}"] == (word, drawing)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["data.splits.seed=3"],
        ["data/splits=kfold", "data.splits.fold=2"],
        ["data/splits=count", "data.splits.train=20", "data.splits.val=7"],
    ],
)
def test_splits_are_those_of_every_data_set(folder, words):
    data = made(folder, FRAMES, *words)
    chosen = config.from_overrides(["data=strokes", *words]).data.config.splits
    ids = sorted(f"{word}/{10**15 + i}" for word, n in (("cat", 40), ("dog", 50), ("ice cream", 60)) for i in range(n))
    labels = np.array([data.classes.index(i.partition("/")[0]) for i in ids])
    wanted = splits.split(chosen, ids, labels, data.classes)
    assert {name: sorted(split.ids) for name, split in data.splits.items()} == {
        name: [ids[i] for i in places] for name, places in wanted.items()
    }


def test_with_the_default_seed_a_split_of_a_class_is_a_range(folder):
    for split in made(folder).splits.values():
        for label in range(3):
            rows = split.rows[split.labels == label]
            assert torch.equal(rows, torch.arange(len(rows)) + rows[0])


def test_another_class_moves_no_drawing_and_reads_no_file_again(folder, cache):
    two = made(folder, FRAMES, "data.classes=[dog,cat]")
    before = {path: path.stat().st_mtime_ns for path in cache.glob("[!.]*")}
    three = made(folder)
    for name in two.splits:
        assert set(two.splits[name].ids) <= set(three.splits[name].ids)
    assert two.classes == ["dog", "cat"] and all(path.stat().st_mtime_ns == t for path, t in before.items())
    assert len(list(cache.glob("*/index.json"))) == 3


def test_per_class_and_recognized_only(folder):
    few, more, all_ = made(folder, FRAMES, "data.per_class=10"), made(folder, FRAMES, "data.per_class=20"), made(folder)
    assert sum(map(len, few.splits.values())) == 30
    assert set(all_of(few)) < set(all_of(more)) < set(all_of(all_))
    known = made(folder, FRAMES, "data.recognized_only=true")
    assert {int(i.partition("/")[2]) % 10 for i in all_of(known)} == set(range(1, 10))
    assert sum(map(len, known.splits.values())) == 150 - 15 and "15 drawings that were not recognised" in known.notes[0]


def test_broken_lines_stop_or_are_counted(folder):
    good = [record(word="dog", key_id=str(i)) for i in range(20)]
    write(folder / "dog.ndjson", [*good, "{", record([], word="dog"), record(word="cat", key_id="9x")])
    with pytest.raises(UserError) as caught:
        made(folder)
    first, *rest = str(caught.value).splitlines()
    assert first.startswith("2 of 123 drawings in ") and first.endswith("data.on_bad=skip:")
    assert rest[0].strip().startswith("dog: line 21: no JSON") and rest[1].strip() == "dog: line 22: no strokes"
    data = made(folder, FRAMES, "data.on_bad=skip")
    assert sum(map(len, data.splits.values())) == 121
    assert data.notes[0].startswith("2 of 123 drawings left out as unreadable") and "name another word" in data.notes[1]


def test_lines_without_a_key_and_double_keys(tmp_path):
    home = tmp_path / "mine"
    home.mkdir()
    rows = [record(key_id=None) for _ in range(20)] + [record(key_id="same")] * 10
    write(home / "cat.ndjson", rows)
    data = made(home, FRAMES)
    named = [(i, name) for name, split in data.splits.items() for i in split.ids]
    assert ("cat/line-00000003") in {i for i, _ in named}
    assert len({name for i, name in named if i == "cat/same"}) == 1, "the same id in two splits"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.classes=[cat,dgo]"], "no class 'dgo' in .*did you mean dog"),
        (["data.folder=nowhere"], "no folder "),
        (["data.format=svg"], "no class folders with .svg"),
        (["data.format=png"], "data.format=png: expected ndjson, json, svg"),
        (["data.per_class=0"], "data.per_class=0"),
        (["data.on_bad=ignore"], "data.on_bad=ignore"),
        (["data.splits.rule=official"], "no official list"),
        (["data.augment.stretch=0.5"], "stretch=0.5"),
        (["data.per_class=3"], "too few for data.splits"),
    ],
)
def test_mistakes(folder, words, said):
    with pytest.raises(UserError, match=said):
        made(folder, FRAMES, *words)


def test_pairs_and_odd_channels_are_refused(folder):
    with pytest.raises(UserError, match="kind=pairs, but strokes give"):
        made(folder, Input("pairs", 64, 1, "dark", [0.0], [1.0]))
    with pytest.raises(UserError, match="channels=2"):
        made(folder, Input("images", 64, 2, "dark", [0.0] * 2, [1.0] * 2))


# --- building


@pytest.mark.slow
def test_large_folders_are_built_by_processes_and_are_the_same(folder, monkeypatch, cache):
    one = all_of(made(folder))
    files = sorted(path.name for path in cache.iterdir() if path.is_dir())
    contents = {f: [(p.name, p.read_bytes()) for p in sorted((cache / f).glob("[!.]*"))] for f in files}
    monkeypatch.setattr(stroke_store, "_SMALL_BYTES", 0)
    monkeypatch.setattr(stroke_part, "_AT_ONCE", 7)
    monkeypatch.setenv("SKETCHLAB_CACHE", str(cache.parent.parent / "again"))
    two = all_of(made(folder))
    assert one == two
    again = cache.parent.parent / "again" / "strokes"
    for f in files:
        now = [(p.name, p.read_bytes()) for p in sorted((again / f).glob("[!.]*"))]
        assert [one for one in now if one[0] != "index.json"] == [c for c in contents[f] if c[0] != "index.json"]
        index, before = (json.loads(dict(those)["index.json"]) for those in (now, contents[f]))
        assert index == before


def test_small_stretches_give_the_same_arrays(folder, monkeypatch, cache):
    one = all_of(made(folder))
    monkeypatch.setattr(stroke_part, "_AT_ONCE", 7)
    monkeypatch.setenv("SKETCHLAB_CACHE", str(cache.parent.parent / "again"))
    assert one == all_of(made(folder))


@pytest.mark.slow
def test_a_killed_build_goes_on_with_the_missing_files(folder, cache):
    code = f"""
import os, signal
from sketchlab.data.strokes import ndjson as ndjson_files, store as stroke_store
from pathlib import Path
real, done = os.replace, []
def deadly(*args):
    done.append(1)
    if len(done) == 3: os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
os.replace = deadly
stroke_store.open_parts(ndjson_files.words(Path({str(folder)!r})))
"""
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    whole = {path: path.stat().st_mtime_ns for path in cache.glob("[!.]*/index.json")}
    assert len(whole) == 1 and len(list(cache.glob(".building-*"))) == 1
    assert sum(map(len, made(folder).splits.values())) == 150
    assert all(path.stat().st_mtime_ns == t for path, t in whole.items())
    assert not list(cache.glob(".building-*"))


def test_a_changed_file_is_read_again_and_its_fingerprint_changes(folder):
    before = made(folder).fingerprint
    lines = (folder / "dog.ndjson").read_text().splitlines()
    (folder / "dog.ndjson").write_text("\n".join(lines[:-1]) + "\n")
    after = made(folder)
    assert sum(map(len, after.splits.values())) == 149 and after.fingerprint != before


# --- batches


def test_gather_slices_and_moves(folder):
    data = made(folder)
    split = data.splits["train"]
    places = torch.tensor([5, 0, 100, 5, 77])
    batch = split.gather(places)
    drawings = stroke_batch.to_drawings(batch)
    single = [stroke_batch.to_drawings(split.gather(p[None]))[0] for p in places]
    assert drawings == single
    assert stroke_batch.to_drawings(batch[1::2]) == single[1::2] and stroke_batch.to_drawings(batch[1:4]) == single[1:4]
    assert stroke_batch.to_drawings(batch.take(torch.tensor([4, 0]))) == [single[4], single[0]]
    moved = resident(data, torch.device("cpu"), 10**9).splits["train"]
    assert moved.store is split.store, "drawings stay in memory: laid on the canvas, they travel"
    assert stroke_batch.to_drawings(moved.gather(places)) == single
    assert split.pictures(places).shape == (5, 1, 96, 96) and split.pictures(places).dtype == torch.uint8
    assert len(split.gather(places[:0])) == 0 and list(split.ids[3:5]) == [split.ids[3], split.ids[4]]
    assert split.ids[-1] == list(split.ids)[-1]


@pytest.mark.parametrize("ink", ["bright", "dark"])
def test_prepare_gives_what_the_model_takes(folder, ink):
    data = made(folder)
    raw = data.splits["train"].gather(torch.arange(6))
    settings = config.from_overrides(["data=strokes"]).data.config
    frames = Prepare(Input("frames", 32, 5, ink, [0.5], [0.25]), settings.raster, settings.augment)(raw)
    drawn = raster.frames(raw, settings.raster, 32, 5).float() / 255
    wanted = drawn if ink == "bright" else 1 - drawn
    assert torch.equal(frames, (wanted - 0.5) / 0.25)
    for channels, mean in ((1, [0.0]), (3, [0.1, 0.2, 0.3]), (6, [0.0] * 6)):
        taken = Input("images", 48, channels, ink, mean, [1.0] * channels)
        images = Prepare(taken, settings.raster, settings.augment)(raw)
        assert images.shape == (6, channels, 48, 48)
        whole = raster.picture(raw, settings.raster, 48)[:, 0].float() / 255
        whole = whole if ink == "bright" else 1 - whole
        assert torch.allclose(images[:, -1] + mean[-1], whole)


@pytest.mark.parametrize("channels", [3, 5])
def test_points_come_back(channels):
    drawings = random_drawings(30, 4)
    raw = stroke_batch.of_drawings(drawings)
    taken = Input("points", 2, channels, "bright", [0.1], [3.0])
    settings = config.from_overrides(["data=strokes"]).data.config
    batch = Prepare(taken, settings.raster, settings.augment)(raw)
    n = [sum(len(stroke[0]) for stroke in d) for d in drawings]
    assert batch.shape == (30, max(n), channels) and inputs.lengths(batch).tolist() == n
    back = of_points(batch, taken)
    assert (
        stroke_batch.to_drawings(stroke_batch.Strokes(back.points.round().byte(), back.lengths, back.counts))
        == drawings
    )
    first = drawings[0][0]
    row = (torch.tensor([first[0][0], first[1][0]]) * 2 / 255 - 0.1) / 3
    assert torch.allclose(batch[0, 0, :2], row, atol=1e-6)
    if channels == 5:
        assert torch.equal(batch[..., 2:].sum(-1), torch.ones(30, max(n)))


# --- augmentation


def change(**values):
    none = dict(views=0, rotate_deg=0.0, stretch=1.0, scale=[1.0, 1.0], shift=0.0, jitter=0.0, drop=0.0, reverse=0.0)
    return stroke_augment.Config(**{**none, **values})


EVERY = dict(rotate_deg=30.0, stretch=1.5, scale=[0.5, 0.9], shift=0.1, jitter=0.02, drop=0.3, reverse=0.5)
KEYS = torch.arange(40) * 7919 + 3


@pytest.mark.parametrize("align", ["corner", "centre"])
def test_a_drawing_depends_on_its_own_key_alone(align):
    batch = stroke_batch.of_drawings(random_drawings(40, 1))
    whole = stroke_augment.augment(batch, KEYS, change(**EVERY), align)
    for i in (0, 13, 39):
        alone = stroke_augment.augment(batch[i : i + 1], KEYS[i : i + 1], change(**EVERY), align)
        for key in ("points", "lengths", "counts"):
            assert torch.equal(getattr(whole[i : i + 1], key), getattr(alone, key)), key
    other = stroke_augment.augment(batch, KEYS + 1, change(**EVERY), align)
    assert not torch.equal(other.counts, whole.counts)


@pytest.mark.parametrize("one", [{}, *({key: value} for key, value in EVERY.items())], ids=str)
def test_each_change_alone(one):
    drawings = random_drawings(40, 2)
    batch = stroke_batch.of_drawings(drawings)
    settings = change(**one)
    assert settings.active == bool(one)
    got = stroke_augment.augment(batch, KEYS, settings, "corner")
    before, after = batch.points.double(), got.points.double()
    if not one:
        assert torch.equal(after, before)
    elif "drop" in one:
        assert 0.6 < len(got.lengths) / len(batch.lengths) < 0.85 and got.counts.min() == 1
        kept = set(map(str, (s for d in stroke_batch.to_drawings(batch) for s in d)))
        floats = stroke_batch.Strokes(got.points.to(torch.uint8), got.lengths, got.counts)
        assert all(str(s) in kept for d in stroke_batch.to_drawings(floats) for s in d)
    elif "reverse" in one:
        floats = stroke_batch.Strokes(got.points.to(torch.uint8), got.lengths, got.counts)
        turned = [a == b[::-1] for a, b in zip(stroke_batch.to_drawings(floats), drawings, strict=True)]
        kept = [a == b for a, b in zip(stroke_batch.to_drawings(floats), drawings, strict=True)]
        assert all(a or b for a, b in zip(turned, kept, strict=True)) and 10 < sum(turned) < 36
    elif "scale" in one or "shift" in one:
        owner = batch.drawing_of_point()
        for i in range(40):
            a, b = before[owner == i], after[owner == i]
            if "shift" in one:
                assert (b - a).std(0).max() < 1e-4 and (b - a).abs().max() <= 25.5001
            elif np.ptp(a.numpy(), axis=0).max() > 5:
                zoom = np.ptp(b.numpy(), axis=0).max() / np.ptp(a.numpy(), axis=0).max()
                assert 0.4999 <= zoom <= 0.9001 and torch.allclose(b, (a - 127.5) * zoom + 127.5, atol=1e-3)
    else:  # what bends keeps the extent and the corner
        for a, b in zip(raster.boxes(batch, before)[0], raster.boxes(got, after)[0], strict=True):
            assert torch.allclose(a, b, atol=1e-3)
        reach = [(high - low).amax(1) for low, high in (raster.boxes(batch, before), raster.boxes(got, after))]
        assert torch.allclose(reach[0], reach[1], atol=1e-3) and not torch.allclose(before, after, atol=0.5)


def test_a_quarter_turn_is_one():
    """A drawing turned by a known angle: the draw is found by its effect on a horizontal line."""
    batch = stroke_batch.of_drawings([[[[0, 200], [0, 0]], [[0, 0], [0, 10]]]] * 40)
    got = stroke_augment.augment(batch, KEYS, change(rotate_deg=90.0), "centre").points.view(40, 4, 2).double()
    way = got[:, 1] - got[:, 0]
    angle = torch.atan2(way[:, 1], way[:, 0])
    side = got[:, 3] - got[:, 2]
    assert torch.allclose(torch.atan2(side[:, 1], side[:, 0]), angle + torch.pi / 2, atol=1e-4)
    assert torch.allclose(side.norm(dim=1) / way.norm(dim=1), torch.full((40,), 0.05, dtype=torch.float64), atol=1e-5)
    assert angle.abs().max() <= torch.pi / 2 + 1e-6 and angle.std() > 0.6


def test_augmented_batches_reach_the_model(folder):
    data = made(folder, FRAMES, "data/stroke_augment@data.augment=strong")
    raw = data.splits["train"].gather(torch.arange(8))
    keys = torch.arange(8)
    assert data.views == 0 and data.prepare.active
    assert torch.equal(data.prepare(raw, keys), data.prepare(raw, keys))
    assert not torch.equal(data.prepare(raw, keys), data.prepare(raw, keys + 8))
    assert torch.equal(data.prepare(raw, None), made(folder).prepare(raw, keys))


# --- real


@pytest.mark.realdata
@REAL
@pytest.mark.parametrize(
    ("words", "classes", "n"),
    [
        (["data=strokes", "data.folder=quickdraw_10/simplified"], 8, 9193),
        (["data=strokes", "data.folder=sheep/simplified"], 1, 8000),
        (["data=strokes", "data.folder=quickdraw/raw"], 22, 900),
        (["data=quickdraw"], 345, 10317),
        (["data=quickdraw", "data.classes=[cat,dog]", "data.recognized_only=true"], 2, None),
        (["data=tuberlin_svg", "data/splits=count", "data.splits.train=2", "data.splits.val=2"], 3, 12),
    ],
)
def test_real_folders(words, classes, n):
    data = config.from_overrides([*words, "model=small_cnn"]).data.build(FRAMES)
    assert len(data.classes) == classes and (n is None or sum(map(len, data.splits.values())) == n)
    frames = data.prepare(data.splits["train"].gather(torch.arange(4)), None)
    assert frames.shape == (4, 8, 64, 64) and (frames[:, 0].flatten(1).sum(1) > 0).all()
    assert json.dumps(data.notes)
    assert Path(os.environ["SKETCHLAB_CACHE"], "strokes").is_dir()


def test_the_page_counts_strokes_and_points(folder):
    from sketchlab.data.commands import show_strokes

    data = made(folder)
    text = show_strokes.section(data)
    drawings = [d for number in range(3) for d in random_drawings(40 + 10 * number, number)]
    strokes = [len(d) for d in drawings]
    points = [sum(len(s[0]) for s in d) for d in drawings]
    row = text.partition("all classes")[2].partition("<tr>")[0]
    assert f">150<td>{show_strokes._histogram(np.array(strokes))}" in row
    for value in (f"{np.mean(np.array(strokes) <= 8):.1%}", f"{np.median(points):g}", f"{np.median(strokes):g}"):
        assert f"<td class=n>{value}" in row
    assert text.count("<tr>") == 5
    of_pixels = config.from_overrides(["data=shapes", "data.per_class=10"]).data
    images = of_pixels.build(Input("images", 8, 1, "dark", [0.0], [1.0]))
    assert show_strokes.section(images) == ""


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda text: text.encode("utf-16"), "text in UTF-16; save it as UTF-8"),
        (lambda text: text.replace("\n", "\r").encode(), "none of its 1 lines can be read (cat: line 1: no JSON"),
        (lambda text: text.replace('"XX"', '"é"').encode("latin-1"), "none of its 3 lines can be read (cat: line 1"),
    ],
)
def test_a_file_of_another_encoding_is_no_class_without_drawings(tmp_path, broken, why):
    line = '{{"word": "cat", "key_id": "{}", "countrycode": "XX", "drawing": [[[0, 9], [0, 9]]]}}\n'
    (tmp_path / "cat.ndjson").write_bytes(broken("".join(map(line.format, range(3)))))
    words = ["data=strokes", "model=stroke_lstm", f"data.root={tmp_path}", "data.folder=.", "data.on_bad=skip"]
    run = config.from_overrides(words)
    with pytest.raises(UserError) as error:
        run.data.build(run.model.config.input)
    assert why in str(error.value)
