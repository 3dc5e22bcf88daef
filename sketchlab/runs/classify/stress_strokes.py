"""The changes of stress.py for drawings kept as strokes: points move, lines are drawn again, strokes are missing."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sketchlab.data.strokes import augment as stroke_augment
from sketchlab.data.strokes import raster
from sketchlab.data.strokes.augment import MIDDLE
from sketchlab.data.strokes.batch import Strokes
from sketchlab.data.strokes.prepare import Prepare
from sketchlab.runs.classify.classifier import Classifier
from sketchlab.runs.classify.stress import LEVELS, NEUTRAL, Kind

# kind → levels, as in stress.LEVELS; first_strokes: share of a drawing's strokes, in the order drawn, at least one;
# dropped_strokes: probability of each stroke to be left out, one always stays, and strokes do not come back at a higher
# share; line_px: width on the raster's canvas
SHARES = {"first_strokes": (0.2, 0.4, 0.6, 0.8, 1.0), "dropped_strokes": (0.0, 0.1, 0.25, 0.5, 0.75)}
WIDTHS = (0.25, 0.5, 1, 2, 3, 4, 6)  # times the run's own
_STILL = stroke_augment.Config(
    views=0, rotate_deg=0.0, stretch=1.0, scale=[1.0, 1.0], shift=0.0, jitter=0.0, drop=0.0, reverse=0.0
)


def of_strokes(classifier: Classifier) -> dict[str, Kind]:
    """Kinds for a classifier that draws by data/strokes/prepare.py; a network that takes points has no line_px."""
    prepare = classifier.strokes
    assert isinstance(prepare, Prepare)
    align = prepare.raster.align

    def kind(name: str, levels: tuple[float, ...], neutral: float) -> Kind:
        def logits(raw: Strokes, level: float, keys: Tensor) -> Tensor:
            return classifier.logits(change(raw, name, level, keys, align))

        return Kind(levels, neutral, logits)

    out = {name: kind(name, LEVELS[name], NEUTRAL[name]) for name in LEVELS if name != "thickness"}
    if prepare.input.kind != "points":
        out["line_px"] = _line_px(classifier, prepare)
    out |= {name: kind(name, levels, {"first_strokes": 1.0}.get(name, 0.0)) for name, levels in SHARES.items()}
    return out


def _line_px(classifier: Classifier, prepare: Prepare) -> Kind:
    own = prepare.raster.line_px

    def logits(raw: Strokes, level: float, _: Tensor) -> Tensor:
        pen = replace(prepare, raster=replace(prepare.raster, line_px=int(level)))
        return replace(classifier, strokes=pen).logits(raw)

    return Kind(tuple(sorted({max(1, round(own * times)) for times in WIDTHS})), own, logits)


def change(raw: Strokes, kind: str, level: float, keys: Tensor, align: str) -> Strokes:
    """Drawings changed by one level of a kind, points float32 where they moved; keys (B,): which strokes are dropped.

    A turned drawing fills the canvas as before, where the convention of the data would have put it; what is left of
    one with missing strokes stays where it was. Scaled about the middle of the canvas; shifts may push it off.
    """
    batch = _aligned(raw, align)
    if kind == "first_strokes":
        return _first(batch, level)
    if kind == "dropped_strokes":
        return stroke_augment.dropped(batch, keys, level)
    if kind == "rotation":
        turn = torch.full((len(raw),), 1.0 if level > 0 else 0.0, dtype=torch.float64)
        still = torch.full((len(raw),), 0.5, dtype=torch.float64)
        bend = replace(_STILL, rotate_deg=abs(level))
        return _floats(stroke_augment.bent(batch, keys, turn, still, bend, align))
    zoom = level if kind == "scale" else 1.0
    by = torch.tensor([level * 255 if kind == f"shift_{way}" else 0.0 for way in ("right", "down")]).double()
    every = torch.ones(len(raw), 2, dtype=torch.float64)
    return _floats(stroke_augment.moved(batch, every * (MIDDLE * (1 - zoom) + by), every[:, :1] * zoom))


def _aligned(raw: Strokes, align: str) -> Strokes:
    """Points float64, and in the middle of the canvas where the raster would put them there."""
    batch = replace(raw, points=raw.points.double())
    if align == "corner":
        return batch
    low, high = raster.boxes(batch, batch.points)
    return stroke_augment.moved(batch, MIDDLE - (low + high) / 2)


def _floats(batch: Strokes) -> Strokes:
    return replace(batch, points=batch.points.float())


def _first(batch: Strokes, share: float) -> Strokes:
    kept = torch.ceil(batch.counts * share - 1e-9).long().clamp(min=1)  # (B,)
    stays = batch.number_of_stroke() < kept[batch.drawing_of_stroke()]
    return replace(batch.take_strokes(stays.nonzero()[:, 0]), counts=kept)
