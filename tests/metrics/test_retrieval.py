import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from sketchlab.errors import UserError
from sketchlab.metrics import retrieval


def _random(*shape, high=3, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def _ranking(query, gallery):
    """Places of the gallery, nearest first, by a double loop; equals in their order."""
    squares = [sum((a - b) ** 2 for a, b in zip(query, row, strict=True)) for row in gallery]
    return sorted(range(len(gallery)), key=lambda i: (squares[i], i))


def _average_precision(hits, n_relevant):
    found, total = 0, 0.0
    for rank, hit in enumerate(hits, 1):
        if hit:
            found += 1
            total += found / rank
    return total / min(n_relevant, len(hits))


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
    assert (places[:, 1::3] - places[:, ::3] == 50).all() and (places[:, 2::3] - places[:, ::3] == 100).all()
    other = retrieval.nearest(queries, gallery, 150, block=30)
    assert torch.equal(distances, other[0]) and torch.equal(places, other[1])
    assert (retrieval.nearest(base, gallery, 1)[0] == 0).all()


@pytest.mark.parametrize("block", [5, 256])
def test_scores_with_ties_against_a_double_loop(block):
    queries, gallery = _random(23, 3).float(), _random(60, 3, seed=1).float()
    classes = _random(23, high=4, seed=2), torch.arange(60) % 4
    instances = _random(23, high=30, seed=3), torch.arange(60) // 2
    names = (*retrieval.NAMES[:-1], "class_mAP@15", "recall@60", "class_recall@1")
    found = retrieval.evaluate(queries, gallery, classes=classes, instances=instances, names=names, block=block)
    assert list(found) == list(names)
    for row, query in enumerate(queries.tolist()):
        order = _ranking(query, gallery.tolist())
        by_class = [bool(classes[1][i] == classes[0][row]) for i in order]
        by_instance = [bool(instances[1][i] == instances[0][row]) for i in order]
        expected = {
            "recall@1": any(by_instance[:1]),
            "recall@5": any(by_instance[:5]),
            "recall@10": any(by_instance[:10]),
            "recall@60": True,
            "class_precision@10": sum(by_class[:10]) / 10,
            "class_recall@10": any(by_class[:10]),
            "class_recall@1": by_class[0],
            "class_mAP": _average_precision(by_class, 15),
            "class_mAP@15": _average_precision(by_class[:15], 15),
        }
        for name, value in expected.items():
            assert found[name].per_query[row].item() == pytest.approx(float(value)), name
    for score in found.values():
        assert score.value == pytest.approx(score.per_query.mean().item())


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
    kind, k = retrieval._parse(name, n_gallery)
    counts = torch.full((draws,), n_relevant)
    scores = retrieval._score(kind, (orders < n_relevant)[:, :k], counts)
    slack = 4 * scores.std().item() / draws**0.5 + 1e-12
    assert retrieval.chance(name, counts[:1], n_gallery).item() == pytest.approx(scores.mean().item(), abs=slack)


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
    """By the ranks of what is right: against the whole ranking, with one class of a single photo."""
    queries, gallery = _random(31, 2).float(), _random(70, 2, seed=1).float()
    theirs = torch.cat([torch.zeros(60), torch.ones(9), torch.full((1,), 7)]).long()[_random(70, high=10**6).argsort()]
    ours = torch.tensor([0, 1, 7] * 10 + [0])
    found = retrieval.evaluate(queries, gallery, classes=(ours, theirs), names=["class_mAP", "class_mAP@70"], block=8)
    torch.testing.assert_close(found["class_mAP"].per_query, found["class_mAP@70"].per_query)
    for row in range(31):
        hits = [bool(theirs[i] == ours[row]) for i in _ranking(queries[row].tolist(), gallery.tolist())]
        assert found["class_mAP"].per_query[row].item() == pytest.approx(_average_precision(hits, sum(hits)))


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
