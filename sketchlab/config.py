"""The Hydra border: YAML is composed here, turned into typed, frozen dataclasses, and never seen again."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib
import json
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sketchlab import components, schema
from sketchlab.components import hint
from sketchlab.errors import UserError, own_mistake

_LIST = re.compile(r"\[([^\[\]]*)\]")
GROUPS = ("data", "model", "pipeline")  # what every run has one of
# of Hydra's launchers that are packages of their own → the choice of conf/hydra/launcher, and the optional extra
EXTRAS = {"joblib": "parallel", "submitit_slurm": "slurm"}


@dataclass(frozen=True)
class Component:
    """One choice: the module that implements it and its filled Config."""

    module: str
    config: Any
    backbone: Component | None = None  # the network that its Config names by `backbone`, for its features

    @property
    def name(self) -> str:
        """As `name:` in YAML has it."""
        return self.module.removesuffix(".task").rpartition(".")[2]

    def build(self, *args: Any) -> Any:
        module = importlib.import_module(self.module)
        if self.backbone is not None and "embeddings" in module.GIVES:
            return module.build(self.config, *args, self.backbone.build)
        built = module.build(self.config, *args)
        if self.backbone is None:
            return built
        from sketchlab.pipelines.baseline.frozen import OnFeatures

        keep = self.backbone.constant("fingerprint")(self.backbone.config) == "none"
        return OnFeatures(built, self.backbone.build(*args), self.config.input, keep)

    def notes(self) -> list[str]:
        """What its file says of this configuration: values that change nothing, or less than their names say."""
        own = self.constant("notes", lambda _: [])(self.config)
        return own + (self.backbone.notes() if self.backbone is not None else [])

    def constant(self, name: str, *otherwise: Any) -> Any:
        return getattr(importlib.import_module(self.module), name, *otherwise)


@dataclass(frozen=True)
class RunOptions:
    root: str  # where run folders go
    keep_last: str  # true, false, or auto = kept when under 100 MB
    track: list[str]  # where else the scores go while they are made: tensorboard, mlflow, wandb
    name: Annotated[str, schema.added("")]  # what comparisons call it; "" = by what was changed


@dataclass(frozen=True)
class RunConfig:
    """A run, typed and complete. Picklable, so that ranks can be handed one."""

    seed: int
    rerun: bool
    plan: bool
    run: RunOptions
    data: Component
    model: Component
    pipeline: Component
    loop: Any  # engine.settings.Config; None where the pipeline has no use for it (IGNORES)
    runtime: Any  # engine.runtime.Config
    choices: dict[str, str]  # group → choice, as typed
    differs: dict[str, Any]  # dotted key → value, where it differs from the choice's own YAML
    command: str  # what repeats this run

    def notes(self) -> list[str]:
        """Values that change nothing, or less than their names say: for the log and the page."""
        ignored = [key for key in self.differs if key.startswith("loop.")] if self.loop is None else []
        line = f"{', '.join(ignored)}: without effect, pipeline={self.pipeline.name} is fitted in one go"
        return self.model.notes() + [line] * bool(ignored)

    def plain(self) -> dict[str, Any]:
        """The resolved values as nested dicts, ready for YAML or JSON."""
        typed_parts = {key: getattr(self, key) for key in ("run", "loop", "runtime")}
        parts = {key: dataclasses.asdict(part) for key, part in typed_parts.items() if part is not None}
        for key in GROUPS:
            component = getattr(self, key)
            parts[key] = {"name": component.name, **dataclasses.asdict(component.config)}
        return {"seed": self.seed, "rerun": self.rerun, **parts}


def conf_dir() -> Path:
    """The folder of YAML files: beside the package in a checkout, inside it when installed from a wheel."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError(
        f"no conf/config.yaml inside or beside {here}: the installation is incomplete, install sketchlab again"
    )


