"""A run folder opened again: its scores, its configuration, its network, its answers on new images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from torch import nn

from sketchlab import config, weights
from sketchlab.engine import checkpoint
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.layers.chain import Trained
from sketchlab.metrics import declared
from sketchlab.runs.classify.classifier import Classifier
from sketchlab.schema import upgraded
from sketchlab.storage.files import read_dict, read_lines

KINDS = ("images", "frames", "points")  # what networks take that answer about pictures or drawings
ORIENTED = 0.5  # share of a constant guess's error from which on a class is said to have an orientation
BATCH = 64  # images or drawings decoded and asked at once: what bounds the memory


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
            found = yaml.safe_load((self.path / "config.yaml").read_text("utf-8"))
        except (yaml.YAMLError, ValueError, OSError) as error:
            raise UserError(
                f"{self.path / 'config.yaml'} is no readable YAML: {' '.join(str(error).split())}"
            ) from None
        if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
            raise UserError(f"{self.path}: not a run folder (its config.yaml holds no run)")
        if missing := [key for key in ("model", "data", "pipeline", "runtime") if key not in found["config"]]:
            raise UserError(
                f"{self.path / 'config.yaml'}: holds no {missing[0]}; it was changed after the run wrote it"
            )
        return upgraded(found, self.path / "config.yaml")

    @property
    def config(self) -> dict[str, Any]:
        return self.document["config"]

    @cached_property
    def status(self) -> dict[str, Any]:
        return read_dict(self.path / "status.json", "state")

    @cached_property
    def scores(self) -> declared.Table:
        """What each of its scores is: direction, range, unit, interval."""
        return declared.read(self.path, self.config["pipeline"]["name"])

    @cached_property
    def classes(self) -> list[str]:
        return read_dict(self.path / "data.json", "classes")["classes"]

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
        from sketchlab.runs.reading import ink_of

        return ink_of(self.config["data"])

    def check_answers(self, answers: str, what: str) -> None:
        """UserError unless its pipeline answers with these (its ANSWERS); what: who asks."""
        pipeline, given = self.config["pipeline"].get("name", "unknown"), self.scores.answers or "nothing"
        if given != answers:
            raise UserError(
                f"{what}: {self.path} is a run of pipeline={pipeline}, which answers with {given}; expected {answers}"
            )

    def check_classifier(self, what: str, kinds: tuple[str, ...] = ("images",)) -> None:
        """UserError unless this is a finished run that answers with classes; what: who asks, about which kinds."""
        if self.scores.answers == "matches":
            raise UserError(
                f"{what}: {self.path} is a retrieval run, which answers with photos: "
                f"python -m sketchlab.retrieve {self.path} SKETCH…"
            )
        self.check_answers("classes", what)
        if self.input.kind not in kinds:
            wanted = " or ".join(kinds)
            raise UserError(
                f"{what}: the network of {self.path} takes {self.input.kind}; expected one that takes {wanted}"
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
        started = self.model.backbone or self.model  # what read a weights file
        if getattr(started.config, "tune", "") == "finetune" and not weights.starts_frozen(started.config):
            # all is in the checkpoint: nothing else need be there
            started = dataclasses.replace(started, config=dataclasses.replace(started.config, tune="scratch"))
        self._check_base(started)
        model = dataclasses.replace(self.model, backbone=started) if self.model.backbone else started
        net = model.build(len(self.classes))
        checkpoint.restore({"net": Trained(net)}, state["parts"], file)
        return net.eval()

    def _both(self, net: nn.Module, here: Any) -> nn.Module | None:
        """`net` with its second head, which says how drawings are turned; None where the run trained none."""
        file, state = self._checkpoint()
        if "pose" not in state["parts"]:
            return None
        from sketchlab.pipelines.classify import pose

        found = state["parts"]["pose"]
        head = pose.Pose(found["layer.weight"].shape[1], found["mean"].repeat(2, 1))
        checkpoint.restore({"pose": head}, state["parts"], file)
        return pose.Both(net, head.to(here.device)).eval()

    def pose_errors(self, split: str = "test") -> pd.DataFrame:
        """How well a second head (pipeline.pose_weight) knows each class's angle and size, beside a constant guess.

        Columns: class, n, angle_error_deg and size_error, each beside its `…_of_a_constant`; oriented: whether it errs
        by at most half of the constant's angle, which for a circle it cannot. Raises UserError.
        """
        file = self.path / f"pose_{split}.csv"
        if not file.is_file():
            raise UserError(f"{self.path}: no {file.name}: trained without pipeline.pose_weight, or not finished")
        found = pd.read_csv(file, dtype=str, keep_default_na=False)  # a class may be called NA
        found = found.assign(**{key: pd.to_numeric(found[key], errors="coerce") for key in found.columns[1:]})
        found["oriented"] = found["angle_error_deg"] <= ORIENTED * found["angle_error_deg_of_a_constant"]
        return found

    def _check_base(self, model: config.Component) -> None:
        then = (self.document.get("identity") or {}).get("model") or {}
        then = (then.get("backbone") or then).get("weights")
        if not hasattr(model.config, "tune") or not weights.starts_frozen(model.config) or then is None:
            return
        if (now := model.constant("fingerprint")(model.config)) != then:
            raise UserError(
                f"{self.path}: was trained on top of model.weights={model.config.weights} with fingerprint {then}, "
                f"found is {now}: the frozen layers would be others; point SKETCHLAB_WEIGHTS at the file used then"
            )

    def classifier(self, ink: str | None = None, raster: Any = None) -> Classifier:
        """What answers raw batches, on the device and in the precision that the run's settings give here.

        ink: as in predict. raster: how to draw strokes (data.raster.Config); null = as reading.drawer says.
        """
        from sketchlab.data.images.augment import Prepare
        from sketchlab.engine import runtime
        from sketchlab.runs import reading

        values = {**self.config["runtime"], "device": "auto", "ranks": 1, "workers": 0, "compile": False}
        here = runtime.Runtime(config.typed(runtime.Config, values, "runtime"))
        drawable = self.input.kind != "images" or self.input.channels in reading.CHANNELS
        strokes = reading.drawer(self.config["data"], self.input, ink or self.ink, raster) if drawable else None
        prepares = {"pixels": Prepare(self.input, None), "strokes": strokes}
        _, state = self._checkpoint()
        if "arrays" not in state:
            net = here.place(self.network())
            return Classifier(here, **prepares, net=net, estimator=None, both=self._both(net, here))
        from sketchlab.pipelines.baseline.task import from_arrays

        fitted = from_arrays(self.model.build(len(self.classes)), state["arrays"])
        return Classifier(here, **prepares, net=None, estimator=fitted)

    def reader(self, ink: str | None = None) -> Callable[[bytes], np.ndarray]:
        """Bytes of an image file → (C, S, S) uint8, as the run's own data was read. It raises decode.BadImage."""
        from sketchlab.runs.reading import picture_reader

        return picture_reader(self.config["data"], self.input, ink or self.ink)
