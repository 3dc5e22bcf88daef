"""What does a stock ImageNet network, 1000 classes and all, see in sketches?

Claim (the starting question of chen2019, after Ballester and Araujo 2016, "On the Performance of GoogLeNet
and AlexNet Applied to Sketches"): networks trained on photos take most sketches for paper clips and safety pins.

Protocol: the network as published, nothing trained; every sketch of TU-Berlin, and for comparison the photos of
hymenoptera; its first answer of 1000, how sure it is, and, where a class has a counterpart among the 1000 (RIGHT,
below), whether the answer is one of those.

Deviations: MobileNetV2 unless --arch says otherwise, the paper ran GoogLeNet and AlexNet; whichever classes and sizes
lie in SKETCHLAB_DATA (35 classes at 150 px in the table here, enlarged to 224; the originals are 250 at 1111 px).
"paper clip" is not among torchvision's 1000 names (the 2012 classes have none): safety pin is, and NEAR lists other
thin things. Cost: 2 to 3 minutes on two cores.

    python experiments/stock_imagenet.py [--arch mobilenet_v2] [--photos hymenoptera] [data=tuberlin …] [--report]
    python experiments/stock_imagenet.py --smoke      (seconds: a network that has learnt nothing, on shapes)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from torch import Tensor
from tqdm import tqdm

from sketchlab import config, stats
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.models import torchvision_nets
from sketchlab.storage.files import atomic

RESULTS = Path(__file__).parent / "results"
PIN = "safety pin"
NEAR = ("hook", "nematode", "matchstick", "nail", "screw", "corkscrew", "hair slide", "chain", "quill")
BATCH = 64
SMOKE = ["data=shapes", "data.classes=[fish,hourglass,line]", "data.per_class=12", "model.input.size_px=64"]
SNAKES, DOGS = range(52, 69), range(151, 269)  # by number: too many to list
FISH = [*range(7), *range(389, 398)]
RIGHT: dict[str, list[str | int]] = {  # class → ImageNet names (or numbers) that a person would let pass
    "ant": ["ant"],
    "ants": ["ant"],
    "bee": ["bee"],
    "bees": ["bee"],
    "bicycle": ["mountain bike", "bicycle-built-for-two"],
    "butterfly": ["admiral", "ringlet", "monarch", "cabbage butterfly", "sulphur butterfly", "lycaenid"],
    "camel": ["Arabian camel"],
    "cat": ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"],
    "dog": [*DOGS],
    "duck": ["drake", "red-breasted merganser"],
    "elephant": ["tusker", "Indian elephant", "African elephant"],
    "envelope": ["envelope"],
    "eyeglasses": ["sunglass", "sunglasses"],
    "fish": [*FISH],
    "guitar": ["acoustic guitar", "electric guitar"],
    "horse": ["sorrel"],
    "hourglass": ["hourglass"],
    "pizza": ["pizza"],
    "sheep": ["ram", "bighorn"],
    "snake": [*SNAKES],
    "squirrel": ["fox squirrel"],
    "strawberry": ["strawberry"],
    "wine-bottle": ["wine bottle", "red wine"],
}


def main() -> None:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("overrides", nargs="*", metavar="data=… key=value", help="the sketches (default data=tuberlin)")
    out.add_argument("--arch", default="mobilenet_v2", choices=[*torchvision_nets.HEADS, "vgg16"])
    out.add_argument("--photos", default="hymenoptera", help="data set beside it; none = sketches alone")
    out.add_argument("--smoke", action="store_true", help="random weights, sketches drawn by code")
    out.add_argument("--out", type=Path, help="folder of the table and figure (default results; --smoke: the answers')")
    out.add_argument("--answers", type=Path, help="folder of every answer (default outputs/stock_imagenet)")
    out.add_argument("--report", action="store_true", help="look at nothing, write from the answers of the last time")
    arguments = out.parse_intermixed_args()
    folder = arguments.answers or Path("outputs", "stock_imagenet" + "_smoke" * arguments.smoke)
    answers = folder / f"{arguments.arch}.csv"
    if arguments.smoke:
        arguments.overrides, arguments.photos = [*SMOKE, *_untrained(arguments.arch, folder)], "none"
    try:
        if not arguments.report:
            _ask(arguments, answers)
        if not answers.is_file():
            raise UserError(f"--report: no {answers}; run without it first")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    table: Any = pd.read_csv(answers)
    results = arguments.out or (folder if arguments.smoke else RESULTS)
    write(arguments.arch, dict(tuple(table.groupby("data", sort=False))), results)


def _untrained(arch: str, folder: Path) -> list[str]:
    """Weights of a network that has learnt nothing, as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    with atomic(folder / f"{arch}_random.pth") as temporary:
        torch.save(torchvision.models.get_model(arch, weights=None).state_dict(), temporary)
    return [f"model.weights={(folder / f'{arch}_random.pth').resolve()}"]


