"""Which pairs of a batch are learnt from: those that were drawn, all that the batch has, or its difficult ones.

With several ranks each looks through its own part of the batch, and with loop.accumulate each part through itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sketchlab.errors import UserError
from sketchlab.pipelines.retrieve import losses

LOSSES = ("contrastive", "triplet", "infonce")
SAMPLERS = ("pairs", "all", "semihard", "hard")


@dataclass(frozen=True)
class Rule:
    """The keys of pipeline=retrieve that make its loss; their meaning stands there."""

    loss: str
    sampler: str
    match_share: float
    margin: float
    temperature: float

    def __post_init__(self) -> None:
        for key, known in (("loss", LOSSES), ("sampler", SAMPLERS)):
            if getattr(self, key) not in known:
                raise UserError(f"pipeline.{key}={getattr(self, key)}: expected one of {', '.join(known)}")
        if self.loss == "infonce" and self.sampler != "all":
            raise UserError(
                f"pipeline.sampler={self.sampler}: pipeline.loss=infonce looks at whole batches, expected all"
            )
        if not 0 < self.match_share < 1:
            raise UserError(f"pipeline.match_share={self.match_share}: expected a share above 0 and below 1")
        if not (self.margin > 0 and self.temperature > 0):
            raise UserError(
                f"pipeline.margin={self.margin}, temperature={self.temperature}: expected both to be above 0"
            )


@dataclass(frozen=True)
class Learnt:
    """What a batch gives: its loss, mean distances (2,) of its matching and other pairs, how many (2,) those are."""

    loss: Tensor
    means: Tensor
    counts: Tensor


def of_batch(rule: Rule, batch: dict[str, Tensor], embedded: list[Tensor]) -> Learnt:
    """embedded: sketches, photos and, of triplets, photos that do not match, (B, D) each.

    batch: `truth` (B,), equal numbers match: all pairs of the batch are looked through. Else `other` (B,) bool: pairs
    as drawn, some matching. Else the triplets as drawn.
    """
    sketch, photo, *negative = embedded
    if "truth" in batch:
        truth = batch["truth"].to(sketch.device)
        loss, match, other = within(rule, losses.distances(sketch, photo), truth[:, None] == truth[None])
        return Learnt(loss, torch.stack([match, other]), match.new_full((2,), len(truth)))
    near = losses.distance(sketch, photo)
    if negative:
        far = losses.distance(sketch, negative[0])
        means = torch.stack([near.detach().mean(), far.detach().mean()])
        return Learnt(of_drawn(rule, near, far), means, near.new_full((2,), len(near)))
    other = batch["other"].to(sketch.device)
    masks = torch.stack([~other, other])
    means = torch.stack([_mean(near.detach(), mask) for mask in masks])
    return Learnt(losses.contrastive(near, other, rule.margin).mean(), means, masks.sum(1).to(near.dtype))


def of_drawn(rule: Rule, match: Tensor, other: Tensor) -> Tensor:
    """(n,) distances of sketches to a matching and to another photo → the loss, a number.

    contrastive: matching pairs weigh match_share together, others the rest. infonce: that one other photo counts.
    """
    if rule.loss == "triplet":
        return losses.triplet(match, other, rule.margin).mean()
    if rule.loss == "infonce":
        counted = torch.ones_like(other, dtype=torch.bool)[:, None]
        return losses.infonce(match, other[:, None], counted, rule.temperature).mean()
    near, far = (losses.contrastive(d, torch.full_like(d, y), rule.margin).mean() for d, y in ((match, 0), (other, 1)))
    return rule.match_share * near + (1 - rule.match_share) * far


def within(rule: Rule, between: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, B) distances of a batch's sketches (rows) to its photos (columns), which of them match (among them those on
    the diagonal) → the loss, mean distance of the matching and of the other pairs that are learnt from.

    infonce: sketches to photos and photos to sketches, half each; photos that match too are no others. Where a batch
    has no other pair, what needs one is 0.
    """
    used = others(between.detach(), same, rule.sampler)  # (B, B)
    own = torch.eye(len(between), dtype=torch.bool, device=between.device)
    matching = same if rule.sampler == "all" and rule.loss == "contrastive" else own
    if rule.loss == "contrastive":
        far = losses.contrastive(between, torch.ones_like(between), rule.margin)
        near = losses.contrastive(between, torch.zeros_like(between), rule.margin)
        loss = rule.match_share * _mean(near, matching) + (1 - rule.match_share) * _mean(far, used)
    elif rule.loss == "triplet":
        loss = _mean(losses.triplet(between.diagonal()[:, None], between, rule.margin), used)
    else:
        there = losses.infonce(between.diagonal(), between, used, rule.temperature)
        back = losses.infonce(between.diagonal(), between.T, used.T, rule.temperature)
        loss = (there.mean() + back.mean()) / 2
    return loss, _mean(between.detach(), matching), _mean(between.detach(), used)


def others(between: Tensor, same: Tensor, sampler: str) -> Tensor:
    """(B, B) distances, which match → (B, B) bool, the pairs that do not match and are learnt from.

    all: every one. hard: of each sketch the nearest. semihard: the nearest that is farther than its own photo, and
    where none is, the farthest there is (Schroff, Kalenichenko, Philbin 2015, section 3.2; they leave the latter open).
    A sketch whose batch has no other photo has none.
    """
    if sampler == "all":
        return ~same
    far = between.masked_fill(same, torch.inf)
    chosen = far.argmin(1)
    if sampler == "semihard":
        beyond = far.masked_fill(between <= between.diagonal()[:, None], torch.inf)
        farthest = between.masked_fill(same, -torch.inf).argmax(1)
        chosen = torch.where(beyond.isfinite().any(1), beyond.argmin(1), farthest)
    one = torch.arange(same.shape[1], device=same.device) == chosen[:, None]
    return one & ~same


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Over the places of the mask; 0 where there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
