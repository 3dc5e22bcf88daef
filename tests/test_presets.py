"""Presets stand in a folder per study; each composes, and an old name answers with the new one."""

from __future__ import annotations

import functools
import gzip
import json
import os
from pathlib import Path

import pytest

from sketchlab import config, schema
from sketchlab.errors import UserError

FOLDER = config.conf_dir() / "experiment"
PRESETS = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml"))


@functools.cache
def of(preset: str) -> config.RunConfig:
    return config.from_overrides([f"experiment={preset}"])


@pytest.mark.parametrize("preset", PRESETS)
def test_it_composes_and_differs_from_itself_in_nothing(preset):
    run = of(preset)
    assert run.choices["experiment"] == preset and run.differs == {}
    assert (FOLDER / f"{preset}.yaml").read_text().startswith("# @package _global_\n#")


@pytest.mark.parametrize("old", schema.MOVED)
def test_an_old_name_is_one_line_with_the_new_one(old):
    new = schema.MOVED[old]
    with pytest.raises(UserError, match=f"{old}: renamed; write {new}"):
        config.from_overrides([old])
    config.from_overrides([new])


def test_every_preset_is_of_a_study_or_of_classes_never_seen():
    assert {preset.partition("/")[0] for preset in PRESETS} == {
        "chen2019", "das_debnath", "photo_drawing", "mamin", "frankenstein", "unseen"}  # fmt: skip


WORDS_18 = ["circle", "cloud", "donut", "eye", "fish", "hexagon", "hockey stick", "hourglass", "house", "ice cream",
            "line", "mountain", "octagon", "paper clip", "smiley face", "square", "sun", "triangle"]  # fmt: skip
CHEN = {
    "loop.epochs": 25, "loop.batch_size": 8, "loop.optimizer": "sgd", "loop.lr": 0.001, "loop.momentum": 0.9,
    "loop.weight_decay": 0, "loop.schedule": "constant", "loop.warmup_epochs": 0, "data.augment.crop": 0.08,
    "data.augment.flip": 0.5, "model.name": "vgg16", "model.weights": "imagenet", "model.head": "vgg",
    "model.tune": "freeze", "model.dropout": 0.5, "model.kernel_px": 3, "model.pool_px": 2,
}  # fmt: skip
PHOTOS = {**CHEN, "choice.data": "hymenoptera", "data.splits.rule": "official", "data.resize": "crop"}
ANT_BEE = {"data.classes": ["ant", "bee"]}
COUNT = {"choice.data": "tuberlin", "data.splits.rule": "count", "data.splits.test": 0}
SKETCHES = {**CHEN, **ANT_BEE, **COUNT, "data.splits.train": 43, "data.splits.val": 31}
SKETCHES_64 = {**SKETCHES, "data.splits.train": 64, "data.splits.val": 10}
MIXED = {**CHEN, **ANT_BEE, "choice.data": "mixed", "data.resize": "crop"}
SKETCHANET = {"model.kernel_px": 15, "model.pool_px": 3, "model.stem": "fresh", "model.tune": "finetune"}
FINETUNED, SCRATCH = {"model.tune": "finetune"}, {"model.tune": "scratch"}
TRIAL = {"model.head": "pool", "data.augment.crop": 1.0, "data.augment.flip": 0.0}
SKETCHY_2 = {**CHEN, **TRIAL, "data.splits.train": 43, "data.splits.val": 31, "data.classes": ["dog", "elephant"]}

PAIRS = {
    "choice.data": "sketchy", "data.split_by": "photo", "model.name": "siamese", "model.input.size_px": 100,
    "model.input.channels": 1, "model.widths": [4, 8, 8], "model.hidden": [500, 500], "model.embedding": 5,
    "model.normalise": False, "model.dropout": 0, "pipeline.loss": "contrastive", "pipeline.margin": 2.0,
    "pipeline.match": "class", "pipeline.match_share": 0.5, "loop.epochs": 200, "loop.batch_size": 64,
    "loop.optimizer": "adam", "loop.lr": 0.0005, "loop.weight_decay": 0, "loop.schedule": "constant",
}  # fmt: skip
BACKBONE = {"choice.data": "sketchy", "pipeline.loss": "infonce", "pipeline.sampler": "all", "loop.epochs": 36}

IMAGES_300 = {"choice.data": "photo_drawing", "data.splits.train": 100, "data.splits.val": 0, "data.splits.test": 50,
              "data.splits.rule": "count", "pipeline.mistakes": 100}  # fmt: skip
TUNED = {**IMAGES_300, **FINETUNED, "loop.epochs": 10, "loop.batch_size": 20, "loop.lr": 0.0003}