def no_such_key(key: str, otherwise: str) -> str:
    """One line about a key that does not exist; of one that was renamed, its name of today; why it went."""
    if new := schema.RENAMED.get(key):
        return f"{key}: renamed; write {new}"
    group, _, rest = key.partition(".")
    reasons = [f"{group}={name} has none ({why})" for name, why in schema.REMOVED.get((group, rest), {}).items()]
    return f"{key}: no such key; {', '.join(reasons) + '; ' if reasons else ''}{otherwise}"


def typed(cls: type, node: Any, where: str) -> Any:
    """Fill the frozen dataclass `cls` from a YAML node; every mistake is one line naming the key."""
    values = resolved(node, where)
    names = [f.name for f in dataclasses.fields(cls)]
    if unknown := [str(key) for key in values if key not in names]:
        raise UserError(no_such_key(f"{where}.{unknown[0]}", hint(unknown[0], names)))
    joined = {field.name: field.added.before for field in schema.fields(cls) if field.added}
    values = joined | values
    if missing := [key for key in names if key not in values or values[key] == "???"]:
        raise UserError(f"{where}.{missing[0]}: missing; {where} needs {', '.join(names)}")
    hints = get_type_hints(cls)
    inner = {key: of for key in names if (of := _dataclass(hints[key])) and values[key] is not None}
    nested = {key: typed(of, values.pop(key), f"{where}.{key}") for key, of in inner.items()}
    # OmegaConf makes frozen dataclasses read-only all the way down, so the leaves are checked in an unfrozen twin
    leaves = dataclasses.make_dataclass("Leaves", [(key, hints[key]) for key in names if key not in nested])
    try:
        checked = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(leaves), values))
    except OverflowError:
        key = max((key for key in values if isinstance(values[key], int)), key=lambda key: abs(values[key]))
        raise UserError(
            f"{where}.{key}: expected a number below 2^63, but it has {len(str(values[key]))} digits"
        ) from None
    except OmegaConfBaseException as error:
        key = str(error.full_key).partition("[")[0]
        type_name = str(hints[key]).removeprefix("<class '").removesuffix("'>") if key in hints else "another type"
        raise UserError(f"{where}.{key}={values.get(key)}: expected {type_name}") from None
    assert isinstance(checked, dict)
    for key, value in checked.items():
        within(f"{where}.{key}", value)
        expected = str(hints[str(key)])
        if expected.startswith("list[str]") and any(isinstance(one, list | dict) for one in value or []):
            raise UserError(f"{where}.{key}={value}: expected {expected}")
    return cls(**{str(key): value for key, value in checked.items()}, **nested)


def _dataclass(hint: Any) -> type | None:
    """The dataclass of a field `Side` or `Side | None`."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)  # type: ignore


def resolved(node: Any, where: str) -> dict[str, Any]:
    """A YAML node as a plain dict. UserError for a value that refers to what is not there."""
    if not isinstance(node, DictConfig | dict):
        raise UserError(f"{where}={node}: expected keys with values")
    try:
        return OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)  # type: ignore
    except OmegaConfBaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, UserError):  # of _of_weights
                raise cause from None
            cause = cause.__context__
        raise UserError(f"{error.full_key or where}: {str(error).splitlines()[0]}") from None


def _of_weights(key: str, arch: str) -> Any:
    """${timm:mean,${..arch}} in YAML: size_px, mean or std, as timm's description of the weights has it."""
    return importlib.import_module("sketchlab.models.timm_nets").described(arch)[key]


OmegaConf.register_new_resolver("timm", _of_weights, replace=True)


