"""Receptive fields and hidden states against plain twins; Grad-CAM of networks that take frames."""

import pytest
import torch
from torch import nn

from sketchlab import config
from sketchlab.engine.runtime import Runtime
from sketchlab.errors import UserError
from sketchlab.layers.chain import flatten
from sketchlab.models.cnn_bilstm2d import DIRECTIONS, BiLSTM2D
from sketchlab.pipelines.classify import bilstm2d, gradcam
from tests import every


def task(model, *words):
    run = config.from_overrides(every.small(model, "pipeline.explain=4", *words))
    data = run.data.build(run.model.config.input)
    runtime = Runtime(run.runtime)
    runtime.seed(1)
    return run.pipeline.build(run.model.build(len(data.classes)), data, run.loop, runtime, 1)


def test_hidden_states_are_those_of_plain_lstms():
    torch.manual_seed(0)
    layer, x = BiLSTM2D(5, 3), torch.randn(2, 4, 6, 5)
    found = layer.hidden(x)
    assert tuple(found) == DIRECTIONS and all(h.shape == (2, 4, 6, 3) for h in found.values())
    column, _ = nn.LSTM.forward(layer.vertical, x[:, :, 2])  # (B, h, 2·3), of the third column alone
    assert torch.allclose(torch.cat([found["down"], found["up"]], 3)[:, :, 2], column, atol=1e-6)
    row, _ = nn.LSTM.forward(layer.horizontal, x[:, 1])
    assert torch.allclose(torch.cat([found["right"], found["left"]], 3)[:, 1], row, atol=1e-6)
    assert torch.equal(layer(x), layer.mix(torch.cat(list(found.values()), 3)))


def test_the_field_is_the_gradient_by_differences():
    class Chain(nn.Module):
        def forward(self, x):  # (B, T, S, S) → (B, S, S, 2): 3 times the place itself, −1 times the one to its right
            maps = 3 * x.sum(1) - x.sum(1).roll(-1, 2)
            return torch.stack([maps, maps], 3)

    class Samples:
        def gather(self, places):
            return torch.randn(len(places), 2, 8, 8, generator=torch.Generator().manual_seed(0))

    field = bilstm2d.field(Chain(), lambda raw: raw, Samples(), torch.arange(20))
    expected = torch.zeros(8, 8)
    expected[4, 4] = 2 * 2 * 3.0  # two frames, two channels; what pulls the other way does not count
    assert torch.equal(field, expected)


def test_of_a_network_that_mixes_in_space():
    made = task("cnn_bilstm2d")
    made.evaluate("val")
    found = every.explained(made, "val")
    assert found["erf"].shape == (2, 16, 16) and found["erf"].amax((1, 2)).tolist() == [1, 1]
    seen = [(field > 0).sum().item() for field in found["erf"]]
    assert seen[0] < seen[1] <= 256  # the LSTMs see further than the convolutions
    assert found["hidden"].shape == (4, 2, 4, 4, 4) and found["hidden"].max() < 1
    assert found["hidden_pixels"].shape == (4, 16, 16) and len(found["hidden_places"]) == 4
    assert all(p.grad is None for p in made.net.parameters())


def test_no_other_network_has_these():
    made = task("cnn_strokes")
    made.evaluate("val")
    assert not {"erf", "hidden"} & set(every.explained(made, "val"))


@pytest.mark.parametrize("model", ["cnn_strokes", "cnn_lstm", "cnn_bilstm2d"])
def test_gradcam_of_frames_is_that_of_all_their_maps(model):
    made = task(model)
    made.net.eval()
    images = made._images(made.train.gather(torch.arange(3)), None)
    layer = gradcam.last_map(made.net, images)
    stages = flatten(made.net)
    assert layer is stages[0]
    classes = torch.tensor([0, 1, 2])
    heat = gradcam.heat(made.net, layer, images, classes)
    maps = stages[0](images).detach().requires_grad_()  # (B, T, C, h, w)
    score = nn.Sequential(*stages[1:])(maps).gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, maps)
    plain = (gradient.mean((3, 4), keepdim=True) * maps).sum((1, 2)).relu().detach()
    assert torch.allclose(heat, plain / plain.amax((1, 2), keepdim=True).clamp(min=1e-30), atol=1e-6)


def test_the_picture_shows_every_stroke_and_points_have_none():
    made = task("cnn_strokes")
    made.evaluate("val")
    found = every.explained(made, "val")
    raw = made.splits and made.data.splits["val"].gather(found["cam_places"])
    assert torch.equal(found["cam_pixels"], made.data.prepare.drawn(raw).amax(1))
    points = task("stroke_lstm")
    points.evaluate("val")
    with pytest.raises(UserError, match="takes points"):
        points.explain("val")["Grad-CAM"]()
