"""A run folder opened again: its scores, its configuration, its network, its answers on new images."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from sketchlab import config
from sketchlab.engine import checkpoint
from sketchlab.engine.files import read_json, read_lines
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.stages import Trained

CLASSIFIERS = ("classify", "baseline")  # pipelines whose runs answer with a class
BATCH = 64  # images decoded and asked at once: what bounds the memory


class OpenedRun:
    """What a finished run knows. Raises UserError when `path` is not a run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "config.yaml").is_file():
            what = "not a run folder (it has no config.yaml)" if path.exists() else "no such folder"
            raise UserError(f"{path}: {what}; expected outputs/<model>-<data>/<id>")

    @cached_property
    def document(self) -> dict[str, Any]:
        """config.yaml: command, choices, config, differs, identity."""
        try:
            found = yaml.safe_load((self.path / "config.yaml").read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self.path / 'config.yaml'} is no readable YAML: {' '.join(str(error).split())}"
            ) from None
        if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
            raise UserError(f"{self.path}: not a run folder (its config.yaml holds no run)")
        if found.get("schema", config.SCHEMA) != config.SCHEMA:
            raise UserError(
                f"{self.path}: schema {found['schema']}, expected {config.SCHEMA}: use the sketchlab that made it"
            )
        return found

    @property
    def config(self) -> dict[str, Any]:
        return self.document["config"]

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

    @property
    def input(self) -> Input:
        return self.model.config.input

    @property
    def ink(self) -> str:
        """dark or bright drawings, or none (photos): what the run was trained on."""
        return ink_of(self.config["data"])

    def check_classifier(self, what: str) -> None:
        """UserError unless this is a finished run that answers with classes of images; what: who asks."""
        pipeline = (self.config.get("pipeline") or {}).get("name", "unknown")
        if pipeline not in CLASSIFIERS:
            raise UserError(
                f"{what}: {self.path} is a run of pipeline={pipeline}; expected one of {', '.join(CLASSIFIERS)}"
            )
        if self.input.kind != "images":
            raise UserError(
                f"{what}: the network of {self.path} takes {self.input.kind}; expected one that takes images"
            )
        state = self.status.get("state", "unknown")
        if state == "running":
            raise UserError(f"{what}: {self.path} is still training (or was cut): wait, or start its command again")
        if state != "finished":
            raise UserError(f"{what}: {self.path} is {state}, not finished: start its command again first")

    def _checkpoint(self) -> tuple[Path, dict[str, Any]]:
        file = self.path / "checkpoints" / "best.pt"
        if not file.exists():
            raise UserError(
                f"{self.path}: no checkpoints/best.pt: the run is {self.status.get('state')}, train it first"
            )
        return file, checkpoint.load(file)

    def network(self) -> nn.Module:
        """The network with its best weights, on the CPU, in eval mode.

        A run that froze a part needs the weights file it started from; UserError when that is another one now.
        """
        file, state = self._checkpoint()
        if "net" not in state.get("parts", {}):
            raise UserError(f"{self.path}: this run's pipeline has no single network to predict with")
        model = self.model
        if (
            getattr(model.config, "tune", "") == "finetune"
        ):  # all of it is in the checkpoint: nothing else need be there
            model = dataclasses.replace(model, config=dataclasses.replace(model.config, tune="scratch"))
        self._check_base(model)
        net = model.build(len(self.classes))
        checkpoint.restore({"net": Trained(net)}, state["parts"], file)
        return net.eval()

    def _check_base(self, model: config.Component) -> None:
        then = ((self.document.get("identity") or {}).get("model") or {}).get("weights")
        if getattr(model.config, "tune", "") != "freeze" or then is None:
            return
        if (now := model.constant("fingerprint")(model.config)) != then:
            raise UserError(
                f"{self.path}: was trained on top of model.weights={model.config.weights} with fingerprint {then}, "
                f"found is {now}: the frozen layers would be others; point SKETCHLAB_WEIGHTS at the file used then"
            )

    def classifier(self) -> Classifier:
        """What answers raw images, on the device and in the precision that the run's settings give here."""
        from sketchlab.engine import runtime

        values = {**self.config["runtime"], "device": "auto", "ranks": 1, "workers": 0, "compile": False}
        here = runtime.Runtime(config.typed(runtime.Config, values, "runtime"))
        if self.config["pipeline"]["name"] == "classify":
            return Classifier(self.input, here, net=here.place(self.network()))
        from sketchlab.pipelines.baseline import from_arrays

        _, state = self._checkpoint()
        return Classifier(self.input, here, estimator=from_arrays(self.model.build(len(self.classes)), state["arrays"]))

    def predict(self, images: Any, ink: str | None = None) -> pd.DataFrame:
        """Class probabilities of new images.

        images: file names, or an array (B, H, W) or (B, H, W, 3) uint8. ink: dark, bright or none (a photo); null = as
        in the data the run was trained on. Returns image, prediction, p_<class>…; raises UserError for a file that
        cannot be read. Arrays go the way files go: same resizing, same bits as an image file of these pixels.
        """
        from sketchlab.data.decode import BadImage

        names, load = _sources(images)
        classifier, reader = self.classifier(), self.reader(ink)
        tables = []
        for start in range(0, len(names), BATCH):
            squares = []
            for name in names[start : start + BATCH]:
                try:
                    squares.append(reader(load(name)))
                except (OSError, BadImage) as error:
                    raise UserError(f"predict: cannot read {name}: {error}") from None
            tables.append(classifier.logits(torch.from_numpy(np.stack(squares))).double().softmax(1))
        probabilities = torch.cat(tables)
        answers = [self.classes[i] for i in probabilities.argmax(1).tolist()]
        columns = {f"p_{c}": probabilities[:, i].numpy() for i, c in enumerate(self.classes)}
        return pd.DataFrame({"image": names, "prediction": answers, **columns})

    def reader(self, ink: str | None = None) -> Callable[[bytes], np.ndarray]:
        """Bytes of an image file → (C, S, S) uint8, as the run's own data was read. It raises decode.BadImage."""
        from sketchlab.data import files
        from sketchlab.data.decode import decode

        ink = ink or self.ink
        stored = files.channels(self.input, ink)  # drawings are kept grey, photos as the model takes them
        resize = self.config["data"].get("resize", "pad")
        invert = ink != "none" and ink != self.input.ink

        def read(data: bytes) -> np.ndarray:
            pixels = decode(data, self.input.size_px, stored, resize)
            return 255 - pixels if invert else pixels

        return read


