"""The command of README's first line in small: VGG16 with Sketch-a-Net's changes, fine-tuned on real sketches."""

from __future__ import annotations

import pytest

import sketchlab
from sketchlab import config, stats
from sketchlab.models import vgg16
from sketchlab.training import session
from sketchlab.training.prepare import prepare
from sketchlab.weights import files as weight_files


def test_it_fine_tunes_by_a_loop_of_its_own():
    run = config.from_overrides(["model=vgg16_sketchanet", "data=tuberlin"])
    loop, model = run.loop, run.model.config
    assert (model.tune, model.weights, model.kernel_px, model.pool_px) == ("finetune", "imagenet", 15, 3)
    assert (loop.optimizer, loop.lr, loop.momentum, loop.batch_size) == ("sgd", 0.001, 0.9, 8)
    assert loop.patience > 0 and run.notes() == []


@pytest.mark.long
@pytest.mark.realdata
def test_three_classes_are_told_apart_and_the_whole_stem_has_moved(tmp_path):
    words = ["model=vgg16_sketchanet", "data=tuberlin", "data.classes=[ant,cat,tree]", "data.per_class=40"]
    words += ["data.splits.train=0.7", "data.splits.val=0.3", "data.splits.test=0", "pipeline.explain=0"]
    chosen = config.from_overrides([*words, "runtime.precision=bf16", f"run.root={tmp_path}"])
    session.execute(chosen)
    run = sketchlab.open_run(prepare(chosen).folder.path)
    accuracy, n = run.status["metrics"]["val/accuracy"], 3 * 12
    (low,), _ = stats.wilson_band([accuracy], n)
    assert low > 1 / 3, accuracy

    file = weight_files.find("imagenet", "vgg16")
    start = vgg16.inflate_stem(weight_files.read(file), 15)
    net = run.network()
    for name in ("features.0.weight", "features.0.bias"):
        assert (net.state_dict()[name] != start[name]).all(), name
