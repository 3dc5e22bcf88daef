"""Configs of the packaged YAML with a few values changed; nothing here may reach the network or a real cache."""

from __future__ import annotations

import importlib

import pytest
import torch
import yaml

from sketchlab.config import conf_dir, typed


def _values(choice: str) -> dict:
    values = yaml.safe_load((conf_dir() / "model" / f"{choice}.yaml").read_text())
    for base in values.pop("defaults", []):
        if isinstance(base, dict):
            ((group, name),) = base.items()
            if group.startswith("override "):
                continue
            values = _over({group: _values(f"{group}/{name}")}, values)
        elif base != "_self_":
            values = _over(_values(base), values)
    return values


def _over(below: dict, above: dict) -> dict:
    both = {key: _over(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(above[key], dict)}
    return {**below, **above, **both}


@pytest.fixture
def config():
    """config("vgg16", {"input.size_px": 32}, tune="scratch") → the filled Config."""

    def fill(choice: str, dotted: dict | None = None, **changes):
        values = {**_values(choice), **changes}
        for key, value in (dotted or {}).items():
            values["input"] = {**values["input"], key.removeprefix("input."): value}
        module = importlib.import_module(f"sketchlab.models.{values.pop('name')}")
        return typed(module.Config, values, "model")

    return fill


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """Neither a weights folder, nor a cache, nor a network."""

    def refuse(url, *_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.delenv("SKETCHLAB_WEIGHTS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
