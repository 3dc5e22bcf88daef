"""What Sequencer's authors argue from (Tatsunami and Taki 2022): how far a place sees, and what the LSTMs hold there.

For networks with stages that mix a map in space, which say so by `hidden(x) -> {direction: (B, h, w, units)}`.
The effective receptive field is that of Luo et al. 2016 as Ding et al. 2022 (section 4) measure it: the gradient of the
map's central place, all its channels summed, with respect to the input; its positive part summed over the input's
channels (frames) and averaged over images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine.protocols import Prepare, Raw, Split, StrokePrepare
from sketchlab.errors import UserError
from sketchlab.layers.chain import flatten
from sketchlab.pipelines.classify.gradcam import any_kernel

IMAGES = 256  # of a split that the receptive field is averaged over, at most
SHOWN = 6  # of a split whose hidden states are kept, at most
BATCH = 16  # whose gradients are held at once


def hidden_states(
    net: nn.Module, images: Callable[[Raw], Tensor], samples: Split, most: int, seed: int, prepare: Prepare
) -> dict[str, Any]:
    """Of a network that mixes in space, asked about a keyed sample of a split; {} for any other, or when most is 0.

    images: raw batch → what the network takes, on its device. prepare: of the data set; it draws.
    Returns erf (2, S, S) float32, before the first mixing stage and after the last one, each with 1 as its largest
    value; erf_images (1,), how many it is the mean of; hidden (K, stages, 4, h, w) float32, the mean over units of |h|
    of vertical and horizontal LSTM, forwards and backwards each; hidden_places (K,); hidden_pixels (K, S, S) uint8.
    """
    stages = flatten(net)
    mixing = [i for i, stage in enumerate(stages) if any(hasattr(m, "hidden") for m in stage.modules())]
    if not mixing or not most or not len(samples):
        return {}
    net.eval()
    every = torch.arange(len(samples))
    places = every[rng.fold_each(rng.fold(seed, "mixing"), every).argsort(stable=True)][:IMAGES]
    chains = [nn.Sequential(*stages[: mixing[0]]), nn.Sequential(*stages[: mixing[-1] + 1])]
    fields = [field(chain, images, samples, places) for chain in chains]
    examples = places[: min(most, SHOWN)]
    raw = samples.gather(examples)
    assert isinstance(prepare, StrokePrepare), "frames are drawn from strokes"
    ink = prepare.drawn(raw).amax(1)  # of frames: after the last stroke
    return {
        "erf": torch.stack([each / each.max().clamp(min=torch.finfo(each.dtype).tiny) for each in fields]),
        "erf_images": torch.tensor([len(places)]),
        "hidden": hidden(stages, images(raw)),
        "hidden_places": examples,
        "hidden_pixels": (ink if prepare.input.ink == "bright" else 255 - ink).cpu(),
    }


def field(chain: nn.Module, images: Callable[[Raw], Tensor], samples: Split, places: Tensor) -> Tensor:
    """(S, S) float32 on the CPU: the positive gradient of the central place of chain's map (B, h, w, C)."""
    total: Any = 0.0
    for part in places.split(BATCH):
        inputs = images(samples.gather(part)).detach().requires_grad_()  # (B, T, S, S)
        with torch.enable_grad(), any_kernel(chain):
            maps = chain(inputs)
            centre = maps[:, maps.shape[1] // 2, maps.shape[2] // 2].sum()
            (gradient,) = torch.autograd.grad(centre, inputs, allow_unused=True)
        if gradient is None:
            raise UserError("the map of this network does not depend on its input, so there is no receptive field")
        total = total + F.relu(gradient).double().sum((0, 1)).cpu()
    return (total / len(places)).float()


@torch.no_grad()
def hidden(stages: list[nn.Module], inputs: Tensor) -> Tensor:
    """(B, T, S, S) → (B, mixing stages, directions, h, w) on the CPU: mean over units of |hidden state|."""
    found = []

    def note(module: Any, given: tuple[Tensor, ...], _: Any) -> None:
        found.append(torch.stack([state.abs().mean(3) for state in module.hidden(given[0]).values()], dim=1))

    layers = [m for stage in stages for m in stage.modules() if hasattr(m, "hidden")]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        nn.Sequential(*stages)(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found, dim=1).float().cpu()