def within(key: str, value: Any) -> None:
    """UserError for a whole number that does not fit 64 bits: no library takes it."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UserError(f"{key}: expected a number below 2^63, but it has {len(str(value))} digits")


def component(group: str, node: Any) -> Component:
    """`name: x` in conf/<group> → the Config of the file that implementations() finds under this name, filled."""
    values = resolved(node, group)
    name = values.pop("name", None)
    module = components.load(group, str(name))
    config = typed(module.Config, values, group)
    return Component(module.__name__, config, _backbone(config) if hasattr(config, "backbone") else None)


def _backbone(config: Any) -> Component:
    """The network that a baseline takes features from, or that embeds pairs. UserError for one that cannot."""
    found = component("model", config.backbone)
    name = config.backbone.get("name")
    if not hasattr(importlib.import_module(found.module), "fingerprint") or "logits" not in found.constant("GIVES"):
        raise UserError(f"model.backbone.name={name}: gives no features; choose a classifier that can load weights")
    pairs = config.input.kind == "pairs"
    if found.config.tune in ("finetune", "norms") and not pairs:
        raise UserError(
            f"model.backbone.tune={found.config.tune}: a baseline's features stay as they are; expected freeze"
        )
    given = dataclasses.replace(found.config.input, kind="pairs") if pairs else found.config.input
    if given != config.input:
        raise UserError("model.input differs from model.backbone.input: set the keys of model.backbone.input alone")
    return found


def parse(cfg: Any, choices: dict[str, str], differs: dict[str, Any], command: str) -> RunConfig:
    """The composed YAML → RunConfig. Raises UserError with one line for anything that does not fit."""
    from sketchlab.engine import runtime, settings
    from sketchlab.inputs import check_fit

    known = ["seed", "rerun", "plan", "run", *GROUPS, "loop", "runtime", "experiment"]
    if unknown := [str(key) for key in cfg if key not in known]:
        raise UserError(f"{unknown[0]}: no such key; {hint(unknown[0], sorted(known))}")
    if missing := [key for key in (*GROUPS, "loop", "runtime", "run") if not isinstance(cfg.get(key), DictConfig)]:
        raise UserError(f"{missing[0]}={cfg.get(missing[0])}: a run needs one; expected the name of a choice")
    parts = {group: component(group, cfg[group]) for group in GROUPS}
    model = parts["model"]
    check_fit(
        model=choices["model"],
        gives=model.constant("GIVES"),
        pipeline=choices["pipeline"],
        wants=parts["pipeline"].constant("TAKES"),
        takes=model.config.input.kind,
        data=choices["data"],
        kinds=parts["data"].constant("GIVES"),
    )
    if not isinstance(cfg.seed, int) or isinstance(cfg.seed, bool):
        raise UserError(f"seed={cfg.seed}: expected a whole number")
    within("seed", cfg.seed)
    loop = typed(settings.Config, cfg.loop, "loop")
    _check_own(parts, loop)
    if "loop" in parts["pipeline"].constant("IGNORES", ()):
        loop, choices = None, {group: choice for group, choice in choices.items() if group != "loop"}
    options = typed(RunOptions, {**cfg.run, "keep_last": str(cfg.run.keep_last).lower()}, "run")
    if options.keep_last not in ("true", "false", "auto"):
        raise UserError(f"run.keep_last={options.keep_last}: expected true, false or auto")
    for key in ("rerun", "plan"):
        if not isinstance(cfg[key], bool):
            raise UserError(f"{key}={cfg[key]}: expected true or false")
    return RunConfig(
        seed=cfg.seed,
        rerun=cfg.rerun,
        plan=cfg.plan,
        run=options,
        **parts,
        loop=loop,
        runtime=typed(runtime.Config, {**cfg.runtime, "graph": str(cfg.runtime.graph).lower()}, "runtime"),
        choices=choices,
        differs=differs,
        command=command,
    )


def _check_own(parts: dict[str, Component], loop: Any) -> None:
    """The options of losses, optimizers, augmentations and scores of the user's own, against the Config of each."""
    pipeline, augment = parts["pipeline"].config, getattr(parts["data"].config, "augment", None)
    used: list[tuple[str, str, Any, str]] = []
    for group, of, where in (("optimizer", loop, "loop"), ("loss", pipeline, "pipeline")):
        name, options = getattr(of, group, ""), getattr(of, f"{group}_options", {})
        if name in components.implementations(group):
            used.append((group, name, options, f"{where}.{group}_options"))
        elif options:
            raise UserError(f"{where}.{group}_options={options}: {where}.{group}={name} has no options of this kind")
    used += [("metric", n, v, f"pipeline.metrics.{n}") for n, v in getattr(pipeline, "metrics", {}).items()]
    used += [("augmentation", n, v, f"data.augment.own.{n}") for n, v in getattr(augment, "own", {}).items()]
    for group, name, options, where in used:
        module = components.load(group, name)
        typed(module.Config, options or {}, where)
        scores = {score.name for score in parts["pipeline"].constant("SCORES")}
        if group == "metric" and (module.SCORE.name != name or name in scores):
            raise UserError(
                f"{module.__file__}: SCORE.name={module.SCORE.name}: expected {name}, the name of its file, and none "
                f"that pipeline={parts['pipeline'].name} gives"
            )


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mapping → {dotted key: leaf}; lists are leaves."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def differences(cfg: Any, picks: list[str]) -> dict[str, Any]:
    """Dotted keys whose values differ from those of the choices alone, with the value of `cfg`."""
    ours, theirs = flat(resolved(cfg, "config")), _of_choices((*picks, *search_path()))
    return {key: value for key, value in ours.items() if key not in theirs or theirs[key] != value}


