"""Where a network's parameters come from, and which of them train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from sketchlab.errors import UserError
from sketchlab.weights import files as weight_files

TUNES = ("freeze", "norms", "finetune", "scratch")
State = dict[str, Tensor]


class Start(Protocol):
    """The fields of a model's Config that say how it starts."""

    @property
    def weights(self) -> str: ...
    @property
    def tune(self) -> str: ...
    @property
    def fresh(self) -> list[str]: ...


def check(config: Start) -> None:
    """Refuse values that cannot work together, before anything is built."""
    if config.tune not in TUNES:
        raise UserError(f"model.tune={config.tune}: expected one of {', '.join(TUNES)}")
    if config.weights == "none" and config.tune != "scratch":
        raise UserError(
            f"model.tune={config.tune} needs weights, but model.weights=none; "
            "use model.tune=scratch, or model.weights=imagenet, a file or a run folder"
        )
    for key, without in (("train_from", None), ("layer_decay", 1.0)):
        value = getattr(config, key, without)
        if value != without and config.tune != "finetune":
            raise UserError(f"model.{key}={value} needs model.tune=finetune, but model.tune={config.tune}")


def notes(config: Start) -> list[str]:
    """Values that change nothing under this `model.tune`, each with its reason."""
    if config.tune != "scratch":
        return []
    out = []
    if config.fresh:
        out.append(
            f"model.fresh=[{','.join(config.fresh)}] changes nothing: model.tune=scratch starts all layers fresh"
        )
    if config.weights not in ("none", "imagenet", "timm"):
        out.append(f"model.weights={config.weights} is not read: model.tune=scratch loads nothing")
    return out


def start(
    net: nn.Module,
    config: Start,
    arch: str,
    *,
    head: str,
    unused: Sequence[str] = (),
    adapt: Callable[[State], State] | None = None,
    fresh: Sequence[str] = (),
    train_from: str | None = None,
    blocks: Mapping[str, str] | None = None,
) -> nn.Module:
    """Load and freeze as `model.weights`, `model.tune`, `model.fresh` and `model.train_from` say; returns `net`.

    tune=scratch loads nothing, whatever model.weights says. head="" asks for the original last layer too: the
    network is then whole and nothing of it trains. blocks: what train_from may name → the first layer of it.
    Raises UserError for values that do not fit the network or the file.
    """
    if not head and config.weights == "none":
        raise UserError(f"{arch} with its original classes needs weights, but model.weights=none")
    loaded: set[str] = set()
    if not head or config.tune != "scratch":
        loaded = load(net, config.weights, arch, [*config.fresh, *fresh], head=head, unused=unused, adapt=adapt)
    if head:
        set_tune(net, config.tune, loaded)
        if train_from is not None:
            freeze_before(net, loaded, train_from, blocks or {}, arch)
    else:
        net.requires_grad_(False)
    return net


def load(
    net: nn.Module,
    weights: str,
    arch: str,
    fresh: list[str],
    *,
    head: str = "",
    unused: Sequence[str] = (),
    adapt: Callable[[State], State] | None = None,
) -> set[str]:
    """Load what `weights` names into `net`; returns the names of the parameters really loaded.

    weights: imagenet, none, a .pth/.pt/.safetensors file, or a run folder (warm start from its best checkpoint).
    fresh: layers (prefixes of parameter names) that keep their random start. head: the last layer, fresh too with
    imagenet weights and wherever the file has none for this number of classes. unused: layers a file may have and this
    network has not. adapt: applied to the file's tensors first.
    Raises UserError naming the layers when the file lacks some, has other shapes, or is of another network.
    """
    if weights == "none":
        return set()
    _check_fresh(net, fresh, arch)
    own = net.state_dict()
    own_head = list(_under(own, head))
    path = str(weight_files.find(weights, arch))
    name = f"model.weights={path}" if path == weights else f"model.weights={weights} ({path})"
    state = _state_of(weights, arch, own)
    state = _without_prefix(state, own, name)
    state = adapt(state) if adapt else state
    if head and (weights == "imagenet" or not all(k in state and state[k].shape == own[k].shape for k in own_head)):
        fresh = [*fresh, head]
    wanted = {k: v for k, v in own.items() if not _is_under(k, fresh)}
    _check_shapes(wanted, state, name, arch)
    _check_names(wanted, own, state, name, arch, [*fresh, *unused])
    taken = {k: state[k] for k in wanted if k in state}
    net.load_state_dict(taken, strict=False)
    return {k for k, _ in net.named_parameters() if k in taken}


def set_tune(net: nn.Module, tune: str, loaded: set[str]) -> None:
    """Say which parameters train. freeze: those that were not loaded; norms: of what was loaded the LayerNorms too;
    finetune: all, on loaded ones; scratch: all."""
    if tune == "scratch" and loaded:
        raise UserError(f"model.tune=scratch, but {len(loaded)} parameters were loaded")
    if tune != "scratch" and not loaded:
        raise UserError(f"model.tune={tune} needs loaded weights, but none were: see model.weights and model.fresh")
    still = loaded if tune in ("freeze", "norms") else set()
    if tune == "norms":
        norms = loaded & {
            f"{path}.{name}".lstrip(".")
            for path, module in net.named_modules()
            for name, _ in module.named_parameters(recurse=False)
            if isinstance(module, nn.LayerNorm)
        }
        if not norms:
            raise UserError("model.tune=norms: no LayerNorm was loaded in this network; expected freeze or finetune")
        still = loaded - norms
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name not in still)
    if not any(p.requires_grad for p in net.parameters()):
        last = _layer([name for name, _ in net.named_parameters()][-1])
        raise UserError(f"model.tune=freeze: every layer was loaded, so nothing trains; try model.fresh=[{last}]")


