"""What a name in YAML means: the file of that name, in a room of the package or in a folder of the user's own.

Nothing is registered. A group lists the packages where its files are looked for; `SKETCHLAB_EXTRA` names a folder with
the same rooms, whose files are found as if they stood there.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from sketchlab.errors import UserError, documentation, own_mistake

EXTRA = os.environ.get("SKETCHLAB_EXTRA")
__path__ += [os.path.realpath(EXTRA)] if EXTRA else []  # its losses are sketchlab.components.losses.<name>
# group → the packages where its files are looked for, in this order. Those below `components` are of
# the user's folder alone.
GROUPS = {
    "data": ("data.sets",),
    "model": ("models", "baselines"),
    "pipeline": ("pipelines",),
    "loss": ("components.losses",),
    "optimizer": ("components.optimizers",),
    "augmentation": ("components.augmentations",),
    "metric": ("components.metrics",),
    "section": ("components.sections",),
}
BUILT_IN = {  # names of a group that mean no file
    "loss": ("cross_entropy", "contrastive", "triplet", "infonce"),
    "optimizer": ("sgd", "adam", "adamw"),
}
NEEDS = {  # what a file of a group has to have
    "data": ("Config", "GIVES", "build"),
    "model": ("Config", "GIVES", "build"),
    "pipeline": ("Config", "TAKES", "build"),
    "loss": ("Config", "build"),
    "optimizer": ("Config", "build"),
    "augmentation": ("Config", "build"),
    "metric": ("Config", "SCORE", "build"),
    "section": ("TITLE", "section"),
}


def hint(name: str, options: list[str]) -> str:
    """'did you mean X? ' when one is close, then what exists."""
    close = difflib.get_close_matches(name, options, n=1)
    return (f"did you mean {close[0]}? " if close else "") + "there is: " + (", ".join(options) or "none")


def own_folder(package: str) -> Path | None:
    """Where a package's files of the user's own lie; data sets also directly in data/, where there is no data/sets/."""
    if not EXTRA:
        return None
    root = Path(EXTRA).resolve()
    if package == "data.sets" and not (root / "data" / "sets").is_dir():
        return root / "data"
    return root.joinpath(*package.removeprefix("components.").split("."))


def implementations(group: str) -> dict[str, str]:
    """Name → module, of everything that a group's `name` may mean: <name>.py, <name>/__init__.py or <name>/task.py.

    Raises UserError where a file of the user's own has the name of one in the package.
    """
    found: dict[str, str] = {}
    for package in GROUPS[group]:
        own = own_folder(package)
        if package.startswith("components."):
            folders = [own] if own else []
        else:
            parent = importlib.import_module(f"sketchlab.{package}")
            if own and str(own) not in parent.__path__:
                parent.__path__.append(str(own))
            folders = [Path(folder) for folder in parent.__path__]
        for folder in folders:
            for name in sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")):
                if folder == own and (name in found or name in BUILT_IN.get(group, ())):
                    file = folder / name if (folder / name).is_dir() else folder / f"{name}.py"
                    raise UserError(f"{file}: sketchlab has the {group} {name}; give yours another name")
                task = ".task" * (folder / name / "task.py").is_file()
                found.setdefault(name, f"sketchlab.{package}.{name}{task}")
    return found


def load(group: str, name: str) -> ModuleType:
    """The module that a name of a group means. Raises UserError, one line, with file and line where it is at fault."""
    modules = implementations(group)
    if name not in modules:
        ending = f"{name}/task.py" if group == "pipeline" else f"{name}.py"
        rooms = [package.replace(".", "/") for package in GROUPS[group]]
        places = [f"sketchlab/{room}" for room in rooms if not room.startswith("components/")]
        if EXTRA or not places:
            places += [f"{EXTRA or '$SKETCHLAB_EXTRA'}/{room.removeprefix('components/')}" for room in rooms]
        where = " or ".join(f"{place}/{ending}" for place in places)
        raise UserError(f"{group}.name={name}: no file {where}; {hint(name, list(modules))}{unset(group)}")
    try:
        module = importlib.import_module(modules[name])
    except UserError:
        raise
    except Exception as error:
        mistake = own_mistake(error)
        if mistake is None:
            raise
        if isinstance(error, ImportError) and (error.name or "").startswith("sketchlab"):
            raise UserError(f"{mistake}; {documentation('sketchlab/README.md')} says where what is") from None
        raise mistake from None
    if missing := [need for need in NEEDS[group] if not hasattr(module, need)]:
        now = " (FITS named pipelines; GIVES names what the network gives)" if hasattr(module, "FITS") else ""
        raise UserError(
            f"{module.__file__}: has no {missing[0]}, so it is not a {group}: it needs {', '.join(NEEDS[group])}{now}"
        )
    return module


def make(group: str, name: str, options: dict[str, Any], *args: Any) -> Any:
    """What a part of the user's own builds from its checked options."""
    module = load(group, name)
    return module.build(module.Config(**options), *args)


def unset(group: str) -> str:
    """Where one's own would be looked for, while there is no such folder."""
    if EXTRA or group not in GROUPS:
        return ""
    room = GROUPS[group][0].removeprefix("components.").replace(".", "/")
    return f". A {group} of your own: set SKETCHLAB_EXTRA to a folder with {room}/ and conf/"
