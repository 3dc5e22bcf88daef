"""Which photo a sketch is shown with: one that matches, another, or both. A function of keys, never a state."""

from __future__ import annotations

import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.engine.protocols import Split
from sketchlab.errors import UserError

MATCHES = ("class", "instance")


class PairMaker:
    """Pairs of sketches with photos of the same split.

    sketch, photo: samples with labels (n,), groups (n,) and ids. match: a matching photo is any of the sketch's class
    (`class`, das_debnath), or one of the object that was drawn (`instance`). Others are of another class, except, with
    `instance`, for a share `hard_share` of them: another object of the same class.

    Raises UserError when some sketch has no photo to match, or none that does not.
    """

    def __init__(
        self, sketch: Split, photo: Split, match: str, hard_share: float, classes: list[str], split: str
    ) -> None:
        self.n_photos, self.hard_share = len(photo.labels), hard_share
        names, numbers = torch.cat([sketch.groups, photo.groups]).unique(return_inverse=True)  # groups may be hashes
        span, (sketch_numbers, photo_numbers) = len(names), numbers.split([len(sketch.groups), len(photo.groups)])
        objects, self.order = (photo.labels * span + photo_numbers).sort(stable=True)  # by class, in it by object
        of_class, of_object = objects // span, objects
        self.same_class = _block(of_class, sketch.labels)  # (n, 2): where in `order` the photos of its class are
        self.same_object = _block(of_object, sketch.labels * span + sketch_numbers)
        self.truth = sketch.labels if match == "class" else sketch.labels * span + sketch_numbers  # (n,) equal = match
        self.by_class = sketch.labels.argsort(stable=True)
        self.ends = torch.bincount(sketch.labels)[sketch.labels.unique()].cumsum(0)  # of each class in `by_class`
        self.matches = self.same_class if match == "class" else self.same_object
        n_class, n_object = (block[:, 1] - block[:, 0] for block in (self.same_class, self.same_object))
        lonely = (self.matches[:, 0] == self.matches[:, 1]).nonzero()[:, 0]
        if len(lonely):
            raise UserError(
                f"split {split}: {len(lonely)} sketch(es) have no photo of their {match}, first "
                f"{sketch.ids[int(lonely[0])]}; take them out or add their photos"
            )
        full = (n_class == self.n_photos).nonzero()[:, 0]
        if len(full) and hard_share < 1:
            name = classes[int(sketch.labels[full[0]])]
            raise UserError(
                f"split {split}: all {self.n_photos} photos are of one class, '{name}', so its sketches have none that "
                "does not match; at least two classes are needed"
            )
        alone = (n_class == n_object).nonzero()[:, 0]
        if len(alone) and hard_share > 0:
            name = classes[int(sketch.labels[alone[0]])]
            raise UserError(
                f"split {split}: class '{name}' has only one photo, so pipeline.hard_share={hard_share:g} finds "
                "no other photo of it that does not match; add photos, or set pipeline.hard_share=0"
            )

    def matching(self, places: Tensor, draws: Tensor) -> Tensor:
        """(B,) places of sketches, (B,) in [0, 1) → (B,) places of photos that match, each as likely."""
        low, high = self.matches[places].unbind(1)
        return self.order[_pick(draws, low, high, high, high)]

    def others(self, places: Tensor, draws: Tensor, hard: Tensor) -> Tensor:
        """(B,) places of sketches, twice (B,) in [0, 1) → (B,) places of photos that do not match."""
        class_low, class_high = self.same_class[places].unbind(1)
        low, high = self.same_object[places].unbind(1)
        zero = torch.zeros_like(low)
        easy = _pick(draws, zero, zero + self.n_photos, class_low, class_high)
        if not self.hard_share:
            return self.order[easy]
        return self.order[torch.where(hard < self.hard_share, _pick(draws, class_low, class_high, low, high), easy)]

    def draw(self, places: Tensor, keys: Tensor, match_share: float) -> tuple[Tensor, Tensor]:
        """(B,) places of sketches and their keys → (B,) places of photos, (B,) bool: does not match."""
        side, which, hard = rng.uniform(rng.fold_each(rng.fold("pair"), keys), 3).double().unbind(1)
        other = side >= match_share
        return torch.where(other, self.others(places, which, hard), self.matching(places, which)), other

    def both(self, places: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) places of sketches and their keys → (B,) places of photos that match, (B,) of others: triplets."""
        near, far, hard = rng.uniform(rng.fold_each(rng.fold("triplet"), keys), 3).double().unbind(1)
        return self.matching(places, near), self.others(places, far, hard)

    def balanced(self, keys: Tensor, size: int) -> Tensor:
        """Keys of batches of `size`, one after another → places of sketches, in each batch the classes in turn: as many
        of each as can be, each sketch as likely.

        Sketches are drawn with replacement, so an epoch is as long as before but need not show every one.
        """
        first = keys[::size].repeat_interleave(size)[: len(keys)]
        turn = (torch.arange(len(keys)) % size + first % len(self.ends)) % len(self.ends)
        high = self.ends[turn]
        low = torch.where(turn > 0, self.ends[turn - 1], 0)
        draws = rng.uniform(rng.fold_each(rng.fold("balanced"), keys), 1)[:, 0].double()
        return self.by_class[_pick(draws, low, high, high, high)]


def _block(ordered: Tensor, wanted: Tensor) -> Tensor:
    """(G,) ascending, (n,) → (n, 2): the stretch [low, high) where each wanted value stands, maybe empty."""
    return torch.stack([torch.searchsorted(ordered, wanted, right=right) for right in (False, True)], dim=1)


def _pick(draws: Tensor, low: Tensor, high: Tensor, skip_low: Tensor, skip_high: Tensor) -> Tensor:
    """A place in [low, high) outside [skip_low, skip_high), which lies within it; each as likely. (B,) all of them."""
    size = high - low - (skip_high - skip_low)
    place = low + torch.minimum((draws * size).long(), (size - 1).clamp(min=0))
    return torch.where(place >= skip_low, place + (skip_high - skip_low), place)
