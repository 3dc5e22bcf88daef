"""Where model input and data output meet: what a network takes, what a data set gives, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sketchlab.errors import UserError

KINDS = ("images", "frames", "points", "pairs")
INKS = ("bright", "dark")
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # as conf/model/input/imagenet.yaml has them


@dataclass(frozen=True)
class Input:
    """What a model takes; the data layer produces exactly this.

    images: (B, C, S, S). frames: (B, T, S, S), a drawing after 1, 2, … T strokes. pairs: sketch and photo, each
    (B, C, S, S). points: (B, L, 3) or (B, L, 5), a row a point, the longest drawing of the batch gives L: dx and dy
    from the point before (the first: from the top left corner of the canvas), then the state of the pen; of 3: 0 = the
    stroke goes on, 1 = it ends here, −1 = no point, padding; of 5, one of three is 1: goes on, ends here, padding (Ha
    and Eck 2017, section 3.1).
    """

    kind: str  # images, frames, points or pairs
    size_px: int  # side S of the square image; points: the side of the square drawn on, in which dx and dy are given
    channels: int  # images: 1 grey, 3 colour (drawings are repeated), 6 stroke groups; frames: T; points: 3 or 5
    ink: (
        str  # bright: drawings are turned to bright lines on black; dark: black lines on white. Photos stay as they are
    )
    mean: list[float]  # per channel, subtracted after scaling to [0, 1]; frames: one value; points: one, for dx and dy
    std: list[float]  # as many, divided by

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"model.input.kind={self.kind}: expected one of {', '.join(KINDS)}")
        if self.ink not in INKS:
            raise UserError(f"model.input.ink={self.ink}: expected one of {', '.join(INKS)}")
        if self.size_px < 1:
            raise UserError(f"model.input.size_px={self.size_px}: expected at least 1")
        if self.channels < 1 or (self.kind == "points" and self.channels not in (3, 5)):
            wanted = "3 or 5 for kind=points" if self.kind == "points" else "at least 1"
            raise UserError(f"model.input.channels={self.channels}: expected {wanted}")
        wanted = 1 if self.kind in ("frames", "points") else self.channels
        for key in ("mean", "std"):
            if (n := len(getattr(self, key))) != wanted:
                what = f"{self.kind} take one" if wanted != self.channels else f"there are {wanted} channels"
                raise UserError(f"model.input.{key} has {n} values, but {what}")


def check_fit(
    *,
    model: str,
    gives: tuple[str, ...],
    pipeline: str,
    wants: tuple[str, ...],
    takes: str,
    data: str,
    kinds: tuple[str, ...],
) -> None:
    """Refuse a pipeline, a model and a data set that cannot work together, in one line.

    gives: what the model's network gives (its GIVES), of which the pipeline wants one (its TAKES); kinds: of samples
    that the data set gives (its GIVES), of which the model takes one.
    """
    if not set(wants) & set(gives):
        raise UserError(
            f"pipeline={pipeline} does not fit model={model}: it takes {' or '.join(wants)}, the model gives "
            f"{' or '.join(gives)}"
        )
    if takes not in kinds:
        raise UserError(f"model={model} takes {takes}, but data={data} gives {' or '.join(kinds)}")


def lengths(points: Any) -> Any:
    """(B, L, 3 or 5) a batch of kind points → (B,) int64, how many points of each drawing are no padding."""
    return (points[..., -1] >= 0 if points.shape[-1] == 3 else points[..., -1] == 0).sum(1)
