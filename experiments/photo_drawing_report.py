"""Tables, sentences and the figure of experiments/photo_drawing.py, from run folders alone."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sketchlab import stats
from sketchlab.errors import UserError
from sketchlab.report.comparison import pairs
from sketchlab.report.comparison.groups import Group, kind
from sketchlab.report.read import Run, glance

KEY = "test/accuracy"
PRINTED = {  # what photo_drawing prints of its own images and network; it shows the other two as pictures
    "mobilenet_v2 fine-tuned": ".93 ± .026",
    "random forest on features": ".86 ± .035",
}
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"  # told apart by the colour-blind (Okabe, Ito)


def write(index: dict[str, Any], root: Path, folder: Path, listed: tuple[str, ...]) -> str:
    """photo_drawing.csv, _curves.csv, _pairs.csv, .md and .png into `folder`; returns the page."""
    arms = {name: {what: glance(root / of["folder"]) for what, of in found.items()} for name, found in index.items()}
    arms = {name: {what: run for what, run in found.items() if run.state == "finished"} for name, found in arms.items()}
    arms = {name: found for name, found in arms.items() if "main" in found}
    if not arms:
        raise UserError(f"{root}: no finished run; run without --report first")
    folder.mkdir(parents=True, exist_ok=True)
    rows = [line(name, found, index[name]) for name, found in arms.items()]
    table = pd.DataFrame(sorted(rows, key=lambda row: -row["accuracy"]))
    curves = pd.DataFrame([point for name, found in arms.items() for point in curve(name, found)])
    groups = [Group(name, kind(found["main"]), {}, {("0",): found["main"]}, []) for name, found in arms.items()]
    tested = pairs.compare(groups, KEY)
    stem = str(folder / "photo_drawing")
    table.round(4).to_csv(f"{stem}.csv", index=False)
    curves.round(4).to_csv(f"{stem}_curves.csv", index=False)
    pd.DataFrame([difference(pair) for pair in tested]).round(5).to_csv(f"{stem}_pairs.csv", index=False)
    missing = [net for net in listed if not any(name.startswith(net) for name in arms)]
    text = page(table, curves, tested, missing, len(curves))
    part = Path(f"{stem}.md.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, f"{stem}.md")
    draw(table, curves, Path(f"{stem}.png"))
    return f"{text}\n{stem}.md"


def right_of(run: Run) -> tuple[int, int]:
    table: Any = run.predictions("test")
    return int((table["label"] == table["prediction"]).sum()), len(table)


def line(name: str, found: dict[str, Run], index: dict[str, Any]) -> dict[str, Any]:
    """One arm: on the shared test images, and its mean over splits."""
    run, (k, n) = found["main"], right_of(found["main"])
    p, interval = k / n, stats.wilson(k, n)
    over = [np.divide(*right_of(r)) for what, r in found.items() if what == "main" or what.startswith("split=")]
    confusion = run.array("test_confusion")
    assert confusion is not None
    took = index["main"].get("took") or {}
    env = run.env.get("parameters") or {}
    return {
        "arm": name,
        "accuracy": p,
        "se": math.sqrt(p * (1 - p) / n),
        "low": interval.low,
        "high": interval.high,
        "n_test": n,
        "n_train": run.split("train").get("n"),
        "document": PRINTED.get(name, ""),
        "splits": len(over),
        "mean": float(np.mean(over)),
        "sd": float(np.std(over, ddof=1)) if len(over) > 1 else math.nan,
        "confusion": "; ".join(
            f"{of} {confusion[i, i]} right, {int(confusion[i].sum() - confusion[i, i])} taken for "
            f"{' or '.join(c for j, c in enumerate(run.classes) if j != i)}"
            for i, of in enumerate(run.classes)
        ),
        "trained": env.get("trainable") or "",
        "wall_s": took.get("wall_s", math.nan),
        "cpu_s": took.get("cpu_s", math.nan),
        "load": took.get("load", math.nan),
        "device": str(run.env.get("device") or ""),
        "report": f"{run.name}/report.html",
    }


def curve(name: str, found: dict[str, Run]) -> list[dict[str, Any]]:
    """Accuracy on the shared test images by number of training images; nothing for an arm with one point."""
    out = []
    for run in (r for what, r in found.items() if what == "main" or what.startswith("n=")):
        k, n = right_of(run)
        low, high = stats.wilson(k, n)
        size = run.split("train").get("n")
        out.append({"arm": name, "n_train": size, "accuracy": k / n, "low": low, "high": high, "n_test": n})
    return sorted(out, key=lambda row: row["n_train"]) if len(out) > 1 else []


def difference(pair: pairs.Pair) -> dict[str, Any]:
    """b, c: images that A alone, and B alone, has right."""
    runs = [next(iter(group.runs.values())).predictions("test").set_index("id") for group in (pair.a, pair.b)]
    a, b = ((t["label"] == t["prediction"]).sort_index().to_numpy() for t in runs)
    exact = stats.mcnemar_exact(a, b)
    return {
        "a": pair.a.name,
        "b": pair.b.name,
        "a alone right": exact.b,
        "b alone right": exact.c,
        "p": exact.p,
        "p_holm": pair.p,
        "verdict": pair.verdict,
        "sentence": pair.sentence,
    }


def page(table: Any, curves: Any, tested: list[pairs.Pair], missing: list[str], points: int) -> str:
    rows = table.to_dict("records")
    n = rows[0]["n_test"]
    out = [
        "# Photo or drawing: what 200 training images are enough for",
        "",
        f"All arms on the same {n} test images: accuracy ± binomial standard error sqrt(p(1 − p)/n) as photo_drawing "
        "prints it, Wilson's 95% interval; mean ± standard deviation over splits of the same images, which share most "
        "of them; time of the arm's first run with all it needs (decoding, frozen layers, training, test, report).",
        "",
        "| arm | accuracy | 95% | document | mean over splits | time | processor time |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        mean = f"{r['mean']:.3f} ± {r['sd']:.3f} ({r['splits']})" if r["splits"] > 1 else "–"
        out.append(
            f"| {r['arm']} | {r['accuracy']:.2f} ± {r['se']:.3f} | [{r['low']:.3f}, {r['high']:.3f}] "
            f"| {r['document'] or '–'} | {mean} | {_seconds(r['wall_s'])} | {_seconds(r['cpu_s'])} |"
        )
    load = max((r["load"] for r in rows if r["load"] == r["load"]), default=math.nan)
    cores, device = os.cpu_count() or 1, ", ".join(sorted({r["device"] for r in rows}))
    out += ["", f"Device: {device}, {cores} cores. photo_drawing's {PRINTED['mobilenet_v2 fine-tuned']} is of another "
            "network and other images."]  # fmt: skip
    if load > cores:
        out[-1] += f" The cores were shared while this ran (load up to {load:.0f}): free ones take about half of the "
        out[-1] += "processor time."
    if missing:
        out += ["", f"Not run, their ImageNet weights were not at hand: {', '.join(missing)} fine-tuned (--networks)."]
    out += ["", "## Which of two is better", ""]
    out += [f"- {pair.sentence}" for pair in tested]
    out += ["", "## Confusion", "", *(f"- {r['arm']}: {r['confusion']}" for r in rows)]
    out += ["", "Every misclassified image, with its probabilities, stands in the report of its run."]
    if points:
        sizes = sorted({int(size) for size in curves["n_train"]})
        out += ["", f"## Fewer training images, the same {n} test images", ""]
        out += ["| arm | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
        for name, of in curves.groupby("arm", sort=False):
            by = {row.n_train: f"{row.accuracy:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in of.itertuples()}
            out.append(f"| {name} | " + " | ".join(by.get(size, "–") for size in sizes) + " |")
    return "\n".join(out) + "\n"


def _seconds(value: float) -> str:
    return "–" if value != value else f"{value / 60:.1f} min" if value >= 90 else f"{value:.0f} s"


def draw(table: Any, curves: Any, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), layout="constrained", width_ratios=[1, 1.05])
    rows = table[::-1].to_dict("records")
    for i, r in enumerate(rows):
        colour = _style(r["arm"])[0]
        errors = [[r["accuracy"] - r["low"]], [r["high"] - r["accuracy"]]]
        left.errorbar(r["accuracy"], i, xerr=errors, fmt="o", color=colour, capsize=3)
        if r["splits"] > 1:
            left.errorbar(r["mean"], i - 0.28, xerr=r["sd"], fmt="d", color=colour, mfc="white", ms=5, lw=1, capsize=2)
    left.set_yticks(range(len(rows)), [f"{r['arm']}" for r in rows])
    left.axvline(0.5, color="k", lw=0.8, ls=":")
    left.set(xlabel="accuracy", title=f"{rows[0]['n_train']} training images, the same {rows[0]['n_test']} test images")
    left.annotate("● 95% Wilson, one split    ◇ mean ± sd over splits    dotted: chance", (0, -0.17),
                  xycoords="axes fraction", fontsize=9)  # fmt: skip
    named = [(str(name), of) for name, of in curves.groupby("arm", sort=False)] if len(curves) else []
    for number, (name, of) in enumerate(named):
        colour, dashes, mark = _style(name)
        x, y = of["n_train"] * 1.03 ** (number - (len(named) - 1) / 2), of["accuracy"]  # side by side
        right.errorbar(x, y, yerr=[y - of["low"], of["high"] - y], color=colour, ls=dashes, marker=mark, ms=5, lw=1.4,
                       elinewidth=0.8, capsize=2, label=name)  # fmt: skip
    if named:
        sizes = sorted({int(size) for size in curves["n_train"]})
        right.set_xscale("log")
        right.set_xticks(sizes, [str(size) for size in sizes])
        right.minorticks_off()
        fig.legend(fontsize=8.5, loc="outside lower right", ncols=4)
        right.axhline(0.5, color="k", lw=0.8, ls=":")
        title = f"Fewer training images (95% Wilson, n = {rows[0]['n_test']})"
        right.set(xlabel="training images", ylabel="accuracy", title=title)
    else:
        right.set_axis_off()
    fig.savefig(path, dpi=110)
    plt.close(fig)


def _style(name: str) -> tuple[str, str, str]:
    """Colour by where the features come from, line and mark by what is trained on them."""
    colour = ORANGE if "fine-tuned" in name else BLUE if "frozen" in name or "features" in name else GREY
    colour = GREEN if "scratch" in name else colour
    plain = {"mobilenet_v2 frozen": ("-", "o"), "vgg16 frozen": ("--", "s"), "random forest on features": (":", "^")}
    return (colour, *plain.get(name, ("-.", "v") if "on features" in name or "pixels" in name else ("-", "o")))
