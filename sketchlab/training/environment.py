"""What a run was made with: versions, git, machine, and the digest of the code itself."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from sketchlab.engine.runtime import Runtime

_PACKAGES = ("torch", "torchvision", "hydra-core", "numpy", "pandas", "pillow", "scikit-learn")


@lru_cache
def code() -> str:
    """The version of the code that decides results: a digest of the package's Python files, 12 hexadecimal digits."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        part = path.relative_to(root).parts[0]
        if part not in ("report", "app", "runs"):  # they read results, they do not make them
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def git() -> dict[str, Any] | None:
    """Commit and cleanliness of the checkout the code runs from; None outside of one."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists():
        return None

    def ask(*words: str) -> str | None:
        try:
            return subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):  # no git, or no commit yet: said as unknown
            return None

    changed = ask("status", "--porcelain", "--", "sketchlab", "conf")
    return {"commit": ask("rev-parse", "HEAD") or "unknown", "changed": bool(changed)}


def environment(runtime: Runtime, parameters: dict[str, int]) -> dict[str, Any]:
    name = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else cpu_name()
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git": git(),
        "code": code(),
        "platform": platform.platform(),
        "device": runtime.device.type,
        "device_name": name,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": runtime.precision
        + (" (TF32)" if runtime.device.type == "cuda" and runtime.precision == "fp32" else ""),
        "ranks": runtime.ranks,
        "deterministic": runtime.config.deterministic,
        "parameters": parameters,
    }


def cpu_name() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    names = (
        [ln.partition(":")[2].strip() for ln in info.read_text().splitlines() if ln.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
