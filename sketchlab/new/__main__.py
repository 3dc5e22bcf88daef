"""python -m sketchlab.new KIND NAME --to FOLDER: an example of a part of one's own, that runs as it is."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from sketchlab import components
from sketchlab.errors import UserError, exit_on_error
from sketchlab.storage.files import atomic

HERE = Path(__file__).resolve().parent
# kind → file of the example → where it goes; "example" is replaced by the name, in paths and in texts
FILES = {
    "model": {"model.py": "models/example.py", "model.yaml": "conf/model/example.yaml"},
    "data": {"data.py": "data/sets/example.py", "data.yaml": "conf/data/example.yaml"},
    "loss": {"loss.py": "losses/example.py", "loss.yaml": "conf/loss/example.yaml"},
    "optimizer": {"optimizer.py": "optimizers/example.py", "optimizer.yaml": "conf/optimizer/example.yaml"},
    "augmentation": {
        "augmentation.py": "augmentations/example.py",
        "augmentation.yaml": "conf/augmentation/example.yaml",
    },
    "metric": {"metric.py": "metrics/example.py", "metric.yaml": "conf/metric/example.yaml"},
    "section": {"section.py": "sections/example.py"},
    "pipeline": {
        "__init__.py": "pipelines/example/__init__.py",
        "pipeline.py": "pipelines/example/task.py",
        "pipeline.yaml": "conf/pipeline/example.yaml",
        "pipeline_model.py": "models/example_net.py",
        "pipeline_model.yaml": "conf/model/example_net.yaml",
    },
}
TRY = {"pipeline": "model={name}_net data=shapes", "section": "", "data": "data={name}", "model": "model={name}"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sketchlab.new", description=__doc__)
    parser.add_argument("kind", choices=FILES)
    parser.add_argument("name", help="of its file, and of the choice in YAML")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="what SKETCHLAB_EXTRA will name")
    chosen = parser.parse_args()
    exit_on_error(lambda: print(write(chosen.kind, chosen.name, chosen.to)))


def write(kind: str, name: str, to: Path) -> str:
    """Write the files; returns what to type next. Raises UserError for a name that is taken or is no identifier."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"{name}: expected a name of small letters, digits and _, as my_{kind}")
    if name in components.BUILT_IN.get(kind, ()) or name in components.implementations(kind):
        raise UserError(f"{name}: there is a {kind} of this name; choose another one")
    files = {HERE / source: to / place.replace("example", name) for source, place in FILES[kind].items()}
    if there := [path for path in files.values() if path.exists()]:
        raise UserError(f"{there[0]} exists; choose another name, or move it away")
    for source, path in files.items():
        text = (
            "" if source.name == "__init__.py" else re.sub(r"\bexample(?=_net\b|\b)", name, source.read_text("utf-8"))
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    words = TRY.get(kind, f"{kind}={{name}}").format(name=name)
    command = f"SKETCHLAB_EXTRA={shlex.quote(str(to))} python -m sketchlab.run {words}".rstrip()
    return "\n".join([*(f"wrote {path}" for path in files.values()), "", f"try it: {command} loop.epochs=2"])


if __name__ == "__main__":
    main()