def ink_of(data: dict[str, Any]) -> str:
    """dark, bright or none, from the settings of a data set (of its training side, where it has two)."""
    ink = data.get("ink") or (data.get("train") or {}).get("ink")
    return ink or ("dark" if data.get("picture") == "sketch" else "none")


class Classifier:
    """Raw uint8 images → logits, by a network or by a fitted baseline."""

    def __init__(self, input: Input, runtime: Any, net: nn.Module | None = None, estimator: Any = None) -> None:
        from sketchlab.data.augment import Prepare

        self.runtime, self.net, self.estimator = runtime, net, estimator
        self.prepare = Prepare(input, None)

    def images(self, raw: Tensor) -> Tensor:
        """(B, C, S, S) uint8 → what the network takes, on its device."""
        return self.runtime.layout(self.prepare(self.runtime.to_device(raw)))

    @torch.no_grad()
    def logits(self, raw: Tensor) -> Tensor:
        """(B, C, S, S) uint8 → (B, n_classes) on the CPU; a baseline's log-probabilities."""
        if self.net is None:
            said = self.estimator.predict_log_proba(self.prepare(raw.cpu()).flatten(1).numpy())
            return torch.from_numpy(np.maximum(said, np.log(np.finfo(np.float64).tiny)))  # finite, as it was scored
        with self.runtime.autocast():
            return self.net(self.images(raw)).float().cpu()


def _sources(images: Any) -> tuple[list[str], Callable[[str], bytes]]:
    """Names, and what gives the bytes of a file for each."""
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            raise UserError(f"predict: got {images.dtype} {images.shape}, expected uint8 (B, H, W) or (B, H, W, 3)")
        names = [str(i) for i in range(len(images))]
        load: Callable[[str], bytes] = lambda name: _as_file(images[int(name)])  # noqa: E731
    else:
        given: Iterable[Any] = [images] if isinstance(images, str | Path) else images
        names, load = [str(name) for name in given], lambda name: Path(name).read_bytes()
    if not names:
        raise UserError("predict: no images given")
    return names, load


def _as_file(pixels: np.ndarray) -> bytes:
    """(H, W[, 3]) uint8 → the bytes of an uncompressed image file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PPM")
    return buffer.getvalue()


def squares(
    names: list[str], reader: Callable[[bytes], np.ndarray], pool: ThreadPoolExecutor
) -> list[np.ndarray | str]:
    """Per file its (C, S, S) uint8, or why it cannot be read: one bad file stops no other."""
    from sketchlab.data.decode import BadImage

    def one(name: str) -> np.ndarray | str:
        try:
            path = Path(name)
            if path.exists() and not path.is_file():
                return "not a file"  # a pipe or a device would never end
            return reader(path.read_bytes())
        except BadImage as error:
            return str(error)
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error)
        except MemoryError:
            return "not enough memory"

    return list(pool.map(one, names))
