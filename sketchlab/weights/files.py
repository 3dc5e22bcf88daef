"""Files of weights: where they lie, what they hold. Nothing here executes what a file brings along."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import zipfile
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights, list_models

from sketchlab.errors import UserError

TIMEOUT_S = 30  # without a byte from a server
_IMAGENET = "IMAGENET1K_V1"  # torchvision's first ImageNet weights of every network
# what programs save the network under, in a file that holds more: the plain weights, and averages over training
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_AVERAGED = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.pth$")  # torchvision's files carry the start of their sha256


def find(weights: str, arch: str) -> Path:
    """The file that `model.weights` names: imagenet, a .pth/.pt/.safetensors file (FILE#KEY: what it holds under this
    key), or a run folder's best checkpoint.

    imagenet is looked for in $SKETCHLAB_WEIGHTS, then in torchvision's cache, then downloaded from torchvision.
    Raises UserError when there is no such file, or when its sha256 is not the one in its name.
    """
    if weights == "imagenet":
        return _imagenet(arch)
    path = Path(parted(weights)[0]).expanduser()
    if path.is_dir():
        best = path / "checkpoints" / "best.pt"
        if not best.is_file():
            raise UserError(
                f"model.weights={weights}: no checkpoints/best.pt in it; give a run folder or a weights file"
            )
        return best
    if not path.is_file():
        raise UserError(f"model.weights={weights}: no such file; expected imagenet, none, a file or a run folder")
    return path


def parted(weights: str) -> tuple[str, str]:
    """file.pth#ema → (file.pth, ema), unless there is a file of the whole name."""
    name, _, part = weights.rpartition("#")
    return (name, part) if name and not Path(weights).expanduser().exists() else (weights, "")


def model_of_run(weights: str) -> dict[str, Any]:
    """The model section of the run's config.yaml when `weights` names a run folder, else nothing."""
    config = Path(weights).expanduser() / "config.yaml"
    if not config.is_file():
        return {}
    return (yaml.safe_load(config.read_text("utf-8")) or {}).get("config", {}).get("model", {})


def read(path: Path, part: str = "") -> dict[str, Tensor]:
    """Name → tensor, half-precision ones as float32: of a file of nothing else, or of what other programs save around
    it (state_dict, model …). part: the key to take instead, such as that of an average over training.

    Raises UserError for anything that is not plain tensors, and for a key that is not there.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            if zipfile.is_zipfile(path):  # torch.load does not compare its checksums
                with zipfile.ZipFile(path) as packed:
                    if bad := packed.testzip():
                        raise OSError(f"{bad} in it does not have the checksum it was written with")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {_first_line(error)}") from error
    except Exception as error:  # a damaged or hostile pickle may raise anything
        raise UserError(f"{path} is not a file of plain tensors and was not loaded: {_why(path, error)}") from error
    if isinstance(content, dict) and isinstance(content.get("parts"), dict):
        content = content["parts"].get("net")
    if part and not (isinstance(content, dict) and part in content):
        there = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: nothing under {part}; there is {there[:200]}")
    content = content[part] if part else _network(path, content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"{path} holds no state dict: expected name → tensor, a checkpoint with parts.net, or one of "
            f"{', '.join(_NESTED)} with name → tensor in it"
        )
    dense = {k for k, v in content.items() if v.layout == torch.strided and v.device.type == "cpu"}
    if odd := [key for key, v in content.items() if key not in dense or v.is_complex()]:
        raise UserError(f"{path}: {odd[0]} is sparse, complex or without content; expected plain tensors of numbers")
    return {str(k): v.float() if v.is_floating_point() else v for k, v in content.items()}


def _network(path: Path, content: Any) -> Any:
    """What lies under the name that programs give the network, with a line that says so."""
    while isinstance(content, dict) and not all(isinstance(v, Tensor) for v in content.values()):
        key = next((key for key in _NESTED if isinstance(content.get(key), dict)), None)
        if key is None:
            break
        averages = [other for other in _AVERAGED if isinstance(content.get(other), dict)]
        more = f"; its average over training is model.weights={path}#{averages[0]}" if averages else ""
        say(f"{path}: {key} is taken{more}")
        content = content[key]
    return content


def say(line: str) -> None:
    """A line about a file, on the first rank."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank()):
        print(line, flush=True)


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; computed once while the file stays the same."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _digest(path: Path, _mtime_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _imagenet(arch: str) -> Path:
    if arch not in list_models():
        raise UserError(f"model.weights=imagenet: {arch} has none; use model.weights=none, a file or a run folder")
    url = get_model_weights(arch)[_IMAGENET].url
    name = Path(url).name
    path = _in_folder(arch, name)
    if path is None:
        path = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not path.is_file():
            _download(url, path)
    expected = _HASH_IN_NAME.search(path.name)
    if expected and not digest(path).startswith(expected.group(1)):
        raise UserError(f"{path} is damaged: its sha256 begins with {digest(path)[:8]}; delete it and fetch {url}")
    return path


def _in_folder(arch: str, official: str) -> Path | None:
    if not (folder := os.environ.get("SKETCHLAB_WEIGHTS")):
        return None
    if not Path(folder).is_dir():
        raise UserError(f"SKETCHLAB_WEIGHTS={folder}: no such folder")
    if (Path(folder) / official).is_file():
        return Path(folder) / official
    longer = tuple(other for other in list_models() if other.startswith(arch) and other != arch)  # vgg16_bn for vgg16
    recipes = {Path(weights.url).name for weights in get_model_weights(arch)}  # trained or normalised otherwise
    for pattern in (f"{arch}*.pth", f"{arch}_features*.safetensors"):
        found = sorted(p for p in Path(folder).glob(pattern) if not p.name.startswith(longer) and p.name not in recipes)
        if len(found) > 1:
            names = ", ".join(p.name for p in found)
            raise UserError(
                f"SKETCHLAB_WEIGHTS={folder} has several {arch} files: {names}; name one by model.weights=PATH"
            )
        if found:
            return found[0]
    return None


def _download(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    expected = _HASH_IN_NAME.search(url)
    before = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(TIMEOUT_S)  # torch gives none: a server that stalls would be waited for without end
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected.group(1) if expected else None)
    except (HTTPException, OSError, RuntimeError) as error:
        raise UserError(
            f"model.weights=imagenet: {url} could not be fetched ({_first_line(error)}); put {path.name} into "
            f"{os.environ.get('SKETCHLAB_WEIGHTS') or path.parent}, or a folder that SKETCHLAB_WEIGHTS names"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _why(path: Path, error: Exception) -> str:
    """Why torch refused a file; its own words go on for paragraphs, and tell how to run the code in it."""
    if unknown := re.search(r"GLOBAL (\S+) was not", str(error)):
        return f"it holds an object of {unknown[1]}, and opening that could run code; save net.state_dict() instead"
    with path.open("rb") as file:
        begin = file.read(12)
    what = f"begins with {begin!r}" if begin else "is empty"
    return f"it is cut short, or no file of weights (it {what}); fetch it again from a source you trust"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
