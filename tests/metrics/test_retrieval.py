import itertools
import math
import os

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from sketchlab import config
from sketchlab.errors import UserError
from sketchlab.metrics import retrieval


def _random(*shape, high=3, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def _ranking(query, gallery):
    """Places of the gallery, nearest first, by a double loop; equals in the keyed order."""
    squares = [sum((a - b) ** 2 for a, b in zip(query, row, strict=True)) for row in gallery]
    order = retrieval.shuffled(torch.arange(len(gallery))).tolist()
    return sorted(range(len(gallery)), key=lambda i: (squares[i], order[i]))


def _average_precision(hits, n_relevant):
    found, total = 0, 0.0
    for rank, hit in enumerate(hits, 1):
        if hit:
            found += 1
            total += found / rank
    return total / min(n_relevant, len(hits))


def _of_order(name, hits):
    """A score of one query from the whole ranking: which of the gallery are right, the nearest first."""
    kind, k = retrieval._parse(name, len(hits))
    if kind == "class_mAP":
        return _average_precision(hits[:k], sum(hits))
    return sum(hits[:k]) / k if kind == "class_precision" else float(any(hits[:k]))


def _over_orders(name, far, right, draws=0):
    """The mean of a score over all orders of a gallery at these distances, or over `draws` random ones; its error."""
    generator, orders = torch.Generator().manual_seed(0), itertools.permutations(range(len(far)))
    orders = (torch.randperm(len(far), generator=generator).tolist() for _ in range(draws)) if draws else orders
    values = [_of_order(name, [right[i] for i in sorted(order, key=far.__getitem__)]) for order in orders]
    return np.mean(values), np.std(values) / len(values) ** 0.5


@pytest.mark.parametrize("block", [1, 7, 256])
@pytest.mark.parametrize("k", [1, 4, 40])
def test_nearest_with_ties_against_a_double_loop(k, block):
    queries, gallery = _random(19, 2).float(), _random(40, 2, seed=1).float()  # nine places: ties everywhere
    distances, places = retrieval.nearest(queries, gallery, k, block)
    for row, query in enumerate(queries.tolist()):
        expected = _ranking(query, gallery.tolist())[:k]
        assert places[row].tolist() == expected
        assert distances[row].tolist() == pytest.approx([math.dist(query, gallery[i].tolist()) for i in expected])


def test_equal_vectors_tie_exactly_and_blocks_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(50, 67, generator=generator) * 100
    gallery, queries = base.repeat(3, 1), torch.randn(30, 67, generator=generator)
    distances, places = retrieval.nearest(queries, gallery, 150, block=8)
    assert (places[:, 1::3] % 50 == places[:, ::3] % 50).all() and (places[:, 2::3] % 50 == places[:, ::3] % 50).all()
    other = retrieval.nearest(queries, gallery, 150, block=30)
    assert torch.equal(distances, other[0]) and torch.equal(places, other[1])
    assert (retrieval.nearest(base, gallery, 1)[0] == 0).all()


def test_ties_are_listed_in_an_order_that_knows_no_place():
    n = 2**16
    order = retrieval.shuffled(torch.cat([torch.arange(n), torch.arange(n) + 2**32 - n]))
    assert len(order.unique()) == 2 * n and order.min() >= 0 and order.max() < 2**32
    assert torch.equal(retrieval._unshuffled(order)[:n], torch.arange(n))
    ranks = order[:n].argsort().double()
    assert abs(np.corrcoef(ranks, np.arange(n))[0, 1]) < 4 / n**0.5
    places = retrieval.nearest(torch.ones(1, 3), torch.ones(1000, 3), 100)[1][0]
    counts = torch.bincount(places // 100, minlength=10)  # of a gallery in ten classes, one after another
    assert counts.min() > 0 and ((counts - 10.0) ** 2 / 10).sum() < 28  # chi square, 9 degrees: 28 at .001
    part = torch.arange(7, 1000, 3)  # of a part of it the same are listed first
    found = retrieval.nearest(torch.ones(1, 3), torch.ones(len(part), 3), 9, places=part)[1][0]
    whole = retrieval.nearest(torch.ones(1, 3), torch.ones(1000, 3), 1000)[1][0]
    assert found.tolist() == [i for i in whole.tolist() if i % 3 == 1 and i >= 7][:9]


EVERY = [f"{kind}@{k}" for kind in ("recall", "class_precision", "class_recall", "class_mAP") for k in range(1, 8)]


@pytest.mark.parametrize("seed", range(6))
def test_ties_against_every_order(seed):
    """The closed form against the mean over all 5040 orders of a gallery of seven, at every depth."""
    far = _random(7, high=(1, 2, 2, 3, 4, 7)[seed], seed=seed)
    classes = torch.zeros(1).long(), _random(7, high=2, seed=seed + 10).index_fill(0, torch.tensor([seed]), 0)
    instances = torch.ones(1).long(), torch.arange(7) // (1 + seed % 2)
    found = retrieval.evaluate(
        torch.zeros(1, 1), far[:, None].float(), classes=classes, instances=instances, names=[*EVERY, "class_mAP"]
    )
    for name in EVERY:
        ours, theirs = classes if name.startswith("class") else instances
        expected, _ = _over_orders(name, far.tolist(), (theirs == ours).tolist())
        assert found[name].value == pytest.approx(expected, abs=1e-9), name
    assert found["class_mAP"].value == pytest.approx(found["class_mAP@7"].value)
    ranked = far.sort().values
    assert found["recall@1"].tied == pytest.approx((ranked[1:] == ranked[:-1]).double().mean().item())


@pytest.mark.parametrize("block", [5, 256])
def test_scores_with_ties_against_random_orders(block):
    queries, gallery = _random(5, 3).float(), _random(60, 3, seed=1).float()
    classes = _random(5, high=4, seed=2), torch.arange(60) % 4
    instances = _random(5, high=30, seed=3), torch.arange(60) // 2
    names = (*retrieval.NAMES[:-1], "class_mAP@15", "recall@60", "class_recall@1")
    found = retrieval.evaluate(queries, gallery, classes=classes, instances=instances, names=names, block=block)
    assert list(found) == list(names)
    for row, far in enumerate((queries[:, None] - gallery).square().sum(2).tolist()):
        for name in names:
            ours, theirs = classes if name.startswith("class") else instances
            expected, error = _over_orders(name, far, (theirs == ours[row]).tolist(), draws=500)
            assert found[name].per_query[row].item() == pytest.approx(expected, abs=4.5 * error + 1e-9), name
    for score in found.values():
        assert score.value == pytest.approx(score.per_query.mean().item())


def test_without_ties_scores_are_those_of_the_ranking():
    queries, gallery = torch.randn(23, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3).repeat(30, 1)
    gallery = gallery + torch.randn(90, 3, generator=torch.Generator().manual_seed(1))
    classes = _random(23, high=4, seed=2), torch.arange(90) % 4
    instances = _random(23, high=30, seed=3), torch.arange(90) // 3
    names = ("recall@1", "recall@5", "class_precision@10", "class_recall@2", "class_mAP", "class_mAP@15")
    found = retrieval.evaluate(queries, gallery, classes=classes, instances=instances, names=names, block=7)
    for row, query in enumerate(queries.tolist()):
        order = _ranking(query, gallery.tolist())
        for name in names:
            ours, theirs = classes if name.startswith("class") else instances
            value = _of_order(name, [bool(theirs[i] == ours[row]) for i in order])
            assert found[name].per_query[row].item() == pytest.approx(value, abs=1e-12), name
    assert found["class_mAP"].tied == 0


def test_full_map_against_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(10, 4, generator=generator), torch.randn(80, 4, generator=generator)
    classes = torch.arange(10) % 3, torch.arange(80) % 3
    found = retrieval.evaluate(queries, gallery, classes=classes, names=["class_mAP"])["class_mAP"]
    for row in range(10):
        expected = average_precision_score(
            classes[1] == classes[0][row], -torch.cdist(queries[row : row + 1], gallery)[0]
        )
        assert found.per_query[row].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "name", ["recall@1", "recall@10", "class_precision@5", "class_recall@3", "class_mAP", "class_mAP@7"]
)
@pytest.mark.parametrize("n_relevant", [1, 4, 17])
def test_chance_by_simulation(name, n_relevant):
    n_gallery, draws = 24, 8000
    orders = torch.rand(draws, n_gallery, generator=torch.Generator().manual_seed(0)).argsort(1)
    scores = np.array([_of_order(name, hits) for hits in (orders < n_relevant).tolist()])
    slack = 4 * scores.std() / draws**0.5 + 1e-12
    counts = torch.tensor([n_relevant])
    assert retrieval.chance(name, counts, n_gallery).item() == pytest.approx(scores.mean(), abs=slack)


def test_chance_of_the_whole_evaluation():
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(300, 4, generator=generator)
    classes = torch.arange(4000) % 3, torch.cat([torch.zeros(200), torch.ones(70), torch.full((30,), 2)]).long()
    names = ("class_precision@10", "class_mAP", "class_mAP@200")
    found = retrieval.evaluate(torch.randn(4000, 4, generator=generator), gallery, classes=classes, names=names)
    # random features: the gallery's order is shared by near queries, hence the loose bound
    for score in found.values():
        assert score.value == pytest.approx(score.chance, abs=0.03)
    assert found["class_precision@10"].chance == pytest.approx(1 / 3, abs=1e-3)


def test_edge_chances():
    assert retrieval.chance("recall@10", torch.tensor([1]), 200).item() == pytest.approx(0.05)
    for name in ("recall@1", "class_mAP", "class_precision@1"):
        assert retrieval.chance(name, torch.tensor([1]), 1).item() == pytest.approx(1)
    assert retrieval.chance("class_mAP", torch.tensor([50]), 50).item() == pytest.approx(1)


@pytest.mark.parametrize("high", [4, 10_000])
def test_pairs_against_loops(high):
    distances, same = _random(41, high=high).float() / 7, _random(41, high=2, seed=5)
    values = distances.double().tolist()
    candidates = [-1.0, *values, *((a + b) / 2 for a in values for b in values)]
    best = max(sum((d <= t) == bool(s) for d, s in zip(values, same.tolist(), strict=True)) for t in candidates)
    found = retrieval.best_threshold(distances, same)
    assert found.accuracy == pytest.approx(best / 41)
    assert retrieval.pair_accuracy(distances, same, found.distance) == found.accuracy
    assert retrieval.roc_area(distances, same) == pytest.approx(roc_auc_score(same, -distances))


def test_threshold_at_the_edges():
    distances = torch.tensor([0.0, 1.0, 3.0])
    assert retrieval.best_threshold(distances, torch.tensor([True, False, False])) == (0.5, 1.0)
    assert retrieval.best_threshold(distances, torch.tensor([False, False, False])) == (-1.0, 1.0)
    assert retrieval.best_threshold(distances, torch.tensor([True, True, True])) == (3.0, 1.0)
    assert retrieval.pair_correct(distances, torch.tensor([1, 1, 0]), 1.0).tolist() == [True, True, True]


TWO, LABELS = torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval.nearest(TWO, TWO, 3), "k=3: expected 1 to 2"),
        (lambda: retrieval.nearest(TWO, TWO, 0), "k=0"),
        (lambda: retrieval.nearest(TWO, torch.zeros(2, 4), 1), "same D"),
        (lambda: retrieval.nearest(TWO[:0], TWO, 1), "nothing to search"),
        (lambda: retrieval.nearest(TWO, TWO[:0], 1), "nothing to search"),
        (lambda: retrieval.nearest(TWO, TWO / 0, 1), "gallery: row 0"),
        (lambda: retrieval.nearest(TWO, TWO, 1, block=0), "block=0"),
        (lambda: retrieval.evaluate(TWO, TWO, classes=(LABELS, LABELS), names=["class_mAP@200"]), "at least 200"),
        (lambda: retrieval.evaluate(TWO, TWO, classes=(LABELS, LABELS), names=["mAP"]), "expected one of"),
        (lambda: retrieval.evaluate(TWO / 0, TWO, classes=(LABELS, LABELS), names=["class_mAP"]), "queries: row 0"),
        (lambda: retrieval.evaluate(TWO, TWO, classes=(LABELS, LABELS), names=["recall@1"]), "instances"),
        (
            lambda: retrieval.evaluate(TWO, TWO, classes=(LABELS[:1], LABELS), names=["class_mAP"]),
            "classes have shapes",
        ),
        (lambda: retrieval.evaluate(TWO, TWO, classes=(LABELS + 5, LABELS), names=["class_mAP"]), "first 5"),
        (lambda: retrieval.best_threshold(torch.zeros(0), torch.zeros(0)), "at least 1"),
        (lambda: retrieval.pair_accuracy(torch.zeros(2), torch.zeros(3), 1.0), "twice"),
        (lambda: retrieval.roc_area(torch.zeros(2), torch.ones(2)), "both kinds"),
        (lambda: retrieval.roc_area(torch.tensor([0, math.nan]), torch.tensor([0, 1])), "pair 1"),
    ],
)
def test_impossible_input_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("gallery_block", [1, 13, 40, 1000])
def test_a_gallery_in_blocks_gives_the_same_matches(gallery_block):
    queries, gallery = _random(19, 2).float(), _random(40, 2, seed=1).float()
    whole, parts = retrieval.nearest(queries, gallery, 7), retrieval.nearest(queries, gallery, 7, 4, gallery_block)
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])


