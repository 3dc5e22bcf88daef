"""Every published definition of the scores of a search against a second computation, and every chance against one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import retrieval_average_precision

from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.report.paper import protocols

SIZES = (30, 90, 110, 60)  # photos of each class: fewer and more than k


@pytest.fixture(scope="module")
def search():
    """40 sketches, 290 photos in 8 numbers, class by class; some photos twice, so that there are ties."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(len(SIZES), 8))
    of_photos = np.repeat(np.arange(len(SIZES)), SIZES)
    of_sketches = np.repeat(np.arange(len(SIZES)), 10)
    photos = (centres[of_photos] + 1.5 * rng.normal(size=(len(of_photos), 8))).astype(np.float32)
    photos[rng.permutation(len(photos))[:60]] = photos[:60]
    sketches = (centres[of_sketches] + 1.5 * rng.normal(size=(len(of_sketches), 8))).astype(np.float32)
    return sketches, photos, of_sketches, of_photos


def ranking(sketch, photos):
    far = np.sqrt(((photos.astype(float) - sketch) ** 2).sum(1))
    return far, np.argsort(far, kind="stable")


def voc(right, n_right):
    """VOC's area under the envelope, by its definition: a loop from the right."""
    recall, precision, hits = [0.0], [0.0], 0
    for place, hit in enumerate(right, 1):
        hits += hit
        recall.append(hits / n_right)
        precision.append(hits / place)
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1))


def second(code, score, search):
    """The mean over sketches, one after another."""
    sketches, photos, of_sketches, of_photos = search
    kind, _, depth = score.partition("@")
    k = len(photos) if depth == "all" else int(depth)
    out = []
    for sketch, label in zip(sketches, of_sketches, strict=True):
        far, order = ranking(sketch, photos)
        right = of_photos[order] == label
        n_right = int(right.sum())
        head = right[:k]
        if kind == "P":
            few = min(k, n_right)
            out.append(right[:few].sum() / few if code == "ZSE-SBIR" else head.sum() / min(k, len(head)))
        elif code == "sem-pcyc":
            out.append(average_precision_score(head, -far[order][:k]) if head.any() else 0.0)
        else:
            out.append(voc(head, min(k, n_right)))
    return np.mean(out)


SCORES = ("mAP@all", "mAP@200", "P@100", "P@200")


@pytest.mark.parametrize(("code", "score"), list(itertools.product(("sem-pcyc", "SAKE", "ZSE-SBIR"), SCORES)))
def test_definitions_against_a_loop_and_scikit_learn(code, score, search):
    assert protocols.scores(*search)[code, score] == pytest.approx(second(code, score, search), abs=1e-6)


def test_one_random_photo_a_sketch_against_torchmetrics(search):
    sketches, photos, of_sketches, of_photos = search
    out = []
    for chosen in protocols.galleries(of_sketches, of_photos):
        assert (of_photos[chosen] == of_sketches).all()
        for sketch, label in zip(sketches, of_sketches, strict=True):
            far, order = ranking(sketch, photos[chosen])  # in order, so that torch's sort has no ties to break
            falling = torch.linspace(2, 1, len(order), dtype=torch.float64)
            assert (np.diff(far[order]) >= 0).all()
            out.append(retrieval_average_precision(falling, torch.from_numpy(of_photos[chosen][order] == label)).item())
    assert protocols.scores(*search)["Sketch_LVM", "mAP@all"] == pytest.approx(np.mean(out), abs=1e-6)


def test_sketchlabs_own_against_its_metrics(search, monkeypatch):
    monkeypatch.setattr(protocols, "CELLS", 0)
    monkeypatch.setattr(protocols, "GRID", 8)
    sketches, photos, of_sketches, of_photos = map(torch.from_numpy, search)
    names = {"mAP@all": "class_mAP", "mAP@200": "class_mAP@200", "P@100": "class_precision@100"}
    names["P@200"] = "class_precision@200"
    found = metrics.evaluate(sketches, photos, classes=(of_sketches, of_photos), names=list(names.values()))
    ours, guess = protocols.scores(*search), protocols.chances(search[2], search[3])
    for score, name in names.items():
        assert ours["sketchlab", score] == pytest.approx(found[name].value, abs=1e-6)
        assert guess["sketchlab", score] == (pytest.approx(found[name].chance, abs=1e-9), 0.0)


