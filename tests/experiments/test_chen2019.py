"""The experiments of chen2019: their rows compose, their lists exist, their fusion tells classes apart."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model_weights

from sketchlab import config
from sketchlab.errors import UserError

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts: they find one another as python FILE does
import chen2019_stem  # noqa: E402
import chen2019_transfer  # noqa: E402
import sketchanet_fusion  # noqa: E402
import stock_imagenet  # noqa: E402

ARMS = chen2019_transfer.ARMS


@pytest.mark.parametrize("arm", ARMS[::5], ids=lambda arm: arm.name)
def test_a_row_is_what_its_name_says(arm):
    run = config.from_overrides(arm.words)
    assert run.choices["model"] == ("vgg16_sketchanet" if "3×3 pools" in arm.name else "vgg16")
    assert run.model.config.tune == chen2019_transfer.TUNES[arm.name.rpartition(", ")[2]]
    assert (run.loop.epochs, run.loop.batch_size, run.loop.optimizer, run.loop.lr) == (25, 8, "sgd", 0.001)
    splits = run.data.config.splits
    if run.choices["data"] not in ("hymenoptera", "mixed"):
        asked = (64, 10) if "64" in arm.name else (43, 31)
        assert (splits.rule, splits.train, splits.val) == ("count", *asked)


def test_as_published_is_ant_and_bee_with_the_head_of_vgg16():
    for arm in (arm for arm in ARMS if arm.needs and arm.name.endswith("sketches, frozen")):
        published = config.from_overrides(arm.words)
        assert published.data.config.classes == ["ant", "bee"] and published.model.config.head == "vgg"
        assert published.choices["data"] == ("mixed" if "→" in arm.name else "tuberlin")


def test_frozen_rows_of_the_modified_stem_are_its_pools_alone():
    assert not [arm.name for arm in ARMS if "15×15" in arm.name and arm.name.endswith("frozen")]
    assert len(chen2019_transfer._pairs()) == 22


def test_the_published_58_stands_beside_no_row():
    assert [p.value for p in chen2019_stem.PUBLISHED] == [0.81] and not chen2019_transfer.EXPERIMENT.published


def test_counterparts_are_names_of_imagenet():
    names = get_model_weights("mobilenet_v2")["IMAGENET1K_V1"].meta["categories"]
    assert names.index(stock_imagenet.PIN) == 772 and "paper clip" not in names
    assert set(stock_imagenet.NEAR) <= set(names)
    for label in stock_imagenet.RIGHT:
        found = stock_imagenet._numbers(label, names)
        assert found and all(0 <= i < 1000 for i in found)
    dogs = [names[i] for i in sorted(stock_imagenet._numbers("dog", names))]
    snakes = [names[i] for i in sorted(stock_imagenet._numbers("snake", names))]
    assert (dogs[0], dogs[-1], snakes[0], snakes[-1]) == (
        "Chihuahua",
        "Mexican hairless",
        "thunder snake",
        "sidewinder",
    )


def test_rows_of_answers():
    names = get_model_weights("mobilenet_v2")["IMAGENET1K_V1"].meta["categories"]
    logits = torch.zeros(3, 1000)
    logits[0, names.index("ant")] = logits[1, names.index("safety pin")] = 50.0
    rows = stock_imagenet._rows(logits, ["ant", "ant", "comb"], names)
    assert [row["answer"] for row in rows[:2]] == ["ant", "safety pin"]
    assert [row["right"] for row in rows[:2]] == [1.0, 0.0] and np.isnan(rows[2]["right"])
    assert rows[0]["entropy"] == pytest.approx(0, abs=1e-9) and rows[2]["entropy"] == pytest.approx(np.log2(1000))
    assert rows[1]["pin"] == pytest.approx(1)


def test_fusion_of_features_that_are_weak_alone():
    torch.manual_seed(0)
    labels = torch.arange(6).repeat(20)
    one, two = (labels // 2).float(), (labels % 2).float()  # each tells a part of the class
    train, test = (
        [torch.stack([x, torch.zeros_like(x)], 1) + 0.05 * torch.randn(120, 2) for x in (one, two)] for _ in range(2)
    )
    alone = [sketchanet_fusion.bayes(a, labels, b, 6, 2, 5) for a, b in zip(train, test, strict=True)]
    both = sketchanet_fusion.bayes(torch.cat(train, 1), labels, torch.cat(test, 1), 6, 4, 5)
    right = [(found == labels.numpy()).mean() for found in (*alone, both)]
    assert right[2] == 1.0 and max(right[:2]) < 0.75


def test_fusion_refuses_one_run():
    with pytest.raises(UserError, match="expected two or more"):
        sketchanet_fusion.check([])
