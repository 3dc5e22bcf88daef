"""A finished run as the page asks it: what it is, and what it says about a drawing."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from sketchlab.data.images.decode import BadImage
from sketchlab.data.strokes.batch import of_drawings
from sketchlab.errors import UserError
from sketchlab.runs import KINDS, OpenedRun, reading
from sketchlab.runs.retrieve import gallery
from sketchlab.runs.retrieve.retriever import Retriever
from sketchlab.storage.files import read_dict

SHOWN = 6  # classes in an answer, the likeliest first
PHOTOS = 10  # in an answer of a retrieval run, the nearest first
THUMB_PX = 96  # their side
Sample = reading.Drawing | np.ndarray  # strokes, or the (C, S, S) uint8 of a picture file
_FIRST = [[[0, 255], [0, 255]]]  # a line: the first question compiles, allocates, and shows that the run can answer


class PageModel:
    """A classifier: networks that take images, frames or points, and baselines. Raises UserError for any other run."""

    def __init__(self, run: OpenedRun) -> None:
        run.check_classifier("app", KINDS)
        self.run, self.classes = run, run.classes
        self.classifier, self.reader = run.classifier(), run.reader()
        self.inverts = run.ink != "none" and run.ink != run.input.ink  # the reader gives bright lines for dark ones
        if self.classifier.strokes is None:
            raise UserError(_channels(run))
        self.answer(_FIRST)

    def probabilities(self, sample: Sample) -> np.ndarray:
        """(n_classes,) of a drawing in the convention of data/strokes/simplify.py, or of what `reader` gives."""
        return np.asarray(self.classifier.probabilities([sample])[0])

    def answer(self, sample: Sample) -> dict[str, Any]:
        """The likeliest classes, and how long that took."""
        start = perf_counter()
        p = self.probabilities(sample)
        best = np.argsort(-p, kind="stable")[:SHOWN]
        classes = [{"name": self.classes[i], "p": round(float(p[i]), 6)} for i in best]
        return {"kind": "classes", "classes": classes, "ms": _since(start)}

    def recognises(self, drawing: reading.Drawing, word: str) -> bool | None:
        """Whether this word comes first."""
        return self.classes[int(self.probabilities(drawing).argmax())] == word

    def pose(self, drawing: reading.Drawing) -> tuple[float, float] | None:
        """Degrees clockwise and size (share of the convention's square) by the run's second head; None: it has none."""
        if self.classifier.both is None:
            return None
        degrees, size = self.classifier.pose(of_drawings([drawing]))[0].tolist()
        return degrees, size

    def facts(self) -> dict[str, Any]:
        """What the page shows of the run before anything is drawn."""
        input = self.run.input
        frames = input.kind == "frames"
        return {
            **named(self.run),
            "about": [f"{len(self.classes)} classes of {choice(self.run, 'data')}", *_score(self.run, "accuracy")],
            "finds": False,  # photos
            "limit": input.channels if frames else None,
            "late": reading.raster_of(self.run.config["data"], input).late if frames else None,
        }


class PhotoModel:
    """A retrieval run and its own photos: the nearest of them. Raises UserError when they are not to be had."""

    def __init__(self, run: OpenedRun) -> None:
        self.run, self.classes = run, run.classes
        self.retriever = Retriever(run)
        if run.input.channels not in reading.CHANNELS:
            raise UserError(_channels(run))
        self.reader, self.inverts = self.retriever.read_sketch, self.retriever.inverts
        self.gallery = gallery.of_run(self.retriever)
        self.answer(_FIRST)

    def answer(self, sample: Sample) -> dict[str, Any]:
        """The nearest photos with their classes and distances, and how long that took."""
        start = perf_counter()
        found = self.retriever.matches(sample, self.gallery, PHOTOS)
        photos = [
            {
                "name": one.name,
                "class": self._class(one.name),
                "distance": one.distance,
                "src": self._picture(one.place),
            }
            for one in found
        ]
        return {"kind": "photos", "photos": photos, "ms": _since(start)}

    def _class(self, name: str) -> str | None:
        """Of a photo whose id begins with it, as those of all data sets do that know classes."""
        word = name.partition("/")[0]
        return word if word in self.classes else None

    def _picture(self, place: int) -> str | None:
        """As a data: address; None when the photo can no longer be read."""
        image = self.gallery.picture(place, THUMB_PX)
        if image is None:
            return None
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=85)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

    def recognises(self, drawing: reading.Drawing, word: str) -> bool | None:
        return None  # it names no classes

    def pose(self, drawing: reading.Drawing) -> tuple[float, float] | None:
        return None

    def facts(self) -> dict[str, Any]:
        about = [f"nearest of {len(self.gallery):,} photos: {self.gallery.where}", *_score(self.run, "recall@1")]
        return {**named(self.run), "about": about, "finds": True, "limit": None, "late": None}


def read_picture(model: PageModel | PhotoModel, content: bytes) -> np.ndarray:
    """The bytes of an image file → (C, S, S) uint8, as `predict` and `retrieve` read it. Raises UserError."""
    try:
        return model.reader(content)
    except BadImage as error:
        raise UserError(f"the file cannot be used: {error}") from None
    except MemoryError:
        raise UserError("the file cannot be used: not enough memory") from None


def png(pixels: np.ndarray) -> str:
    """(S, S[, 3]) uint8 → a data: address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def opened(path: Path) -> PageModel | PhotoModel:
    """Raises UserError for a run that cannot say anything about a drawing."""
    run = OpenedRun(path)
    return PhotoModel(run) if run.scores.answers == "matches" else PageModel(run)


def choice(run: OpenedRun, group: str) -> str:
    """As in <group>=<choice>."""
    return run.document.get("choices", {}).get(group, run.config[group]["name"])


def named(run: OpenedRun) -> dict[str, Any]:
    """How the page names a run."""
    names = {"model": choice(run, "model"), "data": choice(run, "data"), "id": run.path.resolve().name}
    return {**names, "classes": run.classes}


def _score(run: OpenedRun, name: str) -> list[str]:
    """A score on the split kept for it, with its n; nothing when the folder does not say."""
    metrics = run.status.get("metrics") or {}
    for split in ("test", "val"):
        if f"{split}/{name}" in metrics:
            n = read_dict(run.path / "data.json")["splits"][split]["n"]
            return [f"{metrics[f'{split}/{name}']:.1%} {name} on {split} (n = {n:,})"]
    return []


def _channels(run: OpenedRun) -> str:
    given = ", ".join(map(str, reading.CHANNELS))
    return f"app: the network of {run.path} takes images of {run.input.channels} channels; drawings give {given}"


def _since(start: float) -> float:
    return round((perf_counter() - start) * 1000, 1)
