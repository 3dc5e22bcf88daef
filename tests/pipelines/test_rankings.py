"""What is kept of a search: how each score was measured, intervals over queries, the map of embeddings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sketchlab import stats
from sketchlab.data.dataset import Images, Pairs, Split
from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.pipelines.retrieve import rankings
from sketchlab.pipelines.retrieve.embedding_map import MOST, THUMB_PX, embedding_map, plane


def side(n: int, channels: int, kind: str) -> Split:
    pixels = torch.randint(0, 256, (n, channels, 20, 20), generator=torch.Generator().manual_seed(n)).to(torch.uint8)
    ids = [f"{kind}{i}" for i in range(n)]
    return Split(Images(pixels), torch.arange(n), torch.arange(n) % 3, ids, torch.arange(n) % 12)


PAIR = Pairs(side(24, 1, "s"), side(12, 3, "p"))


def embedded(split: Pairs, spread: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    centres = 4 * torch.eye(3, 6)
    return tuple(  # type: ignore[return-value]
        centres[part.labels] + spread * torch.randn(len(part), 6, generator=draw)
        for part in (split.sketch, split.photo)
    )


def test_every_score_says_how_it_was_measured():
    scores = rankings.search(*embedded(PAIR), PAIR)
    match, other = torch.rand(24), torch.rand(24) + 0.5
    scores |= rankings.pairs(match, other, 0.6)
    said = rankings.protocol(list(scores), PAIR, "class", "val", False)
    assert list(said) == list(scores) == [*metrics.NAMES[:-1], "roc_area", "pair_accuracy"]
    assert said["recall@5"] == (
        "the object drawn is among the 5 nearest; 24 sketches, each in all 12 photos of the split, exact search"
    )
    assert "48 pairs" in said["roc_area"] and "best on val" in said["pair_accuracy"]
    assert said["recall@1"].startswith("the object drawn is the nearest; ")
    assert said["class_mAP"].startswith("average precision by class over the whole ranking; ")
    own = rankings.protocol(["class_mAP@200", "pair_accuracy"], PAIR, "class", "val", True)
    assert "200 nearest" in own["class_mAP@200"] and "these very pairs: optimistic" in own["pair_accuracy"]


def test_without_objects_nothing_is_scored_by_instance():
    loose = SimpleNamespace(sketch=PAIR.sketch, photo=side(12, 3, "p"), objects=False)
    loose.photo.groups.add_(1000)
    rankings.check_gallery(loose, "val")
    assert set(rankings.search(*embedded(PAIR), loose)) == {n for n in metrics.NAMES[:-1] if n.startswith("class_")}
    loose.objects = True
    with pytest.raises(UserError, match="24 of 24 sketches have no photo of the object they show"):
        rankings.check_gallery(loose, "val")


def test_roc_area_has_an_interval_over_queries():
    draw = torch.Generator().manual_seed(0)
    areas, widths, n = [], [], 150
    for _ in range(60):
        match, other = torch.randn(n, generator=draw), torch.randn(n, generator=draw) + 1
        score = rankings.pairs(match, other, None)["roc_area"]
        assert score.per_query.mean().item() == pytest.approx(score.value)
        areas.append(score.value)
        low, high = stats.interval(stats.estimate_mean(score.per_query.numpy()[None]))
        widths.append((high - low) / (2 * 1.96))
    assert np.mean(widths) == pytest.approx(np.std(areas), rel=0.25)  # as wide as the area really varies


def test_the_map_keeps_what_is_close_close_and_repeats_itself():
    sketches, photos = embedded(PAIR)
    first, second = (embedding_map(PAIR, ["a", "b", "c"], sketches, photos, 0) for _ in range(2))
    table = first["map"]
    assert table.equals(second["map"]) and torch.equal(first["map_pixels"], second["map_pixels"])
    assert first["map_pixels"].shape == (36, 3, THUMB_PX, THUMB_PX)
    assert sorted(table["id"]) == sorted([*PAIR.sketch.ids, *PAIR.photo.ids])
    places, labels = table[["x", "y"]].to_numpy(), table["label"].to_numpy()
    far = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(far, np.inf)
    assert (labels[far.argmin(axis=1)] == labels).mean() > 0.9


def test_the_map_takes_as_many_of_each_class_as_can_be():
    many = side(3 * MOST, 1, "s")
    many.labels[:] = 0
    many.labels[-5:], many.labels[-9:-5] = 1, 2
    pair = Pairs(many, side(12, 3, "p"))
    table = embedding_map(pair, ["a", "b", "c"], torch.randn(3 * MOST, 2), torch.randn(12, 2), 0)["map"]
    assert table[table["domain"] == "sketch"]["label"].value_counts().to_dict() == {"a": MOST - 9, "b": 5, "c": 4}


@pytest.mark.parametrize("shape", [(2, 4), (4, 4), (40, 1)])
def test_a_plane_of_little(shape):
    found = plane(np.random.default_rng(0).normal(size=shape))
    assert found.shape == (shape[0], 2) and np.isfinite(found).all()


@pytest.mark.parametrize("noise", [0, 1e-8, 1e-6, 1e-3])
def test_embeddings_that_are_all_the_same_have_no_map(noise):
    draw = np.random.default_rng(0)
    embedded = (draw.normal(size=(1, 8)) + noise * draw.normal(size=(60, 8))).astype(np.float32)
    if noise > 1e-7:
        assert np.isfinite(plane(embedded)).all()
        return
    with pytest.raises(UserError, match="all embeddings are the same"):
        plane(embedded)
