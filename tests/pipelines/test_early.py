"""Answers after every stroke, against cutting each drawing by hand."""

import math

import pytest
import torch

from sketchlab.data.dataset import Images, Split
from sketchlab.data.sets import shapes
from sketchlab.data.strokes import batch as stroke_batch
from sketchlab.pipelines.classify import early


def samples() -> tuple[Split, list]:
    drawn = [shapes.drawing(name, i) for name in ("house", "circle", "sun") for i in range(4)]
    labels = torch.arange(12) // 4
    store = stroke_batch.memory(stroke_batch.of_drawings(drawn))
    return Split(store, torch.arange(12), labels, [str(i) for i in range(12)], torch.arange(12)), drawn


def ask(raw) -> torch.Tensor:
    """Three classes by how many points and strokes a drawing has."""
    sizes = torch.zeros(len(raw)).index_add_(0, raw.drawing_of_stroke(), raw.lengths.float())
    return torch.stack([raw.counts.float(), 9 - sizes / 3, sizes / 8], dim=1)


def test_a_drawing_after_some_strokes_has_those_strokes():
    split, drawn = samples()
    raw = split.gather(torch.arange(12))
    for k in (1, 2, 3, 50):
        expected = stroke_batch.of_drawings([strokes[:k] for strokes in drawn])
        found = raw.begun(k)
        for part in ("points", "lengths", "counts"):
            assert torch.equal(getattr(found, part), getattr(expected, part))


def test_each_row_is_what_asking_every_cut_drawing_gives():
    split, drawn = samples()
    whole = ask(split.gather(torch.arange(12)))
    table = early.after_each_stroke(ask, split, whole, batch=5)["early"]
    assert table.strokes.tolist() == [1, 2, 3, 4, 5, 6, 7, 8] and set(table.n) == {12}
    for k in range(1, 9):
        logits = ask(stroke_batch.of_drawings([strokes[:k] for strokes in drawn]))
        p, said = logits.double().softmax(1).max(1)
        right, row = said == split.labels, table.iloc[k - 1]
        assert row.accuracy == pytest.approx(right.double().mean().item())
        assert row.confidence == pytest.approx(p.mean().item())
        assert row.sure == pytest.approx((p >= 0.9).double().mean().item())
        if row.sure:
            assert row.sure_right == pytest.approx(right[p >= 0.9].double().mean().item())
        assert row.finished == sum(len(strokes) <= k for strokes in drawn)
        assert row.low < row.accuracy < row.high or row.accuracy in (0, 1)
    assert table.accuracy.nunique() > 1, "strokes made no difference here"


def test_no_answer_that_is_sure_has_no_share_of_right_ones():
    split, _ = samples()
    table = early.after_each_stroke(lambda raw: torch.zeros(len(raw), 3), split, torch.zeros(12, 3), batch=64)["early"]
    assert (table.sure == 0).all() and table.sure_right.map(math.isnan).all()


def test_images_have_no_strokes():
    split = Split(
        Images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)), torch.arange(2), torch.zeros(2), ["a", "b"], torch.arange(2)
    )
    assert early.after_each_stroke(ask, split, torch.zeros(2, 3), batch=4) == {}
