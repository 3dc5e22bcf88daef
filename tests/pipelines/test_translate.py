"""CycleGAN: the step against a twin written out plainly, pools, both directions, resuming, mistakes in one line."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.models import cyclegan
from sketchlab.pipelines.translate.image_pool import Pool
from sketchlab.pipelines.translate.task import Translate
from tests import every

SMALL = [
    *("model=small_cyclegan", "model.input.size_px=16", "model.width=4", "model.blocks=1", "model.width_d=4"),
    *("data.classes=[circle,square]", "data.per_class=8", "data.splits.train=0.5", "data.splits.val=0.25"),
    *("data.splits.test=0.25", "runtime.device=cpu", "runtime.channels_last=false", "loop.batch_size=2"),
    *("pipeline.features=random", "pipeline.pool=3", "pipeline.sheet=2", "loop.epochs=3", "loop.decay_from_epoch=1"),
]
PUBLISHED = ["pipeline.gan_loss=bce", "pipeline.cycle=adversarial", "pipeline.weight_identity=0", "pipeline.pool=0"]
PUBLISHED += ["model.generator=short", "model.discriminator=dcgan", "model.norm=batch"]


def task(*words: str) -> Translate:
    run = config.from_overrides([*SMALL, *words])
    data = run.data.build(run.model.config.input)
    torch.manual_seed(0)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, Runtime(run.runtime), run.seed)


def step(a_task: Translate, number: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(number)
    places = torch.arange(a_task.loop.batch_size) + number
    return every.step(a_task, a_task.draw(places, places), 0.0)


def test_a_step_is_the_authors():
    ours = task("pipeline.pool=0")
    batch = ours.draw(torch.arange(2), torch.arange(2))
    photo = ours.reals["photo"].images(batch["photo"], None)
    sketch = ours.reals["sketch"].images(batch["sketch"], None)
    G, H, D, E = (copy.deepcopy(ours.nets[name]) for name in ("to_sketch", "to_photo", "D_sketch", "D_photo"))
    fake_sketch, fake_photo = G(photo), H(sketch)
    fool = ((D(fake_sketch) - 1) ** 2).mean() + ((E(fake_photo) - 1) ** 2).mean()
    cycle = (H(fake_sketch) - photo).abs().mean() + (G(fake_photo) - sketch).abs().mean()
    same = (G(sketch) - sketch).abs().mean() + (H(photo) - photo).abs().mean()
    loss_g = fool + 10 * cycle + 5 * same
    first_step(G, H, loss_g)
    loss_d = sum(
        0.5 * (((net(real) - 1) ** 2).mean() + (net(fake.detach()) ** 2).mean())
        for net, real, fake in ((D, sketch, fake_sketch), (E, photo, fake_photo))
    )
    first_step(D, E, loss_d)
    logs = every.step(ours, batch, 0.0)
    torch.testing.assert_close(logs["loss_g"], loss_g.detach())
    torch.testing.assert_close(logs["loss_d"], loss_d.detach())
    for name, twin in zip(("to_sketch", "to_photo", "D_sketch", "D_photo"), (G, H, D, E), strict=True):
        for a, b in zip(ours.nets[name].parameters(), twin.parameters(), strict=True):
            if a.ndim == 4:  # a bias before an instance norm has no gradient but rounding, which Adam blows up
                torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)
    assert all(p.grad is None for net in ours.nets.values() for p in net.parameters())


def first_step(one: nn.Module, two: nn.Module, loss: Tensor, lr: float = 2e-4) -> None:
    """Adam's first: its bias-corrected moments are the gradient and its square."""
    parameters = [*one.parameters(), *two.parameters()]
    grads = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for p, g in zip(parameters, grads, strict=True):
            p -= lr * g / (g.abs() + 1e-8)


