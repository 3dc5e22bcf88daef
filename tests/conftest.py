"""What many tests share: the command line in a clean process, and run folders kept in a temporary place."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("SKETCHLAB_CACHE", str(Path(tempfile.gettempdir()) / f"sketchlab-tests-{os.getuid()}"))
os.environ["SKETCHLAB_STRICT"] = "1"  # what only explains a result may not fail unseen (RunDir.explain)
os.environ.setdefault("TQDM_DISABLE", "1")  # what is printed does not depend on how fast the machine is


@pytest.fixture
def sketchlab(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """python -m sketchlab.run in a process of its own; run folders under tmp_path/outputs."""

    def run(*words: str, module: str = "sketchlab.run", timeout_s: float = 120, **env: str):
        return subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    return run


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The same in this process, which has loaded torch already: where it is not the process that is tested."""

    def run(*words: str, module: str = "sketchlab.run") -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["sketchlab", *words])
        code: Any = 0
        try:
            importlib.import_module(module).main()
        except SystemExit as stop:
            code = stop.code
        return subprocess.CompletedProcess(words, int(code or 0), *capfd.readouterr())

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked realdata is left out where no real data is named."""
    if "SKETCHLAB_DATA" not in os.environ:
        skip = pytest.mark.skip(reason="SKETCHLAB_DATA is not set")
        for item in items:
            if item.get_closest_marker("realdata"):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Before the first test, in each process that runs tests."""
    import torch

    torch.set_num_threads(1)  # xdist runs one worker per core
    gc.collect()
    gc.freeze()  # what the imports left: each later collection would spend half a second on it


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The fast tests of a file stay with one worker: what its fixtures make is made once. Slow ones are dealt out."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if "not slow" in config.option.markexpr else None


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium to be had: {str(error).splitlines()[0]}")
        yield browser
        browser.close()
