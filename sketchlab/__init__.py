"""sketchlab: exact, honest experiments in sketch recognition.

The Python face, for notebooks:

    net = sketchlab.load_model("vgg16", n_classes=2, kernel_px=15)
    run = sketchlab.open_run("outputs/small_cnn-shapes/0123456789ab")
    run.metrics          # a DataFrame
    run.predict(images)  # (B, H, W[, 3]) uint8 or file names → a DataFrame
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from sketchlab.runs import OpenedRun

__all__ = ["load_model", "open_run"]


def load_model(name: str, n_classes: int = 2, **values: Any) -> nn.Module:
    """The network of conf/model/<name>.yaml with some values replaced; the others come from the YAML.

    Nested keys take dicts: load_model("small_cnn", input={"size_px": 32}). Raises UserError on a mistyped key.
    """
    from sketchlab import config

    return config.model(name, values).build(n_classes)


def open_run(folder: str | Path) -> OpenedRun:
    """A run folder: .metrics (DataFrame), .config (dict), .classes, .network(), .predict(images)."""
    from sketchlab.runs import OpenedRun

    return OpenedRun(Path(folder))
