"""What images are loaded against gives the same pixels of the same files. No time is asserted here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("timm", reason="needs sketchlab[bench]")
SIZE_PX = 32


@pytest.fixture
def images(monkeypatch):
    """scripts/bench_images.py as a module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    import bench_images

    monkeypatch.setattr(bench_images, "keep_freed_memory", lambda: None)  # would last for all tests after this one
    return bench_images


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Ants and bees of smooth colours, wide and high."""
    draw = np.random.default_rng(0)
    for part, n in (("train", 5), ("val", 2)):
        for name in ("ants", "bees"):
            folder = tmp_path / "hymenoptera_data" / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8))
                coarse.resize((90, 61) if i % 2 else (50, 77), Image.Resampling.BICUBIC).save(folder / f"{i}.jpg")
    monkeypatch.setenv("SKETCHLAB_DATA", str(tmp_path))
    monkeypatch.setenv("SKETCHLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
def test_every_row_is_measured_and_nothing_is_left(images, photos):
    rows = {row.name: row for row in images.compare(batch=4, repeats=1, trials=1, size_px=SIZE_PX, workers="0")}
    assert list(rows) == ["plain", "augmented", "cold start, augmented", "augmented, small files"]
    for row in rows.values():
        assert row.record()["goal"] == "none: stated" and list(row.sides) == ["timm", "sketchlab"]
    assert rows["plain"].per == "epoch of 8 images"
    assert rows["cold start, augmented"].per.endswith(" 12 images")
    assert os.environ["SKETCHLAB_CACHE"] == str(photos / "cache") and not (photos / "cache").exists()


def test_small_files_give_equal_pixels_and_another_picture_does_not(images, photos, tmp_path):
    small = tmp_path / "small"
    images.save_small(images.sketchlab_data(photos, SIZE_PX, "none"), small)
    data = images.sketchlab_data(small, SIZE_PX, "crop")
    assert images.difference(data, small, SIZE_PX) < images.SAME
    path = small / "hymenoptera_data" / "train" / "ants" / "0.jpg"
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    assert images.difference(data, small, SIZE_PX) > images.SAME
    path.rename(path.with_name("other.jpg"))
    with pytest.raises(AssertionError, match="other files"):
        images.difference(data, small, SIZE_PX)


@pytest.mark.parametrize("prefetcher", [False, True])
def test_both_sides_shuffle_full_batches_and_augment(images, photos, prefetcher):
    ours = images.ours_of(images.sketchlab_data(photos, SIZE_PX, "crop"), 4)
    theirs = images.timm_loader(photos, "train", "crop", 4, SIZE_PX, (0, prefetcher))
    for epoch in (ours, theirs.__iter__):
        first, second = ([batch.clone() for batch, _ in epoch()] for _ in range(2))
        assert [batch.shape for batch in first] == [(4, 3, SIZE_PX, SIZE_PX)] * 2
        assert not torch.equal(torch.cat(first), torch.cat(second))
