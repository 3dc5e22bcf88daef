"""What a network draws: pictures to measure as a GAN's are, sheets and strokes to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sketchlab import inputs, rng
from sketchlab.engine.task import Explained
from sketchlab.pipelines.draw.sampling import sample
from sketchlab.pipelines.gan import feature_nets, reference_scores
from sketchlab.pipelines.gan import scores as gan_scores
from sketchlab.pipelines.gan.data import Reals
from sketchlab.pipelines.gan.sheets import noise, sheet, small

TEMPERATURES = (0.2, 0.4, 0.7, 1.0)  # of the drawings on a run's page
SHOWN = 8  # drawings made again, begun and finished, or drawn stroke by stroke there
ENDINGS = 4  # of each beginning
SEARCHED = 8192  # training drawings that the nearest is looked for among, at most
_PART = 512

Strokes = list[list[list[int]]]  # [[x…], [y…]] of each, 0…255


class Drawn:
    """Of a task (task.Draw): its network, its data, its settings."""

    def __init__(self, task: Any) -> None:
        self.task, self.config, self.runtime, self.net = task, task.config, task.runtime, task.net
        pictured = task.look.pictured(self.config.image_px)
        self.reals = Reals(task.data.splits, pictured, self.runtime, self.config.eval_images, "input")
        self.features = feature_nets.make(self.config.features, self.runtime.device)
        self.calibration = reference_scores.Calibration(self.reals, self.features, self.config)
        self.real_features: dict[str, Tensor] = {}
        self.known: dict[str, reference_scores.Known] = {}
        self.searched: Tensor | None = None  # small pictures of training drawings
        self.real_distance: dict[str, float] = {}

    # --- drawing

    def sample(
        self,
        key: int,
        places: Tensor,
        classes: Tensor,
        temperature: float,
        z: Tensor | None = None,
        beginning: Tensor | None = None,
    ) -> Tensor:
        """(n,) places, and (n,) the class of each → (n, L, 5) raw points, on the CPU."""
        self.net.eval()
        keys = rng.fold_each(rng.fold(key, "drawing"), places)
        if self.net.z and z is None:
            z = noise(rng.fold(key, "code"), places, self.net.z)
        given = self.runtime.to_device(classes) if self.net.n_classes else None
        z = None if z is None else self.runtime.to_device(z)
        most = self.config.max_points
        return sample(self.net, self.runtime.to_device(keys), given, z, temperature, most, beginning).cpu()

    def pictures(self, points: Tensor) -> Tensor:
        """(n, L, 5) raw points → (n, 1, S, S) in [0, 1], in the ink of the network's Input, on the CPU."""
        parts = [self.runtime.prepared(self.reals.prepare, self.task.look.strokes(p)) for p in points.split(_PART)]
        return torch.cat(parts).contiguous().cpu()

    def new(self) -> tuple[Tensor, Tensor]:
        """(n, 1, S, S) pictures of new drawings, the same on every rank, and (n,) their classes, as common as in
        training; drawing i always from the same key and class."""
        n, seed, labels = max(self.config.eval_images, self.config.sheet), self.task.seed, self.task.train.labels.cpu()
        self.runtime.same_buffers(self.net)
        classes = labels[torch.from_numpy(rng.generator(seed, "drawn classes").integers(0, len(labels), n))]
        places = self.runtime.shard(n)
        made = self.pictures(self.sample(rng.fold(seed, "samples"), places, classes[places], self.config.temperature))
        return self.runtime.gather({"images": made}, n)["images"], classes

    # --- scores

    def evaluate(self, split: str) -> dict[str, Any]:
        """kid, fid, precision and recall @features; novelty; with a classifier class_accuracy and inception_score: of
        new drawings at `temperature`, as pictures. What they were measured on is in quality_<split>.json, what real
        drawings, noise and grey score in calibration_<split>.json."""
        pictures, classes = self.new()
        shown = pictures[: self.config.sheet]
        pictures, classes = pictures[: self.config.eval_images], classes[: self.config.eval_images]
        condition = classes if self.net.n_classes or len(self.task.data.classes) == 1 else None
        if split not in self.real_features:
            self.real_features[split] = self.features.of(self.reals.of(split))
        real = self.real_features[split]
        fake = self.features.of(pictures)
        scores, quality = gan_scores.against_real(real, fake, self.config, self.features, split)
        out: dict[str, Any] = {**scores}
        out["novelty"], quality["novelty"] = self._novelty(split, pictures)
        if (classifier := self.task.scoring_classifier) is not None:
            probabilities = classifier(pictures), classifier(self.reals.of(split))
            n_classes = len(self.task.data.classes)
            classified, on = gan_scores.classified(probabilities, condition, self.reals.labels(split), n_classes)
            out, quality = {**out, **classified}, {**quality, **on}
        if split not in self.known:
            self.known[split] = self.calibration.against_real(split, real)
            if classifier is not None:
                self.known[split] |= self.calibration.classified(classifier, condition, out, len(real))
        for on in quality.values():
            on["temperature"] = self.config.temperature
        found = {"calibration": self.known[split], "warnings": reference_scores.warnings(out, self.known[split])}
        return {**out, **found, "quality": quality, "samples_sheet": sheet(shown)}

    def _novelty(self, split: str, pictures: Tensor) -> tuple[float, dict[str, Any]]:
        """The median distance from new drawings to the nearest training drawing, over that from the split's own."""
        if self.searched is None:
            total = self.task.n_train
            among = torch.from_numpy(rng.generator("drawn nearest").permutation(total)[:SEARCHED])
            self.searched = torch.cat([small(self.reals.some("train", at)) for at in among.split(_PART)])
        if split not in self.real_distance:
            self.real_distance[split] = _distance(small(self.reals.of(split)), self.searched)
        ours, theirs = _distance(small(pictures), self.searched), self.real_distance[split]
        on = {"n_fake": len(pictures), "searched": len(self.searched), "distance": ours, "distance_real": theirs}
        return ours / max(theirs, 1e-9), on

    # --- what is shown

    def explain(self, split: str) -> Explained:
        """drawings_<split>.json: strokes that the report draws."""
        return {"drawings": lambda: {"drawings": {"temperatures": TEMPERATURES, **self._shown(split)}}}

    def _shown(self, split: str) -> dict[str, Any]:
        samples, seed = self.task.data.splits[split], self.task.seed
        order = rng.generator(seed, "drawn shown", split).permutation(len(samples))
        first = np.unique(samples.labels.cpu().numpy()[order], return_index=True)[1]  # one of each class, then others
        places = torch.from_numpy(np.concatenate([np.sort(order[first]), np.delete(order, first)])[:SHOWN])
        points = self.task._points(samples, places, None)
        labels, n = samples.labels[places].cpu(), inputs.lengths(points).cpu()
        names = [self.task.data.classes[int(label)] for label in labels]
        codes = self.net.encode(self.net.normalised(points))[0].cpu() if self.net.z else None
        by_heat = [self.sample(rng.fold(seed, split), places, labels, heat, codes) for heat in TEMPERATURES]
        rows = [
            {"class": name, "real": strokes(points[i].cpu()), "made": [strokes(made[i]) for made in by_heat]}
            for i, name in enumerate(names)
        ]
        begun = []
        for i, name in enumerate(names):
            start = max(1, int(n[i]) // 2)
            given, at = points[i : i + 1, :start], torch.arange(ENDINGS)
            key = rng.fold(seed, split, "ending", i)
            ends = self.sample(key, at, labels[i].expand(ENDINGS), self.config.temperature, None, given)
            endings = [strokes(end, start) for end in ends]
            begun.append({"class": name, "beginning": strokes(given[0].cpu()), "endings": endings})
        return {"rows": rows, "encoder": bool(self.net.z), "completions": begun}


def _distance(images: Tensor, among: Tensor) -> float:
    """Median distance of (n, D) to the nearest of (m, D), root mean square of pixels."""
    squares = (among**2).sum(1)
    nearest = [among[(squares - 2 * part @ among.T).argmin(1)] for part in images.split(_PART)]
    return ((images - torch.cat(nearest)) ** 2).mean(1).sqrt().median().item()


def strokes(points: Tensor, start: int = 0) -> Strokes:
    """(L, 5) raw points, from point `start` on → strokes of whole numbers on the canvas; a stroke that point start − 1
    did not end begins there."""
    n = int(inputs.lengths(points[None])[0])
    places = points[:n, :2].cumsum(0).round().int().tolist()
    ends = (points[:n, 3] > 0).tolist()
    out: list[list[list[int]]] = []  # strokes of places
    goes_on = 0 < start < n and not ends[start - 1]
    current = [places[start - 1]] if goes_on else []
    for place, end in zip(places[start:], ends[start:], strict=True):
        current.append(place)
        if end:
            out, current = [*out, current], []
    out += [current] if current else []
    return [[[x for x, _ in one], [y for _, y in one]] for one in out]
