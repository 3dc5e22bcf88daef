"""Any network of timm (the optional extra: pip install sketchlab[timm]) that gives one feature vector an image.

Layers and names are timm's; the last layer is a fresh linear one, so that every network is frozen or tuned alike.
Layers of layer_decay are those of timm's group_matcher; weight decay is on all parameters, where timm spares vectors.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

from torch import nn

from sketchlab import weights
from sketchlab.errors import UserError
from sketchlab.inputs import Input
from sketchlab.schema import added
from sketchlab.weights import files as weight_files

GIVES = ("logits",)
PRETRAINED = "timm"  # model.weights: those that timm knows for the arch
_SUFFIXES = (".safetensors", ".pth", ".bin")


@dataclass(frozen=True)
class Config:
    """One of timm's networks."""

    arch: str  # timm's name, with the tag of its weights where there are several: vit_small_patch14_dinov2.lvd142m
    input: Input  # images; with pretrained weights mean and std are those that they were trained with
    weights: str  # timm: $SKETCHLAB_WEIGHTS/<arch>.safetensors, .pth or .bin, else downloaded; none; a file of timm's
    # names; or a run folder
    tune: (
        str  # freeze: what is loaded stays; norms: but its LayerNorms train; finetune: all trains; scratch: nothing is
    )
    # loaded, whatever `weights` says
    fresh: list[str]  # layers that start fresh although weights are loaded, such as features.blocks.11
    dropout: float  # probability, before the last layer
    layer_decay: Annotated[float, added(1.0)]  # tune=finetune: the learning rate of each layer is that of the next one
    # times this; 1 = one rate
    text: Annotated[str, added("")]  # open_clip's name of the CLIP whose image side this is, for prompts; "" = none

    def __post_init__(self) -> None:
        weights.check(self)
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout={self.dropout}: expected a probability below 1")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"model.layer_decay={self.layer_decay}: expected above 0, and 1 for one rate")


def build(config: Config, n_classes: int | None) -> nn.Module:
    """(B, C, S, S) → (B, n_classes) logits: stages `features` (B, D), `dropout` and `classifier`.

    Raises UserError when timm is not installed, for an arch that it does not know, for a size or normalisation that the
    network or its weights do not take, and for weights that cannot be had.
    """
    if n_classes is None:
        raise UserError(f"model=timm model.arch={config.arch}: give a number of classes; its last layer is a fresh one")
    timm = _timm()
    loads = config.tune != "scratch" and config.weights != "none"
    from_timm = loads and not Path(config.weights).expanduser().is_dir()
    features = _features(timm, config, from_timm)
    width: Any = getattr(features, "head_hidden_size", None) or features.num_features
    net = nn.Sequential(
        OrderedDict(features=features, dropout=nn.Dropout(config.dropout), classifier=nn.Linear(width, n_classes))
    )
    if config.layer_decay != 1:
        weights.decay_rates(net, _depths(timm, net, config.arch), config.layer_decay)
    if loads and not from_timm:
        return weights.start(net, config, config.arch, head="classifier")
    loaded = {name for name, _ in net.named_parameters() if name.startswith("features.")} if loads else set()
    if loads and config.fresh:
        loaded -= _renew(net, _features(timm, config, load=False), config)
    weights.set_tune(net, config.tune, loaded)
    return net


def _depths(timm: Any, net: Any, arch: str) -> dict[str, int]:
    """Name of a parameter → number of its layer; the last layer is the classifier, with what timm has in its head."""
    if not hasattr(net.features, "group_matcher"):
        raise UserError(f"model.layer_decay: timm knows no layers of {arch}; expected 1")
    names = [name.removeprefix("features.") for name, _ in net.named_parameters()]
    whole = SimpleNamespace(named_parameters=lambda: zip(names, net.parameters(), strict=True))
    of = timm.models.group_parameters(whole, net.features.group_matcher(coarse=False), reverse=True)
    return {name: of[name.removeprefix("features.")] for name, _ in net.named_parameters()}


def _renew(net: nn.Module, random: nn.Module, config: Config) -> set[str]:
    """Give the layers of model.fresh the random start of `random`; returns the names of their parameters."""
    start = {f"features.{name}": value for name, value in random.state_dict().items()}
    own = {name: value for name, value in net.state_dict().items() if name.startswith("classifier.")}
    chosen: dict[str, Any] = {}
    for layer in config.fresh:
        under = {k: v for k, v in (start | own).items() if k == layer or k.startswith(f"{layer}.")}
        if not under:
            exist = ", ".join(f"features.{name}" for name, _ in random.named_children())
            raise UserError(f"model.fresh=[{layer}]: {config.arch} has no such layer; it has {exist}, classifier")
        chosen |= under
    net.load_state_dict({**net.state_dict(), **chosen})
    return set(chosen)


