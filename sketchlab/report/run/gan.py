"""How a GAN is doing, in words and pictures: collapsed, stuck or saturated; its training as one moving picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from sketchlab.report import page, scores
from sketchlab.report.read import Run
from sketchlab.report.run import eye_test
from sketchlab.report.sentences import Sentence, render
from sketchlab.storage.files import atomic

ALIKE = 0.15  # collapsed: MS-SSIM between generated images over that between real ones
STILL = 0.01  # stuck: both losses stay within this share of their mean …
WINDOW = 5  # … over so many evaluations
SURE = 0.05  # saturated: the discriminator's mean predictions are this close to what it is taught …
GAIN = 0.02  # … and the last third of the evaluations did not better the score by more than this share of its best
FRAMES, FRAME_MS, LAST_MS, FRAME_PX, QUALITY = 30, 200, 2000, 420, 50  # of the moving picture
KINDS = ("images", "translations")
YES, NO, UNKNOWN = "Yes", "No", "Not known"  # answers of the detectors
FID = "Heusel et al. 2017"  # the source that a pipeline declares of it
TITLES = {
    "d": "Discriminator's mean prediction, real and generated",
    "grad": "Gradient norm",
    "kid": "KID, ± over its draws",
    "fid": "FID",
    "cycle": "Cycle reconstruction: mean absolute error",
    "ms_ssim": "MS-SSIM between pairs",
    "part": "Parts of the generators' loss",
}
KNOWS = 0.7  # share of the real images that a scoring classifier should get right
HOW_TO_READ = {
    "interpolation": "each row goes from one noise to another in equal steps; jumps between two pictures mean that "
    "the generator knows few",
    "nearest": "pairs, generated on the left and the nearest of all training images on the right (mean squared "
    "difference at 32 px, slightly blurred): equal pairs mean that it copies",
    "translated": "row by row: a photo, as a sketch, back as a photo; a sketch, as a photo, back as a sketch",
}


def is_generator(run: Run) -> bool:
    return run.declared.answers in KINDS


def how_to_read(stem: str) -> str:
    """What is to be seen on a sheet, by its file's name; "" where there is nothing to say."""
    return next((text for name, text in HOW_TO_READ.items() if f"_{name}" in stem), "")


# --- detectors


def warnings(run: Run) -> Iterator[Sentence]:
    """What the detectors found; the worst first."""
    for answer in detectors(run):
        if answer.numbers["answer"] == YES:
            yield Sentence("detector", answer.subject, {"finding": answer.numbers["finding"]})
    for split in ("test", "val"):
        knows = run.final().get(f"{split}/class_accuracy_real")
        if knows is not None and knows < KNOWS:
            yield Sentence("scoring classifier", split, {"value": knows})
            return


def detectors(run: Run) -> list[Sentence]:
    """The answer of each detector (YES, NO, UNKNOWN) with what it looks at; without those that cannot look."""
    found = {"Collapsed": _collapsed(run), "Saturated": _saturated(run), "Stuck": _stuck(run)}
    return [
        Sentence("answer", name, {"answer": result[0], "finding": result[1]})
        for name, result in found.items()
        if result is not None
    ]


def _collapsed(run: Run) -> tuple[str, Sentence] | None:
    final = run.final()
    for split in ("test", "val"):
        fake, real = (final.get(f"{split}/ms_ssim_{side}", math.nan) for side in ("fake", "real"))
        if not math.isfinite(fake + real):
            continue
        fires = fake > real + ALIKE
        facts = {"numbers": Sentence("ms-ssim", split, {"fake": fake, "real": real})}
        return (YES, Sentence("few kinds", split, facts)) if fires else (NO, Sentence("many kinds", split, facts))
    return None


def _saturated(run: Run) -> tuple[str, Sentence] | None:
    """Both conditions must hold: a discriminator that is sure, and a score that no longer gets better."""
    final = run.final()
    for split in ("train", "val", "test"):
        real, fake = (final.get(f"{split}/d_{side}", math.nan) for side in ("real", "fake"))
        if math.isfinite(real + fake):
            break
    else:
        return None
    taught = ((run.config.get("config") or {}).get("pipeline") or {}).get("real_label", 1.0)
    key = scores.watched(run)
    values = run.curve(key, "step")[1]
    facts = {"score": key, "n": len(values), "numbers": Sentence("predictions", split, {"real": real, "fake": fake})}
    if not (real > taught - SURE and fake < SURE):
        return NO, Sentence("unsure", split, facts)
    if not len(values):
        return UNKNOWN, Sentence("sure, no score", split, facts)
    improves = _improves(run, key)
    if improves is None:
        return UNKNOWN, Sentence("sure, too few", split, facts)
    return (NO, Sentence("sure, falls", split, facts)) if improves else (YES, Sentence("sure, still", split, facts))


