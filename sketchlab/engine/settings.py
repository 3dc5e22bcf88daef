"""The settings of the loop (conf/loop), and the names of optimizers and schedules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from sketchlab.components import BUILT_IN, implementations
from sketchlab.errors import UserError
from sketchlab.schema import Machine, added, only

FEW_STEPS = 50  # a run of fewer optimizer steps is warned of
OPTIMIZERS = BUILT_IN["optimizer"]
SCHEDULES = ("constant", "cosine", "linear", "step")


@dataclass(frozen=True)
class Config:
    epochs: int  # times every training sample is seen
    batch_size: int  # samples a step, over all ranks together; at most the training split (at_most)
    lr: float  # peak learning rate
    optimizer: str  # sgd, adam, adamw, or a file of your own: optimizer=<choice>
    momentum: Annotated[float, only(optimizer=("sgd",))]  # sgd only
    betas: Annotated[list[float], only(optimizer=("adam", "adamw"))]  # adam and adamw only
    weight_decay: float  # L2 with sgd and adam, decoupled with adamw
    schedule: str  # constant, cosine, linear, step (engine/optim.py)
    warmup_epochs: float  # linear rise from 0 to lr
    step_epochs: Annotated[int, only(schedule=("step",))]  # step: epochs between decays
    step_gamma: Annotated[float, only(schedule=("step",))]  # step: factor of each decay
    decay_from_epoch: Annotated[float, only(schedule=("linear",))]  # linear: constant until here
    clip_norm: float  # largest gradient norm; 0 = no clipping
    accumulate: int  # parts a batch is run in, for memory
    eval_every: int  # epochs between evaluations
    patience: int  # evaluations without a better monitored score before stopping early; 0 = never
    save_every_s: Machine[float]  # seconds between checkpoints; 0 = after every step
    optimizer_options: Annotated[dict[str, Any], added({})]  # of an optimizer of your own: the keys of its Config

    def __post_init__(self) -> None:
        own = [] if self.optimizer in OPTIMIZERS else [*implementations("optimizer")]
        for key, allowed in (("optimizer", (*OPTIMIZERS, *own)), ("schedule", SCHEDULES)):
            if getattr(self, key) not in allowed:
                raise UserError(f"loop.{key}={getattr(self, key)}: expected one of {', '.join(allowed)}")
        for key in ("epochs", "batch_size", "accumulate", "eval_every", "step_epochs"):
            if getattr(self, key) < 1:
                raise UserError(f"loop.{key}={getattr(self, key)}: expected at least 1")
        if not self.lr > 0 or len(self.betas) != 2:
            raise UserError(f"loop.lr={self.lr}, loop.betas={self.betas}: expected lr > 0 and two betas")

    def at_most(self, n: int, multiple: int, what: str) -> Config:
        """The same with a batch of at most n training samples, a multiple of `multiple`, which is `what` in words.
        Raises UserError where there are too few samples for that."""
        if self.batch_size <= n:
            return self
        if n < multiple:
            raise UserError(
                f"the training split has {n} sample{'s' * (n != 1)}, too few to share a batch by {what} = {multiple}; "
                "lower one of these, or add samples"
            )
        return replace(self, batch_size=n // multiple * multiple)