DCGAN = {
    "model.name": "dcgan", "model.input.size_px": 64, "model.z": 100, "model.width": 64, "model.pack": 1,
    "model.activation_g": "relu", "model.activation_d": "leaky", "model.leak": 0.2, "model.norm": "batch",
    "model.discriminator": "dcgan", "pipeline.real_label": 1.0, "pipeline.gd_ratio": 1, "pipeline.d_head_start": 0,
    "pipeline.gate_window": 0, "pipeline.lr_d": None, "pipeline.normalise": "unit", "loop.batch_size": 64,
    "loop.optimizer": "adam", "loop.lr": 0.0002, "loop.betas": [0.5, 0.999], "loop.weight_decay": 0,
    "loop.schedule": "constant",
}  # fmt: skip
CATS = {**DCGAN, "choice.data": "quickdraw", "data.classes": ["cat"], "data.recognized_only": True,
        "data.splits.train": 0.98, "model.input.channels": 1, "loop.epochs": 10}  # fmt: skip
JRELU = {"model.activation_g": "jrelu", "model.activation_d": "jrelu"}
BEST = {**JRELU, "pipeline.gd_ratio": 2, "pipeline.lr_d": 0.0001}
COLOUR = {**DCGAN, "model.input.channels": 3}
CELEBA = {**COLOUR, "choice.data": "celeba", "data.splits.rule": "fraction", "data.splits.train": 0.98,
          "loop.epochs": 4}  # fmt: skip

STROKES = {
    "choice.data": "quickdraw", "data.classes": WORDS_18, "data.per_class": 10_000, "data.splits.rule": "fraction",
    "data.splits.train": 0.8, "data.splits.val": 0.1, "data.splits.test": 0.1, "data.augment.rotate_deg": 0,
    "data.augment.scale": [1.0, 1.0], "data.raster.pool_px": 4, "data.raster.line_px": 1, "model.input.channels": 8,
    "model.input.size_px": 64, "model.channels": [32, 16, 8], "model.head": 256, "model.dropout": 0,
    "loop.epochs": 40, "loop.batch_size": 32, "loop.optimizer": "adam", "loop.lr": 0.001, "loop.weight_decay": 0,
    "loop.schedule": "constant", "pipeline.label_smoothing": 0, "pipeline.pose_weight": 0,
}  # fmt: skip
LSTM = {"model.name": "cnn_lstm", "model.hidden": 256, "model.layers": 3, "model.output": "all", "model.proj_size": 0}
TURNED = {"data.augment.rotate_deg": 25.0, "data.augment.scale": [0.6, 1.0]}
WORDS = {"data.folder": "quickdraw_10/simplified", "data.per_class": None, "loop.epochs": 6, "loop.lr": 0.002}

