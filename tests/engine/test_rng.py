"""Keyed randomness: bijective, uniform, the same in numpy and torch, the same today as yesterday."""

import numpy as np
import pytest
import torch

from sketchlab import rng


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 1000, 65537])
def test_permutation_is_a_bijection_and_depends_on_the_key(n):
    places = rng.permutation(np.arange(n), n, rng.fold(1, "order", 0))
    assert np.array_equal(np.sort(places), np.arange(n))
    if n > 50:
        assert not np.array_equal(places, rng.permutation(np.arange(n), n, rng.fold(1, "order", 1)))


def test_permutation_per_index_equals_the_whole():
    n, key = 50_000_000, rng.fold(3)
    some = np.array([0, 1, 49_999_999, 12_345_678])
    assert np.array_equal(rng.permutation(some, n, key), [rng.permutation(np.array([i]), n, key)[0] for i in some])


def test_permutation_mixes():
    """Neighbours in the order are as far apart as in a true shuffle (mean gap n/3), and small n reach every order."""
    n = 10_000
    places = rng.permutation(np.arange(n), n, rng.fold(5))
    assert abs(np.abs(np.diff(places)).mean() / (n / 3) - 1) < 0.03
    first = {tuple(rng.permutation(np.arange(4), 4, rng.fold(k))) for k in range(2000)}
    assert len(first) == 24


def test_uniform_is_uniform_and_equal_in_numpy_and_torch():
    keys = rng.fold_each(rng.fold(7), np.arange(20_000))
    ours = rng.uniform(keys, 3)
    assert np.array_equal(ours, rng.uniform(torch.from_numpy(keys), 3).numpy())
    assert np.array_equal(keys, rng.fold_each(rng.fold(7), torch.arange(20_000)).numpy())
    counts = np.histogram(ours, bins=10, range=(0, 1))[0]
    assert ((counts - 6000) ** 2 / 6000).sum() < 27.9  # chi-square, 9 degrees of freedom, p = .001
    assert abs(np.corrcoef(ours[:, 0], ours[:, 1])[0, 1]) < 0.03


def test_fold_tells_order_type_and_length_apart():
    keys = [rng.fold(*parts) for parts in [(1, 2), (2, 1), (1, 2, 0), (12,), ("1", 2), ("12",), (-1,), ()]]
    assert len(set(keys)) == len(keys) and all(0 <= k < 2**63 for k in keys)


def test_values_are_pinned():
    """A change here changes every run that was ever made."""
    assert rng.fold(0, "order", 1) == 6895287419481632641
    assert rng.permutation(np.arange(5), 5, rng.fold(0)).tolist() == [3, 4, 1, 0, 2]


def test_many_strings_fold_as_one_does():
    names = ["cat/1", "cat/2", "", "dog/é"]
    words = np.array([rng.word(name) for name in names], dtype=np.int64)
    for parts in [(0, "split"), (-3,), ()]:
        assert rng.fold_words(words, *parts).tolist() == [rng.fold(*parts, name) for name in names]
        assert rng.fold_words(torch.from_numpy(words), *parts).tolist() == rng.fold_words(words, *parts).tolist()