def _improves(run: Run, key: str) -> bool | None:
    """Whether a score got better by more than GAIN in the last third of its evaluations; None: too few to say."""
    values = run.curve(key, "step")[1]
    if not (late := len(values) // 3):
        return None
    order = run.declared[key].order
    before, after = (max(map(order, part)) for part in (values[:-late], values[-late:]))
    return math.isfinite(after) and (not math.isfinite(before) or after - before > GAIN * abs(before))


def _stuck(run: Run) -> tuple[str, Sentence] | None:
    losses = {name: run.curve(f"train/loss_{name}", "step")[1][-WINDOW:] for name in ("g", "d")}
    if min(map(len, losses.values())) < WINDOW or not all(np.isfinite(v).all() for v in losses.values()):
        return None
    moved = {name: float(np.ptp(v) / max(abs(v.mean()), 1e-12)) for name, v in losses.items()}
    facts = {"numbers": Sentence("losses", "train", {"n": WINDOW, **moved})}
    fires = max(moved.values()) < STILL
    return (YES, Sentence("stuck", "train", facts)) if fires else (NO, Sentence("moves", "train", facts))


# --- the section


def section(run: Run) -> str:
    """Verdicts of the detectors, KID, firings of the gate, the eye test, and the training as a moving picture."""
    if not is_generator(run):
        return ""
    facts = [(f"{d.subject}?", d.numbers["answer"], _capital(render(d.numbers["finding"]))) for d in detectors(run)]
    for name, found in (("KID", _kid(run)), ("FID's bias", _bias(run)), ("Stuck gate", _gate(run))):
        facts += [(name, "", render(sentence)) for sentence in found]
    facts += [("Judged by eye", "", line) for line in eye_test.lines(run)]
    out = page.table(("about", "", "what was found"), facts) if facts else ""
    moving = animation(run)
    if moving is not None:
        epochs = "the same noise" if run.declared.answers == "images" else "the same images"
        out += page.picture(moving, "training as a moving picture", caption=f"every evaluation of training, {epochs}")
    return out


def _capital(line: str) -> str:
    return line[:1].upper() + line[1:]


def _kid(run: Run) -> Iterator[Sentence]:
    for split in ("val", "test"):
        on = run.document("quality", split).get("kid") or {}
        value = run.final().get(f"{split}/kid@{on.get('features')}")
        before = on.get("before_training")
        if value is not None and before and before > 0:
            share = max(value, 0.0) / before
            facts = {"features": on["features"], "value": value, "share": share, "before": before}
            yield Sentence("kid before", split, facts)


def _bias(run: Run) -> Iterator[Sentence]:
    """FID is not 0 for as few images as these, whoever made them."""
    for split in ("val", "test"):
        for name, known in run.document("calibration", split).items():
            if run.declared[name].source != FID or (value := run.final().get(f"{split}/{name}")) is None:
                continue
            facts = {key: known[key] for key in ("real", "n_real", "n_other")}
            yield Sentence("fid bias", f"{split}/{name}", {"score": name, "where": split, "value": value, **facts})


def fired(run: Run) -> list[dict[str, float]]:
    """The stuck gate's firings: step and lr_factor each."""
    return list(run.document("gate", "val").get("fired") or [])


def _gate(run: Run) -> Iterator[Sentence]:
    if found := fired(run):
        times = ", ".join(f"step {f['step']:g} (rates × {f['lr_factor']:.3g})" for f in found)
        yield Sentence("gate", "train", {"n": len(found), "times": times})


def animation(run: Run) -> Path | None:
    """plots/training.webp from the sheets of all evaluations; None of fewer than two. Same sheets, same bytes."""
    sheets = run.samples("val_samples_*") or run.samples("val_translated_*")
    if len(sheets) < 2:
        return None
    places = np.unique(np.linspace(0, len(sheets) - 1, min(FRAMES, len(sheets))).round().astype(int))
    frames = []
    for place in places:
        with Image.open(sheets[place]) as opened:
            frame = opened.convert("RGB")
        frame.thumbnail((FRAME_PX, FRAME_PX))
        frames.append(frame)
    path = run.folder / "plots" / "training.webp"
    path.parent.mkdir(exist_ok=True)
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    how = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0, "quality": QUALITY}
    with atomic(path) as temporary:
        frames[0].save(temporary, format="WEBP", **how)
    return path


# --- on the curves


def hidden(run: Run, key: str) -> bool:
    """Curves that are drawn as the band of another."""
    return bool(run.declared[key].spread_of)


def _spread(run: Run, key: str) -> str:
    """The key of what is declared as this score's spread, on the same split and features; "" where there is none."""
    (split, _, _), end = key.partition("/"), key.partition("@")[2]
    same = (k for k in run.metrics.columns if k.startswith(f"{split}/") and k.partition("@")[2] == end)
    return next((k for k in same if run.declared[k].spread_of == run.declared[key].name), "")


def title(family: str) -> str:
    """Of a family's panel; kid@inception says what it was measured in."""
    stem, _, features = family.partition("@")
    return TITLES.get(stem, stem.capitalize()) + (f" ({features} features)" if features else "")


def axis(family: str) -> str:
    return "mean prediction (1: real)" if family == "d" else family.partition("@")[0].replace("_", " ")


def mark(run: Run, axes: Axes, family: str, members: list[str], x: str) -> None:
    """On a family's panel: where a discriminator cannot tell, KID's spread and its value before training, firings."""
    if not is_generator(run):
        return
    if family == "d":
        axes.axhline(0.5, color="0.35", linestyle=":", linewidth=1.6, label="cannot tell")
    for key in members:
        (places, values), spread = run.curve(key, x), run.curve(_spread(run, key), x)[1]
        if len(spread) == len(values) > 1:
            band = {"alpha": 0.18, "linewidth": 0, "color": "0.4", "gid": f"{key}-band"}
            axes.fill_between(places, values - spread, values + spread, **band)
    for number, firing in enumerate(fired(run)):
        steps, places = run.curve(members[0], "step")[0], run.curve(members[0], x)[0]
        at = float(np.interp(firing["step"], steps, places)) if len(steps) else 0.0
        label = "stuck gate: rates raised" if not number else None
        axes.axvline(at, color="#D55E00", linestyle="-.", linewidth=1.2, label=label)