def test_as_published_a_reconstruction_need_only_pass_for_real():
    ours = task(*PUBLISHED)
    batch = ours.draw(torch.arange(2), torch.arange(2))
    photo, sketch = (ours.reals[d].images(batch[d], None) for d in ("photo", "sketch"))
    for net in ours.nets.values():
        net.train()
    twins = {name: copy.deepcopy(net) for name, net in ours.nets.items()}
    G, H, D, E = (twins[name] for name in ("to_sketch", "to_photo", "D_sketch", "D_photo"))
    fake_sketch, fake_photo = G(photo), H(sketch)
    judged = D(fake_sketch), E(fake_photo), D(G(fake_photo)), E(H(fake_sketch))
    terms = [F.softplus(-logits).mean() for logits in judged]
    logs = every.step(ours, batch, 0.0)
    weight = ours.config.weight_cycle
    torch.testing.assert_close(logs["loss_g"], terms[0] + terms[1] + weight * (terms[2] + terms[3]))
    assert logs["part_identity"] == 0 and 0 < logs["d_real"] < 1


def test_experiment_as_published():
    run = config.from_overrides(["experiment=mamin/cyclegan"])
    nets = run.model.build(2)
    assert run.model.config.input.size_px == 64 and run.pipeline.config.pool == 0
    assert nets["to_photo"](torch.zeros(2, 3, 64, 64)).shape == (2, 3, 64, 64)
    assert nets["D_photo"](torch.zeros(2, 3, 64, 64)).shape == (2,)
    assert sum(isinstance(m, cyclegan.Residual) for m in nets["to_photo"].modules()) == 2


def test_networks_are_the_authors():
    """Parameters of the public implementation at 256 px: 11.378 M in a generator, 2.765 M in a discriminator."""
    run = config.from_overrides(["model=cyclegan"])
    nets = run.model.build(2)
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert sizes["to_sketch"] == sizes["to_photo"] == 11_378_179
    assert sizes["D_sketch"] == sizes["D_photo"] == 2_764_737
    assert nets["D_photo"](torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)
    assert run.loop.batch_size == 1 and (run.loop.epochs, run.loop.decay_from_epoch) == (200, 100)


def test_reflection_is_torchs():
    images = torch.randn(2, 3, 7, 9, requires_grad=True)
    twin = images.detach().clone().requires_grad_()
    ours, theirs = cyclegan.Reflect(3)(images), nn.ReflectionPad2d(3)(twin)
    assert torch.equal(ours, theirs)
    (ours**2).sum().backward()
    (theirs**2).sum().backward()
    torch.testing.assert_close(images.grad, twin.grad)


def asked(pool: Pool, images: Tensor) -> Tensor:
    pool.choose(len(images))
    return pool.query(images)


