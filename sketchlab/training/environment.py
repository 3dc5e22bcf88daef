"""What a run was made with: versions, git, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from sketchlab import schema
from sketchlab.config import RunConfig
from sketchlab.engine.runtime import Runtime
from sketchlab.training import provenance

_PACKAGES = ("torch", "torchvision", "hydra-core", "numpy", "numba", "pandas", "pillow", "scikit-learn")


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


def environment(runtime: Runtime, parameters: dict[str, int], files: provenance.Table) -> dict[str, Any]:
    """env.json. files: those of its code."""
    on_gpu = runtime.device.type == "cuda"
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git": git(),
        "code": provenance.short(files),
        "platform": platform.platform(),
        "device": runtime.device.type,
        "device_name": torch.cuda.get_device_name(runtime.device) if on_gpu else cpu_name(),
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "driver": driver() if on_gpu else None,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": runtime.precision + (" (TF32)" if on_gpu and runtime.precision == "fp32" else ""),
        "ranks": runtime.ranks,
        "deterministic": runtime.config.deterministic,
        "parameters": parameters,
    }


def made_with(run: RunConfig, made: dict[str, Any]) -> dict[str, Any]:
    """What may change the last digits of a result although the run is the same: kept in its checkpoints, so that one
    that goes on with another value has it in its status.json."""
    kept = {key: made[key] for key in ("device_name", "cuda", "cudnn", "driver", "threads")}
    kept |= {key: made["packages"][key] for key in ("torch", "numpy")}
    for group in ("pipeline", "loop", "runtime"):
        part = getattr(run, group)
        values = schema.of_role(type(getattr(part, "config", part)), schema.MACHINE, run.plain()[group]) if part else {}
        kept |= {f"{group}.{key}": value for key, value in values.items()}
    return kept


def driver() -> str | None:
    """The version of the GPU's driver, where Linux tells it."""
    path = Path("/proc/driver/nvidia/version")
    words = path.read_text("utf-8").split("Kernel Module")[-1].split() if path.exists() else []
    return next((word for word in words if word[0].isdigit()), None)


def cpu_name() -> str:
    """The processor's name as Linux gives it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    names = (
        [ln.partition(":")[2].strip() for ln in info.read_text("utf-8").splitlines() if ln.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