def notes(config: Config) -> list[str]:
    """Values that change nothing."""
    return weights.notes(config)


def fingerprint(config: Config) -> str:
    """Of the weights a run starts from, for its id: of the file, or timm's name of what it downloads."""
    if config.weights == PRETRAINED and config.tune != "scratch":
        found = _at_hand(config.arch)
        return weight_files.digest(found)[:16] if found else f"timm:{_source(_pretrained(_timm(), config.arch))}"
    return weights.fingerprint(config, config.arch)


def _features(timm: Any, config: Config, load: bool) -> nn.Module:
    """The network without its last layer, by timm's own reading of weights (which knows the names of others)."""
    known = _pretrained(timm, config.arch)
    if load:
        _check_normalisation(config, known)
    # with a last layer like the file's timm compares all names; it is taken off afterwards
    options: dict[str, Any] = {"num_classes": known["num_classes"] if load else 0, "in_chans": config.input.channels}
    if known.get("fixed_input_size"):
        options["img_size"] = config.input.size_px
    file = _at_hand(config.arch) if config.weights == PRETRAINED else Path(config.weights).expanduser()
    if load and file is not None:
        state = weight_files.read(weight_files.find(str(file), config.arch))
        options["pretrained_cfg_overlay"] = {"state_dict": state, "source": "timm"}
    try:
        net = timm.create_model(config.arch, pretrained=load, **options)
        if load:
            net.reset_classifier(0)
        return net
    except Exception as error:  # a network, a download or a file: each fails in its own way
        what = f"model.weights={config.weights}" if load else f"model.input.size_px={config.input.size_px}"
        where = ""
        if load and file is None:
            folder = os.environ.get("SKETCHLAB_WEIGHTS")
            where = (
                f"; no {config.arch}.safetensors, .pth or .bin in SKETCHLAB_WEIGHTS{f'={folder}' if folder else ''}; "
                f"get it from {source(known)} and give it this name"
            )
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(f"{what}: timm cannot make {config.arch}: {type(error).__name__} {first}{where}") from error


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise UserError("model=timm needs timm, which is not installed: pip install sketchlab[timm]") from None


def _pretrained(timm: Any, arch: str) -> dict[str, Any]:
    """What timm knows of the weights of an arch: input_size, mean, std, fixed_input_size, …"""
    try:
        found = timm.get_pretrained_cfg(arch)
    except RuntimeError:  # timm's word for a tag that this network has not
        found = None
    if found:
        return found.to_dict()
    name = arch.partition(".")[0]
    known = timm.is_model(name)
    close = difflib.get_close_matches(arch, timm.list_models(f"{name}.*" if known else "", pretrained=known), 3, 0.4)
    raise UserError(
        f"model.arch={arch}: timm {timm.__version__} has no such {'weights' if known else 'network'}; "
        + (f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists what it has")
    )


def _check_normalisation(config: Config, known: dict[str, Any]) -> None:
    for key in ("mean", "std"):
        wanted, given = [round(v, 4) for v in known[key]], [round(v, 4) for v in getattr(config.input, key)]
        if config.input.channels == 3 and wanted != given:
            raise UserError(
                f"model.input.{key}={given}: the weights of {config.arch} expect {wanted}; set model.input.mean="
                f"{_words(known['mean'])} model.input.std={_words(known['std'])}, or train from scratch"
            )


def _words(values: Any) -> str:
    return "[" + ",".join(f"{value:g}" for value in values) + "]"


def _at_hand(arch: str) -> Path | None:
    """The file of these weights in $SKETCHLAB_WEIGHTS, by the name of the arch."""
    folder = Path(os.environ.get("SKETCHLAB_WEIGHTS") or ".")
    if "SKETCHLAB_WEIGHTS" not in os.environ:
        return None
    return next((path for suffix in _SUFFIXES if (path := folder / f"{arch}{suffix}").is_file()), None)


def _source(known: dict[str, Any]) -> str:
    return known.get("hf_hub_id") or known.get("url") or "no weights"


def source(known: dict[str, Any]) -> str:
    """Where the file of weights is published, of timm's description of them."""
    if known.get("hf_hub_id"):
        return f"https://huggingface.co/{known['hf_hub_id']} ({known.get('hf_hub_filename') or 'model.safetensors'})"
    return _source(known)


def described(arch: str) -> dict[str, Any]:
    """Of the weights of an arch, as timm describes them: size_px, mean, std."""
    known = _pretrained(_timm(), arch)
    return {"size_px": known["input_size"][-1], "mean": [*known["mean"]], "std": [*known["std"]]}


def trained_on(config: Config) -> str:
    """What model.weights was trained on: timm's tag of it, such as augreg_in21k_ft_in1k; "" for a file of one's own."""
    return str(_pretrained(_timm(), config.arch).get("tag") or "") if config.weights == PRETRAINED else ""
