"""The table and figure of chen2019_transfer.py, from run folders alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sketchlab import stats
from sketchlab.errors import UserError
from sketchlab.report.comparison.paired import same_samples
from sketchlab.runs import OpenedRun
from sketchlab.storage.files import read_json

LAST = 5  # epochs whose spread tells how steady a curve is
TUNES = ("freeze", "finetune", "scratch")


def collect(names: list[str], root: Path) -> dict[str, list[OpenedRun]]:
    """Finished runs of each arm, in the order of `names`, by seed."""
    if not (root / "runs.json").is_file():
        raise UserError(f"{root}: no runs.json; run without --report first")
    index, out = read_json(root / "runs.json"), {}
    for name in names:
        found = [OpenedRun(root / folder) for _, folder in sorted(index.get(name, {}).items())]
        out[name] = [run for run in found if run.status.get("state") == "finished"]
    return {name: found for name, found in out.items() if found}


def right(run: OpenedRun) -> Any:
    """Of each validation image whether the last epoch's answer was right."""
    table: Any = pd.read_csv(run.path / "predictions_val.csv", dtype=str, keep_default_na=False).set_index("id")
    return (table["label"] == table["prediction"]).sort_index()


def curve(run: OpenedRun) -> np.ndarray:
    rows: Any = run.metrics
    return rows["val/accuracy"].dropna().to_numpy()


def row(name: str, found: list[OpenedRun]) -> dict:
    """A line of the table: scores over seeds, steadiness, and what chance would show."""
    answers = np.array([right(run) for run in found], dtype=float)
    final, n, curves = answers.mean(1).tolist(), answers.shape[1], [curve(run) for run in found]
    low, high = stats.share_interval(stats.estimate_mean(answers)) if len(found) > 1 else stats.share(answers[0])
    task, network, tune = name.split("/")
    return {
        "task": task,
        "network": network,
        "tune": tune,
        "trained parameters": read_json(found[0].path / "env.json")["parameters"]["trainable"],
        "seeds": len(found),
        "n_val": n,
        "val": np.mean(final),
        "low": low,
        "high": high,
        "seed_min": min(final),
        "seed_max": max(final),
        f"sd_last_{LAST}": np.mean([c[-LAST:].std(ddof=1) if len(c) > 1 else np.nan for c in curves]),
        "best_epoch": np.mean([c.max() for c in curves]),
        "best_of_chance": stats.best_of_chance(n, 1 / len(found[0].classes), max(map(len, curves))).mean,
    }


def compare(arms: dict[str, list[OpenedRun]]) -> list[dict]:
    """Pairs that differ in one thing and share their validation images: difference, interval, verdict."""
    out = []
    for a in arms:
        for b in arms:
            (task, net_a, tune_a), (task_b, net_b, tune_b) = a.split("/"), b.split("/")
            one = (net_a, tune_a) != (net_b, tune_b) and (net_a == net_b or tune_a == tune_b)
            order = (net_a, TUNES.index(tune_a)) > (net_b, TUNES.index(tune_b))
            seeds = min(len(arms[a]), len(arms[b]))
            if task != task_b or not one or not order or seeds < 2:
                continue
            first, second = (np.array([right(r) for r in arms[name][:seeds]], dtype=float) for name in (a, b))
            gap = same_samples(first, second)
            assert gap is not None
            sure = "better" if gap.low > 0 else "worse" if gap.high < 0 else "not told apart"
            found = {"difference": gap.difference, "low": gap.low, "high": gap.high}
            out.append({"a": a, "b": f"{net_b}/{tune_b}", **found, "a is": sure})
    return out


def write(names: list[str], root: Path, folder: Path) -> None:
    """chen2019_transfer.csv, .md and .png into folder, from the runs that root/runs.json names."""
    arms = collect(names, root)
    folder.mkdir(parents=True, exist_ok=True)
    table: Any = pd.DataFrame([row(name, found) for name, found in arms.items()])
    table.round(4).to_csv(folder / "chen2019_transfer.csv", index=False)
    page = folder / "chen2019_transfer.md"
    page.write_text(text(table, compare(arms), [name for name in names if name not in arms]), encoding="utf-8")
    draw(table, arms, folder / "chen2019_transfer.png")
    print(page.read_text("utf-8"))
    print(page)


