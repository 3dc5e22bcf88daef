"""A retrieval run opened again: sketches and photos → embeddings, and the nearest photos of a gallery.

retriever = Retriever(OpenedRun(folder))
photos = gallery.of_run(retriever)            # or gallery.of_folder(retriever, path)
matches = retriever.matches(drawing, photos)  # strokes in the convention of data/strokes/simplify.py
matches[0].name, matches[0].distance, photos.picture(matches[0].place)
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sketchlab import config
from sketchlab.data.dataset import fingerprint
from sketchlab.data.images import decode
from sketchlab.data.images.augment import Prepare
from sketchlab.data.strokes.batch import of_drawings
from sketchlab.engine.runtime import Config, Runtime
from sketchlab.errors import UserError
from sketchlab.metrics import retrieval as metrics
from sketchlab.runs import OpenedRun, reading
from sketchlab.runs.classify.classifier import Classifier


class Match(NamedTuple):
    name: str  # of the photo in its gallery
    distance: float  # of the embeddings, Euclidean
    place: int  # in the gallery


class Retriever:
    """The network of a finished retrieval run, on the device and in the precision that its settings give here.

    ink: what pictures of sketches are, dark or bright lines, or none; null = as in training. Raises UserError for any
    other run, and for one that is not finished.
    """

    def __init__(self, run: OpenedRun, ink: str | None = None) -> None:
        check(run, "retrieve")
        self.run = run
        values = {**run.config["runtime"], "device": "auto", "ranks": 1, "workers": 0, "compile": False}
        self.runtime = Runtime(config.typed(Config, values, "runtime"))
        net = self.runtime.place(run.network())
        towers = dict(net.items()) if isinstance(net, nn.ModuleDict) else {"sketch": net, "photo": net}
        input = replace(run.input, kind="images")
        data = run.config["data"] | ({"picture": "sketch"} if "picture" in run.config["data"] else {})
        self.ink = ink or reading.ink_of(data)
        pixels = Prepare(input, None)
        strokes = reading.drawer(data, input, self.ink) if input.channels in reading.CHANNELS else None
        self._sketch = Classifier(self.runtime, pixels=pixels, strokes=strokes, net=towers["sketch"], estimator=None)
        self._photo = Classifier(self.runtime, pixels=pixels, strokes=None, net=towers["photo"], estimator=None)
        self.read_sketch = reading.picture_reader(data, input, self.ink)  # bytes → (C, S, S) uint8
        self.read_photo = reading.picture_reader(data, input, "none")
        self.inverts = self.ink != "none" and self.ink != input.ink  # read_sketch gives bright lines for dark ones

    def weights(self) -> str:
        """16 digits over what an embedding of a photo depends on besides the photo: weights, precision, reading."""
        digest = hashlib.sha256((self.run.path / "checkpoints" / "best.pt").read_bytes()).hexdigest()
        resize = self.run.config["data"].get("resize", "pad")
        return fingerprint(digest, self.run.config["model"], resize, self.runtime.precision, decode.VERSION)

    def sketches(self, samples: list[Any]) -> list[Tensor | str]:
        """Per (C, S, S) uint8 or drawing in the convention its (D,) embedding; a reason (str) stays one."""
        out: list[Any] = list(samples)
        pictures = [i for i, one in enumerate(samples) if isinstance(one, np.ndarray)]
        drawings = [i for i, one in enumerate(samples) if isinstance(one, list)]
        if pictures:
            for i, row in zip(pictures, self._sketch.logits(stack([samples[i] for i in pictures])), strict=True):
                out[i] = row
        if drawings:
            for i, row in zip(drawings, self._sketch.logits(of_drawings([samples[i] for i in drawings])), strict=True):
                out[i] = row
        return out

    def of_sketches(self, raw: Any) -> Tensor:
        """(B, C, S, S) uint8 as data sets keep sketches → (B, D) float32 on the CPU."""
        return self._sketch.logits(raw)

    def photos(self, raw: Any) -> Tensor:
        """(B, C, S, S) uint8 → (B, D) float32 on the CPU."""
        return self._photo.logits(raw)

    def nearest(self, embedded: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Sketches (Q, D), gallery (G, D) on disk or in memory → distances and places (Q, min(k, G)), exact."""
        found = metrics.nearest(embedded.to(self.runtime.device), gallery, min(k, len(gallery)))
        return found[0].cpu(), found[1].cpu()

    def matches(self, drawing: Any, gallery: Any, k: int = 10) -> list[Match]:
        """The nearest photos of one drawing, or of one (C, S, S) uint8 picture, the nearest first.

        gallery: gallery.Gallery of this run. Raises UserError with the reason where there is no drawing.
        """
        (embedded,) = self.sketches([drawing])
        if isinstance(embedded, str):
            raise UserError(f"retrieve: {embedded}")
        distances, places = self.nearest(embedded[None], gallery.embedded, k)
        pairs = zip(distances[0].tolist(), places[0].tolist(), strict=True)
        return [Match(gallery.names[place], distance, place) for distance, place in pairs]


def check(run: OpenedRun, what: str) -> None:
    """UserError unless this is a finished run that answers with matches; what: who asks."""
    run.check_answers("matches", what)
    state = run.status.get("state", "unknown")
    if state != "finished":
        why = "still training (or was cut)" if state == "running" else f"{state}, not finished"
        raise UserError(f"{what}: {run.path} is {why}: start its command again first")


def stack(pixels: list[np.ndarray]) -> Tensor:
    """(C, S, S) uint8 each → (B, C, S, S)."""
    return torch.from_numpy(np.stack(pixels))
