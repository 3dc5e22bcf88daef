"""GAN: the step against a twin written out plainly, whose turn it is, and scores that never stop a run."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from sketchlab import config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.models import dcgan
from sketchlab.pipelines.gan import data as gan_data
from sketchlab.pipelines.gan import sheets as gan_sheets
from sketchlab.pipelines.gan import state as gan_state
from sketchlab.pipelines.gan import task as gan
from tests import every

SMALL = [
    *("model=small_dcgan", "model.width=4", "model.widest=8", "model.z=6"),
    *("data.classes=[circle]", "data.per_class=20"),
    *("runtime.device=cpu", "runtime.channels_last=false", "loop.batch_size=8", "data.splits.train=0.6"),
    *("data.splits.val=0.2", "data.splits.test=0.2", "pipeline.eval_images=20", "pipeline.sheet=6", "loop.epochs=1"),
    "pipeline.features=random",
]


def task(*words: str) -> gan.Gan:
    run = config.from_overrides([*SMALL, *words])
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), run.seed)


def step(a_task: gan.Gan, number: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(number)
    places = torch.arange(a_task.loop.batch_size) + number
    return every.step(a_task, a_task.draw(places, places), 0.0)


def parameters(net: torch.nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def moved(before: list[Tensor], net: torch.nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    p = 1 / (1 + (-logits.double()).exp())
    return -(target * p.log() + (1 - target) * (1 - p).log()).mean()


def test_loss_is_binary_cross_entropy():
    logits = torch.tensor([-3.0, 0.0, 0.5, 4.0])
    for target in (0.0, 0.9, 1.0):
        torch.testing.assert_close(gan.against(logits, target).double(), cross_entropy(logits, target))


def test_a_step_is_the_textbook_one():
    """D and G after one step, against copies that share nothing: each loss by its formula, each update by Adam's."""
    ours = task("pipeline.lr_d=0.0005", "pipeline.lr_g=0.003")
    real = ours.reals.images(ours.train.gather(torch.arange(8)), None)
    G, D = copy.deepcopy(ours.G).train(), copy.deepcopy(ours.D).train()
    torch.manual_seed(0)
    fake = G(torch.randn(8, 6))
    loss_d = cross_entropy(D(real), 0.9) + cross_entropy(D(fake.detach()), 0.0)
    first_step(D, torch.autograd.grad(loss_d, list(D.parameters())), 0.0005)
    loss_g = cross_entropy(D(fake), 1.0)
    first_step(G, torch.autograd.grad(loss_g, list(G.parameters())), 0.003)

    logs = step(ours)
    torch.testing.assert_close(logs["loss_d"].double(), loss_d.detach())
    torch.testing.assert_close(logs["loss_g"].double(), loss_g.detach())
    for net, twin in ((ours.D, D), (ours.G, G)):
        for a, b in zip(net.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)
    assert all(p.grad is None for p in ours.D.parameters())  # nothing of the generator's step waits for the next one


def first_step(net: torch.nn.Module, grads: tuple[Tensor, ...], lr: float) -> None:
    """Adam's first: its bias-corrected moments are the gradient and its square."""
    with torch.no_grad():
        for p, g in zip(net.parameters(), grads, strict=True):
            p -= lr * g / (g.abs() + 1e-8)


def test_discriminator_learns_at_every_kth_step_and_the_generator_at_every_one():
    a_task = task("pipeline.gd_ratio=3")
    turns = []
    for number in range(7):
        d, g = parameters(a_task.D), parameters(a_task.G)
        logs = step(a_task, number)
        turns.append(moved(d, a_task.D))
        assert moved(g, a_task.G)
        assert set(logs) == {"loss_g", "loss_d", "d_real", "d_fake", "grad_g", "grad_d"}
        assert all(v.isfinite() for v in logs.values())
    assert turns == [True, False, False, True, False, False, True]


def test_head_start_leaves_the_generator_still_and_ratio_counts_from_its_end():
    a_task = task("pipeline.d_head_start=2", "pipeline.gd_ratio=2")
    turns = []
    for number in range(5):
        before = parameters(a_task.D), parameters(a_task.G), copy.deepcopy(dict(a_task.opt_G.state_dict()))
        step(a_task, number)
        turns.append((moved(before[0], a_task.D), moved(before[1], a_task.G)))
        if number < 2:
            assert a_task.opt_G.state_dict()["state"] == before[2]["state"] == {}
    assert turns == [(True, False), (True, False), (True, True), (False, True), (True, True)]


