"""Approximate search by faiss, for galleries that exact search is too slow for: how it is built, and what it misses.

An index is named in faiss's own words (its index factory): HNSW32, a graph, fast and as large as the embeddings;
IVF1024,PQ32: lists of codes of 32 bytes, for galleries past memory. What it proposes is measured again with the
embeddings themselves, so distances are exact, and only a photo that it does not propose can be missed.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.storage.files import atomic

PROPOSED = 16  # times k: how many an index is asked for before they are measured exactly
TRAINED_ON = 100_000  # embeddings that an index learns its lists and codes from, at most
PROBED = 64  # lists looked into, of an index that has lists
WALKED = 512  # candidates kept on the walk through a graph; sketches lie outside the cloud of photos, so it is long
ASKED = 100  # queries that its recall is measured with
_ROWS = 65_536  # added at a time


def faiss() -> Any:
    """Its module. Raises UserError when it is not installed."""
    try:
        return importlib.import_module("faiss")
    except ImportError:
        raise UserError(
            "--index needs faiss: pip install 'sketchlab[index]'; without --index search is exact"
        ) from None


def opened(spec: str, embedded: Tensor, rows: Path) -> Any:
    """The index of (G, D) embeddings, kept in a file beside theirs (`rows`). Raises UserError for a name unknown to
    faiss, and for too few photos to learn its lists from."""
    library = faiss()
    file = rows.with_name(f"{rows.stem}-{re.sub('[^A-Za-z0-9]+', '_', spec)}.faiss")
    if file.exists():
        return library.read_index(str(file))
    try:
        made = library.index_factory(embedded.shape[1], spec)
        step = max(1, len(embedded) // TRAINED_ON)
        if not made.is_trained:
            made.train(embedded[::step].contiguous().numpy())
        for part in embedded.split(_ROWS):
            made.add(part.contiguous().numpy())
    except (RuntimeError, AssertionError) as error:  # faiss's C++ exceptions, in words about its sources
        reason = " ".join(str(error).split()).rpartition("Error: ")[2] or str(error)
        raise UserError(
            f"--index {spec}: faiss refuses it for {len(embedded)} embeddings of {embedded.shape[1]} numbers "
            f"({reason}); any: HNSW32; IVF<lists>,PQ<bytes> needs 40 photos a list and bytes that divide the numbers"
        ) from None
    with atomic(file) as temporary:
        library.write_index(made, str(temporary))
    return made


def nearest(index: Any, queries: Tensor, embedded: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances (Q, k) float32 ascending and places (Q, k) int64; inf and −1 where the index proposed fewer."""
    if hasattr(index, "nprobe"):
        index.nprobe = min(PROBED, index.nlist)
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = WALKED
    _, proposed = index.search(queries.float().contiguous().numpy(), min(PROPOSED * k, len(embedded)))
    distances = torch.full((len(queries), k), torch.inf)
    places = torch.full((len(queries), k), -1, dtype=torch.int64)
    for row, ids in enumerate(torch.from_numpy(proposed)):
        ids = ids[ids >= 0]
        if len(ids):
            n = min(k, len(ids))
            found = metrics.nearest(queries[row : row + 1], embedded[ids], n, places=ids)  # ties as in exact search
            distances[row, :n], places[row, :n] = found[0][0], found[1][0]
    return distances, places


def recall(index: Any, queries: Tensor, embedded: Tensor, k: int) -> float:
    """Share of the exact k nearest that the index finds."""
    exact = metrics.nearest(queries, embedded, k)[1]
    found = nearest(index, queries, embedded, k)[1]
    return (exact[:, :, None] == found[:, None, :]).any(2).double().mean().item()


def evenly(embedded: Tensor, n: int = ASKED) -> Tensor:
    """(≤ n, D): rows evenly spread over the gallery, as queries."""
    step = max(1, len(embedded) // n)
    return embedded[::step][:n].clone()