def test_a_gallery_on_disk_is_searched(tmp_path):
    gallery = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    gallery.numpy().tofile(tmp_path / "rows")
    mapped = torch.from_numpy(np.memmap(tmp_path / "rows", np.float32, mode="c", shape=(300, 5)))
    found = retrieval.nearest(gallery[:9], mapped, 3, gallery_block=64)
    assert found[1][:, 0].tolist() == list(range(9)) and (found[0][:, 0] == 0).all()
    mapped[200, 2] = math.nan
    with pytest.raises(UserError, match="gallery: row 200 holds nan"):
        retrieval.nearest(gallery[:9], mapped, 3)


def test_full_map_of_classes_of_unequal_size_and_ties():
    """By the ranks of what is right, with one class of a single photo."""
    queries, gallery = _random(9, 2).float(), _random(70, 2, seed=1).float()
    theirs = torch.cat([torch.zeros(60), torch.ones(9), torch.full((1,), 7)]).long()[_random(70, high=10**6).argsort()]
    ours = torch.tensor([0, 1, 7] * 3)
    found = retrieval.evaluate(queries, gallery, classes=(ours, theirs), names=["class_mAP", "class_mAP@70"], block=4)
    torch.testing.assert_close(found["class_mAP"].per_query, found["class_mAP@70"].per_query)
    for row, far in enumerate((queries[:, None] - gallery).square().sum(2).tolist()):
        expected, error = _over_orders("class_mAP", far, (theirs == ours[row]).tolist(), draws=500)
        assert found["class_mAP"].per_query[row].item() == pytest.approx(expected, abs=4.5 * error + 1e-9)