def test_every_state_is_in_the_parts():
    whole, cut = task("pipeline.gd_ratio=2"), task("pipeline.gd_ratio=2")
    for number in range(3):
        step(whole, number)
        if number == 0:
            step(cut, number)
            kept = {name: copy.deepcopy(part.state_dict()) for name, part in cut.parts.items()}
    fresh = task("pipeline.gd_ratio=2")
    for name, part in fresh.parts.items():
        part.load_state_dict(kept[name])
    step(fresh, 1)
    step(fresh, 2)
    for name in ("G", "D"):
        for key, value in whole.parts[name].state_dict().items():
            assert torch.equal(value, fresh.parts[name].state_dict()[key]), key


def test_scores_and_a_sheet_named_by_the_epoch():
    a_task = task("pipeline.epoch_images=1")  # 12 images an epoch
    for number in range(3):  # 24 images
        step(a_task, number)
    out = a_task.evaluate("val")
    named = {f"{name}@random" for name in ("kid", "kid_std", "fid", "precision", "recall")}
    assert named | {"ms_ssim_fake", "ms_ssim_real"} < set(out)
    before = out["quality"]["kid"].pop("before_training")
    assert before > 0 and before == task("pipeline.epoch_images=1")._against("val")[0]["kid@random"]
    assert out["quality"]["kid"] == {"features": "random", "subset": 4, "subsets": 20, "n_real": 4, "n_fake": 20}
    assert out["samples_2_sheet"].dtype == torch.uint8 and out["samples_2_sheet"].shape == (134, 200)
    again = a_task.evaluate("val")
    assert torch.equal(again["samples_2_sheet"], out["samples_2_sheet"]) and again["kid@random"] == out["kid@random"]
    assert "samples_sheet" in a_task.evaluate("test")


def test_the_sheet_before_training_is_of_the_noise_of_later_ones_and_changes_nothing():
    with_sheet, without = task(), task()
    first = with_sheet.untrained()["samples_0_sheet"]
    assert torch.equal(first, without.evaluate("val")["samples_0_sheet"])
    for a_task in (with_sheet, without):
        step(a_task, 0)
    for key, value in with_sheet.parts["G"].state_dict().items():
        assert torch.equal(value, without.parts["G"].state_dict()[key]), key


def test_one_image_to_compare_with_leaves_a_score_out_and_goes_on():
    a_task = task(
        "data.per_class=6", "data.splits.rule=count", "data.splits.train=4", "data.splits.val=1", "data.splits.test=1"
    )
    assert a_task.n_train == 6400  # fewer images than a batch: each epoch repeats them
    step(a_task)
    out = a_task.evaluate("val")
    assert "kid@random" not in out and "ms_ssim_real" not in out and 0 <= out["ms_ssim_fake"] <= 1
    assert out["quality"]["kid"]["missing"] == "needs 2 images, there are 1"


def test_an_epoch_is_whole_repeats_of_the_training_split():
    assert task("pipeline.epoch_images=1").n_train == 12
    assert task("pipeline.epoch_images=30").n_train == 36
    a_task = task("pipeline.epoch_images=30")
    batch = a_task.draw(torch.tensor([1, 13, 25]), torch.tensor([5, 6, 7]))
    assert torch.equal(batch["raw"][0], batch["raw"][1]) and torch.equal(batch["raw"][0], batch["raw"][2])


def test_noise_is_normal_and_a_function_of_key_and_place():
    drawn = gan_sheets.noise(7, torch.arange(4000), 20)
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 1) < 0.01 and drawn.isfinite().all()
    assert torch.equal(gan_sheets.noise(7, torch.tensor([11, 3]), 20), drawn[[11, 3]])
    assert not torch.equal(gan_sheets.noise(8, torch.arange(4), 20), drawn[:4])


def test_sheet_puts_images_row_by_row():
    images = torch.zeros(3, 1, 64, 64)
    images[1], images[2] = 0.5, 1.0
    whole = gan_sheets.sheet(images)  # two columns, two rows, gaps of 2 px
    assert whole.shape == (134, 134)
    assert [int(whole[y, x]) for y, x in ((30, 30), (30, 100), (100, 30), (100, 100))] == [0, 128, 255, 128]
    assert gan_sheets.sheet(torch.rand(2, 3, 64, 64)).shape == (68, 134, 3)


