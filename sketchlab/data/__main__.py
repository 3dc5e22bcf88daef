"""python -m sketchlab.data list | fetch NAME | check NAME | show NAME | export NAME | cache: data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from sketchlab import components, config
from sketchlab.data.commands import cache as cache_command
from sketchlab.data.commands import check, domains, export, show
from sketchlab.data.commands import fetch as download
from sketchlab.data.commands.fetch import File, Source
from sketchlab.data.dataset import Dataset
from sketchlab.data.images import tree
from sketchlab.errors import UserError, exit_on_error
from sketchlab.inputs import Input
from sketchlab.storage import cache

EPILOG = """
examples:
  python -m sketchlab.data fetch tuberlin
  python -m sketchlab.data check tuberlin data.classes=[ant,cat]
  python -m sketchlab.data show folder data.root=my/sketches --out page.html
  python -m sketchlab.data export quickdraw --to svg data.per_class=100
  python -m sketchlab.data cache prune --gb 20 --yes
Data sets lie below data.root, else $SKETCHLAB_DATA, else ./data; what is made of them in $SKETCHLAB_CACHE,
else ~/.cache/sketchlab, which can be deleted at any time.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: all is well; 1: a mistake, or (check) something that must be mended before training."""
    try:
        parser = _parser()
        chosen, later = parser.parse_known_args(words)  # argparse leaves out the overrides behind an option
        if later and ("overrides" not in chosen or any(word.startswith("-") for word in later)):
            parser.error(f"unrecognized arguments: {' '.join(later)}")
        if later:
            chosen.overrides += later
        return chosen.do(chosen)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m sketchlab.data", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    sub = parser.add_subparsers(required=True, metavar="list|fetch|check|show|export|cache")
    sub.add_parser("list", help="the data sets there are, and which lie here").set_defaults(do=list_)
    one = sub.add_parser("fetch", help="download, verify, unpack")
    one.add_argument("name")
    one.add_argument("--root", help="where to; default $SKETCHLAB_DATA, else ./data")
    one.add_argument("overrides", nargs="*", metavar="data.classes=[…]", help="of quickdraw: any of its 345 words")
    one.set_defaults(do=fetch)
    two = sub.add_parser("check", help="name every broken, blank or near-duplicate image, also across splits")
    two.add_argument(
        "--distance", type=float, default=check.DISTANCE, help="that counts as the same; default %(default)s"
    )
    two.set_defaults(do=check_)
    three = sub.add_parser("show", help="write one page: counts, samples, sizes and ink per class")
    three.add_argument("--out", help="default <run.root>/data/<name>.html")
    three.set_defaults(do=show_)
    four = sub.add_parser("export", help="write the drawings of a set of strokes as files: ndjson, svg or png")
    four.add_argument("--to", choices=export.FORMATS, required=True, help="one file a class, or one a drawing")
    four.add_argument("--out", help="default <name>-<format>; must be new, empty, or an earlier export")
    four.set_defaults(do=export_)
    cache_command.add(sub)
    for command in (two, three, four):
        command.add_argument("name")
        command.add_argument("overrides", nargs="*", help="as for a run: data.root=… data.classes=[…] data/splits=…")
    return parser


def sources(words: Sequence[str] = ()) -> dict[str, Source]:
    """conf/data/source/*.yaml, typed; with files of these words where a source has a file for each of its own."""
    out = {}
    for path in sorted((config.conf_dir() / "data" / "source").glob("*.yaml")):
        values, where = yaml.safe_load(path.read_text("utf-8")), f"data/source/{path.name}"
        own = values.pop("each", [])
        each = (words or own) if own else [""]  # the same lines for many files: {each} stands for one of these
        files = [config.typed(File, _filled(file, one), f"{where} files") for one in each for file in values["files"]]
        out[path.stem] = replace(config.typed(Source, {**values, "files": []}, where), files=files)
    return out


def _filled(file: dict[str, Any], each: str) -> dict[str, Any]:
    filled = {k: v.replace("{each}", each) if isinstance(v, str) else v for k, v in file.items()}
    return filled | {"urls": [url.replace("{each}", quote(each)) for url in file["urls"]]}


def choices() -> dict[str, tuple[str, list[str]]]:
    """Name of each data set → its first line, and the sources it needs."""
    known, out = sources(), {}
    for path in sorted([*(config.conf_dir() / "data").glob("*.yaml"), *_own()]):
        text = path.read_text("utf-8")
        named = [word for word in _values(yaml.safe_load(text) or {}, "source") if word in known]
        first = text.splitlines()[0].lstrip("# ").partition("; see ")[0] if text.startswith("#") else ""
        out[path.stem] = (first, sorted({*named, *([path.stem] if path.stem in known else [])}))
    return out


def _values(node: Any, key: str) -> list[str]:
    if not isinstance(node, dict):
        return []
    return [str(value) for k, value in node.items() if k == key] + [v for x in node.values() for v in _values(x, key)]


def _own() -> list[Path]:
    return list(Path(components.EXTRA, "conf", "data").glob("*.yaml")) if components.EXTRA else []


def list_(_: argparse.Namespace) -> int:
    known, root = sources(), tree.data_root(None)
    print(f"data sets below {root}, what is made of them in {cache.home()}\n")
    own = {path.stem for path in _own()}
    for name, (first, needed) in choices().items():
        files = [root / file.gives for s in needed for file in known[s].files]
        n = sum(path.exists() or path.with_name(f"{path.name}.gz").exists() for path in files)
        state = "here" if n == len(files) else f"{n} of {len(files)}" if n else "-"
        if not needed:
            folder = root / name if name in tree.YOURS else None
            state = "yours" if name in {"folder", "pairs", "strokes", *own} else "built in"
            state = state if folder is None else "here" if folder.is_dir() else "-"
        print(f"{name:18} {state:9} {first}")
    print("\nget one that is not here (-): python -m sketchlab.data fetch NAME")
    return 0


def fetch(chosen: argparse.Namespace) -> int:
    known, sets = sources(), choices()
    needed = [chosen.name] if chosen.name in known else sets.get(chosen.name, ("", []))[1]
    if not needed:
        if chosen.name in tree.YOURS:
            raise UserError(f"{chosen.name}: nobody offers it; {tree.YOURS[chosen.name]}")
        if chosen.name in sets:
            raise UserError(f"{chosen.name} needs no download")
        raise UserError(f"{chosen.name}: no such data set; {config.hint(chosen.name, sorted({*known, *sets}))}")
    words = _words(chosen.overrides)
    if words:
        before, known = known, sources(words)
        if all(before[name] == known[name] for name in needed):
            raise UserError(f"data.classes={chosen.overrides}: {chosen.name} comes as a whole; leave data.classes out")
    for name in needed:
        source = known[name]
        print(f"{source.title}\n  licence: {source.licence}\n  cite: {source.citation}\n  layout: {source.layout}")
        download.fetch(source, tree.data_root(chosen.root))
    return 0


def _words(overrides: Sequence[str]) -> list[str]:
    """Of data.classes=[cat,'hot dog']."""
    found: list[str] = []
    for word in overrides:
        key, _, value = word.partition("=")
        values = yaml.safe_load(value) if key == "data.classes" else None
        if not isinstance(values, list) or not values:
            raise UserError(f"{word}: expected data.classes=[word,…], the words to fetch")
        found += map(str, values)
    return found


def _component(chosen: argparse.Namespace) -> Any:
    sets = choices()
    if chosen.name not in sets:
        raise UserError(f"{chosen.name}: no such data set; {config.hint(chosen.name, sorted(sets))}")
    return config.data(chosen.name, chosen.overrides)


def _build(chosen: argparse.Namespace, size_px: int, skip_bad: bool = False) -> tuple[Dataset, Any]:
    component = _component(chosen)
    if skip_bad and hasattr(component.config, "on_bad"):
        component = replace(component, config=replace(component.config, on_bad="skip"))
    gives = component.constant("GIVES")
    kind = next((kind for kind in ("images", "pairs") if kind in gives), None)
    if kind is None:
        raise UserError(f"{chosen.name} gives {', '.join(gives)}: only images and pairs can be looked at")
    return component.build(Input(kind, size_px, 3, "dark", [0.0] * 3, [1.0] * 3)), component


def check_(chosen: argparse.Namespace) -> int:
    data, _ = _build(chosen, check.SIDE_PX, skip_bad=True)
    data = domains.by_domain(data)
    found = check.find(data, chosen.distance)
    leaks = sum(pair.leaks for pair in found.same)
    wrong = sum(pair.contradicts for pair in found.same)
    sizes = ", ".join(f"{key} {len(split):,}" for key, split in data.splits.items())
    print(f"{chosen.name}: {len(data.classes)} classes; {sizes}")
    for note in data.notes:
        print(f"note: {note}")
    for name in found.blank:
        print(f"blank: {name}")
    print(
        f"{len(found.same)} pairs look the same (distance up to {chosen.distance:g}), {leaks} of them across splits, "
        f"{wrong} in different classes"
    )
    for pair in found.same:
        print(f"  {pair}")
    if found.close:
        print("the next closest, for a person to check:")
    for pair in found.close:
        print(f"  {pair}")
    return int(bool(leaks or wrong or found.blank or any("left out" in note for note in data.notes)))


def show_(chosen: argparse.Namespace) -> int:
    data, component = _build(chosen, show.SIDE_PX)
    data = domains.whole(data)
    known = sources()
    needed = choices()[chosen.name][1]
    text = show.page(chosen.name, data, _files(component, data), known[needed[0]] if len(needed) == 1 else None)
    out = Path(chosen.out) if chosen.out else _with_the_runs(f"{chosen.name}.html")
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        if not chosen.out:
            out.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None
    print(out)
    return 0


def _with_the_runs(name: str) -> Path:
    """Below run.root, which no version control sees."""
    values = yaml.safe_load((config.conf_dir() / "config.yaml").read_text("utf-8"))
    return Path(values["run"]["root"]) / "data" / name


def export_(chosen: argparse.Namespace) -> int:
    component = _component(chosen)
    if "points" not in (gives := component.constant("GIVES")):
        raise UserError(f"{chosen.name} gives {', '.join(gives)}: only sets of strokes can be exported, as quickdraw")
    data = component.build(Input("points", 256, 3, "dark", [0.0], [1.0]))
    out = Path(chosen.out or f"{chosen.name}-{chosen.to}")
    counts = export.export(chosen.name, data, chosen.to, out)
    for note in data.notes:
        print(f"note: {note}")
    print(f"wrote {sum(counts.values()):,} drawings of {len(counts)} classes to {out}")
    return 0


def _files(component: Any, data: Dataset) -> Path | None:
    """The folder below which the ids of a data set are files, if they are."""
    first = next(iter(data.splits.values())).ids[0]
    root = tree.data_root(getattr(component.config, "root", None))
    below = [".", getattr(component.config, "folder", "."), getattr(sys.modules[component.module], "FOLDER", ".")]
    return next((root / folder for folder in below if (root / folder / first).is_file()), None)


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
