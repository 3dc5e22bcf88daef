import math

import pytest
import torch
from sklearn import metrics as sklearn_metrics

from sketchlab.errors import UserError
from sketchlab.metrics import classification


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (60, 5), generator=generator).float()  # many ties
    return logits, torch.randint(0, 5, (60,), generator=generator)


def _predicted(row):
    return max(range(len(row)), key=lambda c: (row[c], -c))  # first of the highest


def test_accuracy_and_confusion_against_a_loop(batch):
    logits, labels = batch
    predicted = [_predicted(row) for row in logits.tolist()]
    assert classification.accuracy(logits, labels) == pytest.approx(
        sklearn_metrics.accuracy_score(labels.tolist(), predicted)
    )
    table = classification.confusion(logits, labels)
    assert table.tolist() == sklearn_metrics.confusion_matrix(labels.tolist(), predicted).tolist()
    per_class = sklearn_metrics.recall_score(labels.tolist(), predicted, average=None)
    assert classification.per_class_accuracy(logits, labels).tolist() == pytest.approx(per_class.tolist())


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_against_a_loop(batch, k):
    logits, labels = batch
    expected = [
        label in sorted(range(5), key=lambda c: (-row[c], c))[:k]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert classification.top_k_correct(logits, labels, k).tolist() == expected
    assert classification.top_k_accuracy(logits, labels, k) == pytest.approx(sum(expected) / 60)


def test_a_class_without_examples_has_no_accuracy():
    found = classification.per_class_accuracy(torch.eye(3), torch.tensor([0, 1, 1]))
    assert found[:2].tolist() == [1.0, 0.5] and math.isnan(found[2])


def test_cross_entropy(batch):
    logits, labels = batch
    rows = [
        math.log(sum(math.exp(x) for x in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert classification.cross_entropy(logits, labels) == pytest.approx(sum(rows) / 60)
    assert classification.cross_entropy(torch.zeros(4, 7), torch.arange(4)) == pytest.approx(math.log(7))


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_against_a_loop(bins):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(200, 3, generator=generator, dtype=torch.float64) * 2
    labels = torch.randint(0, 3, (200,), generator=generator)
    confidence, predicted = logits.softmax(1).max(1)
    total = 0.0
    for i in range(bins):
        rows = [j for j in range(200) if i / bins < confidence[j] <= (i + 1) / bins]
        if rows:
            right = sum(bool(predicted[j] == labels[j]) for j in rows) / len(rows)
            total += len(rows) / 200 * abs(right - sum(float(confidence[j]) for j in rows) / len(rows))
    assert classification.expected_calibration_error(logits, labels, bins) == pytest.approx(total)


def test_calibration_of_the_sure():
    sure = torch.eye(4) * 1000
    assert classification.expected_calibration_error(sure, torch.arange(4)) == 0
    assert classification.expected_calibration_error(sure, torch.arange(4).roll(1)) == 1
    assert classification.expected_calibration_error(torch.zeros(8, 4), torch.arange(8) % 4) == pytest.approx(0)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)),
        (torch.zeros(3), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2])),
        (torch.zeros(3, 2), torch.tensor([0, 1, -1])),
        (torch.zeros(3, 2), torch.zeros(3)),
        (torch.full((1, 2), math.nan), torch.tensor([0])),
    ],
)
def test_impossible_input_is_refused(logits, labels):
    for score in (
        classification.accuracy,
        classification.confusion,
        classification.per_class_accuracy,
        classification.cross_entropy,
        classification.expected_calibration_error,
    ):
        with pytest.raises(UserError):
            score(logits, labels)


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_fit(k):
    with pytest.raises(UserError, match=f"k={k}"):
        classification.top_k_accuracy(torch.eye(3), torch.arange(3), k)


def test_blocks_make_no_difference(monkeypatch):
    logits, labels = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 7
    whole = classification.cross_entropy(logits, labels)
    assert torch.equal(classification.probabilities(logits), logits.double().softmax(1))
    monkeypatch.setattr(classification, "BLOCK", 8)
    assert classification.cross_entropy(logits, labels) == pytest.approx(whole, abs=1e-15)
    assert torch.equal(classification.probabilities(logits), logits.double().softmax(1))