def freeze_before(net: nn.Module, loaded: set[str], block: str, blocks: Mapping[str, str], arch: str) -> None:
    """What was loaded and stands before `block` stays as it is. blocks: name of a block → its first layer.

    Raises UserError for a block that the network has not.
    """
    names = [name for name, _ in net.named_parameters()]
    first = next(iter(_under(names, blocks.get(block, block))), None)
    if first is None:
        exist = blocks or dict.fromkeys(name.split(".")[0] for name in names)
        raise UserError(f"model.train_from={block}: {arch} has no such block; it has {', '.join(exist)}")
    before = set(names[: names.index(first)]) & loaded
    for name, parameter in net.named_parameters():
        if name in before:
            parameter.requires_grad_(False)


def decay_rates(net: nn.Module, depths: Mapping[str, int], decay: float) -> None:
    """Layer-wise decay of learning rates (Clark et al. 2020, section 3.4; Bao et al. 2022): each layer's is that of the
    layer after it, times `decay`. depths: name of a parameter → number of its layer, the last one's is the largest.

    The factor is kept at the parameter as lr_scale, by which engine/optim makes groups.
    """
    last = max(depths.values())
    for name, parameter in net.named_parameters():
        parameter.lr_scale = decay ** (last - depths[name])  # type: ignore[attr-defined]


def starts_frozen(config: Start) -> bool:
    """Whether a part of the network is what `model.weights` names, and in no checkpoint of the run."""
    return config.tune in ("freeze", "norms") or getattr(config, "train_from", None) is not None


def fingerprint(config: Start, arch: str) -> str:
    """16 hexadecimal digits of the weights file a run starts from, or none: a part of the run's id."""
    if config.weights == "none" or config.tune == "scratch":
        return "none"
    part = weight_files.parted(config.weights)[1]
    return weight_files.digest(weight_files.find(config.weights, arch))[:16] + (f"#{part}" if part else "")


def _state_of(weights: str, arch: str, own: State) -> State:
    """A frozen run's checkpoint holds only what it trained; the rest is taken from where the run had it."""
    run = weight_files.model_of_run(weights)
    theirs = run.get("arch", run.get("name", arch))
    if theirs != arch:
        raise UserError(f"model.weights={weights} is a run of {theirs}, not of {arch}")
    state = weight_files.read(weight_files.find(weights, arch), weight_files.parted(weights)[1])
    partly = run.get("tune") in ("freeze", "norms") or run.get("train_from") is not None
    if partly and not own.keys() <= state.keys():
        state = {**_state_of(run["weights"], arch, own), **state}
    return state


def _without_prefix(state: State, own: State, name: str) -> State:
    """Names without what wrappers put before them (module., _orig_mod., a Lightning module's net.), where no name fits
    as it is; what stands beside the network then, such as a loss, is left out, and a line says so."""
    while not own.keys() & state.keys():
        inner: dict[str, State] = {}
        for key, value in state.items():
            prefix, _, rest = key.partition(".")
            inner.setdefault(prefix, {})[rest] = value
        prefix = max(inner, key=lambda one: sum(any(k == o or k.endswith(f".{o}") for o in own) for k in inner[one]))
        if not any(k in own or any(k.endswith(f".{o}") for o in own) for k in inner[prefix]):
            return state
        beside = [key for key in state if not key.startswith(f"{prefix}.")]
        more = f", without {_list(beside)} beside it" if beside else ""
        weight_files.say(f"{name}: what stands under {prefix}. is taken{more}")
        state = inner[prefix]
    return state


def _check_fresh(net: nn.Module, fresh: list[str], arch: str) -> None:
    for layer in fresh:
        if not list(_under((k for k, _ in net.named_parameters()), layer)):
            exist = ", ".join(k for k, m in net.named_children() if any(True for _ in m.parameters()))
            raise UserError(f"model.fresh=[{layer}]: {arch} has no such layer with parameters; it has {exist}")


def _check_shapes(wanted: State, state: State, name: str, arch: str) -> None:
    for key, value in wanted.items():
        if key in state and state[key].shape != value.shape:
            raise UserError(
                f"{name} does not fit this {arch}: {key} is {tuple(state[key].shape)} in the file "
                f"and {tuple(value.shape)} in the network"
            )


def _check_names(wanted: State, own: State, state: State, name: str, arch: str, spare: Sequence[str]) -> None:
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    if missing and not any(k in state for k in wanted):
        theirs, ours = next(iter(state)), missing[0]
        raise UserError(
            f"{name} is of another network than {arch}: it begins with {theirs} {tuple(state[theirs].shape)}, "
            f"the network with {ours} {tuple(wanted[ours].shape)}"
        )
    if missing:
        raise UserError(
            f"{name} lacks layers that {arch} needs: {_list(missing)}; give a file that has them, or let them start "
            f"fresh by model.fresh=[{missing[0].split('.')[0]}]"
            + (", or do without them by model.head=pool" if any(k.startswith("classifier") for k in missing) else "")
        )
    extra = [k for k in state if k not in own and not _is_under(k, spare)]
    if extra:
        raise UserError(f"{name} is of another network than {arch}, which has no place for {_list(extra)}")


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _list(names: list[str], most: int = 6) -> str:
    layers = list(dict.fromkeys(_layer(name) for name in names))
    return ", ".join(layers[:most]) + (f" and {len(layers) - most} more" if len(layers) > most else "")


def _is_under(name: str, layers: Iterable[str]) -> bool:
    return any(name == layer or name.startswith(layer + ".") for layer in layers)


def _under(names: Iterable[str], layer: str) -> Iterable[str]:
    return (name for name in names if _is_under(name, [layer]))
