"""Embeddings of sketches and photos laid out in the plane by t-SNE, with the pictures they are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

from sketchlab import rng
from sketchlab.engine.protocols import Pairs, Raw
from sketchlab.errors import UserError
from sketchlab.metrics.retrieval import TIE
from sketchlab.pipelines.retrieve.sheet import in_turn

MOST = 200  # samples of each domain on the map: its time grows with their square
THUMB_PX = 40
AXES = 50  # principal axes before t-SNE (van der Maaten and Hinton 2008, section 4.2: 30)
NEIGHBOURS = 30.0  # perplexity


def plane(embedded: np.ndarray) -> np.ndarray:
    """(n, D) → (n, 2) float32 by exact t-SNE (van der Maaten and Hinton 2008), begun from the first principal axes.

    The same embeddings give the same places on one machine. Raises UserError where all are the same.
    """
    n, numbers = embedded.shape
    whole = embedded.astype(np.float64)
    centred = whole - whole.mean(axis=0)
    if np.abs(centred).max() <= TIE * np.abs(whole).max():
        raise UserError("all embeddings are the same, or differ by rounding alone, so there is nothing to lay out")
    if n < 5 or numbers < 2:  # too little for neighbourhoods
        return np.pad(centred[:, :2], ((0, 0), (0, max(0, 2 - numbers)))).astype(np.float32)
    reduced = PCA(min(AXES, n, numbers), svd_solver="full").fit_transform(centred)
    begin = reduced[:, :2] / reduced[:, 0].std() * 1e-4
    tsne = TSNE(2, perplexity=min(NEIGHBOURS, (n - 1) / 3), init=begin, method="exact", random_state=0)
    return tsne.fit_transform(reduced).astype(np.float32)


def embedding_map(split: Pairs, classes: list[str], sketches: Tensor, photos: Tensor, seed: int) -> dict[str, Any]:
    """Embeddings (n, D), (G, D) of a split → what its map is drawn from.

    map: a row a point: domain, id, label, object, x, y; at most MOST of each domain, as many of each class as can be.
    map_pixels (points, 3, THUMB_PX, THUMB_PX) uint8: the picture of each; left out where data are no pixels.
    """
    chosen = {}
    for domain, part in (("sketch", split.sketch), ("photo", split.photo)):
        order = rng.permutation(np.arange(len(part)), len(part), rng.fold(seed, "map", domain))
        chosen[domain] = in_turn(torch.from_numpy(order), part.labels)[:MOST]
    embedded = torch.cat([sketches[chosen["sketch"]], photos[chosen["photo"]]])
    places = plane(embedded.float().cpu().numpy())
    rows: list[dict[str, Any]] = []
    pixels = []
    for domain, part in (("sketch", split.sketch), ("photo", split.photo)):
        at = chosen[domain]
        for i, label, group in zip(at.tolist(), part.labels[at].tolist(), part.groups[at].tolist(), strict=True):
            rows.append({"domain": domain, "id": part.ids[i], "label": classes[label], "object": group})
        pixels.append(thumbnails(part.gather(at).cpu()))
    table = pd.DataFrame(rows).assign(x=places[:, 0].round(4), y=places[:, 1].round(4))
    if any(p is None for p in pixels):
        return {"map": table}
    return {"map": table, "map_pixels": torch.cat(pixels)}


def thumbnails(raw: Raw, side_px: int = THUMB_PX) -> Tensor | None:
    """(B, 1 or 3, H, W) uint8 → (B, 3, side_px, side_px) uint8; None for what is not stored as pixels."""
    if not isinstance(raw, Tensor) or raw.ndim != 4 or raw.dtype != torch.uint8 or raw.shape[1] not in (1, 3):
        return None
    small = F.interpolate(raw.float(), (side_px, side_px), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