@functools.lru_cache(maxsize=64)  # a tenth of a second each; the runs of a sweep share their choices
def _of_choices(words: tuple[str, ...]) -> dict[str, Any]:
    from hydra import compose

    return flat(resolved(compose("config", overrides=list(words)), "config"))


def from_overrides(overrides: list[str]) -> RunConfig:
    """The run that `python -m sketchlab.run <overrides>` would do: for notebooks, scripts and tests."""
    from hydra import compose

    overrides = names_as_text(overrides)
    with hydra_ready():
        try:
            cfg = compose("config", overrides=[*overrides, *search_path()], return_hydra_config=True)
        except Exception as error:
            raise composition_error(error, overrides) from None
        try:
            task = OmegaConf.create({key: value for key, value in cfg.items() if key != "hydra"})
            return composed(task, cfg.hydra.runtime.choices, overrides)
        except OmegaConfBaseException as error:
            raise composition_error(error, overrides) from None


def composed(task: Any, hydra_choices: Any, overrides: list[str]) -> RunConfig:
    """What Hydra composed from these overrides, as a run. Needs an initialised Hydra."""
    import shlex

    choices = chosen(hydra_choices)
    picks = groups_only(overrides, choices)
    differs = differences(task, picks) if picks != overrides else {}
    own = [f"SKETCHLAB_EXTRA={components.EXTRA}"] if components.EXTRA else []
    return parse(task, choices, differs, shlex.join([*own, "python", "-m", "sketchlab.run", *overrides]))


