"""The scores of a generator: scores.py and task.py compute them.

FID and KID depend on how images come to the 299 px of Inception: ours bilinear, clean-fid's bicubic (both filter when
they shrink). The same images and network, our value and that with clean-fid's resizing (scripts/clean_fid.py):

    64 px, drawings of trees and brooms, 200 and 200 images   FID 161.7, 160.3 (-0.9%)   KID .1371, .1334 (-2.7%)
    64 px, photos of dogs and elephants, 93 and 82            FID 255.8, 252.7 (-1.2%)   KID .1944, .1888 (-2.9%)
    512 px, the same photos                                   FID 227.2, 227.4 (+0.1%)   KID .1626, .1624 (-0.1%)

Small images, which are enlarged, get 1 to 3% less by clean-fid: compare values of one way only.
"""

from __future__ import annotations

from sketchlab.metrics.declared import FEATURES, Score

TAKES = ("generator and discriminator",)  # what a model must give
ANSWERS = "images"  # what a run is asked for afterwards
TITLE = "GANs"

KID = "Bińkowski et al. 2018"
FID = "Heusel et al. 2017"
COVERAGE = "Kynkäänniemi et al. 2019"


def against_real(of: str = "") -> tuple[Score, ...]:
    """What scores.against_real gives. of: of which images, part of every name (kid_sketch)."""
    end, words = (f"_{of}", f" of a {of}") if of else ("", "")

    def coverage(kind: str) -> Score:
        title = f"{kind.capitalize()} of features{words}"
        name = f"{kind}{end}"
        return Score(name + FEATURES, title, "larger", 0.0, 1.0, "share", measured=name, source=COVERAGE)

    kid, fid = f"kid{end}", f"fid{end}"
    return (
        Score(kid + FEATURES, f"KID{words}", "smaller", measured=kid, source=KID),
        Score(fid + FEATURES, f"FID{words}", "smaller", 0.0, measured=fid, source=FID),
        coverage("precision"),
        coverage("recall"),
        Score(
            f"{kid}_std{FEATURES}",
            f"Standard deviation of KID{words} over its draws",
            "neither",
            0.0,
            measured=kid,
            spread_of=kid + FEATURES,
        ),
    )


def inception(name: str, better: str, title: str) -> tuple[Score, Score]:
    """An inception score, from 1 to the number of classes, and its spread over parts."""
    spread = f"{title}: standard deviation over parts"
    return (
        Score(name, title, better, 1.0, measured="inception_score", source="Salimans et al. 2016"),
        Score(f"{name}_std", spread, "neither", 0.0, measured="inception_score", spread_of=name),
    )


def classified(name: str, better: str, title: str) -> Score:
    return Score(name, title, better, 0.0, 1.0, "share", measured="class_accuracy")


TRAINING = (
    Score("d_real", "Discriminator's mean prediction on real images", "neither"),
    Score("d_fake", "Discriminator's mean prediction on generated images", "neither"),
    Score("loss_g", "Loss of the generators", "neither"),
    Score("loss_d", "Loss of the discriminators", "neither"),
    Score("grad_g", "Gradient norm of the generators", "neither", 0.0),
    Score("grad_d", "Gradient norm of the discriminators", "neither", 0.0),
)
SCORES = (
    *against_real(),
    classified("class_accuracy", "larger", "Share classified as the requested class"),
    *inception("inception_score", "larger", "Inception score"),
    *inception("inception_score_real", "neither", "Inception score of real images"),
    classified("class_accuracy_real", "neither", "Share of real images that the scoring classifier gets right"),
    Score("ms_ssim_fake", "MS-SSIM between pairs of generated images", "neither", -1.0, 1.0, measured="ms_ssim"),
    Score("ms_ssim_real", "MS-SSIM between pairs of real images", "neither", -1.0, 1.0, measured="ms_ssim"),
    *TRAINING,
    Score("lr_factor", "Factor of the learning rates, by the stuck gate", "neither", 0.0),
)
