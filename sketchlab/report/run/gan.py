"""How a GAN is doing, in words and pictures: collapsed, stuck or saturated; its training as one moving picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from sketchlab.report import page, scores
from sketchlab.report.read import Run
from sketchlab.report.run import eye_test

ALIKE = 0.15  # collapsed: MS-SSIM between generated images over that between real ones
STILL = 0.01  # stuck: both losses stay within this share of their mean …
WINDOW = 5  # … over so many evaluations
SURE = 0.05  # saturated: the discriminator's mean predictions are this close to what it is taught …
FALLS = 0.98  # … and the last third of the evaluations did not bring KID below this share of its best before
FRAMES, FRAME_MS, LAST_MS, FRAME_PX, QUALITY = 30, 200, 2000, 420, 50  # of the moving picture
KINDS = ("gan", "translate")
FID = "Heusel et al. 2017"  # the source that a pipeline declares of it
TITLES = {
    "d": "Discriminator's mean prediction, real and generated",
    "grad": "Gradient norm",
    "kid": "KID, ± over its draws",
    "fid": "FID",
    "cycle": "There and back: mean absolute error",
    "ms_ssim": "MS-SSIM between pairs",
    "part": "Parts of the generators' loss",
}
KNOWS = 0.7  # share of the real images that a judge should get right
HOW_TO_READ = {
    "interpolation": "each row goes from one noise to another in equal steps; jumps between two pictures mean that "
    "the generator knows few",
    "nearest": "pairs, generated on the left and the nearest of all training images on the right (mean squared "
    "difference at 32 px, slightly blurred): equal pairs mean that it copies",
    "translated": "row by row: a photo, as a sketch, back as a photo; a sketch, as a photo, back as a sketch",
}


def is_generator(run: Run) -> bool:
    return run.choices.get("pipeline") in KINDS


def how_to_read(stem: str) -> str:
    """What is to be seen on a sheet, by its file's name; "" where there is nothing to say."""
    return next((said for name, said in HOW_TO_READ.items() if f"_{name}" in stem), "")


# --- detectors


def warnings(run: Run) -> Iterator[str]:
    """What the detectors found, in plain words; the gravest first."""
    for name, (fires, said) in detectors(run).items():
        if fires:
            yield f"{name}: {said}"
    for split in ("test", "val"):
        knows = run.final().get(f"{split}/class_accuracy_real")
        if knows is not None and knows < KNOWS:
            yield (
                f"The judge gets only {knows:.2f} of the real images of {split} right: what it says of generated ones "
                "means little. It should be trained on pictures of this size, drawn as these are."
            )
            return


def detectors(run: Run) -> dict[str, tuple[bool, str]]:
    """Name → whether it fires, and what it looks at, with the numbers; without those that cannot look."""
    found = {"Collapsed": _collapsed(run), "Saturated": _saturated(run), "Stuck": _stuck(run)}
    return {name: said for name, said in found.items() if said is not None}


def _collapsed(run: Run) -> tuple[bool, str] | None:
    final = run.final()
    for split in ("test", "val"):
        fake, real = (final.get(f"{split}/ms_ssim_{side}") for side in ("fake", "real"))
        if fake is None or real is None:
            continue
        numbers = f"MS-SSIM between pairs {fake:.2f} generated, {real:.2f} real, on {split}"
        if fake > real + ALIKE:
            return True, f"the generator makes few kinds of image, far more alike than the real ones ({numbers})."
        return False, f"generated images differ from each other as real ones do ({numbers})."
    return None


def _saturated(run: Run) -> tuple[bool, str] | None:
    final = run.final()
    means = next(
        ((final[f"{s}/d_real"], final[f"{s}/d_fake"]) for s in ("train", "val", "test") if f"{s}/d_real" in final), None
    )
    if means is None:
        return None
    real, fake = means
    taught = ((run.config.get("config") or {}).get("pipeline") or {}).get("real_label", 1.0)
    numbers = f"its mean prediction is {real:.2f} on real images, {fake:.2f} on generated ones"
    if not (real > taught - SURE and fake < SURE):
        return False, f"the discriminator is not sure on both sides: {numbers}."
    falling = _falling(run)
    if falling:
        return False, f"the discriminator is sure on both sides ({numbers}), but KID still falls."
    still = "KID is not known" if falling is None else "KID no longer falls"
    advice = "Let the discriminator learn less often (pipeline.gd_ratio) or more slowly (pipeline.lr_d)."
    return True, f"the discriminator tells every image apart ({numbers}) and {still}. {advice}"