VALUES = {  # preset → what stands in it or follows from it: as published, then our own variants and stand-ins
    "chen2019/photos": PHOTOS,
    "chen2019/photos_finetuned": {**PHOTOS, **FINETUNED},
    "chen2019/sketches": SKETCHES,
    "chen2019/sketches_finetuned": {**SKETCHES, **FINETUNED},
    "chen2019/sketches_sketchanet": {**SKETCHES, **SKETCHANET},
    "chen2019/sketches_64": SKETCHES_64,
    "chen2019/sketches_64_sketchanet": {**SKETCHES_64, **SKETCHANET},
    "chen2019/mixed": MIXED,
    "chen2019/mixed_finetuned": {**MIXED, **FINETUNED},
    "chen2019/mixed_scratch": {**MIXED, **SCRATCH},
    "das_debnath/as_published": {**PAIRS, "data.split_by": "sketch", "data.splits.train": 0.8, "data.splits.val": 0.2,
                                 "data.splits.test": 0},
    "photo_drawing/inception_finetuned": {**TUNED, "model.arch": "googlenet", "model.input.size_px": 224},
    "photo_drawing/inception_scratch": {**TUNED, **SCRATCH, "model.arch": "googlenet"},
    "photo_drawing/inception_forest": {**IMAGES_300, "model.name": "features_random_forest", "backbone": "googlenet"},
    "photo_drawing/naive_bayes": {**IMAGES_300, "model.name": "pixels_naive_bayes", "model.input.size_px": 224,
                                  "model.input.channels": 3},
    "mamin/sketchy_photos": {**COLOUR, "choice.data": "sketchy_photos", "data.classes": None, "loop.epochs": 300},
    "mamin/sketchy_sketches": {**DCGAN, "choice.data": "sketchy_sketches", "data.classes": None, "loop.epochs": 60},
    "mamin/cats": CATS,
    "mamin/cats_grey": {**CATS, "pipeline.normalise": "data", "loop.epochs": 5},
    "mamin/cats_best": {**CATS, **BEST},
    "mamin/cats_jrelu": {**CATS, **JRELU},
    "mamin/cats_instance_norm": {**CATS, "model.norm": "instance"},
    "mamin/cats_pretrained": {**CATS, "model.discriminator": "resnet18", "model.weights": "imagenet"},
    "mamin/cats_head_start": {**CATS, "pipeline.d_head_start": 100},
    "mamin/cats_gate": {**CATS, "pipeline.gate_window": 200},
    "mamin/dogs": {**CATS, "data.classes": ["dog"]},
    "mamin/dogs_best": {**CATS, **BEST, "data.classes": ["dog"]},
    "mamin/cats_and_dogs": {**CATS, "data.classes": ["cat", "dog"], "model.labels": True},
    "mamin/celeba": CELEBA,
    "mamin/celeba_ratio": {**CELEBA, "pipeline.gd_ratio": 2},
    "mamin/cifar10": {**COLOUR, "choice.data": "cifar10", "data.splits.rule": "official"},
    "mamin/flat_folder": {**COLOUR, "choice.data": "folder", "data.classes": ["davinci"], "data.folder": ".",
                          "data.splits.train": 1.0, "data.splits.val": 0, "loop.batch_size": 36},
    "mamin/cyclegan": {"choice.data": "sketchy", "model.input.size_px": 64, "model.blocks": 2, "model.norm": "batch",
                       "pipeline.cycle": "adversarial", "pipeline.pool": 0, "pipeline.weight_identity": 0,
                       "loop.batch_size": 64, "loop.lr": 0.0002, "loop.betas": [0.5, 0.999]},
    "frankenstein/cnn_lstm": {**STROKES, **LSTM},
    "frankenstein/cnn": {**STROKES, "model.name": "cnn_strokes"},
    "chen2019/photos_trial": {**PHOTOS, **TRIAL},
    "chen2019/sketches_trial": {**SKETCHES, **TRIAL, "data.classes": ["ant", "butterfly"]},
    "chen2019/sketches_64_trial": {**SKETCHES_64, **TRIAL, "data.classes": ["ant", "butterfly"]},
    "chen2019/sketchy_mixed": {**SKETCHY_2, "choice.data": "mixed_sketchy", "data.paired": True},
    "chen2019/sketchy_photos": {**SKETCHY_2, "choice.data": "sketchy_photos"},
    "chen2019/sketchy_sketches": {**SKETCHY_2, "choice.data": "sketchy_sketches", "data.per_group": 1},
    "chen2019/tuberlin_frozen": {"choice.data": "tuberlin", "data.splits.rule": "kfold", "data.splits.folds": 3,
                                 "model.tune": "freeze", "loop.epochs": 60, "loop.lr": 0.01},
    "das_debnath/by_photo": {**PAIRS, "data.splits.train": 0.7, "data.splits.test": 0.2},
    "das_debnath/vgg16": {**BACKBONE, "backbone": "vgg16"},
    "das_debnath/googlenet": {**BACKBONE, "backbone": "googlenet"},
    "das_debnath/dropout": {**PAIRS, "model.dropout": 0.2, "model.block_dropout": 0.1},
    "das_debnath/semihard": {**PAIRS, "pipeline.loss": "triplet", "pipeline.sampler": "semihard",
                             "pipeline.margin": 0.3, "model.normalise": True},
    "unseen/shapes": {"data.splits.rule": "unseen", "data.sketches_per_photo": 2, "pipeline.loss": "infonce",
                      "pipeline.sampler": "all", "pipeline.match": "class", "loop.epochs": 4, "loop.eval_every": 1},
    "unseen/sketchy": {"data.splits.rule": "unseen", "pipeline.loss": "infonce", "pipeline.sampler": "all",
                       "pipeline.match": "instance", "model.embedding": 128},
    "photo_drawing/finetuned": {**TUNED, "model.arch": "mobilenet_v2"},
    "photo_drawing/scratch": {**IMAGES_300, **SCRATCH, "model.arch": "mobilenet_v2", "loop.epochs": 20},
    "photo_drawing/frozen": {**IMAGES_300, "model.tune": "freeze", "model.arch": "mobilenet_v2", "loop.epochs": 100},
    "photo_drawing/forest": {**IMAGES_300, "model.name": "features_random_forest", "backbone": "mobilenet_v2"},
    "mamin/sheep": {**DCGAN, "pipeline.real_label": 0.9, "data.folder": "sheep/simplified", "loop.epochs": 30},
    "frankenstein/cnn_lstm_augmented": {**STROKES, **LSTM, **TURNED},
    "frankenstein/cnn_lstm_pose": {**STROKES, **LSTM, **TURNED, "pipeline.pose_weight": 1},
    "frankenstein/words": {**WORDS, "model.name": "cnn_lstm"},
    "frankenstein/words_cnn": {**WORDS, "model.name": "cnn_strokes"},
    "frankenstein/shapes": {"choice.data": "shapes", "data.per_class": 600, "model.name": "cnn_lstm", "loop.epochs": 6},
}  # fmt: skip


