"""model.train_from: what was loaded and stands before the block stays: in training, on disk, in an opened run."""

from __future__ import annotations

import pytest
import torch

import sketchlab
from sketchlab import config as configs
from sketchlab.errors import UserError
from sketchlab.layers.chain import frozen_prefix
from sketchlab.models import torchvision_nets, vgg16
from sketchlab.training import session
from sketchlab.training.prepare import prepare
from sketchlab.weights import files as weight_files
from tests import every

FIRST = {  # block → the first parameter that trains
    "alexnet": ("features.8", "features.8.weight"),
    "googlenet": ("inception5a", "inception5a.branch1.conv.weight"),
    "resnet18": ("layer4", "layer4.0.conv1.weight"),
    "mobilenet_v2": ("features.17", "features.17.conv.0.0.weight"),
    "inception_v3": ("Mixed_7a", "Mixed_7a.branch3x3_1.conv.weight"),
}


@pytest.fixture
def any_file(monkeypatch, tmp_path):
    """Every network finds a file of its own names and shapes."""
    (tmp_path / "w.pth").write_bytes(b"")
    states = {}
    monkeypatch.setattr(weight_files, "find", lambda _, arch: tmp_path / f"{arch}.pth")
    monkeypatch.setattr(weight_files, "read", lambda path, *_: states[path.stem])
    return states


@pytest.mark.parametrize("block", ["conv5", *every.slow("conv2", "features.24", "classifier")])
def test_vgg16_by_the_papers_names(config, any_file, block):
    sizes = {"input.size_px": 32}
    any_file["vgg16"] = vgg16.build(config("vgg16", sizes, weights="none", tune="scratch", head="vgg"), 9).state_dict()
    net = vgg16.build(config("vgg16", sizes, tune="finetune", train_from=block), 3)
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    first = vgg16.BLOCKS.get(block, block)
    names = [name for name, _ in net.named_parameters()]
    assert trained == names[next(i for i, name in enumerate(names) if name.startswith(first + ".")) :]
    prefix, rest = frozen_prefix(net)
    image = torch.rand(2, 3, 32, 32)
    assert len(prefix) > 0 and torch.equal(rest.eval()(prefix(image)), net.eval()(image))


@pytest.mark.parametrize("arch", sorted(FIRST))
def test_the_stock_networks(config, any_file, arch):
    block, first = FIRST[arch]
    sizes = {"input.size_px": 80}
    start = {"weights": "none", "tune": "scratch"}
    any_file[arch] = torchvision_nets.build(config(arch, sizes, **start), 1000).state_dict()
    net = torchvision_nets.build(config(arch, sizes, tune="finetune", train_from=block), 3)
    names = [name for name, _ in net.named_parameters()]
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    assert trained[0] == first and trained == names[names.index(first) :]


def test_a_fresh_stem_trains_although_it_stands_before(config, any_file):
    sizes = {"input.size_px": 32}
    any_file["vgg16"] = vgg16.build(config("vgg16", sizes, weights="none", tune="scratch", head="vgg"), 9).state_dict()
    net = vgg16.build(config("vgg16", sizes, tune="finetune", train_from="classifier", stem="fresh"), 3)
    assert [n for n, p in net.named_parameters() if p.requires_grad] == [
        "features.0.weight", "features.0.bias", "classifier.1.weight", "classifier.1.bias"]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "values", "words"),
    [
        ("vgg16", {"train_from": "conv6", "tune": "finetune"}, "it has conv1, conv2, conv3, conv4, conv5, classifier"),
        (
            "resnet18",
            {"train_from": "conv5", "tune": "finetune"},
            "it has conv1, bn1, layer1, layer2, layer3, layer4, fc",
        ),
        ("vgg16", {"train_from": "conv5", "tune": "freeze"}, "needs model.tune=finetune, but model.tune=freeze"),
        ("resnet18", {"train_from": "layer4", "tune": "scratch"}, "needs model.tune=finetune, but model.tune=scratch"),
    ],
)
def test_what_cannot_be(config, any_file, choice, values, words):
    sizes, module = {"input.size_px": 32}, {"vgg16": vgg16}.get(choice, torchvision_nets)
    stock = {"head": "vgg"} if choice == "vgg16" else {}
    any_file[choice] = module.build(config(choice, sizes, weights="none", tune="scratch", **stock), 9).state_dict()
    with pytest.raises(UserError, match=f"model.train_from={values['train_from']}.*{words}"):
        module.build(config(choice, sizes, **values), 3)


@pytest.mark.slow
def test_a_run_keeps_what_it_trained_and_is_opened_whole(tmp_path):
    """The checkpoint holds conv5 and the head; everything else is the network that it started from."""

    def trained(*words: str):
        chosen = configs.from_overrides(every.small("vgg16", *words, f"run.root={tmp_path}"))
        session.execute(chosen)
        return sketchlab.open_run(prepare(chosen).folder.path)

    first = trained()
    second = trained(f"model.weights={first.path}", "model.tune=finetune", "model.train_from=conv5", "loop.lr=0.01")
    kept = torch.load(second.path / "checkpoints" / "best.pt", weights_only=True)["parts"]["net"]
    assert {name.split(".")[1] for name in kept if name.startswith("features")} == {"24", "26", "28"}
    before, after = first.network().state_dict(), second.network().state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and moved <= set(kept)
