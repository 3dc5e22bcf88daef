"""sketchlab: exact, honest experiments in sketch recognition.

The Python face, for notebooks:

    net = sketchlab.load_model("vgg16", n_classes=2, kernel_px=15)
    run = sketchlab.open_run("outputs/small_cnn-shapes/0123456789ab")
    run.metrics          # a DataFrame
    run.predict(images)  # (B, H, W[, 3]) uint8 or file names → a DataFrame

A run offers what its pipeline answers with: predict, embed and search, generate or translate (runs/notebook.py).
"""

from __future__ import annotations

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


def open_run(folder: str | Path) -> NotebookRun:
    """A run folder: .metrics (DataFrame), .config (dict), .classes, .network(); and what its pipeline answers with:
    .predict, .embed, .search, .generate or .translate. A notebook shows its scores. Raises UserError for no run."""
    from sketchlab.runs.notebook import NotebookRun

    return NotebookRun(Path(folder))