def test_start_of_the_layers():
    a_task = task("model.width=32", "model.widest=1024", "model.z=100")
    for net, norms in ((a_task.G, 3), (a_task.D, 2)):
        weights = {n: p for n, p in net.named_parameters() if p.ndim == 4}
        for weight in weights.values():
            assert abs(weight.std() - 0.02) < 0.002 and abs(weight.mean()) < 0.002
        found = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert len(found) == norms and all(abs(m.weight.mean() - 1) < 0.02 and m.weight.std() > 0.01 for m in found)
    assert not isinstance(a_task.D.layers[1], torch.nn.BatchNorm2d)  # none after the first layer


def test_discriminator_sees_a_pack_as_channels():
    D = task("model.pack=2").D.eval()
    images = torch.randn(4, 1, 32, 32)
    packed = torch.stack([torch.cat([images[0], images[1]]), torch.cat([images[2], images[3]])])
    expected = torch.nn.Sequential(D.layers, D.last)(packed).flatten()
    assert D(images).shape == (2,)
    torch.testing.assert_close(D(images.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize(
    "words, said",
    [
        (["pipeline.gd_ratio=0"], "pipeline.gd_ratio"),
        (["pipeline.d_head_start=-1"], "pipeline.d_head_start"),
        (["pipeline.real_label=0.4"], "pipeline.real_label"),
        (["pipeline.lr_d=0"], "pipeline.lr_d"),
        (["pipeline.features=vgg"], "pipeline.features"),
        (["loop.accumulate=2"], "loop.accumulate"),
        (["pipeline.gd_per=step"], "pipeline.gd_per"),
        (["pipeline.normalise=grey"], "pipeline.normalise"),
        (["pipeline.ema=1"], "pipeline.ema"),
        (["pipeline.gate_window=1"], "pipeline.gate_window"),
        (["pipeline.eval_images=1"], "pipeline.eval_images"),
        (["model.input.size_px=48"], "model.input.size_px"),
        (["model.activation_g=gelu"], "model.activation_g=gelu: expected one of relu, leaky, jrelu"),
        (["model.norm=layer"], "model.norm"),
        (["model.discriminator=vgg16"], "model.discriminator"),
        (["model.discriminator=resnet18", "model.pack=2"], "needs model.pack=1"),
        (["model.labels=true"], "the data set has 1 class, so there is no label to tell"),
        (["model.input.mean=[0.0]"], "model.input.mean"),
        (["model.pack=0"], "model.pack"),
        (["model.pack=3"], "choose a multiple of 3"),
    ],
)
def test_mistakes_in_one_line(words, said):
    with pytest.raises(UserError) as error:
        task(*words)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_another_pipeline_does_not_fit():
    with pytest.raises(UserError, match="the model gives generator and discriminator"):
        config.from_overrides(["model=small_dcgan", "pipeline=classify"])


# --- mamin's variations


OPTIONS = {
    "ratio": ["pipeline.gd_ratio=2", "pipeline.d_head_start=1", "pipeline.lr_d=0.0001"],
    "per epoch": ["pipeline.gd_ratio=2", "pipeline.gd_per=epoch", "pipeline.epoch_images=1"],
    "jrelu": ["model.activation_g=jrelu", "model.activation_d=jrelu", "model.norm=instance"],
    "leaky": ["model.activation_g=leaky", "model.activation_d=relu", "pipeline.normalise=data"],
    "average": ["pipeline.ema=0.9"],
    "gate": ["pipeline.gate_window=2", "pipeline.gate_flat=100", "pipeline.gate_most=3"],
    "labels": ["model.labels=true", "data.classes=[circle,square]"],
    "resnet18": ["model.discriminator=resnet18", "model.pack=1"],
}
LARGE = ("resnet18",)


def state(a_task: gan.Gan) -> dict[str, Any]:
    return {name: copy.deepcopy(part.state_dict()) for name, part in a_task.parts.items()}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("option", [pytest.param(o, marks=[pytest.mark.long] * (o in LARGE)) for o in OPTIONS])
def test_every_option_goes_on_where_it_stopped(option):
    whole = task(*OPTIONS[option])
    for number in range(2):
        step(whole, number)
    kept = state(whole)
    fresh = task(*OPTIONS[option])
    for name, part in fresh.parts.items():
        part.load_state_dict(kept[name])
    for number in range(2, 5):
        logs = [step(t, number) for t in (whole, fresh)]
        assert same(*logs)
    assert same(state(whole), state(fresh)) and not same(state(whole)["G"], kept["G"])
    assert same(whole.evaluate("val")["kid@random"], fresh.evaluate("val")["kid@random"])


def test_per_epoch_the_discriminator_rests_for_whole_epochs():
    a_task = task("pipeline.gd_ratio=2", "pipeline.gd_per=epoch", "pipeline.epoch_images=1")  # 12 images, batches of 8
    turns = []
    for _ in range(7):
        turns.append(a_task.turns()[0])
        a_task.steps.done += 1
    assert turns == [True, True, False, True, True, False, True]  # epochs 0, 0, 1, 2, 2, 3, 4


def test_jrelu_is_what_mamin_says():
    x = torch.tensor([-10.0, -1.0, 0.0, 1.0, 20.0])
    torch.testing.assert_close(dcgan.JReLU()(x), torch.tensor([-1.4, -0.5, -0.4, 0.6, 6.0]))


def test_normalised_by_the_data_the_ground_is_grey():
    a_task = task("pipeline.normalise=data")
    every = torch.cat(list(a_task.reals.parts("train")))
    torch.testing.assert_close(a_task.G.mean.flatten(), every.mean((0, 2, 3)))
    torch.testing.assert_close(a_task.D.std.flatten(), every.std((0, 2, 3)))
    images = a_task.reals.images(a_task.train.gather(torch.arange(12)), None)
    assert abs(images.mean()) < 1e-4 and abs(images.std() - 1) < 1e-2
    torch.testing.assert_close(a_task.G.pixels(images), every, atol=1e-5, rtol=0)
    made, _ = a_task.sampler.sample(4)
    assert made.min() >= 0 and made.max() <= min(1, float(a_task.G.mean + a_task.G.std)) + 1e-6


def test_average_of_weights_is_the_textbook_one():
    a_task = task("pipeline.ema=0.9")
    expected = parameters(a_task.G)
    for number in range(3):
        step(a_task, number)
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, a_task.G.parameters(), strict=True)]
    for a, b in zip(a_task.G_ema.parameters(), expected, strict=True):
        torch.testing.assert_close(a, b)
    shown = a_task.sampler.sample(2)[0]
    a_task.G_ema.load_state_dict(a_task.G.state_dict())
    assert not torch.equal(shown, a_task.sampler.sample(2)[0])


