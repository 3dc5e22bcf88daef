"""Where a classifier looked: Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) on its last spatial map."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.engine.protocols import Prepare, Raw, Split, StrokePrepare
from sketchlab.errors import UserError
from sketchlab.layers.chain import flatten

BATCH = 16  # images whose gradients are held at once


def last_map(net: nn.Module, images: Tensor) -> nn.Module | None:
    """The last stage that gives a map (B, C, h, w) larger than 1×1; None where there is none.

    Of a network that takes frames, the last that gives a map for each, (B, T, C, h, w): what comes later mixes places.
    Of a network that is no chain of stages, the last such layer in the order in which they ran.
    """
    stages, found = flatten(net), []
    layers = stages if len(stages) > 1 else [m for m in net.modules() if not any(True for _ in m.children())]

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim in (4, 5) and min(output.shape[-2:]) > 1:
            found.append((output.ndim, layer))

    handles = [layer.register_forward_hook(note) for layer in dict.fromkeys(layers)]
    try:
        with torch.no_grad():
            net(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    deepest = max((ndim for ndim, _ in found), default=0)
    return next((layer for ndim, layer in reversed(found) if ndim == deepest), None)


def heat(net: nn.Module, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """(B, C, S, S) images, (B,) classes → (B, h, w) in [0, 1]: what in the map of `layer` spoke for the class.

    A network that looks at crops of its images (a stage with `windows`) gives (B, S, S). Of frames, (B, T, S, S), the
    maps of all are channels of one picture: where the strokes together spoke for the class.

    Weights of the channels are the means of the logit's gradient; negative sums are cut; each image's largest value
    is 1, unless nothing spoke for the class, which is all 0. Parameters and their gradients are left as they were.
    Raises UserError where the answers do not depend on the map.
    """
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output if output.requires_grad else output.detach().requires_grad_())
        return kept[-1].clone()  # what follows may write in place

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad(), any_kernel(net):
            logits = net(images)
            score = logits.gather(1, classes[:, None].to(logits.device)).sum()
            used = score.requires_grad
            (gradient,) = torch.autograd.grad(score, kept[-1], allow_unused=True) if used else (None,)
    finally:
        handle.remove()
    if gradient is None:
        raise UserError("the answers of this network do not depend on its last map, so no place spoke for them")
    gradient, maps = (t.flatten(1, -3) for t in (gradient, kept[-1].detach()))  # (B, C, h, w), or (B, T·C, h, w)
    found = (gradient.mean((2, 3), keepdim=True) * maps).sum(1)  # (B, h, w), or of every crop
    crops = next((stage for stage in flatten(net) if hasattr(stage, "windows")), None)
    found = (_in_place(found, crops, images.shape[-1]) if crops else found).relu()
    return found / found.amax((1, 2), keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)


def _in_place(found: Tensor, crops: Any, size_px: int) -> Tensor:
    """(n·B, h, w) heat of the crops a network looks at → (B, S, S), the mean over those that show a place."""
    windows, c = crops.windows(size_px), crops.crop_px
    heat = found.new_zeros(len(found) // len(windows), size_px, size_px)
    times = found.new_zeros(size_px, size_px)
    for i, (top, left, mirrored) in enumerate(windows):
        part = found[i :: len(windows)]
        part = F.interpolate((part.flip(-1) if mirrored else part)[:, None].float(), size=(c, c), mode="bilinear")[:, 0]
        heat[:, top : top + c, left : left + c] += part
        times[top : top + c, left : left + c] += 1
    return heat / times.clamp(min=1)


@contextlib.contextmanager
def any_kernel(net: nn.Module) -> Iterator[None]:
    """On a GPU some pooling has no deterministic backward pass, and cuDNN's LSTMs have none in eval mode, where torch's
    own have: a picture must not end a run that has its scores."""
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(strict, warn_only=True)
    cudnn = torch.backends.cudnn.enabled and not any(isinstance(m, nn.RNNBase) for m in net.modules())
    try:
        with torch.backends.cudnn.flags(enabled=cudnn):
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)


def explained(
    net: nn.Module,
    images: Callable[[Raw], Tensor],
    samples: Split,
    logits: Tensor,
    most: int,
    seed: int,
    device: torch.device,
    prepare: Prepare,
) -> dict[str, Any]:
    """Up to `most` samples of a split with the heat for the predicted class: half of them wrong, the most confident
    first, the rest a keyed sample of right ones.

    images: raw batch → what the network takes, on its device. logits: (n, n_classes), of all samples in order.
    prepare: of the data set; of drawings kept as strokes it says what they become, and draws them.
    Returns cam (K, h, w) uint8, cam_places (K,) in the split, cam_pixels (K, S, S[, 3]) uint8, the image itself; {}
    when most is 0. Raises UserError where there is nothing to show.
    """
    if not most or not len(samples):
        return {}
    raw = samples.gather(torch.zeros(1, dtype=torch.int64))
    if why := _none(raw, prepare):
        raise UserError(why)
    net.eval()
    layer = last_map(net, images(raw))
    if layer is None:
        raise UserError("Grad-CAM shows places in a map; this network has none, so there is no picture.")
    predicted = logits.argmax(1)
    places = _chosen(logits, predicted != samples.labels.cpu(), most, seed)
    found = []
    for part in places.split(BATCH):
        inputs = images(samples.gather(part))
        found.append(heat(net, layer, inputs, predicted[part].to(device)).float().cpu())
    pixels = _shown(samples.gather(places), prepare).cpu().permute(0, 2, 3, 1).squeeze(-1)
    cam = (torch.cat(found) * 255).round().to(torch.uint8)
    return {"cam": cam, "cam_places": places, "cam_pixels": pixels}


def _none(raw: Raw, prepare: Prepare) -> str:
    """Why there is no Grad-CAM of these samples; "" where there may be one."""
    if isinstance(raw, Tensor) and raw.ndim == 4 and raw.dtype == torch.uint8:
        return ""
    kind = getattr(getattr(prepare, "input", None), "kind", "something else")
    if kind in ("images", "frames") and hasattr(prepare, "drawn"):
        return ""
    return f"Grad-CAM shows places in an image; this network takes {kind}, so there is none."


def _shown(raw: Raw, prepare: Prepare) -> Tensor:
    """(K, C, S, S) uint8: the image that the network saw; of strokes all of them, as they were drawn."""
    if isinstance(raw, Tensor):
        return raw
    assert isinstance(prepare, StrokePrepare), "what is no tensor is drawn"
    ink = prepare.drawn(raw).amax(1, keepdim=True)
    return ink if prepare.input.ink == "bright" else 255 - ink


def _chosen(logits: Tensor, wrong: Tensor, most: int, seed: int) -> Tensor:
    sure = logits.double().softmax(1).amax(1)
    bad, good = wrong.nonzero()[:, 0], (~wrong).nonzero()[:, 0]
    bad = bad[sure[bad].argsort(descending=True, stable=True)]
    good = good[rng.fold_each(rng.fold(seed, "explain"), good).argsort(stable=True)]
    n_bad = min(len(bad), max(most - most // 2, most - len(good)))
    return torch.cat([bad[:n_bad], good[: most - n_bad]])
