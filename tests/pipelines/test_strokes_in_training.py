"""Batches of strokes through the classification task: every kind of input, parts of batches, pictures of mistakes."""

import pytest
import torch
from torch import nn

from sketchlab import config, inputs
from sketchlab.data.sheet import of_training
from sketchlab.engine.runtime import Runtime
from sketchlab.inputs import Input
from sketchlab.pipelines.classify import task as classify
from tests import every

WORDS = [
    "data=shapes",
    "data.classes=[circle,square,line]",
    "data.per_class=10",
    "runtime.device=cpu",
    "loop.batch_size=8",
]
TAKES = {
    "frames": Input("frames", 32, 4, "bright", [0.0], [1.0]),
    "points": Input("points", 1, 5, "bright", [0.0], [0.1]),
}


class Mean(nn.Module):
    """The mean over places and times, then one linear layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.head = kind, nn.Linear(4 if kind == "frames" else 5, 3)

    def forward(self, x):
        if self.kind == "frames":
            return self.head(x.flatten(2).mean(2))
        real = inputs.lengths(x)
        known = torch.arange(x.shape[1]) < real[:, None]
        return self.head((x * known[..., None]).sum(1) / real[:, None])


def task(kind, *words):
    run = config.from_overrides([*WORDS, *words])
    data = run.data.build(TAKES[kind])
    torch.manual_seed(0)
    return classify.build(run.pipeline.config, Mean(kind), data, run.loop, Runtime(run.runtime), 0), data


@pytest.mark.parametrize("kind", TAKES)
def test_a_step_in_parts_is_the_step_in_one(kind):
    steps = {}
    for parts in (1, 4):
        made, data = task(kind, f"loop.accumulate={parts}")
        places = torch.arange(8)
        batch = made.draw(places, made.data.splits["train"].rows[:8])
        every.step(made, batch, 0.0)
        steps[parts] = [p.detach().clone() for p in made.net.parameters()]
    for one, four in zip(steps[1], steps[4], strict=True):
        assert torch.allclose(one, four, atol=1e-5)


@pytest.mark.parametrize("kind", TAKES)
def test_answers_show_the_drawings_they_got_wrong(kind):
    made, data = task(kind)
    results = made.evaluate("val")
    assert len(results["predictions"]) == len(data.splits["val"])
    wrong = results["mistake_places"]
    pixels = results["mistake_pixels"]
    assert pixels.shape == (len(wrong), 96, 96) and pixels.dtype == torch.uint8
    assert torch.equal(pixels, data.splits["val"].pictures(wrong)[:, 0])
    assert (pixels[:, 0, 0] == 255).all() and (pixels.flatten(1).min(1).values < 100).all()


@pytest.mark.parametrize("kind", TAKES)
def test_the_sheet_shows_what_the_network_sees(kind):
    _, data = task(kind)
    sheet = of_training(data, TAKES[kind], 0)
    assert sheet.ndim == 3 and sheet.shape[2] == 3 and sheet.std() > 5