def test_gradient_norms_are_those_of_the_last_step_that_learnt():
    a_task = task("pipeline.gd_ratio=2")
    first, second = step(a_task, 0), step(a_task, 1)
    assert first["grad_d"] > 0 and torch.equal(first["grad_d"], second["grad_d"])
    assert not torch.equal(first["grad_g"], second["grad_g"])


def test_gate_fires_when_both_losses_stand_still_and_keeps_adams_moments():
    gate = gan_state.Gate(4, 0.01, 2.0, 3.0, Runtime(task().runtime.config))
    for number in range(12):
        loss_d = torch.tensor(1.0 + (0.5 * number if number < 4 else 0.0))
        gate.add(torch.tensor(0.7), loss_d)
        gate.look(number + 1)
    assert gate.fired == [[8, 2.0], [12, 3.0]] and gate.rate == 3.0
    for number in range(4):
        gate.add(torch.tensor(0.7), torch.tensor(1.0))
        gate.look(13 + number)
    assert len(gate.fired) == 2  # never past the most
    a_task = task(*OPTIONS["gate"], "pipeline.lr_g=0.001")
    for number in range(4):
        step(a_task, number)
    assert a_task.gate.fired[0] == [2, 1.5] and a_task.opt_G.param_groups[0]["lr"] == pytest.approx(0.0015)
    assert all(s["step"] == 4 for s in a_task.opt_G.state.values())
    assert a_task.evaluate("val")["gate"]["fired"][0] == {"step": 2, "lr_factor": 1.5}


def test_other_features_are_no_continuation():
    a_task = task()
    with pytest.raises(UserError, match="KID was measured in inception-0 so far, now it would be in random"):
        a_task.steps.load_state_dict({**a_task.steps.state_dict(), "features": "inception-0"})