@contextlib.contextmanager
def hydra_ready() -> Iterator[None]:
    """Hydra's compose() needs an initialised Hydra: the running job's own, or one made for the moment."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if GlobalHydra.instance().is_initialized():
        yield
    else:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield


def search_path() -> list[str]:
    return [f"hydra.searchpath=[file://{Path(components.EXTRA, 'conf').resolve()}]"] if components.EXTRA else []


def chosen(choices: Any) -> dict[str, str]:
    """Hydra's table of choices without Hydra's own groups.

    `loop@_global_.loop` counts as loop; `model@model.backbone`, a choice put below another key, as model.backbone.
    """
    out = {}
    for key, value in choices.items():
        group, _, package = key.partition("@")
        shared = group.endswith("/input")  # what several models have in common, no choice of the user's
        if not key.startswith("hydra/") and value is not None and not shared:
            out[package.removeprefix("_global_.") or group] = str(value)
    return out


def groups_only(overrides: list[str], choices: dict[str, str]) -> list[str]:
    return [o for o in overrides if o.partition("=")[0].lstrip("+~") in choices]


def composition_error(error: Exception, overrides: list[str]) -> Exception:
    """Hydra's composition errors in one line, with what exists; any other error as it is."""
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException

    if isinstance(error, MissingConfigException):
        what = str(error.missing_cfg_file or "").strip("'")
        group, _, choice = what.rpartition("/")
        options = sorted(error.options or [])
        if new := schema.MOVED.get(what.replace("/", "=", 1)):
            return UserError(f"{what.replace('/', '=', 1)}: renamed; write {new}")
        if choice in EXTRAS and choice not in options:
            return UserError(f"{group}={EXTRAS[choice]} needs a package: pip install 'sketchlab[{EXTRAS[choice]}]'")
        if options:
            return UserError(f"{group}={choice}: no such choice; {hint(choice, options)}{components.unset(group)}")
        group, _, choice = what.partition("/")  # of presets in folders Hydra names no options
        if presets := _presets(group):
            return UserError(f"{group}={choice}: no such choice; {hint(choice, presets)}{components.unset(group)}")
        return UserError(str(error).splitlines()[0])
    if isinstance(error, OverrideParseException):
        word = quoted(str(error.override))
        mend = f"its value needs quotes; write {word}" if word else "expected key=value"
        return UserError(f"cannot read {error.override!r}: {mend}")
    if isinstance(error, ConfigCompositionException) and "Key '" in str(error.__cause__ or ""):
        key = str(error).partition("override '")[2].partition("'")[0]
        value = next((o.partition("=")[2] for o in overrides if o.partition("=")[0].lstrip("+~") == key), "")
        return UserError(no_such_key(key, _where(overrides, key, value)))
    if isinstance(error, ConfigCompositionException) and "config group" in str(error):
        return UserError(" ".join(str(error).split()))
    if isinstance(error, ConfigCompositionException) and "To sweep over it" in str(error):
        values = next((o for o in overrides if "," in o), "")
        text = f"; one path with a comma: {quoted(values)}" if "/" in values or "\\" in values else ""
        return UserError(f"{values}: several values need -m (a sweep: one run each), or [a,b] for a list{text}")
    if isinstance(error, ValueError) and "Config group override" in str(error):
        groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
        typed = next((o for o in overrides if o.partition("=")[0] in groups), "")
        return UserError(f"{typed}: expected the name of a choice ({str(error).rpartition('. ')[2]})")
    if isinstance(error, OmegaConfBaseException):
        key = f"{error.full_key}: " if error.full_key else ""
        return UserError(f"{key}{str(error).splitlines()[0]}")
    if isinstance(error, HydraException):
        cause = f" ({str(error.__cause__).splitlines()[0]})" if error.__cause__ else ""
        return UserError(" ".join(str(error).split()) + cause)
    frames = traceback.extract_tb(error.__traceback__)
    in_hydra = {"hydra", "omegaconf"} & set(Path(frames[-1].filename).parts if frames else ())
    too_long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
    if too_long or (in_hydra and not isinstance(error, OSError)):
        return UserError(
            f"cannot compose {' '.join(overrides)}: expected key=value, and for a group the name of one choice"
        )
    return own_mistake(error) or error


def quoted(override: str) -> str:
    """key=value with its value, or each item of a list, in quotes as Hydra reads them, for a shell; "" where even that
    is no override."""
    import shlex

    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    def text(value: str) -> str:
        bare = value.strip()
        if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
            return bare
        return '"' + value.replace('"', '\\"') + '"'

    key, equals, value = override.partition("=")
    items = value[1:-1].split(",") if value[:1] == "[" and value[-1:] == "]" else None
    word = f"{key}={text(value) if items is None else '[' + ','.join(text(item.strip()) for item in items) + ']'}"
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return ""
    return shlex.quote(word) if equals else ""


