"""Which sketch is of which photo, by the names of files; nothing that fits nothing is dropped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sketchlab.data.images import files, tree
from sketchlab.data.images.files import Loaded
from sketchlab.data.images.store import LISTED
from sketchlab.data.images.tree import Tree
from sketchlab.errors import UserError, listed


def classes(homes: dict[str, Path], wanted: list[str] | None) -> tuple[list[str], list[str]]:
    """The classes wanted (None = all that both sides have); the others are named.

    homes: side → its folder. Raises UserError for a class wanted that a side has not, and for none in common.
    """
    there = {side: tree.find(home, None).classes for side, home in homes.items()}
    if wanted is not None:
        return [tree.wanted(home, there[side], wanted) for side, home in homes.items()][0], []
    both = sorted(set.intersection(*(set(names) for names in there.values())))
    if not both:
        lists = "; ".join(f"{side} has {', '.join(names)}" for side, names in there.items())
        raise UserError(f"data: no class folder is on both sides: {lists}")
    alone = {side: [name for name in names if name not in both] for side, names in there.items()}
    return both, [f"left out, only in data.{side}: {', '.join(names)}" for side, names in alone.items() if names]


def of_photos(sketches: Tree, photos: Tree, everything: Tree, photo_of: str, skip: bool) -> tuple[Tree, list[str]]:
    """The sketches of `photos`; notes on those that belong to none of `everything`, which without `skip` are refused.

    The `objects` of both trees are class/photo. Raises UserError, with the list.
    """
    _one_each(everything)
    pattern, known = tree.expression(photo_of), set(everything.objects)
    assert pattern is not None
    named = [pattern.fullmatch(Path(name).stem) is not None for name in sketches.names]
    rows = list(zip(sketches.names, sketches.objects, named, strict=True))
    odd = [name for name, _, says in rows if not says]
    lost = [name for name, thing, says in rows if says and thing not in known]
    of = f"of {len(rows)} sketches under {sketches.root}"
    wrong = [
        (odd, f"have names that data.photo_of={photo_of} does not match (expected <photo>-<number>.png or the like)"),
        (lost, f"have no photo of that name in {photos.root}"),
    ]
    wrong = [(names, why) for names, why in wrong if names]
    if wrong and not skip:
        reasons = "; ".join(f"{len(names)} {of} {why}, first {names[0]}" for names, why in wrong)
        mend = "fix them, leave them out with data.on_bad=skip, or data.photo_of='' where only classes count:"
        raise UserError("\n".join([f"{reasons}; {mend}", *_lines(odd + lost)]))
    notes = [f"{len(names)} {of} left out, they {why}: {listed(names, LISTED)}" for names, why in wrong]
    wanted = set(photos.objects)
    kept = [i for i, (_, thing, says) in enumerate(rows) if says and thing in wanted]
    names, objects, parts = ([v[i] for i in kept] for v in (sketches.names, sketches.objects, sketches.parts))
    matched = replace(sketches, names=names, objects=objects, parts=parts, labels=sketches.labels[kept])
    for number, name in enumerate(matched.classes):
        if not (matched.labels == number).any():
            raise UserError(f"class '{name}' has no sketch of any of its photos; leave it out with data.classes")
    return matched, notes


def readable(drawn: Loaded, photos: Loaded) -> tuple[Loaded, list[str]]:
    """Sketches whose photo could not be read go too, photos that nobody drew stay; both are told."""
    known, wanted, notes = set(photos.objects), set(drawn.objects), []
    kept = [i for i, thing in enumerate(drawn.objects) if thing in known]
    if len(kept) < len(drawn.objects):
        gone = [name for name, thing in zip(drawn.all.ids, drawn.objects, strict=True) if thing not in known]
        notes.append(f"{len(gone)} sketches left out, their photo is unreadable: {listed(gone, LISTED)}")
        objects, parts = [drawn.objects[i] for i in kept], [drawn.parts[i] for i in kept]
        drawn = replace(drawn, all=files.pick(drawn.all, np.array(kept)), objects=objects, parts=parts)
    alone = [name for name, thing in zip(photos.all.ids, photos.objects, strict=True) if thing not in wanted]
    if alone:
        notes.append(f"{len(alone)} of {len(photos.objects)} photos have no sketch; they stay: {listed(alone, LISTED)}")
    return drawn, notes


def _lines(names: Sequence[str]) -> list[str]:
    more = [f"  and {len(names) - LISTED} more"] * (len(names) > LISTED)
    return [*(f"  {name}" for name in names[:LISTED]), *more]


def _one_each(photos: Tree) -> None:
    if twice := [thing for thing, n in Counter(photos.objects).items() if n > 1]:
        one, two = [name for name, thing in zip(photos.names, photos.objects, strict=True) if thing == twice[0]][:2]
        raise UserError(
            f"{photos.root}: {len(twice)} photos have a namesake, first {one} and {two}, so a sketch's name cannot "
            "tell of which it is; rename one, or set data.photo_of='' where only classes count"
        )
