"""The finished run that the tests of predict, evaluate and export share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sketchlab import config
from sketchlab.training import session
from tests import every


def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small classifier of three shapes, trained once a session; tests must leave its folder as it is."""
    root = tmp_path_factory.getbasetemp() / "trained"
    if not root.exists():
        _train(root)
    return every.folder_in(root)


def _train(root: Path) -> None:
    words = every.small("small_cnn", f"run.root={root}", "loop.epochs=12", "data.per_class=16", "pipeline.explain=6")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "report", lambda folder: None)
        session.execute(config.from_overrides(words))


def change_status(run: Path, copy: Path, **changes: Any) -> Path:
    """A copy of a run folder with another status."""
    shutil.copytree(run, copy)
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | changes))
    return copy
