"""What each score of a generator gives where the answer is known: real images held against real ones, noise, and one
grey image. A score that does not tell these apart says nothing about a generator.

Real against real: the real images of a split and as many training images as are measured, put together and parted at
random DRAWS times, into as many as before. The mean of FID over these is its bias at this number of images: it falls
with the number, to 0 for equal distributions (Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score and
where to find them"). Once per run and split, kept between evaluations: as long as two evaluations of 512 images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.metrics import generation as metrics
from sketchlab.metrics.declared import FEATURES
from sketchlab.pipelines.gan import scores as gan_scores
from sketchlab.pipelines.gan.data import Reals
from sketchlab.pipelines.gan.declared import against_real
from sketchlab.pipelines.gan.feature_nets import Features

DRAWS = 5
APART = 3.0  # standard deviations of real against real that noise and grey must be away from it
BETTER = {"smaller": "lower", "larger": "higher"}  # as declared → as calibration_<split>.json has it
AGAINST_REAL = {score.name.removesuffix(FEATURES): BETTER[score.better] for score in against_real() if score.sign}

Known = dict[str, dict[str, Any]]  # score → real, real_sd, noise, grey, better, informative, and what they are of


class Calibration:
    """Of one kind of image. of: its name, part of the scores' names (gan_scores.against_real)."""

    def __init__(self, reals: Reals, features: Features, config: gan_scores.Measuring, of: str = "") -> None:
        self.reals, self.features, self.config, self.of = reals, features, config, of

    @cached_property
    def noise(self) -> Tensor:
        """(n, C, S, S): every number between 0 and 1 as likely."""
        train, n = self.reals.of("train"), self.config.eval_images
        drawn = rng.generator("calibration", "noise").random((n, *train.shape[1:]), dtype="float32")
        return torch.from_numpy(drawn)

    @cached_property
    def grey(self) -> Tensor:
        """(1, C, S, S): the mean of the training images, over places too."""
        train = self.reals.of("train")
        return train.mean((0, 2, 3), keepdim=True).expand(1, *train.shape[1:]).contiguous()

    @cached_property
    def _train(self) -> Tensor:
        return self.features.of(self.reals.of("train"))

    @cached_property
    def _bad(self) -> dict[str, Tensor]:
        n = self.config.eval_images
        return {"noise": self.features.of(self.noise), "grey": self.features.of(self.grey).expand(n, -1)}

    def against_real(self, split: str, real: Tensor) -> Known:
        """kid, fid, precision and recall @features. real: (n, D) features of the split's images."""
        pool, n = torch.cat([real, self._train]), len(real)

        def scores(real: Tensor, other: Tensor, key: str) -> gan_scores.Scores:
            return gan_scores.against_real(real, other, self.config, self.features, key, self.of)[0]

        draws = []
        for draw in range(DRAWS):
            order = torch.from_numpy(rng.generator("calibration", split, draw).permutation(len(pool)))
            draws.append(scores(pool[order[:n]], pool[order[n:]], f"{split} {draw}"))
        bad = {name: scores(real, features, f"{split} {name}") for name, features in self._bad.items()}
        out: Known = {}
        for stem, better in AGAINST_REAL.items():
            name = f"{stem}{f'_{self.of}' if self.of else ''}@{self.features.name}"
            if name not in bad["noise"] or any(name not in found for found in draws):
                continue  # too few images: quality_<split>.json says it
            values = torch.tensor([found[name] for found in draws], dtype=torch.float64)
            on = {"n_real": n, "n_other": len(pool) - n, "draws": DRAWS}
            known = (values.mean().item(), values.std().item(), bad["noise"][name], bad["grey"][name])
            out[name] = {**entry(better, *known), **on}
        return out

    def similarity(self, split: str) -> Known:
        """ms_ssim_fake: of pairs of real images, of noise, of one image with itself."""
        ours, noise = gan_scores.alike(self.reals.of(split)), gan_scores.alike(self.noise)
        if ours is None or noise is None:
            return {}
        error = ours.std().item() / len(ours) ** 0.5 if len(ours) > 1 else 0.0
        return {"ms_ssim_fake": entry("as real", ours.mean().item(), error, noise.mean().item(), 1.0)}

    def classified(
        self, classifier: Callable[[Tensor], Tensor], condition: Tensor | None, scores: dict[str, Any], n_real: int
    ) -> Known:
        """What a classifier says of noise and of grey (gan_scores.classified); scores: those of n real images."""
        noise, grey = classifier(self.noise), classifier(self.grey).argmax(1)
        error = scores["inception_score_real_std"] / gan_scores.splits(n_real) ** 0.5
        alike = metrics.inception_score(noise, gan_scores.splits(len(noise))).mean
        out = {"inception_score": entry("higher", scores["inception_score_real"], error, alike, 1.0)}
        if condition is not None:
            right = scores["class_accuracy_real"]
            shares = ((predicted == condition).double().mean().item() for predicted in (noise.argmax(1), grey))
            out["class_accuracy"] = entry("higher", right, (right * (1 - right) / n_real) ** 0.5, *shares)
        return out


def entry(better: str, real: float, real_sd: float, noise: float, grey: float) -> dict[str, Any]:
    """better: lower, higher, or `as real`, where to be as far on either side is as bad."""
    sign = {"lower": 1.0, "higher": -1.0}.get(better)
    away = [abs(bad - real) if sign is None else sign * (bad - real) for bad in (noise, grey)]
    informative = min(away) > APART * real_sd
    known = {"real": real, "real_sd": real_sd, "noise": noise, "grey": grey}
    return {**known, "better": better, "informative": informative}


def mean(known: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a score that is the mean of others alike."""
    of = {key: sum(one[key] for one in known) / len(known) for key in ("real", "noise", "grey")}
    sd = sum(one["real_sd"] ** 2 for one in known) ** 0.5 / len(known)
    return entry(known[0]["better"], of["real"], sd, of["noise"], of["grey"])


def warnings(scores: dict[str, Any], known: Known) -> dict[str, str]:
    """What a reader must know before believing the scores: kind → words."""
    out = {}
    blind = [name for name, one in known.items() if name in scores and not one["informative"]]
    if blind:
        numbers = "; ".join(
            f"{name} of noise {known[name]['noise']:.3g}, of one grey image {known[name]['grey']:.3g}, of real images "
            f"{known[name]['real']:.3g} ± {known[name]['real_sd']:.2g}"
            for name in blind
        )
        out["not informative"] = f"Not informative here (it tells no real images from noise or grey): {numbers}."
    poor = [name for name, one in known.items() if name in scores and one["informative"] and _poor(scores[name], one)]
    if poor:
        numbers = "; ".join(
            f"{name} {scores[name]:.3g}, of noise {known[name]['noise']:.3g}, of one grey image "
            f"{known[name]['grey']:.3g}"
            for name in poor
        )
        out["no better than grey"] = f"No better than noise or one grey image: {numbers}."
    return out


def _poor(value: float, one: dict[str, Any]) -> bool:
    bad = one["noise"], one["grey"]
    if one["better"] == "as real":
        return abs(value - one["real"]) >= min(abs(b - one["real"]) for b in bad)
    return value >= min(bad) if one["better"] == "lower" else value <= max(bad)
