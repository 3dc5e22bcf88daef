"""The text side of CLIP (Radford et al. 2021): names of classes in prompts → vectors in one space with images.

By open_clip, the optional extra: pip install sketchlab[clip]. A class is the mean over its prompts, each of length 1
(the paper, section 3.1.4).
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchlab.errors import UserError
from sketchlab.weights import files


class ImageSide(Protocol):
    """The fields of a Config whose network is the image side of a CLIP."""

    @property
    def arch(self) -> str: ...
    @property
    def weights(self) -> str: ...


@dataclass(frozen=True)
class TextSide:
    classes: Tensor  # (K, E), of length 1
    projection: Tensor  # (D, E): brings what the image side gives into the space
    scale: float  # cosines are multiplied by it to be logits

    def images(self, features: Tensor) -> Tensor:
        """(n, D) → (n, E), of length 1."""
        return F.normalize(features @ self.projection.to(features.device))


def check(prompts: list[str]) -> None:
    """Raises UserError for a prompt without a place for the name."""
    for prompt in prompts:
        if prompt.count("{}") != 1:
            raise UserError(f"prompts: {prompt!r}: expected one {{}}, where the name of the class goes")


@torch.no_grad()
def text_side(text: str, image: ImageSide, names: list[str], prompts: list[str]) -> TextSide:
    """text: open_clip's name of the whole model; image: of its image side. With image.weights=none it is random.

    Raises UserError without open_clip, for a network that has no text side, and for weights that cannot be had.
    """
    if not text:
        raise UserError("prompts need a network with a text side: model@model.backbone=clip_b32, or clip_b16")
    try:
        open_clip: Any = importlib.import_module("open_clip")
    except ImportError:
        raise UserError("prompts need open_clip, which is not installed: pip install sketchlab[clip]") from None
    if text not in open_clip.list_models():
        raise UserError(f"model.text={text}: open_clip {open_clip.__version__} has no such model")
    model = open_clip.create_model(text, load_weights=False).eval()
    if image.weights != "none":
        path = _file(open_clip, text, image)
        try:
            model.load_state_dict(files.read(path))
        except RuntimeError as error:
            last = str(error).splitlines()[-1].strip()
            raise UserError(f"{path}: no weights of the whole {text}: {last[:160]}") from error
    tokens = open_clip.get_tokenizer(text)
    plain = [name.replace("_", " ") for name in names]
    each = [F.normalize(model.encode_text(tokens([prompt.format(name) for name in plain]))) for prompt in prompts]
    classes = F.normalize(torch.stack(each).mean(0))
    return TextSide(classes, model.visual.proj.detach().clone(), model.logit_scale.exp().item())


def _file(open_clip: Any, text: str, image: ImageSide) -> Path:
    """model.weights where it is a file; else $SKETCHLAB_WEIGHTS/<arch>.open_clip.safetensors, else downloaded."""
    if image.weights != "timm":
        return files.find(image.weights, image.arch)
    name, folder = f"{image.arch}.open_clip.safetensors", os.environ.get("SKETCHLAB_WEIGHTS")
    if folder and (Path(folder) / name).is_file():
        return Path(folder) / name
    known = open_clip.get_pretrained_cfg(text, image.arch.partition(".")[2])
    try:
        return Path(open_clip.download_pretrained(known))
    except Exception as error:  # each library of downloads fails in its own way
        where = f"https://huggingface.co/{known['hf_hub'].strip('/')}" if known.get("hf_hub") else known.get("url")
        why = (str(error).splitlines() or [""])[0][:160]
        raise UserError(
            f"the text side of {image.arch} cannot be fetched: {why}; no {name} in "
            f"SKETCHLAB_WEIGHTS{f'={folder}' if folder else ''}; get it from {where} (open_clip_model.safetensors) and "
            "give it this name"
        ) from error