def _ask(arguments: argparse.Namespace, answers: Path) -> None:
    sketches = arguments.overrides
    if not any(word.startswith("data=") for word in sketches):
        sketches = ["data=tuberlin", *sketches]
    asked = [sketches] if arguments.photos == "none" else [sketches, [f"data={arguments.photos}"]]
    stock = [f"model={arguments.arch}", *(["model.head=vgg"] if arguments.arch == "vgg16" else [])]
    made = [config.from_overrides([*stock, *words]) for words in asked]
    tables = [look(run) for run in made]
    answers.parent.mkdir(parents=True, exist_ok=True)
    with atomic(answers) as temporary:
        pd.concat(tables).to_csv(temporary, index=False)


def look(run: config.RunConfig) -> pd.DataFrame:
    """One row a sample: data, label, answer, p (of the answer), entropy (bits), pin (probability), right (NaN: none).

    Raises UserError for data or weights that are not there.
    """
    names = list(
        torchvision.models.get_model_weights(getattr(run.model.config, "arch", "vgg16"))["IMAGENET1K_V1"].meta[
            "categories"
        ]
    )
    runtime = Runtime(run.runtime)
    net = runtime.place(run.model.build(None)).eval()
    data = run.data.build(run.model.config.input)
    rows = []
    for split in data.splits.values():
        chunks = torch.arange(len(split)).split(BATCH)
        for places in tqdm(chunks, desc=run.choices["data"], unit="batch", leave=False):
            with torch.no_grad(), runtime.autocast():
                logits = net(runtime.layout(data.prepare(runtime.to_device(split.gather(places)), None)))
            labels = [data.classes[i] for i in split.labels[places].tolist()]
            rows += _rows(logits.float().cpu(), labels, names)
    return pd.DataFrame(rows).assign(data=run.choices["data"])


def _rows(logits: Tensor, labels: list[str], names: list[str]) -> list[dict]:
    p = logits.double().softmax(1)  # (B, 1000)
    top, entropy = p.argmax(1), -(p * p.clamp(min=1e-300).log2()).sum(1)
    return [
        {
            "label": label,
            "answer": names[int(top[i])],
            "p": float(p[i, top[i]]),
            "entropy": float(entropy[i]),
            "pin": float(p[i, names.index(PIN)]),
            "right": float(int(top[i]) in _numbers(label, names)) if label in RIGHT else np.nan,
        }
        for i, label in enumerate(labels)
    ]


def _numbers(label: str, names: list[str]) -> set[int]:
    return {x if isinstance(x, int) else names.index(x) for x in RIGHT[label]}


def share(k: int, n: int) -> str:
    """.123 [.100, .150], k of n with Wilson's 95% interval."""
    low, high = stats.wilson(k, n)
    return f"{k / n:.3f} [{low:.3f}, {high:.3f}]"


def by_class(name: str, table: Any) -> pd.DataFrame:
    """One row a class: its three most frequent answers, right answers with their interval, sureness."""
    rows = []
    for label, part in table.groupby("label"):
        often = part["answer"].value_counts()
        row = {"data": name, "class": label, "n": len(part)}
        row |= {f"answer_{i + 1}": f"{a} {c}" for i, (a, c) in enumerate(often.head(3).items())}
        if part["right"].notna().all():
            low, high = stats.wilson(int(part["right"].sum()), len(part))
            row |= {"right": int(part["right"].sum()), "right_low": round(low, 3), "right_high": round(high, 3)}
        row |= {"safety_pin": int((part["answer"] == PIN).sum())}
        row |= {"mean_p": round(part["p"].mean(), 3), "mean_entropy_bits": round(part["entropy"].mean(), 2)}
        rows.append(row)
    out = pd.DataFrame(rows)
    return out.astype({"right": "Int64"}) if "right" in out else out