def _falling(run: Run) -> bool | None:
    """Whether KID went on falling in the last third of the evaluations; None: too few to say."""
    values = run.curve(scores.watched(run), "step")[1]
    late = len(values) // 3
    return bool(values[-late:].min() < FALLS * values[:-late].min()) if late else None


def _stuck(run: Run) -> tuple[bool, str] | None:
    losses = {name: run.curve(f"train/loss_{name}", "step")[1][-WINDOW:] for name in ("g", "d")}
    if min(map(len, losses.values())) < WINDOW:
        return None
    moved = {name: float(np.ptp(v) / max(abs(v.mean()), 1e-12)) for name, v in losses.items()}
    numbers = f"over {WINDOW} evaluations loss_g moved by {moved['g']:.1%}, loss_d by {moved['d']:.1%}"
    if max(moved.values()) < STILL:
        advice = "pipeline.gate_window=500 raises the learning rates when that happens."
        return True, f"both losses stand still ({numbers}): nothing is learnt any more. {advice}"
    return False, f"the losses still move ({numbers})."


# --- the section


def section(run: Run) -> str:
    """Verdicts of the detectors, KID, firings of the gate, the eye test, and the training as a moving picture."""
    if not is_generator(run):
        return ""
    said = [f"{name}? {'Yes' if fires else 'No'}: {text}" for name, (fires, text) in detectors(run).items()]
    lines = [*said, *_kid(run), *_bias(run), *_gate(run), *eye_test.lines(run)]
    out = "".join(page.paragraph(line) for line in lines)
    moving = animation(run)
    if moving is not None:
        epochs = "the same noise" if run.choices.get("pipeline") == "gan" else "the same images"
        out += page.picture(moving, "training as a moving picture", caption=f"every evaluation of training, {epochs}")
    return out


def _kid(run: Run) -> Iterator[str]:
    for split in ("val", "test"):
        on = run.document("quality", split).get("kid") or {}
        value = run.final().get(f"{split}/kid@{on.get('features')}")
        before = on.get("before_training")
        if value is not None and before:
            share = max(value, 0.0) / before
            found = f"{value:.3g}, {share:.2%} of {before:.3g} before training"
            yield f"KID on {split}, in {on['features']} features: {found}."


def _bias(run: Run) -> Iterator[str]:
    """FID is not 0 for as few images as these, whoever made them."""
    for split in ("val", "test"):
        for name, known in run.document("calibration", split).items():
            if run.declared[name].source != FID or (value := run.final().get(f"{split}/{name}")) is None:
                continue
            yield (
                f"{name} on {split} is {value:.4g}. Of real images against real ones it is {known['real']:.3g} with "
                f"{known['n_real']} and {known['n_other']} of them, and 0 with very many: so much is its bias here "
                "(Chong and Forsyth 2020), which falls as one over the number of images."
            )


def fired(run: Run) -> list[dict[str, float]]:
    """The stuck gate's firings: step and lr_factor each."""
    return list(run.document("gate", "val").get("fired") or [])


def _gate(run: Run) -> Iterator[str]:
    if found := fired(run):
        times = ", ".join(f"step {f['step']:g} (rates × {f['lr_factor']:.3g})" for f in found)
        yield f"The stuck gate fired {len(found)} times: {times}."


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
    part = path.with_name(path.name + ".part")
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    how = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0, "quality": QUALITY}
    frames[0].save(part, format="WEBP", **how)
    os.replace(part, path)
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


def mark(run: Run, axes: Axes, family: str, members: list[str], x: str) -> None:
    """On a family's panel: where a discriminator cannot tell, KID's spread and its value before training, firings."""
    if not is_generator(run):
        return
    if family == "d":
        axes.axhline(0.5, color="0.35", linestyle=":", linewidth=1.6, label="cannot tell")
    for key in members:
        (places, values), spread = run.curve(key, x), run.curve(_spread(run, key), x)[1]
        if len(spread) == len(values) > 1:
            axes.fill_between(places, values - spread, values + spread, alpha=0.18, linewidth=0, color="0.4")
    for number, firing in enumerate(fired(run)):
        steps, places = run.curve(members[0], "step")[0], run.curve(members[0], x)[0]
        at = float(np.interp(firing["step"], steps, places)) if len(steps) else 0.0
        label = "stuck gate: rates raised" if not number else None
        axes.axvline(at, color="#D55E00", linestyle="-.", linewidth=1.2, label=label)
