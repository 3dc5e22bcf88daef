"""A run of a GAN opened again: its generator, its translators, and the images they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sketchlab import rng
from sketchlab.data.images.augment import Prepare
from sketchlab.data.images.decode import decode
from sketchlab.engine import checkpoint
from sketchlab.errors import UserError
from sketchlab.pipelines.gan.sheets import noise
from sketchlab.runs import OpenedRun

WHICH = ("best", "last")
_BATCH = 64


def generator(run: OpenedRun, which: str = "best") -> nn.Module:
    """(n, z), and (n,) classes where net.n_classes > 0 → (n, C, S, S): net.pixels(…) brings them to [0, 1].

    which: best (by KID) or last. The moving average where the run kept one. On the CPU, in eval mode. UserError when
    it is no run of a GAN, or has no such checkpoint.
    """
    run.check_answers("images", "generate")
    found, file = parts(run, which)
    net: Any = _built(run)["G"]
    checkpoint.restore({"G": net}, {"G": found.get("G_ema", found["G"])}, file)
    return net.eval()


def translator(run: OpenedRun, to: str, which: str = "best") -> nn.Module:
    """(n, C, S, S) of one kind → of the other, in [−1, 1]; to: sketch or photo. As generator() otherwise."""
    run.check_answers("translations", "translate")
    if to not in ("sketch", "photo"):
        raise UserError(f"translate: to={to}: expected sketch or photo")
    found, file = parts(run, which)
    name = f"to_{to}"
    net: Any = _built(run)[name]
    checkpoint.restore({name: net}, found, file)
    return net.eval()


def parts(run: OpenedRun, which: str) -> tuple[dict[str, Any], Any]:
    """What checkpoints/<which>.pt holds, and that file. Raises UserError where there is none."""
    file = run.path / "checkpoints" / f"{which}.pt"
    if not file.exists():
        there = [name for name in WHICH if (run.path / "checkpoints" / f"{name}.pt").exists()]
        hint = f"there is {' and '.join(there)}" if there else f"the run is {run.status.get('state')}, train it first"
        raise UserError(f"{run.path}: no checkpoints/{which}.pt: {hint} (run.keep_last=true keeps last.pt)")
    return checkpoint.load(file)["parts"], file


def _built(run: OpenedRun) -> Any:
    """The networks, without looking for the weights that a discriminator started from."""
    model = run.model
    if hasattr(model.config, "weights"):
        model = dataclasses.replace(model, config=dataclasses.replace(model.config, weights="none"))
    return model.build(len(run.classes))


def class_numbers(run: OpenedRun, net: Any, n: int, names: list[str]) -> Tensor | None:
    """(n,) the classes to generate: those of `names` in turn, or all in turn where it is empty; None where the run
    was trained without classes. UserError for n below 1 too."""
    if n < 1:
        raise UserError(f"-n {n}: expected at least 1")
    if not net.n_classes:
        if names:
            raise UserError(
                f"class {names[0]}: {run.path} was trained without classes; take a run of dcgan_conditional"
            )
        return None
    for name in names:
        check_class(run, name)
    numbers = torch.tensor([run.classes.index(name) for name in names or run.classes])
    return numbers[torch.arange(n) % len(numbers)]


def check_class(run: OpenedRun, name: str) -> None:
    if name not in run.classes:
        raise UserError(f"class {name}: no such class; {run.path} knows {', '.join(run.classes)}")


@torch.no_grad()
def images(run: OpenedRun, net: Any, n: int, seed: int, classes: Tensor | None) -> np.ndarray:
    """(n, S, S) or (n, S, S, 3) uint8 as people see the data: drawings dark on white. Image i follows from seed and i,
    whatever n is."""
    z, out = noise(rng.fold("generate", seed), torch.arange(n), net.z), []
    for at in torch.arange(n).split(_BATCH):
        made = net(z[at]) if classes is None else net(z[at], classes[at])
        out.append(as_people_see(net.pixels(made), run))
    return np.concatenate(out)


def as_people_see(pixels: Tensor, run: OpenedRun) -> np.ndarray:
    """(n, C, S, S) in [0, 1] → (n, S, S) or (n, S, S, 3) uint8; drawings in the ink of the run's data."""
    return _bytes(1 - pixels if run.ink != "none" and run.ink != run.input.ink else pixels)


def _bytes(pixels: Tensor) -> np.ndarray:
    """(n, C, S, S) in [0, 1] → (n, S, S) or (n, S, S, 3) uint8."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return array[..., 0] if array.shape[3] == 1 else array


def picture_reader(run: OpenedRun, to: str) -> Callable[[bytes], np.ndarray]:
    """Bytes of an image file → (C, S, S) uint8 as the network was shown such images: photos in colour, drawings grey
    and in the ink it takes."""
    channels = run.input.channels if to == "sketch" else 1
    invert = to == "photo" and run.input.ink == "bright"
    resize = run.config["data"].get("resize", "pad")

    def read(content: bytes) -> np.ndarray:
        pixels = decode(content, run.input.size_px, channels, resize)
        return 255 - pixels if invert else pixels

    return read


@torch.no_grad()
def translated(run: OpenedRun, net: Any, read: list[Any], to: str) -> np.ndarray:
    """(n, S, S[, 3]) uint8; drawings dark on white."""
    given = Prepare(run.input, None)(torch.from_numpy(np.stack(read)))  # (n, 1 or C, S, S)
    made = net(given.expand(-1, run.input.channels, -1, -1))
    mean, std = (torch.tensor(v)[:, None, None] for v in (run.input.mean, run.input.std))
    pixels = made * std + mean
    return _bytes(1 - pixels if to == "sketch" and run.input.ink == "bright" else pixels)
