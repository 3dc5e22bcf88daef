"""What a key does: decides the result, only shows it, or says where and how fast."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
import yaml

from sketchlab import config, run, schema
from sketchlab.engine import settings
from sketchlab.errors import UserError
from sketchlab.training import identity, neighbours
from tests import every

OF_EACH = ("small_cnn", "small_siamese", "small_dcgan", "small_cyclegan", "pixels_naive_bayes")
PAIRS = ("pipeline.loss=contrastive", "pipeline.sampler=pairs")
DATA = SimpleNamespace(fingerprint="x", splits={"train": range(10_000)})


def identity_of(*words: str) -> dict:
    return identity.deciding(config.from_overrides([*words, "runtime.device=cpu"]), DATA)


@pytest.mark.parametrize(
    "words",
    [
        ("small_cnn", "pipeline.mistakes=3"),
        ("small_cnn", "pipeline.explain=3"),
        ("small_cnn", "pipeline.eval_batch=3"),
        ("small_cnn", "loop.momentum=0.1"),
        ("small_cnn", "loop.step_gamma=0.3", "loop.step_epochs=2"),
        ("small_cnn", "loop.decay_from_epoch=1"),
        ("small_cnn", "loop.save_every_s=1"),
        ("small_cnn", "runtime.workers=5", "runtime.recompute=true", "runtime.graph=false", "runtime.profile=true"),
        ("small_cnn", "data=tuberlin", "data.on_bad=skip"),
        ("small_cnn", "data=tuberlin", "data.root=/elsewhere"),
        ("small_siamese", *PAIRS, "pipeline.temperature=0.5", "pipeline.sheet_rows=1"),
        ("small_dcgan", "pipeline.sheet=3"),
        ("small_cyclegan", "pipeline.sheet=3", "pipeline.eval_batch=3"),
        ("pixels_naive_bayes", "loop.lr=7", "loop.epochs=3", "loop.optimizer=sgd"),
    ],
)
def test_what_decides_nothing_is_not_in_the_id(words):
    model, *changed = words
    before = [word for word in changed if word.startswith("data=") or word in PAIRS]
    assert identity_of(f"model={model}", *changed) == identity_of(f"model={model}", *before)


@pytest.mark.parametrize(
    "words",
    [
        ("small_cnn", "loop.betas=[0.5,0.9]"),
        ("small_cnn", "loop.weight_decay=0.5"),
        ("small_cnn", "seed=1"),
        ("small_cnn", "data.augment.views=3"),
        ("small_siamese", *PAIRS, "pipeline.margin=0.5"),
        ("small_siamese", *PAIRS, "pipeline.match_share=0.3"),
        ("small_dcgan", "pipeline.real_label=0.8"),
        ("pixels_naive_bayes", "model.var_smoothing=0.3"),
    ],
)
def test_what_decides_is(words):
    model, *changed = words
    *before, _ = changed
    assert identity_of(f"model={model}", *changed) != identity_of(f"model={model}", *before)


@pytest.mark.parametrize(
    ("chosen", "key"),
    [
        ("optimizer=sgd", "momentum"),
        ("optimizer=adam", "betas"),
        ("optimizer=adamw", "betas"),
        ("schedule=step", "step_gamma"),
        ("schedule=step", "step_epochs"),
        ("schedule=linear", "decay_from_epoch"),
    ],
)
def test_a_key_counts_where_its_condition_holds(chosen, key):
    plain = dataclasses.asdict(config.from_overrides([f"loop.{chosen}"]).loop)
    other = {**plain, key: "another"}
    assert schema.deciding(settings.Config, plain) != schema.deciding(settings.Config, other)


def test_every_field_that_is_left_out_says_so_and_every_condition_names_a_field():
    """Of all Configs that a run has: what is not in the identity has a role, or a condition that does not hold."""
    for model in every.modules():
        made = every.composed(model)
        loop = [made.loop] if made.loop else []
        for part in (made.data.config, made.model.config, made.pipeline.config, *loop, made.runtime):
            names = {field.name for field in dataclasses.fields(part)}
            values = dataclasses.asdict(part)
            kept = schema.deciding(type(part), values)
            for field in schema.fields(type(part)):
                assert set(field.only) <= names, f"{type(part)}.{field.name}"
                holds = all(values[key] in allowed for key, allowed in field.only.items())
                as_before = bool(field.added) and values[field.name] == field.added.before
                assert (field.name in kept) == (not field.role and holds and not as_before), (
                    f"{type(part)}.{field.name}"
                )


SHOWS = {
    "small_cnn": ["pipeline.mistakes=1", "pipeline.explain=2"],
    "small_siamese": ["pipeline.sheet_rows=1"],
    "small_dcgan": ["pipeline.sheet=4"],
    "small_cyclegan": ["pipeline.sheet=2"],
    "pixels_naive_bayes": ["pipeline.mistakes=1"],
}


@pytest.mark.parametrize("model", [pytest.param(m, marks=[pytest.mark.slow] * (m != "small_cnn")) for m in OF_EACH])
def test_what_only_shows_changes_no_bit_and_shows_a_finished_run_anew(model, tmp_path, capsys, monkeypatch):
    def execute(root: str, *more: str) -> Path:
        words = every.small(model, f"run.root={tmp_path / root}", *more)
        run.execute(config.from_overrides(words), reported=False)
        return every.folder_in(tmp_path / root)

    plain, other = execute("plain"), execute("other", *SHOWS[model])
    assert plain.name == other.name
    assert (plain / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    pictures = {path.name: path.read_bytes() for path in sorted((other / "samples").glob("test_*"))}
    before = json.loads((plain / "status.json").read_text())
    from sketchlab.engine import optim

    monkeypatch.setattr(optim, "update", None)  # nothing is trained
    capsys.readouterr()
    assert execute("plain", *SHOWS[model]) == plain
    assert "found: this run is finished\n" in capsys.readouterr().out
    assert pictures == {path.name: path.read_bytes() for path in sorted((plain / "samples").glob("test_*"))}
    after = json.loads((plain / "status.json").read_text())
    assert {**after, "updated": ""} == {**before, "updated": ""}
    shown = yaml.safe_load((plain / "config.yaml").read_text())["config"]["pipeline"]
    assert all(
        f"{key}={shown[key.removeprefix('pipeline.')]}" in SHOWS[model]
        for key, _, _ in (word.partition("=") for word in SHOWS[model])
    )
    execute("plain", *SHOWS[model])
    assert pictures == {path.name: path.read_bytes() for path in sorted((plain / "samples").glob("test_*"))}


@pytest.mark.parametrize("model", ["small_cnn", *every.slow("small_siamese", "small_cyclegan", "pixels_naive_bayes")])
def test_scores_do_not_depend_on_the_batch_of_evaluations(model, tmp_path):
    finals = []
    for size in (2, 64):
        words = every.small(model, f"run.root={tmp_path / str(size)}", f"pipeline.eval_batch={size}")
        run.execute(config.from_overrides(words), reported=False)
        finals.append(json.loads((every.folder_in(tmp_path / str(size)) / "status.json").read_text())["metrics"])
    assert finals[0] == pytest.approx(finals[1], abs=1e-5)


def test_a_run_under_an_older_id_is_found_the_oldest_finished_one_first(tmp_path, capsys):
    words = every.small("small_cnn", f"run.root={tmp_path}")
    run.execute(config.from_overrides(words), reported=False)
    folder = every.folder_in(tmp_path)
    folder = folder.rename(folder.with_name("0" * 12))
    document = yaml.safe_load((folder / "config.yaml").read_text())
    document["identity"]["loop"] |= {"momentum": 0.9, "step_gamma": 0.1, "save_every_s": 60.0}
    document["identity"]["pipeline"] |= {"mistakes": 48, "explain": 24, "eval_batch": 256}
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    made = config.from_overrides(words)
    mine = identity.deciding(made, made.data.build(made.model.config.input))
    assert neighbours.folder_of(made, mine) == folder
    run.execute(made, reported=False)
    assert "found: this run is finished, as 000000000000: an id of before" in capsys.readouterr().out
    younger = folder.with_name("1" * 12)
    younger.mkdir()
    (younger / "config.yaml").write_text(yaml.safe_dump(document))
    (younger / "status.json").write_text(json.dumps({"state": "running", "started": "2000-01-01"}))
    assert neighbours.folder_of(made, mine) == folder
    (younger / "status.json").write_text(json.dumps({"state": "finished", "started": "2000-01-01"}))
    assert neighbours.folder_of(made, mine) == younger


@dataclasses.dataclass(frozen=True)
class Inner:
    old: float
    elastic: Annotated[float, schema.added(0.0)]


@dataclasses.dataclass(frozen=True)
class Outer:
    augment: Inner


def test_a_nested_key_that_joined_later():
    """The folders of before load, their ids stay, and another value is another run."""
    assert config.typed(Outer, {"augment": {"old": 1.0}}, "data").augment.elastic == 0.0
    assert schema.deciding(Outer, {"augment": {"old": 1.0, "elastic": 0.0}}) == {"augment": {"old": 1.0}}
    changed = {"augment": {"old": 1.0, "elastic": 0.5}}
    assert schema.deciding(Outer, changed) == changed
    with pytest.raises(UserError, match="data.augment.old: missing"):
        config.typed(Outer, {"augment": {"elastic": 1.0}}, "data")


def test_a_renamed_key(monkeypatch, tmp_path):
    """An old name typed or in a file of one's own is one line with the new one; older folders load; ids stay."""
    before = identity_of("model=small_cnn", "loop.schedule=step")
    monkeypatch.setattr(schema, "RENAMED", {"loop.decay": "loop.step_gamma"})
    with pytest.raises(UserError, match=r"^loop.decay: renamed; write loop.step_gamma$"):
        config.from_overrides(["loop.decay=0.1"])
    values = dataclasses.asdict(config.from_overrides([]).loop)
    values["decay"] = values.pop("step_gamma")
    with pytest.raises(UserError, match=r"^loop.decay: renamed; write loop.step_gamma$"):
        config.typed(settings.Config, values, "loop")
    document = schema.upgraded({"schema": schema.SCHEMA, "config": {"loop": values}}, tmp_path)
    assert document["config"]["loop"]["step_gamma"] == values["decay"] and "decay" not in document["config"]["loop"]
    older = {**before, "loop": {**before["loop"], "decay": before["loop"]["step_gamma"]}}
    del older["loop"]["step_gamma"]
    made = config.from_overrides(["model=small_cnn", "loop.schedule=step", "runtime.device=cpu"])
    assert identity.reduced(made, older) == before
    from sketchlab.engine.rundir import identity as digest

    assert identity.id_of(before) == digest(older)


@pytest.mark.slow
def test_neighbours_that_cannot_be_read_are_left_out_in_a_line(tmp_path, capsys):
    words = every.small("small_cnn", f"run.root={tmp_path}")
    run.execute(config.from_overrides(words), reported=False)
    group = every.folder_in(tmp_path).parent
    for name, text in (("a", ""), ("b", "{"), ("c", "- 1"), ("d", "identity: 3\n"), ("e", "identity: {loop: 1}\n")):
        (group / name).mkdir()
        (group / name / "config.yaml").write_text(text)
    (group / "a" / "status.json").write_text("no json")
    for seed, index in enumerate((None, "", "[]", '{"a": 1}'), 1):
        if index is not None:
            (group / neighbours.INDEX).write_text(index)
        run.execute(config.from_overrides([*words, f"seed={seed}"]), reported=False)
        out, err = capsys.readouterr()
        assert f"differs in seed ({seed - 1} → {seed})" in out
        assert index is None or all(f"{group / name}: left out" in err for name in ("a", "b", "c"))
    run.execute(config.from_overrides([*words, "seed=9"]), reported=False)
    assert "left out" not in capsys.readouterr().err, "named once"
