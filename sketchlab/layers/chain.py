"""A network as a chain of stages: where its frozen, deterministic beginning ends, what stays still in training."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def flatten(net: nn.Module) -> list[nn.Module]:
    """The stages of a network in order: nested Sequentials are opened, everything else is one stage."""
    if isinstance(net, nn.Sequential) and type(net).forward is nn.Sequential.forward:
        return [stage for child in net for stage in flatten(child)]
    return [net]


def frozen_prefix(net: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a network, after its parameters were frozen, into (prefix, rest) that share its modules.

    The prefix is the longest run of leading stages that give the same output for the same image throughout training:
    no trainable parameter, no dropout, no batch norm that moves or looks at its neighbours. It may be empty. Its
    output need be computed only once per image; `rest(prefix(x))` is `net(x)` to the bit.
    """
    stages = flatten(net)
    end = next((i for i, stage in enumerate(stages) if not _is_constant(stage)), len(stages))
    return nn.Sequential(*stages[:end]), nn.Sequential(*stages[end:])


def set_train(net: nn.Module) -> None:
    """Put a network in train mode, except batch norms whose parameters are all frozen: their statistics stay too."""
    net.train()
    for module in net.modules():
        if isinstance(module, _BatchNorm) and _is_frozen_norm(module):
            module.eval()


def moving_norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch norms whose running statistics follow training, in the order of net.modules()."""
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    return [norm for norm in norms if not _is_frozen_norm(norm)]


def penultimate(net: nn.Module) -> nn.Sequential:
    """The network without its last layer: what stands before the last stage that has parameters."""
    stages = flatten(net)
    last = max(i for i, stage in enumerate(stages) if any(True for _ in stage.parameters()))
    return nn.Sequential(*stages[:last])


class Trained:
    """The state of a network that its training changes: a checkpoint of a frozen VGG16 is its head, not 528 MB.

    Frozen parameters and the statistics of frozen batch norms come from model.weights again.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
        for path, module in net.named_modules():
            if isinstance(module, _BatchNorm) and _is_frozen_norm(module):
                frozen |= {f"{path}.{name}".lstrip(".") for name, _ in module.named_buffers(recurse=False)}
        self.names = [name for name in net.state_dict() if name not in frozen]

    def state_dict(self) -> dict[str, Any]:
        state = self.net.state_dict()
        return {name: state[name] for name in self.names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises RuntimeError on a name or shape that does not fit, as nn.Module does."""
        if unlike := set(state_dict) ^ set(self.names):
            name = sorted(unlike)[0]
            raise RuntimeError(
                f"{name} is {'not in the network' if name in state_dict else 'missing in the checkpoint'}"
            )
        self.net.load_state_dict(state_dict, strict=False)


def _is_constant(stage: nn.Module) -> bool:
    if any(p.requires_grad for p in stage.parameters()):
        return False
    for module in stage.modules():
        if getattr(module, "draws", False):  # our own stages that are random in training
            return False
        if isinstance(module, _DropoutNd) and module.p > 0:
            return False
        if isinstance(module, nn.RReLU) or (hasattr(module, "p") and type(module).__name__ == "StochasticDepth"):
            return False
        if isinstance(module, _BatchNorm) and not _is_frozen_norm(module):
            return False
    return True


def _is_frozen_norm(norm: _BatchNorm) -> bool:
    parameters = list(norm.parameters())
    return norm.running_mean is not None and bool(parameters) and not any(p.requires_grad for p in parameters)
