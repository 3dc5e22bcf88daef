"""Values stand once in conf/: no long block of keys twice, ImageNet's numbers in one file."""

from __future__ import annotations

import re
from collections import defaultdict

import yaml

from sketchlab import config, inputs

MOST = 6  # lines that two places may have in common


def test_no_block_of_lines_stands_twice():
    seen: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in sorted(config.conf_dir().rglob("*.yaml")):
        lines = [re.sub(r"\s*#.*", "", line).rstrip() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line.strip()]
        for i in range(len(lines) - MOST):
            seen[tuple(lines[i : i + MOST + 1])].append(f"{path.relative_to(config.conf_dir())}:{i + 1}")
    twice = {places[0]: places[1:] for places in seen.values() if len(places) > 1}
    assert not twice, twice


def test_the_numbers_of_imagenet_are_those_of_the_code_and_stand_in_one_file():
    first = str(inputs.IMAGENET_MEAN[0])
    files = [path.name for path in config.conf_dir().rglob("*.yaml") if first in path.read_text()]
    assert files == ["imagenet.yaml"]
    values = yaml.safe_load((config.conf_dir() / "model" / "input" / "imagenet.yaml").read_text())
    assert (values["mean"], values["std"]) == (inputs.IMAGENET_MEAN, inputs.IMAGENET_STD)
    package = config.Path(inputs.__file__).parent
    assert [path.name for path in package.rglob("*.py") if first in path.read_text()] == ["inputs.py"]


def test_what_models_share_is_no_choice_of_a_run():
    assert "model/input" not in config.from_overrides(["model=vgg16"]).choices
    assert not [key for key in config.from_overrides(["model=siamese_vgg16"]).choices if key.endswith("input")]
