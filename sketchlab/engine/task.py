"""What the loop asks of a pipeline, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sketchlab.layers.frame_front import FrameFront

# what only explains a result (Grad-CAM, maps, sheets), in words → what makes it, as `evaluate` gives its results
Explained = dict[str, Callable[[], dict[str, Any]]]


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Task(Protocol):
    """One thing to train. Its own file says what a step and an evaluation are; when they happen is the loop's.

    parts: modules, optimizers, replay pools: what a checkpoint holds. weights: the names of those that best.pt holds.
    n_train: how many samples an epoch has. views: augmentation repeats after so many epochs, 0 = never.
    monitor: "val/accuracy": best.pt is kept by it, which is better as its pipeline declares; "" = the last weights are
    the result.
    networks: name → (module, example inputs): what the architecture printout shows.
    fixed_shapes: whether every batch has the same shapes.
    """

    parts: dict[str, Stateful]
    weights: tuple[str, ...]
    n_train: int
    views: int
    fixed_shapes: bool
    monitor: str
    splits: tuple[str, ...]  # what evaluate() takes, in the order of train, val, test
    networks: dict[str, tuple[nn.Module, tuple[Tensor, ...]]]

    def draw(self, places: Tensor, keys: Tensor) -> dict[str, Any]:
        """(B,) places in the training split and (B,) int64 keys → raw samples, of one step or of several, one after
        another. Runs in the loader's threads where samples lie in memory or on disk."""
        ...

    def prepare(self, raw: dict[str, Any]) -> dict[str, Tensor]:
        """What draw gives → what train_step takes, on the device: (steps · B, …) each. Every sample by itself."""
        ...

    def begin_step(self, epoch: float) -> Hashable:
        """What the host decides before a step: whose turn it is, learning rates, random choices. `epoch` counts
        epochs done, with fraction. Steps of equal value launch the same kernels."""
        ...

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """From batch to optimizer.step(), on the device alone: nothing here waits for it, or changes a Python value.
        Returns scalars to average. On a GPU it is recorded once and replayed (engine/steps.py)."""
        ...

    def end_step(self) -> None:
        """What is counted after a step."""
        ...

    def learning(self) -> list[nn.Parameter]:
        """The parameters that some optimizer of the task changes."""
        ...

    def evaluate(self, split: str) -> dict[str, Any]:
        """Scores of a split, exact and unpadded over all ranks.

        float → metrics.jsonl as <split>/<name>, declared in its SCORES (sketchlab/metrics/declared.py); Tensor →
        arrays/<split>_<name>.npy; DataFrame → <name>_<split>.csv;
        dict → <name>_<split>.json (`chance`: score → what guessing gives, found there by the report; `warnings`:
        kind → what a reader must know before believing the scores, in words, for the log and the page);
        uint8 Tensor named `*_sheet`, (H, W) or (H, W, 3) → samples/<split>_<name>.png.
        """
        ...

    # explain(split) -> Explained, optional: what shows why the last answers were given, asked for once at the end
    # sizes, optional: (n_train,) of the training samples, for batches of samples of about one size (loader.Order)
    # norm_inputs(places, keys) -> [(network, what it takes)], optional: of (B,) training samples, without augmentation.
    # Batch norms are then measured for evaluations after few updates (layers/norms.py), `norm_batch` // 2 at a time;
    # a network may be a part of those in `networks`


class FitOnce(Protocol):
    """A baseline: fitted in one go from its inputs, refitted with the same bits, stored as arrays."""

    splits: tuple[str, ...]

    def fit(self) -> None: ...

    def arrays(self) -> dict[str, Any]:
        """The fitted state as plain tensors and numbers, as torch.load(weights_only=True) reads them."""
        ...

    def load(self, stored: dict[str, Any]) -> None:
        """What arrays() gave."""
        ...

    def evaluate(self, split: str) -> dict[str, Any]: ...


def trainable(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def printout(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[list[dict[str, Any]], int | None]:
    """The architecture as rows: every leaf layer in the order it ran, its output shape and parameters; and the
    multiply-accumulates of a sample: half of torch's floating-point operations.

    None in their place where there are recurrent layers, which torch does not count, or frames, of which those without
    ink are not computed.
    """
    rows: list[dict[str, Any]] = []
    names, learn = {layer: path for path, layer in module.named_modules()}, trainable(module)
    learnt = set(learn)

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        own = [p for p in layer.parameters(recurse=False)]
        plain = isinstance(output, Tensor) and not output.is_nested  # as layers of nn.TransformerEncoder pass on
        shape = list(output.shape[1:]) if plain else []
        path = f"{name}.{names[layer]}".rstrip(".")
        rows.append(
            {
                "layer": path,
                "type": layer.extra_repr() and f"{type(layer).__name__}({layer.extra_repr()})" or type(layer).__name__,
                "output": "×".join(map(str, shape)),
                "parameters": sum(p.numel() for p in own),
                "trainable": sum(p.numel() for p in own if p in learnt),
            }
        )

    leaves = [m for m in module.modules() if not any(True for _ in m.children())]
    handles = [leaf.register_forward_hook(note) for leaf in leaves]
    modes = {m: m.training for m in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        module.eval()
        torch.backends.mha.set_fastpath_enabled(False)  # its one operation is not counted, nor CPUs' flash attention
        for parameter in learn:  # an output that is a parameter itself would end torch's counter
            parameter.requires_grad_(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for m, mode in modes.items():
            m.training = mode
        torch.backends.mha.set_fastpath_enabled(fast)
        for parameter in learn:
            parameter.requires_grad_()
    if any(isinstance(m, nn.RNNBase | nn.RNNCellBase | FrameFront) for m in names):
        return rows, None
    return rows, counter.get_total_flops() // (2 * len(inputs[0]))
