"""A run in Python code: asked about images, drawings, photos or classes as the commands ask it; shown in notebooks.

run = sketchlab.open_run(folder)
run.predict(images), run.embed(images), run.search(sketches, photos), run.generate(n, classes), run.translate(images),
run.complete(strokes)

A run offers what its pipeline answers with; any other method raises a UserError that names what the run can do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sketchlab.errors import UserError
from sketchlab.report import notebook
from sketchlab.runs import BATCH, OpenedRun, reading
from sketchlab.runs.draw.drawer import Drawer
from sketchlab.runs.gan import generator
from sketchlab.runs.retrieve import gallery
from sketchlab.runs.retrieve.retriever import Retriever, stack

OFFERS = {  # what a pipeline answers with → the methods
    "classes": ("predict(images)",),
    "matches": ("embed(images)", "search(sketches, photos)"),
    "images": ("generate(n, classes)",),
    "translations": ("translate(images)",),
    "drawings": ("generate(n, classes)", "complete(strokes)"),
}


class NotebookRun(OpenedRun):
    """What open_run gives: OpenedRun with the methods of its pipeline.

    Where images are asked for, they are file names, or an array (B, H, W) or (B, H, W, 3) uint8, which goes the way a
    file goes: same resizing, same bits. Where drawings are too: a list with, for each, its strokes [[x…], [y…]] (or
    [[x…], [y…], [t…]]), in QuickDraw's simplified convention or raw; reading.py says how they are drawn. All raise
    UserError for what cannot be read.
    """

    def predict(self, images: Any, ink: str | None = None) -> pd.DataFrame:
        """Class probabilities of new images or drawings: columns image, prediction, p_<class>….

        ink: dark, bright or none (a photo); null = as in the data the run was trained on. Raises UserError for a
        picture where the network takes strokes.
        """
        self._check("predict")
        classifier, names, outputs = self.classifier(ink), [], []
        for part, samples in _batches(images, self.reader(ink), "predict"):
            names += part
            outputs += classifier.probabilities(samples)
        probabilities = np.stack(outputs)
        predictions = [self.classes[i] for i in probabilities.argmax(1)]
        columns = {f"p_{c}": probabilities[:, i] for i, c in enumerate(self.classes)}
        return pd.DataFrame({"image": names, "prediction": predictions, **columns})

    def embed(self, images: Any, kind: str = "sketch", ink: str | None = None) -> np.ndarray:
        """(n, D) float32, the embeddings that a retrieval run compares by Euclidean distance.

        kind: sketch (pictures or drawings) or photo. ink: of pictures of sketches, as in predict.
        """
        self._check("embed")
        return _embedded(Retriever(self, ink), images, kind, "embed")[1].numpy()

    def search(self, sketches: Any, photos: Any = None, k: int = 10, ink: str | None = None) -> pd.DataFrame:
        """The nearest photos of each sketch: columns query, match_1 …, distance_1 …, the nearest first.

        sketches: pictures or drawings. photos: a folder, file names or an array; null = the run's own test photos. A
        folder's embeddings are kept beside the run. At most k matches. ink: as in embed.
        """
        self._check("search")
        if k < 1:
            raise UserError(f"search: k={k}: expected at least 1")
        retriever = Retriever(self, ink)
        places, embedded = _photos(retriever, photos)
        queries, asked = _embedded(retriever, sketches, "sketch", "search")
        distances, found = (one.numpy() for one in retriever.nearest(asked, embedded, k))
        columns = {f"match_{i + 1}": [places[at] for at in found[:, i]] for i in range(found.shape[1])}
        columns |= {f"distance_{i + 1}": distances[:, i] for i in range(found.shape[1])}
        return pd.DataFrame({"query": queries, **columns})

    def generate(
        self,
        n: int = 64,
        classes: str | list[str] | None = None,
        seed: int = 0,
        weights: str = "best",
        temperature: float | None = None,
    ) -> Any:
        """(n, S, S) or (n, S, S, 3) uint8, new images; drawings are dark on white. Image i follows from seed and i. Of
        pipeline=draw: n drawings, the strokes [[x…], [y…]] of each, 0…255.

        classes: one or several names, each in turn; null = all in turn. weights: best (by val) or last. temperature:
        of drawings, null = the run's own.
        """
        self._check("generate")
        if self.scores.answers == "drawings":
            names = [classes] if isinstance(classes, str) else classes
            return Drawer(self, weights).new(n, seed, temperature, names)
        net = generator.generator(self, weights)
        names = [classes] if isinstance(classes, str) else list(classes or [])
        return generator.images(self, net, n, seed, generator.class_numbers(self, net, n, names))

    def complete(
        self, strokes: Any, n: int = 4, name: str | None = None, seed: int = 0, temperature: float | None = None
    ) -> list[Any]:
        """n endings of a drawing [[x…], [y…]]… within 0…255: the strokes of each that follow, on the same canvas.

        name: its class, null = left open. Raises UserError for strokes that leave the canvas.
        """
        self._check("complete")
        return Drawer(self).endings(reading.as_lists(strokes), n, seed, temperature, name)

    def translate(self, images: Any, to: str = "sketch", weights: str = "best") -> np.ndarray:
        """(n, S, S) or (n, S, S, 3) uint8: photos as sketches (dark on white), or with to="photo" sketches as photos.

        weights: best (by KID) or last.
        """
        self._check("translate")
        net, reader = generator.translator(self, to, weights), generator.picture_reader(self, to)
        parts = _batches(images, reader, "translate", drawings=False)
        return np.concatenate([generator.translated(self, net, samples, to) for _, samples in parts])

    def _check(self, method: str) -> None:
        offered = OFFERS.get(self.scores.answers, ())
        if method not in [one.partition("(")[0] for one in offered]:
            raise UserError(
                f"{method}: {self.path} is a run of pipeline={self.config['pipeline'].get('name', 'unknown')}, which "
                f"answers with {self.scores.answers or 'nothing'}; it can {' and '.join(offered) or 'do nothing here'}"
            )

    def _repr_html_(self) -> str:
        return notebook.html(self.path)


def _batches(
    samples: Any, reader: Callable[[bytes], np.ndarray], what: str, drawings: bool = True
) -> Iterator[tuple[list[str], list[Any]]]:
    """Names, and what was read under them: (C, S, S) uint8 or, where they are allowed, drawings in the convention."""
    names, load = reading.given(samples, reader, what)
    for start in range(0, len(names), BATCH):
        part = names[start : start + BATCH]
        read = [load(i) for i in range(start, start + len(part))]
        for name, one in zip(part, read, strict=True):
            if isinstance(one, str):
                raise UserError(f"{what}: cannot read {name}: {one}")
            if isinstance(one, list) and not drawings:
                raise UserError(f"{what}: drawing {name} is strokes; expected pictures: file names or uint8 (B, H, W)")
        yield part, read


def _embedded(retriever: Retriever, samples: Any, kind: str, what: str) -> tuple[list[str], Tensor]:
    """Names and (n, D) embeddings of sketches or photos."""
    if kind not in ("sketch", "photo"):
        raise UserError(f"{what}: kind={kind}: expected sketch or photo")
    reader = retriever.read_sketch if kind == "sketch" else retriever.read_photo
    names, rows = [], []
    for part, read in _batches(samples, reader, what, drawings=kind == "sketch"):
        names += part
        rows += retriever.sketches(read) if kind == "sketch" else retriever.photos(stack(read))
    return names, torch.stack(rows)


def _photos(retriever: Retriever, photos: Any) -> tuple[list[str], Tensor]:
    """Names and (G, D) embeddings of what is searched; a warning counts the photos of a folder that are left out."""
    if photos is not None and not (isinstance(photos, str | Path) and Path(photos).is_dir()):
        return _embedded(retriever, photos, "photo", "search")
    kept = gallery.of_run(retriever) if photos is None else gallery.of_folder(retriever, Path(photos))
    if kept.unreadable:
        name, why = kept.unreadable[0]
        warnings.warn(
            f"{len(kept.unreadable)} photos of {kept.where} cannot be read and are not searched; first {name}: {why}",
            stacklevel=3,
        )
    return kept.names, kept.embedded
