"""What the same configuration gives has a number: it is in the id where it is not 1, and two are never mixed unsaid."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import yaml
from torch import nn

from sketchlab import config, report, semantics
from sketchlab.engine import rundir
from sketchlab.layers import norms
from sketchlab.layers.chain import moving_norms
from sketchlab.report.comparison import groups
from sketchlab.training import identity as ids
from tests.every import TIMM, composed, models
from tests.report.conftest import retrieval, sweep

FRESH = ("model.backbone.weights=none", "model.backbone.tune=scratch")


def test_numbers_of_a_part_follow_each_other_and_say_what_changed():
    for part in semantics.PARTS:
        found = [change.number for change in semantics.CHANGES if change.part == part]
        assert found == list(range(2, len(found) + 2)), part
    for change in semantics.CHANGES:
        assert change.part in semantics.PARTS and change.description
        for group, names in change.concerns.items():
            if "." not in group:  # a component, not a key of one
                assert names and all((config.conf_dir() / group / f"{name}.yaml").is_file() for name in names)


SMALL = ["model=small_cnn", "loop.batch_size=32"]  # 100 training samples: the first evaluation is after 4 updates


@pytest.mark.parametrize(
    "words, n_train, expected",
    [
        (["model=small_siamese"], 10_000, {"metrics": 2, "loop": 3, "store": 3}),  # ties of a search
        (["model=siamese_vgg16"], 100, {"metrics": 2, "loop": 3, "store": 3}),
        (["model=small_siamese"], 100, {"metrics": 2, "loop": 4, "store": 3}),
        (SMALL, 100, {"loop": 4, "store": 2}),  # batch norm after few updates
        (SMALL, 3168, {"loop": 4, "store": 2}),
        (SMALL, 3169, {"loop": 3, "store": 2}),
        ([*SMALL, "loop.eval_every=4"], 800, {"loop": 3, "store": 2}),
        ([*SMALL, "loop.eval_every=4", "loop.epochs=3"], 800, {"loop": 4, "store": 2}),
        ([*SMALL, "model.norm=none"], 100, {"loop": 3, "store": 2}),
        (["model=resnet18", "model.weights=imagenet", "model.tune=finetune"], 100, {"loop": 4, "store": 2}),
        (["model=resnet18", "model.weights=imagenet", "model.tune=freeze"], 100, {"loop": 3, "store": 2}),
        (["model=vgg16"], 100, {"loop": 3, "store": 2}),
        (SMALL, 31, {"loop": 5, "store": 2}),  # a batch is at most the split
        (SMALL, 32, {"loop": 4, "store": 2}),
        (["model=vgg16", "loop.batch_size=32"], 31, {"loop": 5, "store": 2}),
        (["model=small_dcgan", "loop.batch_size=32"], 31, {"loop": 5, "store": 2}),
        (["model=small_dcgan", "loop.batch_size=32"], 32, {"loop": 3, "store": 2}),
        (["model=pixels_logistic", "data.picture=photo"], 10, {}),
        (["model=pixels_logistic"], 10, {"store": 2}),  # built-in shapes are simplified anew, but not painted
        (["model=small_siamese", "data.picture=photo"], 10_000, {"metrics": 2, "loop": 3, "store": 3}),
    ],
)
def test_a_run_that_no_change_concerns_keeps_its_id(words, n_train, expected, monkeypatch):
    made = config.from_overrides([*words, "runtime.device=cpu"])
    assert semantics.numbers(made.plain(), n_train) == expected
    for model in filter(None, (made.model, made.model.backbone)):  # no weights are at hand
        monkeypatch.setattr(sys.modules[model.module], "fingerprint", lambda _: "none", raising=False)
    identity = ids.deciding(made, SimpleNamespace(fingerprint="x", splits={"train": range(n_train)}))
    assert identity.get("semantics", {}) == expected and ("semantics" in identity) == bool(expected)
    before = {key: value for key, value in identity.items() if key != "semantics"}
    assert (rundir.identity(identity) == rundir.identity(before)) == (not expected)


@pytest.mark.parametrize("model", models(()))
def test_few_updates_concern_just_the_networks_whose_batch_norms_move(model):
    made = composed(model)
    plain = made.plain()
    net = made.model.build(3) if plain["pipeline"]["name"] in ("classify", "retrieve") else nn.Identity()
    concerned = semantics.numbers(plain, 100).get("loop") == 4
    assert concerned == bool(moving_norms(net)) or (concerned and model in TIMM), "of timm's networks it is said of all"
    (change,) = [change for change in semantics.CHANGES if (change.part, change.number) == ("loop", 4)]
    assert change.where is not None and f"fewer than {norms.ENOUGH} steps" in change.description
    loop = {"epochs": 1, "eval_every": 1, "batch_size": 1}
    assert change.where(loop, norms.ENOUGH - 1) and not change.where(loop, norms.ENOUGH)


def test_a_run_is_held_against_todays_number_on_its_own_device():
    asked = {"config": {"pipeline": {"name": "baseline"}, "runtime": {"device": "auto"}}}
    for device, expected in (("cuda", 2), ("cpu", 1)):
        found = semantics.today({**asked, "identity": {"runtime": {"device": device}}})
        assert found == {"loop": expected, "metrics": 1, "store": 1}
    assert semantics.today({"config": {"pipeline": {"name": "retrieve"}}})["metrics"] == 2
    assert semantics.today({}) == {"loop": 3, "metrics": 1, "store": 1}, "a pipeline of one's own, too"


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


def test_a_card_beside_a_processor_is_no_mixture(tmp_path):
    """Where both give what they give today, they differ by their device alone."""
    sweep(tmp_path, {"small_cnn": 0.7}, seeds=range(4))
    for seed in range(4):
        folder, device = tmp_path / "small_cnn-shapes" / f"0.001_{seed}", ("cpu", "cuda")[seed % 2]
        document = yaml.safe_load((folder / "config.yaml").read_text())
        document["identity"] = {"runtime": {"device": device}}
        document["config"]["pipeline"] = {"name": "baseline"}  # of no other change
        document["identity"] |= {"semantics": {"loop": 2}} if device == "cuda" else {}
        (folder / "config.yaml").write_text(yaml.safe_dump(document))
    found, keys, notes = gathered(tmp_path)
    assert keys == ["runtime.device"] and len(found) == 2 and notes == []


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
