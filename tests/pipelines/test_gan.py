"""GAN: the step against a twin written out plainly, whose turn it is, and scores that never stop a run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from sketchlab import config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.pipelines import gan

SMALL = [
    *("model=small_dcgan", "model.widths=[8,8,4]", "model.z=6", "data.classes=[circle]", "data.per_class=20"),
    *("runtime.device=cpu", "runtime.channels_last=false", "loop.batch_size=8", "data.splits.train=0.6"),
    *("data.splits.val=0.2", "data.splits.test=0.2", "pipeline.eval_images=20", "pipeline.sheet=6", "loop.epochs=1"),
]


def task(*words: str) -> gan.Gan:
    run = config.from_overrides([*SMALL, *words])
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), run.seed)


def step(a_task: gan.Gan, number: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(number)
    places = torch.arange(a_task.loop.batch_size) + number
    return a_task.train_step(a_task.draw(places, places), 0.0)


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
    real = ours._images(ours.train.gather(torch.arange(8)), None)
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
        assert set(logs) == {"loss_g", "loss_d", "d_real", "d_fake"} and all(v.isfinite() for v in logs.values())
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
    assert {"kid", "kid_std", "ms_ssim_fake", "ms_ssim_real"} < set(out)
    assert out["quality"]["kid"] == {"features": "random", "subset": 4, "subsets": 20, "n_real": 4, "n_fake": 20}
    assert out["samples_2_sheet"].dtype == torch.uint8 and out["samples_2_sheet"].shape == (134, 200)
    again = a_task.evaluate("val")
    assert torch.equal(again["samples_2_sheet"], out["samples_2_sheet"]) and again["kid"] == out["kid"]
    assert "samples_sheet" in a_task.evaluate("test")


def test_one_image_to_compare_with_leaves_a_score_out_and_goes_on():
    a_task = task(
        "data.per_class=6", "data.splits.rule=count", "data.splits.train=4", "data.splits.val=1", "data.splits.test=1"
    )
    assert a_task.n_train == 6400  # fewer images than a batch: each epoch repeats them
    step(a_task)
    out = a_task.evaluate("val")
    assert "kid" not in out and "ms_ssim_real" not in out and 0 <= out["ms_ssim_fake"] <= 1


def test_an_epoch_is_whole_repeats_of_the_training_split():
    assert task("pipeline.epoch_images=1").n_train == 12
    assert task("pipeline.epoch_images=30").n_train == 36
    a_task = task("pipeline.epoch_images=30")
    batch = a_task.draw(torch.tensor([1, 13, 25]), torch.tensor([5, 6, 7]))
    assert torch.equal(batch["raw"][0], batch["raw"][1]) and torch.equal(batch["raw"][0], batch["raw"][2])


def test_noise_is_normal_and_a_function_of_key_and_place():
    drawn = gan.noise(7, torch.arange(4000), 20)
    assert abs(drawn.mean()) < 0.01 and abs(drawn.std() - 1) < 0.01 and drawn.isfinite().all()
    assert torch.equal(gan.noise(7, torch.tensor([11, 3]), 20), drawn[[11, 3]])
    assert not torch.equal(gan.noise(8, torch.arange(4), 20), drawn[:4])


def test_sheet_puts_images_row_by_row():
    images = torch.zeros(3, 1, 64, 64)
    images[1], images[2] = 0.5, 1.0
    whole = gan.sheet(images)  # two columns, two rows, gaps of 2 px
    assert whole.shape == (134, 134)
    assert [int(whole[y, x]) for y, x in ((30, 30), (30, 100), (100, 30), (100, 100))] == [0, 128, 255, 128]
    assert gan.sheet(torch.rand(2, 3, 64, 64)).shape == (68, 134, 3)


def test_start_of_the_layers():
    a_task = task("model.widths=[128,64,32]", "model.z=100")
    for net, norms in ((a_task.G, 3), (a_task.D, 2)):
        weights = {n: p for n, p in net.named_parameters() if p.ndim == 4}
        for weight in weights.values():
            assert abs(weight.std() - 0.02) < 0.002 and abs(weight.mean()) < 0.002
        found = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert len(found) == norms and all(abs(m.weight.mean() - 1) < 0.02 and m.weight.std() > 0.01 for m in found)
    assert not isinstance(a_task.D.layers[1], torch.nn.BatchNorm2d)  # none after the first layer


def test_discriminator_sees_a_pack_as_channels():
    D = task("model.pack=2", "model.widths=[8,4,4]").D.eval()
    images = torch.randn(4, 1, 32, 32)
    expected = D.layers(torch.stack([torch.cat([images[0], images[1]]), torch.cat([images[2], images[3]])])).flatten()
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
        (["model.input.size_px=64"], "model.input.size_px"),
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
    with pytest.raises(UserError, match="is for pipeline=gan"):
        config.from_overrides(["model=small_dcgan", "pipeline=classify"])