# --- what has learnt nothing scores chance


SIZES = (40, 20, 12, 9, 5, 1)  # photos of a class: few have many, and they stand in the gallery one after another


def _nothing(kind, classes, numbers, seed=0):
    """(n, D) embeddings that know nothing of their classes."""
    generator, n = torch.Generator().manual_seed(seed), len(classes)
    noise = torch.randn(n, numbers, generator=generator)
    one = torch.randn(numbers, generator=torch.Generator().manual_seed(99)).expand(n, -1)
    if kind == "rounding":  # each class by one rounding further: as when batches are multiplied in another order
        steps = one.abs() * 2.0**-23
        return one + steps * (classes[:, None] % 3)
    if kind == "collapsed":
        return 0 * torch.eye(int(classes.max()) + 1, numbers)[classes]
    return {"zero": 0 * one, "constant": one, "nearly": one + 1e-6 * noise, "random": noise}[kind]


def _searched(kind, classes, objects, order, numbers=16, seed=0):
    """Scores of such embeddings, with the gallery in some order."""
    photos = _nothing(kind, classes[1], numbers, seed)[order]
    sketches = _nothing(kind, classes[0], numbers, seed + 1000)
    truth = {"classes": (classes[0], classes[1][order]), "instances": (objects[0], objects[1][order])}
    names = [name for name in retrieval.NAMES if not name.endswith("200")] + ["class_mAP@20"]
    return retrieval.evaluate(sketches, photos, names=names, **truth)


