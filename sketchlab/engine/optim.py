"""Optimizers and learning rates: the rate is a function of the epoch, so there is no scheduler to save."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sketchlab import components
from sketchlab.engine.runtime import Runtime
from sketchlab.engine.settings import OPTIMIZERS, Config
from sketchlab.errors import UserError


def make(parameters: list[Any], loop: Config, runtime: Runtime) -> torch.optim.Optimizer:
    """parameters: tensors, or groups {"params": [...], "lr": peak of this group, ...} as torch.optim takes them.
    Tensors with an lr_scale (weights.decay_rates) form groups by it, whose peak is loop.lr times it.

    On a GPU one kernel for all parameters, whose rate and count are tensors: a recorded step (engine/steps.py) would
    keep numbers as they were. Checkpoints hold the rate as a number. Elsewhere torch's default.
    """
    groups: list[dict[str, Any]] = [dict(p) if isinstance(p, dict) else {"params": [p]} for p in parameters]
    if not any(isinstance(p, dict) for p in parameters):
        scaled: dict[float, list[Tensor]] = {}
        for parameter in parameters:
            scaled.setdefault(getattr(parameter, "lr_scale", 1.0), []).append(parameter)
        groups = [{"params": of} | ({"lr": loop.lr * by} if by != 1 else {}) for by, of in scaled.items()]
    for group in groups:
        group["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        if "lr" in group:
            group["peak_lr"] = group["lr"]  # set_rate scales this one
    every = [p for group in groups for p in group["params"]]
    own = loop.optimizer not in OPTIMIZERS
    on_gpu = (
        bool(every) and all(p.is_cuda for p in every) and not own
    )  # one's own are written for a rate that is a number
    if own:
        optimizer: torch.optim.Optimizer = components.make(
            "optimizer", loop.optimizer, loop.optimizer_options, groups, loop.lr, loop.weight_decay
        )
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise UserError(f"optimizer={loop.optimizer}: build gave {type(optimizer).__name__}; expected an Optimizer")
    else:
        if on_gpu:
            groups = [g | {"lr": torch.tensor(g["lr"], device=every[0].device)} if "lr" in g else g for g in groups]
        lr = torch.tensor(loop.lr, device=every[0].device) if on_gpu else loop.lr
        common: dict[str, Any] = {"lr": lr, "weight_decay": loop.weight_decay} | ({"fused": True} if on_gpu else {})
        if loop.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=loop.momentum, **common)
        else:
            kind = torch.optim.AdamW if loop.optimizer == "adamw" else torch.optim.Adam
            common |= {"capturable": True} if on_gpu else {}
            optimizer = kind(groups, betas=(loop.betas[0], loop.betas[1]), **common)
    if on_gpu:
        optimizer.register_state_dict_post_hook(_rates_as_numbers)
        optimizer.register_load_state_dict_post_hook(_rates_as_tensors)
    if runtime.precision == "fp16":
        _scale(optimizer)
    return optimizer


def _rates_as_numbers(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


def _rates_as_tensors(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
        if "capturable" in optimizer.defaults:
            group["capturable"] = optimizer.defaults["capturable"]


def _scale(optimizer: torch.optim.Optimizer) -> None:
    """Loss scaling for fp16 (Micikevicius et al. 2018): its scale belongs to the optimizer's state in checkpoints.

    The scaler skips a step whose gradients overflowed and halves the scale; the optimizer's fused kernel reads both
    from the device, so that nothing waits.
    """
    scaler = torch.amp.GradScaler("cuda")
    scaler._lazy_init_scale_growth_tracker(optimizer.param_groups[0]["params"][0].device)
    optimizer.scaler = scaler  # type: ignore[attr-defined]

    def with_scale(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "scaler": scaler.state_dict()}

    def take_scale(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        scaler.load_state_dict(state["scaler"])
        return {key: value for key, value in state.items() if key != "scaler"}

    optimizer.register_state_dict_post_hook(with_scale)
    optimizer.register_load_state_dict_pre_hook(take_scale)


def rate(loop: Config, epoch: float, lr: float | None = None) -> float:
    """Learning rate after `epoch` epochs (with fraction); `lr` replaces loop.lr as the peak.

    constant; cosine to 0 (Loshchilov, Hutter 2017, no restarts); linear: constant until decay_from_epoch, then straight
    to 0 (CycleGAN); step: times step_gamma every step_epochs. All after a linear warm-up of warmup_epochs.
    """
    peak = loop.lr if lr is None else lr
    if epoch < loop.warmup_epochs:
        return peak * max(epoch, 0.05 * loop.warmup_epochs) / loop.warmup_epochs
    if loop.schedule == "constant":
        return peak
    if loop.schedule == "step":
        return peak * loop.step_gamma ** math.floor(epoch / loop.step_epochs)
    start = loop.warmup_epochs if loop.schedule == "cosine" else loop.decay_from_epoch
    done = min(max(0.0, (epoch - start) / max(loop.epochs - start, 1e-9)), 1.0)
    return peak * (0.5 * (1 + math.cos(math.pi * done)) if loop.schedule == "cosine" else 1 - done)


def depends_on_total(loop: Config) -> bool:
    """Whether adding epochs would have changed the epochs already trained."""
    return loop.schedule in ("cosine", "linear")


def set_rate(optimizer: torch.optim.Optimizer, loop: Config, epoch: float, lr: float | None = None) -> None:
    """The learning rate of the step that begins at `epoch`; `lr` replaces loop.lr as the peak. A group that was made
    with a rate of its own keeps its ratio to loop.lr."""
    for group in optimizer.param_groups:
        own = group.get("peak_lr")
        fill_rate(group, rate(loop, epoch, lr if own is None else own if lr is None else own * lr / loop.lr))


def fill_rate(group: dict[str, Any], value: float) -> None:
    """The rate of a group; where it is a tensor (on a GPU), that tensor is filled, since a recorded step reads it."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def backward(
    loss: Tensor, optimizer: torch.optim.Optimizer, runtime: Runtime, inputs: list[nn.Parameter] | None = None
) -> None:
    """Gradients of a loss, into what `optimizer` changes (or into `inputs` alone); scaled where precision is fp16."""
    scaler = getattr(optimizer, "scaler", None)
    with runtime.span("backward"):
        (loss if scaler is None else scaler.scale(loss)).backward(inputs=inputs)
    if scaler is not None:
        optimizer.scaled = True  # type: ignore[attr-defined]


def update(optimizer: torch.optim.Optimizer, runtime: Runtime, loop: Config) -> Tensor | None:
    """After backward(): average gradients over ranks, clip, step, clear.

    Returns the norm of the gradient when it is clipped (loop.clip_norm=inf measures and clips nothing).
    Raises RuntimeError where the loss of fp16 went backward without its scale.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    runtime.mean_grads(parameters)
    scaler: Any = getattr(optimizer, "scaler", None)
    if scaler is not None:
        if not getattr(optimizer, "scaled", False):
            raise RuntimeError("precision fp16: call optim.backward(loss, optimizer, runtime), not loss.backward()")
        optimizer.scaled = False  # type: ignore[attr-defined]
        if loop.clip_norm > 0:
            scaler.unscale_(optimizer)
    if math.isinf(loop.clip_norm):
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    else:
        norm = nn.utils.clip_grad_norm_(parameters, loop.clip_norm) if loop.clip_norm > 0 else None
    if scaler is not None and norm is not None:
        norm = torch.where(norm.isfinite(), norm, 0)  # of a step that the scaler skips
    with runtime.span("optimizer"):
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad(set_to_none=True)
    return norm
