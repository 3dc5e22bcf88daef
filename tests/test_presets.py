"""Presets stand in a folder per study; each composes, and an old name answers with the new one."""

from __future__ import annotations

import pytest

from sketchlab import config, schema
from sketchlab.errors import UserError

FOLDER = config.conf_dir() / "experiment"
PRESETS = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_it_composes_and_differs_from_itself_in_nothing(preset):
    run = config.from_overrides([f"experiment={preset}"])
    assert run.choices["experiment"] == preset and run.differs == {}
    assert (FOLDER / f"{preset}.yaml").read_text().startswith("# @package _global_\n#")


@pytest.mark.parametrize("old", schema.MOVED)
def test_an_old_name_is_one_line_with_the_new_one(old):
    new = schema.MOVED[old]
    with pytest.raises(UserError, match=f"{old}: renamed; write {new}"):
        config.from_overrides([old])
    config.from_overrides([new])


def test_every_preset_is_of_a_study():
    assert {preset.partition("/")[0] for preset in PRESETS} == {
        "chen2019", "das_debnath", "photo_drawing", "mamin", "frankenstein"}  # fmt: skip


def test_mixed_is_as_published():
    """Ants and bees: photos to train on, 31 sketches of each to validate on."""
    run = config.from_overrides(["experiment=chen2019/mixed"])
    data = run.data.config
    assert (run.data.name, data.classes, data.splits.val, run.loop.epochs) == ("mixed", ["ant", "bee"], 31, 25)
