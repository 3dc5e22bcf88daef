"""Pairs taken apart, so that what looks at images can look at sketches and at photos."""

from __future__ import annotations

from dataclasses import replace

import torch

from sketchlab.data.dataset import Dataset, Pairs, Split


def by_domain(data: Dataset) -> Dataset:
    """Every split of pairs as two: `train photo` and `train sketch`. Other data sets as they are."""
    return _with(data, {f"{name} {domain}": part for name, domain, part in _parts(data)})


def whole(data: Dataset) -> Dataset:
    """All photos as one split and all sketches as another, each sample once: what there is of either, by class."""
    found: dict[str, list[Split]] = {"photo": [], "sketch": []}
    for _, domain, part in _parts(data):
        found[domain].append(part)
    return _with(data, {domain: _joined(parts) for domain, parts in found.items() if parts})


def _parts(data: Dataset) -> list[tuple[str, str, Split]]:
    pairs = [(name, split) for name, split in data.splits.items() if isinstance(split, Pairs)]
    return [(name, domain, getattr(split, domain)) for name, split in pairs for domain in ("photo", "sketch")]


def _with(data: Dataset, splits: dict[str, Split]) -> Dataset:
    return replace(data, splits=splits) if splits else data


def _joined(parts: list[Split]) -> Split:
    """Of one store; a photo that is in several splits comes once."""
    rows = torch.cat([part.rows for part in parts])
    ids = [name for part in parts for name in part.ids]
    first = {int(row): place for place, row in reversed(list(enumerate(rows.tolist())))}
    places = torch.tensor([first[row] for row in sorted(first)])
    labels, groups = (torch.cat([getattr(part, key) for part in parts])[places] for key in ("labels", "groups"))
    return Split(parts[0].store, rows[places], labels, [ids[i] for i in places.tolist()], groups)
