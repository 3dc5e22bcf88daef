"""Retrieval: pairs by key, the loss against a slow twin, what an evaluation gives, and mistakes in one line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sketchlab import config, rng
from sketchlab.engine.rundir import RunDir
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.pipelines.retrieve import losses
from sketchlab.pipelines.retrieve.pair_maker import PairMaker
from sketchlab.pipelines.retrieve.sheet import RIGHT, THICK_PX, best_and_worst, sheet
from sketchlab.pipelines.retrieve.task import Retrieve
from tests import every

SMALL = [
    *("model=small_siamese", "model.input.size_px=16", "model.widths=[8,8]", "model.map_px=2", "model.embedding=8"),
    *("data.classes=[circle,square,line]", "data.per_class=16", "data.splits.train=0.5", "data.splits.val=0.25"),
    *("data.splits.test=0.25", "runtime.device=cpu", "loop.epochs=1", "loop.batch_size=8"),
]


DRAWN: dict[str, Any] = {}  # data sets by their configuration: drawn once


def task(*words: str) -> Retrieve:
    run = config.from_overrides([*SMALL, *words])
    wanted = repr((run.data, run.model.config.input))
    data = DRAWN[wanted] = DRAWN.get(wanted) or run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), run.seed)


@pytest.fixture(scope="module")
def trained() -> Retrieve:
    """A few steps on one batch, learnt by heart."""
    made = task("loop.schedule=constant", "loop.warmup_epochs=0")
    batch = made.draw(torch.arange(8), torch.arange(8))
    first = every.step(made, batch, 0.0)["loss"].item()
    for _ in range(60):
        last = every.step(made, batch, 0.0)
    assert last["loss"].item() < 0.3 * first
    assert last["distance_match"] < 0.5 * last["distance_other"]
    return made


# --- pairs


def samples(labels: list[int], groups: list[int], kind: str) -> SimpleNamespace:
    ids = [f"{kind}{i}" for i in range(len(labels))]
    return SimpleNamespace(labels=torch.tensor(labels), groups=torch.tensor(groups), ids=ids)


SKETCH = samples([0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 3, 4, 5], "s")
PHOTO = samples([2, 0, 1, 0, 1, 0, 2, 1], [4, 1, 2, 0, 3, 7, 5, 2], "p")  # object 2 has two photos, 7 no sketch


def maker(match: str, hard_share: float = 0.0, sketch: SimpleNamespace = SKETCH, photo: SimpleNamespace = PHOTO):
    return PairMaker(sketch, photo, match, hard_share, ["a", "b", "c"], "train")


def allowed(sketch: int, match: str, hard_share: float) -> tuple[set[int], set[int]]:
    """The photos that match a sketch, and those that do not, by looking at each."""
    matching, others = set(), set()
    for photo in range(8):
        same_class = SKETCH.labels[sketch] == PHOTO.labels[photo]
        same_object = same_class and SKETCH.groups[sketch] == PHOTO.groups[photo]
        if same_object or (match == "class" and same_class):
            matching.add(photo)
        elif not same_class and hard_share < 1 or same_class and hard_share > 0:
            others.add(photo)
    return matching, others


@pytest.mark.parametrize("match, hard", [("class", 0.0), ("instance", 0.0), ("instance", 0.5), ("instance", 1.0)])
def test_every_photo_that_may_be_drawn_is_drawn_and_no_other(match, hard):
    made, n = maker(match, hard), 4000
    for sketch in range(7):
        photos, other = made.draw(torch.full((n,), sketch), torch.arange(n), 0.5)
        matching, others = allowed(sketch, match, hard)
        assert set(photos[~other].tolist()) == matching and set(photos[other].tolist()) == others
        for drawn, among in ((photos[~other], len(matching)), (photos[other], len(others))):
            counts = torch.bincount(drawn, minlength=8)
            if hard in (0, 1):  # each as likely: within five standard errors
                expected = len(drawn) / among
                assert (counts[counts > 0] - expected).abs().max() <= 5 * math.sqrt(expected)


def test_half_of_the_pairs_match_and_the_share_is_a_setting():
    n = 20_000
    for share in (0.5, 0.2):
        _, other = maker("class").draw(torch.arange(n) % 7, torch.arange(n), share)
        assert abs((~other).double().mean().item() - share) < 5 * math.sqrt(share * (1 - share) / n)


def test_pairs_are_a_function_of_keys():
    made, keys = maker("class"), rng.fold_each(7, torch.arange(50))
    places = torch.arange(50) % 7
    photos, other = made.draw(places, keys, 0.5)
    order = torch.randperm(50)
    again = made.draw(places[order], keys[order], 0.5)  # not of the batch they stand in
    assert torch.equal(again[0], photos[order]) and torch.equal(again[1], other[order])
    assert not torch.equal(made.draw(places, rng.fold_each(8, torch.arange(50)), 0.5)[0], photos)


def test_a_batch_holds_the_photos_it_says():
    made, keys = task(), rng.fold_each(3, torch.arange(24))
    batch = made.draw(torch.arange(24), keys)
    photos, other = made.makers["train"].draw(torch.arange(24), keys, 0.5)
    assert torch.equal(batch["photo"], made.train.photo.gather(photos)) and torch.equal(batch["other"], other)
    same = made.train.photo.labels[photos] == made.train.sketch.labels[torch.arange(24)]
    assert torch.equal(same, ~other)


# --- the loss


def contrastive_twin(first: Tensor, second: Tensor, other: Tensor, margin: float) -> list[float]:
    out = []
    for a, b, y in zip(first.tolist(), second.tolist(), other.tolist(), strict=True):
        d = math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))
        out.append((1 - y) * 0.5 * d**2 + y * 0.5 * max(0.0, margin - d) ** 2)
    return out


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_contrastive_loss_is_the_printed_formula(margin):
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(40, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    second[:2] = first[:2]
    other = torch.arange(40) % 2 == 0
    ours = losses.contrastive(losses.distance(first, second), other, margin)
    torch.testing.assert_close(ours, torch.tensor(contrastive_twin(first, second, other, margin), dtype=torch.float64))


def test_gradient_is_finite_where_two_embeddings_are_equal():
    first = torch.ones(2, 3, requires_grad=True)
    losses.contrastive(losses.distance(first, torch.ones(2, 3)), torch.tensor([False, True]), 1.0).sum().backward()
    assert torch.equal(first.grad, torch.zeros(2, 3))


def test_accumulated_parts_give_the_logs_of_the_whole():
    logs = []
    for parts in (1, 2):
        made = task(f"loop.accumulate={parts}", "model.norm=none")
        logs.append(every.step(made, made.draw(torch.arange(8), torch.arange(8)), 0.0))
    assert set(logs[0]) == {"loss", "distance_match", "distance_other"}
    torch.testing.assert_close(logs[0], logs[1])


# --- the evaluation


def test_scores_are_those_of_the_embeddings(trained):
    pair, out = trained.data.splits["test"], trained.evaluate("test")
    sketches, photos = trained.embeddings("test")
    assert sketches.shape == (12, 8) and photos.shape == (12, 8)
    everything = metrics.evaluate(
        sketches,
        photos,
        classes=(pair.sketch.labels, pair.photo.labels),
        instances=(pair.sketch.groups, pair.photo.groups),
        names=[name for name in metrics.NAMES if name != "class_mAP@200"],
    )
    for name, score in everything.items():
        assert out[name] == score.value and out["chance"][name] == score.chance
        assert torch.equal(out[f"per_query_{name}"], score.per_query)
    assert "class_mAP@200" not in out and out["chance"]["roc_area"] == out["chance"]["pair_accuracy"] == 0.5
    assert out["per_query_pair_accuracy"].mean().item() == out["pair_accuracy"]
    table, found = out["predictions"], torch.cdist(sketches, photos)
    assert list(table.columns[:3]) == ["query", "label", "match_1"] and len(table.columns) == 22
    for row, distances in zip(table.itertuples(index=False), found, strict=True):
        near = distances.argsort(stable=True)[:10]
        assert [getattr(row, f"match_{k + 1}") for k in range(10)] == [pair.photo.ids[i] for i in near.tolist()]
        assert row.distance_10 == pytest.approx(distances[near[9]].item(), abs=1e-5)


def test_threshold_is_chosen_on_val_and_applied_to_test(trained):
    accuracy = {}
    for split in ("val", "test"):
        match, other = trained._pair_distances(split, *trained.embeddings(split))
        accuracy[split] = match, other
    on_val = [
        ((accuracy["val"][0] <= t).double().mean() + (accuracy["val"][1] > t).double().mean()).item() / 2
        for t in torch.cat(accuracy["val"]).tolist()
    ]
    assert trained.evaluate("val")["pair_accuracy"] == pytest.approx(max(on_val))
    match, other = accuracy["test"]
    threshold = metrics.best_threshold(torch.cat(accuracy["val"]), torch.arange(24) < 12).distance
    right = (match <= threshold).sum() + (other > threshold).sum()
    assert trained.evaluate("test")["pair_accuracy"] == pytest.approx(right.item() / 24)


def test_an_evaluation_repeats_itself_and_leaves_the_network_alone(trained):
    before = {k: v.clone() for k, v in trained.net.state_dict().items()}
    first, second = trained.evaluate("val"), trained.evaluate("val")
    assert all(first[k] == v for k, v in second.items() if isinstance(v, float)) and first["chance"] == second["chance"]
    assert all(torch.equal(before[k], v) for k, v in trained.net.state_dict().items())


def test_what_is_kept_where(trained, tmp_path):
    folder = RunDir(tmp_path)
    folder.open()
    scores = folder.keep("test", trained.evaluate("test"))
    folder.keep("test", every.explained(trained, "test"))
    folder.lock.release()
    assert scores["test/class_recall@10"] <= 1 and "test/chance" not in scores
    chance = json.loads((tmp_path / "chance_test.json").read_text())
    assert chance["recall@10"] == pytest.approx(10 / 12)
    assert json.loads((tmp_path / "warnings_test.json").read_text()) == {}
    for name in (
        "predictions_test.csv",
        "samples/test_retrieval.png",
        "map_test.csv",
        "arrays/test_per_query_recall@1.npy",
    ):
        assert (tmp_path / name).exists()


def test_two_networks_one_per_domain():
    made = task("model.shared=false")
    sketch = {k: v.clone() for k, v in made.net["sketch"].state_dict().items()}
    every.step(made, made.draw(torch.arange(8), torch.arange(8)), 1.0)
    assert any(not torch.equal(v, made.net["sketch"].state_dict()[k]) for k, v in sketch.items())
    sketches, photos = made.embeddings("val")
    both = made._images(made.data.splits["val"].sketch.gather(torch.arange(12)), None)
    torch.testing.assert_close(sketches, made.net["sketch"](both))
    assert set(made.networks) == {"sketch", "photo"} and photos.norm(dim=1).allclose(torch.ones(12))


# --- the sheet


def test_right_matches_are_framed_thick_and_green():
    made = task()
    pair = made.data.splits["test"]
    queries = torch.tensor([0, 5])
    own = torch.tensor([pair.photo.groups.tolist().index(int(g)) for g in pair.sketch.groups[queries]])
    wrong = (pair.photo.labels[None] != pair.sketch.labels[queries, None]).long().argmax(1)
    picture = sheet(pair, queries, torch.stack([own, wrong], dim=1), 1)
    assert picture.dtype == torch.uint8 and picture.shape[2] == 3
    green = (picture == torch.tensor(RIGHT, dtype=torch.uint8)).all(2)
    cell = picture.shape[1] // 3
    assert not green[:, :cell].any() and not green[:, 2 * cell :].any()  # the sketch; a wrong photo
    assert green[:, cell : 2 * cell].sum() >= 4 * THICK_PX * 64


def test_best_and_worst_are_of_many_classes():
    scores = torch.tensor([1.0, 1.0, 0.9, 0.8, 0.1, 0.0, 0.2, 0.5])
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 1, 0])
    assert best_and_worst(scores, labels, 2).tolist() == [0, 3, 5, 6]
    assert best_and_worst(scores[:3], labels[:3], 5).tolist() == [0, 2]
    assert len(best_and_worst(scores, labels, 0)) == 0


# --- mistakes


@pytest.mark.parametrize(
    "words, said",
    [
        (["data.classes=[circle]"], "split val: photos of one class only; retrieval needs at least two"),
        (["data.per_class=8"], "split val: a gallery of 6 photos; retrieval looks at the 10 nearest"),
        (["pipeline.match=object"], "pipeline.match=object: expected class or instance"),
        (["pipeline.hard_share=0.5"], "pipeline.hard_share=0.5: expected a share; 0 with pipeline.match=class"),
        (["pipeline.match_share=1"], "pipeline.match_share=1.0: expected a share above 0 and below 1"),
        (["data/augment=finite"], "retrieval makes new pairs every epoch"),
        (["model.map_px=9"], "leave a map of 4 px"),
    ],
)
def test_bad_input_is_one_line(words, said):
    with pytest.raises(UserError) as error:
        task(*words, *(["data.per_class=48"] if words == ["data.classes=[circle]"] else []))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_photos_that_are_not_there_are_named():
    with pytest.raises(UserError, match=r"split train: 1 sketch\(es\) have no photo of their instance, first s2;"):
        maker("instance", sketch=samples([0, 0, 0, 1, 1], [0, 0, 9, 2, 3], "s"))
    with pytest.raises(UserError, match="all 2 photos are of one class, 'a', so its sketches have none that does not"):
        maker("class", sketch=samples([0], [0], "s"), photo=samples([0, 0], [0, 1], "p"))
    with pytest.raises(UserError, match="class 'b' has only one photo, so pipeline.hard_share=0.5 finds no other"):
        maker("instance", 0.5, samples([0, 1], [0, 2], "s"), samples([0, 0, 1], [0, 1, 2], "p"))


def test_unlike_photos_and_sketches_of_val_are_refused_before_training():
    made = task()
    pair = made.data.splits["val"]
    lost = replace(pair, sketch=replace(pair.sketch, groups=pair.sketch.groups + 10_000))
    data = replace(made.data, splits={**made.data.splits, "val": lost})
    with pytest.raises(
        UserError, match=f"split val: 12 .* no photo of the object they show, first {pair.sketch.ids[0]}"
    ):
        Retrieve(made.config, made.net, data, made.loop, made.runtime, 0)
