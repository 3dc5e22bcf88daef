"""Where model input and data output meet: what a network takes, what a data set gives, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass

from sketchlab.errors import UserError

KINDS = ("images", "frames", "points", "pairs")
INKS = ("bright", "dark")


@dataclass(frozen=True)
class Input:
    """What a model takes; the data layer produces exactly this.

    images: (B, C, S, S); frames: (B, T, S, S); points: ragged strokes; pairs: sketch and photo, each (B, C, S, S).
    """

    kind: str  # images, frames, points or pairs
    size_px: int  # side S of the square image
    channels: int  # 1 grey, 3 colour (drawings are repeated), 6 stroke groups
    ink: (
        str  # bright: drawings are turned to bright lines on black; dark: black lines on white. Photos stay as they are
    )
    mean: list[float]  # per channel, subtracted after scaling to [0, 1]
    std: list[float]  # per channel, divided by

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"model.input.kind={self.kind}: expected one of {', '.join(KINDS)}")
        if self.ink not in INKS:
            raise UserError(f"model.input.ink={self.ink}: expected one of {', '.join(INKS)}")
        if self.size_px < 1:
            raise UserError(f"model.input.size_px={self.size_px}: expected at least 1")
        for key in ("mean", "std"):
            if len(getattr(self, key)) != self.channels:
                raise UserError(f"model.input.{key} has {len(getattr(self, key))} values for {self.channels} channels")


def check_fit(
    *, model: str, fits: tuple[str, ...], pipeline: str, takes: str, data: str, gives: tuple[str, ...]
) -> None:
    """Refuse a pipeline, a model and a data set that cannot work together, in one line.

    fits: the pipelines a model is written for (its FITS); gives: the kinds a data set gives (its GIVES).
    """
    if pipeline not in fits:
        raise UserError(f"pipeline={pipeline} does not fit model={model}, which is for pipeline={' or '.join(fits)}")
    if takes not in gives:
        raise UserError(f"model={model} takes {takes}, but data={data} gives {' or '.join(gives)}")