def write(arch: str, tables: dict[str, Any], folder: Path) -> None:
    """stock_imagenet_<arch>.csv (per class), .md (for people) and .png."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = pd.concat([by_class(name, table) for name, table in tables.items()], ignore_index=True)
    classes.to_csv(folder / f"stock_imagenet_{arch}.csv", index=False)
    page = folder / f"stock_imagenet_{arch}.md"
    page.write_text("\n".join(_text(arch, tables, classes)) + "\n", encoding="utf-8")
    draw(arch, tables, classes, folder / f"stock_imagenet_{arch}.png")
    print(page.read_text("utf-8"))
    print(page)


def _text(arch: str, tables: dict[str, Any], classes: Any) -> list[str]:
    lines = [f"# What {arch} sees, all 1000 ImageNet classes", ""]
    lines += ["Shares with Wilson's 95% interval. There is no paper clip among the 1000 names; the other thin things"]
    lines += ["were listed beforehand. Written by experiments/stock_imagenet.py, which tells the protocol.", ""]
    lines += ["| | " + " | ".join(f"{name} (n = {len(t)})" for name, t in tables.items()) + " |"]
    lines += ["|---" * (len(tables) + 1) + "|"]

    def row(what: str, cells: list[str]) -> None:
        lines.append(f"| {what} | " + " | ".join(cells) + " |")

    every = tables.values()
    row(f"answered {PIN}", [share(int((t["answer"] == PIN).sum()), len(t)) for t in every])
    row(
        "answered another thin thing: " + ", ".join(NEAR),
        [share(int(t["answer"].isin(NEAR).sum()), len(t)) for t in every],
    )
    row("different answers", [str(t["answer"].nunique()) for t in every])
    row("mean probability of the answer", [f"{t['p'].mean():.3f}" for t in every])
    row("median entropy, bits (10 = no idea)", [f"{t['entropy'].median():.2f}" for t in every])
    asked = [t.dropna(subset="right") for t in every]
    row("right, of those with a counterpart", [share(int(t["right"].sum()), len(t)) if len(t) else "–" for t in asked])
    for name, table in tables.items():
        often = table["answer"].value_counts().head(12)
        lines += ["", f"## Most frequent answers to {name}", "", "| answer | share |", "|---|---|"]
        lines += [f"| {answer} | {share(int(k), len(table))} |" for answer, k in often.items()]
    lines += [
        "",
        "## Class by class",
        "",
        "| data | class | n | right (n, 95%) | most frequent answers |",
        "|---" * 5 + "|",
    ]
    for row_ in classes.astype(object).fillna("").to_dict("records"):
        right = "no counterpart" if row_["right"] == "" else share(int(row_["right"]), row_["n"])
        answers = ", ".join(row_[key] for key in ("answer_1", "answer_2", "answer_3") if row_.get(key))
        lines.append(f"| {row_['data']} | {row_['class']} | {row_['n']} | {right} | {answers} |")
    return lines


def draw(arch: str, tables: dict[str, Any], classes: Any, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(13, 7), constrained_layout=True)
    name, table = next(iter(tables.items()))
    often = table["answer"].value_counts().head(20)[::-1]
    colours = ["#d55e00" if answer == PIN else "#e69f00" if answer in NEAR else "#0072b2" for answer in often.index]
    left.barh(list(often.index), 100 * often.to_numpy() / len(table), color=colours)
    pins = int((table["answer"] == PIN).sum())
    left.set(title=f"20 most frequent answers of {arch} to {name}\nn = {len(table)}; safety pin: {pins} times")
    left.set_xlabel("share of all samples, %   (orange: thin things, red: safety pin)")
    asked = classes.dropna(subset="right").assign(rate=lambda t: t["right"].astype(float) / t["n"]).sort_values("rate")
    for i, row in enumerate(asked.itertuples()):
        photo = row.data != name
        left_, right_ = row.rate - row.right_low, row.right_high - row.rate
        right.errorbar(
            100 * row.rate, i, xerr=[[100 * left_], [100 * right_]], fmt="s" if photo else "o",
            color="#009e73" if photo else "#0072b2", capsize=3,
        )  # fmt: skip
    right.set_yticks(range(len(asked)), [f"{r.data}: {r._2} (n={r.n})" for r in asked.itertuples()])
    right.set(
        title="an answer that a person would let pass, of 1000\n95% intervals (Wilson); squares: photos", xlim=(0, 100)
    )
    right.set_xlabel("right, %")
    right.grid(axis="x", alpha=0.3)
    fig.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
