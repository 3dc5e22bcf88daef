"""A run folder opened again: its scores, its configuration, its network, its answers on new images."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor, nn

from sketchlab import config
from sketchlab.engine import checkpoint
from sketchlab.engine.files import read_json, read_lines
from sketchlab.errors import UserError
from sketchlab.stages import Trained


class OpenedRun:
    """What a finished run knows. Raises UserError when `path` is not a run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "config.yaml").is_file():
            raise UserError(f"{path}: not a run folder (it has no config.yaml); expected outputs/<model>-<data>/<id>")

    @cached_property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load((self.path / "config.yaml").read_text())["config"]

    @cached_property
    def status(self) -> dict[str, Any]:
        return read_json(self.path / "status.json")

    @cached_property
    def classes(self) -> list[str]:
        return read_json(self.path / "data.json")["classes"]

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per evaluation: step, epoch, and every score under its name."""
        return pd.DataFrame(read_lines(self.path / "metrics.jsonl"))

    @cached_property
    def model(self) -> config.Component:
        return config.component("model", self.config["model"])

    def network(self) -> nn.Module:
        """The network with its best weights, on the CPU, in eval mode."""
        file = self.path / "checkpoints" / "best.pt"
        if not file.exists():
            raise UserError(f"{self.path}: no checkpoints/best.pt: the run is {self.status.get('state')}, train it first")
        state = checkpoint.load(file)
        if "net" not in state.get("parts", {}):
            raise UserError(f"{self.path}: this run's pipeline has no single network to predict with")
        net = self.model.build(len(self.classes))
        checkpoint.restore({"net": Trained(net)}, state["parts"], file)
        return net.eval()

    def predict(self, images: Any, ink: str | None = None) -> pd.DataFrame:
        """Class probabilities of new images.

        images: file names, or an array (B, H, W) or (B, H, W, 3) uint8. ink: dark, bright or none (a photo); null = as
        in the data the run was trained on. Returns image, prediction, p_<class>…; raises UserError for a file that
        cannot be read.
        """
        from sketchlab.data.augment import Prepare

        input, data = self.model.config.input, self.config["data"]
        ink = ink or data.get("ink") or ("none" if data.get("picture") == "photo" else "dark")
        invert = ink != "none" and ink != input.ink
        names, squares = _squares(images, input, data.get("resize", "pad"))
        prepare, net, out = Prepare(input, None), self.network(), []
        with torch.no_grad():
            for pixels in squares.split(64):  # (B, C, S, S)
                out.append(net(prepare(255 - pixels if invert else pixels)).double().softmax(1))
        probabilities = torch.cat(out)
        answers = [self.classes[i] for i in probabilities.argmax(1).tolist()]
        table = pd.DataFrame({"image": names, "prediction": answers})
        return table.assign(**{f"p_{c}": probabilities[:, i].numpy() for i, c in enumerate(self.classes)})


def _squares(images: Any, input: Any, resize: str) -> tuple[list[str], Tensor]:
    """Names, and (B, C, S, S) uint8: files are decoded as the data layer does, arrays are resized by Prepare."""
    from sketchlab.data.decode import BadImage, decode

    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise UserError(f"predict: got {images.dtype} {images.shape}, expected uint8 (B, H, W) or (B, H, W, 3)")
        pixels = torch.from_numpy(np.ascontiguousarray(images))
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        return [str(i) for i in range(len(pixels))], pixels
    names = [str(name) for name in ([images] if isinstance(images, str | Path) else images)]
    squares = []
    for name in names:
        try:
            squares.append(decode(Path(name).read_bytes(), input.size_px, min(input.channels, 3), resize))
        except (OSError, BadImage) as error:
            raise UserError(f"predict: cannot read {name}: {error}") from None
    if not squares:
        raise UserError("predict: no images given")
    return names, torch.from_numpy(np.stack(squares))