def names_as_text(words: list[str]) -> list[str]:
    """data.classes=[1e5,null,true,~]: names that Hydra would read as numbers and the like, or not at all, in quotes.
    Raises UserError for a word of several lines."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    def text(item: str) -> str:
        name = item.strip()
        try:
            is_text = OverridesParser.create().parse_override(f"key=[{name}]").value() in ([name], [])
        except HydraException:
            is_text = False
        return item if is_text or re.search(r"[\"'\\\\$]", name) else f'"{name}"'

    def listed(match: re.Match[str]) -> str:
        return "[" + ",".join(map(text, match[1].split(","))) + "]"

    def one(word: str) -> str:
        if len(word.splitlines()) > 1 or word.endswith("\n"):
            raise UserError(f"cannot read {word!r}: expected one line")
        key, _, value = word.partition("=")
        return f"{key}=" + _LIST.sub(listed, value) if key.lstrip("+") == "data.classes" else word

    return [one(word) for word in words]


def _presets(group: str) -> list[str]:
    """Every choice below conf/<group>, ours and the user's own: chen2019/mixed."""
    homes = [conf_dir() / group] + ([Path(components.EXTRA, "conf", group)] if components.EXTRA else [])
    return sorted(
        {path.relative_to(home).with_suffix("").as_posix() for home in homes for path in home.rglob("*.yaml")}
    )


def check_options(words: list[str]) -> None:
    """UserError for an option that Hydra does not know, with the key that its name may mean."""
    from hydra._internal.utils import get_args_parser

    known = get_args_parser()._option_string_actions
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        if word.startswith("--") and not any(option.startswith(name) for option in known):
            value = value or next((w for w in words[place + 1 : place + 2] if not w.startswith("-")), "")
            key = name.lstrip("-").replace("-", "_")
            overrides = [w for w in words if not w.startswith("-") and "=" in w]
            raise UserError(f"{name}: no such option; keys have no dashes; {_where(overrides, key, value)}")


def _where(overrides: list[str], key: str, value: str) -> str:
    """What a mistyped key may have meant: one of this name in another place, or one of a like name in this place."""
    every, siblings = _known_keys(overrides, key)
    last = key.rpartition(".")[2]
    same = [known for known in every if known.rpartition(".")[2] == last and known != key]
    first = [known for known in same if known.count(".") == 1] or same
    if first and not key.startswith("hydra."):
        return f"did you mean {' or '.join(f'{known}={value}' for known in first[:3])}?"
    return hint(key, siblings)


def _known_keys(overrides: list[str], key: str) -> tuple[list[str], list[str]]:
    """All dotted keys, and those that exist where `key` points, composed from the choices alone."""
    from hydra import compose

    groups = {p.name for p in conf_dir().iterdir() if p.is_dir()}
    picks = [o for o in overrides if o.partition("=")[0].partition("/")[0] in groups and not set(",[{") & set(o)]
    with hydra_ready():
        cfg = compose("config", overrides=[*picks, *search_path()], return_hydra_config=key.startswith("hydra."))
    keys = list(flat(json.loads(json.dumps(OmegaConf.to_container(cfg), default=str))))
    parent = key.rpartition(".")[0]
    while parent and not any(k.startswith(parent + ".") for k in keys):
        parent = parent.rpartition(".")[0]
    start = parent + "." if parent else ""
    return keys, sorted({start + k[len(start) :].partition(".")[0] for k in keys if k.startswith(start)})


def data(name: str, overrides: list[str]) -> Component:
    """conf/data/<name>.yaml with command-line words put over it, whatever model would take it."""
    from hydra import compose

    overrides = names_as_text(overrides)
    with hydra_ready():
        try:
            cfg = compose("config", overrides=[f"data={name}", *overrides, *search_path()])
        except Exception as error:
            raise composition_error(error, [f"data={name}", *overrides]) from None
    return component("data", cfg.data)


def model(name: str, values: dict[str, Any]) -> Component:
    """conf/model/<name>.yaml with `values` put over it."""
    from hydra import compose

    with hydra_ready():
        try:
            cfg = compose("config", overrides=[f"model={name}", *search_path()])
        except Exception as error:
            raise composition_error(error, [f"model={name}"]) from None
    return component("model", over(resolved(cfg.model, "model"), values))


def over(base: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts merged; `values` win."""
    return {
        **base,
        **{
            k: over(base[k], v) if isinstance(v, dict) and isinstance(base.get(k), dict) else v
            for k, v in values.items()
        },
    }
