from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from sketchlab.errors import UserError
from sketchlab.metrics import joint_bayesian
from sketchlab.metrics.joint_bayesian import JointBayesian


def _spd(rng: np.random.Generator, d: int, scale: float) -> np.ndarray:
    a = rng.normal(size=(d, d))
    return scale * (a @ a.T / d + 0.3 * np.eye(d))


def _drawn(rng, between, within, sizes) -> tuple[torch.Tensor, torch.Tensor]:
    d = len(between)
    rows, labels = [], []
    for c, m in enumerate(sizes):
        centre = rng.multivariate_normal(np.full(d, 2.0), between)
        rows.append(rng.multivariate_normal(centre, within, size=m))
        labels += [c] * m
    return torch.from_numpy(np.concatenate(rows)), torch.tensor(labels)


def test_log_ratio_is_that_of_the_dense_gaussians():
    rng = np.random.default_rng(0)
    d, between, within, mean = 4, _spd(rng, 4, 2.0), _spd(rng, 4, 0.7), rng.normal(size=4)
    model = JointBayesian(*(torch.from_numpy(v) for v in (mean, between, within)))
    a, b = rng.normal(size=(3, d)), rng.normal(size=(5, d))
    ours = model.log_ratio(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    total = between + within
    same = multivariate_normal(np.r_[mean, mean], np.block([[total, between], [between, total]]))
    alone = multivariate_normal(mean, total)
    for i in range(3):
        for j in range(5):
            expected = same.logpdf(np.r_[a[i], b[j]]) - alone.logpdf(a[i]) - alone.logpdf(b[j])
            np.testing.assert_allclose(ours[i, j], expected, rtol=1e-9, atol=1e-9)


def test_log_likelihood_is_that_of_the_dense_gaussian():
    rng = np.random.default_rng(1)
    between, within = _spd(rng, 3, 2.0), _spd(rng, 3, 0.5)
    x, labels = _drawn(rng, between, within, [1, 2, 4])
    model = JointBayesian(torch.full((3,), 2.0, dtype=torch.float64), *map(torch.from_numpy, (between, within)))
    same = (labels[:, None] == labels).double().numpy()
    covariance = np.kron(same, between) + np.kron(np.eye(7), within)
    expected = multivariate_normal(np.full(21, 2.0), covariance).logpdf(x.numpy().ravel())
    np.testing.assert_allclose(joint_bayesian.log_likelihood(model, x, labels), expected, rtol=1e-9)


def test_likelihood_never_falls():
    rng = np.random.default_rng(2)
    x, labels = _drawn(rng, _spd(rng, 5, 3.0), _spd(rng, 5, 1.0), rng.integers(1, 9, size=30))
    values = [joint_bayesian.log_likelihood(joint_bayesian.fit(x, labels, n), x, labels) for n in range(12)]
    assert all(later >= earlier - 1e-8 for earlier, later in zip(values, values[1:], strict=False))
    assert values[-1] > values[0] + 0.1


def test_recovers_the_covariances_it_was_drawn_from():
    rng = np.random.default_rng(3)
    between, within = _spd(rng, 3, 2.0), _spd(rng, 3, 0.5)
    x, labels = _drawn(rng, between, within, [6] * 3000)
    model = joint_bayesian.fit(x, labels, 20)
    for ours, true in ((model.within, within), (model.between, between)):
        assert np.linalg.norm(ours.numpy() - true) < 0.08 * np.linalg.norm(true)


def test_nearest_by_ratio_beat_chance_and_shares_add_up():
    rng = np.random.default_rng(4)
    between, within = _spd(rng, 6, 3.0), _spd(rng, 6, 1.0)
    x, labels = _drawn(rng, between, within, [20] * 8)
    train = torch.arange(len(x)) % 2 == 0
    model = joint_bayesian.fit(x[train], labels[train], 10)
    scores = model.scores(x[~train], x[train], labels[train], n_classes=8, k=5)
    torch.testing.assert_close(scores.sum(1), torch.ones(80, dtype=torch.float64))
    assert (scores.argmax(1) == labels[~train]).double().mean() > 0.6  # chance: .125
    with pytest.raises(UserError, match="k=81 neighbours of 80 samples"):
        model.scores(x[~train], x[train], labels[train], n_classes=8, k=81)


def test_more_dimensions_than_samples():
    rng = np.random.default_rng(5)
    x = torch.from_numpy(rng.normal(size=(10, 40))).float()
    model = joint_bayesian.fit(x, torch.arange(10) // 2, 5)
    assert torch.isfinite(model.log_ratio(x, x)).all()


@pytest.mark.parametrize("labels", [torch.zeros(4).long(), torch.arange(4)])
def test_nothing_to_learn_from(labels):
    with pytest.raises(UserError, match="two classes, and one with two samples"):
        joint_bayesian.fit(torch.randn(4, 2), labels, 3)


def test_it_starts_from_the_sample_covariances():
    """By loops: of the class centres, around them, and the ridge, a share of the mean variance."""
    rng = np.random.default_rng(4)
    x, labels = _drawn(rng, _spd(rng, 3, 2.0), _spd(rng, 3, 0.5), [1, 2, 4, 3])
    model = joint_bayesian.fit(x, labels, 0, ridge=0.1)
    rows = x.numpy() - x.numpy().mean(0)
    centres = [rows[labels.numpy() == c].mean(0) for c in range(4)]
    eye = 0.1 * rows.var(ddof=0) * rows.size / (rows.size - 1) * np.eye(3)
    between = sum(np.outer(c, c) for c in centres) / 4 + eye
    around = [row - centres[c] for row, c in zip(rows, labels.tolist(), strict=True)]
    within = sum(np.outer(r, r) for r in around) / 10 + eye
    np.testing.assert_allclose(model.mean.numpy(), x.numpy().mean(0))
    np.testing.assert_allclose(model.between.numpy(), between)
    np.testing.assert_allclose(model.within.numpy(), within)