# --- labels


def test_packs_hold_one_class_and_every_sample_of_it():
    labels = torch.tensor([0, 1, 0, 1, 1, 2, 0])
    places = torch.randint(7, (4000,), generator=torch.Generator().manual_seed(0))
    packs = gan_data.Packs(labels, 4)
    found = packs(places, torch.arange(4000))
    assert torch.equal(found[::4], places[::4])
    of = labels[found].reshape(-1, 4)
    assert (of == of[:, :1]).all()
    drawn = found.reshape(-1, 4)[:, 1:][of[:, 0] == 1].flatten().bincount(minlength=7)
    assert (drawn[[1, 3, 4]] > 0.25 * drawn.sum()).all() and drawn[[0, 2, 5, 6]].sum() == 0
    assert torch.equal(found, packs(places, torch.arange(4000)))


def test_labels_reach_both_networks_and_the_sheet_has_a_row_a_class():
    a_task = task(*OPTIONS["labels"], "loop.batch_size=16", "model.pack=4")
    classes = [0, 0, 1, 1]
    z = torch.zeros(4, 6)
    images = a_task.G.eval()(z, torch.tensor(classes))
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    torch.nn.init.normal_(a_task.D.classes.weight)
    said = [a_task.D(images, torch.full((4,), c)) for c in (0, 1)]
    maps = a_task.D.layers(images.reshape(1, 4, 32, 32)).sum((2, 3))
    difference = (a_task.D.classes.weight[0] - a_task.D.classes.weight[1]) @ maps[0]
    torch.testing.assert_close(said[0] - said[1], difference[None])
    assert a_task.evaluate("val")["samples_0_sheet"].shape == (2 + 2 * 66, 2 + 8 * 66)


def test_the_scoring_classifier_says_whether_images_are_what_was_asked_for():
    a_task = task(*OPTIONS["labels"])
    _, classes = a_task.sampler.sample(20)
    real = a_task.reals.labels("val")
    assert torch.equal(a_task.reals.of("val"), a_task.reals.some("val", a_task.reals._places("val")))

    def right(images):
        said = {20: classes, len(real): real, 1: torch.zeros(1, dtype=torch.int64)}[len(images)]  # 1: grey
        return torch.eye(2, dtype=torch.float64)[said]

    a_task.scoring_classifier = right
    out = a_task.evaluate("val")
    shares = classes.bincount(minlength=2) / 20
    assert out["class_accuracy"] == 1 == out["class_accuracy_real"] and out["inception_score_real"] == pytest.approx(2)
    assert out["inception_score"] == pytest.approx(torch.special.entr(shares).sum().exp().item())  # sure of each image
    assert out["asked_confusion"].diagonal().sum() == 20
    known = out["calibration"]["class_accuracy"]  # it says of noise what it says of generated images
    assert (known["real"], known["noise"], known["grey"]) == (1, 1, pytest.approx(shares[0].item()))
    assert not known["informative"] and "class_accuracy of noise 1," in out["warnings"]["not informative"]
    assert out["calibration"]["inception_score"]["noise"] == out["inception_score"]
    a_task.scoring_classifier = lambda images: right(images).flip(1)
    out = a_task.evaluate("val")
    assert out["class_accuracy"] == 0 == out["class_accuracy_real"]


# --- pictures


def test_ways_between_noises_keep_their_length():
    start, end = torch.randn(3, 50), torch.randn(3, 50)
    found = gan_sheets.between(start, end, 5)
    torch.testing.assert_close(found[:, 0], start)
    torch.testing.assert_close(found[:, -1], end)
    one = torch.nn.functional.normalize(start), torch.nn.functional.normalize(end)
    middle = gan_sheets.between(*one, 3)[:, 1]
    torch.testing.assert_close(middle, torch.nn.functional.normalize(one[0] + one[1]))


def test_nearest_real_finds_a_copy():
    a_task = task()
    real = torch.cat(list(a_task.reals.parts("train")))
    distance, at = gan_sheets.nearest(gan_sheets.small(real[[7, 2]]), gan_sheets.small(real))
    assert at.tolist() == [7, 2] and distance.max() == 0
    shown = every.explained(a_task, "val")
    assert shown["nearest_sheet"].shape == (2 + 8 * 66, 2 + 8 * 66) == shown["interpolation_sheet"].shape
    assert shown["nearest"]["searched"] == 12