def test_one_hit_at_rank_one_of_a_class_of_400():
    right = np.zeros((1, 200), bool)
    right[0, 0] = True
    far = np.arange(200.0)[None]
    assert protocols.scikit_average_precision(right, far)[0] == 1.0
    assert protocols.voc_average_precision(right, np.array([200]))[0] == 0.005
    assert protocols.over_ties(right, far, np.array([400]), 200)[0][0] == pytest.approx(0.005)


def test_ties_change_what_each_code_says(search, monkeypatch):
    """All photos in one point: scikit-learn and sketchlab give what a random order gives or the share, the others what
    the gallery's order happens to be."""
    monkeypatch.setattr(protocols, "CELLS", 0)
    monkeypatch.setattr(protocols, "GRID", 20)
    sketches, photos, of_sketches, of_photos = search
    found = protocols.scores(sketches, np.zeros_like(photos), of_sketches, of_photos)
    share = np.mean([(of_photos == label).mean() for label in of_sketches])
    guess = protocols.chances(of_sketches, of_photos)
    assert found["sem-pcyc", "mAP@all"] == pytest.approx(share)
    assert found["sketchlab", "mAP@all"] == pytest.approx(guess["sketchlab", "mAP@all"][0])
    assert found["sketchlab", "P@100"] == pytest.approx(share)
    assert found["SAKE", "mAP@all"] > 1.5 * guess["SAKE", "mAP@all"][0]  # the first class stands first in its gallery


@pytest.mark.parametrize(("n_right", "n", "k"), [(1, 5, 5), (3, 7, 7), (3, 7, 4), (4, 6, 2), (5, 5, 3)])
def test_chance_is_the_mean_over_all_orders(n_right, n, k):
    places = itertools.combinations(range(n), n_right)
    orders = np.array([np.isin(np.arange(n), chosen) for chosen in places])
    of_class, head = np.full(len(orders), n_right), orders[:, :k]
    few = np.minimum(of_class, k)
    assert protocols.plain_chance(n_right, n, k) == pytest.approx(protocols.average_precision(head, few).mean())
    every = protocols.scikit_average_precision(head, np.tile(np.arange(k, dtype=float), (len(head), 1)))
    assert protocols.found_chance(n_right, n, k) == pytest.approx(every.mean())
    expected, error = protocols.voc_chance(n_right, n, k)
    assert error == 0 and expected == pytest.approx(protocols.voc_average_precision(head, few).mean(), abs=1e-9)


@pytest.mark.parametrize("k", [120, 50])
def test_chance_of_longer_lists_by_simulation(k):
    rng, n_right, n = np.random.default_rng(1), 30, 120
    orders = rng.permuted(np.tile(np.arange(n) < n_right, (20_000, 1)), axis=1)[:, :k]
    far, few = np.tile(np.arange(k, dtype=float), (len(orders), 1)), np.full(len(orders), min(n_right, k))
    for values, chance in (
        (protocols.voc_average_precision(orders, few), protocols.voc_chance(n_right, n, k)[0]),
        (protocols.scikit_average_precision(orders, far), protocols.found_chance(n_right, n, k)),
    ):
        assert chance == pytest.approx(values.mean(), abs=4 * values.std() / len(values) ** 0.5)


def test_where_thresholds_are_a_grid_the_bounds_hold_the_exact_value(monkeypatch):
    exact, _ = protocols.voc_chance(30, 120, 120)
    monkeypatch.setattr(protocols, "CELLS", 0)
    middle, half = protocols.voc_chance(30, 120, 120)
    assert 0 < half < 0.01 and abs(middle - exact) <= half


def test_a_class_without_photos_is_refused(search):
    sketches, photos, of_sketches, of_photos = search
    with pytest.raises(UserError, match="1 classes of sketches have no photo"):
        protocols.table(sketches, photos, np.where(of_sketches == 3, 9, of_sketches), of_photos)