def _check_nothing(kind, classes, objects, seeds):
    n = len(classes[1])
    orders = torch.arange(n), torch.randperm(n, generator=torch.Generator().manual_seed(5)), torch.arange(n).flip(0)
    first, *others = (_searched(kind, classes, objects, order) for order in orders)
    for other in others:
        for name, score in first.items():
            torch.testing.assert_close(other[name].per_query, score.per_query, atol=1e-12, rtol=0)
    if kind in ("nearly", "random"):
        runs = [_searched(kind, classes, objects, orders[0], seed=seed) for seed in range(seeds)]
        for name, score in first.items():
            values = np.array([run[name].value for run in runs])
            error = values.std(ddof=1) / len(values) ** 0.5
            assert values.mean() == pytest.approx(score.chance, abs=4 * error), name
        assert (first["class_mAP"].tied > retrieval.MANY) == (kind == "nearly")  # noise below the tolerance
        return
    for name, score in first.items():
        assert score.value == pytest.approx(score.chance, abs=1e-9), name
        assert score.tied == 1


@pytest.mark.parametrize("kind", ["zero", "constant", "rounding", "nearly", "collapsed", "random"])
def test_an_embedding_that_tells_nothing_scores_chance(kind):
    photos = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    objects = torch.arange(len(photos)).repeat_interleave(3)
    _check_nothing(kind, (photos[objects], photos), (objects, torch.arange(len(photos))), seeds=60)


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_DATA" not in os.environ, reason="SKETCHLAB_DATA is not set")
@pytest.mark.parametrize("kind", ["constant", "rounding", "nearly", "collapsed", "random"])
def test_nothing_scores_chance_on_sketchy(kind):
    run = config.from_overrides(["model=small_siamese", "data=sketchy"])
    test = run.data.build(run.model.config.input).splits["test"]
    classes, objects = ((getattr(test.sketch, key), getattr(test.photo, key)) for key in ("labels", "groups"))
    assert (classes[1].diff() >= 0).all()  # sorted by class, as it is stored
    _check_nothing(kind, classes, objects, seeds=40)


@pytest.mark.parametrize("high", [4, 10_000])
def test_roc_shares_against_a_double_loop(high):
    distances, same = _random(23, high=high).float() / 7, _random(23, high=2, seed=5).bool()
    shares = retrieval.roc_shares(distances, same)
    for i in range(23):
        others = [d for d, s in zip(distances.tolist(), same.tolist(), strict=True) if s != bool(same[i])]
        nearer = [(d > distances[i]) + 0.5 * (d == distances[i].item()) for d in others]
        expected = sum(map(float, nearer)) / len(others)
        assert shares[i].item() == pytest.approx(expected if same[i] else 1 - expected)
    assert shares[same].mean().item() == pytest.approx(shares[~same].mean().item())