def test_strokes_are_drawn_for_it(tmp_path):
    from sketchlab.data.sets.shapes import drawings

    for name in ("circle", "square"):
        drawn = enumerate(drawings(name, list(range(10))))
        lines = [json.dumps({"word": name, "key_id": str(i), "drawing": strokes}) for i, strokes in drawn]
        (tmp_path / f"{name}.ndjson").write_text("\n".join(lines))
    words = ["data=strokes", f"data.root={tmp_path}", "data.per_class=null", "data.classes=null"]
    a_task = task(*words, "data/raster=picture")
    assert step(a_task)["loss_g"].isfinite() and "kid@random" in a_task.evaluate("val")


def test_images_of_mixed_sizes_and_a_single_one(tmp_path):
    for i, size in enumerate([(40, 30), (20, 64), (9, 9), (200, 10), (33, 33)]):
        (tmp_path / "all").mkdir(exist_ok=True)
        Image.new("L", size, 40 * i).save(tmp_path / "all" / f"{i}.png")
    words = ["data=folder", f"data.root={tmp_path}", "data.classes=null", "data.per_class=null"]
    a_task = task(*words, "data.splits.train=0.6", "data.splits.val=0.4", "data.splits.test=0")
    assert step(a_task)["loss_g"].isfinite()
    a_task = task(*words, "data.per_class=1", "data.splits.train=1", "data.splits.val=0", "data.splits.test=0")
    assert a_task.monitor == "" and step(a_task)["loss_g"].isfinite()


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_DATA" not in os.environ, reason="SKETCHLAB_DATA is not set")
def test_sheep_are_drawn_from_strokes():
    run = config.from_overrides(
        [
            "experiment=mamin/sheep",
            "runtime.device=cpu",
            "model.width=4",
            "loop.batch_size=8",
            "pipeline.features=random",
        ]
    )
    data = run.data.build(run.model.config.input)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 7000, "val": 500, "test": 500}
    a_task = run.pipeline.build(run.model.build(1), data, run.loop, Runtime(run.runtime), 0)
    real = a_task.reals.some("train", torch.arange(32))
    assert 0.01 < real.mean() < 0.3 and real.max() == 1  # bright lines on black
    assert step(a_task)["loss_g"].isfinite()


@pytest.mark.realdata
@pytest.mark.skipif("SKETCHLAB_WEIGHTS" not in os.environ, reason="SKETCHLAB_WEIGHTS is not set")
def test_a_pretrained_discriminator_starts_from_its_weights():
    words = ["model.discriminator=mobilenet_v2", "model.pack=1", "model.weights=imagenet"]
    a_task = task(*words)
    fresh = task(*words[:2], "model.weights=none")
    assert dcgan.fingerprint(config.from_overrides([*SMALL, *words]).model.config) != "none"
    first, other = (next(t.D.net.parameters()) for t in (a_task, fresh))
    assert not torch.equal(first, other)
    before = parameters(a_task.D)
    assert step(a_task)["loss_d"].isfinite() and moved(before, a_task.D)


def test_a_generator_that_gives_grey_is_called_no_better_than_grey():
    a_task = task("data.per_class=60", "pipeline.eval_images=24")
    with torch.no_grad():
        for parameter in a_task.G.parameters():
            parameter.zero_()  # tanh(0): the middle of the scale
    out = a_task.evaluate("val")
    known = out["calibration"]
    assert set(known) == {*(f"{name}@random" for name in ("kid", "fid", "precision", "recall")), "ms_ssim_fake"}
    for name in ("kid@random", "fid@random"):
        assert known[name]["informative"] and out[name] > known[name]["grey"], "the grey of the data is nearer"
        assert f"{name} {out[name]:.3g}, of noise" in out["warnings"]["no better than grey"]
    assert out["ms_ssim_fake"] == pytest.approx(1) and known["ms_ssim_fake"]["grey"] == 1
    asked, of = [], a_task.features.of
    counted = gan.feature_nets.Features("random", "random", lambda images: asked.append(len(images)) or of(images))
    a_task.features = a_task.calibration.features = counted
    again = a_task.evaluate("val")
    assert asked == [24] and again["calibration"] == known, "only what is generated is measured again"
    a_task.evaluate("test")
    assert asked == [24, 12, 24], "what is known of training images and noise serves every split"
