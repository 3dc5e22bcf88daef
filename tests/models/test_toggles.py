"""No key of a network that may be pretrained is without effect in silence: each is changed alone under each model.tune,
and where neither outputs nor what trains change, the file of the model says so (`notes`)."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from sketchlab.weights import files as weight_files

TUNES = ("freeze", "finetune", "scratch")
SIZES_PX = {"sketchanet": 96, "alexnet": 64}  # others: 32
SMALL = {"vgg16": {"kernel_px": 7}, "vgg16_sketchanet": {}, "sketchanet": {"crop_px": 81, "width": 0.1, "scale_px": 96}}
OTHERS = {
    "vgg16": {"kernel_px": 9, "stem": "fresh", "pool_px": 3, "head": "vgg", "dropout": 0.0, "fresh": ["features.0"]},
    "vgg16_sketchanet": {"kernel_px": 7, "stem": "fresh", "pool_px": 2, "fresh": ["features.2"]},
    "resnet18": {"head": "pool", "dropout": 0.5, "fresh": ["layer4"]},
    "alexnet": {"head": "pool", "dropout": 0.0, "fresh": ["classifier.4"]},
    "sketchanet": {"scale_px": 48, "crop_px": 90, "test": "centre", "dropout": 0.0, "width": 0.2, "fresh": ["conv1"]},
}
TRAIN_FROM = {"vgg16": "conv5", "vgg16_sketchanet": "conv5", "resnet18": "layer4", "alexnet": "features.10"}
SLOW = ("vgg16", "vgg16_sketchanet", "alexnet")  # a hundred million weights
CASES = [
    pytest.param(choice, tune, key, marks=[pytest.mark.slow] * (choice in SLOW))
    for choice, others in OTHERS.items()
    for tune in TUNES
    for key in (*others, "weights", *(["train_from"] if tune == "finetune" and choice in TRAIN_FROM else []))
    if not (key == "width" and tune != "scratch")  # another network: pretrained weights do not fit, which is an error
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of random weights for each network: `imagenet`, and two of a user's own."""
    folder = tmp_path_factory.mktemp("weights")

    def find(choice: str, build, which: str) -> str:
        path = folder / f"{choice}-{which}.pth"
        if not path.exists():
            torch.manual_seed(11 + ["imagenet", "mine", "another"].index(which))
            torch.save(build().state_dict(), path)
        return str(path)

    return find


@pytest.fixture
def built(config, files, monkeypatch):
    """(choice, tune, changes) → (what its outputs are in training and evaluation, what trains, its notes)."""

    def build(choice: str, tune: str, changes: dict):
        size = {"input.size_px": SIZES_PX.get(choice, 32)}
        start = {"weights": "imagenet" if choice != "sketchanet" else "mine", **SMALL.get(choice, {})}
        wanted = config(choice, size, **(start | {"tune": tune} | changes))
        module = importlib.import_module(type(wanted).__module__)

        def whole():
            stock = {"kernel_px": 3, "head": "vgg"} if module.__name__.endswith("vgg16") else {}
            return module.build(config(choice, size, **(start | {"weights": "none", "tune": "scratch"} | stock)), 7)

        def find(weights: str, arch: str) -> Path:
            return Path(files(choice, whole, weights))

        monkeypatch.setattr(weight_files, "find", find)
        torch.manual_seed(0)
        net = module.build(wanted, 5)
        torch.manual_seed(5)  # the fresh last layer is the same, whatever was drawn before it
        [layer for layer in net.modules() if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))][
            -1
        ].reset_parameters()
        images = torch.rand(4, wanted.input.channels, wanted.input.size_px, wanted.input.size_px)
        outputs = []
        for mode in (True, False):
            net.train(mode)
            torch.manual_seed(3)
            with torch.no_grad():
                outputs.append(net(images))
        trained = {name: p.shape for name, p in net.named_parameters() if p.requires_grad}
        return outputs, trained, module.notes(wanted)

    return build


@pytest.mark.parametrize(("choice", "tune", "key"), CASES)
def test_a_key_without_effect_is_a_warning(built, choice, tune, key):
    other = {**OTHERS[choice], "weights": "another", "train_from": TRAIN_FROM.get(choice)}[key]
    before, trained, _ = built(choice, tune, {})
    after, trained_after, notes = built(choice, tune, {key: other})
    same = (
        all(torch.allclose(x, y, rtol=1e-4, atol=1e-7) for x, y in zip(before, after, strict=True))
        and trained == trained_after
    )
    warned = any(f"model.{key}=" in note for note in notes)
    assert same == warned, notes


def test_an_inflated_and_frozen_filter_leaves_the_pools_alone(config):
    from sketchlab.models import vgg16

    frozen = vgg16.notes(config("vgg16_sketchanet", tune="freeze"))
    assert len(frozen) == 1 and "model.kernel_px=15 changes nothing" in frozen[0] and "3×3 pools" in frozen[0]
    assert vgg16.notes(config("vgg16_sketchanet")) == []
    assert vgg16.notes(config("vgg16_sketchanet", tune="freeze", stem="fresh")) == []
    assert vgg16.notes(config("vgg16_sketchanet", tune="freeze", fresh=["features.0"])) == []
    assert "nothing differs" in vgg16.notes(config("vgg16", kernel_px=15))[0]
    assert len(vgg16.notes(config("vgg16_sketchanet", train_from="conv4"))) == 1
