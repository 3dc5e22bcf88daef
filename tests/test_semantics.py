"""What the same configuration gives has a number: it is in the id where it is not 1, and two are never mixed unsaid."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml

from sketchlab import config, report, semantics
from sketchlab.report.comparison import groups
from sketchlab.training import identity as ids
from tests.report.conftest import retrieval, sweep

FRESH = ("model.backbone.weights=none", "model.backbone.tune=scratch")


def test_numbers_of_a_part_follow_each_other_and_say_what_changed():
    for part in semantics.PARTS:
        found = [change.number for change in semantics.CHANGES if change.part == part]
        assert found == list(range(2, len(found) + 2)), part
    for change in semantics.CHANGES:
        assert change.part in semantics.PARTS and change.said
        for group, names in change.concerns.items():
            files = [config.conf_dir() / group / f"{name}.yaml" for name in names]
            assert names and ("." in group or all(file.is_file() for file in files))


@pytest.mark.parametrize(
    "words, expected",
    [
        (["model=small_siamese"], {"loop": 3, "metrics": 2}),  # ties of epochs, and of a search
        (
            ["model=siamese_vgg16", *FRESH],
            {"loop": 3, "metrics": 2},
        ),
        ([], {"loop": 3}),
        (["model=small_dcgan"], {"loop": 3}),
        (["model=pixels_logistic"], {}),
    ],
)
def test_a_run_that_no_change_concerns_keeps_its_id(words, expected):
    made = config.from_overrides([*words, "runtime.device=cpu"])
    assert semantics.numbers(made.plain()) == expected
    identity = ids.deciding(made, SimpleNamespace(fingerprint="x"))
    assert identity.get("semantics", {}) == expected and ("semantics" in identity) == bool(expected)
    before = {key: value for key, value in identity.items() if key != "semantics"}
    assert (ids.folder_of(made, identity) == ids.folder_of(made, before)) == (not expected)


def of_number(folder, number):
    document = yaml.safe_load((folder / "config.yaml").read_text())
    document["identity"] = {"semantics": {"metrics": number}} if number > 1 else {}
    (folder / "config.yaml").write_text(yaml.safe_dump(document))


def gathered(root, by=()):
    return groups.gather(groups.read_all(groups.find([root])[0])[0], by)


def test_two_numbers_are_two_groups_or_are_printed(tmp_path):
    sweep(tmp_path, {"small_cnn": 0.7}, seeds=range(4))
    assert len(gathered(tmp_path)[0]) == 1 and not gathered(tmp_path)[2]
    for seed in (1, 3):
        of_number(tmp_path / "small_cnn-shapes" / f"0.001_{seed}", 2)
    found, keys, notes = gathered(tmp_path)
    assert keys == ["semantics.metrics"]
    assert {group.name: sorted(key[0] for key in group.runs) for group in found} == {
        "metrics=1": ["0", "2"],
        "metrics=2": ["1", "3"],
    }
    assert len(notes) == 1 and "metrics 1 (as before numbers were kept): metrics=1; metrics 2 (scores of a" in notes[0]
    pooled, _, notes = gathered(tmp_path, ["model"])
    assert len(pooled) == 1 and any("pools runs that differ in semantics.metrics" in note for note in notes)
    assert any("results of two kinds" in note for note in notes)


def test_two_numbers_are_printed_where_another_setting_names_the_groups(tmp_path):
    sweep(tmp_path, {"small_cnn": 0.7, "vgg16": 0.6}, seeds=range(2))
    for seed in range(2):
        of_number(tmp_path / "vgg16-shapes" / f"0.001_{seed}", 2)
    found, keys, notes = gathered(tmp_path)
    assert keys == ["model"] and len(found) == 2 and "vgg16" in notes[0] and "metrics 2" in notes[0]


def test_the_page_of_a_run_says_its_number(tmp_path):
    folder = retrieval(tmp_path / "small_siamese-shapes" / "a")
    document = yaml.safe_load((folder / "config.yaml").read_text())
    document["config"]["pipeline"] = {"name": "retrieve"}
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    text = report.write(folder).read_text()
    assert "Semantics of metrics: 1, as before numbers were kept. Today&#x27;s number is 2: scores of a search" in text
    of_number(folder, 2)
    text = report.write(folder).read_text()
    assert "Semantics of metrics: 2, scores of a search are expected over ties" in text
    assert "Semantics of loop: 1, as before" in text and text.count("Today&#x27;s number") == 1
