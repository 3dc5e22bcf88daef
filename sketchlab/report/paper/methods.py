"""The methods of a comparison as a paragraph to paste, with what it cites as BibTeX (references.bib)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sketchlab.errors import listed
from sketchlab.report.comparison import leaderboard
from sketchlab.report.comparison.family import Family
from sketchlab.report.comparison.groups import CHANCE
from sketchlab.report.read import Run

BIB = Path(__file__).with_name("references.bib")
CITED = {  # a choice of model or data begins with, or a test or score is called → keys of references.bib
    "tuberlin": ("tuberlin",),
    "sketchy": ("sketchy",),
    "quickdraw": ("quickdraw",),
    "cifar10": ("cifar10",),
    "celeba": ("celeba",),
    "vgg16": ("vgg",),
    "vgg16_sketchanet": ("vgg", "sketchanet"),
    "sketchanet": ("sketchanet",),
    "alexnet": ("alexnet",),
    "googlenet": ("googlenet",),
    "inception_v3": ("inception",),
    "resnet": ("resnet",),
    "mobilenet_v2": ("mobilenet",),
    "siamese": ("contrastive",),
    "siamese_vgg16": ("contrastive", "vgg"),
    "siamese_googlenet": ("contrastive", "googlenet"),
    "siamese_resnet": ("contrastive", "resnet"),
    "siamese_mobilenet_v2": ("contrastive", "mobilenet"),
    "cnn_lstm": ("lstm",),
    "stroke_lstm": ("lstm",),
    "cnn_bilstm2d": ("sequencer",),
    "frames_vit": ("vit",),
    "dcgan": ("dcgan",),
    "small_dcgan": ("dcgan",),
    "cyclegan": ("cyclegan",),
    "small_cyclegan": ("cyclegan",),
    "kid": ("kid",),
    "fid": ("fid",),
    "wilson": ("wilson",),
    "exact mcnemar": ("mcnemar",),
    "t over": ("welch", "bell"),
    "cluster-robust t": ("bell",),
    "welch": ("welch",),
    "corrected resampled t": ("nadeau",),
}


def cited(names: Sequence[str]) -> list[str]:
    """Keys of references.bib: of each name the longest entry of CITED that it begins with."""
    out: dict[str, None] = {}
    for name in names:
        found = max((key for key in CITED if name.lower().startswith(key)), key=len, default="")
        out |= dict.fromkeys(CITED.get(found, ()))
    return list(out)


def bibtex(keys: Sequence[str]) -> str:
    entries = {re.match(r"@\w+\{([^,]+),", line).group(1): line  # type: ignore[union-attr]
               for line in BIB.read_text("utf-8").splitlines() if line.startswith("@")}  # fmt: skip
    return "".join(entries[key] + "\n" for key in keys)


def paragraph(families: Sequence[Family], more: Sequence[str] = ()) -> tuple[str, list[str]]:
    """(plain text, keys of the references it rests on). more: keys of what else the page used."""
    out, names = [], list[str]()
    for family in families:
        runs = [run for row in family.leaderboard for run in row.group.runs.values()]
        if not runs:
            continue
        out += _compared(family, runs)
        tests = list(dict.fromkeys(pair.test.method for pair in family.pairs if pair.test))
        if tests:
            many = max(pair.many for pair in family.pairs)
            corrected = f", p corrected for {many} tests by Holm's method" if many > 1 else ""
            out.append(f"Differences were tested by {listed(tests, 9)}{corrected}.")
        of = list(dict.fromkeys(leaderboard.OF[row.of] for row in family.leaderboard if row.of))
        if of:
            out.append(f"Intervals are 95%, for {listed(of, 9)}.")
        names += [choice for run in runs for key, choice in run.choices.items() if key in ("model", "data")]
        names += [family.key.split("/", 1)[1], *tests, *(["wilson"] if any("Wilson" in text for text in of) else [])]
        more = [*more, *(["holm"] if len(tests) and max(pair.many for pair in family.pairs) > 1 else [])]
        out += _software(runs)
    keys = list(dict.fromkeys([*cited(names), *more, "pytorch"]))
    return " ".join(out), keys


def _compared(family: Family, runs: Sequence[Run]) -> list[str]:
    split, metric = family.key.split("/", 1)
    data = list(dict.fromkeys(run.choices.get("data", "its data") for run in runs))
    sizes = list(dict.fromkeys(row.n for row in family.leaderboard))
    counts = sorted({len(row.single) for row in family.leaderboard})
    each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    chance = [key for key in CHANCE if len({run.settings.get(key) for run in runs}) > 1]
    over = f" that differ in {listed(chance, 3)}" if chance else ""
    n = len(family.leaderboard)
    return [
        f"{n} setting{'s' * (n > 1)} {'were' if n > 1 else 'was'} compared by {metric} on the {split} split of "
        f"{listed(data, 6)} (n = {listed(sizes, 3)}).",
        f"Scores are means over {each} run{'s' * (counts[-1] > 1)} of each{over}.",
    ]


def _software(runs: Sequence[Run]) -> list[str]:
    packages = {f"{name} {version}" for run in runs for name, version in (run.env.get("packages") or {}).items()
                if name in ("torch", "torchvision")}  # fmt: skip
    pythons = {f"Python {run.env['python']}" for run in runs if run.env.get("python")}
    code = sorted({str(run.env["code"]) for run in runs if run.env.get("code")})
    hardware = sorted({str(run.env.get("device_name") or run.env.get("device")) for run in runs if run.env})
    with_code = f" (code {listed(code, 3)})" if code else ""
    return [f"sketchlab{with_code} with {listed(sorted(packages | pythons), 6)} on {listed(hardware, 3)}."]