def value(run: config.RunConfig, key: str):
    """loop.lr, data.splits.train …; choice.data: the choice of a group; backbone: the network of a baseline."""
    if key == "backbone":
        assert run.model.backbone is not None
        return getattr(run.model.backbone.config, "arch", run.model.backbone.name)
    part, *path = key.split(".")
    if part == "choice":
        return run.choices[path[0]]
    start = run.loop if part == "loop" else getattr(run, part)
    if path == ["name"]:
        return start.name
    return functools.reduce(getattr, path, start if part == "loop" else start.config)


@pytest.mark.parametrize("preset", VALUES)
def test_values(preset):
    run = of(preset)
    assert {key: value(run, key) for key in VALUES[preset]} == VALUES[preset]


def test_every_preset_has_its_values_here():
    assert sorted(VALUES) == PRESETS


def sizes(preset: str, *words: str) -> dict[str, int]:
    run = config.from_overrides([f"experiment={preset}", *words])
    return {name: len(split) for name, split in run.data.build(run.model.config.input).splits.items()}


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_DATA" not in os.environ, reason="SKETCHLAB_DATA is not set")
@pytest.mark.parametrize(
    ("preset", "words", "expected"),
    [
        ("chen2019/photos", [], {"train": 123 + 121, "val": 70 + 83}),
        ("chen2019/sketches", ["data.classes=[ant,butterfly]"], {"train": 2 * 43, "val": 2 * 31}),
        ("chen2019/sketches_64", ["data.classes=[ant,butterfly]"], {"train": 2 * 64, "val": 2 * 10}),
        ("chen2019/sketchy_mixed", [], {"train": 2 * 43, "val": 2 * 31}),
        ("photo_drawing/inception_finetuned", [], {"train": 200, "test": 100}),
        ("das_debnath/as_published", [], {"train": 2291, "val": 573}),
        ("mamin/flat_folder", ["data.folder=photo_drawing", "data.classes=[drawing]"], {"train": 150}),
        ("mamin/sheep", [], {"train": 7000, "val": 500, "test": 500}),
    ],
)
def test_sizes_of_splits(preset, words, expected):
    small = [] if "sheep" in preset else ["model.input.size_px=64"]
    assert sizes(preset, *words, *small) == expected


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_DATA" not in os.environ, reason="SKETCHLAB_DATA is not set")
@pytest.mark.parametrize(("preset", "word"), [("mamin/cats", "cat"), ("mamin/dogs", "dog")])
def test_recognised_drawings_alone(preset, word):
    path = Path(os.environ["SKETCHLAB_DATA"]) / "quickdraw" / "simplified" / f"{word}.ndjson.gz"
    marks = [json.loads(line)["recognized"] for line in gzip.decompress(path.read_bytes()).splitlines()]
    found = sizes(preset, "data.splits={train:0.8,val:0.1,test:0.1}")
    assert sum(found.values()) == sum(mark is not False for mark in marks)


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_DATA" not in os.environ, reason="SKETCHLAB_DATA is not set")
def test_eight_tenths_of_each_of_18_words_train():
    found = sizes("frankenstein/cnn_lstm", "data.per_class=20")
    assert found == {"train": 18 * 16, "val": 18 * 2, "test": 18 * 2}


def test_mixed_is_as_published():
    """Ants and bees: the train photos of the tutorial, 31 sketches of each to validate on."""
    run = config.from_overrides(["experiment=chen2019/mixed"])
    data = run.data.config
    assert (run.data.name, data.classes, run.loop.epochs) == ("mixed", ["ant", "bee"], 25)
    assert (data.train.splits.rule, data.train.splits.val) == ("official", 0)
    assert (data.val.splits.rule, data.val.splits.train, data.val.splits.val) == ("count", 43, 31)


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_DATA" not in os.environ, reason="SKETCHLAB_DATA is not set")
def test_mixed_trains_on_244_photos_and_validates_on_62_sketches():
    """The trial data has no sketches of bees: those of butterflies stand for them."""
    words = ["experiment=chen2019/mixed", "data.val.aliases={bee:butterfly}"]
    run = config.from_overrides(words)
    data = run.data.build(run.model.config.input)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 123 + 121, "val": 2 * 31}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("chen2019/mixd", "did you mean chen2019/mixed"),
        ("chen2019", "there is: chen2019/mixed"),
        ("mixed", "chen2019/mixed"),
    ],
)
def test_a_mistyped_preset_is_one_line_with_what_there_is(typed, meant):
    with pytest.raises(UserError, match=f"experiment={typed}: no such choice; .*{meant}"):
        config.from_overrides([f"experiment={typed}"])