def test_pool_gives_back_older_images_half_of_the_time():
    runtime = Runtime(config.from_overrides(SMALL).runtime)
    pool, own, seen = Pool(3, runtime), 0, []
    torch.manual_seed(1)
    for number in range(600):
        image = torch.full((1, 1, 1, 1), float(number))
        out = asked(pool, image)
        if number < 3:
            assert torch.equal(out, image)
            continue
        own += int(torch.equal(out, image))
        seen.append(float(out))
    assert 250 < own < 350 and len(set(seen)) == len(seen)  # what comes out of the pool is replaced
    assert pool.filled == 3 and pool.images is not None and len(pool.images) == 3
    other = Pool(3, runtime)
    other.load_state_dict(pool.state_dict())
    torch.manual_seed(2)
    first = [asked(pool, torch.zeros(2, 1, 1, 1)) for _ in range(5)]
    torch.manual_seed(2)
    assert all(torch.equal(a, asked(other, torch.zeros(2, 1, 1, 1))) for a in first)
    assert torch.equal(asked(Pool(0, runtime), torch.ones(1, 1, 1, 1)), torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize("words", [[], PUBLISHED])
def test_goes_on_where_it_stopped(words):
    whole = task(*words)
    for number in range(3):
        step(whole, number)
    kept = {name: copy.deepcopy(part.state_dict()) for name, part in whole.parts.items()}
    assert ("pool_photo" in kept) == (not words)
    fresh = task(*words)
    for name, part in fresh.parts.items():
        part.load_state_dict(kept[name])
    for number in range(3, 6):
        logs = [step(t, number) for t in (whole, fresh)]
        assert all(torch.equal(logs[0][key], logs[1][key]) for key in logs[0])
    for name in whole.weights:
        for a, b in zip(whole.nets[name].parameters(), fresh.nets[name].parameters(), strict=True):
            assert torch.equal(a, b)


def test_each_direction_is_made_by_its_own_generator():
    a_task = task()
    for name, net in a_task.nets.items():
        if name.startswith("to_"):
            value = 0.5 if name == "to_sketch" else -0.5
            net.forward = lambda x, value=value: torch.full_like(x, value)
    out = a_task.evaluate("val")
    shown = out["translated_0_sheet"]  # photo, sketch, photo, sketch, photo, sketch; 64 px and 2 px between
    middle = [shown[34, 34 + 66 * column, 0].item() for column in range(6)]
    assert middle[1] == middle[5] == 191 and middle[2] == middle[4] == 64
    assert {"cycle_photo", "cycle_sketch", "kid@random", "kid_photo@random", "kid_photo_std@random"} < set(out)
    assert {"fid_sketch", "recall_photo"} < set(out["quality"]) and "fid_sketch@random" in out
    assert out["kid@random"] == pytest.approx((out["kid_photo@random"] + out["kid_sketch@random"]) / 2)
    known = out["calibration"]
    assert {"cycle_photo", "kid@random", "kid_photo@random", "fid_sketch@random", "recall_photo@random"} <= set(known)
    for name in ("real", "noise", "grey"):
        assert known["kid@random"][name] == sum(known[f"kid_{d}@random"][name] for d in ("photo", "sketch")) / 2
    photos = a_task.reals["photo"]
    grey = (photos.of("val") - photos.of("train").mean((0, 2, 3), keepdim=True)).abs().mean().item()
    assert known["cycle_photo"]["grey"] == pytest.approx(grey) and known["cycle_photo"]["real"] == 0
    real = a_task.reals["photo"].of("val")
    assert out["cycle_photo"] == pytest.approx((real - 0.25).abs().mean().item(), abs=1e-5)


def test_photos_and_sketches_are_not_drawn_as_pairs():
    a_task = task("data.per_class=40")
    n = a_task.n["sketch"]
    keys = torch.arange(400)
    assert n == a_task.n["photo"]
    chosen: dict[str, Tensor] = {}
    for name in ("sketch", "photo"):
        split = getattr(a_task.train, name)
        object.__setattr__(split, "gather", lambda at, name=name: chosen.update({name: at}))
    a_task.draw(torch.arange(400) % n, keys)
    same = (chosen["sketch"] == chosen["photo"]).double().mean()
    assert same < 0.1 and chosen["photo"].bincount(minlength=n).min() > 0


@pytest.mark.parametrize(
    "words, said",
    [
        (["pipeline.gan_loss=hinge"], "pipeline.gan_loss=hinge: expected lsgan or bce"),
        (["pipeline.cycle=l2"], "pipeline.cycle"),
        (["pipeline.pool=-1"], "pipeline.pool"),
        (["pipeline.weight_d=0"], "pipeline.weight_d"),
        (["model.generator=unet"], "model.generator"),
        (["model.input.size_px=18"], "model.input.size_px=18"),
        (["model.input.mean=[0,0,0]"], "0.5 for each channel"),
        (["loop.accumulate=2"], "loop.accumulate"),
    ],
)
def test_mistakes_in_one_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        task(*words)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_another_pipeline_does_not_fit():
    with pytest.raises(UserError, match="the model gives translators"):
        config.from_overrides(["model=cyclegan", "pipeline=gan"])


def test_one_image_of_each_kind_is_enough_to_train():
    found: Any = task("data.classes=[circle]", "data.per_class=1", "data.splits.train=1", "data.splits.val=0",
                      "data.splits.test=0")  # fmt: skip
    assert found.monitor == "" and step(found)["loss_g"].isfinite()
