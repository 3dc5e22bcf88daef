"""How good generated images are, in numbers: what is measured, in what, on how many. A score that cannot be had is
left out with its reason, and training goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from sketchlab import rng
from sketchlab.errors import UserError
from sketchlab.metrics import generation as metrics
from sketchlab.pipelines.gan.feature_nets import Features

IS_SPLITS = 10  # Salimans et al. 2016
_NEIGHBOURS = 3  # of precision and recall: Kynkäänniemi et al. 2019


class Measuring(Protocol):
    """The keys of a pipeline that say how its images are measured."""

    @property
    def eval_images(self) -> int: ...
    @property
    def kid_subsets(self) -> int: ...
    @property
    def kid_subset_size(self) -> int: ...


Scores = dict[str, float]
Measured = dict[str, dict[str, Any]]  # score's stem → features, n, or why it is missing


def check(config: Any) -> None:
    """Refuse impossible keys of the pipeline."""
    for key in ("eval_images", "kid_subset_size"):
        if getattr(config, key) < 2:
            raise UserError(f"pipeline.{key}={getattr(config, key)}: expected at least 2")
    if config.kid_subsets < 1:
        raise UserError(f"pipeline.kid_subsets={config.kid_subsets}: expected at least 1")


def against_real(
    real: Tensor, fake: Tensor, config: Measuring, features: Features, key: str, of: str = ""
) -> tuple[Scores, Measured]:
    """(n, D) and (m, D) features → kid ± kid_std over its draws, fid, precision and recall, each named @features.

    key: of the draws; of: what the images are, part of every name (kid_sketch, kid_sketch_std).
    """
    of = f"_{of}" if of else ""
    n = {"features": features.name, "n_real": len(real), "n_fake": len(fake)}
    subset = min(config.kid_subset_size, len(real), len(fake))

    def kid() -> Scores:
        found = metrics.kid(real, fake, config.kid_subsets, subset, rng.fold("kid", key))
        return {f"kid{of}": found.mean, f"kid{of}_std": found.std}

    def fid() -> Scores:
        return {f"fid{of}": metrics.fid(real, fake).value}

    def coverage() -> Scores:
        found = metrics.precision_recall(real, fake, _NEIGHBOURS)
        return {f"precision{of}": found.precision, f"recall{of}": found.recall}

    scores, measured = Scores(), Measured()
    measures = {
        "kid": (kid, 2, {"subset": subset, "subsets": config.kid_subsets}),
        "fid": (fid, 2, {}),
        "precision": (coverage, _NEIGHBOURS + 1, {"neighbours": _NEIGHBOURS}),
    }
    for stem, (score, least, how) in measures.items():
        found, details = tried(score, min(len(real), len(fake)), least)
        scores |= {f"{name}@{features.name}": value for name, value in found.items()}
        measured[f"{stem}{of}"] = {**n, **how, **details}
    measured[f"recall{of}"] = measured[f"precision{of}"]
    return scores, measured


def tried(score: Callable[[], Scores], n: int, least: int) -> tuple[Scores, dict[str, str]]:
    """The scores, or none and the reason."""
    if n < least:
        return {}, {"missing": f"needs {least} images, there are {n}"}
    try:
        return score(), {}
    except (UserError, RuntimeError) as error:  # torch's decompositions raise the latter when they fail
        return {}, {"missing": str(error).splitlines()[0]}


def similarity(sides: dict[str, Tensor]) -> tuple[Scores, dict[str, Any]]:
    """Side → (n, C, S, S) in [0, 1]: mean MS-SSIM of n/2 disjoint pairs of each, and what it is over."""
    scores, on = Scores(), {}
    for side, images in sides.items():
        on |= {"scales": metrics.ms_ssim_scales(*images.shape[2:]), f"pairs_{side}": len(images) // 2}
        if (values := alike(images)) is not None:
            scores[f"ms_ssim_{side}"] = values.mean().item()
    return scores, on


def alike(images: Tensor) -> Tensor | None:
    """(n, C, S, S) in [0, 1] → (n // 2,) MS-SSIM of disjoint pairs; None of too few or too small images."""
    scales, pairs = metrics.ms_ssim_scales(*images.shape[2:]), len(images) // 2
    if not (pairs and scales):
        return None
    return metrics.ms_ssim(images[:pairs], images[pairs : 2 * pairs], data_range=1.0, scales=scales)


def splits(n: int) -> int:
    """How many parts of n images an inception score is the mean of."""
    return IS_SPLITS if n >= 10 * IS_SPLITS else 1


def classified(
    logits: tuple[Tensor, Tensor], condition: Tensor | None, labels: Tensor, n_classes: int
) -> tuple[dict[str, Any], Measured]:
    """What a classifier says of n generated and m real images: its (n, K) and (m, K) probabilities.

    condition: (n,) the classes given to the generator, None where it takes none; labels: (m,) those of the real images.
    inception_score, beside that of the real ones; class_accuracy_real, what the classifier gets right of images like
    these; with condition: class_accuracy, the share of the requested class, and, when the classifier knows no
    other classes, who was taken for whom.
    """
    fake, real = logits
    out: dict[str, Any] = {}
    measured: Measured = {"inception_score": {"classes": fake.shape[1], "n_fake": len(fake), "n_real": len(real)}}
    for name, probabilities in (("inception_score", fake), ("inception_score_real", real)):
        parts = splits(len(probabilities))
        found = metrics.inception_score(probabilities, parts)
        out |= {name: found.mean, f"{name}_std": found.std}
        measured["inception_score"][f"splits_{name}"] = parts
    out["class_accuracy_real"] = (real.argmax(1) == labels).double().mean().item()
    measured["class_accuracy"] = {"n_fake": len(fake), "n_real": len(real)}
    if condition is not None:
        answers, size = fake.argmax(1), fake.shape[1]
        out["class_accuracy"] = (answers == condition).double().mean().item()
        if size == n_classes:
            out["asked_confusion"] = torch.bincount(condition * size + answers, minlength=size**2).reshape(size, size)
    return out, measured
