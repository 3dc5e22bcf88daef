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
    """Ants and bees: the train photos of the tutorial, 31 sketches of each to validate on."""
    run = config.from_overrides(["experiment=chen2019/mixed"])
    data = run.data.config
    assert (run.data.name, data.classes, run.loop.epochs) == ("mixed", ["ant", "bee"], 25)
    assert (data.train.splits.rule, data.train.splits.val) == ("official", 0)
    assert (data.val.splits.rule, data.val.splits.train, data.val.splits.val) == ("count", 43, 31)


@pytest.mark.realdata
def test_mixed_trains_on_244_photos_and_validates_on_62_sketches():
    """The trial data has no sketches of bees: those of butterflies stand for them."""
    words = ["experiment=chen2019/mixed", "data.val.aliases={bee:butterfly}"]
    run = config.from_overrides(words)
    data = run.data.build(run.model.config.input)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 123 + 121, "val": 2 * 31}
