"""sketchlab: exact, honest experiments in sketch recognition.

The Python face, for notebooks:

    net = sketchlab.load_model("vgg16", n_classes=2, kernel_px=15)
    run = sketchlab.open_run("outputs/small_cnn-shapes/0123456789ab")
    run.metrics          # a DataFrame
    run.predict(images)  # (B, H, W[, 3]) uint8 or file names → a DataFrame

A run offers what its pipeline answers with: predict, embed and search, generate or translate (runs/notebook.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from sketchlab.runs.notebook import NotebookRun

__all__ = ["__version__", "load_model", "open_run"]
__version__ = "0.1.0"


def load_model(name: str, n_classes: int = 2, **values: Any) -> nn.Module:
    """The network of conf/model/<name>.yaml with some values replaced; the others come from the YAML.

    Nested keys take dicts: load_model("small_cnn", input={"size_px": 32}). Raises UserError on a mistyped key.
    """
    from sketchlab import config

    return config.model(name, values).build(n_classes)


def open_run(folder: str | Path, trust: bool = False) -> NotebookRun:
    """A run folder, or a file of python -m sketchlab.pack: .metrics (DataFrame), .config (dict), .classes, .network();
    and what its pipeline answers with: .predict, .embed, .search, .generate or .translate. A notebook shows its scores.
    Raises UserError for no run.

    trust: also import the models and other parts of one's own that a packed file holds.
    """
    from sketchlab.runs.notebook import NotebookRun
    from sketchlab.storage import packed

    path = Path(folder)
    return NotebookRun(_unpacked(path, trust) if packed.is_packed(path) else path)


def _unpacked(file: Path, trust: bool) -> Path:
    """The run folder in a packed file; its own parts are taken only where it is trusted."""
    from sketchlab import components
    from sketchlab.errors import UserError
    from sketchlab.storage import packed, sources

    folder = packed.unpacked(file)
    extra = folder / sources.FOLDER / "extra"
    if not extra.is_dir() or str(extra) == components.EXTRA:
        return folder
    if not trust:
        names = ", ".join(sorted(path.name for path in extra.rglob("*.py")))
        line = f"{file} holds code of its own ({names}), which is not run; open_run(FILE, trust=True) runs it"
        print(line, file=sys.stderr)
        return folder
    if components.EXTRA:
        raise UserError(f"open_run: SKETCHLAB_EXTRA={components.EXTRA} is in use; unset it, or set it to {extra}")
    components.take(str(extra))
    return folder
