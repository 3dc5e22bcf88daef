"""Write constraints.txt: the versions that development and CI install, of everything but torch and what comes with it.

    python3.11 scripts/constraints.py [--check]

Machines get different builds of torch, so it and the libraries of its GPU are left out. The versions are those that the
oldest supported Python gets today; --check says whether every supported Python can install them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = "dev,timm,clip,index,mlflow,wandb"
LEFT_OUT = re.compile(r"torch|torchvision|triton|sketchlab|(nvidia|cuda)[-_].*", re.IGNORECASE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        oldest = PYTHONS[0]
        if sys.version_info[:2] != tuple(map(int, oldest.split("."))):
            sys.exit(
                f"error: run it with Python {oldest}, the oldest that is supported; this is {sys.version.split()[0]}"
            )
        FILE.write_text(pinned(resolved()), encoding="utf-8")
        print(f"wrote {FILE}")
    for python in PYTHONS:
        command = shutil.which(f"python{python}")
        if command is None or subprocess.run([command, "-m", "pip", "--version"], capture_output=True).returncode:
            print(f"Python {python}: not here, not checked")
        else:
            print(f"Python {python}: {len(resolved('-c', str(FILE), python=command))} packages")


def resolved(*more: str, python: str = sys.executable) -> dict[str, str]:
    """Name → version of all that an installation would have. Ends the process with pip's reason where there is none."""
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    done = subprocess.run([*command, *more, *requirements()], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: pip finds no versions: {done.stderr.strip().splitlines()[-1]}")
    rows = [row["metadata"] for row in json.loads(done.stdout)["install"]]
    return {re.sub(r"[-_.]+", "-", row["name"]).lower(): row["version"] for row in rows}


def requirements() -> list[str]:
    """Of pyproject.toml, as words for pip: the package itself is not built for that."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras, found, waiting = project["optional-dependencies"], list(project["dependencies"]), EXTRAS.split(",")
    while waiting:
        for word in extras[waiting.pop()]:
            if inner := re.fullmatch(r"sketchlab\[(.*)\]", word):
                waiting += inner.group(1).split(",")
            else:
                found.append(word)
    return sorted(set(found))


def pinned(versions: dict[str, str]) -> str:
    head = "# Written by scripts/constraints.py: what development and CI install. torch and its builds are left out.\n"
    return head + "".join(f"{name}=={v}\n" for name, v in sorted(versions.items()) if not LEFT_OUT.fullmatch(name))


if __name__ == "__main__":
    main()