HEAD = f"""# Transfer from photos to sketches, arm by arm

Written by experiments/chen2019_transfer.py, which tells the protocol.

- val: accuracy after the last epoch, mean over seeds, with its 95% interval for new seeds and images
- sd: of the last {LAST} epochs of a curve: how steady it is
- best epoch: chosen on the images it is scored on, so optimistic
- chance: what the best epoch would be on average if nothing were learnt

| task | network | trains | parameters | val | seeds | n_val | sd | best epoch | chance |
|---|---|---|---|---|---|---|---|---|---|"""
PAIRS = """
Differences on the same images, t over seeds and images (95% each, not corrected for their number):

| task | a | b | a − b | a is |
|---|---|---|---|---|"""


def text(table: Any, pairs: list[dict], missing: list[str]) -> str:
    lines = [HEAD]
    for r in table.to_dict("records"):
        val = f"{r['val']:.3f} [{r['low']:.3f}, {r['high']:.3f}]"
        seeds = f"{r['seeds']}: {r['seed_min']:.3f} – {r['seed_max']:.3f}"
        cells = [r["task"], r["network"], r["tune"], f"{r['trained parameters']:,}", val, seeds, str(r["n_val"])]
        cells += [f"{r[key]:.3f}" for key in (f"sd_last_{LAST}", "best_epoch", "best_of_chance")]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [PAIRS] if pairs else []
    for p in pairs:
        task, _, a = p["a"].partition("/")
        gap = f"{p['difference']:+.3f} [{p['low']:+.3f}, {p['high']:+.3f}]"
        lines.append(f"| {task} | {a} | {p['b']} | {gap} | {p['a is']} |")
    lines += ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    return "\n".join(lines) + "\n"


def draw(table: Any, arms: dict[str, list[OpenedRun]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {"freeze": "#0072b2", "finetune": "#d55e00", "scratch": "#999999"}
    height = max(4.5, 0.38 * len(table) + 1.5)
    fig, (left, right_) = plt.subplots(1, 2, figsize=(14, height), constrained_layout=True)
    for i, r in enumerate(table[::-1].to_dict("records")):
        mark = "s" if r["network"].endswith("sketchanet") else "o"
        left.errorbar(r["val"], i, xerr=[[r["val"] - r["low"]], [r["high"] - r["val"]]], fmt=mark, capsize=3,
                      color=colours[r["tune"]])  # fmt: skip
        left.plot([r["best_of_chance"]] * 2, [i - 0.3, i + 0.3], color="k", lw=1)
    left.set_yticks(
        range(len(table)), [f"{r.task}, {r.network}, {r.tune} (n={r.n_val})" for r in table[::-1].itertuples()]
    )
    left.axvline(0.5, color="k", lw=0.8, ls=":")
    left.set(title="Accuracy on val after the last epoch\nbars: 95%; ticks: best epoch of pure chance")
    left.set_xlabel("accuracy   (blue: frozen, red: fine-tuned, grey: from scratch; squares: vgg16_sketchanet)")
    for name, found in arms.items():
        task, network, tune = name.split("/")
        if task != "sketches":
            continue
        curves = [curve(run) for run in found]
        many = np.array([c[: min(map(len, curves))] for c in curves])
        epochs = np.arange(1, many.shape[1] + 1)
        style = "--" if network.endswith("sketchanet") else "-"
        right_.plot(epochs, many.mean(0), style, color=colours[tune], label=f"{network}, {tune} ({len(found)} seeds)")
        right_.fill_between(epochs, many.min(0), many.max(0), color=colours[tune], alpha=0.12)
    right_.set(title="Sketches to sketches, epoch by epoch\nlines: mean of seeds; bands: their range", ylim=(0.3, 1.02))
    right_.set(xlabel="epoch", ylabel="accuracy on val")
    if right_.lines:
        right_.legend(fontsize=8, loc="lower right")
    fig.savefig(path, dpi=110)
