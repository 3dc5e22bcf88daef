"""python -m sketchlab, and sketchlab alone: what commands there are.

python -m sketchlab predict … is python -m sketchlab.predict …; words that begin with no command go to run.
"""

from __future__ import annotations

import runpy
import sys

from sketchlab.errors import documentation

COMMANDS = {
    "run": "train one run, or with -m a sweep or a search, and write its report",
    "predict": "a finished run on pictures or drawings: a table and a CSV",
    "evaluate": "a finished run on another data set, or against rotation, scale, shift and stroke width",
    "retrieve": "a finished retrieval run on sketches: the nearest photos of a gallery",
    "generate": "new pictures of a trained generator",
    "translate": "photos to sketches and sketches to photos",
    "export": "a network for another program: onnx or safetensors",
    "report": "run folders to one page of comparison",
    "data": "data sets: list, fetch, check, show",
    "new": "an example of a part of your own: model, data, loss, pipeline …",
    "app": "a page to draw on, answered by finished runs",
}


def main() -> None:
    words = sys.argv[1:]
    if not words or words == ["-h"] or words == ["--help"]:
        print("commands, each with --help:\n")
        for name, what in COMMANDS.items():
            print(f"  python -m sketchlab.{name:10} {what}")
        print(f"\nhow each is used: {documentation('docs/tasks.md')}")
        return
    name, rest = (words[0], words[1:]) if words[0] in COMMANDS else ("run", words)
    sys.argv = [f"sketchlab {name}", *rest]
    runpy.run_module(f"sketchlab.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
